"""The endpoint as a WSGI application, and as a route of a blocking framework."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from batch_cancel.http.api_keys import Principal
from batch_cancel.http.docs_page import Page
from batch_cancel.http.endpoint import Authenticate, Cancel, Endpoint, RoutedEndpoint, failed
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

    It has no budget of its own, because a blocked thread can't be abandoned. Store and scheduler
    end by their own timeouts. Bound the time of `authenticate` yourself, and leave slow bodies to
    the server: waitress reads a body before it calls the application; gunicorn's workers do not,
    so put a buffering proxy in front of them. gunicorn's `timeout` kills a sync worker that is
    still waiting: make it longer than the store's `lock_timeout` and `statement_timeout` together,
    or a client may get no answer, and must retry with its Idempotency-Key.

    Arguments:
        cancel: `functools.partial(cancel_job, uow=..., scheduler=...)`.
        authenticate: returns the principal of an API key; None for an unknown key.
        prefix: the path below the mount point at which the endpoint begins.
        retry_after: if given, errors worth a retry are answered with 429 or 503 and this time;
            otherwise with the contract's 500.
        ok_if_cancelled: if true, a cancel of a job that another operation has cancelled before is
            answered with 200 and changes nothing; otherwise with the contract's 400.

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
            msg = "authenticate is a coroutine function, and WSGI cannot await it"
            raise TypeError(msg)
        self._endpoint = Endpoint(
            cancel,
            authenticate,
            prefix,
            retry_after,
            ok_if_cancelled=ok_if_cancelled,
        )

    def respond(self, request: Request, body: Iterable[bytes]) -> Response | Page:
        """Answer a request of a framework that cannot mount a WSGI application, such as Django."""
        try:
            return self._endpoint.respond(request, body)
        except BaseException as error:
            if not _is_cancelled(error):
                raise
            return failed(error, self._endpoint.retry_after)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        """Answer one request, as PEP 3333 defines it."""
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


class WsgiRoute:
    """
    The endpoint behind the routing and the authentication of a blocking framework.

    Arguments:
        cancel: `functools.partial(cancel_job, uow=..., scheduler=...)`.
        retry_after: as in `WsgiApp`.
        ok_if_cancelled: as in `WsgiApp`.

    Raises:
        TypeError: `cancel`, or a port that is bound to it, is of the wrong kind.
    """

    def __init__(
        self, cancel: Cancel, *, retry_after: timedelta | None, ok_if_cancelled: bool
    ) -> None:
        self._endpoint = RoutedEndpoint(cancel, retry_after, ok_if_cancelled=ok_if_cancelled)

    def respond(
        self,
        batch_job_id: str,
        principal: Principal | None,
        request: Request,
        body: Iterable[bytes],
    ) -> Response:
        """As `RoutedEndpoint.respond`."""
        try:
            return self._endpoint.respond(batch_job_id, principal, request, body)
        except BaseException as error:
            if not _is_cancelled(error):
                raise
            return failed(error, self._endpoint.retry_after)


def request_sent(environ: dict[str, Any]) -> Request:
    """Return a request to a route, its path as it was sent."""
    path = _text(environ.get("PATH_INFO", ""))
    return Request(environ["REQUEST_METHOD"], path, _headers(environ))


def _is_cancelled(error: BaseException) -> bool:
    """
    Check whether an error is asyncio's CancelledError.

    Code that runs coroutines may raise it; under WSGI a request can't be cancelled.
    """
    asyncio: Any = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _text(value: str) -> str:
    return text_of(value.encode("latin-1"))  # PEP 3333 passes bytes as Latin-1 text.


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):  # An empty value means an absent header.
        if value := environ.get(name):
            headers[name.replace("_", "-").lower()] = value
    return headers


def _body(environ: dict[str, Any], request: Request) -> Iterator[bytes]:
    """Read the body, never beyond its end: some servers would block there."""
    is_ended = environ.get("wsgi.input_terminated")
    length = BODY_BYTES_MAX + 1 if is_ended else bytes_declared(request)
    if length:
        yield environ["wsgi.input"].read(length)
