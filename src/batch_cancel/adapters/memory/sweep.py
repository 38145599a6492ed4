"""The sweep of very large jobs in the memory store's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import attrs

from batch_cancel.adapters.memory import bulk
from batch_cancel.adapters.memory.rows import (
    Rows,
    cancel_contacts,
    find,
    look_at_outcome,
)
from batch_cancel.domain.cancellation import is_same_cancellation
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.sweep import Chunk


def cancel_unless_many(
    rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus], above: int | None
) -> int | None:
    """Cancel the contacts, and return how many they are; None if they are more than `above`."""
    if above is not None and len(rows[key].contacts.among(statuses)) > above:
        return None
    return cancel_contacts(rows, key, statuses)


def cancel_of_many_unless_many(
    rows: Rows, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus], above: int | None
) -> Mapping[JobKey, int] | None:
    """Do the same for several jobs, which must not have more together."""
    if above is not None:
        together = sum(len(rows[key].contacts.among(statuses)) for key in keys)
        if together > above:
            return None
    return bulk.cancel(rows, keys, statuses)


def lock(rows: Rows, record: CancellationRecord) -> CancellationRecord | None:
    """Return the record as it is now; None if there is none of the same cancellation."""
    current = find(rows, record.key)
    if current is None or not is_same_cancellation(current, record):
        return None
    return current


def cancel(rows: Rows, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> Chunk:
    """Cancel a chunk of the contacts in these statuses."""
    number = cancel_contacts(rows, key, statuses, limit)
    return Chunk(found=number, cancelled=number, limit=limit)


def note(rows: Rows, record: CancellationRecord) -> None:
    """Write the progress of the sweep to the record, and check the outcome."""
    row = rows[record.key]
    current = row.cancellation
    if current is None:  # pragma: no cover  # It is locked.
        return
    written = attrs.evolve(
        current, contacts_cancelled=record.contacts_cancelled, is_swept=record.is_swept
    )
    rows[record.key] = attrs.evolve(row, cancellation=written)
    look_at_outcome(rows, record.key, written)
