"""
The repositories of a blocking store, in wrappers that look awaited.

A blocking function wraps those of its caller's store, and the rules of
`batch_cancel.use_cases.run_blocking` hold for them. A store of ours wraps its own, and is the
asyncio one by that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Generic, ParamSpec, Protocol, TypeVar, cast

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
    AsyncBulkRepository,
    AsyncContactRepository,
    AsyncHistoryRepository,
    AsyncInspectionRepository,
    AsyncJobRepository,
    AsyncOutbox,
    AsyncOverviewRepository,
    AsyncReadingWorkRepository,
    AsyncRepositories,
    AsyncSweepRepository,
    BulkRepositories,
    BulkRepository,
    ContactRepository,
    HistoryRepository,
    InspectionRepository,
    JobRepository,
    Outbox,
    OverviewRepository,
    ReadingWorkRepository,
    ReportingRepositories,
    Repositories,
    SweepRepositories,
    SweepRepository,
    WorkRepository,
)
from batch_cancel.use_cases.kinds import returned

_P = TypeVar("_P")
_R = TypeVar("_R")
_A = ParamSpec("_A")


class Call(Protocol):
    """Calls a method of a blocking port."""

    async def __call__(
        self, method: Callable[_A, _R], /, *arguments: _A.args, **named: _A.kwargs
    ) -> _R:
        """Return the answer of the method."""
        ...


async def at_once(method: Callable[_A, _R], /, *arguments: _A.args, **named: _A.kwargs) -> _R:
    """Call the method here and now; this never suspends."""
    return method(*arguments, **named)


@attrs.define(eq=False)
class Wrapper(Generic[_P]):
    """
    A port that looks awaited.

    Arguments:
        port: the port, or a hook.
    """

    port: _P


class Blocking(Wrapper[_P]):
    """A port, or a hook, that the caller passed to a blocking function."""


@attrs.define(eq=False)
class Awaited(Wrapper[_P]):
    """
    A repository that looks awaited.

    Arguments:
        port: the repository.
        call: calls its methods.
    """

    call: Call = at_once

    async def call_checked(
        self, method: Callable[_A, _R], /, *arguments: _A.args, **named: _A.kwargs
    ) -> _R:
        """
        Call a method, and check its answer, which no use case does.

        Raises:
            TypeError: it returned an awaitable: it is `async def` by mistake, and did nothing.
        """
        return returned(await self.call(method, *arguments, **named))


class _Jobs(Awaited[JobRepository]):
    async def lock(self, key: JobKey, /) -> Job | None:
        return await self.call(self.port.lock, key)

    async def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        await self.call_checked(self.port.mark_cancelled, job, record)


class _Contacts(Awaited[ContactRepository]):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int | None:
        return await self.call(self.port.cancel, key, statuses)


class _Sweep(Awaited[SweepRepository]):
    async def lock(self, record: CancellationRecord, /) -> CancellationRecord | None:
        return await self.call(self.port.lock, record)

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> Chunk:
        return await self.call(self.port.cancel, key, statuses)

    async def note(self, record: CancellationRecord, /) -> None:
        await self.call_checked(self.port.note, record)


class _Outbox(Awaited[Outbox]):
    async def settle(self, record: CancellationRecord, /) -> None:
        await self.call_checked(self.port.settle, record)

    async def claim(self, record: CancellationRecord, /) -> CancellationRecord | None:
        return await self.call(self.port.claim, record)

    async def find(self, key: JobKey, /) -> CancellationRecord | None:
        return await self.call(self.port.find, key)

    async def take(
        self, limit: int, lease: timedelta, /, *, announcements: bool
    ) -> list[CancellationRecord]:
        return await self.call(self.port.take, limit, lease, announcements=announcements)


class _Inspection(Awaited[InspectionRepository]):
    async def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta, /
    ) -> Inventory:
        return await self.call(self.port.look, limit, statuses, older_than)


class _Overview(Awaited[OverviewRepository]):
    async def look(self, key: JobKey, /) -> Overview | None:
        return await self.call(self.port.look, key)


class _History(Awaited[HistoryRepository]):
    async def page(self, wanted: Wanted, limit: int, /) -> list[CancellationRecord]:
        return await self.call(self.port.page, wanted, limit)

    async def forget(self, before: datetime, retry_window: timedelta, limit: int, /) -> int:
        return await self.call(self.port.forget, before, retry_window, limit)


class _Bulk(Awaited[BulkRepository]):
    async def find(self, wanted: JobFilter, after: JobKey | None, limit: int, /) -> list[JobKey]:
        return await self.call(self.port.find, wanted, after, limit)

    async def lock(self, keys: Sequence[JobKey], /) -> Mapping[JobKey, Job]:
        return await self.call(self.port.lock, keys)

    async def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus], /
    ) -> Mapping[JobKey, int] | None:
        return await self.call(self.port.cancel, keys, statuses)

    async def mark_cancelled(self, records: Sequence[CancellationRecord], /) -> None:
        await self.call_checked(self.port.mark_cancelled, records)


class _Work(Awaited[WorkRepository]):
    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None, /
    ) -> bool:
        return await self.call_checked(self.port.start, key, statuses, deferred_id)

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int, /
    ) -> list[str]:
        return await self.call(self.port.claim, key, statuses, limit)

    async def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
        /,
    ) -> Sequence[tuple[str, Mapping[str, object]]]:
        reading = cast("ReadingWorkRepository", self.port)
        return await self.call(reading.claim_returning, key, statuses, limit, columns)

    async def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> bool:
        reading = cast("ReadingWorkRepository", self.port)
        return await self.call_checked(reading.has_contacts, key, statuses)

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement, /) -> bool:
        return await self.call_checked(self.port.settle, key, contact_id, settlement)

    async def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta, /) -> int:
        return await self.call_checked(self.port.expire, key, settlement, older_than)

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]], /) -> int:
        return await self.call_checked(self.port.append, job, contacts)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus], /) -> bool:
        return await self.call_checked(self.port.finish, key, unfinished)

    async def status(self, key: JobKey, /) -> str | None:
        return await self.call_checked(self.port.status, key)


class CompleteRepositories(ReportingRepositories, BulkRepositories, SweepRepositories, Protocol):
    """The repositories of a store that offers all, the sweep of a large job perhaps."""

    @property
    def outbox(self) -> Outbox:
        """The records of cancellations."""
        ...

    @property
    def inspection(self) -> InspectionRepository:
        """The inspection."""
        ...

    @property
    def work(self) -> ReadingWorkRepository:
        """The workers' steps."""
        ...

    @property
    def overview(self) -> OverviewRepository:
        """A look at one job."""
        ...

    @property
    def history(self) -> HistoryRepository:
        """The records of all cancellations."""
        ...

    @property
    def bulk(self) -> BulkRepository:
        """The steps of many jobs."""
        ...


class AwaitedRepositories:
    """
    The repositories of one transaction of a store of ours, in wrappers.

    Arguments:
        blocking: the repositories.
        call: calls their methods.
    """

    def __init__(self, blocking: CompleteRepositories, call: Call = at_once) -> None:
        self.jobs: AsyncJobRepository = _Jobs(blocking.jobs, call)
        self.contacts: AsyncContactRepository = _Contacts(blocking.contacts, call)
        self.outbox: AsyncOutbox = _Outbox(blocking.outbox, call)
        self.inspection: AsyncInspectionRepository = _Inspection(blocking.inspection, call)
        self.work: AsyncReadingWorkRepository = _Work(blocking.work, call)
        self.overview: AsyncOverviewRepository = _Overview(blocking.overview, call)
        self.history: AsyncHistoryRepository = _History(blocking.history, call)
        self.bulk: AsyncBulkRepository = _Bulk(blocking.bulk, call)
        sweep = blocking.sweep
        self.sweep: AsyncSweepRepository | None = None if sweep is None else _Sweep(sweep, call)


def in_wrappers(repositories: Repositories) -> AsyncRepositories:
    """Return the repositories of one transaction, in wrappers."""
    return _Repositories(repositories)


class _Repositories(Wrapper[Repositories]):
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
