"""
The endpoint as a blueprint of Flask.

    app.register_blueprint(cancel_blueprint(cancel, principal=current_principal), url_prefix="/v1")

Rule 1: the rules of the endpoint are those of `batch_cancel.http`; its answers are passed on byte
        for byte. Routing and authentication are the application's own.
Rule 2: a path with two slashes is not redirected to one with a single slash: that is another job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from flask import Blueprint, Flask, Response, request
    from flask.blueprints import BlueprintSetupState
    from werkzeug.routing import PathConverter
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "flask", _missing) from _missing

from batch_cancel import http
from batch_cancel.adapters.wsgi import WsgiRoute, request_sent
from batch_cancel.domain.errors import BatchCancelError
from batch_cancel.http.endpoint import failed
from batch_cancel.http.openapi import PATH, check_path
from batch_cancel.http.request import BODY_BYTES_MAX

__all__ = ["CANCEL_PATH", "cancel_blueprint", "install_error_handlers", "to_response"]

CANCEL_PATH: Final = PATH.replace("{batch_job_id}", "<batch_job_id:batch_job_id>")
"""The path of the contract; an id may contain slashes and line breaks."""


class _JobId(PathConverter):
    """Any text; Werkzeug's `path` begins with no slash, and ends at a line break."""

    regex = r"[\s\S]*?"
    part_isolating = False


def cancel_blueprint(
    cancel: http.Cancel,
    *,
    principal: Callable[[], http.Principal | None],
    path: str = CANCEL_PATH,
    retry_after: timedelta | None = None,
    ok_if_cancelled: bool = False,
) -> Blueprint:
    """
    Return a blueprint with the endpoint.

    Arguments:
        cancel: `functools.partial(cancel_job, uow=..., scheduler=...)`.
        principal: returns who asks, by Flask's `request`, `session` or `g`; for None the answer is
            the endpoint's 401.
        path: the path of the route, with a parameter `batch_job_id`.
        retry_after: if given, errors worth a retry are answered with 429 or 503 and this time;
            otherwise with the contract's 500.
        ok_if_cancelled: if true, a cancel of a job that another operation has cancelled before is
            answered with 200 and changes nothing; otherwise with the contract's 400.

    Raises:
        TypeError: `principal` is a coroutine function; `cancel`, or a port that is bound to it, is
            of the wrong kind.
        ValueError: `path` has no parameter `batch_job_id`.
    """
    if iscoroutinefunction(principal):
        msg = "principal is a coroutine function, and WSGI cannot await it"
        raise TypeError(msg)
    check_path(path, "batch_job_id>", "<batch_job_id>")
    route = WsgiRoute(cancel, retry_after=retry_after, ok_if_cancelled=ok_if_cancelled)

    def cancel_batch_job(**parameters: object) -> Response:
        job_id, sent = str(parameters["batch_job_id"]), request_sent(request.environ)
        return to_response(route.respond(job_id, principal(), sent, _body()))

    blueprint = Blueprint("batch_cancel", __name__)
    blueprint.record_once(_know_job_ids)
    blueprint.add_url_rule(path, view_func=cancel_batch_job, methods=["POST"], merge_slashes=False)
    return blueprint


def install_error_handlers(
    app: Flask | Blueprint,
    *,
    retry_after: timedelta | None = None,
    ok_if_cancelled: bool = False,
) -> None:
    """
    Answer errors of the library that are raised in your own routes as the endpoint does.

    Arguments:
        app: the application, or the blueprint of the routes.
        retry_after: as in `cancel_blueprint`.
        ok_if_cancelled: as in `cancel_blueprint`.
    """

    def answer(error: BatchCancelError) -> Response:
        return to_response(failed(error, retry_after, ok_if_cancelled=ok_if_cancelled))

    app.register_error_handler(BatchCancelError, answer)


def to_response(answer: http.Response) -> Response:
    """Return an answer of `present` or `present_error` as one of Flask."""
    return Response(answer.content, answer.status, answer.headers)


def _know_job_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["batch_job_id"] = _JobId


def _body() -> Iterator[bytes]:
    """Read the body; if its length is declared, one that was read before is there again."""
    if request.content_length is not None:
        yield request.get_data()
    else:
        yield request.stream.read(BODY_BYTES_MAX + 1)
