"""The endpoint mounted in a Flask application, beneath /v1."""

from __future__ import annotations

from functools import partial

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from batch_cancel import cancel_job
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.http import Authenticate
from batch_cancel.ports import Scheduler, UnitOfWork


def make_app(uow: UnitOfWork, scheduler: Scheduler, authenticate: Authenticate) -> Flask:
    """Make the application."""
    app = Flask(__name__)

    @app.get("/health")
    def health() -> str:
        return "well"

    cancel = partial(cancel_job, uow=uow, scheduler=scheduler)
    endpoint = WsgiApp(cancel, authenticate)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/v1": endpoint})  # type: ignore[method-assign]
    return app
