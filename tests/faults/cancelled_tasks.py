"""
Tasks called off: CancelledError arrives in each wait of a cancel in turn.

A wait can be called off while nothing has happened yet, or just when its answer is there but the
task has not seen it. Both are tried at every await of the whole way down, the driver's included.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Generator, Iterable
from enum import Enum
from typing import Any, Final, cast

from batch_cancel import JobKey
from tests.faults.counts import Tally
from tests.faults.expected import (
    FULLY_CANCELLED,
    NOTHING_CHANGED,
    recovery_complaints,
    state_of,
)
from tests.faults.injection import Plan
from tests.faults.scenarios import SCENARIOS, Scenario, described
from tests.faults.setups import Stage

GROUP: Final = "tasks called off"

INTERRUPTED: Final = tuple(
    scenario
    for scenario in SCENARIOS
    if scenario.name in {"a scheduled job", "our cancel again", "a cancel left unfinished"}
)


class Moment(Enum):
    """When in a wait the task is called off."""

    AT_ONCE = "as it began to wait"
    JUST_THEN = "just as it was answered"


class _Waits:
    """
    A coroutine whose n-th wait is called off.

    Arguments:
        inner: the coroutine.
        number: of the wait, from 0.
        moment: when in that wait.
    """

    def __init__(self, inner: Coroutine[Any, Any, Any], number: int, moment: Moment) -> None:
        self._inner = inner
        self._number = number
        self._moment = moment
        self.has_come = False

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        for number in itertools.count():
            try:
                awaited = self._inner.send(None) if error is None else self._inner.throw(error)
            except StopIteration as end:
                return end.value
            if number == self._number:
                self.has_come = True
                self._call_off(awaited)
            error = None
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001  # The coroutine is to see it.
                error = thrown
        raise AssertionError

    def _call_off(self, awaited: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._moment is Moment.AT_ONCE or awaited is None:
            task.cancel()
            return
        # Its callbacks run in the order in which they came, the task's own after this one.
        blocking = awaited._asyncio_future_blocking
        awaited.add_done_callback(lambda _: task.cancel())
        awaited._asyncio_future_blocking = blocking


def run(
    stage: Stage, scenario: Scenario, number: int, moment: Moment, tally: Tally
) -> list[str] | None:
    """Call off one wait, and say what was wrong; None if there are not so many waits."""
    assert stage.world.runner is not None
    stage.set_up(scenario)
    assert stage.before is not None
    key = JobKey(stage.job_id)
    # A store in memory never waits by itself.
    plan = Plan(dawdles=stage.store.startswith("memory"))
    forget_redis_connections(stage)

    async def play() -> tuple[object, bool, bool]:
        waits = _Waits(stage.attempt_async(scenario.verb, plan), number, moment)

        async def main() -> object:
            return await waits

        task = asyncio.create_task(main())
        answer = await task
        return answer, waits.has_come, task.cancelling() > 0

    answer, has_come, was_told = stage.world.runner.run(play())
    if not has_come:
        stage.reconcile()
        return None
    after = stage.look()
    state = state_of(scenario, stage.before, after, key)
    wrong = [] if was_told else ["the task was not called off"]
    if described(answer) != "raised CancelledError":
        wrong.append(f"swallowed the CancelledError: answered {described(answer)!r} (I19)")
    if state not in {NOTHING_CHANGED, FULLY_CANCELLED}:
        wrong.append(state)
    tally.seen[f"{GROUP}: {stage.store}, {scenario.verb.value}, {state}"] += 1
    record = stage.record(scenario)
    may_tell_twice = bool(after.told) and not (record is not None and record.is_announced)
    wrong += stage.pool_trouble() + redis_trouble(stage)
    return wrong + recovery_complaints(
        stage, scenario, state, answer, may_tell_twice=may_tell_twice
    )


def forget_redis_connections(stage: Stage) -> None:
    """Make the next call open a connection of its own, which it may be called off in as well."""
    if stage.scheduler == "redis-async" and stage.world.runner is not None:
        stage.world.runner.run(stage.world.scheduler._executor._connection._pool.disconnect())


def redis_trouble(stage: Stage) -> list[str]:
    """Return what is wrong with the connections to Redis."""
    if stage.scheduler != "redis-async":
        return []
    pool = stage.world.scheduler._executor._connection._pool
    in_use = cast("Iterable[object]", pool._in_use_connections)
    return ["a connection to Redis was not returned"] if list(in_use) else []


def campaign(
    stage: Stage,
    tally: Tally,
    *,
    every: int = 1,
    scenarios: Iterable[Scenario] = INTERRUPTED,
) -> None:
    """Call off every wait, at both moments; or every so many-th wait only."""
    for scenario, moment in itertools.product(scenarios, Moment):
        for number in itertools.count(step=every):
            complaints = run(stage, scenario, number, moment, tally)
            if complaints is None:
                break
            kind = f"{scenario.verb.value} called off {moment.value}"
            what = (
                f"{stage.store}+{stage.scheduler}: {scenario.name}, wait {number} {moment.value}"
            )
            tally.add(GROUP, kind, stage.store, complaints, what)
