"""The endpoint in a Flask application, beneath /v1, a route of its own, and `flask call`."""

from __future__ import annotations

from functools import partial

import click
from flask import Flask, abort, g, request

from batch_cancel import cancel_job
from batch_cancel.adapters.flask import cancel_blueprint, install_error_handlers
from batch_cancel.http import Authenticate, Principal
from batch_cancel.ports import Scheduler, UnitOfWork
from examples.calling import call_all


def current_principal() -> Principal | None:
    """Return who asks."""
    principal: Principal | None = g.principal
    return principal


def make_app(uow: UnitOfWork, scheduler: Scheduler, authenticate: Authenticate) -> Flask:
    """Make the application."""
    cancel = partial(cancel_job, uow=uow, scheduler=scheduler)
    app = Flask(__name__)

    @app.before_request
    def authenticate_request() -> None:
        key = request.authorization.token if request.authorization else None
        g.principal = authenticate(key) if key else None

    app.register_blueprint(cancel_blueprint(cancel, principal=current_principal), url_prefix="/v1")
    install_error_handlers(app)

    @app.post("/v1/campaigns/<job_id>/stop")
    def stop(job_id: str) -> dict[str, int]:
        principal = current_principal()
        if principal is None or not principal.may_cancel:
            abort(403)
        result = cancel(job_id, organization_id=principal.organization_id, actor=principal.actor)
        return {"contacts": result.contacts_cancelled}

    @app.cli.command("call")
    @click.argument("job_id")
    @click.argument("organization_id")
    def call(job_id: str, organization_id: str) -> None:
        call_all(job_id, organization_id, uow)

    return app
