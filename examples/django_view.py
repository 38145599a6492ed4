"""The endpoint as a blocking view of Django: `re_path("^v1/", view)` in the URLs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from batch_cancel import cancel_job
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.http import Authenticate, Request
from batch_cancel.ports import Scheduler, UnitOfWork


def make_view(
    uow: UnitOfWork, scheduler: Scheduler, authenticate: Authenticate
) -> Callable[[HttpRequest], HttpResponse]:
    """Make the blocking view."""
    cancel = partial(cancel_job, uow=uow, scheduler=scheduler)
    endpoint = WsgiApp(cancel, authenticate, prefix="/v1")

    def view(asked: HttpRequest) -> HttpResponse:
        request = Request(asked.META["REQUEST_METHOD"], asked.path_info, asked.headers)  # pyright: ignore[reportArgumentType]
        response = endpoint.respond(request, iter(partial(asked.read, 65_536), b""))
        return HttpResponse(response.content, status=response.status, headers=response.headers)

    exempt: Callable[[HttpRequest], HttpResponse] = csrf_exempt(view)  # pyright: ignore[reportAssignmentType]
    return exempt
