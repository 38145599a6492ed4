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

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Generic, TypeVar, cast

import attrs

from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.drift import Inventory
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.sweep import Chunk
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.ports import (
    AsyncBulkScheduler,
    AsyncRepeatableUnitOfWork,
    AsyncScheduler,
    AsyncUnitOfWork,
    BulkRepository,
    BulkScheduler,
    ContactRepository,
    HistoryRepository,
    InspectableScheduler,
    InspectionRepository,
    JobRepository,
    Outbox,
    OverviewRepository,
    RepeatableUnitOfWork,
    Repositories,
    Scheduler,
    SweepRepository,
    UnitOfWork,
    WorkRepository,
)
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.kinds import opened, returned
from batch_cancel.use_cases.once import Once
from batch_cancel.use_cases.unexpected import original

_T = TypeVar("_T")
_P = TypeVar("_P")

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
    return cast("Blocking[object]", port).port if isinstance(port, Blocking) else port


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
    if callable(getattr(own(scheduler), "cancel_many", None)):
        return cast("AsyncBulkScheduler", scheduler)
    return None


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


@attrs.define(eq=False)
class Blocking(Generic[_P]):
    """
    A port that looks awaited.

    Arguments:
        port: the port that the caller passed to a blocking function, or one of its attributes.
    """

    port: _P


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

    def once(self) -> _Transaction:
        """Return a transaction for one call, by `begin` if the store lacks the method."""
        return _Transaction(opened(Once(self.port)))

    async def pause(self, attempts: int, /) -> None:
        """Wait before another attempt; only for a store that is `repeatable`."""
        cast("RepeatableUnitOfWork", self.port).pause(attempts)


@attrs.define(eq=False)
class _Transaction:
    """A transaction that looks awaited; cheaper than a generator of contextlib's."""

    within: AbstractContextManager[Repositories]
    leave: Callable[..., bool | None] = attrs.field(init=False)

    async def __aenter__(self) -> _Repositories:
        self.leave = self.within.__exit__  # Read first, as `with` does.
        return _Repositories(self.within.__enter__())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if error is not None and (raised := original(error)) is not error:
            return self.leave(type(raised), raised, raised.__traceback__)
        return self.leave(kind, error, traceback)


class _Repositories(Blocking[Repositories]):
    @property
    def jobs(self) -> _Jobs:
        return _Jobs(self.port.jobs)

    @property
    def contacts(self) -> _Contacts:
        return _Contacts(self.port.contacts)

    @property
    def outbox(self) -> _Outbox | None:
        outbox = self.port.outbox
        return None if outbox is None else _Outbox(outbox)

    @property
    def inspection(self) -> _Inspection | None:
        inspection = self.port.inspection
        return None if inspection is None else _Inspection(inspection)

    @property
    def work(self) -> _Work | None:
        work = self.port.work
        return None if work is None else _Work(work)

    @property
    def overview(self) -> _Overview | None:
        # A store may be older than this attribute.
        overview: OverviewRepository | None = getattr(self.port, "overview", None)
        return None if overview is None else _Overview(overview)

    @property
    def history(self) -> _History | None:
        history: HistoryRepository | None = getattr(self.port, "history", None)
        return None if history is None else _History(history)

    @property
    def bulk(self) -> _Bulk | None:
        bulk: BulkRepository | None = getattr(self.port, "bulk", None)
        return None if bulk is None else _Bulk(bulk)

    @property
    def sweep(self) -> _Sweep | None:
        sweep: SweepRepository | None = getattr(self.port, "sweep", None)
        return None if sweep is None else _Sweep(sweep)


class _Jobs(Blocking[JobRepository]):
    async def lock(self, key: JobKey, /) -> Job | None:
        return self.port.lock(key)

    async def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        self.port.mark_cancelled(job, record)


class _Contacts(Blocking[ContactRepository]):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int | None:
        return self.port.cancel(key, statuses)


class _Sweep(Blocking[SweepRepository]):
    async def lock(self, record: CancellationRecord, /) -> CancellationRecord | None:
        return self.port.lock(record)

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> Chunk:
        return self.port.cancel(key, statuses)

    async def note(self, record: CancellationRecord, /) -> None:
        self.port.note(record)


class _Outbox(Blocking[Outbox]):
    async def settle(self, record: CancellationRecord, /) -> None:
        self.port.settle(record)

    async def claim(self, record: CancellationRecord, /) -> CancellationRecord | None:
        return self.port.claim(record)

    async def find(self, key: JobKey, /) -> CancellationRecord | None:
        return self.port.find(key)

    async def take(
        self, limit: int, lease: timedelta, /, *, announcements: bool
    ) -> list[CancellationRecord]:
        return self.port.take(limit, lease, announcements=announcements)


class _Inspection(Blocking[InspectionRepository]):
    async def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta, /
    ) -> Inventory:
        return self.port.look(limit, statuses, older_than)


class _Overview(Blocking[OverviewRepository]):
    async def look(self, key: JobKey, /) -> Overview | None:
        return self.port.look(key)


class _History(Blocking[HistoryRepository]):
    async def page(self, wanted: Wanted, limit: int, /) -> list[CancellationRecord]:
        return self.port.page(wanted, limit)

    async def forget(self, before: datetime, retry_window: timedelta, limit: int, /) -> int:
        return self.port.forget(before, retry_window, limit)


class _Bulk(Blocking[BulkRepository]):
    async def find(self, wanted: JobFilter, after: JobKey | None, limit: int, /) -> list[JobKey]:
        return self.port.find(wanted, after, limit)

    async def lock(self, keys: Sequence[JobKey], /) -> Mapping[JobKey, Job]:
        return self.port.lock(keys)

    async def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus], /
    ) -> Mapping[JobKey, int] | None:
        return self.port.cancel(keys, statuses)

    async def mark_cancelled(self, records: Sequence[CancellationRecord], /) -> None:
        self.port.mark_cancelled(records)


class _Work(Blocking[WorkRepository]):
    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None, /
    ) -> bool:
        return self.port.start(key, statuses, deferred_id)

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int, /
    ) -> list[str]:
        return self.port.claim(key, statuses, limit)

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement, /) -> bool:
        return self.port.settle(key, contact_id, settlement)

    async def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta, /) -> int:
        return self.port.expire(key, settlement, older_than)

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]], /) -> int:
        return self.port.append(job, contacts)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus], /) -> bool:
        return self.port.finish(key, unfinished)

    async def status(self, key: JobKey, /) -> str | None:
        return self.port.status(key)
