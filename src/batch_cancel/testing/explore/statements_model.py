"""A transaction of the explored Postgres: its statements, in the steps that carry them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

import attrs

from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.testing.explore.rows import (
    CONTACTS,
    DEFERRED_ID,
    RECORD,
    STATUS_OF_CONTACT,
    STATUS_OF_JOB,
    ContactRow,
    Rows,
    recorded,
)
from batch_cancel.testing.explore.steps import Lock, LockOrPass, Look, Write

T = TypeVar("T")


class Statements:
    """
    What a transaction can send, and what it wrote; others see that at its commit.

    Arguments:
        sweep_above: how many contacts it cancels at most; None for all.
    """

    def __init__(self, sweep_above: int | None = None) -> None:
        self.writes: list[Write] = []
        self.sweep_above = sweep_above

    def look(self, says: str, project: Callable[[Rows], T]) -> Look[T]:
        """Take a statement's snapshot."""
        return Look(says, project, tuple(self.writes))

    def lock(self, says: str, index: int, project: Callable[[Any], T]) -> Lock[T]:
        """Lock a row, wait for it if need be, and look at it again."""
        return Lock(says, index, project, tuple(self.writes))

    def lock_or_pass(self, says: str, index: int, project: Callable[[Any], T]) -> LockOrPass[T]:
        """Lock a row and look at it again, or pass it over."""
        return LockOrPass(says, index, project, tuple(self.writes))

    def write_job(self, index: int, status: JobStatus) -> None:
        """Set the status of a job that is locked."""
        self.writes.append((index, STATUS_OF_JOB, status.value))

    def write_deferred_id(self, index: int, deferred_id: str) -> None:
        """Set the deferred start of a job that is locked."""
        self.writes.append((index, DEFERRED_ID, deferred_id))

    def write_contact(self, index: int, status: ContactStatus) -> None:
        """Set the status of a contact that is locked."""
        self.writes.append((index, STATUS_OF_CONTACT, status.value))

    def write_record(self, job: int, record: CancellationRecord) -> None:
        """Write the record of a job that is locked."""
        self.writes.append((RECORD + job, None, recorded(record)))

    def insert_contact(self, job: int, contact_id: str) -> None:
        """Add a contact."""
        row = ContactRow(contact_id, job, ContactStatus.PENDING.value)
        self.writes.append((None, None, row))


@attrs.frozen
class Part:
    """What one transaction can reach of one thing."""

    transaction: Statements


class Cancelling(Part):
    """The statement that cancels contacts."""

    async def cancel_found(
        self, found: Sequence[int], statuses: AbstractSet[ContactStatus]
    ) -> int:
        """Update row by row, and return how many were changed."""
        return sum([await self.cancel_one(index, statuses) for index in found])

    async def cancel_one(self, index: int, statuses: AbstractSet[ContactStatus]) -> bool:
        """Update a row if it still is in one of these statuses, and return whether it was."""
        is_open = await self.transaction.lock(
            f"locks contact {index - CONTACTS}", index, lambda row: row[2] in statuses
        )
        if is_open:
            self.transaction.write_contact(index, ContactStatus.CANCELLED)
        return is_open
