"""The endpoint in Django REST framework, with its authentication, permissions and serializers."""

# pyright: reportMissingImports=false
# pyright: reportUntypedBaseClass=false

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from rest_framework import authentication, exceptions, permissions, serializers, views

from batch_cancel import BatchCancelError, cancel_job
from batch_cancel.http import Authenticate, Principal, present, present_error
from batch_cancel.ports import Scheduler, UnitOfWork


class Asked(serializers.Serializer):
    """The body of a request."""

    reason = serializers.CharField(required=False, allow_null=True, max_length=1000)


def operation_id_of(request: Any) -> str | None:
    """Return the Idempotency-Key, 1 to 255 visible ASCII characters without a comma."""
    key: str | None = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(r"[!-+\--~]{1,255}", key):
        raise exceptions.ValidationError({"Idempotency-Key": ["It is not well-formed."]})
    return key


class MayCancel(permissions.BasePermission):
    """The role of the key allows it."""

    message = "Not allowed to cancel batch jobs"

    def has_permission(  # pyright: ignore[reportIncompatibleMethodOverride]  # It has no types.
        self, request: Any, view: object
    ) -> bool:
        """Check whether it does."""
        return bool(request.auth.may_cancel)


def make_view(
    uow: UnitOfWork, scheduler: Scheduler, authenticate: Authenticate
) -> Callable[..., Any]:
    """Make the view, for a route with a `batch_job_id`."""

    class ApiKey(authentication.BaseAuthentication):
        def authenticate(self, request: Any) -> tuple[None, Principal]:
            kind, _, key = request.headers.get("Authorization", "").partition(" ")
            principal = authenticate(key) if kind.lower() == "bearer" else None
            if principal is None:
                msg = "Missing or wrong API key"
                raise exceptions.AuthenticationFailed(msg)
            return None, principal

        def authenticate_header(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, request: HttpRequest
        ) -> str:
            return "Bearer"

    # With ATOMIC_REQUESTS, too: a cancel commits before it asks the scheduler.
    @method_decorator(transaction.non_atomic_requests(using="default"), name="dispatch")
    class CancelView(views.APIView):
        authentication_classes = (ApiKey,)
        permission_classes = (MayCancel,)

        def post(self, request: Any, batch_job_id: str) -> HttpResponse:
            asked: Any = Asked(data=request.data)
            asked.is_valid(raise_exception=True)
            try:
                result = cancel_job(
                    batch_job_id,
                    uow=uow,
                    scheduler=scheduler,
                    organization_id=request.auth.organization_id,
                    operation_id=operation_id_of(request),
                    actor=request.auth.actor,
                    reason=asked.validated_data.get("reason"),
                )
            except BatchCancelError as error:
                told = present_error(error)
            else:
                told = present(result)
            return HttpResponse(told.content, status=told.status, headers=told.headers)

    view: Callable[..., Any] = CancelView.as_view()
    return view
