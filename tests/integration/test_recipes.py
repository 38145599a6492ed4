"""
The moments in which a worker is about to take a job, played by hand on the library's keys.

That these are the keys and the steps of the real libraries, `tests/schedulers` shows.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.docket import AsyncDocketScheduler, DocketScheduler
from batch_cancel.adapters.huey import AsyncHueyScheduler, HueyScheduler
from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler
from batch_cancel.adapters.saq import AsyncSaqScheduler, SaqScheduler
from batch_cancel.ports import SchedulerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.redis_topologies import RedisCluster

PATIENCE = timedelta(seconds=10)
ADAPTERS: list[Any] = [
    ArqScheduler,
    DocketScheduler,
    HueyScheduler,
    RqScheduler,
    SaqScheduler,
]
ASYNC_ADAPTERS: list[Any] = [
    AsyncArqScheduler,
    AsyncDocketScheduler,
    AsyncHueyScheduler,
    AsyncRqScheduler,
    AsyncSaqScheduler,
]


@pytest.fixture
def client(redis_database: str) -> Iterator[redis.Redis]:
    """Yield a client of an empty database."""
    with redis.Redis.from_url(redis_database, decode_responses=True) as client:
        yield client


# arq: watch, look, take ------------------------------------------------------------------------


def test_an_arq_worker_that_has_looked_takes_nothing(client: redis.Redis) -> None:
    """Its EXEC fails, because what it watches was touched."""
    client.zadd("arq:queue", {"a": 1})
    client.set("arq:job:a", "job")
    with client.pipeline() as worker:
        worker.watch("arq:in-progress:a")
        assert not worker.exists("arq:in-progress:a")
        assert worker.zscore("arq:queue", "a")
        assert ArqScheduler(client, budget=PATIENCE).cancel("a", "operation") is True
        worker.multi()
        worker.psetex("arq:in-progress:a", 1000, "1")
        with pytest.raises(redis.WatchError):
            worker.execute()
    assert client.exists("arq:queue", "arq:job:a", "arq:in-progress:a") == 0


def test_an_arq_worker_that_has_taken_keeps_it(client: redis.Redis) -> None:
    """The job is in progress, though it is still in the queue."""
    client.zadd("arq:queue", {"a": 1})
    client.set("arq:job:a", "job")
    client.set("arq:in-progress:a", "1")
    assert ArqScheduler(client, budget=PATIENCE).cancel("a", "operation") is False
    assert client.exists("arq:queue", "arq:job:a", "arq:in-progress:a") == 3


# RQ: look, write back --------------------------------------------------------------------------


def test_an_rq_job_that_its_scheduler_brings_back_is_known(client: redis.Redis) -> None:
    """Taken back in the gap, written back by the scheduler; the job's last look is told."""
    client.zadd("rq:scheduled:default", {"a": 1})
    client.hset("rq:job:a", mapping={"status": "scheduled"})
    scheduler = RqScheduler(client, budget=PATIENCE)
    assert scheduler.was_taken_back("a") is False
    assert scheduler.cancel("a", "operation") is True
    client.rpush("rq:queue:default", "a")
    client.hset("rq:job:a", mapping={"status": "queued"})
    assert scheduler.was_taken_back("a") is True
    assert scheduler.was_taken_back("b") is False
    # Another cancel is right too: that one takes back what came back.
    assert scheduler.cancel("a", "another") is True
    assert client.llen("rq:queue:default") == 0


@pytest.mark.parametrize(
    ("status", "taken_back"), [("scheduled", True), ("queued", False), ("started", False)]
)
def test_an_rq_job_that_a_worker_has_is_not_taken_back(
    status: str, taken_back: object, client: redis.Redis
) -> None:
    """rq-scheduler forgets a job's time only after a worker may have taken it."""
    client.zadd("rq:scheduler:scheduled_jobs", {"a": 1})
    client.hset("rq:job:a", mapping={"status": status})
    scheduler = RqScheduler(client, scheduled="rq:scheduler:scheduled_jobs", budget=PATIENCE)
    assert scheduler.cancel("a", "operation") is taken_back
    assert client.exists("rq:job:a") == (not taken_back)
    assert scheduler.was_taken_back("a") is taken_back


# SAQ: moved to the active ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "found_in", "attempts", "taken_back"),
    [
        (9_999_999_999, None, 0, True),  # Its time has not come.
        (0, "queued", 0, True),  # It has, and no worker has come.
        (0, "active", 0, False),  # A worker has just taken it.
        (9_999_999_999, "active", 0, False),  # The same, in a retry, which keeps the score.
        (0, None, 0, False),  # Between two lists it is nobody's.
        (9_999_999_999, None, 1, False),  # Waiting for its second time.
        (0, "queued", 1, False),
    ],
)
def test_a_saq_job_is_taken_back_where_no_worker_has_it(
    score: int, found_in: str | None, attempts: int, taken_back: object, client: redis.Redis
) -> None:
    """Its score, its list and its attempts tell; a retry is removed, and counts as fired."""
    job = "saq:job:default:a"
    client.set(job, json.dumps({"attempts": attempts}))
    client.zadd("saq:default:incomplete", {job: score})
    if found_in:
        client.rpush(f"saq:default:{found_in}", job)
    assert SaqScheduler(client, budget=PATIENCE).cancel("a", "operation") is taken_back
    removed = taken_back or attempts
    assert client.exists(job, "saq:default:incomplete") == (0 if removed else 2)
    assert client.exists("saq:default:queued") == 0
    assert client.exists("saq:default:active") == (found_in == "active")


# All of them -----------------------------------------------------------------------------------


