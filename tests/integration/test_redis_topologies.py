"""Sentinels that elect another master, and clusters that move a slot: the answers stay right."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    AsyncStartGate,
    RedisScheduler,
    StartGate,
)
from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler
from batch_cancel.ports import SchedulerUnavailable
from tests.fault_proxy import FaultProxy
from tests.redis_topologies import MovingSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator

    from tests.redis_topologies import RedisCluster, RedisSentinel

HOUR = timedelta(hours=1)
PATIENT = timedelta(seconds=30)
SHORT = timedelta(milliseconds=100)

# The asyncio cluster of redis-py drops nodes that it has replaced without closing them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def _future() -> datetime:
    return datetime.now(UTC) + HOUR


def _past() -> datetime:
    return datetime.now(UTC) - HOUR


@pytest.fixture
def namespace() -> str:
    """Name a namespace of the test's own."""
    return f"test-{uuid4().hex[:8]}"


# Sentinel ----------------------------------------------------------------------------------------


@contextmanager
def _failing_over(group: RedisSentinel) -> Generator[Callable[[], bool]]:
    """Kill the master while the block runs; lends what says whether another has taken over."""
    thread = threading.Thread(target=group.failover)
    thread.start()
    try:
        yield lambda: not thread.is_alive()
    finally:
        thread.join()
        group.rejoin()


def _replicated(group: RedisSentinel) -> None:
    assert group.master.command("WAIT", 1, 10_000) == 1


def test_cancels_are_right_throughout_a_failover(
    redis_sentinel: RedisSentinel, namespace: str
) -> None:
    """Each is answered True once, in time, though the master dies among them."""
    sentinel = redis.sentinel.Sentinel(redis_sentinel.addresses)
    with closing(sentinel.master_for(redis_sentinel.name)) as client:
        scheduler = RedisScheduler(client, namespace=namespace, budget=PATIENT)
        for number in range(300):
            scheduler.schedule(f"{number}", _future())
        _replicated(redis_sentinel)
        answers = []
        with _failing_over(redis_sentinel) as has_taken_over:
            for number in range(300):
                if number == 200:  # The last hundred are for the new master.
                    while not has_taken_over():
                        scheduler.waiting()
                answers.append(scheduler.cancel(f"{number}", f"cancel {number}"))
        assert answers == [True] * 300
    for one in sentinel.sentinels:
        one.close()


def test_cancels_are_right_throughout_a_failover_for_asyncio(
    redis_sentinel: RedisSentinel, namespace: str
) -> None:
    """Each is answered True once, in time, though the master dies among them."""

    async def cancel_all() -> list[bool]:
        sentinel = redis.asyncio.sentinel.Sentinel(redis_sentinel.addresses)
        client = sentinel.master_for(redis_sentinel.name)
        scheduler = AsyncRedisScheduler(client, namespace=namespace, budget=PATIENT)
        for number in range(300):
            await scheduler.schedule(f"{number}", _future())
        _replicated(redis_sentinel)
        answers = []
        with _failing_over(redis_sentinel) as has_taken_over:
            for number in range(300):
                if number == 200:  # The last hundred are for the new master.
                    while not has_taken_over():
                        await scheduler.waiting()
                answers.append(await scheduler.cancel(f"{number}", f"cancel {number}"))
        await client.aclose()
        for one in sentinel.sentinels:
            await one.aclose()
        return answers

    assert asyncio.run(cancel_all()) == [True] * 300


@pytest.mark.parametrize(
    ("makers", "waiting"),
    [
        ((ArqScheduler, AsyncArqScheduler), "arq:queue"),
        ((RqScheduler, AsyncRqScheduler), "rq:scheduled:default"),
    ],
    ids=["arq", "rq"],
)
def test_cancels_of_a_library_s_jobs_are_right_throughout_a_failover(
    redis_sentinel: RedisSentinel, makers: tuple[Any, Any], waiting: str
) -> None:
    """The blocking half before it and the asyncio half after it, with no new client; no replay."""
    ids = [f"{uuid4().hex}" for _ in range(60)]
    redis_sentinel.master.client.zadd(waiting, dict.fromkeys(ids, 9e12))
    _replicated(redis_sentinel)
    sentinel = redis.sentinel.Sentinel(redis_sentinel.addresses)

    async def cancel(twins: list[str]) -> list[bool]:
        asking = redis.asyncio.sentinel.Sentinel(redis_sentinel.addresses)
        async with asking.master_for(redis_sentinel.name) as client:
            scheduler = makers[1](client, budget=PATIENT, min_replicas=1)
            first = await scheduler.cancel(twins[0], "operation")
            with _failing_over(redis_sentinel) as has_taken_over:
                while not has_taken_over():
                    await scheduler.was_taken_back(twins[0])
            rest = [await scheduler.cancel(it, "operation") for it in twins]
        for one in asking.sentinels:
            await one.aclose()
        return [first, *rest]

    with closing(sentinel.master_for(redis_sentinel.name)) as client:
        scheduler = makers[0](client, budget=PATIENT, min_replicas=1)
        assert [scheduler.cancel(it, "operation") for it in ids[:20]] == [True] * 20
        assert asyncio.run(cancel(ids[20:40])) == [True] * 21
        # Answers that were given by the master that died, and new ones.
        assert [scheduler.cancel(it, "operation") for it in ids[:20]] == [True] * 20
        assert [scheduler.cancel(it, "operation") for it in ids[40:]] == [True] * 20
        assert [scheduler.cancel(it, "another") for it in ids] == [False] * 60
        assert redis_sentinel.master.client.zcard(waiting) == 0
    for one in sentinel.sentinels:
        one.close()


