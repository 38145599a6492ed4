"""Jobs, contacts and cancellation records in a SQLite file: a unit of work."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import uuid4

import attrs

from batch_cancel.adapters.sqlite.file import (
    BUSY_TIMEOUT_SECONDS,
    SQL,
    Connection,
    File,
    Place,
    now,
    text_of,
    time_of,
)
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.errors import StoreFailed, shown
from batch_cancel.domain.guards import Settlement
from batch_cancel.domain.model import (
    ID_BYTES_MAX,
    CancellationRecord,
    ContactStatus,
    Job,
    JobKey,
    JobStatus,
    Removal,
    is_storable,
)

_MARKS: Final = ":statuses"
"""Where a statement takes one mark for each of the statuses."""


def _read_job(key: JobKey, connection: Connection) -> Job | None:
    if not key.can_exist:  # SQLite's driver refuses a lone surrogate, and so does every column.
        return None
    row = connection.row(SQL["read_job"], (key.batch_job_id, key.organization_id))
    if row is None:
        return None
    status, deferred_id, *record = row
    return Job(
        key,
        cast("str | None", status),
        cast("str | None", deferred_id),
        now(),
        _read_record(key, record),
    )


def _read_record(key: JobKey, row: Sequence[object]) -> CancellationRecord | None:
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


@attrs.frozen
class _Jobs:
    connection: Connection

    def lock(self, key: JobKey) -> Job | None:
        # The transaction holds the lock of the whole file, so there is nothing left to lock.
        return _read_job(key, self.connection)

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        key = job.key
        self.connection.execute(
            SQL["mark_job_cancelled"],
            (
                JobStatus.CANCELLED.value,
                text_of(job.locked_at),
                key.batch_job_id,
                key.organization_id,
            ),
        )
        self.connection.execute(
            SQL["keep_cancellation"],
            (
                key.batch_job_id,
                key.organization_id,
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


@attrs.frozen
class _Contacts:
    connection: Connection

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        changed = self.connection.execute(
            _of(statuses, "cancel_contacts"),
            (
                ContactStatus.CANCELLED.value,
                text_of(now()),
                key.batch_job_id,
                key.organization_id,
                *sorted(statuses),
            ),
        )
        return changed.rowcount


def _of(statuses: AbstractSet[str], name: str) -> str:
    return SQL[name].replace(_MARKS, ", ".join("?" * len(statuses)))


@attrs.frozen
class _Work:
    connection: Connection

    def start(self, key: JobKey, statuses: AbstractSet[JobStatus]) -> bool:
        changed = self.connection.execute(
            _of(statuses, "start_job"),
            (
                JobStatus.RUNNING.value,
                text_of(now()),
                key.batch_job_id,
                key.organization_id,
                *sorted(statuses),
            ),
        )
        return changed.rowcount == 1

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        at = text_of(now())
        due = self.connection.rows(
            _of(statuses, "read_due_contacts"),
            (
                key.batch_job_id,
                key.organization_id,
                JobStatus.RUNNING.value,
                at,
                *sorted(statuses),
                limit,
            ),
        )
        self.connection.execute_many(
            SQL["mark_contact"], ((ContactStatus.DIALING.value, at, *contact) for contact in due)
        )
        return [cast("str", contact_id) for _, contact_id in due]

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        changed = self.connection.execute(
            SQL["settle_contact"],
            (
                settlement.status.value,
                None if settlement.retry_at is None else text_of(settlement.retry_at),
                text_of(now()),
                key.batch_job_id,
                key.organization_id,
                contact_id,
                ContactStatus.DIALING.value,
            ),
        )
        return changed.rowcount == 1

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        at = now()
        changed = self.connection.execute(
            SQL["expire_contacts"],
            (
                settlement.status.value,
                None if settlement.retry_at is None else text_of(settlement.retry_at),
                text_of(at),
                key.batch_job_id,
                key.organization_id,
                ContactStatus.DIALING.value,
                text_of(at - older_than),
            ),
        )
        return changed.rowcount

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        at = text_of(now())
        named = (job.key.batch_job_id, job.key.organization_id)
        self.connection.execute_many(
            SQL["append_contact"],
            (
                (_id_of(contact), ContactStatus.PENDING.value, _due_at(contact), at, *named)
                for contact in contacts
            ),
        )
        return len(contacts)

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        changed = self.connection.execute(
            _of(unfinished, "finish_job"),
            (
                JobStatus.COMPLETED.value,
                text_of(now()),
                key.batch_job_id,
                key.organization_id,
                JobStatus.RUNNING.value,
                *sorted(unfinished),
            ),
        )
        return changed.rowcount == 1

    def status(self, key: JobKey) -> str | None:
        row = self.connection.row(SQL["read_status"], (key.batch_job_id, key.organization_id))
        return None if row is None else cast("str | None", row[0])


def _id_of(contact: Mapping[str, object]) -> str:
    contact_id = contact.get("id", uuid4().hex)
    if not isinstance(contact_id, str) or not is_storable(contact_id, ID_BYTES_MAX):
        reason = "a contact's id must be a text that no other contact of the job has"
        raise StoreFailed(reason)
    return contact_id


def _due_at(contact: Mapping[str, object]) -> str | None:
    at = contact.get("next_attempt_at")
    if at is None:
        return None
    if not isinstance(at, datetime) or at.utcoffset() is None:
        reason = "a contact's next_attempt_at must be an aware datetime"
        raise StoreFailed(reason)
    return text_of(at)


@attrs.frozen
class _Outbox:
    connection: Connection

    def settle(self, record: CancellationRecord) -> None:
        self.connection.execute(
            SQL["settle_cancellation"],
            (
                record.removal.value,
                record.is_announced,
                record.key.batch_job_id,
                record.key.organization_id,
                record.operation_id,
            ),
        )

    def find(self, key: JobKey) -> CancellationRecord | None:
        if not key.can_exist:
            return None
        row = self.connection.row(
            SQL["find_cancellation"], (key.batch_job_id, key.organization_id)
        )
        return None if row is None else _read_record(key, row)

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        at = now()
        rows = self.connection.rows(SQL["read_owing"], (announcements, text_of(at - lease), limit))
        for job_id, organization_id, *_ in rows:
            self.connection.execute(
                SQL["take_cancellation"], (text_of(at), job_id, organization_id)
            )
        return [
            record
            for job_id, organization_id, *row in rows
            if (record := _read_record(_key(job_id, organization_id), row)) is not None
        ]


def _key(job_id: object, organization_id: object) -> JobKey:
    return JobKey(cast("str", job_id), cast("str | None", organization_id))


@attrs.frozen
class _Inspection:
    connection: Connection

    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        marks = ", ".join("?" * len(statuses))
        removals = self.connection.rows(SQL["look_at_removals"], (limit,))
        scheduled = self.connection.rows(
            SQL["look_at_scheduled"], (JobStatus.SCHEDULED.value, limit)
        )
        cancelled = self.connection.rows(
            SQL["look_at_cancelled"].replace(_MARKS, marks),
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
                if (record := _read_record(_key(job_id, organization_id), row)) is not None
            ),
            scheduled=tuple(
                DeferredStart(_key(job_id, organization_id), cast("str | None", deferred_id))
                for job_id, organization_id, deferred_id in scheduled
            ),
            cancelled=tuple(
                CancelledJob(
                    _key(job_id, organization_id),
                    cast("str | None", deferred_id),
                    cast("int", contacts_open),
                )
                for job_id, organization_id, deferred_id, contacts_open in cancelled
            ),
            calls_overdue=tuple(
                OverdueCalls(_key(job_id, organization_id), cast("int", contacts))
                for job_id, organization_id, contacts in overdue
            ),
        )


@attrs.frozen
class SqliteRepositories:
    """What one transaction of a SQLite file can reach."""

    jobs: _Jobs
    contacts: _Contacts
    outbox: _Outbox
    inspection: _Inspection
    work: _Work


def _repositories(connection: Connection) -> SqliteRepositories:
    return SqliteRepositories(
        _Jobs(connection),
        _Contacts(connection),
        _Outbox(connection),
        _Inspection(connection),
        _Work(connection),
    )


class SqliteStore:
    """
    Jobs, contacts and cancellation records in a SQLite file: a unit of work.

    The file has one writer at a time: a transaction waits for its turn, threads and processes
    alike, and holds the file until it ends. So a `begin` within a `begin` would wait for itself,
    and fails after the busy timeout. Looking (`job`, `contacts`) waits for nobody.

    The contacts of a job lie side by side, and the cancel sweeps over them. For a million contacts
    that took 0.4 s where half of them changed, and 0.1 s where a hundred did; with an index of the
    open contacts it was 2.7 s and 0.02 s.

    Arguments:
        path: the file.
        create: whether to make the file and its tables where they are missing, on first use.
        busy_timeout_seconds: how long to wait for one's turn.

    Raises:
        ValueError: a path that names no file, or a time that is negative or longer than a day.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self._file = File.at(path, create=create, busy_timeout_seconds=busy_timeout_seconds)

    @contextmanager
    def begin(self) -> Generator[SqliteRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with self._file.transaction() as connection:
            yield _repositories(connection)

    def check(self) -> list[str]:
        """
        Name in sentences what keeps the file from being used; nothing is made or changed.

        An empty list says that it is fit, or will be made on first use.
        """
        return self._file.check()

    def add_job(
        self,
        id: str,  # noqa: A002  # The reference table's name for it.
        status: str | None = "scheduled",
        organization_id: str | None = None,
        deferred_id: str | None = None,
    ) -> None:
        """
        Add a job.

        Arguments:
            id: the job's id.
            status: any status, known or not.
            organization_id: whose job it is; None for a job of no organization.
            deferred_id: the id of its deferred start; None if it has none.

        Raises:
            ValueError: there is such a job already.
        """
        at = text_of(now())
        with self._file.transaction() as connection:
            if connection.row(SQL["find_job_number"], (id, organization_id)) is not None:
                msg = f"there is a job {shown(id)} in this organization already"
                raise ValueError(msg)
            connection.execute(SQL["add_job"], (id, organization_id, status, deferred_id, at, at))

    def add_contacts(
        self,
        job_id: str,
        contacts: Mapping[str, str | None],
        organization_id: str | None = None,
        *,
        since: datetime | None = None,
    ) -> None:
        """
        Add contacts to a job, or set the statuses of those that it has.

        Arguments:
            job_id: the job's id.
            contacts: the status, known or not, by contact id.
            organization_id: whose job it is.
            since: how long they have had it, an aware datetime; None for now.

        Raises:
            LookupError: there is no such job.
        """
        at = text_of(since or now())
        with self._file.transaction() as connection:
            row = connection.row(SQL["find_job_number"], (job_id, organization_id))
            if row is None:
                msg = f"there is no job {shown(job_id)} in this organization to add contacts to"
                raise LookupError(msg)
            connection.execute_many(
                SQL["put_contact"],
                ((row[0], contact_id, status, at) for contact_id, status in contacts.items()),
            )

    def job(self, job_id: str, organization_id: str | None = None) -> Job | None:
        """Give the job as last committed; None if there is none."""
        with self._file.looking() as connection:
            return _read_job(JobKey(job_id, organization_id), connection)

    def contacts(self, job_id: str, organization_id: str | None = None) -> dict[str, str | None]:
        """Give the status by contact id of a job, as last committed; empty if there is none."""
        if not JobKey(job_id, organization_id).can_exist:
            return {}
        with self._file.looking() as connection:
            rows = connection.rows(SQL["look_at_contacts"], (job_id, organization_id))
            return cast("dict[str, str | None]", dict(rows))  # type: ignore[arg-type]


@attrs.frozen
class _Joined:
    connection: Connection
    is_joined = True

    @contextmanager
    def begin(self) -> Generator[SqliteRepositories]:
        """Open a savepoint: release it on a clean exit, roll back to it on any exception."""
        raw = self.connection.raw
        if not raw.in_transaction:
            _begin_as_the_driver_would(self.connection)
        self.connection.execute("SAVEPOINT batch_cancel")
        try:
            self.connection.execute(SQL["take_write_lock"])
            yield _repositories(self.connection)
        except BaseException:
            self.connection.roll_back("ROLLBACK TO batch_cancel")
            self.connection.roll_back("RELEASE batch_cancel")
            raise
        self.connection.execute("RELEASE batch_cancel")


def _begin_as_the_driver_would(connection: Connection) -> None:
    # The driver's BEGIN comes with the first INSERT, UPDATE or DELETE only. A savepoint that came
    # before it would be a transaction by itself, and its release would commit it.
    raw = connection.raw
    if raw.isolation_level is None or getattr(raw, "autocommit", None) is True:
        reason = (
            f"{connection.place.name} has no open transaction, and commits every statement by "
            "itself: send BEGIN first"
        )
        raise StoreFailed(reason)
    connection.execute("BEGIN IMMEDIATE")


def joining(connection: sqlite3.Connection) -> _Joined:
    """
    Give a unit of work within the caller's own transaction.

    The caller's commit is the moment of cancellation, and his rollback undoes it. The tables must
    be there already. On a connection of the driver's default kind the transaction is begun here if
    it is not yet open; one that commits every statement by itself must have been given its BEGIN.

    Arguments:
        connection: a connection to the file, used by nobody else meanwhile.
    """
    return _Joined(Connection(connection, Place("the caller's SQLite connection")))
