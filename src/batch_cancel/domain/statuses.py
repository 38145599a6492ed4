"""
The statuses of jobs, contacts and removals, and which of them a cancel may change.

Rule 1: an unknown status is never guessed at and never changed.
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
"""The statuses of a job that has ended."""


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
"""The open statuses: not yet called, or to be called again. A cancel changes no others."""

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
"""The statuses of a contact that has ended; it is never changed again."""


class Removal(StrEnum):
    """What became of the job's deferred start."""

    REMOVED = "removed"
    """This cancellation removed it before it fired, confirmed."""

    ABSENT = "absent"
    """There was none to remove: never scheduled, already fired, or removed by another."""

    PENDING = "pending"
    """The scheduler has not confirmed anything yet; reconcile asks again."""

    NOT_APPLICABLE = "not_applicable"
    """The job was pending or running, and named no deferred start."""
