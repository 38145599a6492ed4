"""Cancel against claim on a real server: of the two exactly one wins, whoever else is at it."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers import RedisServer

HOUR = timedelta(hours=1)
PATIENT = timedelta(seconds=30)
"""A budget for a machine that runs four test processes at once."""


@pytest.fixture
def namespace(redis_server: RedisServer) -> Iterator[str]:
    """Yield a namespace of the test's own; its keys are deleted afterwards."""
    name = f"test-{uuid4().hex[:8]}"
    yield name
    for key in redis_server.client.scan_iter(f"{{{name}:*", count=1000):
        redis_server.client.delete(key)


def _scheduler(server: RedisServer, namespace: str) -> RedisScheduler:
    client = redis.Redis.from_url(server.url())
    return RedisScheduler(client, namespace=namespace, budget=PATIENT)


def _schedule(scheduler: RedisScheduler, starts: int, name: str = "job") -> list[str]:
    """Schedule starts that are due, and give their ids in the order in which they are claimed."""
    first = datetime.now(UTC) - HOUR
    ids = [f"{name}-{number}" for number in range(starts)]
    for number, deferred_id in enumerate(ids):
        assert scheduler.schedule(deferred_id, first + number * timedelta(milliseconds=1))
    return ids


def _at_once(*actions: Callable[[], None]) -> None:
    """Run each action on a thread of its own, all from the same moment on."""
    start = threading.Barrier(len(actions))
    errors: list[BaseException] = []

    def run(action: Callable[[], None]) -> None:
        start.wait()
        try:
            action()
        except BaseException as error:  # noqa: BLE001  # Shown by the test's own thread.
            errors.append(error)

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.repeats
def test_of_cancel_and_claim_exactly_one_wins_between_threads(
    redis_server: RedisServer, namespace: str
) -> None:
    """2,000 starts, two threads that cancel and two that claim: each start has one fate."""
    scheduler = _scheduler(redis_server, namespace)
    everything: list[str] = []
    taken_back: list[str] = []
    handed_out: list[str] = []

    def cancel(mine: list[str]) -> None:
        taken_back.extend(each for each in mine if scheduler.cancel(each, f"cancel {each}"))

    def claim() -> None:
        while claimed := scheduler.claim(1, HOUR):
            handed_out.extend(start.deferred_id for start in claimed)

    for heat in range(40):  # Many short ones: all are at it only until the first has ended.
        # One cancels after the claims, the other comes to meet them.
        ids = _schedule(scheduler, 50, f"job-{heat}")
        everything += ids
        _at_once(
            functools.partial(cancel, ids[::2]),
            functools.partial(cancel, ids[::-2]),
            claim,
            claim,
        )
    assert sorted(taken_back + handed_out) == sorted(everything)
    # Both have won now and then, or nothing was raced.
    assert taken_back
    assert handed_out
    # And each answer is what it was.
    again = [each for each in everything if scheduler.cancel(each, f"cancel {each}")]
    assert sorted(again) == sorted(taken_back)


def test_of_many_cancels_of_one_start_one_takes_it_back(
    redis_server: RedisServer, namespace: str
) -> None:
    """Four operations at once: one is told True, and is told so again."""
    scheduler = _scheduler(redis_server, namespace)
    ids = _schedule(scheduler, 200)
    winners: dict[str, list[str]] = {each: [] for each in ids}

    def cancel(operation: str) -> None:
        for each in ids:
            if scheduler.cancel(each, operation):
                winners[each].append(operation)

    _at_once(*(lambda name=name: cancel(name) for name in "abcd"))
    assert [each for each in ids if len(winners[each]) != 1] == []
    assert all(scheduler.cancel(each, winners[each][0]) for each in ids)


def test_no_start_is_handed_out_twice_between_threads(
    redis_server: RedisServer, namespace: str
) -> None:
    """Four threads claim in batches: each start goes to one of them."""
    scheduler = _scheduler(redis_server, namespace)
    ids = _schedule(scheduler, 1_000)
    handed_out: list[str] = []

    def claim() -> None:
        while claimed := scheduler.claim(7, HOUR):
            handed_out.extend(start.deferred_id for start in claimed)

    _at_once(claim, claim, claim, claim)
    assert sorted(handed_out) == sorted(ids)


def test_of_cancel_and_claim_exactly_one_wins_between_tasks(
    redis_server: RedisServer, namespace: str
) -> None:
    """The asyncio half, in one event loop: each start has one fate."""
    ids = _schedule(_scheduler(redis_server, namespace), 500)

    async def race() -> tuple[list[str], list[str]]:
        taken_back: list[str] = []
        handed_out: list[str] = []
        async with redis.asyncio.Redis.from_url(redis_server.url()) as client:
            scheduler = AsyncRedisScheduler(client, namespace=namespace, budget=PATIENT)

            async def cancel(mine: list[str]) -> None:
                taken_back.extend(
                    [each for each in mine if await scheduler.cancel(each, f"cancel {each}")]
                )

            async def claim() -> None:
                while claimed := await scheduler.claim(1, HOUR):
                    handed_out.extend(start.deferred_id for start in claimed)

            await asyncio.gather(cancel(ids[::2]), cancel(ids[::-2]), claim())
        return taken_back, handed_out

    taken_back, handed_out = asyncio.run(race())
    assert sorted(taken_back + handed_out) == sorted(ids)
    assert taken_back
    assert handed_out


RACER = """
import json, sys
from datetime import timedelta
import redis
from batch_cancel.adapters.redis import RedisScheduler

url, namespace, part, ids = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
scheduler = RedisScheduler(
    redis.Redis.from_url(url), namespace=namespace, budget=timedelta(seconds=30)
)
won = []
scheduler.waiting()
print("ready", flush=True)
sys.stdin.readline()
if part == "cancel":
    won = [each for each in ids if scheduler.cancel(each, f"cancel {each}")]
else:
    while claimed := scheduler.claim(1, timedelta(hours=1)):
        won += [start.deferred_id for start in claimed]
print(json.dumps(won), flush=True)
"""


def test_of_cancel_and_claim_exactly_one_wins_between_processes(
    redis_server: RedisServer, namespace: str
) -> None:
    """Two processes that cancel and two that claim: each start has one fate."""
    ids = _schedule(_scheduler(redis_server, namespace), 600)
    # One follows the claims, the other comes to meet them.
    parts = [("cancel", ids[::2]), ("cancel", ids[::-2]), ("claim", []), ("claim", [])]
    racers: list[subprocess.Popen[str]] = []
    try:
        for part, mine in parts:
            arguments = [redis_server.url(), namespace, part, json.dumps(mine)]
            racers.append(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        assert [_line(racer) for racer in racers] == ["ready\n"] * 4
        for racer in racers:
            _go(racer)
        won: list[Any] = [json.loads(_line(racer)) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    taken_back, handed_out = won[0] + won[1], won[2] + won[3]
    assert sorted(taken_back + handed_out) == sorted(ids)
    assert taken_back
    assert handed_out


def _line(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline()


def _go(racer: subprocess.Popen[str]) -> None:
    assert racer.stdin is not None
    racer.stdin.write("go\n")
    racer.stdin.flush()
