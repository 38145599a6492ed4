"""
The statuses of jobs and contacts, which of them a cancel may change, and what a removal came to.

Rule 1: a status is known or it is not. What is not known is never guessed at and never changed.
Rule 2: the contacts a cancel may touch are an allow-list of five statuses, never "everything that
        is not terminal": a status invented tomorrow is left alone.

The statuses are the wire strings of the batch-calling API; their bytes matter.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """The status of a batch job."""

    SCHEDULED = "scheduled"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE_JOBS: Final = (JobStatus.SCHEDULED, JobStatus.PENDING, JobStatus.RUNNING)
"""The jobs that a cancel changes."""

TERMINAL_JOBS: Final = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
"""Ended for ever."""


class ContactStatus(StrEnum):
    """The status of one contact of a batch job."""

    PENDING = "pending"
    QUEUED = "queued"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    TIMEOUT = "timeout"
    DIALING = "dialing"
    COMPLETED = "completed"
    FAILED = "failed"
    BLOCKED = "blocked"
    INVALID_NUMBER = "invalid_number"
    CARRIER_ERROR = "carrier_error"
    CANCELLED = "cancelled"


CANCELLABLE_CONTACTS: Final = frozenset(
    {
        ContactStatus.PENDING,
        ContactStatus.QUEUED,
        ContactStatus.NO_ANSWER,
        ContactStatus.BUSY,
        ContactStatus.TIMEOUT,
    }
)
"""Not yet called, or to be called again: the only contacts that a cancel changes."""

TERMINAL_CONTACTS: Final = frozenset(
    {
        ContactStatus.COMPLETED,
        ContactStatus.FAILED,
        ContactStatus.BLOCKED,
        ContactStatus.INVALID_NUMBER,
        ContactStatus.CARRIER_ERROR,
        ContactStatus.CANCELLED,
    }
)
"""Finished for ever: never changed again by anything."""


class Removal(StrEnum):
    """What became of the job's deferred start."""

    REMOVED = "removed"
    """This cancellation took it back before it fired, and that was confirmed."""

    ABSENT = "absent"
    """There was none to take back: never scheduled, already fired, or removed by another."""

    PENDING = "pending"
    """The scheduler has not confirmed anything yet; the removal is owed."""

    NOT_APPLICABLE = "not_applicable"
    """The job was pending or running, and named no deferred start."""
