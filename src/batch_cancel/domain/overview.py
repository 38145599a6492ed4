"""
Reports on one job: what a cancel would do to it, and its progress.

Rule 1: a preview is decided by the function that decides a cancel, `plan_cancellation`.
Rule 2: nothing is locked: a report is true for one moment, and may be outdated now.
Rule 3: a job is drained once it has ended and none of its contacts is open or live. Contacts
        in an unmapped status are counted separately, as nothing is known about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from batch_cancel.domain.cancellation import CancelPlan, CancelRequest, plan_cancellation
from batch_cancel.domain.errors import AlreadyTerminal, JobNotFound, UnknownJobStatus
from batch_cancel.domain.job import CancellationRecord, Job
from batch_cancel.domain.statuses import (
    CANCELLABLE_CONTACTS,
    TERMINAL_CONTACTS,
    TERMINAL_JOBS,
    ContactStatus,
    Removal,
)


@attrs.frozen
class Overview:
    """
    A job and its contacts at one moment, read without a lock.

    Arguments:
        job: the job, with the record of its cancellation if it is cancelled.
        contacts: how many contacts it has in each status; a missing status means 0.
        contacts_unknown: how many it has in statuses other than the twelve.
    """

    job: Job
    contacts: Mapping[ContactStatus, int]
    contacts_unknown: int = 0

    @classmethod
    def of(cls, job: Job, counted: Iterable[tuple[ContactStatus | None, int]]) -> Overview:
        """
        Return an overview from the numbers that a store grouped by status.

        Arguments:
            job: the job.
            counted: statuses and how many contacts have them; None for an unknown status. One may
                occur several times.
        """
        contacts, unknown = dict.fromkeys(ContactStatus, 0), 0
        for status, number in counted:
            if status is None:
                unknown += number
            else:
                contacts[status] += number
        return cls(job, contacts, unknown)

    def count(self, statuses: Iterable[ContactStatus]) -> int:
        """Return how many contacts are in these statuses."""
        return sum(self.contacts.get(status, 0) for status in statuses)


@attrs.frozen
class Preview:
    """
    What a cancel would do to a job.

    Arguments:
        batch_job_id: the job's id, as the store returns it.
        organization_id: whose job it is; None for a job of no organization.
        status: its status; None, and any text other than the six, is unknown.
        refusal: the error that the cancel would raise; None if it would succeed.
        is_replay: whether this operation has cancelled the job before: the cancel would return
            that answer again, and change nothing.
        contacts: how many contacts the job has in each of the twelve statuses.
        contacts_unknown: how many it has in any other status; a cancel does not change them.
        contacts_to_cancel: how many the cancel would change.
        removes_start: whether the scheduler would be asked to remove a deferred start: the job's,
            or one whose removal is pending from an earlier cancellation.
    """

    batch_job_id: str
    organization_id: str | None
    status: str | None
    refusal: AlreadyTerminal | UnknownJobStatus | None
    is_replay: bool
    contacts: Mapping[ContactStatus, int]
    contacts_unknown: int
    contacts_to_cancel: int
    removes_start: bool

    @property
    def would_cancel(self) -> bool:
        """Whether the cancel would change the job: it is live."""
        return self.refusal is None and not self.is_replay

    @property
    def live_calls(self) -> int:
        """How many calls are in progress; a cancel lets them end."""
        return self.contacts[ContactStatus.DIALING]


@attrs.frozen
class Progress:
    """
    The progress of a job.

    Arguments:
        batch_job_id: the job's id, as the store returns it.
        organization_id: whose job it is; None for a job of no organization.
        status: its status; None, and any text other than the six, is unknown.
        contacts_open: how many contacts wait for a call.
        contacts_live: how many are live.
        contacts_ended: how many are in a terminal status.
        contacts_unknown: how many are in a status other than the twelve.
    """

    batch_job_id: str
    organization_id: str | None
    status: str | None
    contacts_open: int
    contacts_live: int
    contacts_ended: int
    contacts_unknown: int

    @property
    def is_drained(self) -> bool:
        """Whether the job has ended, and no contact of it is open or live."""
        return self.status in TERMINAL_JOBS and not (self.contacts_open or self.contacts_live)


def preview(request: CancelRequest, overview: Overview | None) -> Preview:
    """
    Return what a cancel would do.

    Arguments:
        request: the cancel.
        overview: the job; None if there is none.

    Raises:
        JobNotFound: there is no such job.
    """
    if overview is None:
        raise JobNotFound(request.key)
    refusal: AlreadyTerminal | UnknownJobStatus | None = None
    decision: CancelPlan | CancellationRecord | None = None
    try:
        decision = plan_cancellation(request, overview.job)
    except AlreadyTerminal as error:
        refusal, decision = error, error.cancellation  # What it left pending is done again.
    except UnknownJobStatus as error:
        refusal = error
    leaves_contacts = isinstance(decision, CancellationRecord) and decision.is_swept
    statuses = () if decision is None or leaves_contacts else CANCELLABLE_CONTACTS
    return Preview(
        batch_job_id=overview.job.key.batch_job_id,
        organization_id=overview.job.key.organization_id,
        status=overview.job.status,
        refusal=refusal,
        is_replay=refusal is None and isinstance(decision, CancellationRecord),
        contacts={status: overview.contacts.get(status, 0) for status in ContactStatus},
        contacts_unknown=overview.contacts_unknown,
        contacts_to_cancel=overview.count(statuses),
        removes_start=decision is not None and decision.removal is Removal.PENDING,
    )


def progress(overview: Overview) -> Progress:
    """Return the progress of a job."""
    return Progress(
        batch_job_id=overview.job.key.batch_job_id,
        organization_id=overview.job.key.organization_id,
        status=overview.job.status,
        contacts_open=overview.count(CANCELLABLE_CONTACTS),
        contacts_live=overview.count({ContactStatus.DIALING}),
        contacts_ended=overview.count(TERMINAL_CONTACTS),
        contacts_unknown=overview.contacts_unknown,
    )
