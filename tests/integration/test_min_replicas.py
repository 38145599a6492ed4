"""`min_replicas` against a real primary and its replica: what is answered, the replica has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.huey import HueyScheduler
from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    AsyncStartGate,
    RedisScheduler,
    StartGate,
)
from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler
from batch_cancel.adapters.saq import SaqScheduler
from batch_cancel.adapters.taskiq import TaskiqStarts
from batch_cancel.ports import SchedulerUnavailable
from tests.processes import HOST, wait_until
from tests.servers import RedisServer

if TYPE_CHECKING:
    from tests.redis_topologies import RedisCluster

FUTURE = datetime.now(UTC) + timedelta(days=1)
PATIENT = timedelta(seconds=30)
"""A budget that a busy machine keeps."""
SHORT = timedelta(seconds=1)
"""A budget for what must not be answered."""

PAIRS: dict[str, tuple[Any, Any]] = {
    "native": (RedisScheduler, AsyncRedisScheduler),
    "arq": (ArqScheduler, AsyncArqScheduler),
    "rq": (RqScheduler, AsyncRqScheduler),
    "gate": (StartGate, AsyncStartGate),
}


class Group:
    """A primary and its replica, and schedulers on the primary, called as if blocking."""

    def __init__(self) -> None:
        with ExitStack() as cleanup:
            self.primary = cleanup.enter_context(closing(RedisServer.own()))
            follow = ["--replicaof", HOST, str(self.primary.port)]
            self.replica = cleanup.enter_context(closing(RedisServer.own(*follow)))
            wait_until(self.has_all, "the replica follows")
            self._runner = cleanup.enter_context(asyncio.Runner())
            self._cleanup = cleanup.pop_all()

    def has_all(self) -> bool:
        """Check whether the replica has all that was written, and tells so."""
        follower = self.replica.client.info("replication")
        if follower["master_link_status"] != "up":
            return False
        self.primary.client.set("written", "now")
        return self.primary.client.wait(1, 1000) == 1

    def cancel(self, maker: Any, deferred_id: str, budget: timedelta, replicas: int = 1) -> bool:
        """Cancel with a client of its own, so on a connection that has written nothing yet."""
        settings = {"budget": budget, "min_replicas": replicas}
        if not maker.__name__.startswith("Async"):
            with redis.Redis.from_url(self.primary.url()) as client:
                return bool(maker(client, **settings).cancel(deferred_id, "operation"))

        async def cancel() -> bool:
            async with redis.asyncio.Redis.from_url(self.primary.url()) as client:
                return bool(await maker(client, **settings).cancel(deferred_id, "operation"))

        return self._runner.run(cancel())

    def close(self) -> None:
        """End both."""
        self._cleanup.close()


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    """Yield a primary and its replica."""
    with closing(Group()) as group:
        yield group


@pytest.fixture
def paused(group: Group) -> Iterator[Any]:
    """Pause the replica; lends what has it go on."""
    group.primary.flush()
    wait_until(group.has_all, "the replica has all")
    yield group.replica.process
    group.replica.process.resume()
    wait_until(group.has_all, "the replica has all")


def _wait_for_its_time(group: Group, name: str, deferred_id: str) -> None:
    """Have a start wait, as the library keeps it."""
    if name == "native":
        RedisScheduler(group.primary.client, budget=PATIENT).schedule(deferred_id, FUTURE)
    elif name == "gate":
        StartGate(group.primary.client, budget=PATIENT).arm(deferred_id, FUTURE)
    elif name == "arq":
        group.primary.client.zadd("arq:queue", {deferred_id: 9e12})
    else:
        group.primary.client.zadd("rq:scheduled:default", {deferred_id: 9e12})


@pytest.mark.parametrize("kind", [0, 1], ids=["blocking", "asyncio"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_cancel_that_no_replica_has_is_not_answered(
    name: str, kind: int, group: Group, paused: Any
) -> None:
    """Nor is its repetition; when the replica has it, it is the same True, as nothing was lost."""
    maker = PAIRS[name][kind]
    _wait_for_its_time(group, name, "a")
    paused.pause()
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable, match=r"too few replicas .*0 of 1"):
            group.cancel(maker, "a", SHORT)
    # Without the option it is answered: the primary has it.
    assert group.cancel(maker, "a", PATIENT, 0) is True
    paused.resume()
    assert group.cancel(maker, "a", PATIENT) is True
    assert group.cancel(maker, "never there", PATIENT) is False


@pytest.mark.parametrize("kind", [0, 1], ids=["blocking", "asyncio"])
def test_a_schedule_that_no_replica_has_is_not_answered(
    kind: int, group: Group, paused: Any
) -> None:
    """It may be scheduled or not; asked again, it is."""

    async def schedule(budget: timedelta) -> bool:
        if not kind:
            with redis.Redis.from_url(group.primary.url()) as client:
                scheduler = RedisScheduler(client, budget=budget, min_replicas=1)
                return scheduler.schedule("b", FUTURE)
        async with redis.asyncio.Redis.from_url(group.primary.url()) as client:
            twin = AsyncRedisScheduler(client, budget=budget, min_replicas=1)
            return await twin.schedule("b", FUTURE)

    paused.pause()
    with pytest.raises(SchedulerUnavailable, match="too few replicas"):
        asyncio.run(schedule(SHORT))
    paused.resume()
    assert asyncio.run(schedule(PATIENT)) is True


@pytest.mark.parametrize("kind", [0, 1], ids=["blocking", "asyncio"])
@pytest.mark.parametrize("asked", ["arm", "may_start"])
def test_what_the_gate_decides_is_not_answered_until_a_replica_has_it(
    asked: str, kind: int, group: Group, paused: Any
) -> None:
    """Armed or started: a failover could forget it. Repeated, it is the same answer."""
    StartGate(group.primary.client, budget=PATIENT).arm("c", FUTURE)

    async def ask(budget: timedelta) -> bool:
        options: Any = {"budget": budget, "min_replicas": 1}
        arguments = ("c", FUTURE) if asked == "arm" else ("c",)
        if not kind:
            with redis.Redis.from_url(group.primary.url()) as client:
                return bool(getattr(StartGate(client, **options), asked)(*arguments))
        async with redis.asyncio.Redis.from_url(group.primary.url()) as client:
            return bool(await getattr(AsyncStartGate(client, **options), asked)(*arguments))

    paused.pause()
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable, match="too few replicas"):
            asyncio.run(ask(SHORT))
    paused.resume()
    assert asyncio.run(ask(PATIENT)) is True


def test_what_was_taken_back_does_not_start_after_a_failover(group: Group, paused: Any) -> None:
    """The replica has not heard of the cancel, so the cancel was not answered."""
    del paused
    gate = StartGate(group.primary.client, budget=PATIENT, min_replicas=1)
    assert gate.arm("d", FUTURE) is True
    assert gate.arm("e", FUTURE) is True
    assert gate.cancel("d", "operation") is True
    group.replica.process.pause()
    with pytest.raises(SchedulerUnavailable, match="too few replicas"):
        StartGate(group.primary.client, budget=SHORT, min_replicas=1).cancel("e", "operation")
    group.replica.process.resume()
    wait_until(group.has_all, "the replica has all")
    with redis.Redis.from_url(group.replica.url()) as client:
        states = [client.get(f"bc:gate:{it}") for it in ("d", "e")]
    assert states == [b"Coperation", b"Coperation"]


def test_more_replicas_than_there_are_is_no_answer(group: Group, paused: Any) -> None:
    """One acknowledges, two are wanted."""
    assert paused.running
    with pytest.raises(SchedulerUnavailable, match="1 of 2"):
        group.cancel(ArqScheduler, "a", timedelta(seconds=2), 2)


@pytest.mark.parametrize("maker", [ArqScheduler, RqScheduler, SaqScheduler, HueyScheduler])
@pytest.mark.parametrize("replicas", [-1])
def test_fewer_than_none_are_refused(maker: Any, replicas: int, group: Group) -> None:
    """When it is made."""
    for make in (maker, RedisScheduler, StartGate, TaskiqStarts):
        with pytest.raises(ValueError, match="min_replicas"):
            make(group.primary.client, min_replicas=replicas)


def test_a_cluster_is_refused(redis_cluster: RedisCluster) -> None:
    """When it is made: its client may wait on another connection than it wrote on."""
    with closing(redis.RedisCluster.from_url(redis_cluster.url)) as client:
        for make in (RedisScheduler, StartGate):
            make(client)  # Without it, a cluster is fine.
            with pytest.raises(TypeError, match="min_replicas"):
                make(client, min_replicas=1)
    twin = object.__new__(redis.asyncio.RedisCluster)  # Nothing of it is asked but what it is.
    for make_twin in (AsyncRedisScheduler, AsyncStartGate):
        with pytest.raises(TypeError, match="min_replicas"):
            make_twin(twin, min_replicas=1)
