"""
The repositories of one transaction on a SQLite file.

Rule 1: a row count is not trusted if there is a trigger. The trigger may have skipped the write,
        undone it, or changed other rows. So rows are read back after a write, in the same
        transaction; the job and its record are always read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import attrs

from batch_cancel.adapters.sqlite.connection import SQL, Connection, now, text_of
from batch_cancel.adapters.sqlite.history import History, keep_earlier
from batch_cancel.adapters.sqlite.rows import (
    count_contacts,
    has_triggers,
    key_of,
    named,
    read_found,
    read_job,
    read_record,
    with_marks,
    written_otherwise,
)
from batch_cancel.adapters.sqlite.work_repository import Work
from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.cancellation import next_turn
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.outcomes import RECORD_CHANGED, job_differs, left_open, not_cancelled
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

_CANCELLED: Final = frozenset({ContactStatus.CANCELLED})
_KNOWN: Final = {status.value: status for status in ContactStatus}
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_NO_START_TIME: Final = (
    "a SQLite file does not hold the time when a job is to start: leave it out of the filter"
)


@attrs.frozen
class _Jobs:
    connection: Connection

    def lock(self, key: JobKey) -> Job | None:
        # The transaction holds the lock of the whole file.
        return read_job(key, self.connection)

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        self.connection.execute(
            SQL["mark_job_cancelled"],
            (JobStatus.CANCELLED.value, text_of(job.locked_at), *named(job.key)),
        )
        keep_earlier(self.connection, job.key)
        self.connection.execute(
            SQL["keep_cancellation"],
            (
                *named(job.key),
                record.operation_id,
                record.previous_status.value,
                record.contacts_cancelled,
                record.actor,
                record.reason,
                text_of(record.cancelled_at),
                record.deferred_id,
                record.removal.value,
                record.is_announced,
                text_of(record.cancelled_at),
            ),
        )
        self._look_at_outcome(record)

    def _look_at_outcome(self, record: CancellationRecord) -> None:
        _look_for_open_contacts(self.connection, record.key, CANCELLABLE_CONTACTS)
        if has_triggers(self.connection):
            cancelled = count_contacts(self.connection, record.key, _CANCELLED)
            _compare(record.contacts_cancelled, min(cancelled, record.contacts_cancelled))
        job = read_job(record.key, self.connection)
        status = None if job is None else job.status
        if status != JobStatus.CANCELLED:
            raise written_otherwise(job_differs(JobStatus.CANCELLED, status))
        kept = None if job is None else job.cancellation
        if kept is None or _facts(kept) != _facts(record):
            raise written_otherwise(RECORD_CHANGED)


def _facts(record: CancellationRecord) -> tuple[object, ...]:
    """Return the record of a job's cancellation."""
    return (
        record.operation_id,
        record.previous_status,
        record.contacts_cancelled,
        record.deferred_id,
        record.removal,
        record.is_announced,
    )


@attrs.frozen
class _Contacts:
    connection: Connection

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        # Counting takes as long as cancelling, and without a trigger the UPDATE's count is right.
        is_watched = has_triggers(self.connection)
        due = count_contacts(self.connection, key, statuses) if is_watched else 0
        before = count_contacts(self.connection, key, _CANCELLED) if is_watched else 0
        changed = self.connection.execute(
            with_marks(statuses, "cancel_contacts"),
            (ContactStatus.CANCELLED.value, text_of(now()), *named(key), *sorted(statuses)),
        )
        if not is_watched:
            return changed.rowcount
        _look_for_open_contacts(self.connection, key, statuses)
        _compare(due, count_contacts(self.connection, key, _CANCELLED) - before)
        return due


def _look_for_open_contacts(
    connection: Connection, key: JobKey, statuses: AbstractSet[ContactStatus]
) -> None:
    left = count_contacts(connection, key, statuses)
    if left:
        raise written_otherwise(left_open(left), Fault.INCOMPLETE)


def _compare(due: int, cancelled: int) -> None:
    if cancelled != due:
        raise written_otherwise(not_cancelled(due, cancelled))


