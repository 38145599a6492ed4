"""The endpoint in an aiohttp application, beneath /v1, routes of its own, and a worker."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web

from batch_cancel import cancel_job_async
from batch_cancel.adapters.aiohttp import CANCEL_PATH, add_cancel_route, error_middleware
from batch_cancel.http import Authenticate, Principal
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork
from examples.calling import call_all_async


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> web.Application:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)

    async def current_principal(request: web.Request) -> Principal | None:
        _, _, key = request.headers.get("Authorization", "").partition("Bearer ")
        return authenticate(key)

    async def manager(request: web.Request) -> Principal:
        principal = await current_principal(request)
        if principal is None or not principal.may_cancel:
            raise web.HTTPForbidden
        return principal

    async def stop(request: web.Request) -> web.Response:
        principal = await manager(request)
        result = await cancel(
            request.match_info["job_id"], organization_id=principal.organization_id
        )
        return web.json_response({"contacts": result.contacts_cancelled})

    tasks = set[asyncio.Task[None]]()  # An event loop keeps no task alive by itself.

    async def call(request: web.Request) -> web.Response:
        principal = await manager(request)
        job_id = request.match_info["job_id"]
        task = asyncio.create_task(call_all_async(job_id, principal.organization_id, uow))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return web.Response(status=202)

    app = web.Application(middlewares=[error_middleware()])
    add_cancel_route(app, cancel, principal=current_principal, path=f"/v1{CANCEL_PATH}")
    app.router.add_post("/v1/campaigns/{job_id}/stop", stop)
    app.router.add_post("/v1/campaigns/{job_id}/calls", call)
    return app
