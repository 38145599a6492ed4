"""The endpoint as a handler of aiohttp, beneath /v1."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from batch_cancel import cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.http import Authenticate, Request, decoded, joined
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> web.Application:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)
    endpoint = AsgiApp(cancel, authenticate, prefix="/v1")

    async def respond(asked: web.Request) -> web.Response:
        path = decoded(asked.rel_url.raw_path.encode())
        request = Request(asked.method, path, joined(asked.headers.items()))
        response = await endpoint.respond(request, asked.content.iter_any())
        return web.Response(
            body=response.content, status=response.status, headers=response.headers
        )

    app = web.Application()
    app.router.add_route("*", "/v1/{_:.*}", respond)
    return app
