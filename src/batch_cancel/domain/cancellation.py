"""
What a cancel does, as pure functions.

Rule 1: every decision about a cancellation is made here. Use cases and adapters carry it out.
Rule 2: these functions do not wait, read a clock or know a store. Same arguments, same answer.
Rule 3: a live job (scheduled, pending, running) is cancelled. A terminal job is refused, unless
        the same operation cancelled it. An unknown status fails closed.
Rule 4: a deferred start is removed wherever the job names one: a job that was started early still
        has one. The API's answer reports the removal for scheduled jobs only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import assert_never

import attrs
from attrs import validators

from batch_cancel.domain.errors import AlreadyTerminal, JobNotFound, UnknownJobStatus
from batch_cancel.domain.job import (
    ID_BYTES_MAX,
    TEXT_BYTES_MAX,
    CancellationRecord,
    Job,
    JobKey,
    is_storable,
    is_text,
)
from batch_cancel.domain.statuses import (
    CANCELLABLE_CONTACTS,
    LIVE_JOBS,
    TERMINAL_JOBS,
    ContactStatus,
    JobStatus,
    Removal,
)


def _is_text_of(bytes_max: int) -> Callable[[object, attrs.Attribute[str], str], None]:
    def check(_: object, attribute: attrs.Attribute[str], value: str) -> None:
        if not is_storable(value, bytes_max):
            msg = f"{attribute.name} must be 1 to {bytes_max} bytes of UTF-8 without NUL"
            raise ValueError(msg)

    return validators.and_(is_text, check)


@attrs.frozen
class CancelRequest:
    """
    One caller's request to cancel one job.

    Arguments:
        key: the job.
        operation_id: the name of the request; a retry carries the same one. At most 1024 bytes.
        actor: who asks. At most 4096 bytes.
        reason: why. At most 4096 bytes.
        announce: whether an `on_cancelled` hook is to be called afterwards.

    Raises:
        TypeError: an argument is not a str.
        ValueError: a text is empty, too long, or cannot be stored.
    """

    key: JobKey
    operation_id: str = attrs.field(validator=_is_text_of(ID_BYTES_MAX))
    # Both may name a person: kept out of logs.
    actor: str | None = attrs.field(
        default=None, validator=validators.optional(_is_text_of(TEXT_BYTES_MAX)), repr=False
    )
    reason: str | None = attrs.field(
        default=None, validator=validators.optional(_is_text_of(TEXT_BYTES_MAX)), repr=False
    )
    announce: bool = False


@attrs.frozen
class CancelPlan:
    """
    The steps for a live job: cancel its contacts, then mark it.

    Arguments:
        request: the request.
        job: the job, as read under its lock.
        previous_status: its status, known to be a live one.
        contact_statuses: the contacts to cancel.
        removal: PENDING if a deferred start is to be removed after the commit.
    """

    request: CancelRequest
    job: Job
    previous_status: JobStatus
    contact_statuses: frozenset[ContactStatus]
    removal: Removal

    def record(self, contacts_cancelled: int | None) -> CancellationRecord:
        """
        Return the record of this plan once it is carried out.

        Arguments:
            contacts_cancelled: how many contacts were cancelled with the job; None if they are too
                many for one transaction, and are swept after it.
        """
        return CancellationRecord(
            operation_id=self.request.operation_id,
            key=self.job.key,
            previous_status=self.previous_status,
            contacts_cancelled=0 if contacts_cancelled is None else contacts_cancelled,
            actor=self.request.actor,
            reason=self.request.reason,
            cancelled_at=self.job.locked_at,
            deferred_id=self.job.deferred_id,
            removal=self.removal,
            is_announced=not self.request.announce,
            is_swept=contacts_cancelled is not None,
        )


@attrs.frozen
class Cancellation:
    """
    A cancellation in the database; its deferred start may still be in the scheduler.

    Arguments:
        record: what was written.
        replayed: True if this operation had already cancelled the job before.
        joined: True if it is part of the caller's transaction, which may still be rolled back.
    """

    record: CancellationRecord
    replayed: bool
    joined: bool = False

    @property
    def announcement_owed(self) -> bool:
        """
        Whether the hook is still to be called.

        A retry of the operation does not call it, and it is not called before the sweep ends.
        """
        return not self.replayed and not self.record.is_announced and self.record.is_swept


@attrs.frozen
class CancelResult:
    """
    The answer to a cancel that succeeded.

    Arguments:
        batch_job_id: the job's id, as it is stored.
        previous_status: its status before.
        contacts_cancelled: how many contacts this cancellation changed.
        removal: what became of the deferred start.
        operation_id: the name of this cancellation; the caller's, or generated.
        cancelled_at: when, by the store's clock, in UTC.
        replayed: True if this operation had already cancelled the job before.
        organization_id: whose job it is; None for a job of no organization.
        actor: who cancelled, as the caller of the cancellation named them.
        reason: why, in that caller's words.
    """

    batch_job_id: str
    previous_status: JobStatus
    contacts_cancelled: int
    removal: Removal
    operation_id: str
    cancelled_at: datetime
    replayed: bool
    organization_id: str | None = None
    actor: str | None = attrs.field(default=None, repr=False)  # May name a person.
    reason: str | None = attrs.field(default=None, repr=False)

    @property
    def redis_job_cancelled(self) -> bool:
        """
        Whether this cancellation itself removed the deferred start of a scheduled job, confirmed.

        The API answers False for every other job; `removal` covers a job that was started early.
        """
        is_of_scheduled = self.previous_status is JobStatus.SCHEDULED
        return is_of_scheduled and self.removal is Removal.REMOVED

    @property
    def message(self) -> str:
        """The contract's sentence for the status that the job was cancelled from."""
        match self.previous_status:
            case JobStatus.SCHEDULED:
                return "Scheduled job cancelled successfully"
            case JobStatus.PENDING:
                return "Pending job cancelled successfully"
            case JobStatus.RUNNING:
                return "Job was already running - cancelled remaining contacts"
            case JobStatus.COMPLETED | JobStatus.FAILED | JobStatus.CANCELLED:
                msg = f"a job cannot be cancelled from {self.previous_status}"
                raise ValueError(msg)
            case _:
                assert_never(self.previous_status)


