"""
The endpoint as a view.

    urlpatterns = [path("v1/", include([cancel_url(cancel, principal)]))]

Rule 1: the rules are those of `batch_cancel.http`; the view only translates.
Rule 2: it runs outside of `ATOMIC_REQUESTS`. A cancel has a transaction of its own, and removes
        the deferred start after its commit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, re_path
from django.views.decorators.csrf import csrf_exempt

from batch_cancel.adapters.wsgi import WsgiRoute
from batch_cancel.http import Cancel, Principal, Request, decoded
from batch_cancel.http.request import Refusal

WhoAsks = Callable[[HttpRequest], Principal | None]
"""Returns the principal of a request; None if it is not authenticated."""

IS_ENDPOINT: Final = "is_batch_cancel_endpoint"
"""The attribute by which the checks find the views that are made here."""

_PIECE_BYTES: Final = 65_536


def cancel_view(
    cancel: Cancel,
    principal: WhoAsks,
    *,
    retry_after: timedelta | None = None,
    ok_if_cancelled: bool = False,
) -> Callable[..., HttpResponse]:
    """
    Make a view of a job's cancel, for a route with a `batch_job_id`.

    The view is exempt from CSRF protection: let `principal` read a header, such as an API key or a
    token, and never the session's cookie, which other sites can make a browser send.

    Arguments:
        cancel: `functools.partial(cancel_job, uow=..., scheduler=...)`.
        principal: returns the principal of a request; None if it is not authenticated.
        retry_after: if given, errors worth a retry are answered with 429 or 503 and this time;
            otherwise with the contract's 500.
        ok_if_cancelled: if true, a cancel of a job that another operation has cancelled before is
            answered with 200 and changes nothing; otherwise with the contract's 400.

    Raises:
        TypeError: `principal` is a coroutine function; `cancel`, or a port that is bound to it, is
            of the wrong kind.
    """
    if inspect.iscoroutinefunction(principal):
        msg = "principal is a coroutine function, and a blocking view cannot await it"
        raise TypeError(msg)

    route = WsgiRoute(cancel, retry_after=retry_after, ok_if_cancelled=ok_if_cancelled)

    def view(asked: HttpRequest, batch_job_id: object, **_: object) -> HttpResponse:
        request = _sent(asked)
        if request.method == "POST":
            body = iter(partial(asked.read, _PIECE_BYTES), b"")
            answer = route.respond(str(batch_job_id), principal(asked), request, body)
        else:
            answer = Refusal.NO_METHOD.response(allow="POST")
        return HttpResponse(answer.content, status=answer.status, headers=answer.headers)

    exempt: Any = csrf_exempt(view)
    for alias in connections:
        transaction.non_atomic_requests(using=alias)(exempt)
    setattr(exempt, IS_ENDPOINT, True)
    made: Callable[..., HttpResponse] = exempt
    return made


def cancel_url(
    cancel: Cancel,
    principal: WhoAsks,
    *,
    retry_after: timedelta | None = None,
    ok_if_cancelled: bool = False,
) -> URLPattern:
    """Return `cancel_view` at `batch/jobs/<batch_job_id>/cancel`, under the name batch_cancel."""
    view = cancel_view(cancel, principal, retry_after=retry_after, ok_if_cancelled=ok_if_cancelled)
    # An id may have slashes and line breaks.
    route = r"^batch/jobs/(?P<batch_job_id>[\s\S]*)/cancel\Z"
    made: Any = re_path(route, view, name="batch_cancel")
    pattern: URLPattern = made
    return pattern


def _sent(asked: Any) -> Request:
    """Return a request; under ASGI its path as it was sent, before bytes were replaced."""
    headers = {name.lower(): value for name, value in asked.headers.items()}
    scope: dict[str, Any] = getattr(asked, "scope", {})  # WSGI's requests have none.
    raw: bytes = scope.get("raw_path") or b""
    path = decoded(raw.partition(b"?")[0]) or asked.path_info
    return Request(asked.META["REQUEST_METHOD"], path, headers)