@pytest.fixture
def silent_address() -> Iterator[tuple[str, int]]:
    """Yield the address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


def test_a_sentinel_that_hangs_is_passed_over(
    redis_sentinel: RedisSentinel, namespace: str, silent_address: tuple[str, int]
) -> None:
    """The first one says nothing; the second, not the fastest, answers within the same budget."""
    with FaultProxy(redis_sentinel.sentinels[0].port) as slow:
        slow.delay(0.02)
        sentinel = redis.sentinel.Sentinel([silent_address, ("127.0.0.1", slow.port)])
        with closing(sentinel.master_for(redis_sentinel.name)) as client:
            scheduler = RedisScheduler(client, namespace=namespace, budget=timedelta(seconds=2))
            assert scheduler.schedule("a", _future()) is True
            assert scheduler.cancel("a", "operation") is True
        for one in sentinel.sentinels:
            one.close()


def test_a_sentinel_that_hangs_is_passed_over_by_the_next_operation_of_asyncio(
    redis_sentinel: RedisSentinel, namespace: str, silent_address: tuple[str, int]
) -> None:
    """The first one says nothing and uses up one budget; then the second is asked."""

    async def run() -> bool:
        addresses = [silent_address, *redis_sentinel.addresses]
        sentinel = redis.asyncio.sentinel.Sentinel(addresses)
        client = sentinel.master_for(redis_sentinel.name)
        scheduler = AsyncRedisScheduler(client, namespace=namespace, budget=timedelta(seconds=1))
        with pytest.raises(SchedulerUnavailable):
            await scheduler.schedule("a", _future())
        await scheduler.schedule("a", _future())
        answer = await scheduler.cancel("a", "operation")
        await client.aclose()
        for one in sentinel.sentinels:
            await one.aclose()
        return answer

    assert asyncio.run(run()) is True


# Cluster -----------------------------------------------------------------------------------------


@pytest.fixture
def move(redis_cluster: RedisCluster, namespace: str) -> Iterator[MovingSlot]:
    """Yield the slot of the namespace to be moved; it is moved back and emptied afterwards."""
    move = MovingSlot(redis_cluster, namespace)
    home = move.source
    yield move
    if move.source is not home:
        move.all_of_it()
    for name in ("due", "job", "run", "old"):
        home.command("DEL", f"{{{namespace}:0}}:{name}")


class _Clustered:
    """A scheduler on a cluster, of either kind, called as if it were blocking."""

    def __init__(self, kind: str, cluster: RedisCluster, runner: asyncio.Runner) -> None:
        self._kind = kind
        self._url = cluster.url
        self._runner = runner
        self._clients: list[Any] = []

    def make(self, namespace: str, budget: timedelta = PATIENT, shards: int = 1) -> _Clustered:
        """Make the scheduler."""
        options: Any = {"namespace": namespace, "budget": budget, "shards": shards}
        if self._kind == "blocking":
            client: Any = redis.RedisCluster.from_url(self._url)
            self.scheduler: Any = RedisScheduler(client, **options)
        else:

            async def connect() -> Any:
                return await redis.asyncio.RedisCluster.from_url(self._url)

            client = self._runner.run(connect())
            self.scheduler = AsyncRedisScheduler(client, **options)
        self._clients.append(client)
        return self

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the scheduler."""
        answer: bool | Coroutine[Any, Any, Any] = getattr(self.scheduler, method)(*arguments)
        return self._runner.run(answer) if asyncio.iscoroutine(answer) else answer

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients:
            if self._kind == "blocking":
                client.close()
            else:
                self._runner.run(client.aclose())


@pytest.fixture(params=["blocking", "asyncio"])
def clustered(request: pytest.FixtureRequest, redis_cluster: RedisCluster) -> Iterator[_Clustered]:
    """Yield schedulers of one kind on the cluster."""
    with (
        asyncio.Runner() as runner,
        closing(_Clustered(request.param, redis_cluster, runner)) as made,
    ):
        yield made
    gc.collect()