def live_job(key: JobKey, job: Job | None) -> tuple[Job, JobStatus]:
    """
    Return the job and its status if it is live.

    Arguments:
        key: the name that it was asked for by.
        job: the job as read under its lock; None if there is none.

    Raises:
        JobNotFound: there is no such job.
        AlreadyTerminal: the job has ended; with the record of its cancellation, if that ended it.
        UnknownJobStatus: the job's status is not one of the six.
    """
    if job is None:
        raise JobNotFound(key)
    if job.status in LIVE_JOBS:
        return job, JobStatus(job.status)
    if job.status in TERMINAL_JOBS:
        status = JobStatus(job.status)
        record = job.cancellation if status is JobStatus.CANCELLED else None
        raise AlreadyTerminal(job.key, status, record)
    raise UnknownJobStatus(job.key, job.status)


def plan_cancellation(request: CancelRequest, job: Job | None) -> CancelPlan | CancellationRecord:
    """
    Decide what a cancel does to the job that it has locked.

    Arguments:
        request: the request.
        job: the job as read under its lock; None if there is none.

    Returns:
        the plan to carry out; or, if this operation has already cancelled the job, its record.

    Raises:
        JobNotFound: there is no such job.
        AlreadyTerminal: the job has ended, or another operation has cancelled it.
        UnknownJobStatus: the job's status is not one of the six.
    """
    try:
        live, status = live_job(request.key, job)
    except AlreadyTerminal as refusal:
        record = refusal.cancellation
        if record is not None and record.operation_id == request.operation_id:
            return record
        raise
    if live.deferred_id is not None:
        removal = Removal.PENDING
    elif status is JobStatus.SCHEDULED:
        removal = Removal.ABSENT
    else:
        removal = Removal.NOT_APPLICABLE
    return CancelPlan(request, live, status, CANCELLABLE_CONTACTS, removal)


def removal_of(answer: object) -> Removal:
    """
    Interpret a scheduler's answer: True is removed, False is absent, anything else is pending.

    The port returns a bool; an adapter that returns anything else has confirmed nothing.
    """
    if answer is True:
        return Removal.REMOVED
    if answer is False:
        return Removal.ABSENT
    return Removal.PENDING


def is_same_cancellation(one: CancellationRecord, other: CancellationRecord) -> bool:
    """
    Check whether two records of a job are of the same cancellation.

    A job whose status was set back may be cancelled again by an operation of the same name; the
    time distinguishes the two cancellations.
    """
    return (one.operation_id, one.cancelled_at) == (other.operation_id, other.cancelled_at)


def untaken(record: CancellationRecord) -> CancellationRecord:
    """Return the record as it is if it was not claimed since the cancellation."""
    return attrs.evolve(record, taken_at=record.cancelled_at)


def next_turn(taken_at: datetime, now: datetime) -> datetime:
    """Return when a record is taken: later than before, even if the clock has not moved on."""
    return max(now, taken_at + timedelta.resolution)


def marked_done(current: CancellationRecord, done: CancellationRecord) -> CancellationRecord:
    """
    Return the record with the progress of `done`; progress is never undone.

    Arguments:
        current: the stored record.
        done: the same record with the progress to note. The record of another operation, or of an
            earlier cancellation of the job, is ignored.
    """
    if not is_same_cancellation(current, done):
        return current
    removal = done.removal if current.removal is Removal.PENDING else current.removal
    is_announced = current.is_announced or done.is_announced
    return attrs.evolve(current, removal=removal, is_announced=is_announced)


def committed(
    cancellation: Cancellation, found: CancellationRecord | Job | None
) -> Cancellation | None:
    """
    Decide whether a cancellation in the caller's transaction was committed.

    Arguments:
        cancellation: what `cancel_rows` returned.
        found: the committed record of the job's cancellation, or None; the job, if the store keeps
            no records.

    Returns:
        the committed cancellation, with the progress made since; None if it was rolled back.
    """
    match found:
        case CancellationRecord() if is_same_cancellation(found, cancellation.record):
            return attrs.evolve(cancellation, record=found)
        case Job(status=JobStatus.CANCELLED):
            return cancellation
        case _:
            return None


def is_pending(record: CancellationRecord, *, announcements: bool) -> bool:
    """Check whether a sweep or a removal is pending, or an announcement if those count."""
    return (
        not record.is_swept
        or record.removal is Removal.PENDING
        or (announcements and not record.is_announced)
    )


def conclude(cancellation: Cancellation, removal: Removal) -> CancelResult:
    """
    Return the answer to a cancel.

    Arguments:
        cancellation: the cancellation in the database.
        removal: what became of the deferred start.
    """
    record = cancellation.record
    return CancelResult(
        batch_job_id=record.key.batch_job_id,
        previous_status=record.previous_status,
        contacts_cancelled=record.contacts_cancelled,
        removal=removal,
        operation_id=record.operation_id,
        cancelled_at=record.cancelled_at,
        replayed=cancellation.replayed,
        organization_id=record.key.organization_id,
        actor=record.actor,
        reason=record.reason,
    )
