"""Rows of a SQLite file as values of the domain, and the error for rows not as written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, cast

import attrs

from batch_cancel.adapters.sqlite.connection import SQL, Connection, now, time_of
from batch_cancel.domain.errors import Fault, StoreFailed, shown
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus, Removal

_MARKS: Final = ":statuses"
"""The marker that is replaced by one placeholder for each status."""

_TRIGGERS: Final = (
    "a trigger on batch_jobs, batch_contacts or batch_cancellations skips, undoes or adds to the "
    "writes: change it or drop it (`batch-cancel doctor` lists the triggers)"
)


def written_otherwise(what: str, fault: Fault = Fault.REFUSED) -> StoreFailed:
    """Return the error for rows that are not as they were written."""
    return StoreFailed(f"{what}; {_TRIGGERS}", fault=fault)


def read_job(key: JobKey, connection: Connection) -> Job | None:
    """
    Read a job with its record; None if there is none.

    Raises:
        StoreFailed: there are several.
    """
    if not key.can_exist:  # SQLite's driver refuses a lone surrogate, so no row has one.
        return None
    rows = connection.rows(SQL["read_job"], named(key))
    if len(rows) > 1:
        reason = (
            f"{len(rows)} rows match the job {shown(key.batch_job_id)}: the unique indexes of "
            "batch_jobs and batch_cancellations are missing, so restore them from tables.sql"
        )
        raise StoreFailed(reason)
    for status, deferred_id, *record in rows:
        return Job(
            key,
            cast("str | None", status),
            cast("str | None", deferred_id),
            now(),
            read_record(key, record),
        )
    return None


def read_record(key: JobKey, row: Sequence[object]) -> CancellationRecord | None:
    """Read a record from its columns; None if they are NULL."""
    operation_id, previous_status, contacts_cancelled, actor, reason, *rest = row
    if operation_id is None:
        return None
    cancelled_at, deferred_id, removal, is_announced = rest
    return CancellationRecord(
        operation_id=cast("str", operation_id),
        key=key,
        previous_status=JobStatus(cast("str", previous_status)),
        contacts_cancelled=cast("int", contacts_cancelled),
        actor=cast("str | None", actor),
        reason=cast("str | None", reason),
        cancelled_at=time_of(cast("str", cancelled_at)),
        deferred_id=cast("str | None", deferred_id),
        removal=Removal(cast("str", removal)),
        is_announced=bool(is_announced),
    )


def read_found(key: JobKey, row: Sequence[object]) -> CancellationRecord | None:
    """Read a record with `taken_at` and `is_undone`."""
    *record, taken_at, is_undone = row
    found = read_record(key, record)
    if found is None:
        return None
    return attrs.evolve(found, taken_at=time_of(cast("str", taken_at)), is_undone=bool(is_undone))


def named(key: JobKey) -> tuple[str, str | None]:
    """Return the parameters that name a job."""
    return key.batch_job_id, key.organization_id


def listed(ids: Iterable[str]) -> str:
    """Return ids as one parameter, however many there are."""
    return json.dumps(list(ids), ensure_ascii=False)


def with_marks(statuses: AbstractSet[str], name: str) -> str:
    """Return a statement with placeholders for so many statuses."""
    return SQL[name].replace(_MARKS, ", ".join("?" * len(statuses)))


def quoted(name: str) -> str:
    """Return the name of a column in quotes."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def has_triggers(connection: Connection) -> bool:
    """Check whether a trigger may skip, undo or add to the writes."""
    return connection.row(SQL["has_triggers"]) == (1,)


def count_contacts(
    connection: Connection, key: JobKey, statuses: AbstractSet[ContactStatus]
) -> int:
    """Return how many of a job's contacts are in these statuses."""
    [(count,)] = connection.rows(
        with_marks(statuses, "count_contacts_in"), (*named(key), *sorted(statuses))
    )
    return cast("int", count)


def key_of(job_id: object, organization_id: object) -> JobKey:
    """Return a job's name from its columns."""
    return JobKey(cast("str", job_id), cast("str | None", organization_id))
