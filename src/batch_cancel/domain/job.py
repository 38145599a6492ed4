"""
A job: its name, what is read of it under its lock, and the record that its cancellation leaves.

Rule: a job is named by its id and its organization together; no organization (`None`) is a value
      of its own and never a wildcard.
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
    except UnicodeEncodeError:  # A lone surrogate: no UTF-8 text, so no id of any store.
        return False


def check_text(name: str, value: object) -> None:
    """
    Check that an argument is a text.

    Raises:
        TypeError: it is something else, for example an integer or a UUID.
    """
    if not isinstance(value, str):
        msg = f"{name} must be a str, got {type(value).__name__}: pass str({name})"
        raise TypeError(msg)


def is_text(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    """Check as a validator of attrs that a field is a text."""
    check_text(attribute.name, value)


@attrs.frozen
class JobKey:
    """
    The name of a job: its id, within its organization.

    Arguments:
        batch_job_id: any text; one that no store can hold names no job.
        organization_id: the owning organization; None for jobs that have none.

    Raises:
        TypeError: an id that is not a str.
    """

    batch_job_id: str = attrs.field(validator=is_text)
    organization_id: str | None = attrs.field(default=None, validator=validators.optional(is_text))

    @property
    def can_exist(self) -> bool:
        """Whether any store could hold a job of this name; if not, there is no such job."""
        return is_storable(self.batch_job_id, ID_BYTES_MAX) and (
            self.organization_id is None or is_storable(self.organization_id, ID_BYTES_MAX)
        )


def _is_aware(_: object, attribute: attrs.Attribute[datetime], value: datetime) -> None:
    if value.utcoffset() is None:
        msg = f"{attribute.name} must be an aware datetime, got {value!r}"
        raise ValueError(msg)


@attrs.frozen
class CancellationRecord:
    """
    What a cancellation leaves behind, written in its own transaction.

    It is the audit entry, the answer to a retry of the same operation, and the note that a
    removal is still owed, in one.

    Arguments:
        operation_id: names this cancellation; a retry carries the same one.
        key: the job.
        previous_status: the job's status before.
        contacts_cancelled: how many contacts this cancellation changed.
        actor: who asked, under the caller's name for them.
        reason: why, in the caller's words.
        cancelled_at: when, by the store's clock, in UTC.
        deferred_id: the id of the job's deferred start, as read under the job's lock.
        removal: what became of that deferred start, as far as is known.
        is_announced: False as long as somebody still has to be told of this cancellation.
        taken_at: when somebody last took it to finish it, by the store's clock; None if the store
            was not asked. It names a turn at the record, and is no part of what is compared.
        is_undone: True if the job was read with the record and is not cancelled: something has set
            its status back. Not compared, either.
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
    taken_at: datetime | None = attrs.field(default=None, eq=False)
    is_undone: bool = attrs.field(default=False, eq=False)

    @property
    def deferred_id_owed(self) -> str | None:
        """The deferred start that is still to be removed; None if nothing is owed."""
        return self.deferred_id if self.removal is Removal.PENDING else None


@attrs.frozen
class Job:
    """
    A job as read under its lock.

    Arguments:
        key: its name, as the store spells it.
        status: its status in the contract's spelling; anything else, None included, is unknown.
        deferred_id: the id of its deferred start; None if it has none.
        locked_at: the store's clock once the lock was held, an aware datetime.
        cancellation: the record of its cancellation; None if there is none, or the store keeps
            no records.
    """

    key: JobKey = attrs.field(validator=validators.instance_of(JobKey))
    status: str | None
    deferred_id: str | None
    locked_at: datetime
    cancellation: CancellationRecord | None = None
