"""The endpoint in an aiohttp application, beneath /v1, and a route of its own that cancels."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from batch_cancel import cancel_job_async
from batch_cancel.adapters.aiohttp import CANCEL_PATH, add_cancel_route, error_middleware
from batch_cancel.http import Authenticate, Principal
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> web.Application:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)

    async def current_principal(request: web.Request) -> Principal | None:
        _, _, key = request.headers.get("Authorization", "").partition("Bearer ")
        return authenticate(key)

    async def stop(request: web.Request) -> web.Response:
        principal = await current_principal(request)
        if principal is None or not principal.may_cancel:
            raise web.HTTPForbidden
        result = await cancel(
            request.match_info["job_id"], organization_id=principal.organization_id
        )
        return web.json_response({"contacts": result.contacts_cancelled})

    app = web.Application(middlewares=[error_middleware()])
    add_cancel_route(app, cancel, principal=current_principal, path=f"/v1{CANCEL_PATH}")
    app.router.add_post("/v1/campaigns/{job_id}/stop", stop)
    return app
