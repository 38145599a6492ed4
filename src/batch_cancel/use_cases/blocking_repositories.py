"""
The repositories of a blocking store, in wrappers that look awaited.

The rules of `batch_cancel.use_cases.run_blocking` hold for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Generic, TypeVar, cast

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
    AsyncRepositories,
    BulkRepository,
    ContactRepository,
    HistoryRepository,
    InspectionRepository,
    JobRepository,
    Outbox,
    OverviewRepository,
    ReadingWorkRepository,
    Repositories,
    SweepRepository,
    WorkRepository,
)

_P = TypeVar("_P")


@attrs.define(eq=False)
class Blocking(Generic[_P]):
    """
    A port that looks awaited.

    Arguments:
        port: the port that the caller passed to a blocking function, or one of its attributes.
    """

    port: _P


def in_wrappers(repositories: Repositories) -> AsyncRepositories:
    """Return the repositories of one transaction, in wrappers."""
    return _Repositories(repositories)


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

    async def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
        /,
    ) -> Sequence[tuple[str, Mapping[str, object]]]:
        reading = cast("ReadingWorkRepository", self.port)
        return reading.claim_returning(key, statuses, limit, columns)

    async def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> bool:
        return cast("ReadingWorkRepository", self.port).has_contacts(key, statuses)

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
