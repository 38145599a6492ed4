"""
The endpoint over HTTP: who asks, what for, cancel it, answer. No framework and no server.

Adapters hand requests over and bound their time; frameworks of no protocol of their own can do the
same with `respond`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, Self

import attrs

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.http.api_keys import Principal
from batch_cancel.http.endpoint_kinds import check_cancel, check_cancel_async
from batch_cancel.http.openapi import Page, page_at
from batch_cancel.http.request import (
    BODY_BYTES_MAX,
    Refusal,
    Refused,
    Request,
    admitted,
    bytes_declared,
    job_asked,
    key_of,
    operation_id_of,
    path_below,
    reason_in,
)
from batch_cancel.http.response import Response, present, present_error
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.run_blocking import Blocking, run

Authenticate = Callable[[str], Principal | None]
"""Gives the principal that an API key belongs to; None if it is nobody's."""

AsyncAuthenticate = Callable[[str], Awaitable[Principal | None]]
"""Gives the principal that an API key belongs to; None if it is nobody's."""


class Cancel(Protocol):
    """Cancels: `cancel_job`, its ports given by `functools.partial`."""

    def __call__(
        self,
        batch_job_id: str,
        /,
        *,
        organization_id: str | None,
        operation_id: str | None,
        actor: str | None,
        reason: str | None,
    ) -> CancelResult:
        """Cancel the job."""
        ...


class AsyncCancel(Protocol):
    """Cancels: `cancel_job_async`, its ports given by `functools.partial`."""

    async def __call__(
        self,
        batch_job_id: str,
        /,
        *,
        organization_id: str | None,
        operation_id: str | None,
        actor: str | None,
        reason: str | None,
    ) -> CancelResult:
        """Cancel the job."""
        ...


def _is_prefix(_: object, __: attrs.Attribute[str], value: str) -> None:
    if value and (not value.startswith("/") or value.endswith("/")):
        msg = f"prefix must be empty, or begin and not end with a slash, got {value!r}"
        raise ValueError(msg)


def _is_cancel(_: object, __: attrs.Attribute[Cancel], value: Cancel) -> None:
    check_cancel(value)


def _is_cancel_async(_: object, __: attrs.Attribute[AsyncCancel], value: AsyncCancel) -> None:
    check_cancel_async(value)


@attrs.frozen
class Endpoint:
    """
    The endpoint, its OpenAPI document and its page of documentation.

    Arguments:
        cancel: cancels a job.
        authenticate: tells whose key it is.
        prefix: where it begins, below whatever it is mounted at.
        retry_after: if given, errors that may pass are 429 or 503 with it; else they are 500.
        ok_if_cancelled: whether a job that another operation has cancelled before is a 200, as
            `present_error` has it; else it is the contract's 400.

    Raises:
        TypeError: `cancel`, or a port that is bound to it, is of the wrong kind.
    """

    cancel: Cancel = attrs.field(validator=_is_cancel)
    authenticate: Authenticate
    prefix: str = attrs.field(default="", validator=_is_prefix)
    retry_after: timedelta | None = None
    ok_if_cancelled: bool = attrs.field(default=False, kw_only=True)

    def respond(self, request: Request, body: Iterable[bytes]) -> Response | Page:
        """
        Answer a request, whatever it is; nothing is raised.

        Arguments:
            request: the request.
            body: its body in pieces, as they arrive; no more of them are asked for than needed.
        """
        awaited = AsyncEndpoint(
            _BlockingCancel(self.cancel),
            _BlockingAuthenticate(self.authenticate),
            self.prefix,
            self.retry_after,
            ok_if_cancelled=self.ok_if_cancelled,
        )
        return run(awaited.respond(request, _BlockingBody(body)))


@attrs.frozen
class AsyncEndpoint:
    """As `Endpoint`, on asyncio."""

    cancel: AsyncCancel = attrs.field(validator=_is_cancel_async)
    authenticate: AsyncAuthenticate
    prefix: str = attrs.field(default="", validator=_is_prefix)
    retry_after: timedelta | None = None
    ok_if_cancelled: bool = attrs.field(default=False, kw_only=True)

    async def respond(self, request: Request, body: AsyncIterable[bytes]) -> Response | Page:
        """As `Endpoint.respond`, awaited."""
        try:
            path = path_below(self.prefix, request)
            page = page_at(
                path,
                request.method,
                request.base + self.prefix,
                self.retry_after,
                ok_if_cancelled=self.ok_if_cancelled,
            )
            if page is not None:
                return page
            return await self._cancelled(job_asked(path, request.method), request, body)
        except Refused as refused:
            return refused.response
        except Exception as error:  # noqa: BLE001  # Each of them has an answer.
            return failed(error, self.retry_after, ok_if_cancelled=self.ok_if_cancelled)

    async def _cancelled(
        self, batch_job_id: str, request: Request, body: AsyncIterable[bytes]
    ) -> Response:
        principal = admitted(await self.authenticate(key_of(request)))
        bytes_declared(request)
        operation_id = operation_id_of(request)
        reason = reason_in(await _gathered(body), request)
        result = self.cancel(
            batch_job_id,
            organization_id=principal.organization_id,
            operation_id=operation_id,
            actor=principal.actor,
            reason=reason,
        )
        return present(await kinds.returned_async(result))


async def _gathered(body: AsyncIterable[bytes]) -> bytes:
    """Put a body together, up to the piece with which it is too large."""
    whole = b""
    with _broken_refused():
        async for piece in body:
            whole += piece
            if len(whole) > BODY_BYTES_MAX:
                break
    return whole


class _BlockingCancel(Blocking[Cancel]):
    async def __call__(
        self,
        batch_job_id: str,
        /,
        *,
        organization_id: str | None,
        operation_id: str | None,
        actor: str | None,
        reason: str | None,
    ) -> CancelResult:
        return kinds.returned(
            self.port(
                batch_job_id,
                organization_id=organization_id,
                operation_id=operation_id,
                actor=actor,
                reason=reason,
            )
        )


class _BlockingAuthenticate(Blocking[Authenticate]):
    async def __call__(self, key: str) -> Principal | None:
        return self.port(key)


@attrs.define(eq=False)
class _BlockingBody:
    """A body whose pieces look awaited."""

    body: Iterable[bytes]
    pieces: Iterator[bytes] = attrs.field(init=False)

    def __aiter__(self) -> Self:
        self.pieces = iter(self.body)
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self.pieces)
        except StopIteration:
            raise StopAsyncIteration from None
        except StopAsyncIteration as error:  # Of the server's: it is not the end of this body.
            raise RuntimeError from error


@contextmanager
def _broken_refused() -> Generator[None]:
    """Take whatever a server says while a body is read for the client's fault: nothing else is."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(Refusal.BROKEN_BODY) from error


def failed(
    error: BaseException, retry_after: timedelta | None, *, ok_if_cancelled: bool = False
) -> Response:
    """Return the answer to an error, and tell the operator of one that is not the client's."""
    response = present_error(error, retry_after, ok_if_cancelled=ok_if_cancelled)
    if response.status not in {200, 400, 404}:
        log.request_failed(response.status, error)
    return response
