"""What a cancel does when its scheduler fails, or its store asks for another attempt."""

from __future__ import annotations

import logging

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobKey,
    JobNotFound,
    JobStatus,
    Removal,
)
from batch_cancel.domain.errors import Fault
from batch_cancel.ports import SchedulerUnavailable, StoreFailed
from tests.unit.scripted_ports import (
    ADDRESS,
    ALL,
    ROWS,
    Half,
    Script,
    Store,
    _no_coroutine_is_forgotten,
    cancel,
    half,
    job,
    record,
)

__all__ = ["_no_coroutine_is_forgotten", "half"]


# The scheduler fails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        SchedulerUnavailable(f"no answer from {ADDRESS}"),
        ConnectionError(ADDRESS),
        TimeoutError(ADDRESS),
        TypeError(ADDRESS),
        StoreFailed(ADDRESS),
        JobNotFound(JobKey(ADDRESS)),
        AlreadyTerminal(JobKey(ADDRESS), JobStatus.FAILED),
        StopIteration(ADDRESS),
        ExceptionGroup(ADDRESS, [ValueError(ADDRESS)]),
    ],
    ids=lambda it: type(it).__name__,
)
def test_no_fault_of_the_scheduler_fails_the_cancel(
    half: Half, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The job is cancelled; the removal is owed; the log says so and holds no secret."""
    script = Script(job(), faults={6: fault})
    with caplog.at_level(logging.DEBUG):
        result = cancel(half, script)
    assert (result.removal, result.contacts_cancelled) == (Removal.PENDING, 58)
    assert not result.redis_job_cancelled
    assert script.calls == [*ROWS, "scheduler"]
    entry, done = caplog.records
    assert (entry.name, entry.levelname) == ("batch_cancel", "WARNING")
    told = "batch job 'job' is cancelled, but the scheduler did not confirm the removal of its "
    told += "deferred start (%s); reconcile will finish it"
    # A coroutine can't raise StopIteration: Python makes a RuntimeError of it.
    assert entry.getMessage() in {told % type(fault).__name__, told % "RuntimeError"}
    assert (done.name, done.levelname) == ("batch_cancel", "INFO")
    assert "hunter2" not in caplog.text
    assert "10.0.0.7" not in caplog.text


@pytest.mark.parametrize("garbage", [None, 1, 0, "OK", b"yes", [], object()])
def test_garbage_from_the_scheduler_confirms_nothing(half: Half, garbage: object) -> None:
    """Only True is a removal and only False is none; the rest is asked again later."""
    script = Script(job(), removed=garbage)
    assert cancel(half, script).removal is Removal.PENDING
    assert script.calls == [*ROWS, "scheduler"]


def test_what_the_scheduler_answered_is_reported_by_its_type(
    half: Half, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer itself may hold anything."""
    cancel(half, Script(job(), removed=b"yes"))
    [entry] = caplog.records
    assert entry.getMessage().endswith("deferred start (bytes); reconcile will finish it")


@pytest.mark.parametrize(
    ("call", "calls"),
    [
        (7, [*ROWS, "scheduler", "begin"]),
        (8, [*ROWS, "scheduler", "begin", "settle", "rollback"]),
        (9, ALL),
    ],
)
def test_a_removal_that_could_not_be_noted_is_done_all_the_same(
    half: Half, call: int, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is the true one; the log says that it was not noted, and holds no secret."""
    script = Script(job(), faults={call: StoreFailed(ADDRESS)})
    assert cancel(half, script).removal is Removal.REMOVED
    assert script.calls == calls
    [entry] = caplog.records
    assert (entry.name, entry.levelname) == ("batch_cancel", "WARNING")
    assert entry.getMessage() == (
        "batch job 'job' is cancelled, but what was done after the commit could not be noted "
        "(StoreFailed); reconcile will finish it"
    )


def test_a_warning_shows_a_hostile_id_on_one_line(
    half: Half, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault's text does not get into the log."""
    key = JobKey("job\nERROR forged" + "x" * 500)
    script = Script(job(key=key), faults={6: OSError()})
    cancel(half, script, key.batch_job_id)
    [entry] = caplog.records
    assert "\n" not in entry.getMessage()
    assert len(entry.getMessage()) < 300


# More than one attempt ---------------------------------------------------------------------------


@attrs.frozen
class PatientStore(Store):
    """A unit of work that can be begun again."""

    def pause(self, attempts: int) -> None:
        """Note the wait."""
        self.script.call("pause", attempts)


def test_a_lost_answer_is_asked_for_again_and_is_no_replay(half: Half) -> None:
    """The commit had been carried out: this call did it, whatever the second attempt reads."""
    fault = StoreFailed("the line went dead", "unknown", Fault.INTERRUPTED)
    script = Script(job(), faults={5: fault})
    done = attrs.evolve(record(), removal=Removal.NOT_APPLICABLE)

    class Carried(PatientStore):
        def pause(self, attempts: int) -> None:
            super().pause(attempts)
            self.script.job = job("cancelled", cancellation=done)

    result = cancel(half, script, uow=Carried(script), operation_id="op-1")
    assert script.calls == [*ROWS, "pause", "begin", "lock", "commit"]
    assert script.given("pause") == (1,)
    assert (result.replayed, result.contacts_cancelled) == (False, 7)


def test_a_wait_that_fails_is_a_failure_of_this_job(half: Half) -> None:
    """A pause may be called off by the store."""
    fault = StoreFailed("in the way", fault=Fault.CONFLICT)
    script = Script(job(), faults={2: fault, 4: StoreFailed("closed")})
    with pytest.raises(CancelFailed) as failure:
        cancel(half, script, uow=PatientStore(script))
    assert script.calls == ["begin", "lock", "rollback", "pause"]
    assert failure.value.key == JobKey("job")


def test_what_may_have_been_ours_is_never_refused_as_ended(half: Half) -> None:
    """A store without records can't say who cancelled the job: so it is not known."""
    fault = StoreFailed("the line went dead", "unknown", Fault.INTERRUPTED)
    script = Script(job(), faults={5: fault})

    class Forgetful(PatientStore):
        def pause(self, attempts: int) -> None:
            super().pause(attempts)
            self.script.job = job("cancelled")

    with pytest.raises(CancelFailed) as failure:
        cancel(half, script, uow=Forgetful(script), operation_id="op-1")
    assert (failure.value.outcome, failure.value.retryable) == ("unknown", True)
