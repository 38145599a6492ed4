"""Claims on a real server: bounded answers, no shard and no start that starves another."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zlib import crc32

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.redis.scheduler import _CLAIM
from batch_cancel.adapters.redis.script_runner import Executor
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.pump import pump
from tests.fault_proxy import TO_CLIENT, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.servers import RedisServer

HOUR = timedelta(hours=1)
PATIENT = timedelta(seconds=30)
"""A budget for what must be answered in the end, on a busy machine too."""
STARTS_MAX = 1_000
BYTES_MAX = 1_000_000
"""What one answer may hold at most, unless it is a single start."""


class Claims:
    """Makes schedulers of one kind, in one namespace, and claims as if they were blocking."""

    def __init__(self, kind: str, server: RedisServer) -> None:
        self.server = server
        self.namespace = f"test-{uuid4().hex[:8]}"
        self._kind = kind
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    def make(self, port: int | None = None, **settings: Any) -> Any:
        """Make a scheduler."""
        settings = {"namespace": self.namespace, "budget": PATIENT} | settings
        address: Any = {"port": port or self.server.port, "host": "127.0.0.1"}
        kind: Any = redis.Redis if self._kind == "blocking" else redis.asyncio.Redis
        maker: Any = RedisScheduler if self._kind == "blocking" else AsyncRedisScheduler
        self._clients.append(kind(**address))
        return maker(self._clients[-1], **settings)

    def result(self, answer: Any) -> Any:
        """Wait for an answer if it has to be waited for."""
        return self._runner.run(answer) if inspect.iscoroutine(answer) else answer

    def claim(self, scheduler: Any, limit: int, lease: timedelta = HOUR) -> list[str]:
        """Claim, and give the ids in the order in which they are to be delivered."""
        return [start.deferred_id for start in self.result(scheduler.claim(limit, lease))]

    def before_each_run(self, scheduler: Any, action: Callable[[], None]) -> None:
        """Do something before each script that a scheduler runs."""
        executor = getattr(scheduler, "_starts", scheduler)._executor
        run = executor.run

        async def waiting(*arguments: Any) -> Any:
            action()
            return await run(*arguments)

        executor.run = waiting

    def lapse(self, shards: int) -> None:
        """End all leases, which are of an hour, in their order."""
        for shard in range(shards):
            leases: Any = self.server.client.zrange(self.key("run", shard), 0, -1, withscores=True)
            for deferred_id, ends_at in leases:
                if ends_at > time.time() * 1000:
                    past = {deferred_id: ends_at - 3_600_001}
                    self.server.client.zadd(self.key("run", shard), past)

    def wait(self, ids: Iterable[str], payload: bytes = b"", shard: int = 0) -> None:
        """Have starts wait that are due for a second, one after the other."""
        due = time.time() * 1000 - 1000
        pipe = self.server.client.pipeline(transaction=False)
        for number, each in enumerate(ids):
            pipe.zadd(self.key("due", shard), {each: due + number / 1000})
            pipe.hset(self.key("job", shard), each, b"D" + payload)
        pipe.execute()

    def key(self, name: str, shard: int = 0) -> str:
        """Name a key of the store."""
        return f"{{{self.namespace}:{shard}}}:{name}"

    def close(self) -> None:
        """Close the clients, and delete the keys."""
        for client in self._clients:
            self.result(client.close() if self._kind == "blocking" else client.aclose())
        self._runner.close()
        for key in self.server.client.scan_iter(f"{{{self.namespace}:*", count=1_000):
            self.server.client.delete(key)


@pytest.fixture(params=["blocking", "asyncio"])
def claims(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Claims]:
    """Yield schedulers of one kind."""
    with contextlib.closing(Claims(request.param, redis_server)) as made:
        yield made


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Yield how many starts, of how many bytes, each answer of the server has handed out."""
    seen: list[tuple[int, int]] = []
    run: Any = Executor.run

    async def noting(self: Any, script: object, *arguments: Any) -> Any:
        answer = await run(self, script, *arguments)
        if script is _CLAIM:
            parts = list(_flat(answer))
            seen.append((len(parts) // 2, sum(map(len, parts))))
        return answer

    monkeypatch.setattr(Executor, "run", noting)
    return seen


def _flat(answer: Any) -> Iterator[bytes]:
    if isinstance(answer, list):
        yield from itertools.chain.from_iterable(map(_flat, answer))
    elif isinstance(answer, bytes):
        yield answer


# Answers are bounded -----------------------------------------------------------------------------


def test_a_claim_of_many_starts_is_made_of_bounded_answers(
    claims: Claims, answers: list[tuple[int, int]]
) -> None:
    """All are handed out, the earliest first, and no answer holds more than a thousand."""
    ids = [f"start-{number:05}" for number in range(3_500)]
    claims.wait(ids)
    scheduler = claims.make()
    assert claims.claim(scheduler, 3_200) == ids[:3_200]
    assert claims.claim(scheduler, 20_000) == ids[3_200:]
    assert max(starts for starts, _ in answers) <= STARTS_MAX
    assert claims.claim(scheduler, 20_000) == []


def test_a_claim_of_large_payloads_is_made_of_bounded_answers(
    claims: Claims, answers: list[tuple[int, int]]
) -> None:
    """No answer holds more than a megabyte, unless a single start is larger than that."""
    ids = [f"start-{number:02}" for number in range(40)]
    claims.wait(ids[:20], b"x" * 90_000)
    claims.wait(ids[20:], b"x" * (BYTES_MAX + 1))
    assert claims.claim(claims.make(), 100) == ids
    assert [size for starts, size in answers if size > BYTES_MAX and starts > 1] == []


def test_what_the_budget_leaves_no_time_for_is_leased_to_nobody(claims: Claims) -> None:
    """A claim that asks again stops when its budget is used up, and leaves the rest."""
    ids = [f"start-{number:05}" for number in range(3_000)]
    claims.wait(ids)
    scheduler = claims.make(budget=timedelta(seconds=1))
    claims.before_each_run(scheduler, lambda: time.sleep(0.6))
    assert claims.claim(scheduler, 3_000) == ids[:2_000]
    assert claims.server.client.zcard(claims.key("run")) == 2_000
    assert claims.claim(claims.make(), 3_000) == ids[2_000:]


def test_what_was_handed_out_is_not_lost_with_the_answer_after_it(claims: Claims) -> None:
    """The second answer does not come: the starts of the first one are given."""
    ids = [f"start-{number:05}" for number in range(2_000)]
    claims.wait(ids)
    scheduler = claims.make()
    asked = itertools.count()

    def fail() -> None:
        if next(asked):
            reason = "gone"
            raise SchedulerUnavailable(reason)

    claims.before_each_run(scheduler, fail)
    assert claims.claim(scheduler, 2_000) == ids[:1_000]
    with pytest.raises(SchedulerUnavailable, match="gone"):
        claims.claim(scheduler, 2_000)


def test_a_start_is_in_one_claim_once_however_short_its_lease(claims: Claims) -> None:
    """A lease that ends while the claim still asks is not handed out by it again."""
    ids = [f"start-{number:05}" for number in range(2_500)]
    claims.wait(ids)
    claimed = claims.claim(claims.make(), 10_000, timedelta(0))
    assert len(claimed) == len(set(claimed))


def test_junk_in_the_lists_hides_no_start(claims: Claims) -> None:
    """Ids that stand in a list without a state, however many, are cleared away and passed over."""
    junk = {f"junk-{number}": 1 for number in range(2_500)}
    claims.server.client.zadd(claims.key("due"), junk)
    claims.server.client.zadd(claims.key("run"), junk)
    claims.wait(["good"])
    assert claims.claim(claims.make(), 10) == ["good"]
    assert claims.server.client.zcard(claims.key("due")) == 0
    assert claims.server.client.zrange(claims.key("run"), 0, -1) == ["good"]


def test_a_claim_whose_answer_is_lost_gives_all_of_them_in_the_same_order(claims: Claims) -> None:
    """Lost after it asked again: the repetition finds what was handed out by that answer alone."""
    ids = [f"start-{number:05}" for number in range(1_500)]
    claims.wait(reversed(ids))
    with FaultProxy(claims.server.port) as proxy:
        scheduler = claims.make(proxy.port)
        claims.result(scheduler.waiting_among({"to connect"}))
        proxy.cut_after(0, TO_CLIENT)
        assert claims.claim(scheduler, 5_000) == ids[::-1]
        assert proxy.cuts == 1


def test_the_cost_of_a_claim_does_not_grow_with_what_was_claimed(claims: Claims) -> None:
    """The server reads as many states for the last claim as for the first."""
    claims.wait(f"start-{number}" for number in range(3_050))
    scheduler = claims.make(budget=timedelta(minutes=10))

    def reads() -> int:
        client: Any = claims.server.client
        before = client.info("commandstats")["cmdstat_hget"]["calls"]
        assert len(claims.claim(scheduler, 10)) == 10
        return int(client.info("commandstats")["cmdstat_hget"]["calls"] - before)

    claims.result(scheduler.claim(10, HOUR))
    first = reads()
    claims.claim(scheduler, 3_000)
    assert reads() == first
    assert first <= 12


def test_what_remembers_a_claim_is_forgotten(claims: Claims) -> None:
    """It outlives twice the budget, and is no start for anybody."""
    scheduler = claims.make(budget=timedelta(milliseconds=50))
    patient = claims.make()
    claims.wait(["a"])
    for _ in range(20):  # On a busy machine an answer may take longer than that.
        with contextlib.suppress(SchedulerUnavailable):
            if claims.claim(scheduler, 1) == ["a"]:
                break
    assert claims.result(patient.waiting()) == set()
    time.sleep(0.11)
    claims.result(patient.cancel("b", "operation"))
    assert claims.server.client.hkeys(claims.key("job")) == ["a", "b"]
    assert claims.server.client.zrange(claims.key("old"), 0, -1) == ["b"]


# A store that the version before has written -----------------------------------------------------


def test_starts_that_the_version_before_has_written_are_handed_out(claims: Claims) -> None:
    """Those that wait, and those whose leases ended, tokens and payloads as they were."""
    token = "f" * 32
    claims.wait(["waits"], b"W")
    client = claims.server.client
    for each in ("lapsed-1", "lapsed-2", "held"):
        client.hset(claims.key("job"), each, f"R{token}P")
    now = int(time.time() * 1000)
    client.zadd(claims.key("run"), {"lapsed-1": 5, "lapsed-2": 5, "held": now + 3_600_000})
    scheduler = claims.make()
    assert claims.result(scheduler.ack("held", token)) is True
    found = claims.result(scheduler.claim(9, HOUR))
    assert [(it.deferred_id, it.payload) for it in found] == [
        ("lapsed-2", b"P"),
        ("waits", b"W"),
        ("lapsed-1", b"P"),  # Whoever had these two may have ended of the first.
    ]
    states = {it: client.hget(claims.key("job"), it) for it in ("lapsed-1", "waits")}
    assert [(state or "")[0] for state in states.values()] == ["R", "R"]
    assert [(state or "")[33:] for state in states.values()] == ["P", "W"]


# Poison ------------------------------------------------------------------------------------------


class _EndedError(BaseException):
    """The process is gone."""


def _live(scheduler: RedisScheduler, poison: set[str], delivered: list[str], limit: int) -> None:
    def deliver(start: Any) -> None:
        if start.deferred_id in poison:
            raise _EndedError
        delivered.append(start.deferred_id)

    with contextlib.suppress(_EndedError):
        pump(scheduler, deliver, limit=limit, lease=HOUR)


@pytest.mark.parametrize(("limit", "shards"), [(100, 1), (3, 1), (1, 1), (100, 4)])
def test_starts_that_end_their_pump_starve_no_other(
    redis_server: RedisServer, limit: int, shards: int
) -> None:
    """Two that always do, first of all: the others are delivered within a few lives."""
    with contextlib.closing(Claims("blocking", redis_server)) as claims:
        scheduler = claims.make(shards=shards)
        poison = {"a-poison", "b-poison"}
        good = [f"good-{number}" for number in range(5)]
        for each in (*sorted(poison), *good):
            scheduler.schedule(each, datetime.now(UTC) - HOUR)
        delivered: list[str] = []
        lives = 3 if limit == 100 and shards == 1 else 30
        for _ in range(lives):
            _live(scheduler, poison, delivered, limit)
            claims.lapse(shards)
        assert sorted(delivered) == good


def test_a_start_that_ends_its_pump_is_delivered_after_those_of_later_answers(
    redis_server: RedisServer,
) -> None:
    """Also where a claim is made of several answers, and of several shards."""
    with contextlib.closing(Claims("blocking", redis_server)) as claims:
        scheduler = claims.make(shards=2)
        ids = [f"start-{number:05}" for number in range(2_400)]
        for shard in (0, 1):
            mine = [each for each in ids if crc32(each.encode()) % 2 == shard]
            claims.wait([f"poison-{shard}", *mine], shard=shard)
        delivered: list[str] = []
        for _ in range(2):
            _live(scheduler, {"poison-0", "poison-1"}, delivered, 5_000)
            claims.lapse(2)
        assert len(delivered) >= len(ids) - 2  # All but the first ones of later answers.
        for _ in range(2):
            _live(scheduler, {"poison-0", "poison-1"}, delivered, 5_000)
            claims.lapse(2)
        assert sorted(delivered) == ids


# Shards ------------------------------------------------------------------------------------------


def test_pumps_that_live_for_one_round_starve_no_shard(claims: Claims) -> None:
    """The first shard always has enough; what is due in the last one comes in its turn."""
    due = itertools.count()
    claims.wait(["late"], shard=3)
    got: list[str] = []
    for _ in range(100):
        claims.wait([f"first-{next(due)}" for _ in range(3)])
        got += claims.claim(claims.make(shards=4), 2)
        if "late" in got:
            return
    pytest.fail("never handed out in 100 rounds")
