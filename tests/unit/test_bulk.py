"""Which jobs a bulk is of, how it is cut, and what its outcomes come to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from batch_cancel import (
    AlreadyTerminal,
    BulkResult,
    CancelFailed,
    CancelResult,
    Fault,
    JobFilter,
    JobKey,
    JobNotFound,
    JobStatus,
    Removal,
    StoreFailed,
    UnknownJobStatus,
)
from batch_cancel.domain.bulk import (
    check_rate,
    is_given_up,
    is_silent,
    named_jobs,
    of_another,
    slices,
    unmapped,
)
from batch_cancel.domain.retry import Patience

AT = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY = JobKey("job", "org")


# The filter --------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{}, {"organization_id": None}, {"statuses": None}])
def test_a_filter_that_names_nothing_is_refused(named: dict[str, Any]) -> None:
    """It would cancel all there is."""
    with pytest.raises(ValueError, match=r"^a JobFilter must name an organization, statuses or"):
        JobFilter(**named)


@pytest.mark.parametrize(
    "named",
    [
        {"organization_id": "org"},
        {"statuses": ["running"]},
        {"scheduled_after": AT},
        {"scheduled_before": AT},
        {"created_after": AT},
        {"created_before": AT},
    ],
)
def test_one_condition_is_enough(named: dict[str, Any]) -> None:
    """Whichever it is."""
    assert JobFilter(**named).live_statuses


@pytest.mark.parametrize(
    ("statuses", "error", "message"),
    [
        ([], ValueError, r"^statuses must be some of scheduled, pending, running: "),
        (["completed"], ValueError, r"^statuses must be some of"),
        (["running", "paused"], ValueError, r"^statuses must be some of"),
        ([None], ValueError, r"^statuses must be some of"),
        ("running", TypeError, r"^statuses must be several statuses, got str$"),
        (7, TypeError, r"^statuses must be several statuses, got int$"),
    ],
)
def test_only_live_statuses_are_asked_for(
    statuses: Any, error: type[Exception], message: str
) -> None:
    """A job that has ended is never cancelled."""
    with pytest.raises(error, match=message):
        JobFilter(statuses=statuses)


@pytest.mark.parametrize(
    "name", ["scheduled_after", "scheduled_before", "created_after", "created_before"]
)
def test_a_time_is_an_aware_datetime(name: str) -> None:
    """Nothing is guessed about time zones."""
    naive: dict[str, Any] = {name: AT.replace(tzinfo=None)}
    with pytest.raises(ValueError, match=rf"^{name} must be an aware datetime"):
        JobFilter(**naive)
    text: dict[str, Any] = {name: "2026-01-01"}
    with pytest.raises(TypeError, match=rf"^{name} must be a datetime, got str"):
        JobFilter(**text)


def test_an_organization_is_a_text() -> None:
    """As in a key."""
    wrong: Any = 7
    with pytest.raises(TypeError, match="organization_id must be a str"):
        JobFilter(organization_id=wrong)


def test_a_filter_holds_for_live_jobs_of_its_organization() -> None:
    """None is an organization like any other."""
    wanted = JobFilter(organization_id="org")
    for status in ("scheduled", "pending", "running"):
        assert wanted.holds(KEY, status, None, None)
    for other_status in ("completed", "failed", "cancelled", "paused", None):
        assert not wanted.holds(KEY, other_status, None, None)
    for other in (JobKey("job", "evil"), JobKey("job")):
        assert not wanted.holds(other, "running", AT, AT)
    nobody = JobFilter(statuses=["pending", "running"])
    assert nobody.statuses == frozenset({JobStatus.PENDING, JobStatus.RUNNING})
    assert nobody.holds(JobKey("job"), "pending", None, None)
    assert not nobody.holds(JobKey("job"), "scheduled", None, None)
    assert not nobody.holds(KEY, "pending", None, None)


def test_after_is_within_and_before_is_not() -> None:
    """For both times; a job without the time is not wanted."""
    scheduled = JobFilter(scheduled_after=AT, scheduled_before=AT + SECOND)
    created = JobFilter(created_after=AT, created_before=AT + SECOND)
    east = AT.astimezone(timezone(timedelta(hours=5)))
    for at, is_wanted in [
        (AT, True),
        (east, True),
        (AT + SECOND, False),
        (AT - SECOND, False),
        (None, False),
    ]:
        assert scheduled.holds(JobKey("job"), "running", at, None) is is_wanted
        assert created.holds(JobKey("job"), "running", None, at) is is_wanted
    assert (scheduled.asks_scheduled, scheduled.asks_created) == (True, False)
    assert (created.asks_scheduled, created.asks_created) == (False, True)


def test_one_bound_is_enough() -> None:
    """For either time, on either side."""
    for name, at, is_wanted in [
        ("scheduled_after", AT, True),
        ("scheduled_after", AT - SECOND, False),
        ("scheduled_before", AT - SECOND, True),
        ("scheduled_before", AT, False),
        ("created_after", AT, True),
        ("created_after", AT - SECOND, False),
        ("created_before", AT - SECOND, True),
        ("created_before", AT, False),
    ]:
        bound: dict[str, Any] = {name: AT}
        times = (at, None) if name.startswith("scheduled") else (None, at)
        assert JobFilter(**bound).holds(JobKey("job"), "running", *times) is is_wanted
        assert not JobFilter(**bound).holds(JobKey("job"), "running", None, None)
        wanted = JobFilter(**bound)
        assert wanted.asks_scheduled is name.startswith("scheduled")
        assert wanted.asks_created is name.startswith("created")


def test_a_time_without_a_column_is_refused() -> None:
    """The sentence names the column to map."""
    scheduled, created = JobFilter(scheduled_after=AT), JobFilter(created_before=AT)
    neither = JobFilter(organization_id="org")
    for wanted in (scheduled, created, neither):
        assert unmapped(wanted, has_scheduled=True, has_created=True) is None
    assert unmapped(neither, has_scheduled=False, has_created=False) is None
    assert unmapped(scheduled, has_scheduled=True, has_created=False) is None
    assert unmapped(created, has_scheduled=False, has_created=True) is None
    refusal = unmapped(scheduled, has_scheduled=False, has_created=True)
    assert refusal == (
        "the filter asks for a time that is not mapped: name its column with job_scheduled_at, "
        "or leave the time out of the filter"
    )
    refusal = unmapped(created, has_scheduled=True, has_created=False)
    assert refusal is not None
    assert "with job_created_at," in refusal


# The jobs ----------------------------------------------------------------------------------------


def test_ids_are_keys_each_once() -> None:
    """In their order, within the organization."""
    assert named_jobs(["b", "a", "b"], "org") == (JobKey("b", "org"), JobKey("a", "org"))
    assert named_jobs(iter(["a"]), None) == (JobKey("a"),)
    assert named_jobs([], None) == ()


@pytest.mark.parametrize("jobs", ["job", b"job", None, 7])
def test_one_id_is_refused(jobs: Any) -> None:
    """A text is a sequence of texts, each of which might be a job."""
    words = rf"^jobs must be several ids or a JobFilter, got one {type(jobs).__name__}: "
    with pytest.raises(TypeError, match=words):
        named_jobs(jobs, None)


def test_an_id_is_a_text() -> None:
    """As for a single cancel."""
    jobs: Any = ["a", 7]
    with pytest.raises(TypeError, match=r"^batch_job_id must be a str, got int"):
        named_jobs(jobs, None)


def test_a_filter_has_its_own_organization() -> None:
    """A second one beside it would contradict it."""
    wanted = JobFilter(organization_id="org")
    assert named_jobs(wanted, None) is wanted
    with pytest.raises(ValueError, match=r"^the organization of a JobFilter is in the filter"):
        named_jobs(wanted, "org")


@pytest.mark.parametrize(
    ("rate", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (1e-300, ValueError),
        ("7", TypeError),
        (True, TypeError),
    ],
)
def test_a_rate_is_a_positive_number(rate: Any, error: type[Exception]) -> None:
    """Or there is none."""
    words = f"a number of jobs a second, got {type(rate).__name__}$" if error is TypeError else ""
    with pytest.raises(error, match=rf"^rate must be {words}"):
        check_rate(rate)
    for right in (None, 1, 0.1, 0.0001):
        check_rate(right)


@pytest.mark.parametrize(
    ("jobs", "rate", "together", "sizes"),
    [
        (0, None, True, []),
        (401, None, True, [200, 200, 1]),
        (3, None, False, [1, 1, 1]),
        (5, 2.9, True, [2, 2, 1]),
        (2, 0.1, True, [1, 1]),
        (300, 1000, True, [200, 100]),
        (2, 1000, False, [1, 1]),
    ],
)
def test_jobs_are_cut_into_slices(
    jobs: int, rate: float | None, sizes: list[int], *, together: bool
) -> None:
    """Of 200 at most, of one second's at most, of one job where the store can do no more."""
    keys = [JobKey(str(number)) for number in range(jobs)]
    cut = slices(keys, rate, together=together)
    assert [len(some) for some in cut] == sizes
    assert [key for some in cut for key in some] == keys


