"""
Our adapter for each library, against its real client and real workers.

`make test` takes arq and RQ, `make schedulers` sets BATCH_CANCEL_TEST_LIBRARIES to "all".
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.apscheduler import ApschedulerScheduler, AsyncApschedulerScheduler
from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from batch_cancel.ports import SchedulerUnavailable
from tests.processes import HOST, free_port
from tests.schedulers.catalogue import LIBRARIES
from tests.schedulers.races import race, replies_dropped, replies_dropped_async
from tests.schedulers.rig import Rig
from tests.servers import RedisServer

CHOSEN = [*LIBRARIES] if os.environ.get("BATCH_CANCEL_TEST_LIBRARIES") == "all" else ["arq", "rq"]

HOUR_SECONDS = 3600

PRIVATE_NAMES = {
    "arq": {
        "queue": "arq:queue",
        "job": "arq:job:ID",
        "in progress": "arq:in-progress:ID",
        "retry": "arq:retry:ID",
    },
    "rq": {
        "scheduled": "rq:scheduled:default",
        "queue": "rq:queue:default",
        "deferred": "rq:deferred:default",
        "ready": "rq:ready:default",
        "limits": "rq:rl:",
        "job": "rq:job:ID",
    },
    "saq": {
        "incomplete": "saq:default:incomplete",
        "queued": "saq:default:queued",
        "active": "saq:default:active",
        "job": "saq:job:default:ID",
    },
    "huey": {"scheduled": "huey.schedule.huey", "queue": "huey.redis.huey"},
    "docket": {
        "queue": "docket:queue",
        "stream": "docket:stream",
        "parked": "docket:ID",
        "record": "docket:runs:ID",
        "progress": "docket:progress:ID",
        "state": "docket:state:ID",
    },
    "celery": {},
    "dramatiq": {},
    "apscheduler": {"jobs": "apscheduler.jobs", "run times": "apscheduler.run_times"},
    "taskiq": {
        "data": "schedule:data:ID",
        "times": "schedule:time:",
        "crons": "schedule:cron",
        "intervals": "schedule:interval",
    },
}


@pytest.fixture(scope="module", params=CHOSEN)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Yield a library at work."""
    library = LIBRARIES[request.param]
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        rig.start_workers()
        yield rig


@pytest.fixture
def ours(rig: Rig) -> Any:
    """Yield our adapter."""
    return rig.library.scheduler(rig.redis)


@pytest.fixture
def start() -> str:
    """Return an id that no other test has."""
    return f"start-{uuid4().hex}"


def test_the_private_names_are_those_of_the_installed_version(rig: Rig, ours: Any) -> None:
    """What the adapter takes for the library's keys, the library does too."""
    expected = PRIVATE_NAMES.get(rig.library.name)
    if rig.library.name == "native":
        return
    assert rig.ask("private_names") == expected
    if isinstance(ours, StartGate | ApschedulerScheduler):
        kept = ours._jobs._keys if isinstance(ours, ApschedulerScheduler) else ()
        names = [name.decode() for name in kept]
        assert names == [*(expected or {}).values()]
        return
    keys = [key for key in ours._recipe.keys("ID") if not key.startswith("batch_cancel:")]
    if rig.library.places.get("rq-scheduler"):
        assert keys.pop(0) == rig.ask("elder_name") == "rq:scheduler:scheduled_jobs"
        expected = {name: key for name, key in (expected or {}).items() if name != "scheduled"}
    assert keys == [*(expected or {}).values()]


def test_what_is_cancelled_never_runs(rig: Rig, ours: Any, start: str) -> None:
    """True; and when its time has come and gone, it has not run."""
    ahead_seconds = 2.0
    while True:
        due = time.time() + ahead_seconds
        rig.schedule(start, due)
        rig.settle(f"seen-{start}")
        if time.time() < due - 1:
            break
        # A machine under load: once more, with more time.
        rig.wait_ran(start)
        start, ahead_seconds = f"{start}-again", 2 * ahead_seconds
    assert ours.cancel(start, "operation") is True
    rig.schedule(f"after-{start}", due)
    rig.wait_ran(f"after-{start}")
    rig.settle(f"past-{start}")
    assert rig.ran(start) == 0


def test_what_runs_is_left_to_run(rig: Rig, ours: Any, start: str) -> None:
    """False while it runs and when it has finished; it runs once."""
    held = f"held-{start}"
    rig.schedule(held)
    rig.wait_ran(held)
    assert ours.cancel(held, "operation") is False
    assert ours.cancel(held, "another") is False
    rig.release(held)
    rig.settle(held)
    assert ours.cancel(held, "a third") is False
    assert rig.ran(held) == 1


def test_what_is_unknown_is_not_taken_back(ours: Any, start: str) -> None:
    """False, every time; and for what can't be an id."""
    assert ours.cancel(start, "operation") is False
    assert ours.cancel(start, "operation") is False
    assert ours.cancel("", "operation") is False
    assert ours.cancel("nul\0", "operation") is False


