"""When a cancellation that failed is tried again, and what is told when it is given up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from batch_cancel.domain.cancellation import Cancellation
from batch_cancel.domain.errors import AlreadyTerminal, CancelFailed, Fault
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.retry import Attempts, pause_seconds
from batch_cancel.domain.statuses import JobStatus, Removal

KEY = JobKey("job", "acme")
RECORD = CancellationRecord(
    operation_id="op-1",
    key=KEY,
    previous_status=JobStatus.RUNNING,
    contacts_cancelled=7,
    actor=None,
    reason=None,
    cancelled_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    deferred_id=None,
    removal=Removal.NOT_APPLICABLE,
)


def failure(fault: Fault, outcome: Any = "unchanged") -> CancelFailed:
    """Return the failure of an attempt."""
    return CancelFailed(KEY, "the line went dead", outcome, fault)


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (Fault.CONFLICT, 4),
        (Fault.INTERRUPTED, 2),
        (Fault.BUSY, 1),
        (Fault.LATE, 1),
        (Fault.REFUSED, 1),
        (Fault.INCOMPLETE, 4),
    ],
)
def test_a_fault_that_changed_nothing_is_worth_so_many_attempts(
    fault: Fault, attempts: int
) -> None:
    """The last of them gives its own failure."""
    made, failed = Attempts(), failure(fault)
    for number in range(1, attempts):
        made = made.failed(failed)
        assert made == Attempts(number)
    with pytest.raises(CancelFailed) as given_up:
        made.failed(failed)
    assert given_up.value is failed


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (Fault.CONFLICT, 6),
        (Fault.INTERRUPTED, 6),
        (Fault.BUSY, 6),
        (Fault.LATE, 2),
        (Fault.REFUSED, 1),
        (Fault.INCOMPLETE, 4),
    ],
)
def test_after_a_lost_answer_more_attempts_are_worth_it(fault: Fault, attempts: int) -> None:
    """Only an answer tells what became of the commit."""
    made = Attempts(0, may_be_done=True)
    for number in range(1, attempts):
        made = made.failed(failure(fault))
        assert made == Attempts(number, may_be_done=True)
    with pytest.raises(CancelFailed):
        made.failed(failure(fault))


def test_a_lost_answer_is_not_forgotten() -> None:
    """Once it is not known what became of one attempt, no later fault makes it known."""
    made = Attempts().failed(failure(Fault.INTERRUPTED, "unknown"))
    assert made == Attempts(1, may_be_done=True, may_be_ours=True)
    replay = Attempts().failed(failure(Fault.INTERRUPTED, "unknown"), is_replay=True)
    assert replay == Attempts(1, may_be_done=True)
    found = Cancellation(RECORD, replayed=True)
    assert [made.succeeded(found).replayed, replay.succeeded(found).replayed] == [False, True]
    last = failure(Fault.REFUSED)
    with pytest.raises(CancelFailed) as given_up:
        made.failed(last)
    told = given_up.value
    assert (told.key, told.reason, told.fault) == (KEY, "the line went dead", Fault.REFUSED)
    assert told.outcome == "unknown"
    assert told.__cause__ is last


@pytest.mark.parametrize(
    ("may_be_done", "refusal"),
    [
        (False, AlreadyTerminal(KEY, JobStatus.CANCELLED)),
        (True, AlreadyTerminal(KEY, JobStatus.COMPLETED)),
        (True, AlreadyTerminal(KEY, JobStatus.CANCELLED, RECORD)),
        (False, AlreadyTerminal(KEY, JobStatus.COMPLETED)),
    ],
)
def test_a_job_that_others_ended_is_refused(
    refusal: AlreadyTerminal, *, may_be_done: bool
) -> None:
    """No attempt of ours was lost, or it is known not to have done it."""
    assert Attempts(1, may_be_done).refused(refusal) is refusal


def test_a_job_that_may_have_been_cancelled_by_us_is_not_refused() -> None:
    """The store keeps no record, so nobody can say who did it."""
    told = Attempts(1, may_be_done=True).refused(AlreadyTerminal(KEY, JobStatus.CANCELLED))
    assert isinstance(told, CancelFailed)
    assert (told.key, told.outcome, told.fault) == (KEY, "unknown", Fault.INTERRUPTED)
    assert told.reason == "the job is cancelled, but the store keeps no record of the operation"


@pytest.mark.parametrize(
    ("attempts", "shortest", "longest"),
    [(1, 0.0125, 0.025), (2, 0.025, 0.05), (3, 0.05, 0.1), (5, 0.2, 0.4)],
)
def test_each_pause_is_twice_as_long_as_the_one_before(
    attempts: int, shortest: float, longest: float
) -> None:
    """From 25 milliseconds on; chance takes up to a half of it away."""
    assert pause_seconds(attempts, 0) == pytest.approx(shortest)
    assert pause_seconds(attempts, 0.5) == pytest.approx((shortest + longest) / 2)
    assert pause_seconds(attempts, 1) == pytest.approx(longest)
