"""Requests to the applications without a server, as bytes, well-formed or not."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs

from batch_cancel import cancel_job, cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.domain.job import JobKey
from batch_cancel.http.api_keys import ApiKeys, Principal

AUTHENTICATE = ApiKeys(
    {
        "key-a": Principal("ada", "a", may_cancel=True),
        "key-b": Principal("bob", "b", may_cancel=True),
        "key-viewer": Principal("vic", "a", may_cancel=False),
    }
)
KEY_A = ("authorization", "Bearer key-a")
KEY_B = ("authorization", "Bearer key-b")
VIEWER = ("authorization", "Bearer key-viewer")
JSON = ("content-type", "application/json")


@attrs.frozen
class Asked:
    """
    A request as it comes over the wire.

    Arguments:
        method: as written.
        path: as written, percent-encoded.
        headers: as written, in their order.
        chunks: the body, in the pieces that it arrives in.
        is_chunked: whether its length is not declared.
        base: where the application is mounted.
    """

    method: str = "POST"
    path: str = "/batch/jobs/batch_xyz789/cancel"
    headers: Sequence[tuple[str, str]] = (KEY_A,)
    chunks: Sequence[bytes] = ()
    is_chunked: bool = False
    base: str = ""

    @property
    def framed(self) -> list[tuple[str, str]]:
        """The headers, with those that a client adds by itself."""
        headers = list(self.headers)
        if any(name.lower() == "content-length" for name, _ in headers):
            return headers
        if self.is_chunked:
            return [*headers, ("transfer-encoding", "chunked")]
        body = b"".join(self.chunks)
        return [*headers, ("content-length", str(len(body)))] if body else headers


@attrs.frozen
class Told:
    """An answer, all of it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes


def ask_asgi(app: Any, asked: Asked) -> Told:
    """Ask an ASGI application."""
    return asyncio.run(ask_asgi_async(app, asked))


async def ask_asgi_async(app: Any, asked: Asked) -> Told:
    """Ask an ASGI application within a running loop, as uvicorn would."""
    sent: list[Any] = []
    chunks = list(asked.chunks) or [b""]

    async def receive() -> dict[str, Any]:
        if not chunks:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = (asked.base + asked.path).encode("latin-1")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": unquote_to_bytes(raw).decode(errors="replace"),
        "raw_path": raw,
        "query_string": b"",
        "root_path": asked.base,
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in asked.framed],
    }
    await app(scope, receive, send)
    start, body = sent
    headers = tuple((name.decode(), value.decode()) for name, value in start["headers"])
    return Told(start["status"], headers, body["body"])


def ask_wsgi(app: Any, asked: Asked, *, ends: bool = True) -> Told:
    """
    Ask a WSGI application.

    Arguments:
        app: the application.
        asked: the request.
        ends: whether the server, as gunicorn does, lets a body of unknown length end.
    """
    headers: dict[str, list[str]] = {}
    for name, value in asked.framed:
        variable = name.upper().replace("-", "_")
        plain = variable in {"CONTENT_TYPE", "CONTENT_LENGTH"}
        headers.setdefault(variable if plain else f"HTTP_{variable}", []).append(value)
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": asked.method,
        "SCRIPT_NAME": asked.base,
        "PATH_INFO": unquote_to_bytes(asked.path.encode("latin-1")).decode("latin-1"),
        "wsgi.input": io.BytesIO(b"".join(asked.chunks)),
        "wsgi.input_terminated": ends,
        **{name: ",".join(values) for name, values in headers.items()},
    }
    body = b"".join(app(environ, lambda status, told: started.append((status, told))))
    [(status, told)] = started
    return Told(int(status.split()[0]), tuple(told), body)


@attrs.define
class Site:
    """The application over an empty memory store, ASGI or WSGI, and a look inside."""

    kind: str
    store: Any = None
    scheduler: Any = None
    app: Any = None

    def __attrs_post_init__(self) -> None:
        self.restart()

    def restart(self, **options: Any) -> None:
        """Begin anew, with other options of the application."""
        is_async = self.kind == "asgi"
        self.store = AsyncMemoryStore() if is_async else MemoryStore()
        self.scheduler = AsyncMemoryScheduler() if is_async else MemoryScheduler()
        call: Any = cancel_job_async if is_async else cancel_job
        app: Any = AsgiApp if is_async else WsgiApp
        cancel = partial(call, uow=self.store, scheduler=self.scheduler)
        self.app = app(**{"cancel": cancel, "authenticate": AUTHENTICATE, **options})

    def add_job(self, job_id: str = "batch_xyz789", status: str | None = "running") -> None:
        """Seed a job of organization a with three contacts, two of which wait."""
        self.store.add_job(job_id, status, "a", None)
        self.store.add_contacts(job_id, {"1": "pending", "2": "busy", "3": "dialing"}, "a")

    def ask(self, asked: Asked) -> Told:
        """Send a request."""
        return (ask_asgi if self.kind == "asgi" else ask_wsgi)(self.app, asked)

    def state(self) -> dict[JobKey, Any]:
        """Return all that is committed, comparable as a whole; rows are frozen values."""
        return dict(self.store._committed)

    def record(self, job_id: str = "batch_xyz789") -> Any:
        """Return the record of a job's cancellation."""
        return self.store.job(job_id, "a").cancellation
