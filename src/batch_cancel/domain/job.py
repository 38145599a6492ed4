"""
A job: its key, what is read of it under its lock, and the record of its cancellation.

Rule: a job is named by its id and its organization together; no organization (`None`) is a value,
      never a wildcard.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs
from attrs import validators

from batch_cancel.domain.statuses import JobStatus, Removal

ID_BYTES_MAX: Final = 1024
"""The longest id of a job, an organization or an operation, in bytes of UTF-8."""

TEXT_BYTES_MAX: Final = 4096
"""The longest actor or reason kept with a cancellation, in bytes of UTF-8."""


def is_storable(text: str, bytes_max: int) -> bool:
    """Check whether every store can hold `text`: 1 to `bytes_max` bytes of UTF-8 without NUL."""
    if not 0 < len(text) <= bytes_max or "\0" in text:
        return False
    try:
        return len(text.encode()) <= bytes_max
    except UnicodeEncodeError:  # A lone surrogate has no UTF-8, so no store has such an id.
        return False


def check_text(name: str, value: object) -> None:
    """
    Check that an argument is a str.

    Raises:
        TypeError: it is something else, such as an integer or a UUID.
    """
    if not isinstance(value, str):
        msg = f"{name} must be a str, got {type(value).__name__}: pass str({name})"
        raise TypeError(msg)


def is_text(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    """Check that a field is a str; a validator of attrs."""
    check_text(attribute.name, value)


@attrs.frozen
class JobKey:
    """
    The name of a job: its id, within its organization.

    Arguments:
        batch_job_id: any text; if it cannot be stored, there is no such job.
        organization_id: the owning organization; None for jobs that have none.

    Raises:
        TypeError: an id is not a str.
    """

    batch_job_id: str = attrs.field(validator=is_text)
    organization_id: str | None = attrs.field(default=None, validator=validators.optional(is_text))

    @property
    def can_exist(self) -> bool:
        """Whether a store can hold this key; if not, there is no such job."""
        return is_storable(self.batch_job_id, ID_BYTES_MAX) and (
            self.organization_id is None or is_storable(self.organization_id, ID_BYTES_MAX)
        )


def is_named(found: JobKey, key: JobKey) -> bool:
    """Check whether a job that was found has exactly this key, apart from case."""
    return folded(found) == folded(key)


def folded(key: JobKey) -> tuple[str, str]:
    """Return a key without case."""
    return key.batch_job_id.casefold(), (key.organization_id or "").casefold()


def _is_aware(_: object, attribute: attrs.Attribute[datetime], value: datetime) -> None:
    if value.utcoffset() is None:
        msg = f"{attribute.name} must be an aware datetime, got {value!r}"
        raise ValueError(msg)


@attrs.frozen
class CancellationRecord:
    """
    The record of a cancellation, written in the same transaction.

    It is the audit entry, the answer to a retry of the same operation, and the note that a removal
    is pending.

    Arguments:
        operation_id: the name of this cancellation; a retry carries the same one.
        key: the job.
        previous_status: the job's status before.
        contacts_cancelled: how many contacts this cancellation changed.
        actor: who asked for it, in the caller's words.
        reason: why, in the caller's words.
        cancelled_at: when, by the store's clock, in UTC.
        deferred_id: the id of the job's deferred start, as read under the job's lock.
        removal: what became of that deferred start, as far as is known.
        is_announced: False while an `on_cancelled` hook is still to be called.
        is_swept: False while contacts of a very large job are still to be cancelled;
            `contacts_cancelled` is then how many are so far.
        taken_at: when the record was last taken or claimed, by the store's clock; None if it was
            not read from the store. It is not compared.
        is_undone: True if the job was read with the record and is not cancelled: something has set
            its status back. It is not compared.
    """

    operation_id: str
    key: JobKey
    previous_status: JobStatus
    contacts_cancelled: int = attrs.field(
        validator=validators.and_(validators.instance_of(int), validators.ge(0))
    )
    actor: str | None = attrs.field(repr=False)  # May name a person: kept out of logs.
    reason: str | None = attrs.field(repr=False)
    cancelled_at: datetime = attrs.field(
        validator=validators.and_(validators.instance_of(datetime), _is_aware)
    )
    deferred_id: str | None
    removal: Removal
    is_announced: bool = True
    is_swept: bool = True
    taken_at: datetime | None = attrs.field(default=None, eq=False)
    is_undone: bool = attrs.field(default=False, eq=False)

    @property
    def deferred_id_owed(self) -> str | None:
        """The deferred start whose removal is pending; None if there is none."""
        return self.deferred_id if self.removal is Removal.PENDING else None


@attrs.frozen
class Job:
    """
    A job as read under its lock.

    Arguments:
        key: its key, as it is stored.
        status: its status in the contract's words; anything else, None included, is unknown.
        deferred_id: the id of its deferred start; None if it has none.
        locked_at: the time by the store's clock once the lock was held, an aware datetime.
        cancellation: the record of its cancellation; None if there is none, or the store keeps
            no records.
    """

    key: JobKey = attrs.field(validator=validators.instance_of(JobKey))
    status: str | None
    deferred_id: str | None
    locked_at: datetime
    cancellation: CancellationRecord | None = None
