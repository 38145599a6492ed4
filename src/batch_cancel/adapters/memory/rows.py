"""
The rows of the memory store, and the steps of a transaction on them.

Rule 1: a row is replaced whole, never changed: a transaction is a draft over the committed rows.
Rule 2: after a write the rows are checked: something between the store and its rows, such as a
        subclass, may undo the write. The port demands this of every store.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Final

import attrs

from batch_cancel.adapters.memory.clock import Clock, utc_now
from batch_cancel.adapters.memory.contacts import LONG_AGO, Contact, Contacts
from batch_cancel.domain.cancellation import (
    is_pending,
    is_same_cancellation,
    marked_done,
    next_turn,
)
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.outcomes import (
    RECORD_CHANGED,
    contacts_differ,
    job_differs,
    left_open,
    not_cancelled,
)
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus, Removal

CONTACT_COLUMNS: Final = frozenset({"id", "status", "next_attempt_at"})
"""The columns that every contact has."""


@attrs.frozen
class Row:
    """One job with its contacts and its record; replaced whole, never changed."""

    status: str | None
    deferred_id: str | None
    contacts: Contacts = attrs.field(factory=Contacts)
    cancellation: CancellationRecord | None = None
    taken_at: datetime = LONG_AGO
    """When the record was last taken or claimed."""
    earlier: tuple[CancellationRecord, ...] = ()
    """The records that later cancellations have replaced."""
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    """When it was to start; only filters ask."""
    values: tuple[dict[str, Mapping[str, object]], ...] = ()
    """The adopter's columns of the contacts that were added with any, in layers."""
    columns: frozenset[str] = CONTACT_COLUMNS
    """The columns that a contact of the job may have."""


class Rows(ChainMap[JobKey, Row]):
    """
    The rows as a transaction sees them, and its clock.

    Arguments:
        maps: the rows, those that are written first.
        clock: returns the time.
    """

    def __init__(self, *maps: MutableMapping[JobKey, Row], clock: Clock = utc_now) -> None:
        super().__init__(*maps)
        self.clock = clock


def job_of(rows: Rows, key: JobKey) -> Job:
    """Return the job of a row."""
    row = rows[key]
    return Job(key, row.status, row.deferred_id, rows.clock(), row.cancellation)


def lock(rows: Rows, key: JobKey) -> Job | None:
    """Return the job as it is now; the running transaction has the lock."""
    return job_of(rows, key) if key in rows else None


def overview(rows: Rows, key: JobKey) -> Overview | None:
    """Return the job and its contacts as they are now; None if there is no such job."""
    row = rows.get(key)
    if row is None:
        return None
    known: dict[str | None, ContactStatus] = {it.value: it for it in ContactStatus}
    counted = Counter(contact.status for _, contact in row.contacts.items())
    return Overview.of(
        job_of(rows, key),
        ((known.get(status), number) for status, number in counted.items()),
    )


def mark_done(rows: Rows, record: CancellationRecord) -> None:
    """Mark in the kept record what was done."""
    row = rows[record.key]
    if row.cancellation is not None:
        rows[record.key] = attrs.evolve(row, cancellation=marked_done(row.cancellation, record))


def take(
    rows: Rows, limit: int, lease: timedelta, *, announcements: bool
) -> list[CancellationRecord]:
    """Take cancellations with something pending, those untouched for longest first."""
    now = rows.clock()
    pending = [
        (row.taken_at, record)
        for row in rows.values()
        if (record := row.cancellation) is not None
        and is_pending(record, announcements=announcements)
        and row.taken_at <= now - lease
    ]
    taken = [record for _, record in sorted(pending, key=itemgetter(0))[:limit]]
    return [_touched(rows, record) for record in taken]


def claim_record(rows: Rows, record: CancellationRecord) -> CancellationRecord | None:
    """Claim the record, unless it was taken or claimed since it was read."""
    current = find(rows, record.key)
    if current is None or current.taken_at != record.taken_at:
        return None
    return _touched(rows, current) if is_same_cancellation(current, record) else None


def _touched(rows: Rows, record: CancellationRecord) -> CancellationRecord:
    """Take a record."""
    row = rows[record.key]
    taken_at = next_turn(row.taken_at, rows.clock())
    rows[record.key] = attrs.evolve(row, taken_at=taken_at)
    is_undone = row.status != JobStatus.CANCELLED
    return attrs.evolve(record, taken_at=taken_at, is_undone=is_undone)


def find(rows: Rows, key: JobKey) -> CancellationRecord | None:
    """Return the record of the job's cancellation; None if there is none."""
    row = rows.get(key)
    if row is None or row.cancellation is None:
        return None
    is_undone = row.status != JobStatus.CANCELLED
    return attrs.evolve(row.cancellation, taken_at=row.taken_at, is_undone=is_undone)


