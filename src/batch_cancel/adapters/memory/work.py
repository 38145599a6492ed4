"""What workers do, in the memory store's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from itertools import islice
from uuid import uuid4

import attrs

from batch_cancel.adapters.memory.contacts import LONG_AGO, Contact, with_layer
from batch_cancel.adapters.memory.rows import (
    CONTACT_COLUMNS,
    Row,
    Rows,
    look_at_contacts,
    look_at_job,
    overdue_in,
)
from batch_cancel.domain.claimed_contacts import column_missing
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.worker_rules import (
    CONTACT_ID_REFUSED,
    Settlement,
    new_contact_due_at,
    new_contact_id,
)


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
    look_at_job(rows, key, JobStatus.RUNNING)
    return True


def claim(rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
    """Set up to `limit` contacts of a running job that are due to dialing."""
    row = rows.get(key)
    if row is None or row.status != JobStatus.RUNNING:
        return []
    now = rows.clock()
    claimed = list(islice(row.contacts.due(statuses, now), limit))
    contact = Contact(ContactStatus.DIALING.value, dialing_since=now)
    dialing = dict.fromkeys(claimed, contact)
    rows[key] = attrs.evolve(row, contacts=row.contacts | dialing)
    look_at_contacts(rows, key, claimed, ContactStatus.DIALING)
    return claimed


def claim_returning(
    rows: Rows,
    key: JobKey,
    statuses: AbstractSet[ContactStatus],
    limit: int,
    columns: Sequence[str],
) -> list[tuple[str, Mapping[str, object]]]:
    """Claim contacts, and return the values of these columns with each."""
    row = rows.get(key)
    if row is None:
        return []
    if row.contacts and not row.columns.issuperset(columns):
        raise column_missing(columns, sorted(row.columns))
    # A contact that is claimed loses its time here, as it does not in a table.
    return [(it, _read(row, it, columns)) for it in claim(rows, key, statuses, limit)]


def _read(row: Row, contact_id: str, columns: Sequence[str]) -> Mapping[str, object]:
    """Return values of a contact that is claimed, from its row before that."""
    due_at = row.contacts[contact_id].due_at
    own = (layer[contact_id] for layer in reversed(row.values) if contact_id in layer)
    nothing: Mapping[str, object] = {}
    values = {
        **next(own, nothing),
        "id": contact_id,
        "status": ContactStatus.DIALING.value,
        "next_attempt_at": None if due_at == LONG_AGO else due_at,
    }
    return {name: values.get(name) for name in columns}


def has_contacts(rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus]) -> bool:
    """Check whether there is such a job with a contact in these statuses."""
    row = rows.get(key)
    return row is not None and row.contacts.has_any(statuses)


def settle(rows: Rows, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
    """Write the new state of a contact whose call has ended."""
    row = rows.get(key)
    if row is None or row.contacts.status_of(contact_id) != ContactStatus.DIALING:
        return False
    _go_on(rows, key, [contact_id], settlement)
    return True


def expire(rows: Rows, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
    """Write the new state of the contacts that have been dialing for longer."""
    row = rows.get(key)
    if row is None:
        return 0
    overdue = overdue_in(row, rows.clock() - older_than)
    _go_on(rows, key, overdue, settlement)
    return len(overdue)


def _go_on(rows: Rows, key: JobKey, contact_ids: Sequence[str], settlement: Settlement) -> None:
    row = rows[key]
    contact = Contact(settlement.status.value, settlement.retry_at or LONG_AGO)
    changed = dict.fromkeys(contact_ids, contact)
    rows[key] = attrs.evolve(row, contacts=row.contacts | changed)
    look_at_contacts(rows, key, contact_ids, settlement.status)


def append(rows: Rows, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
    """Add contacts to the job; their status is pending."""
    row = rows[job.key]
    added: dict[str, Contact] = {}
    values: dict[str, Mapping[str, object]] = {}
    for contact in contacts:
        contact_id = new_contact_id(contact, uuid4().hex)
        if contact_id in row.contacts or contact_id in added:
            raise StoreFailed(CONTACT_ID_REFUSED)
        due_at = new_contact_due_at(contact) or LONG_AGO
        added[contact_id] = Contact(ContactStatus.PENDING.value, due_at)
        if not CONTACT_COLUMNS.issuperset(contact):
            values[contact_id] = dict(contact)
    rows[job.key] = attrs.evolve(
        row,
        contacts=row.contacts | added,
        values=with_layer(row.values, values) if values else row.values,
        columns=row.columns.union(*values.values()),
    )
    look_at_contacts(rows, job.key, list(added), ContactStatus.PENDING)
    return len(added)


def finish(rows: Rows, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
    """Set a running job to completed if none of its contacts is unfinished."""
    row = rows.get(key)
    if row is None or row.status != JobStatus.RUNNING:
        return False
    if row.contacts.has_any(unfinished):
        return False
    rows[key] = attrs.evolve(row, status=JobStatus.COMPLETED.value)
    look_at_job(rows, key, JobStatus.COMPLETED)
    return True


def status_of(rows: Rows, key: JobKey) -> str | None:
    """Return the job's status; None if there is no such job."""
    row = rows.get(key)
    return None if row is None else row.status
