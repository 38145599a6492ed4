"""The endpoint mounted in a Litestar application, beneath /v1."""

from __future__ import annotations

from functools import partial

from litestar import Litestar, asgi, get
from litestar.types import Receive, Scope, Send

from batch_cancel import cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.http import Authenticate
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork


@get("/health")
async def health() -> str:
    """Tell that the application runs."""
    return "well"


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> Litestar:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)
    endpoint = AsgiApp(cancel, authenticate)

    @asgi("/v1", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        # Litestar cuts /v1 off, and ends every path with a slash.
        path = scope["path"].removesuffix("/")
        await endpoint({**scope, "path": path, "root_path": "/v1"}, receive, send)  # type: ignore[arg-type]

    return Litestar([health, mounted])
