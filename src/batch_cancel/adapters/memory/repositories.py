"""
The repositories of one transaction of the memory store, blocking and asyncio.

They are made for each transaction, and are not frozen: making them would take three times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

import attrs

from batch_cancel.adapters.memory import bulk, history, rows, sweep, work
from batch_cancel.adapters.memory.rows import Rows
from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.drift import Inventory
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.sweep import Chunk
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.use_cases.awaited_repositories import AwaitedRepositories


@attrs.define(eq=False)
class _Jobs:
    rows: Rows

    def lock(self, key: JobKey) -> Job | None:
        return rows.lock(self.rows, key)

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        rows.mark_cancelled(self.rows, job.key, record)


@attrs.define(eq=False)
class _Contacts:
    rows: Rows
    above: int | None = None

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int | None:
        return sweep.cancel_unless_many(self.rows, key, statuses, self.above)


@attrs.define(eq=False)
class _Sweep:
    rows: Rows
    above: int

    def lock(self, record: CancellationRecord) -> CancellationRecord | None:
        return sweep.lock(self.rows, record)

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        return sweep.cancel(self.rows, key, statuses, self.above)

    def note(self, record: CancellationRecord) -> None:
        sweep.note(self.rows, record)


@attrs.define(eq=False)
class _Outbox:
    rows: Rows

    def settle(self, record: CancellationRecord) -> None:
        rows.mark_done(self.rows, record)

    def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        return rows.claim_record(self.rows, record)

    def find(self, key: JobKey) -> CancellationRecord | None:
        return rows.find(self.rows, key)

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        return rows.take(self.rows, limit, lease, announcements=announcements)


@attrs.define(eq=False)
class _Inspection:
    rows: Rows

    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        return rows.look(self.rows, limit, statuses, older_than)


@attrs.define(eq=False)
class _Overview:
    rows: Rows

    def look(self, key: JobKey) -> Overview | None:
        return rows.overview(self.rows, key)


@attrs.define(eq=False)
class _History:
    rows: Rows

    def page(self, wanted: Wanted, limit: int) -> list[CancellationRecord]:
        return history.page(self.rows, wanted, limit)

    def forget(self, before: datetime, retry_window: timedelta, limit: int) -> int:
        return history.forget(self.rows, before, retry_window, limit)


@attrs.define(eq=False)
class _Bulk:
    rows: Rows
    above: int | None = None

    def find(self, wanted: JobFilter, after: JobKey | None, limit: int) -> list[JobKey]:
        return bulk.find(self.rows, wanted, after, limit)

    def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        return bulk.lock(self.rows, keys)

    def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
    ) -> Mapping[JobKey, int] | None:
        return sweep.cancel_of_many_unless_many(self.rows, keys, statuses, self.above)

    def mark_cancelled(self, records: Sequence[CancellationRecord]) -> None:
        bulk.mark_cancelled(self.rows, records)


@attrs.define(eq=False)
class _Work:
    rows: Rows

    def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        return work.start(self.rows, key, statuses, deferred_id)

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        return work.claim(self.rows, key, statuses, limit)

    def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
    ) -> list[tuple[str, Mapping[str, object]]]:
        return work.claim_returning(self.rows, key, statuses, limit, columns)

    def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> bool:
        return work.has_contacts(self.rows, key, statuses)

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        return work.settle(self.rows, key, contact_id, settlement)

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        return work.expire(self.rows, key, settlement, older_than)

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        return work.append(self.rows, job, contacts)

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        return work.finish(self.rows, key, unfinished)

    def status(self, key: JobKey) -> str | None:
        return work.status_of(self.rows, key)


@attrs.define(eq=False)
class MemoryRepositories:
    """The repositories of one transaction of a memory store."""

    jobs: _Jobs
    contacts: _Contacts
    outbox: _Outbox
    inspection: _Inspection
    work: _Work
    overview: _Overview
    history: _History
    bulk: _Bulk
    sweep: _Sweep | None

    @classmethod
    def of(cls, draft: Rows, above: int | None, *, is_joined: bool) -> MemoryRepositories:
        """
        Return the repositories over these rows.

        Arguments:
            draft: the rows.
            above: how many contacts are cancelled in one transaction; None for all.
            is_joined: whether it is a savepoint, so that there is no sweep.
        """
        above = None if is_joined else above
        return cls(
            _Jobs(draft),
            _Contacts(draft, above),
            _Outbox(draft),
            _Inspection(draft),
            _Work(draft),
            _Overview(draft),
            _History(draft),
            _Bulk(draft, above),
            None if above is None else _Sweep(draft, above),
        )


class AsyncMemoryRepositories(AwaitedRepositories):
    """As `MemoryRepositories`, awaited."""