@attrs.frozen
class _Bulk:
    """Many jobs: the file has one writer, so that no order of locks matters."""

    connection: Connection

    def find(self, wanted: JobFilter, after: JobKey | None, limit: int) -> list[JobKey]:
        if wanted.asks_scheduled:
            raise StoreFailed(_NO_START_TIME)
        rows = self.connection.rows(
            with_marks(wanted.live_statuses, "find_jobs"),
            (
                wanted.organization_id,
                text_of(wanted.created_after or _FIRST),
                text_of(wanted.created_before or _LAST),
                "" if after is None else after.batch_job_id,
                *sorted(wanted.live_statuses),
                limit,
            ),
        )
        return [key_of(job_id, wanted.organization_id) for (job_id,) in rows]

    def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        found = {key: read_job(key, self.connection) for key in keys}
        return {key: job for key, job in found.items() if job is not None}

    def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
    ) -> Mapping[JobKey, int]:
        contacts = _Contacts(self.connection)
        return {key: contacts.cancel(key, statuses) for key in keys}

    def mark_cancelled(self, records: Sequence[CancellationRecord]) -> None:
        jobs = _Jobs(self.connection)
        for record in records:
            status = record.previous_status.value
            job = Job(record.key, status, record.deferred_id, record.cancelled_at)
            jobs.mark_cancelled(job, record)


@attrs.frozen
class _Outbox:
    connection: Connection

    def settle(self, record: CancellationRecord) -> None:
        self.connection.execute(
            SQL["mark_cancellation_done"],
            (
                record.removal.value,
                record.is_announced,
                record.key.batch_job_id,
                record.key.organization_id,
                record.operation_id,
                text_of(record.cancelled_at),
            ),
        )

    def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        if record.taken_at is None:
            return None
        taken_at = next_turn(record.taken_at, now())
        claimed = self.connection.execute(
            SQL["claim_cancellation"],
            (
                text_of(taken_at),
                *named(record.key),
                record.operation_id,
                text_of(record.cancelled_at),
                text_of(record.taken_at),
            ),
        )
        found = self.find(record.key) if claimed.rowcount else None
        return found if found is not None and found.taken_at == taken_at else None

    def find(self, key: JobKey) -> CancellationRecord | None:
        if not key.can_exist:
            return None
        row = self.connection.row(SQL["find_cancellation"], named(key))
        return None if row is None else read_found(key, row)

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        at = now()
        rows = self.connection.rows(
            SQL["read_pending"], (announcements, text_of(at - lease), limit)
        )
        keys = [key_of(job_id, organization_id) for job_id, organization_id in rows]
        for key in keys:
            self.connection.execute(SQL["take_cancellation"], (text_of(at), *named(key)))
        return [record for key in keys if (record := self.find(key)) is not None]


@attrs.frozen
class _Inspection:
    connection: Connection

    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        removals = self.connection.rows(SQL["look_at_removals"], (limit,))
        scheduled = self.connection.rows(
            SQL["look_at_scheduled"], (JobStatus.SCHEDULED.value, limit)
        )
        cancelled = self.connection.rows(
            with_marks(statuses, "look_at_cancelled"),
            (*sorted(status.value for status in statuses), JobStatus.CANCELLED.value, limit),
        )
        overdue = self.connection.rows(
            SQL["look_at_overdue"],
            (ContactStatus.DIALING.value, text_of(now() - older_than), limit),
        )
        return Inventory(
            removals_pending=tuple(
                record
                for job_id, organization_id, *row in removals
                if (record := read_record(key_of(job_id, organization_id), row)) is not None
            ),
            scheduled=tuple(
                DeferredStart(key_of(job_id, organization_id), cast("str | None", deferred_id))
                for job_id, organization_id, deferred_id in scheduled
            ),
            cancelled=tuple(
                CancelledJob(
                    key_of(job_id, organization_id),
                    cast("str | None", deferred_id),
                    cast("int", contacts_open),
                )
                for job_id, organization_id, deferred_id, contacts_open in cancelled
            ),
            calls_overdue=tuple(
                OverdueCalls(key_of(job_id, organization_id), cast("int", contacts))
                for job_id, organization_id, contacts in overdue
            ),
        )


@attrs.frozen
class _Overview:
    connection: Connection

    def look(self, key: JobKey) -> Overview | None:
        job = read_job(key, self.connection)
        if job is None:
            return None
        counted = self.connection.rows(SQL["count_contacts_by_status"], named(key))
        return Overview.of(
            job, ((_KNOWN.get(cast("str", it)), cast("int", number)) for it, number in counted)
        )


@attrs.frozen
class SqliteRepositories:
    """The repositories of one transaction on a SQLite file."""

    jobs: _Jobs
    contacts: _Contacts
    outbox: _Outbox
    inspection: _Inspection
    work: Work
    overview: _Overview
    history: History
    bulk: _Bulk


def repositories(connection: Connection) -> SqliteRepositories:
    """Return the repositories on this connection."""
    return SqliteRepositories(
        _Jobs(connection),
        _Contacts(connection),
        _Outbox(connection),
        _Inspection(connection),
        Work(connection),
        _Overview(connection),
        History(connection),
        _Bulk(connection),
    )
