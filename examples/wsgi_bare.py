"""The endpoint alone, as a WSGI application: beneath /v1, under any server."""

from __future__ import annotations

from functools import partial

from batch_cancel import cancel_job
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.http import Authenticate
from batch_cancel.ports import Scheduler, UnitOfWork


def make_app(uow: UnitOfWork, scheduler: Scheduler, authenticate: Authenticate) -> WsgiApp:
    """Make the application."""
    cancel = partial(cancel_job, uow=uow, scheduler=scheduler)
    return WsgiApp(cancel, authenticate, prefix="/v1")
