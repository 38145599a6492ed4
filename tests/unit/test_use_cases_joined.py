"""What a cancel does within a transaction of the caller's."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest

from batch_cancel import (
    CancelFailed,
    Cancellation,
    JobKey,
    JobNotFound,
    Removal,
)
from batch_cancel.domain.errors import Fault
from batch_cancel.ports import StoreFailed
from tests.unit.scripted_ports import (
    ADDRESS,
    Clock,
    Half,
    JoinedStore,
    Repositories,
    Script,
    Store,
    _no_coroutine_is_forgotten,
    half,
    job,
    record,
)

__all__ = ["_no_coroutine_is_forgotten", "half"]


READ = ["begin", "find", "commit"]
JOINED = Cancellation(record(), replayed=False, joined=True)
NOT_COMMITTED = (
    "batch job 'job': its cancellation is not committed, so its deferred start was left alone: "
    "your transaction was rolled back, as COMMIT does without an error after a statement in it "
    "has failed (find what failed, and cancel again in a new one), or is still open (call "
    "remove_deferred after your commit); it may have been cancelled: retry with the same "
    "operation id"
)


class OpenStore(JoinedStore):
    """A unit of work within a transaction of the caller's."""

    @property
    def is_joined(self) -> Any:
        """Return so."""
        return True


def never(*_: object) -> Any:
    """Stand in for a hook that must not be called."""
    pytest.fail("the hook was called")


def test_rows_in_a_transaction_of_the_callers_are_marked(half: Half) -> None:
    """New ones and replayed ones; those in a transaction of their own are not."""
    done = job("cancelled", cancellation=record())
    for script in (Script(job()), Script(done)):
        assert half.cancel_rows("job", uow=OpenStore(script), operation_id="op-1").joined
    for store in (Store(Script(job())), JoinedStore(Script(job()), repositories=False)):
        assert not half.cancel_rows("job", uow=store).joined


def test_a_store_that_may_be_joined_or_not_is_asked_before_the_rows(half: Half) -> None:
    """What it answers must be a bool, or nothing is changed."""
    script = Script(job())
    with pytest.raises(CancelFailed, match="returned str instead of a bool") as failure:
        half.cancel_rows("job", uow=JoinedStore(script, "no"))
    assert failure.value.outcome == "unchanged"
    assert script.calls == []


def test_a_committed_record_is_read_before_the_scheduler_is_asked(half: Half) -> None:
    """In a transaction of its own."""
    script = Script(found=record())
    result = half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert script.calls == [*READ, "scheduler", "begin", "settle", "commit"]
    assert script.given("find") == (JobKey("job"),)
    assert (result.removal, result.replayed) == (Removal.REMOVED, False)


def test_what_followed_the_commit_is_logged(half: Half, caplog: pytest.LogCaptureFixture) -> None:
    """Once, as of a cancel of ours; of a replay nothing is."""
    script = Script(found=record())
    with caplog.at_level(logging.INFO):
        half.remove_deferred(JOINED, Clock(script), uow=Store(script))
        half.remove_deferred(attrs.evolve(JOINED, replayed=True), Clock(script))
    [entry] = caplog.records
    assert entry.getMessage().startswith("batch job 'job' was cancelled: from scheduled, ")


