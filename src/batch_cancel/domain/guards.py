"""
What a worker may still do to a job and its contacts, as pure rules.

A cancel stops a job only if the workers ask before they act. These are their questions.

Rule 1: start: a job is started from scheduled or pending, by compare and set; a cancelled job's
        deferred start that fires all the same finds nothing to start.
Rule 2: claim: only a running job's contacts are dialled, and only the five open statuses.
Rule 3: settle: a call that was live when the job was cancelled keeps how it ended, unless it would
        be retried: then its contact is cancelled, because no call of the job may start again.
Rule 4: append: only a live job gets new contacts.
Rule 5: finish: only a running job is completed, and only when no contact is open or on the phone.
"""

from __future__ import annotations

from typing import Final, assert_never

from batch_cancel.domain.model import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

STARTABLE_JOBS: Final = frozenset({JobStatus.SCHEDULED, JobStatus.PENDING})
"""The jobs that a worker may start."""

CLAIMABLE_CONTACTS: Final = CANCELLABLE_CONTACTS
"""The contacts that may be dialled: the same five that a cancel takes away."""

UNFINISHED_CONTACTS: Final = CANCELLABLE_CONTACTS | {ContactStatus.DIALING}
"""The contacts that a job must not have any more when it is completed."""

RETRYABLE_OUTCOMES: Final = frozenset(
    {
        ContactStatus.QUEUED,
        ContactStatus.NO_ANSWER,
        ContactStatus.BUSY,
        ContactStatus.TIMEOUT,
    }
)
"""The ends of a call after which the contact would be dialled again."""


def check_outcome(outcome: ContactStatus) -> None:
    """
    Refuse what is no end of a call.

    Raises:
        ValueError: `outcome` is pending, dialing or cancelled.
    """
    match outcome:
        case ContactStatus.PENDING | ContactStatus.DIALING | ContactStatus.CANCELLED:
            msg = f"a call does not end as {outcome.value!r}"
            raise ValueError(msg)
        case (
            ContactStatus.QUEUED
            | ContactStatus.NO_ANSWER
            | ContactStatus.BUSY
            | ContactStatus.TIMEOUT
            | ContactStatus.COMPLETED
            | ContactStatus.FAILED
            | ContactStatus.BLOCKED
            | ContactStatus.INVALID_NUMBER
            | ContactStatus.CARRIER_ERROR
        ):
            return
        case _:
            assert_never(outcome)


def settled_status(job_status: str | None, outcome: ContactStatus) -> ContactStatus:
    """
    Decide how a live call's contact ends.

    Arguments:
        job_status: the job's status as read under its lock; None if there is no such job.
        outcome: how the call ended.
    """
    if job_status == JobStatus.CANCELLED and outcome in RETRYABLE_OUTCOMES:
        return ContactStatus.CANCELLED
    return outcome


def may_append(job_status: str | None) -> bool:
    """Tell whether a job of this status, read under its lock, may get new contacts."""
    return job_status in {JobStatus.SCHEDULED, JobStatus.PENDING, JobStatus.RUNNING}
