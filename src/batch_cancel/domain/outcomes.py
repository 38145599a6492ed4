"""
The sentences for rows that are not as they were written, or can't be added.

Rule: after a write a store reads the rows back, in the same transaction: a row count proves
      nothing. Its sentences are here; each store adds the possible cause.
"""

from __future__ import annotations

from typing import Final

from batch_cancel.domain.errors import shown
from batch_cancel.domain.statuses import ContactStatus, JobStatus

RECORD_CHANGED: Final = "the record of the cancellation is not as it was written"


def left_open(number: int) -> str:
    """Return the sentence for contacts that are open after a cancel."""
    return f"contacts of the job are still open after all were cancelled: {number}"


def not_cancelled(due: int, cancelled: int) -> str:
    """Return the sentence for a number of cancelled contacts other than the counted one."""
    return f"{due} contacts were set to cancelled, and {cancelled} are"


def job_differs(due: JobStatus, status: str | None) -> str:
    """Return the sentence for a job with another status than was set."""
    return f"the job has the status {shown(status)} after it was set to {due.value!r}"


def contacts_differ(due: ContactStatus, number: int, right: int) -> str:
    """Return the sentence for contacts of which only some have the status that was set."""
    return f"{number} contacts were set to {due.value!r}, and {right} have this status"


def added_twice(job_id: str) -> ValueError:
    """Return the error for a new job that exists already."""
    return ValueError(f"there is already a job {shown(job_id)} in this organization")


def added_to_none(job_id: str) -> LookupError:
    """Return the error for new contacts of a missing job."""
    return LookupError(f"there is no job {shown(job_id)} in this organization: add it first")