# What it comes to --------------------------------------------------------------------------------


def done(*, contacts: int, removal: Removal, replayed: bool = False) -> CancelResult:
    """Return the result of one cancel."""
    return CancelResult(
        batch_job_id="job",
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=contacts,
        removal=removal,
        operation_id="op",
        cancelled_at=AT,
        replayed=replayed,
    )


def test_each_outcome_is_counted_once() -> None:
    """The counts add up to the jobs."""
    failure, unknown = CancelFailed(KEY, "no disk"), UnknownJobStatus(KEY, "paused")
    before = BulkResult(operation_id="op", jobs=12, left=12)
    half = before.after(
        [
            done(contacts=3, removal=Removal.REMOVED),
            done(contacts=4, removal=Removal.PENDING),
            done(contacts=5, removal=Removal.ABSENT, replayed=True),
            AlreadyTerminal(KEY, JobStatus.COMPLETED),
            JobNotFound(KEY),
            failure,
        ]
    )
    assert before == BulkResult(operation_id="op", jobs=12, left=12)
    result = half.after(
        [
            unknown,
            JobNotFound(KEY),
            AlreadyTerminal(KEY, JobStatus.COMPLETED),
            AlreadyTerminal(KEY, JobStatus.CANCELLED),
            done(contacts=6, removal=Removal.REMOVED),
        ]
    )
    assert result == BulkResult(
        operation_id="op",
        jobs=12,
        left=1,
        cancelled=3,
        replayed=1,
        refused={JobStatus.COMPLETED: 2, JobStatus.CANCELLED: 1},
        not_found=2,
        failures=(failure, unknown),
        contacts_cancelled=13,
        removals={
            Removal.REMOVED: 2,
            Removal.ABSENT: 1,
            Removal.PENDING: 1,
            Removal.NOT_APPLICABLE: 0,
        },
    )
    assert (half.done, result.done, result.failed, result.removals_pending) == (6, 11, 2, 1)


