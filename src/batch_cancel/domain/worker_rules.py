"""
What a worker may still do to a job and its contacts, as pure rules.

A cancel stops a job only if its workers ask before they act.

Rule 1: start: a job is started from scheduled or pending, by compare and set. So the deferred
        start of a cancelled job starts nothing if it fires all the same.
Rule 2: claim: only a running job's contacts are dialled, and only the five open statuses.
Rule 3: settle: a call that was live when the job was cancelled keeps its outcome. If it would be
        retried, its contact becomes cancelled, because no call of the job may start again.
Rule 4: append: only a live job gets new contacts. If a contact has an id or a time, the id must be
        storable and the time aware.
Rule 5: finish: only a running job is completed, and only if no contact is open or live.
Rule 6: expire: a call that has been live for too long is settled as `timeout`.
Rule 7: an empty claim is the last one if the job has ended, or runs and has no open and no live
        contact. A job that does not run yet, or is paused by a status of the adopter's, goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, assert_never

import attrs

from batch_cancel.domain.defaults import CENTURY
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import ID_BYTES_MAX, Job, is_storable
from batch_cancel.domain.statuses import (
    CANCELLABLE_CONTACTS,
    TERMINAL_JOBS,
    ContactStatus,
    JobStatus,
)

STARTABLE_JOBS: Final = frozenset({JobStatus.SCHEDULED, JobStatus.PENDING})
"""The jobs that a worker may start."""

CLAIMABLE_CONTACTS: Final = CANCELLABLE_CONTACTS
"""The contacts that may be dialled: the same five statuses that a cancel changes."""

UNFINISHED_CONTACTS: Final = CANCELLABLE_CONTACTS | {ContactStatus.DIALING}
"""The contacts that keep a job from being completed."""

RETRYABLE_OUTCOMES: Final = CANCELLABLE_CONTACTS - {ContactStatus.PENDING}
"""The outcomes after which a contact is dialled again."""

CLAIM_LIMIT_MAX: Final = 1_000_000
"""The highest limit of one claim: the most contacts that a job has."""

CALL_AGE_UNKNOWN: Final = (
    "the age of a call is unknown: map contact_dialing_since=... or contact_updated_at=..."
)


def check_limit(limit: object, least: int = 0) -> None:
    """
    Check a limit of contacts, cancellations or starts.

    Raises:
        TypeError: `limit` is not an int.
        ValueError: `limit` is not `least` to 1,000,000.
    """
    if not isinstance(limit, int) or isinstance(limit, bool):
        msg = f"limit must be an int, got {type(limit).__name__}"
        raise TypeError(msg)
    if not least <= limit <= CLAIM_LIMIT_MAX:
        msg = f"limit must be {least} to {CLAIM_LIMIT_MAX}, got {limit!r}"
        raise ValueError(msg)


def check_age(older_than: object) -> None:
    """
    Check an age of calls.

    Raises:
        TypeError: `older_than` is not a timedelta.
        ValueError: `older_than` is not positive, or longer than a century.
    """
    if not isinstance(older_than, timedelta):
        msg = f"older_than must be a timedelta, got {type(older_than).__name__}"
        raise TypeError(msg)
    if not timedelta(0) < older_than <= CENTURY:
        msg = f"older_than must be positive and at most {CENTURY.days} days, got {older_than}"
        raise ValueError(msg)


@attrs.frozen
class Settlement:
    """
    The new state of a contact whose call has ended.

    Arguments:
        status: its new status.
        retry_at: when it may be dialled again, an aware datetime; None for at once, or for never
            if its status is final.
    """

    status: ContactStatus
    retry_at: datetime | None


@attrs.frozen
class CallEnd:
    """
    How a live call ended.

    Arguments:
        outcome: its outcome, as a contact's status.
        retry_at: when its contact may be dialled again, an aware datetime; None for at once.

    Raises:
        ValueError: a call cannot end in this status, or `retry_at` is naive.
    """

    outcome: ContactStatus = attrs.field(converter=ContactStatus)
    retry_at: datetime | None = None

    def __attrs_post_init__(self) -> None:
        if not _ends_a_call(self.outcome):
            msg = f"a call cannot end as {self.outcome.value!r}"
            raise ValueError(msg)
        if self.retry_at is not None and self.retry_at.utcoffset() is None:
            msg = f"retry_at must be an aware datetime, got {self.retry_at!r}"
            raise ValueError(msg)

    @property
    def depends_on_job(self) -> bool:
        """Whether the job's status matters, and must be read under its lock."""
        return self.outcome in RETRYABLE_OUTCOMES

    def settlement(self, job: Job | None) -> Settlement:
        """
        Return the new state of the contact.

        Arguments:
            job: the job as read under its lock; None if it does not matter.
        """
        if not self.depends_on_job:
            return Settlement(self.outcome, None)
        if job is not None and job.status == JobStatus.CANCELLED:
            return Settlement(ContactStatus.CANCELLED, None)
        return Settlement(self.outcome, self.retry_at)


def _ends_a_call(outcome: ContactStatus) -> bool:
    match outcome:
        case ContactStatus.PENDING | ContactStatus.DIALING | ContactStatus.CANCELLED:
            return False
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
            return True
        case _:
            assert_never(outcome)


CONTACT_ID_REFUSED: Final = "a contact's id must be a str that no other contact of the job has"


def new_contact_id(contact: Mapping[str, object], generated: str) -> str:
    """
    Return the id of a new contact, in a store without the adopter's columns.

    Arguments:
        contact: its values by column.
        generated: its id if it has none.

    Raises:
        StoreFailed: the id is not a str, or cannot be stored.
    """
    contact_id = contact.get("id", generated)
    if not isinstance(contact_id, str) or not is_storable(contact_id, ID_BYTES_MAX):
        raise StoreFailed(CONTACT_ID_REFUSED)
    return contact_id


def new_contact_due_at(contact: Mapping[str, object]) -> datetime | None:
    """
    Return when a new contact may be dialled, an aware datetime; None for at once.

    Raises:
        StoreFailed: the time is not an aware datetime.
    """
    at = contact.get("next_attempt_at")
    if at is None:
        return None
    if not isinstance(at, datetime) or at.utcoffset() is None:
        reason = "a contact's next_attempt_at must be an aware datetime"
        raise StoreFailed(reason)
    return at


def is_running(job_status: str | None) -> bool:
    """Check whether a job in this status may start calls; None if there is no such job."""
    return job_status == JobStatus.RUNNING


def is_over(job_status: str | None, *, has_unfinished: bool) -> bool:
    """
    Check whether no contact of a job is to be claimed any more.

    Arguments:
        job_status: the job's status; None if there is no such job, or it has no status.
        has_unfinished: whether the job is there and has an open or a live contact. It matters only
            if `depends_on_contacts`.
    """
    if depends_on_contacts(job_status):
        return not has_unfinished
    return job_status in TERMINAL_JOBS


def depends_on_contacts(job_status: str | None) -> bool:
    """Check whether the contacts of a job in this status decide if it is over."""
    return job_status is None or is_running(job_status)
