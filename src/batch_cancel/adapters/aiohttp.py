"""
The endpoint as a route of aiohttp's server.

    app = web.Application()
    add_cancel_route(app, cancel, principal=current_principal)

Rule 1: the rules of the endpoint are those of `batch_cancel.http`; its answers are passed on byte
        for byte. Routing and authentication are the application's own.
Rule 2: as in `adapters/asgi.py`, a cancel that has begun runs to its end. At its shutdown the
        application waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from inspect import isawaitable
from typing import Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "aiohttp", _missing) from _missing

from batch_cancel import http
from batch_cancel.adapters.asgi import AsgiRoute
from batch_cancel.domain.defaults import HTTP_BUDGET
from batch_cancel.domain.errors import BatchCancelError
from batch_cancel.http.endpoint import failed
from batch_cancel.http.openapi import PATH, check_path

__all__ = ["CANCEL_PATH", "add_cancel_route", "error_middleware", "to_response"]

CANCEL_PATH: Final = PATH.replace("{batch_job_id}", r"{batch_job_id:[\s\S]*}")
"""The path of the contract; an id may contain slashes and line breaks."""


def add_cancel_route(
    app: web.Application,
    cancel: http.AsyncCancel | http.Cancel,
    *,
    principal: Callable[[web.Request], http.Principal | Awaitable[http.Principal | None] | None],
    path: str = CANCEL_PATH,
    retry_after: timedelta | None = None,
    ok_if_cancelled: bool = False,
    budget: timedelta = HTTP_BUDGET,
) -> None:
    """
    Add the endpoint to an application.

    Arguments:
        app: the application.
        cancel: `functools.partial(cancel_job_async, uow=..., scheduler=...)`, or the same of
            `cancel_job`, which runs in a thread.
        principal: returns who asks, blocking or asyncio; for None the answer is the endpoint's
            401.
        path: the path of the route, with a parameter `batch_job_id`.
        retry_after: if given, errors worth a retry are answered with 429 or 503 and this time;
            otherwise with the contract's 500.
        ok_if_cancelled: if true, a cancel of a job that another operation has cancelled before is
            answered with 200 and changes nothing; otherwise with the contract's 400.
        budget: how long a request may take. A cancel that takes longer is answered as failed with
            an unknown outcome, and runs to its end.

    Raises:
        TypeError: a port that is bound to `cancel` is of the wrong kind.
        ValueError: `path` has no parameter `batch_job_id`.
    """
    check_path(path, "{batch_job_id", "{batch_job_id}")
    route = AsgiRoute(
        cancel, retry_after=retry_after, ok_if_cancelled=ok_if_cancelled, budget=budget
    )

    async def cancel_batch_job(request: web.Request) -> web.Response:
        sent = http.Request(
            request.method,
            http.decoded(request.rel_url.raw_path.encode()),
            http.joined(request.headers.items()),
        )
        who = principal(request)
        if isawaitable(who):
            who = await who
        job_id = request.match_info["batch_job_id"]
        return to_response(await route.respond(job_id, who, sent, _body(request)))

    async def finish(_: web.Application) -> None:
        await route.finish()

    app.router.add_post(path, cancel_batch_job)
    app.on_shutdown.append(finish)


def error_middleware(
    *, retry_after: timedelta | None = None, ok_if_cancelled: bool = False
) -> Middleware:
    """
    Return a middleware by which your own routes answer errors as the endpoint does.

    Arguments:
        retry_after: as in `add_cancel_route`.
        ok_if_cancelled: as in `add_cancel_route`.
    """

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except BatchCancelError as error:
            return to_response(failed(error, retry_after, ok_if_cancelled=ok_if_cancelled))

    return answer


def to_response(answer: http.Response) -> web.Response:
    """Return an answer of `present` or `present_error` as one of aiohttp."""
    return web.Response(body=answer.content, status=answer.status, headers=answer.headers)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """Read the body; if its length is declared, one that was read before is there again."""
    if request.content_length is not None:
        yield await request.read()
    else:
        async for piece in request.content.iter_any():
            yield piece
