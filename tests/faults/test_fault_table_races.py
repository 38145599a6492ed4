"""The fault table, row by row: a cancel against a start, other cancels and a reschedule."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg

from batch_cancel import AlreadyTerminal, CancelResult
from batch_cancel.presenter import present
from tests.faults.expected import FULLY_CANCELLED
from tests.faults.fault_kinds import Step
from tests.faults.fault_table import (
    PATIENT,
    SCHEDULED,
    dsn_of,
    play,
    state,
    tables_of,
    waiting_for_a_lock,
)
from tests.faults.injection import Plan
from tests.faults.scenarios import CONTACTS_CANCELLED, OURS, Verb, described
from tests.faults.setups import Stage
from tests.processes import wait_until


def fires(stage: Stage) -> bool:
    """Let the deferred start fire: a worker takes it, and starts the job by compare and set."""
    taken = [claimed.deferred_id for claimed in stage.world.scheduler._claim(9, PATIENT)]
    return stage.start_id in taken and start(stage)


def start(stage: Stage) -> bool:
    """Start the job by compare and set."""
    cursor = tables_of(stage).connection.execute(
        "UPDATE batch_jobs SET status = 'running' WHERE id = %s AND status = 'scheduled'",
        [stage.job_id],
    )
    return cursor.rowcount == 1


def make_due(stage: Stage) -> None:
    """Let the deferred start be due."""
    stage.world.schedule(stage.start_id, datetime.now(UTC) - timedelta(minutes=1))


def test_deferred_start_fires_and_wins(stage: Stage) -> None:
    """The start was first: the job was already running, its remaining contacts are cancelled."""
    make_due(stage)
    started: list[bool] = []

    def fire(number: int, step: Step) -> None:
        if (plan.calls[number].member, step) == ("lock", Step.BEFORE):
            started.append(fires(stage))

    plan = Plan(tap=fire)
    answer = play(stage, plan)
    assert started == [True]
    assert isinstance(answer, CancelResult)
    assert answer.message == "Job was already running - cancelled remaining contacts"
    assert not answer.redis_job_cancelled
    row = stage.row()
    assert row is not None
    assert (row.status, row.statuses) == ("cancelled", CONTACTS_CANCELLED)


def test_deferred_start_fires_and_loses(stage: Stage) -> None:
    """The cancel was first: the start's compare and set fails, and nothing was removed."""
    make_due(stage)
    started: list[bool] = []

    def fire(number: int, step: Step) -> None:
        if plan.calls[number].is_exit and step is Step.AFTER and not started:
            started.append(fires(stage))

    plan = Plan(tap=fire)
    answer = play(stage, plan)
    assert started == [False]
    assert isinstance(answer, CancelResult)
    assert answer.message == "Scheduled job cancelled successfully"
    assert answer.removal == "absent"
    assert state(stage) == FULLY_CANCELLED


def test_deferred_start_taken_while_the_job_is_locked(stage: Stage) -> None:
    """It waits for the cancel, and then its compare and set fails."""
    make_due(stage)
    waiting: list[Future[bool]] = []

    def fire(number: int, step: Step) -> None:
        if (plan.calls[number].member, step) == ("lock", Step.AFTER):
            waiting.append(workers.submit(fires, stage))
            wait_until(lambda: waiting_for_a_lock(look) == 1, "the start waits for the job")

    plan = Plan(tap=fire)
    with ThreadPoolExecutor(1) as workers, psycopg.connect(dsn_of(stage), autocommit=True) as look:
        answer = play(stage, plan)
        assert [started.result(30) for started in waiting] == [False]
    assert isinstance(answer, CancelResult)
    assert answer.removal == "absent"
    assert state(stage) == FULLY_CANCELLED


# N cancels at once, distinct operations ----------------------------------------------------------


def at_once(stage: Stage, operations: list[str]) -> list[object]:
    """Cancel at the same moment, each as one of these operations."""
    if stage.world.runner is None:
        barrier = threading.Barrier(len(operations))

        def cancel(operation_id: str) -> object:
            barrier.wait()
            return stage.cancel(operation_id)

        with ThreadPoolExecutor(len(operations)) as pool:
            return list(pool.map(cancel, operations))

    async def cancel_all() -> list[object]:
        return list(
            await asyncio.gather(
                *(stage.attempt_async(Verb.CANCEL, Plan(), each) for each in operations)
            )
        )

    return stage.world.runner.run(cancel_all())


def test_n_cancels_at_once_with_distinct_operations(stage: Stage) -> None:
    """Exactly one 200, the rest 400 cancelled, and they know whose it was."""
    answers = at_once(stage, [f"operation {number}" for number in range(12)])
    assert sorted(map(described, answers)) == ["200 removed"] + ["400 cancelled"] * 11
    [winner] = [answer for answer in answers if isinstance(answer, CancelResult)]
    for answer in answers:
        if isinstance(answer, AlreadyTerminal):
            assert (answer.cancelled_at, answer.contacts_cancelled) == (winner.cancelled_at, 5)
    assert stage.told == [winner.operation_id]
    record = stage.record(SCHEDULED)
    assert record is not None
    assert record.operation_id == winner.operation_id


# same operation twice, overlapping ---------------------------------------------------------------


def test_same_operation_twice_overlapping(stage: Stage) -> None:
    """All 200, all the same body; one of them is no replay, and one event is told."""
    answers = at_once(stage, [OURS] * 8)
    results = [answer for answer in answers if isinstance(answer, CancelResult)]
    assert len(results) == 8
    assert len({present(result).content for result in results}) == 1
    assert [result.replayed for result in results].count(False) == 1
    assert len({result.cancelled_at for result in results}) == 1
    assert stage.told == [OURS]
    assert state(stage) == FULLY_CANCELLED


# reschedule beside cancel ------------------------------------------------------------------------


def test_reschedule_that_comes_first(stage: Stage) -> None:
    """The cancel waits for it, and removes the new deferred start, read under the lock."""
    stage.world.schedule("new start")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn_of(stage)) as other:
        other.execute(
            "UPDATE batch_jobs SET scheduled_job_id = 'new start' "
            "WHERE id = %s AND status = 'scheduled'",
            [stage.job_id],
        )
        answer = pool.submit(play, stage)
        wait_until(
            lambda: waiting_for_a_lock(tables_of(stage).connection) == 1,
            "the cancel waits for the job",
        )
        other.commit()
        assert described(answer.result(30)) == "200 removed"
    assert "new start" not in stage.look().waiting
    record = stage.record(SCHEDULED)
    assert record is not None
    assert record.deferred_id == "new start"


def test_reschedule_that_comes_late(stage: Stage) -> None:
    """It finds the job cancelled, and schedules nothing."""
    assert described(play(stage)) == "200 removed"
    cursor = tables_of(stage).connection.execute(
        "UPDATE batch_jobs SET scheduled_job_id = 'new start' "
        "WHERE id = %s AND status = 'scheduled'",
        [stage.job_id],
    )
    assert cursor.rowcount == 0
    assert state(stage) == FULLY_CANCELLED
