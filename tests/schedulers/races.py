"""
Race cancels against the workers' pick-up, and count the wrong answers.

Each cancel is aimed: later after one that won, earlier after one that lost, by ever smaller steps,
so that about half of them win and all come close to the moment that matters.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import attrs
import redis
import redis.asyncio

from tests.fault_proxy import FaultProxy
from tests.schedulers.rig import Rig

_FIRST_STEP_SECONDS = 0.02
_LAST_STEP_SECONDS = 0.0005
_JITTER_SECONDS = 0.001
_LATEST_SECONDS = 0.2  # For what says True of whatever it is asked.
_LONG_SECONDS = 5.0

Cancel = Callable[[str], Any]


@attrs.define
class Tally:
    """
    What came of the races.

    Arguments:
        taken_back: how many cancels said True.
        left: how many said False.
        ran_all_the_same: (a) said True, and the start fired.
        lost: (b) said False, and the start did not fire.
    """

    taken_back: int = 0
    left: int = 0
    ran_all_the_same: int = 0
    lost: int = 0

    @property
    def raced(self) -> int:
        """How many cancels."""
        return self.taken_back + self.left

    @property
    def is_fair(self) -> bool:
        """Whether both sides won at least a quarter."""
        return 4 * min(self.taken_back, self.left) >= self.raced

    @property
    def is_exact(self) -> bool:
        """Whether every answer was right."""
        return self.ran_all_the_same == self.lost == 0


def race(rig: Rig, cancel: Cancel, races: int, name: str) -> Tally:
    """Race so many cancels, one after another, against the workers of the rig."""
    answers: dict[str, bool] = {}
    offset, step, before = rig.library.lead_seconds, _FIRST_STEP_SECONDS, True
    for number in range(races):
        deferred_id = f"{name}-{number}"
        due = time.time() + rig.library.lead_seconds
        began = time.monotonic()
        rig.schedule(deferred_id, due)
        # Of no use for anyone's secret.
        aim = began + offset + random.uniform(-1, 1) * _JITTER_SECONDS  # noqa: S311
        while (seconds := aim - time.monotonic()) > 0:
            time.sleep(seconds)
        answer = answers[deferred_id] = bool(cancel(deferred_id))
        if answer is not before:
            before, step = answer, max(step / 2, _LAST_STEP_SECONDS)
        latest = rig.library.lead_seconds + _LATEST_SECONDS
        offset = min(max(offset + (step if answer else -step), 0.0), latest)
        if not answer:
            _wait_a_while(lambda it=deferred_id: rig.ran(it) > 0)  # type: ignore[misc]
    rig.settle(name)
    tally = Tally()
    for deferred_id, answer in answers.items():
        ran = rig.ran(deferred_id) > 0
        tally.taken_back += answer
        tally.left += not answer
        tally.ran_all_the_same += answer and ran
        tally.lost += not answer and not ran
    return tally


def replies_dropped(rig: Rig, times: int, name: str) -> int:
    """Drop the first reply to each of so many cancels; count those answered right all the same."""
    right = 0
    with lines(rig) as (proxy, client):
        scheduler = rig.library.scheduler(client)
        scheduler.cancel("warm-up", "operation")
        starts = [f"{name}-{number}" for number in range(times)]
        for deferred_id in starts:
            rig.schedule(deferred_id, time.time() + 3600)
        rig.settle(name)
        for deferred_id in starts:
            cuts = proxy.cuts
            proxy.cut_answer_to(b"EVALSHA")
            right += scheduler.cancel(deferred_id, "operation") is True and proxy.cuts == cuts + 1
    return right


def replies_dropped_async(rig: Rig, times: int, name: str) -> int:
    """Do as `replies_dropped`, with our asyncio adapter."""
    starts = [f"{name}-{number}" for number in range(times)]
    for deferred_id in starts:
        rig.schedule(deferred_id, time.time() + 3600)
    rig.settle(name)

    async def cancel_all(proxy: FaultProxy) -> int:
        right = 0
        database = rig.redis.connection_pool.connection_kwargs.get("db", 0)
        async with redis.asyncio.Redis(port=proxy.port, db=database) as client:
            scheduler = rig.library.scheduler_async(client)
            await scheduler.cancel("warm-up", "operation")
            for deferred_id in starts:
                cuts = proxy.cuts
                proxy.cut_answer_to(b"EVALSHA")
                answer = await scheduler.cancel(deferred_id, "operation")
                right += answer is True and proxy.cuts == cuts + 1
        return right

    with lines(rig) as (proxy, _):
        return asyncio.run(cancel_all(proxy))


@contextmanager
def lines(rig: Rig) -> Generator[tuple[FaultProxy, redis.Redis]]:
    """Yield a client of the rig's Redis, and the proxy that it goes through."""
    settings = rig.redis.connection_pool.connection_kwargs
    with (
        FaultProxy(settings["port"]) as proxy,
        redis.Redis(port=proxy.port, db=settings.get("db", 0)) as client,
    ):
        yield proxy, client


def _wait_a_while(happened: Callable[[], bool]) -> None:
    """Wait until it has happened, or can be said not to happen any more."""
    deadline = time.monotonic() + _LONG_SECONDS
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.001)
