"""
What is wrong with rows that are not as they were written, or can't be added, in sentences.

Rule: after a write a store looks at the rows, in the same transaction: a row count is no proof.
      What it then says is written here; what may be in the way there, each store adds.
"""

from __future__ import annotations

from typing import Final

from batch_cancel.domain.errors import shown
from batch_cancel.domain.statuses import ContactStatus, JobStatus

RECORD_CHANGED: Final = "the record of the cancellation is not there as it was written"


def left_open(number: int) -> str:
    """Return that so many contacts are open after a cancel."""
    return f"contacts of the job that are open after all were cancelled: {number}"


def not_cancelled(due: int, cancelled: int) -> str:
    """Return that fewer or more contacts are cancelled than a cancel has counted."""
    return f"contacts cancelled: {due}, that are cancelled: {cancelled}"


def job_differs(due: JobStatus, status: str | None) -> str:
    """Return that a job has another status than it was set to."""
    return f"the job has the status {shown(status)} after it was set to {due.value!r}"


def contacts_differ(due: ContactStatus, number: int, right: int) -> str:
    """Return that of so many contacts only some have the status that they were set to."""
    return f"contacts set to {due.value!r}: {number}, that have this status: {right}"


def added_twice(job_id: str) -> ValueError:
    """Return the error for a job that is to be added, and is there."""
    return ValueError(f"there is a job {shown(job_id)} in this organization already")


def added_to_none(job_id: str) -> LookupError:
    """Return the error for contacts that are to be added to a job that is not there."""
    return LookupError(f"there is no job {shown(job_id)} in this organization to add contacts to")
