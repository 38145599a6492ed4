"""
The rows of the memory store, and the steps of a transaction on them.

Rule 1: a row is replaced whole, never changed: a transaction is a draft over the committed rows.
Rule 2: after a write the rows are checked: something between the store and its rows, such as a
        subclass, may undo the write. The port demands this of every store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Final
from uuid import uuid4

import attrs

from batch_cancel.domain.cancellation import is_pending, is_same_cancellation, marked_done
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.errors import Fault, StoreFailed, shown
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus, Removal
from batch_cancel.domain.worker_rules import (
    CONTACT_ID_REFUSED,
    Settlement,
    new_contact_due_at,
    new_contact_id,
)

_NO_CONTACTS: Final[Mapping[str, str | None]] = MappingProxyType({})
_NO_TIMES: Final[Mapping[str, datetime]] = MappingProxyType({})

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_MOMENT: Final = timedelta.resolution


@attrs.frozen
class Row:
    """One job with its contacts and its record; replaced whole, never changed."""

    status: str | None
    deferred_id: str | None
    contacts: Mapping[str, str | None] = _NO_CONTACTS
    next_attempts: Mapping[str, datetime] = _NO_TIMES
    """When a contact may be dialled, by its id; a contact without a time is due at once."""
    dialing_since: Mapping[str, datetime] = _NO_TIMES
    """When a dialing contact was claimed, by its id."""
    cancellation: CancellationRecord | None = None
    taken_at: datetime = _LONG_AGO
    """When the record was last taken or claimed."""


Rows = MutableMapping[JobKey, Row]


def job_of(key: JobKey, row: Row) -> Job:
    """Return the job of a row."""
    return Job(key, row.status, row.deferred_id, datetime.now(UTC), row.cancellation)


def lock(rows: Rows, key: JobKey) -> Job | None:
    """Return the job as it is now; the running transaction has the lock."""
    row = rows.get(key)
    return None if row is None else job_of(key, row)


def status_of(rows: Rows, key: JobKey) -> str | None:
    """Return the job's status; None if there is no such job."""
    row = rows.get(key)
    return None if row is None else row.status


def mark_done(rows: Rows, record: CancellationRecord) -> None:
    """Mark in the kept record what was done."""
    row = rows[record.key]
    if row.cancellation is not None:
        rows[record.key] = attrs.evolve(row, cancellation=marked_done(row.cancellation, record))


def take(
    rows: Rows, limit: int, lease: timedelta, *, announcements: bool
) -> list[CancellationRecord]:
    """Take cancellations with something pending, those untouched for longest first."""
    now = datetime.now(UTC)
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
    """Set the time of a record, later than before even if the clock has not moved on."""
    row = rows[record.key]
    taken_at = max(datetime.now(UTC), row.taken_at + _MOMENT)
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
    cancelled = [(key, row) for key, row in listed if row.status == JobStatus.CANCELLED]
    return Inventory(
        removals_pending=tuple(sorted(pending, key=attrgetter("cancelled_at"))[:limit]),
        scheduled=tuple(
            DeferredStart(key, row.deferred_id)
            for key, row in listed
            if row.status == JobStatus.SCHEDULED
        )[:limit],
        cancelled=tuple(
            CancelledJob(
                key,
                row.deferred_id,
                sum(status in statuses for status in row.contacts.values()),
            )
            for key, row in sorted(cancelled, key=_cancelled_at, reverse=True)[:limit]
        ),
        calls_overdue=tuple(sorted(_overdue_calls(rows, older_than), key=_fewest)[:limit]),
    )


def _overdue_calls(rows: Rows, older_than: timedelta) -> Iterator[OverdueCalls]:
    before = datetime.now(UTC) - older_than
    for key in rows:
        overdue = _overdue(rows[key], before)
        if overdue:
            yield OverdueCalls(key, len(overdue))


def _overdue(row: Row, before: datetime) -> list[str]:
    """Return the ids of the contacts that have been dialing since before this time."""
    return [
        contact_id
        for contact_id, status in row.contacts.items()
        if status == ContactStatus.DIALING and row.dialing_since[contact_id] < before
    ]


def _fewest(calls: OverdueCalls) -> int:
    return -calls.contacts


def _cancelled_at(entry: tuple[JobKey, Row]) -> datetime:
    _, row = entry
    return _LONG_AGO if row.cancellation is None else row.cancellation.cancelled_at


def cancel_contacts(rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
    """Set the contacts in these statuses to cancelled, and return how many they are."""
    row = rows[key]
    due = [contact_id for contact_id, status in row.contacts.items() if status in statuses]
    changed = dict.fromkeys(due, ContactStatus.CANCELLED.value)
    rows[key] = attrs.evolve(row, contacts={**row.contacts, **changed})
    _look_for_open_contacts(rows, key, statuses)
    _look_at_contacts(rows, key, due, ContactStatus.CANCELLED)
    return len(due)


def mark_cancelled(rows: Rows, key: JobKey, record: CancellationRecord) -> None:
    """Set the job to cancelled, keep the record, and check the outcome."""
    rows[key] = attrs.evolve(
        rows[key],
        status=JobStatus.CANCELLED.value,
        cancellation=record,
        taken_at=record.cancelled_at,
    )
    _look_at_outcome(rows, key, record)


def _look_at_outcome(rows: Rows, key: JobKey, record: CancellationRecord) -> None:
    # A subclass may undo a write, and so may a caller that marks the job before its contacts. The
    # port demands this check of every store.
    row = rows[key]
    _look_for_open_contacts(rows, key, CANCELLABLE_CONTACTS)
    cancelled = sum(status == ContactStatus.CANCELLED for status in row.contacts.values())
    if cancelled < record.contacts_cancelled:
        what = f"{record.contacts_cancelled} contacts were set to cancelled, and {cancelled} are"
        raise _otherwise(what)
    _look_at_job(rows, key, JobStatus.CANCELLED)
    if row.cancellation != record:
        what = "the record of the cancellation is not as it was written"
        raise _otherwise(what)


def _look_for_open_contacts(rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus]) -> None:
    left = sum(status in statuses for status in rows[key].contacts.values())
    if left:
        what = f"contacts of the job are still open after all were cancelled: {left}"
        raise _otherwise(what, Fault.INCOMPLETE)


