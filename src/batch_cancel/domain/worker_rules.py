"""
What a worker may still do to a job and its contacts, as pure rules.

A cancel stops a job only if the workers ask before they act. These are their questions.

Rule 1: start: a job is started from scheduled or pending, by compare and set; a cancelled job's
        deferred start that fires all the same finds nothing to start.
Rule 2: claim: only a running job's contacts are dialled, and only the five open statuses.
Rule 3: settle: a call that was live when the job was cancelled keeps how it ended, unless it would
        be retried: then its contact is cancelled, because no call of the job may start again.
Rule 4: append: only a live job gets new contacts, each with an id that a store can keep and an
        aware time, if it brings them.
Rule 5: finish: only a running job is completed, and only when no contact is open or on the phone.
Rule 6: expire: a call that has been live for too long ended as `timeout`, by the rule of settle.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, assert_never

import attrs

from batch_cancel.domain.defaults import CENTURY
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import ID_BYTES_MAX, Job, is_storable
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

STARTABLE_JOBS: Final = frozenset({JobStatus.SCHEDULED, JobStatus.PENDING})
"""The jobs that a worker may start."""

CLAIMABLE_CONTACTS: Final = CANCELLABLE_CONTACTS
"""The contacts that may be dialled: the same five that a cancel takes away."""

UNFINISHED_CONTACTS: Final = CANCELLABLE_CONTACTS | {ContactStatus.DIALING}
"""The contacts that a job must not have any more when it is completed."""

RETRYABLE_OUTCOMES: Final = CANCELLABLE_CONTACTS - {ContactStatus.PENDING}
"""The ends of a call after which the contact would be dialled again."""

CLAIM_LIMIT_MAX: Final = 1_000_000
"""The most contacts that one claim may ask for: as many as a job has."""


def check_limit(limit: object) -> None:
    """
    Refuse a number of contacts, cancellations or starts that makes no sense.

    Raises:
        TypeError: `limit` is no int.
        ValueError: `limit` is negative, or more than a job has contacts.
    """
    if not isinstance(limit, int) or isinstance(limit, bool):
        msg = f"limit must be an int, got {type(limit).__name__}"
        raise TypeError(msg)
    if not 0 <= limit <= CLAIM_LIMIT_MAX:
        msg = f"limit must be 0 to {CLAIM_LIMIT_MAX}, got {limit!r}"
        raise ValueError(msg)


def check_age(older_than: object) -> None:
    """
    Refuse an age of calls that makes no sense.

    Raises:
        TypeError: `older_than` is no timedelta.
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
    How the contact of a live call goes on.

    Arguments:
        status: its status from now on.
        retry_at: when it may be dialled again, an aware datetime; None for at once, or for never
            where its status is final.
    """

    status: ContactStatus
    retry_at: datetime | None


@attrs.frozen
class CallEnd:
    """
    How a live call ended.

    Arguments:
        outcome: what became of it; no text but a status is one.
        retry_at: when its contact may be dialled again, an aware datetime; None for at once.

    Raises:
        ValueError: no call ends like this, or a time without a zone.
    """

    outcome: ContactStatus = attrs.field(converter=ContactStatus)
    retry_at: datetime | None = None

    def __attrs_post_init__(self) -> None:
        if not _ends_a_call(self.outcome):
            msg = f"a call does not end as {self.outcome.value!r}"
            raise ValueError(msg)
        if self.retry_at is not None and self.retry_at.utcoffset() is None:
            msg = f"retry_at must be an aware datetime, got {self.retry_at!r}"
            raise ValueError(msg)

    @property
    def depends_on_job(self) -> bool:
        """Whether the job's status matters, which must then be read under its lock."""
        return self.outcome in RETRYABLE_OUTCOMES

    def settlement(self, job: Job | None) -> Settlement:
        """
        Decide how the contact goes on.

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


CONTACT_ID_REFUSED: Final = "a contact's id must be a text that no other contact of the job has"


def new_contact_id(contact: Mapping[str, object], generated: str) -> str:
    """
    Return the id of a contact to be added to a store that has no columns of the adopter's.

    Arguments:
        contact: its values by column.
        generated: its id if it brings none.

    Raises:
        StoreFailed: the id is no text that a store can keep.
    """
    contact_id = contact.get("id", generated)
    if not isinstance(contact_id, str) or not is_storable(contact_id, ID_BYTES_MAX):
        raise StoreFailed(CONTACT_ID_REFUSED)
    return contact_id


def new_contact_due_at(contact: Mapping[str, object]) -> datetime | None:
    """
    Return when a contact to be added may be dialled, an aware datetime; None for at once.

    Raises:
        StoreFailed: the time is no aware datetime.
    """
    at = contact.get("next_attempt_at")
    if at is None:
        return None
    if not isinstance(at, datetime) or at.utcoffset() is None:
        reason = "a contact's next_attempt_at must be an aware datetime"
        raise StoreFailed(reason)
    return at


def is_running(job_status: str | None) -> bool:
    """Check whether calls of a job of this status may still be started; None if there is none."""
    return job_status == JobStatus.RUNNING
