"""The fault table, row by row: Redis is down, slow, wrong or not heard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from batch_cancel import CancelResult
from batch_cancel.presenter import present
from tests.faults.expected import FULLY_CANCELLED
from tests.faults.fault_table import BUDGET, SCHEDULED, assert_retried, play, state
from tests.faults.scenarios import OURS, described
from tests.faults.setups import Stage

if TYPE_CHECKING:
    from tests.faults.cut_connections import Line


def assert_pending(stage: Stage, answer: object) -> None:
    """Check that it is cancelled, and that the removal is owed."""
    assert isinstance(answer, CancelResult), answer
    assert present(answer).status == 200
    assert present(answer).body["redisJobCancelled"] is False
    assert answer.removal == "pending"
    assert state(stage) == FULLY_CANCELLED
    record = stage.record(SCHEDULED)
    assert record is not None
    assert record.removal == "pending"


def assert_reconciled(stage: Stage) -> None:
    """Check that one pass finishes it."""
    assert described(stage.reconcile()) == "reconciled removed"
    assert stage.start_id not in stage.look().waiting
    assert stage.told == [OURS]


def hurry(line: Line) -> None:
    """Return the scheduler the standard budget of 250 ms."""
    assert line.scheduler_with is not None
    line.stage.world.scheduler = line.scheduler_with(BUDGET)


def test_redis_down(redis_line: Line) -> None:
    """200, not confirmed, within the budget; when Redis is back, reconcile removes the start."""
    hurry(redis_line)
    redis_line.proxy.refuse()
    begun = time.monotonic()
    answer = play(redis_line.stage)
    assert time.monotonic() - begun < BUDGET.total_seconds() + 0.5
    redis_line.proxy.heal()
    assert_pending(redis_line.stage, answer)
    assert_reconciled(redis_line.stage)


def test_redis_slow(redis_line: Line) -> None:
    """200, not confirmed, within the budget, though every connection is taken and kept."""
    hurry(redis_line)
    redis_line.proxy.stall()
    begun = time.monotonic()
    answer = play(redis_line.stage)
    assert time.monotonic() - begun < BUDGET.total_seconds() + 0.5
    redis_line.proxy.heal()
    assert_pending(redis_line.stage, answer)
    assert_reconciled(redis_line.stage)


def test_redis_wrong_type(redis_line: Line, request: pytest.FixtureRequest) -> None:
    """200, not confirmed: what lies under our key is not ours."""
    server = request.getfixturevalue("redis_server")
    stage = redis_line.stage
    scheduler = stage.world.scheduler
    due = getattr(scheduler, "_starts", scheduler)._shards[0][0]
    server.command("RENAME", due, due + b"-aside")
    server.command("SET", due, "not ours")
    answer = play(stage)
    server.command("RENAME", due + b"-aside", due)
    assert_pending(stage, answer)
    assert_reconciled(stage)


def test_redis_answer_lost(redis_line: Line) -> None:
    """The true answer after a retry: the script remembers the operation."""
    redis_line.proxy.cut_answer_to(b"EVALSHA")
    answer = play(redis_line.stage)
    assert redis_line.proxy.cuts == 1
    assert described(answer) == "200 removed"
    assert_retried(redis_line.stage, " replayed")
