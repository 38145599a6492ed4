"""
The HTTP endpoint without framework and server: authenticate, read the request, cancel, answer.

Adapters pass requests to it and bound their time; other frameworks can do the same with `respond`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, Self

import attrs

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.http.api_keys import Principal
from batch_cancel.http.docs_page import Page
from batch_cancel.http.endpoint_kinds import check_cancel, check_cancel_async
from batch_cancel.http.openapi import page_at
from batch_cancel.http.request import (
    BODY_BYTES_MAX,
    Refusal,
    Refused,
    Request,
    admitted,
    bytes_declared,
    job_asked,
    job_routed,
    key_of,
    operation_id_of,
    path_below,
    reason_in,
)
from batch_cancel.http.response import Response, present, present_error
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.awaited_repositories import Blocking
from batch_cancel.use_cases.run_blocking import run

Authenticate = Callable[[str], Principal | None]
"""Returns the principal of an API key; None for an unknown key."""

AsyncAuthenticate = Callable[[str], Awaitable[Principal | None]]
"""Returns the principal of an API key; None for an unknown key."""


class Cancel(Protocol):
    """`cancel_job`, its ports bound by `functools.partial`."""

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
    """`cancel_job_async`, its ports bound by `functools.partial`."""

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
        msg = f"prefix must be empty, or begin with a slash and not end with one, got {value!r}"
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
        authenticate: returns the principal of a key.
        prefix: the path below the mount point at which it begins.
        retry_after: if given, errors worth a retry are 429 or 503 with it; otherwise they are 500.
        ok_if_cancelled: if true, a job that another operation has cancelled before is a 200, as in
            `present_error`; otherwise the contract's 400.

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
        Answer any request; no error is raised.

        Arguments:
            request: the request.
            body: its body in pieces, read only as far as needed.
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
            batch_job_id = job_asked(path, request.method)
            principal = await self.authenticate(key_of(request))
            return await _cancelled(self.cancel, batch_job_id, principal, request, body)
        except Refused as refused:
            return refused.response
        except Exception as error:  # noqa: BLE001  # Every error has an answer.
            return failed(error, self.retry_after, ok_if_cancelled=self.ok_if_cancelled)


@attrs.frozen
class RoutedEndpoint:
    """
    The endpoint behind a framework's own routing and authentication.

    Arguments:
        cancel: cancels a job.
        retry_after: as in `Endpoint`.
        ok_if_cancelled: as in `Endpoint`.

    Raises:
        TypeError: `cancel`, or a port that is bound to it, is of the wrong kind.
    """

    cancel: Cancel = attrs.field(validator=_is_cancel)
    retry_after: timedelta | None = None
    ok_if_cancelled: bool = attrs.field(default=False, kw_only=True)

    def respond(
        self,
        batch_job_id: str,
        principal: Principal | None,
        request: Request,
        body: Iterable[bytes],
    ) -> Response:
        """
        Answer a request to cancel a job; no error is raised.

        Arguments:
            batch_job_id: the id that the framework has found in the path.
            principal: the one that the framework has authenticated; None for none.
            request: the request, its path as it was sent.
            body: its body in pieces, read only as far as needed.
        """
        awaited = AsyncRoutedEndpoint(
            _BlockingCancel(self.cancel), self.retry_after, ok_if_cancelled=self.ok_if_cancelled
        )
        return run(awaited.respond(batch_job_id, principal, request, _BlockingBody(body)))


@attrs.frozen
class AsyncRoutedEndpoint:
    """As `RoutedEndpoint`, on asyncio."""

    cancel: AsyncCancel = attrs.field(validator=_is_cancel_async)
    retry_after: timedelta | None = None
    ok_if_cancelled: bool = attrs.field(default=False, kw_only=True)

    async def respond(
        self,
        batch_job_id: str,
        principal: Principal | None,
        request: Request,
        body: AsyncIterable[bytes],
    ) -> Response:
        """As `RoutedEndpoint.respond`, awaited."""
        try:
            routed = job_routed(batch_job_id, request)
            return await _cancelled(self.cancel, routed, principal, request, body)
        except Refused as refused:
            return refused.response
        except Exception as error:  # noqa: BLE001  # Every error has an answer.
            return failed(error, self.retry_after, ok_if_cancelled=self.ok_if_cancelled)


async def _cancelled(
    cancel: AsyncCancel,
    batch_job_id: str,
    principal: Principal | None,
    request: Request,
    body: AsyncIterable[bytes],
) -> Response:
    """Check the rest of the request, cancel the job and return the answer."""
    principal = admitted(principal)
    bytes_declared(request)
    operation_id = operation_id_of(request)
    reason = reason_in(await _gathered(body), request)
    result = cancel(
        batch_job_id,
        organization_id=principal.organization_id,
        operation_id=operation_id,
        actor=principal.actor,
        reason=reason,
    )
    return present(await kinds.returned_async(result))


async def _gathered(body: AsyncIterable[bytes]) -> bytes:
    """Join the pieces of a body, up to the piece that makes it too large."""
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
        except StopAsyncIteration as error:  # A fault of the server, not the end of the body.
            raise RuntimeError from error


@contextmanager
def _broken_refused() -> Generator[None]:
    """Treat an error of the server while it reads the body as a broken body."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(Refusal.BROKEN_BODY) from error


def failed(
    error: BaseException, retry_after: timedelta | None, *, ok_if_cancelled: bool = False
) -> Response:
    """Return the answer to an error, and log it if the client did not cause it."""
    response = present_error(error, retry_after, ok_if_cancelled=ok_if_cancelled)
    if response.status not in {200, 400, 404}:
        log.request_failed(response.status, error)
    return response
