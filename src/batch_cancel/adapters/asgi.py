"""
The endpoint as an ASGI application, and as a route of a framework on asyncio.

Rule 1: no request takes longer than its budget.
Rule 2: a cancel that has begun runs to its end, even if the client disconnects, the budget ends or
        a framework cancels the request's task.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    MutableMapping,
)
from datetime import timedelta
from typing import Any, TypeVar, cast

import attrs

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.defaults import HTTP_BUDGET
from batch_cancel.domain.errors import CancelFailed, Fault
from batch_cancel.domain.job import JobKey
from batch_cancel.http.api_keys import Principal
from batch_cancel.http.docs_page import Page
from batch_cancel.http.endpoint import (
    AsyncCancel,
    AsyncEndpoint,
    AsyncRoutedEndpoint,
    Cancel,
    failed,
)
from batch_cancel.http.endpoint_kinds import check_cancel
from batch_cancel.http.request import Refusal, Refused, Request, decoded, joined
from batch_cancel.http.response import Response
from batch_cancel.use_cases.kinds import is_asyncio, returned_async

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_Answer = TypeVar("_Answer")


class _Requests:
    """The requests in progress."""

    def __init__(
        self, cancel: AsyncCancel, retry_after: timedelta | None, budget: timedelta
    ) -> None:
        self._cancel = cancel
        self._retry_after = retry_after
        self._budget = budget
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self) -> None:
        """Wait for the cancels that have begun, within the budget, before the server ends."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._budget.total_seconds())

    async def _within_budget(
        self, respond: Callable[[AsyncCancel], Coroutine[Any, Any, _Answer]]
    ) -> _Answer | Response:
        """Answer a request by a function that is passed the cancel to call."""
        begun: list[JobKey] = []

        async def cancel(
            batch_job_id: str,
            /,
            *,
            organization_id: str | None,
            operation_id: str | None,
            actor: str | None,
            reason: str | None,
        ) -> CancelResult:
            begun.append(JobKey(batch_job_id, organization_id))
            answer = self._cancel(
                batch_job_id,
                organization_id=organization_id,
                operation_id=operation_id,
                actor=actor,
                reason=reason,
            )
            return await returned_async(answer)

        task = asyncio.create_task(respond(cancel))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            # Unlike wait_for, this leaves the task running when time is up, or when we are
            # cancelled.
            await asyncio.wait({task}, timeout=self._budget.total_seconds())
        finally:
            if not begun:
                task.cancel()
        if task.done():
            try:
                return task.result()
            except asyncio.CancelledError as error:
                # The cancel's own CancelledError; if this request is cancelled, the wait itself
                # raises.
                return failed(error, self._retry_after)
        if not begun:
            return Refusal.TOO_SLOW.response()
        reason = f"no answer within the budget of {self._budget.total_seconds():g} s"
        failure = CancelFailed(begun[0], reason, "unknown", Fault.LATE)
        return failed(failure, self._retry_after)