@pytest.mark.parametrize("found", [None, record(operation_id="op-2")], ids=["none", "another's"])
@pytest.mark.parametrize("removal", [Removal.PENDING, Removal.NOT_APPLICABLE])
def test_without_a_committed_record_the_deferred_start_is_left_alone(
    half: Half, found: Any, removal: Removal, caplog: pytest.LogCaptureFixture
) -> None:
    """The transaction was rolled back, which raises nothing in many drivers."""
    script = Script(found=found)
    joined = Cancellation(
        attrs.evolve(record(removal), is_announced=False), replayed=False, joined=True
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(CancelFailed) as failure:
        half.remove_deferred(joined, Clock(script), uow=Store(script), on_cancelled=never)
    assert str(failure.value) == NOT_COMMITTED
    assert (failure.value.outcome, failure.value.fault) == ("unknown", Fault.REFUSED)
    assert failure.value.key == JobKey("job")
    assert script.calls == READ
    assert caplog.records == []


def test_before_the_callers_commit_the_deferred_start_is_left_alone(half: Half) -> None:
    """Nothing is asked: its own record would be seen there, and could still be rolled back."""
    script = Script(found=record())
    with pytest.raises(CancelFailed) as failure:
        half.remove_deferred(JOINED, Clock(script), uow=OpenStore(script), on_cancelled=never)
    assert str(failure.value) == (
        "batch job 'job': remove_deferred was called within your own transaction, which may "
        "still be rolled back; the deferred start was left alone: call it after your commit, "
        "with a unit of work that opens its own transactions; it may have been cancelled: retry "
        "with the same operation id"
    )
    assert (failure.value.outcome, failure.value.fault) == ("unknown", Fault.REFUSED)
    assert script.calls == []


def test_a_store_without_records_is_asked_for_the_job(half: Half) -> None:
    """A cancelled job is all that it can say of a commit."""
    cancelled = Script(job("cancelled"))
    store = Store(cancelled, Repositories(cancelled, keeps_records=False))
    assert half.remove_deferred(JOINED, Clock(cancelled), uow=store).redis_job_cancelled
    assert cancelled.calls == ["begin", "lock", "commit", "scheduler", "begin", "commit"]
    assert cancelled.given("lock") == (JobKey("job"),)
    for found in (job("scheduled"), job("running"), job(None), None):
        script = Script(found)
        store = Store(script, Repositories(script, keeps_records=False))
        with pytest.raises(CancelFailed, match="not committed"):
            half.remove_deferred(JOINED, Clock(script), uow=store)
        assert script.calls == ["begin", "lock", "commit"]


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("removal", [Removal.PENDING, Removal.ABSENT])
@pytest.mark.parametrize(
    "fault",
    [StoreFailed(ADDRESS), ConnectionError(ADDRESS), JobNotFound(JobKey(ADDRESS))],
    ids=lambda it: type(it).__name__,
)
def test_where_the_record_can_not_be_read_nothing_is_asked_and_nothing_raised(
    half: Half, call: int, removal: Removal, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The job may be cancelled: what is owed is then in its record, for reconcile to finish."""
    script = Script(found=record(), faults={call: fault})
    joined = Cancellation(
        attrs.evolve(record(removal), is_announced=False), replayed=False, joined=True
    )
    with caplog.at_level(logging.DEBUG):
        result = half.remove_deferred(joined, Clock(script), uow=Store(script), on_cancelled=never)
    assert result.removal is removal
    assert script.calls == (["begin", "find", "rollback"] if call == 2 else READ[:call])
    [entry] = caplog.records
    assert (entry.name, entry.levelname) == ("batch_cancel", "WARNING")
    assert entry.getMessage() == (
        "batch job 'job': whether its cancellation was committed could not be read "
        f"({type(fault).__name__}), so its deferred start was left alone; if it was committed, "
        "reconcile will finish it"
    )


@pytest.mark.parametrize("found", ["op-1", job("cancelled"), True, object()])
def test_a_committed_record_that_is_none_proves_nothing(
    half: Half, found: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a commit nor a rollback: it could not be read."""
    script = Script(found=found)
    result = half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert result.removal is Removal.PENDING
    assert script.calls == ["begin", "find", "rollback"]
    assert "StoreFailed" in caplog.text


def test_a_store_that_can_not_say_whether_it_is_joined_proves_nothing(half: Half) -> None:
    """After the commit its fault is not raised."""
    script = Script(found=record())
    result = half.remove_deferred(JOINED, Clock(script), uow=JoinedStore(script, "no"))
    assert result.removal is Removal.PENDING
    assert script.calls == []


def test_what_was_done_since_the_commit_is_not_done_again(half: Half) -> None:
    """Reconcile was faster: the start is gone and the hook was told."""
    script = Script(found=record(Removal.ABSENT))
    joined = Cancellation(attrs.evolve(record(), is_announced=False), replayed=False, joined=True)
    result = half.remove_deferred(joined, Clock(script), uow=Store(script), on_cancelled=never)
    assert result.removal is Removal.ABSENT
    assert script.calls == READ


def test_what_is_committed_counts_and_not_what_was_rolled_back(half: Half) -> None:
    """The same operation was asked again after a rollback, and found another deferred start."""
    script = Script(found=attrs.evolve(record(), deferred_id="moved", contacts_cancelled=9))
    result = half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert script.given("scheduler") == ("moved", "op-1")
    assert result.contacts_cancelled == 9


def test_without_a_unit_of_work_the_caller_vouches_for_the_commit(half: Half) -> None:
    """There is nobody to ask."""
    script = Script()
    assert half.remove_deferred(JOINED, Clock(script)).redis_job_cancelled
    assert script.calls == ["scheduler"]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_whoever_stops_the_look_at_the_record_stops_it(half: Half, call: int) -> None:
    """The scheduler is not asked."""
    fault = KeyboardInterrupt()
    script = Script(found=record(), faults={call: fault})
    with pytest.raises(KeyboardInterrupt) as caught:
        half.remove_deferred(JOINED, Clock(script), uow=Store(script))
    assert caught.value is fault
    assert "scheduler" not in script.calls
