"""The order of the I/O, and what a cancel answers."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    Cancellation,
    CancelResult,
    JobKey,
    JobNotFound,
    JobStatus,
    Removal,
    UnknownJobStatus,
)
from tests.unit.scripted_ports import (
    ALL,
    NOON,
    ROWS,
    Clock,
    Half,
    Repositories,
    Script,
    Store,
    _no_coroutine_is_forgotten,
    cancel,
    half,
    job,
    record,
)

__all__ = ["_no_coroutine_is_forgotten", "half"]


# The order ---------------------------------------------------------------------------------------


def test_a_scheduled_job_is_cancelled_in_this_order(half: Half) -> None:
    """Lock, contacts, mark, commit; only then the scheduler; then its answer is noted."""
    script = Script(job())
    result = cancel(half, script, operation_id="op-1", actor="ann", reason="why")
    assert script.calls == ALL
    assert script.given("lock") == (JobKey("job"),)
    key, statuses = script.given("cancel_contacts")
    assert key == JobKey("job")
    assert sorted(statuses) == ["busy", "no_answer", "pending", "queued", "timeout"]
    written = attrs.evolve(record(), contacts_cancelled=58, actor="ann", reason="why")
    assert script.given("mark_cancelled") == (job(), written)
    assert script.given("scheduler") == ("arq_job_abc123", "op-1")
    assert script.given("settle") == (attrs.evolve(written, removal=Removal.REMOVED),)
    assert result == CancelResult(
        batch_job_id="job",
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=58,
        removal=Removal.REMOVED,
        operation_id="op-1",
        cancelled_at=NOON,
        replayed=False,
        actor="ann",
        reason="why",
    )


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_waits_for_nothing_leaves_the_scheduler_alone(half: Half, status: str) -> None:
    """It names no deferred start."""
    script = Script(job(status, deferred_id=None))
    assert cancel(half, script).removal is Removal.NOT_APPLICABLE
    assert script.calls == ROWS


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_job_that_was_started_early_has_its_start_taken_back(half: Half, status: str) -> None:
    """The deferred start that it names may still wait; the API's answer stays the contract's."""
    script = Script(job(status))
    result = cancel(half, script)
    assert (result.removal, result.redis_job_cancelled) == (Removal.REMOVED, False)
    assert script.calls == ALL
    assert script.given("scheduler") == ("arq_job_abc123", result.operation_id)


def test_a_scheduled_job_without_a_deferred_start_leaves_the_scheduler_alone(half: Half) -> None:
    """There is nothing to take back."""
    script = Script(job(deferred_id=None))
    assert cancel(half, script).removal is Removal.ABSENT
    assert script.calls == ROWS


def test_a_start_that_was_gone_is_noted_as_absent(half: Half) -> None:
    """False is an answer like True."""
    script = Script(job(), removed=False)
    assert cancel(half, script).removal is Removal.ABSENT
    assert script.calls == ALL
    assert script.given("settle")[0].removal is Removal.ABSENT


def test_the_rows_alone_ask_no_scheduler(half: Half) -> None:
    """The caller's commit is still to come."""
    script = Script(job())
    cancellation = half.cancel_rows(
        "job", uow=Store(script), operation_id="op-1", actor="ann", reason="why"
    )
    assert script.calls == ROWS
    assert cancellation == Cancellation(
        attrs.evolve(record(), contacts_cancelled=58, actor="ann", reason="why"), replayed=False
    )


def test_the_deferred_start_alone_touches_no_rows(half: Half) -> None:
    """Without a unit of work the outcome is noted nowhere; reconcile asks again."""
    script = Script()
    result = half.remove_deferred(Cancellation(record(), replayed=False), Clock(script))
    assert result.removal is Removal.REMOVED
    assert script.calls == ["scheduler"]


def test_the_deferred_start_alone_is_noted_where_told(half: Half) -> None:
    """In a transaction of its own."""
    script = Script()
    cancellation = Cancellation(record(), replayed=False)
    half.remove_deferred(cancellation, Clock(script), uow=Store(script))
    assert script.calls == ["scheduler", "begin", "settle", "commit"]


def test_the_job_is_named_as_it_is_stored(half: Half) -> None:
    """From the lock on: a store may know a uuid in upper case by its lower case."""
    script = Script(job(key=JobKey("abc", "acme")))
    result = cancel(half, script, "ABC", organization_id="ACME")
    assert script.given("lock") == (JobKey("ABC", "ACME"),)
    assert script.given("cancel_contacts")[0] == JobKey("abc", "acme")
    assert script.given("mark_cancelled")[1].key == JobKey("abc", "acme")
    assert result.batch_job_id == "abc"


def test_every_operation_without_a_name_gets_one_of_its_own(half: Half) -> None:
    """Two callers who name none are never taken for one who asks twice."""
    first, second = (cancel(half, Script(job())).operation_id for _ in range(2))
    assert first != second
    assert min(len(first), len(second)) >= 32


def test_a_store_without_records_is_enough(half: Half) -> None:
    """`outbox = None` says so: no replay, no reconcile, the same cancellation."""
    script = Script(job())
    store = Store(script, Repositories(script, keeps_records=False))
    result = half.cancel_job("job", uow=store, scheduler=Clock(script))
    assert result.removal is Removal.REMOVED
    assert script.calls == [*ROWS, "scheduler", "begin", "commit"]