def test_a_slot_half_moved_is_found_on_either_side(
    clustered: _Clustered, namespace: str, move: MovingSlot
) -> None:
    """With all its keys carried over but not yet announced, and once it is announced."""
    scheduler = clustered.make(namespace)
    for name in ("a", "b", "c"):
        scheduler.call("schedule", name, _future())
    scheduler.call("schedule", "held", _past())
    scheduler.call("claim", 1, HOUR)
    scheduler.call("cancel", "barred", "operation")  # Now all four keys are there.
    move.begin()
    assert scheduler.call("cancel", "a", "operation") is True
    move.carry()
    assert scheduler.call("cancel", "b", "operation") is True
    assert scheduler.call("cancel", "a", "operation") is True
    move.end()
    assert scheduler.call("cancel", "c", "operation") is True
    assert scheduler.call("cancel", "b", "operation") is True
    assert scheduler.call("cancel", "b", "another") is False
    assert scheduler.call("waiting") == set()


def test_cancels_are_right_while_their_slot_moves(
    clustered: _Clustered, namespace: str, move: MovingSlot
) -> None:
    """To and fro twenty times under a stream of cancels: each is answered True once."""
    scheduler = clustered.make(namespace)
    moves: list[None] = []

    def keep_moving() -> None:
        for _ in range(20):
            move.all_of_it()
            moves.append(None)

    mover = threading.Thread(target=keep_moving)
    answers: list[bool] = []
    mover.start()
    try:
        while mover.is_alive():
            name = f"{len(answers)}"
            assert scheduler.call("schedule", name, _future()) is True
            answers.append(scheduler.call("cancel", name, "operation"))
    finally:
        mover.join()
    assert len(moves) == 20
    assert answers == [True] * len(answers)
    assert len(answers) > 3
    assert [scheduler.call("cancel", f"{number}", "another") for number in range(3)] == [False] * 3


def test_a_node_that_hangs_is_no_answer_and_holds_up_no_other(
    clustered: _Clustered, redis_cluster: RedisCluster, namespace: str
) -> None:
    """Its shards are unavailable until it goes on; the others' are not."""
    scheduler = clustered.make(namespace, timedelta(milliseconds=200), shards=12)
    ids = [f"job-{number}" for number in range(60)]
    for each in ids:
        scheduler.call("schedule", each, _future())
    answers: dict[str, bool | None] = {}
    redis_cluster.masters[2].pause()
    try:
        for each in ids[:12]:
            try:
                answers[each] = scheduler.call("cancel", each, "operation")
            except SchedulerUnavailable:
                answers[each] = None
    finally:
        redis_cluster.masters[2].resume()
    assert set(answers.values()) == {True, None}
    patient = clustered.make(namespace, shards=12)
    assert [patient.call("cancel", each, "operation") for each in ids] == [True] * 60


def test_a_node_that_hangs_after_it_gave_its_slot_away_is_passed_over(
    clustered: _Clustered, namespace: str, move: MovingSlot
) -> None:
    """It costs one answer; then another node is asked, which knows where the slot is now."""
    scheduler = clustered.make(namespace, timedelta(milliseconds=300))
    assert scheduler.call("schedule", "a", _future()) is True
    move.all_of_it()
    gone = move.target
    gone.pause()
    try:
        with pytest.raises(SchedulerUnavailable):
            scheduler.call("cancel", "a", "operation")
        assert scheduler.call("cancel", "a", "operation") is True
        assert scheduler.call("cancel", "a", "operation") is True
    finally:
        gone.resume()


def test_gates_are_found_on_any_node_of_a_cluster(
    redis_cluster: RedisCluster, namespace: str
) -> None:
    """A key for each start, over all the nodes; both halves see the same gate."""
    ids = [f"start-{number}" for number in range(30)]

    async def pass_all() -> list[bool]:
        client = redis.asyncio.RedisCluster.from_url(redis_cluster.url)
        twin = AsyncStartGate(client, namespace=namespace, budget=PATIENT)
        assert await twin.waiting_among({*ids, "unknown"}) == set(ids[20:])
        passed = [await twin.may_start(it) for it in ids]
        await client.aclose()
        return passed

    with closing(redis.RedisCluster.from_url(redis_cluster.url)) as client:
        gate = StartGate(client, namespace=namespace, budget=PATIENT)
        assert all(gate.arm(it, _future()) for it in ids)
        assert [gate.cancel(it, "operation") for it in ids[:20]] == [True] * 20
        assert gate.waiting_among({*ids, "unknown"}) == set(ids[20:])
        assert asyncio.run(pass_all()) == [False] * 20 + [True] * 10
        assert [gate.cancel(it, "operation") for it in ids] == [True] * 20 + [False] * 10
        keys = [f"{namespace}:gate:{it}" for it in ids]
        assert len({client.keyslot(key) * 3 // 16384 for key in keys}) == 3
        for key in keys:
            client.delete(key)
    gc.collect()
