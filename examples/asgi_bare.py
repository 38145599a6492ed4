"""The endpoint alone, as an ASGI application: beneath /v1, under any server."""

from __future__ import annotations

from functools import partial

from batch_cancel import cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.http import Authenticate
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> AsgiApp:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)
    return AsgiApp(cancel, authenticate, prefix="/v1")
