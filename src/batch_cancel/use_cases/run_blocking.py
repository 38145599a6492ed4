"""
Run a use case on blocking ports.

Each use case is a coroutine, written once. Its blocking function passes it the caller's ports, in
wrappers whose methods look awaited, and runs it to its end with one `send(None)`. No event loop
is started, asked for or needed.

Rule 1: a wrapper calls the port and returns its answer; it never suspends. A coroutine that
        suspends has got an asyncio port, and ends in a `TypeError`.
Rule 2: an attribute of a port is read only when it is used: a store may lack an optional one.
Rule 3: the kind and the capabilities of a port are read from the caller's own object.
Rule 4: an exception of a port passes through as it is. Python turns a StopIteration that leaves a
        coroutine into a RuntimeError (PEP 479); here it is turned back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from types import TracebackType
from typing import Final, TypeVar, cast

import attrs

from batch_cancel.ports import (
    AsyncBulkScheduler,
    AsyncRepeatableUnitOfWork,
    AsyncRepositories,
    AsyncScheduler,
    AsyncUnitOfWork,
    BulkScheduler,
    InspectableScheduler,
    RepeatableUnitOfWork,
    Repositories,
    Scheduler,
    UnitOfWork,
)
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.autocommit import Autocommit
from batch_cancel.use_cases.awaited_repositories import Blocking, Wrapper, in_wrappers
from batch_cancel.use_cases.kinds import opened, returned
from batch_cancel.use_cases.unexpected import original

_T = TypeVar("_T")

_SUSPENDED: Final = (
    "a port is of the asyncio kind, and this function is blocking: await the function of the same "
    "name that ends in _async, or pass a blocking one"
)


def run(use_case: Coroutine[object, None, _T]) -> _T:
    """
    Run a coroutine to its end, and return what it returns.

    Raises:
        TypeError: it suspended, so a port is of the asyncio kind; it is closed.
        BaseException: whatever the coroutine raises.
    """
    try:
        use_case.send(None)
    except StopIteration as end:
        answer: _T = end.value
        return answer
    except RuntimeError as error:
        raised = original(error)
        if raised is error:
            raise
    else:
        use_case.close()
        raise kinds.WrongKind(_SUSPENDED)
    context = raised.__context__
    try:
        raise raised
    finally:
        raised.__context__ = context  # `raise` sets what the caller is handling.


# Checks of the caller's own object ---------------------------------------------------------------


def own(port: object) -> object:
    """Return the caller's own object: the port in a wrapper, or the port itself."""
    return cast("Wrapper[object]", port).port if isinstance(port, Wrapper) else port


def is_blocking(port: object) -> bool:
    """Check whether a port was passed to a blocking function."""
    return isinstance(port, Blocking)


def repeatable(uow: AsyncUnitOfWork) -> AsyncRepeatableUnitOfWork | None:
    """Return the store if its failed transactions can be retried; None if not."""
    if isinstance(uow, BlockingStore):
        return uow if isinstance(uow.port, RepeatableUnitOfWork) else None
    return uow if isinstance(uow, AsyncRepeatableUnitOfWork) else None


def removes_many(scheduler: AsyncScheduler) -> AsyncBulkScheduler | None:
    """Return the scheduler if it can remove many deferred starts at once; None if not."""
    try:
        is_able = callable(cast("BulkScheduler", own(scheduler)).cancel_many)
    except Exception:  # noqa: BLE001  # It has none; or a property or a proxy raises what it likes.
        return None
    return cast("AsyncBulkScheduler", scheduler) if is_able else None


def check_store(uow: object) -> None:
    """Check that the store is of the kind of the function that it was passed to."""
    check = kinds.check_store if is_blocking(uow) else kinds.check_store_async
    check(own(uow))


def check_scheduler(scheduler: object) -> None:
    """Check that the scheduler is of the kind of the function that it was passed to."""
    check = kinds.check_scheduler if is_blocking(scheduler) else kinds.check_scheduler_async
    check(own(scheduler))


def check_inspectable(scheduler: object) -> None:
    """Check the kind of a scheduler, with `waiting_among` or without."""
    blocks = is_blocking(scheduler)
    check = kinds.check_inspectable if blocks else kinds.check_inspectable_async
    check(own(scheduler))


def check_starts(store: object) -> None:
    """Check that the store of deferred starts is of the kind of the function."""
    check = kinds.check_starts if is_blocking(store) else kinds.check_starts_async
    check(own(store))


def check_hook(hook: object) -> None:
    """Check that the hook, if there is one, can be called by the function."""
    check = kinds.check_hook if is_blocking(hook) else kinds.check_hook_async
    check(own(hook))


# The wrappers ------------------------------------------------------------------------------------


class BlockingHook(Blocking[Callable[[_T], object]]):
    """A hook that must not return an awaitable."""

    def __call__(self, subject: _T) -> object:
        """Call the hook."""
        return returned(self.port(subject))


class BlockingScheduler(Blocking[Scheduler]):
    """A scheduler that looks awaited."""

    async def cancel(self, deferred_id: str, operation_id: str, /) -> bool:
        """Remove the deferred start."""
        return returned(self.port.cancel(deferred_id, operation_id))

    async def cancel_many(self, starts: Sequence[tuple[str, str]], /) -> Sequence[bool | None]:
        """Remove many; only for a scheduler that can, see `removes_many`."""
        return returned(cast("BulkScheduler", self.port).cancel_many(starts))


class BlockingInspectable(Blocking[InspectableScheduler]):
    """A scheduler with `waiting_among` that looks awaited."""

    async def waiting_among(self, deferred_ids: AbstractSet[str], /) -> set[str]:
        """Return those of the starts that wait to fire."""
        return returned(self.port.waiting_among(deferred_ids))


@contextmanager
def entered(manager: AbstractAsyncContextManager[_T]) -> Generator[_T]:
    """Enter an asyncio context manager that never suspends, and leave it."""
    value = run(manager.__aenter__())
    try:
        yield value
    except BaseException as error:
        run(manager.__aexit__(type(error), error, error.__traceback__))
        raise
    run(manager.__aexit__(None, None, None))


class BlockingStore(Blocking[UnitOfWork]):
    """A store that looks awaited."""

    def begin(self) -> _Transaction:
        """Return a transaction; it sends no statement yet."""
        return _Transaction(opened(self.port))

    def begin_autocommit(self) -> _Transaction:
        """Return a transaction, by `begin` if the store lacks the method."""
        return _Transaction(opened(Autocommit(self.port)))

    async def pause(self, attempts: int, /) -> None:
        """Wait before another attempt; only for a store that is `repeatable`."""
        cast("RepeatableUnitOfWork", self.port).pause(attempts)


@attrs.define(eq=False)
class _Transaction:
    """A transaction that looks awaited; cheaper than a generator of contextlib's."""

    within: AbstractContextManager[Repositories]
    leave: Callable[..., bool | None] = attrs.field(init=False)

    async def __aenter__(self) -> AsyncRepositories:
        self.leave = self.within.__exit__  # Read first, as `with` does.
        return in_wrappers(self.within.__enter__())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if error is not None and (raised := original(error)) is not error:
            return self.leave(type(raised), raised, raised.__traceback__)
        return self.leave(kind, error, traceback)