def test_another_error_is_no_outcome() -> None:
    """It is raised, and not counted as something that it is not."""
    with pytest.raises(StoreFailed, match="no disk"):
        BulkResult(operation_id="op", jobs=1, left=1).after([StoreFailed("no disk")])


def test_a_store_that_says_nothing_is_silent() -> None:
    """A refusal is an answer: the next job may be another matter."""
    silent = {it for it in Fault if is_silent(CancelFailed(KEY, "why", fault=it))}
    assert silent == {Fault.INTERRUPTED, Fault.BUSY, Fault.LATE}


@pytest.mark.parametrize(
    ("may_be_done", "outcome"), [(False, "unchanged"), (True, "unknown")], ids=["not", "maybe"]
)
def test_a_job_that_was_not_tried_fails_as_another_did(outcome: str, *, may_be_done: bool) -> None:
    """An earlier attempt may have cancelled it nevertheless."""
    failure = of_another(
        CancelFailed(JobKey("other"), "no disk", "unknown", Fault.BUSY),
        KEY,
        may_be_done=may_be_done,
    )
    assert (failure.key, failure.reason) == (KEY, "no disk")
    assert (failure.outcome, failure.fault) == (outcome, Fault.BUSY)


def test_a_filter_may_name_all_live_statuses() -> None:
    """Which it does, too, if it names none."""
    every = ["scheduled", "pending", "running"]
    assert JobFilter(statuses=every).statuses == frozenset(every)


def test_ten_silences_are_enough() -> None:
    """Nine are not."""
    assert [is_given_up(Patience(silences)) for silences in (9, 10, 11)] == [False, True, True]
