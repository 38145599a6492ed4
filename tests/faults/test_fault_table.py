"""
The fault table of the protocol, row by row: one test, or a few, for each, named after it.

Here are the rows that do not depend on what the store is. Every row is shown on real servers, in
both halves. Servers that are stopped, restarted, made read-only or failed over have their tests in
test_outages*.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_cancel import CancelFailed
from tests.faults import cancelled_tasks, kills, one_fault
from tests.faults.counts import Tally
from tests.faults.expected import FULLY_CANCELLED, NOTHING_CHANGED
from tests.faults.fault_kinds import Step
from tests.faults.fault_table import SCHEDULED, assert_retried, play, state
from tests.faults.injection import Plan
from tests.faults.scenarios import described
from tests.faults.setups import open_stage

if TYPE_CHECKING:
    from tests.faults.cut_connections import Line


@pytest.mark.parametrize("store", ["sqlite", "postgres", "postgres-async"])
def test_killed_before_commit(store: str, request: pytest.FixtureRequest) -> None:
    """Nothing changed; a retry does it all."""
    with kills.open_place(store, "redis", request) as (place, stage):
        chosen = [
            death
            for death in kills.deaths(stage, SCHEDULED)
            if death.step is Step.BEFORE
            and (death.point.member == "mark_cancelled" or is_end(death))
        ][:2]
        assert [death.is_late for death in chosen] == [False, False]
        for death in chosen:
            assert kills.run(place, stage, SCHEDULED, death) == []


# killed after COMMIT, before or during Redis -----------------------------------------------------


@pytest.mark.parametrize("store", ["sqlite", "postgres", "postgres-async"])
def test_killed_after_commit_before_or_during_redis(
    store: str, request: pytest.FixtureRequest
) -> None:
    """Cancelled; the stale alarm is harmless; reconcile removes it."""
    with kills.open_place(store, "redis", request) as (place, stage):
        deaths = list(kills.deaths(stage, SCHEDULED))
        at_redis = [death for death in deaths if death.point.root == "Scheduler"]
        after_commit = next(
            death for death in deaths if is_end(death) and death.step is Step.AFTER
        )
        assert [death.step for death in at_redis] == [Step.BEFORE, Step.AFTER]
        for death in (after_commit, *at_redis):
            assert kills.run(place, stage, SCHEDULED, death) == []


def is_end(death: kills.Death) -> bool:
    """Check whether a process dies at the end of a transaction."""
    return death.point.is_exit


# COMMIT's answer lost ----------------------------------------------------------------------------


def test_commit_s_answer_lost(line: Line) -> None:
    """Asked again for the same operation, on a new connection: 200, and no replay."""
    line.proxy.cut_answer_to(b"COMMIT\0")
    answer = play(line.stage)
    assert line.proxy.cuts == 1
    assert described(answer) == "200 removed"
    assert state(line.stage) == FULLY_CANCELLED
    assert_retried(line.stage, " replayed")


def test_commit_lost(line: Line) -> None:
    """Indistinguishable from the other, so it is treated alike: this time it had not happened."""
    line.proxy.cut_before(b"COMMIT\0")
    answer = play(line.stage)
    assert line.proxy.cuts == 1
    assert described(answer) == "200 removed"
    assert state(line.stage) == FULLY_CANCELLED
    assert_retried(line.stage, " replayed")


@pytest.mark.parametrize("happened", [True, False])
def test_commit_s_answer_lost_and_never_to_be_had(line: Line, happened: bool) -> None:  # noqa: FBT001
    """Unresolved: it says unknown and that it can be retried, which then resolves it."""
    refuse = Plan(tap=lambda number, step: line.proxy.refuse() if at_pause(number, step) else None)

    def at_pause(number: int, step: Step) -> bool:
        return step is Step.BEFORE and refuse.calls[number].member == "pause"

    (line.proxy.cut_answer_to if happened else line.proxy.cut_before)(b"COMMIT\0")
    answer = play(line.stage, refuse)
    assert isinstance(answer, CancelFailed)
    assert (answer.outcome, answer.retryable) == ("unknown", True)
    assert "same operation id" in str(answer)
    assert state(line.stage) == (FULLY_CANCELLED if happened else NOTHING_CHANGED)
    line.proxy.heal()
    assert_retried(line.stage, " replayed" if happened else "")


# asyncio.CancelledError, KeyboardInterrupt -------------------------------------------------------


def test_cancelled_error(request: pytest.FixtureRequest) -> None:
    """From every wait it propagates unchanged; the pools are as before."""
    tally = Tally()
    with open_stage("postgres-async", "redis", request) as stage:
        cancelled_tasks.campaign(stage, tally, scenarios=[SCHEDULED])
    tally.check()
    assert tally.seen[f"{cancelled_tasks.GROUP}: postgres-async, cancel, {NOTHING_CHANGED}"]
    assert tally.seen[f"{cancelled_tasks.GROUP}: postgres-async, cancel, {FULLY_CANCELLED}"]


@pytest.mark.parametrize("store", ["postgres", "postgres-async"])
def test_keyboard_interrupt(store: str, request: pytest.FixtureRequest) -> None:
    """At every call it propagates unchanged; the pool is as before."""
    with open_stage(store, "memory", request) as stage:
        interrupts = [
            case
            for case in one_fault.cases(stage, [SCHEDULED])
            if case.kind.name == "KeyboardInterrupt"
        ]
        assert len(interrupts) > 20
        for case in interrupts:
            assert one_fault.run(case, stage) == [], case


# a port returning garbage ------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "memory-async"])
def test_a_port_returning_garbage(store: str, request: pytest.FixtureRequest) -> None:
    """CancelFailed; nothing or fully."""
    check_garbage(store, request)


@pytest.mark.repeats
@pytest.mark.parametrize("store", ["postgres", "postgres-async"])
def test_a_port_of_postgres_returning_garbage(store: str, request: pytest.FixtureRequest) -> None:
    """The core sees what the port returns, whatever store is behind it."""
    check_garbage(store, request)


def check_garbage(store: str, request: pytest.FixtureRequest) -> None:
    """Let a port return what it must not, at each call of a cancel."""
    with open_stage(store, "memory", request) as stage:
        garbage = [
            case
            for case in one_fault.cases(stage, [SCHEDULED])
            if case.kind.name.startswith("garbage")
        ]
        assert len(garbage) > 60
        for case in garbage:
            assert one_fault.run(case, stage) == [], case
