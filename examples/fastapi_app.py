"""The endpoint mounted in a FastAPI application, beneath /v1."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI

from batch_cancel import cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.http import Authenticate
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> FastAPI:
    """Make the application."""
    app = FastAPI()

    @app.get("/health")
    async def health() -> str:
        return "well"

    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)
    app.mount("/v1", AsgiApp(cancel, authenticate))
    return app