def look(
    rows: Rows, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
) -> Inventory:
    """Return the pending removals, scheduled jobs, cancelled jobs and overdue calls."""
    # Newer jobs come later in the dict.
    listed = [(key, rows[key]) for key in rows]
    records = [row.cancellation for _, row in listed if row.cancellation is not None]
    pending = [record for record in records if record.removal is Removal.PENDING]
    unswept = [record for record in records if not record.is_swept]
    cancelled = [(key, row) for key, row in listed if row.status == JobStatus.CANCELLED]
    return Inventory(
        removals_pending=tuple(sorted(pending, key=attrgetter("cancelled_at"))[:limit]),
        sweeps_pending=tuple(sorted(unswept, key=attrgetter("cancelled_at"))[:limit]),
        scheduled=tuple(
            DeferredStart(key, row.deferred_id)
            for key, row in listed
            if row.status == JobStatus.SCHEDULED
        )[:limit],
        cancelled=tuple(
            CancelledJob(
                key,
                row.deferred_id,
                len(row.contacts.among(statuses)),
            )
            for key, row in sorted(cancelled, key=_cancelled_at, reverse=True)[:limit]
        ),
        calls_overdue=tuple(sorted(_overdue_calls(rows, older_than), key=_fewest)[:limit]),
    )


def _overdue_calls(rows: Rows, older_than: timedelta) -> Iterator[OverdueCalls]:
    before = rows.clock() - older_than
    for key in rows:
        overdue = overdue_in(rows[key], before)
        if overdue:
            yield OverdueCalls(key, len(overdue))


def overdue_in(row: Row, before: datetime) -> list[str]:
    """Return the ids of the contacts that have been dialing since before this time."""
    return [
        contact_id
        for contact_id in row.contacts.among({ContactStatus.DIALING})
        if row.contacts[contact_id].dialing_since < before
    ]


def _fewest(calls: OverdueCalls) -> int:
    return -calls.contacts


def _cancelled_at(entry: tuple[JobKey, Row]) -> datetime:
    _, row = entry
    return LONG_AGO if row.cancellation is None else row.cancellation.cancelled_at


def cancel_contacts(
    rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int | None = None
) -> int:
    """Set up to `limit` contacts in these statuses to cancelled, and return how many they are."""
    row = rows[key]
    due = row.contacts.among(statuses)[:limit]
    cancelled = dict.fromkeys(due, Contact(ContactStatus.CANCELLED.value))
    rows[key] = attrs.evolve(row, contacts=row.contacts | cancelled)
    if limit is None or len(due) < limit:
        _look_for_open_contacts(rows, key, statuses)
    look_at_contacts(rows, key, due, ContactStatus.CANCELLED)
    return len(due)


def mark_cancelled(rows: Rows, key: JobKey, record: CancellationRecord) -> None:
    """Set the job to cancelled, keep the record and any earlier one, and check the outcome."""
    row = rows[key]
    earlier = row.earlier if row.cancellation is None else (*row.earlier, row.cancellation)
    rows[key] = attrs.evolve(
        row,
        status=JobStatus.CANCELLED.value,
        earlier=earlier,
        cancellation=record,
        taken_at=record.cancelled_at,
    )
    look_at_outcome(rows, key, record)


def look_at_outcome(rows: Rows, key: JobKey, record: CancellationRecord) -> None:
    """Check that a cancellation is as it was written, as the port demands of every store."""
    # A subclass may undo a write, and so may a caller that marks the job before its contacts.
    row = rows[key]
    if record.is_swept:
        _look_for_open_contacts(rows, key, CANCELLABLE_CONTACTS)
    cancelled = len(row.contacts.among({ContactStatus.CANCELLED}))
    if cancelled < record.contacts_cancelled:
        raise _otherwise(not_cancelled(record.contacts_cancelled, cancelled))
    look_at_job(rows, key, JobStatus.CANCELLED)
    if row.cancellation != record:
        raise _otherwise(RECORD_CHANGED)


def _look_for_open_contacts(rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus]) -> None:
    left = len(rows[key].contacts.among(statuses))
    if left:
        raise _otherwise(left_open(left), Fault.INCOMPLETE)


def look_at_job(rows: Rows, key: JobKey, due: JobStatus) -> None:
    """Check that the job has the status that was written."""
    if rows[key].status != due:
        raise _otherwise(job_differs(due, rows[key].status))


def look_at_contacts(
    rows: Rows, key: JobKey, contact_ids: Sequence[str], due: ContactStatus
) -> None:
    """Check that the contacts have the status that was written."""
    contacts = rows[key].contacts.of(contact_ids)
    are = sum(contact.status == due for contact in contacts.values())
    if are != len(contact_ids):
        raise _otherwise(contacts_differ(due, len(contact_ids), are))


def _otherwise(what: str, fault: Fault = Fault.REFUSED) -> StoreFailed:
    """Return the error for rows that are not as they were written."""
    reason = f"{what}; something between the store and its rows undoes what is written, as a "
    return StoreFailed(f"{reason}trigger would: remove it", fault=fault)