def _look_at_job(rows: Rows, key: JobKey, due: JobStatus) -> None:
    if rows[key].status != due:
        what = (
            f"the job has the status {shown(rows[key].status)} after it was set to {due.value!r}"
        )
        raise _otherwise(what)


def _look_at_contacts(
    rows: Rows, key: JobKey, contact_ids: Sequence[str], due: ContactStatus
) -> None:
    statuses = rows[key].contacts
    are = sum(statuses.get(contact_id) == due for contact_id in contact_ids)
    if are != len(contact_ids):
        what = f"{len(contact_ids)} contacts were set to {due.value!r}, and {are} have this status"
        raise _otherwise(what)


def _otherwise(what: str, fault: Fault = Fault.REFUSED) -> StoreFailed:
    """Return the error for rows that are not as they were written."""
    reason = f"{what}; something between the store and its rows undoes what is written, as a "
    return StoreFailed(f"{reason}trigger would: remove it", fault=fault)


def start(
    rows: Rows, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
) -> bool:
    """Set the job to running if it is in these statuses and names this deferred start."""
    row = rows.get(key)
    if row is None or row.status not in statuses:
        return False
    if deferred_id is not None and row.deferred_id != deferred_id:
        return False
    rows[key] = attrs.evolve(row, status=JobStatus.RUNNING.value)
    _look_at_job(rows, key, JobStatus.RUNNING)
    return True


def claim(rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
    """Set up to `limit` contacts of a running job that are due to dialing."""
    row = rows.get(key)
    if row is None or row.status != JobStatus.RUNNING:
        return []
    now = datetime.now(UTC)
    due = sorted(
        (at, contact_id)
        for contact_id, status in row.contacts.items()
        if status in statuses and (at := row.next_attempts.get(contact_id, _LONG_AGO)) <= now
    )
    claimed = [contact_id for _, contact_id in due[:limit]]
    dialing = dict.fromkeys(claimed, ContactStatus.DIALING.value)
    rows[key] = attrs.evolve(
        row,
        contacts={**row.contacts, **dialing},
        dialing_since={**row.dialing_since, **dict.fromkeys(claimed, now)},
    )
    _look_at_contacts(rows, key, claimed, ContactStatus.DIALING)
    return claimed


def settle(rows: Rows, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
    """Write the new state of a contact whose call has ended."""
    row = rows.get(key)
    if row is None or row.contacts.get(contact_id) != ContactStatus.DIALING:
        return False
    _go_on(rows, key, [contact_id], settlement)
    return True


def expire(rows: Rows, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
    """Write the new state of the contacts that have been dialing for longer."""
    row = rows.get(key)
    if row is None:
        return 0
    overdue = _overdue(row, datetime.now(UTC) - older_than)
    _go_on(rows, key, overdue, settlement)
    return len(overdue)


def _go_on(rows: Rows, key: JobKey, contact_ids: Sequence[str], settlement: Settlement) -> None:
    row = rows[key]
    statuses = dict.fromkeys(contact_ids, settlement.status.value)
    times = dict.fromkeys(contact_ids, settlement.retry_at or _LONG_AGO)
    rows[key] = attrs.evolve(
        row,
        contacts={**row.contacts, **statuses},
        next_attempts={**row.next_attempts, **times},
    )
    _look_at_contacts(rows, key, contact_ids, settlement.status)


def append(rows: Rows, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
    """Add contacts to the job; their status is pending."""
    row = rows[job.key]
    statuses, next_attempts = dict(row.contacts), dict(row.next_attempts)
    added: list[str] = []
    for contact in contacts:
        contact_id = new_contact_id(contact, uuid4().hex)
        if contact_id in statuses:
            raise StoreFailed(CONTACT_ID_REFUSED)
        statuses[contact_id] = ContactStatus.PENDING.value
        next_attempts[contact_id] = new_contact_due_at(contact) or _LONG_AGO
        added.append(contact_id)
    rows[job.key] = attrs.evolve(row, contacts=statuses, next_attempts=next_attempts)
    _look_at_contacts(rows, job.key, added, ContactStatus.PENDING)
    return len(added)


def finish(rows: Rows, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
    """Set a running job to completed if none of its contacts is unfinished."""
    row = rows.get(key)
    if row is None or row.status != JobStatus.RUNNING:
        return False
    if any(status in unfinished for status in row.contacts.values()):
        return False
    rows[key] = attrs.evolve(row, status=JobStatus.COMPLETED.value)
    _look_at_job(rows, key, JobStatus.COMPLETED)
    return True
