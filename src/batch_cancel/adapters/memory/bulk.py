"""Many jobs of the memory store's rows, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from batch_cancel.adapters.memory.rows import (
    Rows,
    cancel_contacts,
    job_of,
)
from batch_cancel.adapters.memory.rows import mark_cancelled as mark_one
from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus


def find(rows: Rows, wanted: JobFilter, after: JobKey | None, limit: int) -> list[JobKey]:
    """Return the keys of the wanted jobs, by id."""
    keys = [
        key
        for key, row in list(rows.items())
        if wanted.holds(key, row.status, row.scheduled_at, row.created_at)
        and (after is None or key.batch_job_id > after.batch_job_id)
    ]
    return sorted(keys, key=_id)[:limit]


def _id(key: JobKey) -> str:
    return key.batch_job_id


def lock(rows: Rows, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
    """Return the jobs as they are now; the running transaction has all locks."""
    return {key: job_of(rows, key) for key in keys if key in rows}


def cancel(
    rows: Rows, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
) -> Mapping[JobKey, int]:
    """Set contacts to cancelled, and return how many they are by job."""
    return {key: cancel_contacts(rows, key, statuses) for key in keys}


def mark_cancelled(rows: Rows, records: Sequence[CancellationRecord]) -> None:
    """Set the jobs to cancelled and keep their records."""
    for record in records:
        mark_one(rows, record.key, record)