def test_the_same_operation_has_the_same_answer(rig: Rig, ours: Any, start: str) -> None:
    """The one that took it back did, however often it asks; any other did not."""
    rig.schedule(start, time.time() + HOUR_SECONDS)
    assert ours.cancel(start, "operation") is True
    assert ours.cancel(start, "another") is False
    assert ours.cancel(start, "operation") is True
    assert ours.cancel(start, "another") is False


def test_a_lost_reply_does_not_change_the_answer(rig: Rig, start: str) -> None:
    """The script has run, its answer is lost, and asked again it is told the same."""
    assert replies_dropped(rig, 5, start) == 5


def test_a_lost_reply_does_not_change_the_answer_of_the_asyncio_twin(rig: Rig, start: str) -> None:
    """The script has run, its answer is lost, and asked again it is told the same."""
    assert replies_dropped_async(rig, 5, start) == 5


def test_an_id_that_was_cancelled(rig: Rig, ours: Any, start: str) -> None:
    """Can be scheduled again, or is used up, as the adapter's docstring says."""
    rig.schedule(start, time.time() + HOUR_SECONDS)
    assert ours.cancel(start, "operation") is True
    rig.schedule(start)
    if rig.library.reuses_ids:
        rig.wait_ran(start)
    # The first of these may overtake it.
    rig.settle(f"one-{start}")
    rig.settle(f"two-{start}")
    assert rig.ran(start) == (1 if rig.library.reuses_ids else 0)
    assert ours.cancel(start, "operation") is True


def test_nothing_is_left_behind_for_good(rig: Rig, ours: Any, start: str) -> None:
    """Whatever the cancel of a start leaves in Redis expires."""
    before = set(rig.redis.scan_iter(count=1000))
    rig.schedule(start, time.time() + HOUR_SECONDS)
    rig.settle(start)
    assert ours.cancel(start, "operation") is True
    assert ours.cancel(f"not {start}", "operation") is False
    left = {key for key in rig.redis.scan_iter(count=1000) if start in key} - before
    if rig.library.name == "native":
        assert left == set()  # Its tombstones are in one hash, and are tidied by its own clock.
        return
    of_the_start = {key for key in left if "settled" not in key}
    assert of_the_start
    assert all(rig.redis.ttl(key) > 0 for key in of_the_start), of_the_start


def test_the_asyncio_twin_answers_the_same(rig: Rig, start: str) -> None:
    """True, the same again, and False for another operation."""

    async def cancel() -> list[bool]:
        settings = rig.redis.connection_pool.connection_kwargs
        async with redis.asyncio.Redis(host=settings["host"], port=settings["port"]) as client:
            twin = rig.library.scheduler_async(client)
            assert inspect.iscoroutinefunction(twin.cancel)
            return [await twin.cancel(start, it) for it in ("one", "one", "two")]

    rig.schedule(start, time.time() + HOUR_SECONDS)
    assert asyncio.run(cancel()) == [True, True, False]


def test_no_answer_is_unavailable(rig: Rig, start: str) -> None:
    """Nobody listens: not False, which would say that there was nothing."""
    with redis.Redis(host=HOST, port=free_port()) as client:
        if rig.library.name == "apscheduler":
            scheduler: Any = ApschedulerScheduler(StartGate(client), client)
        else:
            scheduler = type(rig.library.scheduler(client))(client)
        with pytest.raises(SchedulerUnavailable):
            scheduler.cancel(start, "operation")


@pytest.mark.parametrize("kind", [redis.RedisCluster, redis.asyncio.RedisCluster])
def test_a_cluster_is_refused(rig: Rig, kind: Any) -> None:
    """At once and in words: no script reaches the keys of a job there."""
    if rig.library.name in {"native", "celery", "dramatiq"}:
        return  # They have a key for each start, and nothing of the library's.
    client = object.__new__(kind)  # Nothing of it is asked but what it is.
    client.close = lambda: None
    makers = [rig.library.scheduler, rig.library.scheduler_async]
    if rig.library.name == "apscheduler":  # Its gate may be on a cluster, its job store not.
        with redis.Redis() as other:
            gate, gate_async = StartGate(other), AsyncStartGate(redis.asyncio.Redis())
        makers = [
            lambda client: ApschedulerScheduler(gate, client),
            lambda client: AsyncApschedulerScheduler(gate_async, client),
        ]
    for make in makers:
        with pytest.raises(TypeError, match="over the slots of a cluster"):
            make(client)


def test_races_are_won_by_one(rig: Rig, ours: Any, start: str) -> None:
    """Aimed at the worker's pick-up, every answer is right, and both kinds of answer occur."""
    tally = race(rig, lambda it: ours.cancel(it, f"operation {it}"), 60, start)
    assert tally.is_exact, tally
    assert tally.taken_back, tally
    assert tally.left, tally
