"""
Cancel many jobs: which ones, what happens to each, and what it comes to.

Rule 1: every job is decided by the function that decides a single cancel, `plan_cancellation`.
Rule 2: a filter names an organization, statuses or times. One that names nothing is refused: it
        would cancel every job.
Rule 3: organization None is a value, and never a wildcard.
Rule 4: counts come from what happened to each job, and from nothing else.
Rule 5: a job that cannot be cancelled does not stop the others. A store that does not answer does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Final, cast

import attrs
from attrs import validators

from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelPlan,
    CancelRequest,
    CancelResult,
    plan_cancellation,
)
from batch_cancel.domain.defaults import BULK_SLICE
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    Fault,
    JobNotFound,
    Outcome,
    UnknownJobStatus,
)
from batch_cancel.domain.job import Job, JobKey, check_text, is_text
from batch_cancel.domain.retry import SILENCES_MAX, Attempts, Patience
from batch_cancel.domain.statuses import LIVE_JOBS, JobStatus, Removal

_EMPTY: Final = (
    "a JobFilter must name an organization, statuses or a time: an empty one would cancel every "
    "job of no organization"
)
_RATE_MIN: Final = 0.0001
"""The lowest rate, in jobs a second: a smaller one waits so long that it must be a mistake."""

_NO_IDS: Final = "jobs must be several ids or a JobFilter, got one {}: for one job use cancel_job"
_TWO_ORGANIZATIONS: Final = (
    "the organization of a JobFilter is in the filter: leave organization_id out"
)


def _is_moment(_: object, attribute: attrs.Attribute[datetime], value: object) -> None:
    if not isinstance(value, datetime):
        msg = f"{attribute.name} must be a datetime, got {type(value).__name__}"
        raise TypeError(msg)
    if value.utcoffset() is None:
        msg = f"{attribute.name} must be an aware datetime, got {value!r}"
        raise ValueError(msg)


def _live_statuses(given: object) -> frozenset[JobStatus] | None:
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        msg = f"statuses must be several statuses, got {type(given).__name__}"
        raise TypeError(msg)
    statuses = frozenset(cast("Iterable[object]", given))
    if not statuses or not statuses <= frozenset(LIVE_JOBS):
        msg = f"statuses must be some of {', '.join(LIVE_JOBS)}: a job that has ended stays so"
        raise ValueError(msg)
    return frozenset(it for it in LIVE_JOBS if it in statuses)


_MOMENT: Final = validators.optional(_is_moment)


@attrs.frozen(kw_only=True)
class JobFilter:
    """
    The live jobs that `cancel_jobs` finds in the store.

    All conditions hold together. A job without a time matches no condition on that time.

    Arguments:
        organization_id: whose jobs; None for jobs of no organization, never for all.
        statuses: some of scheduled, pending and running; None for all three.
        scheduled_after: only jobs that were to start at this time or later.
        scheduled_before: only jobs that were to start before this time.
        created_after: only jobs created at this time or later.
        created_before: only jobs created before this time.

    Raises:
        TypeError: the organization is not a str, or a time is not a datetime.
        ValueError: the filter is empty; a status is not one of the three; a time has no time zone.
    """

    organization_id: str | None = attrs.field(default=None, validator=validators.optional(is_text))
    statuses: frozenset[JobStatus] | None = attrs.field(default=None, converter=_live_statuses)
    scheduled_after: datetime | None = attrs.field(default=None, validator=_MOMENT)
    scheduled_before: datetime | None = attrs.field(default=None, validator=_MOMENT)
    created_after: datetime | None = attrs.field(default=None, validator=_MOMENT)
    created_before: datetime | None = attrs.field(default=None, validator=_MOMENT)

    def __attrs_post_init__(self) -> None:
        if all(value is None for value in attrs.astuple(self)):
            raise ValueError(_EMPTY)

    @property
    def live_statuses(self) -> frozenset[JobStatus]:
        """The statuses of the jobs that it holds for."""
        return frozenset(LIVE_JOBS) if self.statuses is None else self.statuses

    @property
    def asks_scheduled(self) -> bool:
        """Whether it has a condition on the time when jobs were to start."""
        return self.scheduled_after is not None or self.scheduled_before is not None

    @property
    def asks_created(self) -> bool:
        """Whether it has a condition on the time when jobs were created."""
        return self.created_after is not None or self.created_before is not None

    def holds(
        self,
        key: JobKey,
        status: str | None,
        scheduled_at: datetime | None,
        created_at: datetime | None,
    ) -> bool:
        """Check whether a job is wanted."""
        return (
            key.organization_id == self.organization_id
            and status in self.live_statuses
            and _is_between(scheduled_at, self.scheduled_after, self.scheduled_before)
            and _is_between(created_at, self.created_after, self.created_before)
        )


def _is_between(at: datetime | None, after: datetime | None, before: datetime | None) -> bool:
    if at is None:
        return after is None and before is None
    return (after is None or at >= after) and (before is None or at < before)


def unmapped(wanted: JobFilter, *, has_scheduled: bool, has_created: bool) -> str | None:
    """
    Return why a store cannot find the jobs of a filter; None if it can.

    Arguments:
        wanted: the filter.
        has_scheduled: whether the time when a job was to start is mapped to a column.
        has_created: whether the time when it was created is.
    """
    missing = [
        *(["job_scheduled_at"] if wanted.asks_scheduled and not has_scheduled else []),
        *(["job_created_at"] if wanted.asks_created and not has_created else []),
    ]
    if not missing:
        return None
    return (
        f"the filter asks for a time that is not mapped: name its column with {missing[0]}, or "
        "leave the time out of the filter"
    )


def named_jobs(jobs: object, organization_id: str | None) -> JobFilter | tuple[JobKey, ...]:
    """
    Return what `cancel_jobs` was asked for: a filter, or the key of each job once.

    Raises:
        TypeError: `jobs` is one id, or an id is not a str.
        ValueError: an organization was passed beside a filter.
    """
    if isinstance(jobs, JobFilter):
        if organization_id is not None:
            raise ValueError(_TWO_ORGANIZATIONS)
        return jobs
    if isinstance(jobs, str | bytes) or not isinstance(jobs, Iterable):
        raise TypeError(_NO_IDS.format(type(jobs).__name__))
    ids = cast("Iterable[object]", jobs)
    return tuple(dict.fromkeys(JobKey(_id(it), organization_id) for it in ids))


def _id(given: object) -> str:
    check_text("batch_job_id", given)
    return str(given)


def check_rate(rate: object) -> None:
    """
    Check how many jobs a second are to be cancelled.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not at least 0.0001, which is a job in nearly three hours.
    """
    if rate is None:
        return
    if not isinstance(rate, int | float) or isinstance(rate, bool):
        msg = f"rate must be a number of jobs a second, got {type(rate).__name__}"
        raise TypeError(msg)
    if not _RATE_MIN <= rate < inf:
        msg = f"rate must be at least {_RATE_MIN} jobs a second, got {rate!r}"
        raise ValueError(msg)


def slices(
    keys: Sequence[JobKey], rate: float | None, *, together: bool
) -> list[tuple[JobKey, ...]]:
    """
    Return the jobs in slices, each for one transaction.

    Arguments:
        keys: the jobs.
        rate: how many jobs a second; a slice holds no more than one second's.
        together: whether the store can cancel several in one transaction.
    """
    size = BULK_SLICE if together else 1
    if rate is not None:
        size = min(size, max(int(rate), 1))
    return [tuple(keys[first : first + size]) for first in range(0, len(keys), size)]


Decision = CancelPlan | Cancellation | BatchCancelError
"""What is done with one job: it is cancelled, its answer is repeated, or it is refused."""


def decide(request: CancelRequest, job: Job | None, attempts: Attempts) -> Decision:
    """
    Decide what a cancel does to one of several jobs, as a single cancel does.

    Arguments:
        request: the request for this job.
        job: the job as read under its lock; None if there is none.
        attempts: the earlier attempts at this job.
    """
    try:
        plan = plan_cancellation(request, job)
    except AlreadyTerminal as refusal:
        return attempts.refused(refusal)
    except (JobNotFound, UnknownJobStatus) as refusal:
        return refusal
    if isinstance(plan, CancelPlan):
        return plan
    return attempts.succeeded(Cancellation(plan, replayed=True))


def is_silent(failure: CancelFailed) -> bool:
    """Check whether the store did not answer, so that other jobs would fail as well."""
    return failure.fault in {Fault.INTERRUPTED, Fault.BUSY, Fault.LATE}


def is_given_up(patience: Patience) -> bool:
    """Check whether a store has been silent for too long to go on."""
    return patience.silences >= SILENCES_MAX


def of_another(failure: CancelFailed, key: JobKey, *, may_be_done: bool) -> CancelFailed:
    """
    Return the failure of a job that was not tried, because the store failed for others.

    Arguments:
        failure: the failure of another job.
        key: the job.
        may_be_done: whether an earlier attempt may have cancelled it.
    """
    outcome: Outcome = "unknown" if may_be_done else "unchanged"
    return CancelFailed(key, failure.reason, outcome, failure.fault)


def _nothing_removed() -> Mapping[Removal, int]:
    return dict.fromkeys(Removal, 0)


def _none_refused() -> Mapping[JobStatus, int]:
    return {}


@attrs.frozen(kw_only=True)
class BulkResult:
    """
    What became of many jobs; also, while it is under way, what has become of them so far.

    Each job is counted once: `jobs` is the sum of `cancelled`, `replayed`, `refused`,
    `not_found`, `failed` and `left`.

    Arguments:
        operation_id: the name of the operation; another call with it goes on with the rest.
        jobs: how many jobs there are.
        cancelled: how many this call has cancelled.
        replayed: how many the same operation had cancelled before.
        refused: how many had ended, or were cancelled by another operation, by status.
        not_found: how many this organization does not have.
        failures: the error of each job that failed: a `CancelFailed` or an `UnknownJobStatus`,
            whose `key` names the job.
        left: how many were not tried: they are still to come, `stop` has ended the call, or the
            store did not answer any more.
        contacts_cancelled: how many contacts this call has cancelled.
        removals: what became of the deferred starts of the jobs in `cancelled` and `replayed`.
    """

    operation_id: str
    jobs: int
    left: int
    cancelled: int = 0
    replayed: int = 0
    refused: Mapping[JobStatus, int] = attrs.field(factory=_none_refused)
    not_found: int = 0
    failures: tuple[CancelFailed | UnknownJobStatus, ...] = ()
    contacts_cancelled: int = 0
    removals: Mapping[Removal, int] = attrs.field(factory=_nothing_removed)

    @property
    def done(self) -> int:
        """How many jobs were tried."""
        return self.jobs - self.left

    @property
    def failed(self) -> int:
        """How many jobs failed."""
        return len(self.failures)

    @property
    def removals_pending(self) -> int:
        """How many deferred starts are left to `reconcile`."""
        return self.removals[Removal.PENDING]

    def after(self, outcomes: Sequence[CancelResult | BatchCancelError]) -> BulkResult:
        """Return the result with the outcomes of more jobs: the answer or the error of each."""
        cancelled = replayed = not_found = contacts = 0
        refused, removals = dict(self.refused), dict(self.removals)
        failures = list[CancelFailed | UnknownJobStatus]()
        for outcome in outcomes:
            match outcome:
                case CancelResult():
                    replayed += outcome.replayed
                    cancelled += not outcome.replayed
                    contacts += 0 if outcome.replayed else outcome.contacts_cancelled
                    removals[outcome.removal] += 1
                case AlreadyTerminal():
                    refused[outcome.status] = refused.get(outcome.status, 0) + 1
                case JobNotFound():
                    not_found += 1
                case CancelFailed() | UnknownJobStatus():
                    failures.append(outcome)
                case _:
                    raise outcome
        return attrs.evolve(
            self,
            left=self.left - len(outcomes),
            cancelled=self.cancelled + cancelled,
            replayed=self.replayed + replayed,
            refused=refused,
            not_found=self.not_found + not_found,
            failures=(*self.failures, *failures),
            contacts_cancelled=self.contacts_cancelled + contacts,
            removals=removals,
        )
