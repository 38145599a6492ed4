"""
The endpoint in Django Ninja, on Django's own connection.

It works with and without `ATOMIC_REQUESTS`: the deferred start is removed after the commit of
whichever block is the outermost.
"""

# pyright: reportMissingImports=false
# pyright: reportUntypedBaseClass=false
# pyright: reportGeneralTypeIssues=false
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.params.functions import Header
from ninja.security import HttpBearer
from pydantic import Field

from batch_cancel import BatchCancelError, cancel_rows
from batch_cancel.adapters.django import DjangoUnitOfWork, remove_deferred_on_commit
from batch_cancel.http import Authenticate, Principal, present, present_error
from batch_cancel.ports import Scheduler


class Asked(Schema):
    """The body of a request."""

    reason: str | None = Field(None, min_length=1, max_length=1000, pattern=r"^[^\x00]*$")


OPERATION_ID: Any = Header(None, alias="Idempotency-Key", pattern=r"^[!-+\--~]{1,255}$")


def make_api(uow: DjangoUnitOfWork, scheduler: Scheduler, authenticate: Authenticate) -> NinjaAPI:
    """Make the API: `path("v1/", api.urls)` in the URLs."""

    class ApiKey(HttpBearer):
        def authenticate(self, request: HttpRequest, token: str) -> Principal | None:
            return authenticate(token)

    api = NinjaAPI(auth=ApiKey())

    @api.post("/batch/jobs/{path:batch_job_id}/cancel")
    def cancel(
        request: Any,
        batch_job_id: str,
        asked: Asked | None = None,
        operation_id: str | None = OPERATION_ID,
    ) -> HttpResponse:
        who: Principal = request.auth
        if not who.may_cancel:
            return api.create_response(
                request, {"detail": "Not allowed to cancel batch jobs"}, status=403
            )
        try:
            with transaction.atomic(using=uow.using):
                cancellation = cancel_rows(
                    batch_job_id,
                    uow=uow,
                    organization_id=who.organization_id,
                    operation_id=operation_id,
                    actor=who.actor,
                    reason=None if asked is None else asked.reason,
                )
                removal = remove_deferred_on_commit(cancellation, scheduler, uow=uow)
            told = present(cancellation if uow.is_joined else removal.result)
        except BatchCancelError as error:
            told = present_error(error)
        return HttpResponse(told.content, status=told.status, headers=told.headers)

    return api