class AsgiApp(_Requests):
    """
    The endpoint as an ASGI application, on asyncio.

    Arguments:
        cancel: `functools.partial(cancel_job_async, uow=..., scheduler=...)`. With blocking ports:
            `partial(asyncio.to_thread, partial(cancel_job, uow=..., scheduler=...))`.
        authenticate: returns the principal of an API key, blocking or asyncio; None for an unknown
            key.
        prefix: the path below the mount point at which the endpoint begins.
        retry_after: if given, errors worth a retry are answered with 429 or 503 and this time;
            otherwise with the contract's 500.
        ok_if_cancelled: if true, a cancel of a job that another operation has cancelled before is
            answered with 200 and changes nothing; otherwise with the contract's 400.
        budget: how long a request may take. A cancel that takes longer is answered as failed with
            an unknown outcome, and runs to its end.

    Raises:
        TypeError: `cancel`, or a port that is bound to it, is of the wrong kind.
    """

    def __init__(
        self,
        cancel: AsyncCancel,
        authenticate: Callable[[str], Principal | Awaitable[Principal | None] | None],
        *,
        prefix: str = "",
        retry_after: timedelta | None = None,
        ok_if_cancelled: bool = False,
        budget: timedelta = HTTP_BUDGET,
    ) -> None:
        super().__init__(cancel, retry_after, budget)
        self._authenticate = authenticate
        self._endpoint = AsyncEndpoint(
            cancel,
            self._principal,
            prefix,
            retry_after,
            ok_if_cancelled=ok_if_cancelled,
        )

    async def respond(self, request: Request, body: AsyncIterable[bytes]) -> Response | Page:
        """Answer a request of a framework that can't mount an ASGI application, as aiohttp."""

        def respond(cancel: AsyncCancel) -> Coroutine[Any, Any, Response | Page]:
            return attrs.evolve(self._endpoint, cancel=cancel).respond(request, body)

        return await self._within_budget(respond)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run through the server's lifespan."""
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case _:  # A WebSocket: closed before it is accepted, it is a 403.
                await send({"type": "websocket.close"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.respond(_request(scope), _body(receive))
        content = response.content
        headers = {**response.headers, "content-length": str(len(content))}
        raw = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        body = b"" if scope["method"] == "HEAD" else content
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await self.finish()
        await send({"type": "lifespan.shutdown.complete"})

    async def _principal(self, key: str) -> Principal | None:
        principal = self._authenticate(key)
        return await principal if inspect.isawaitable(principal) else principal


class AsgiRoute(_Requests):
    """
    The endpoint behind the routing and the authentication of a framework on asyncio.

    Arguments:
        cancel: `functools.partial(cancel_job_async, uow=..., scheduler=...)`, or the same of
            `cancel_job`, which runs in a thread.
        retry_after: as in `AsgiApp`.
        ok_if_cancelled: as in `AsgiApp`.
        budget: as in `AsgiApp`.

    Raises:
        TypeError: a port that is bound to `cancel` is of the wrong kind.
    """

    def __init__(
        self,
        cancel: AsyncCancel | Cancel,
        *,
        retry_after: timedelta | None,
        ok_if_cancelled: bool,
        budget: timedelta,
    ) -> None:
        awaited = _awaited(cancel)
        super().__init__(awaited, retry_after, budget)
        self._endpoint = AsyncRoutedEndpoint(awaited, retry_after, ok_if_cancelled=ok_if_cancelled)

    async def respond(
        self,
        batch_job_id: str,
        principal: Principal | None,
        request: Request,
        body: AsyncIterable[bytes],
    ) -> Response:
        """As `AsyncRoutedEndpoint.respond`, within the budget."""

        def respond(cancel: AsyncCancel) -> Coroutine[Any, Any, Response]:
            endpoint = attrs.evolve(self._endpoint, cancel=cancel)
            return endpoint.respond(batch_job_id, principal, request, body)

        return await self._within_budget(respond)


def _awaited(cancel: AsyncCancel | Cancel) -> AsyncCancel:
    """Return a cancel on asyncio; one that may block runs in a thread."""
    if is_asyncio(cancel):
        return cast("AsyncCancel", cancel)
    check_cancel(cancel)

    async def awaited(batch_job_id: str, /, **arguments: str | None) -> CancelResult:
        call = cast("Callable[..., Awaitable[CancelResult]]", cancel)
        return await returned_async(await asyncio.to_thread(call, batch_job_id, **arguments))

    return awaited


def request_sent(scope: Scope) -> Request:
    """Return a request to a route, its path as it was sent."""
    path = scope.get("raw_path") or scope["path"].encode()
    headers = (
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    return Request(scope["method"], decoded(path.partition(b"?")[0]), joined(headers))


def _request(scope: Scope) -> Request:
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""
    exact = decoded(raw)
    # Servers replace bytes that are not UTF-8, so that two paths become one; the raw path differs,
    # unless a framework has rewritten the path.
    if exact.encode("utf-8", "surrogateescape").decode(errors="replace") == path:
        path = exact
    base: str = scope.get("root_path", "").rstrip("/")
    return Request(
        scope["method"],
        path.removeprefix(base) if path.startswith(f"{base}/") else path,
        joined(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ),
        base,
    )


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    is_over = False
    while not is_over:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(Refusal.BROKEN_BODY)  # The client is gone, and the job stays as it is.
        yield message.get("body", b"")
        is_over = not message.get("more_body", False)
