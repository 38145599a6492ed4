"""
The port of many jobs as Postgres keeps it, see `postgres_model`.

Each method is one statement of `adapters/postgres/bulk.sql`, and the record of a cancelled job is
read in one more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import attrs

from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.testing.explore.rows import (
    KEYS,
    NOW,
    RECORD,
    index_of,
    open_contacts,
    record_of,
    there,
)
from batch_cancel.testing.explore.statements_model import Cancelling
from batch_cancel.testing.explore.steps import Send


class Bulk(Cancelling):
    """Many jobs, see `AsyncBulkRepository`."""

    async def find(self, wanted: JobFilter, _after: JobKey | None, _limit: int, /) -> list[JobKey]:
        """Read the ids without a lock; there is one page."""
        statuses = await self.transaction.look(
            "looks for the jobs of a filter",
            lambda rows: tuple(row[0] if row else None for row in rows[:RECORD]),
        )
        pairs = zip(KEYS, statuses, strict=True)
        return [key for key, status in pairs if wanted.holds(key, status, None, None)]

    async def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        """Lock job by job in the order of their ids, then read the records of the cancelled."""
        found = dict[JobKey, Job]()
        for index in sorted({at for key in keys if (at := index_of(key)) is not None}):
            status, deferred_id = await self.transaction.lock(
                f"locks job {index} of many", index, lambda row: (row[0], row[1])
            )
            found[KEYS[index]] = Job(KEYS[index], status, deferred_id, NOW)
        cancelled = [there(it.key) for it in found.values() if it.status == JobStatus.CANCELLED]
        if not cancelled:
            return found
        records = await self.transaction.look(
            "reads the records of many",
            lambda rows: tuple(rows[RECORD + index] for index in cancelled),
        )
        for index, row in zip(cancelled, records, strict=True):
            if row:
                key = KEYS[index]
                found[key] = attrs.evolve(found[key], cancellation=record_of(row, index))
        return found

    async def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
    ) -> Mapping[JobKey, int] | None:
        """Update row by row what one snapshot found of all; nothing if it is much."""
        above = self.transaction.sweep_above
        found = await self.transaction.look(
            "looks for contacts of many jobs",
            lambda rows: tuple(
                (index, key) for key in keys for index in open_contacts(rows, there(key), statuses)
            ),
        )
        if above is not None and len(found) > above:
            return None
        counts = dict.fromkeys(keys, 0)
        for index, key in found:
            counts[key] += await self.cancel_one(index, statuses)
        return counts

    async def mark_cancelled(self, records: Sequence[CancellationRecord]) -> None:
        """Write jobs and records in one statement."""
        await Send("marks the jobs and writes their records")
        for record in records:
            index = there(record.key)
            self.transaction.write_job(index, JobStatus.CANCELLED)
            self.transaction.write_record(index, record)