class Blocking:
    """An asyncio adapter, called as if it were a blocking one."""

    def __init__(self, adapter: Any, url: str, **options: Any) -> None:
        self._adapter, self._url, self._options = adapter, url, options

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            return asyncio.run(self._call(name, arguments))

        return call

    async def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        async with redis.asyncio.Redis.from_url(self._url) as client:
            return await getattr(self._adapter(client, **self._options), name)(*arguments)


SEEDS: dict[str, Any] = {
    "Arq": {"arq:queue": {"a": 1}},
    "Docket": {"docket:queue": {"a": 1}},
    "Huey": {"huey.schedule.huey": {"message": 1}},
    "Rq": {"rq:scheduled:default": {"a": 1}},
    "Saq": {"saq:default:incomplete": {"saq:job:default:a": 9_999_999_999}},
}
PLACES: dict[str, dict[str, str]] = {
    "Arq": {"queue": "arq:queue"},
    "Docket": {"name": "docket"},
    "Huey": {"name": "huey"},
    "Rq": {"queue": "default"},
    "Saq": {"queue": "default"},
}


@pytest.mark.parametrize("half", ["blocking", "asyncio"])
@pytest.mark.parametrize("adapter", [*zip(ADAPTERS, ASYNC_ADAPTERS, strict=True)])
def test_an_operation_always_gets_one_answer(
    adapter: tuple[Any, Any], half: str, client: redis.Redis, redis_database: str
) -> None:
    """Asked again the same; another operation, and what never was there, get a no."""
    name = adapter[0].__name__.removesuffix("Scheduler")
    client.set("saq:job:default:a", json.dumps({"attempts": 0}))
    client.hset("rq:job:a", mapping={"status": "scheduled"})
    client.hset("docket:runs:a", mapping={"state": "scheduled"})
    for key, entries in SEEDS[name].items():
        client.zadd(key, entries)
    options = {"budget": PATIENCE, "retention": timedelta(hours=1), **PLACES[name]}
    scheduler: Any = (
        adapter[0](client, **options)
        if half == "blocking"
        else Blocking(adapter[1], redis_database, **options)
    )
    if name == "Huey":
        scheduler.remember("a", b"message")

    assert scheduler.was_taken_back("a") is False
    assert [scheduler.cancel("a", operation) for operation in ("1", "1", "2", "1")] == [
        *(True, True),
        False,
        True,
    ]
    assert scheduler.was_taken_back("a") is True
    assert client.exists(*SEEDS[name]) == 0
    for nobody in ("b", "", "\0", "\ud800", "x" * 1025):
        assert scheduler.cancel(nobody, "1") is False


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_two_queues_have_answers_of_their_own(adapter: Any, client: redis.Redis) -> None:
    """An id counts within its queue: a no for one is none for another."""
    option = next(iter(PLACES[adapter.__name__.removesuffix("Scheduler")]))
    one, other = (adapter(client, **{option: name}, budget=PATIENCE) for name in ("one", "two"))
    assert one.cancel("a", "operation") is False
    assert client.exists(one._tombstone("a")) == 1
    assert client.exists(other._tombstone("a")) == 0


@pytest.mark.parametrize("adapter", [*ADAPTERS, *ASYNC_ADAPTERS])
def test_a_client_of_the_other_kind_is_refused(adapter: Any) -> None:
    """At once, and by name: nothing would ever be awaited, or everything."""
    is_async = adapter in ASYNC_ADAPTERS
    with pytest.raises(TypeError, match="client is needed, got redis"):
        adapter(redis.Redis() if is_async else redis.asyncio.Redis())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_taken_key_is_an_error_and_no_answer(adapter: Any, client: redis.Redis) -> None:
    """Nothing is answered, and nothing taken back, where answers can't be kept."""
    scheduler = adapter(client, budget=PATIENCE)
    client.set(scheduler._tombstone("a"), "not a hash")
    with pytest.raises(SchedulerUnavailable, match="WRONGTYPE"):
        scheduler.cancel("a", "operation")


def test_nothing_is_taken_back_whose_answer_cannot_be_kept(
    client: redis.Redis, redis_database: str
) -> None:
    """A repetition would not find the start any more, and would say that there was none."""
    user = "may-not-remember"
    client.acl_setuser(user, enabled=True, nopass=True, keys="*", commands=["+@all", "-hset"])
    client.zadd("arq:queue", {"a": 1})
    try:
        with (
            redis.Redis.from_url(redis_database, username=user, password="any") as limited,
            pytest.raises(SchedulerUnavailable),
        ):
            ArqScheduler(limited, budget=PATIENCE).cancel("a", "operation")
    finally:
        client.acl_deluser(user)
    assert client.zscore("arq:queue", "a") == 1
    assert ArqScheduler(client, budget=PATIENCE).cancel("a", "operation") is True


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_plain_client_of_a_cluster_gets_no_answer(
    adapter: Any, redis_cluster: RedisCluster
) -> None:
    """Its node refuses keys of several slots, and says so."""
    with redis.Redis.from_url(redis_cluster.url) as client:
        scheduler = adapter(client, budget=PATIENCE)
        with pytest.raises(SchedulerUnavailable, match=r"(?i)CrossSlot"):
            scheduler.cancel("a", "operation")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_answers_are_remembered_for_some_time(adapter: Any, client: redis.Redis) -> None:
    """The retention is what was asked for, and must be something."""
    scheduler = adapter(client, budget=PATIENCE, retention=timedelta(hours=1))
    assert scheduler.cancel("a", "operation") is False
    assert 3590 < client.ttl(scheduler._tombstone("a")) <= 3600
    with pytest.raises(ValueError, match="retention"):
        adapter(client, retention=timedelta(0))
