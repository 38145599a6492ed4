"""The endpoint as an asyncio view of Django: `re_path("^v1/", view)` in the URLs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from django.http import HttpRequest, HttpResponse

from batch_cancel import cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.http import Authenticate, Request
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork


def make_view(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
    """Make the view."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)
    endpoint = AsgiApp(cancel, authenticate, prefix="/v1")

    async def view(asked: HttpRequest) -> HttpResponse:
        request = Request(asked.META["REQUEST_METHOD"], asked.path_info, asked.headers)  # pyright: ignore[reportArgumentType]
        response = await endpoint.respond(request, _body(asked))
        return HttpResponse(response.content, status=response.status, headers=response.headers)

    # What csrf_exempt does. It makes a blocking view of a coroutine before Django 5.
    setattr(view, "csrf_exempt", True)  # noqa: B010  # A function's type has no such attribute.
    return view


async def _body(asked: HttpRequest) -> AsyncIterator[bytes]:
    yield asked.read(65_536)  # Django has it all by now.
