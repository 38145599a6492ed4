"""The endpoint as a WSGI application, for Flask, Django, gunicorn, or anything that takes one."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from batch_cancel.http.endpoint import Authenticate, Cancel, Endpoint, failed
from batch_cancel.http.openapi import Page
from batch_cancel.http.request import (
    BODY_BYTES_MAX,
    Request,
    bytes_declared,
    text_of,
)
from batch_cancel.http.response import Response


class WsgiApp:
    """
    The endpoint as a WSGI application.

    It waits no longer than what it calls, and has no budget of its own: a thread that waits can't
    be left. Store and scheduler end by their own timeouts. How long `authenticate` takes is for
    you to bound, and a body that does not come for the server: waitress reads it before it calls;
    gunicorn's workers do not, so put a proxy that reads it first in front of them. gunicorn's
    `timeout` kills a sync worker that is still waiting: let it be longer than the store's
    `lock_timeout` and `statement_timeout` together, or a client may get no answer, and must ask
    again with its Idempotency-Key.

    Arguments:
        cancel: `functools.partial(cancel_job, uow=..., scheduler=...)`.
        authenticate: gives the principal that an API key belongs to; None if it is nobody's.
        prefix: where the endpoint begins, below whatever the application is mounted at.
        retry_after: if given, errors that may pass are answered with 429 or 503 and this time;
            else with the contract's 500.
        ok_if_cancelled: whether a job that another operation has cancelled before is answered
            with 200, and nothing changed; else with the contract's 400.

    Raises:
        TypeError: `authenticate` is a coroutine function; `cancel`, or a port that is bound to it,
            is of the wrong kind.
    """

    def __init__(
        self,
        cancel: Cancel,
        authenticate: Authenticate,
        *,
        prefix: str = "",
        retry_after: timedelta | None = None,
        ok_if_cancelled: bool = False,
    ) -> None:
        if inspect.iscoroutinefunction(authenticate):
            msg = "authenticate is a coroutine function: nothing would await it under WSGI"
            raise TypeError(msg)
        self._endpoint = Endpoint(
            cancel,
            authenticate,
            prefix,
            retry_after,
            ok_if_cancelled=ok_if_cancelled,
        )

    def respond(self, request: Request, body: Iterable[bytes]) -> Response | Page:
        """Answer a request of a framework that mounts no WSGI application, such as Django."""
        try:
            return self._endpoint.respond(request, body)
        except BaseException as error:
            # What runs coroutines for us may raise it; under WSGI nobody can cancel a request.
            asyncio: Any = sys.modules.get("asyncio")
            if asyncio is None or not isinstance(error, asyncio.CancelledError):
                raise
            return failed(error, self._endpoint.retry_after)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        """Answer one request, as PEP 3333 has it."""
        request = Request(
            environ["REQUEST_METHOD"],
            _text(environ.get("PATH_INFO", "")),
            _headers(environ),
            _text(environ.get("SCRIPT_NAME", "")),
        )
        response = self.respond(request, _body(environ, request))
        content = response.content
        status = HTTPStatus(response.status)
        start_response(
            f"{status.value} {status.phrase}",
            [*response.headers.items(), ("content-length", str(len(content)))],
        )
        return [b"" if request.method == "HEAD" else content]


def _text(value: str) -> str:
    return text_of(value.encode("latin-1"))  # PEP 3333 carries bytes in this disguise.


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):  # Empty stands for absent.
        if value := environ.get(name):
            headers[name.replace("_", "-").lower()] = value
    return headers


def _body(environ: dict[str, Any], request: Request) -> Iterator[bytes]:
    """Read the body, never beyond its end: some servers would wait there for ever."""
    is_ended = environ.get("wsgi.input_terminated")
    length = BODY_BYTES_MAX + 1 if is_ended else bytes_declared(request)
    if length:
        yield environ["wsgi.input"].read(length)