# Refusals ----------------------------------------------------------------------------------------


def test_a_job_that_is_not_there_is_not_found(half: Half) -> None:
    """Nothing else is asked, and the transaction is rolled back."""
    script = Script(None)
    with pytest.raises(JobNotFound) as error:
        cancel(half, script, organization_id="acme")
    assert error.value.key == JobKey("job", "acme")
    assert script.calls == ["begin", "lock", "rollback"]


@pytest.mark.parametrize("hostile", ["", "\0", "a\0b", "\ud800", "x" * 1_000_000])
def test_an_id_that_no_store_can_hold_is_not_found(half: Half, hostile: str) -> None:
    """No store is even asked; the same for such an organization."""
    script = Script(job())
    with pytest.raises(JobNotFound):
        cancel(half, script, hostile)
    with pytest.raises(JobNotFound):
        cancel(half, script, organization_id=hostile)
    with pytest.raises(JobNotFound):
        half.cancel_rows(hostile, uow=Store(script))
    assert script.calls == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"operation_id": ""}, ValueError),
        ({"operation_id": "x" * 1025}, ValueError),
        ({"actor": "a\0b"}, ValueError),
        ({"reason": "x" * 4097}, ValueError),
        ({"organization_id": 7}, TypeError),
    ],
)
def test_an_argument_that_no_store_can_hold_is_the_callers_mistake(
    half: Half, wrong: dict[str, Any], error: type[Exception]
) -> None:
    """No store is asked."""
    script = Script(job())
    with pytest.raises(error):
        cancel(half, script, **wrong)
    assert script.calls == []


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_terminal_job_is_refused(half: Half, status: str) -> None:
    """Nothing changes, and the scheduler is not asked."""
    script = Script(job(status))
    with pytest.raises(AlreadyTerminal) as refusal:
        cancel(half, script)
    assert refusal.value.status == status
    assert script.calls == ["begin", "lock", "rollback"]


@pytest.mark.parametrize("status", [None, "paused", 42, []])
def test_an_unknown_status_is_refused(half: Half, status: Any) -> None:
    """Nothing changes: it fails closed."""
    script = Script(job(status))
    with pytest.raises(UnknownJobStatus):
        cancel(half, script)
    assert script.calls == ["begin", "lock", "rollback"]


def test_a_refusal_first_drives_the_removal_that_is_still_pending(half: Half) -> None:
    """Under the name of the operation that owes it, not of the one that was refused."""
    script = Script(job("cancelled", cancellation=record()))
    with pytest.raises(AlreadyTerminal) as refusal:
        cancel(half, script, operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback", "scheduler", "begin", "settle", "commit"]
    assert script.given("scheduler") == ("arq_job_abc123", "op-1")
    assert script.given("settle") == (attrs.evolve(record(), removal=Removal.REMOVED),)
    assert refusal.value.contacts_cancelled == 7
    assert refusal.value.cancelled_at == NOON


@pytest.mark.parametrize("removal", [Removal.REMOVED, Removal.ABSENT, Removal.NOT_APPLICABLE])
def test_a_refusal_owes_nothing_once_it_is_settled(half: Half, removal: Removal) -> None:
    """The scheduler is asked until it has answered, and no longer."""
    script = Script(job("cancelled", cancellation=record(removal)))
    with pytest.raises(AlreadyTerminal):
        cancel(half, script, operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback"]


def test_a_refusal_stays_one_when_the_scheduler_is_down(half: Half) -> None:
    """What is owed stays owed; the answer is the job's status."""
    script = Script(job("cancelled", cancellation=record()), faults={4: OSError("down")})
    with pytest.raises(AlreadyTerminal):
        cancel(half, script, operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback", "scheduler"]


def test_a_refusal_of_the_rows_alone_asks_no_scheduler(half: Half) -> None:
    """There may be a transaction of the caller's around it."""
    script = Script(job("cancelled", cancellation=record()))
    with pytest.raises(AlreadyTerminal):
        half.cancel_rows("job", uow=Store(script), operation_id="op-2")
    assert script.calls == ["begin", "lock", "rollback"]


# Replay ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("removal", [Removal.REMOVED, Removal.ABSENT, Removal.NOT_APPLICABLE])
def test_the_same_operation_gets_the_same_answer(half: Half, removal: Removal) -> None:
    """From the record: nothing is marked, counted or removed a second time."""
    script = Script(job("cancelled", cancellation=record(removal)))
    result = cancel(half, script, operation_id="op-1")
    assert script.calls == ["begin", "lock", "commit"]
    assert result == CancelResult(
        batch_job_id="job",
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=7,
        removal=removal,
        operation_id="op-1",
        cancelled_at=NOON,
        replayed=True,
    )


def test_the_same_operation_drives_its_removal_again(half: Half) -> None:
    """If it is still owed: the answer was lost, or the scheduler was."""
    script = Script(job("cancelled", cancellation=record()))
    result = cancel(half, script, operation_id="op-1")
    assert script.calls == ["begin", "lock", "commit", "scheduler", "begin", "settle", "commit"]
    assert (result.removal, result.replayed) == (Removal.REMOVED, True)
