"""Redis down, silent, forgetful or wrong: the answer is right, or it is `SchedulerUnavailable`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.backoff import ConstantBackoff

from batch_cancel.adapters.arq import ArqScheduler
from batch_cancel.adapters.huey import HueyScheduler
from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    AsyncStartGate,
    RedisScheduler,
    StartGate,
)
from batch_cancel.adapters.rq import RqScheduler
from batch_cancel.ports import SchedulerUnavailable
from tests.fault_proxy import TO_CLIENT, TO_SERVER, FaultProxy
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

HOUR = timedelta(hours=1)
PATIENT = timedelta(seconds=30)
"""A budget for what must be answered in the end, on a busy machine too."""
SHORT = timedelta(milliseconds=100)
"""A budget for what must not be answered."""

KINDS = ("blocking", "asyncio")


class _Schedulers:
    """Makes schedulers of one kind, and calls them as if they were blocking."""

    def __init__(self, kind: str, server: RedisServer) -> None:
        self.server = server
        self.namespace = f"test-{uuid4().hex[:8]}"
        self.retry: Any = redis.retry.Retry if kind == "blocking" else redis.asyncio.retry.Retry
        self._kind = kind
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    def make(
        self, port: int | None = None, budget: timedelta = PATIENT, **settings: Any
    ) -> _Facade:
        """Make a scheduler; `settings` are those of the client."""
        address: Any = {"port": port or self.server.port, "host": "127.0.0.1"} | settings
        if self._kind == "blocking":
            client: Any = redis.Redis(**address)
            self._clients.append(client)
            return _Facade(
                RedisScheduler(client, namespace=self.namespace, budget=budget), self._runner
            )

        async def make() -> Any:
            return redis.asyncio.Redis(**address)

        client = self._runner.run(make())
        self._clients.append(client)
        return _Facade(
            AsyncRedisScheduler(client, namespace=self.namespace, budget=budget), self._runner
        )

    def key(self, name: str) -> str:
        """Give one of the four keys."""
        return f"{{{self.namespace}:0}}:{name}"

    def close(self) -> None:
        """Close the clients and remove the keys."""
        for client in self._clients:
            if self._kind == "blocking":
                client.close()
            else:
                self._runner.run(client.aclose())
        self._runner.close()
        self.server.heal()
        for name in ("due", "job", "run", "old"):
            self.server.client.delete(self.key(name))


class _Facade:
    """A scheduler of either kind, blocking."""

    def __init__(self, scheduler: Any, runner: asyncio.Runner) -> None:
        self._scheduler = scheduler
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._scheduler, name)

        def call(*arguments: Any) -> Any:
            answer = method(*arguments)
            return self._runner.run(answer) if inspect.iscoroutine(answer) else answer

        return call


@pytest.fixture(params=KINDS)
def schedulers(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[_Schedulers]:
    """Lend schedulers of one kind on the shared server."""
    with contextlib.closing(_Schedulers(request.param, redis_server)) as made:
        yield made


@pytest.fixture(params=KINDS)
def fragile(request: pytest.FixtureRequest, redis_to_break: RedisServer) -> Iterator[_Schedulers]:
    """Lend schedulers of one kind on a server that the test may hurt."""
    with contextlib.closing(_Schedulers(request.param, redis_to_break)) as made:
        yield made


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Lend a bad line to the shared server."""
    with FaultProxy(redis_server.port) as made:
        yield made


def _past() -> datetime:
    return datetime.now(UTC) - HOUR


def _future() -> datetime:
    return datetime.now(UTC) + HOUR


# A lost answer -----------------------------------------------------------------------------------


def test_a_cancel_whose_answer_is_lost_is_answered_right(
    schedulers: _Schedulers, proxy: FaultProxy
) -> None:
    """It took the start back, so it is told True, however often the line dies on the way back."""
    scheduler = schedulers.make(proxy.port)
    ids = [f"job-{number}" for number in range(50)]
    for each in ids:
        scheduler.schedule(each, _future())
    answers = []
    for each in ids:
        proxy.cut_after(0, TO_CLIENT)
        answers.append(scheduler.cancel(each, f"cancel {each}"))
    assert proxy.cuts == 50
    assert answers == [True] * 50
    assert [scheduler.cancel(each, "another") for each in ids] == [False] * 50


def test_a_cancel_whose_request_is_cut_short_is_sent_again(
    schedulers: _Schedulers, proxy: FaultProxy
) -> None:
    """A request that arrives in part does nothing; the next one does it."""
    scheduler = schedulers.make(proxy.port)
    scheduler.schedule("a", _future())
    proxy.cut_after(9, TO_SERVER)
    assert scheduler.cancel("a", "operation") is True
    assert proxy.cuts == 1


def test_a_claim_whose_answer_is_lost_is_given_the_same_starts(
    schedulers: _Schedulers, proxy: FaultProxy
) -> None:
    """Nothing is left behind for a whole lease because an answer was lost."""
    scheduler = schedulers.make(proxy.port)
    for name in ("a", "b", "c"):
        scheduler.schedule(name, _past(), name.encode())
    proxy.cut_after(0, TO_CLIENT)
    claimed = scheduler.claim(2, HOUR)
    assert proxy.cuts == 1
    assert sorted((start.deferred_id, start.payload) for start in claimed) == [
        ("a", b"a"),
        ("b", b"b"),
    ]
    assert [start.deferred_id for start in scheduler.claim(9, HOUR)] == ["c"]


def test_an_acknowledgement_whose_answer_is_lost_is_answered_right(
    schedulers: _Schedulers, proxy: FaultProxy
) -> None:
    """The owner is told True; asked anew, there is nothing left to finish."""
    scheduler = schedulers.make(proxy.port)
    scheduler.schedule("a", _past())
    [start] = scheduler.claim(1, HOUR)
    proxy.cut_after(0, TO_CLIENT)
    assert scheduler.ack("a", start.token) is True
    assert proxy.cuts == 1
    assert scheduler.ack("a", start.token) is False


def test_a_schedule_whose_answer_is_lost_is_answered_right(
    schedulers: _Schedulers, proxy: FaultProxy
) -> None:
    """Scheduling twice is scheduling once."""
    scheduler = schedulers.make(proxy.port)
    scheduler.schedule("warm", _future())
    proxy.cut_after(0, TO_CLIENT)
    assert scheduler.schedule("a", _future()) is True
    assert proxy.cuts == 1
    assert scheduler.waiting() == {"a", "warm"}


# No answer ---------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_no_answer(fragile: _Schedulers) -> None:
    """Unavailable while it is down, warm connections or none; right again when it is back."""
    warm, cold = fragile.make(budget=SHORT), fragile.make(budget=SHORT)
    patient = fragile.make()
    patient.schedule("a", _future())
    warm.cancel("other", "operation")
    fragile.server.kill()
    for scheduler in (warm, cold, warm):
        with pytest.raises(SchedulerUnavailable):
            scheduler.cancel("a", "operation")
    fragile.server.start()
    assert patient.cancel("a", "operation") is True


def test_a_server_that_hangs_is_no_answer(fragile: _Schedulers) -> None:
    """Unavailable while it hangs; afterwards the same operation is told what became of it."""
    warm, cold = fragile.make(budget=SHORT), fragile.make(budget=SHORT)
    patient = fragile.make()
    patient.schedule("a", _future())
    fragile.server.pause()
    for scheduler in (warm, cold, warm):
        with pytest.raises(SchedulerUnavailable):
            scheduler.cancel("a", "operation")
    fragile.server.resume()
    assert patient.cancel("a", "operation") is True


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_line_that_swallows_everything_is_no_answer(
    schedulers: _Schedulers, proxy: FaultProxy, direction: Any
) -> None:
    """Neither lost requests nor lost answers are waited for beyond the budget."""
    scheduler = schedulers.make(proxy.port, SHORT)
    patient = schedulers.make()
    patient.schedule("a", _future())
    patient.schedule("b", _past())
    proxy.stall(direction)
    with pytest.raises(SchedulerUnavailable):
        scheduler.cancel("a", "operation")
    with pytest.raises(SchedulerUnavailable):
        scheduler.schedule("c", _future())
    with pytest.raises(SchedulerUnavailable):
        scheduler.claim(1, HOUR)
    with pytest.raises(SchedulerUnavailable):
        scheduler.ack("a", "token")
    with pytest.raises(SchedulerUnavailable):
        scheduler.waiting()
    assert patient.cancel("a", "operation") is True


def test_a_client_s_own_retries_and_timeouts_do_not_count(
    schedulers: _Schedulers, proxy: FaultProxy
) -> None:
    """A client that waits and retries for minutes is answered within the budget all the same."""
    scheduler = schedulers.make(
        proxy.port, SHORT, retry=schedulers.retry(ConstantBackoff(20), 2), socket_timeout=40
    )
    began = time.monotonic()
    proxy.refuse()
    with pytest.raises(SchedulerUnavailable):
        scheduler.cancel("a", "operation")
    proxy.heal()
    proxy.stall()
    with pytest.raises(SchedulerUnavailable):
        scheduler.cancel("a", "operation")
    assert time.monotonic() - began < 30  # Its own way it would have taken 40 s at least.


def test_a_late_answer_is_never_taken_for_the_next_one(
    schedulers: _Schedulers, proxy: FaultProxy
) -> None:
    """What comes after the budget belongs to a question that nobody asks any more."""
    hasty, patient = schedulers.make(proxy.port, SHORT), schedulers.make()
    for number in range(20):
        patient.schedule(f"taken-{number}", _future())
    hasty.cancel("warm", "operation")
    for number in range(20):
        proxy.stall(TO_CLIENT)
        with pytest.raises(SchedulerUnavailable):
            hasty.cancel(f"taken-{number}", "operation")
        proxy.heal()
        with contextlib.suppress(SchedulerUnavailable):  # On a busy machine 100 ms may pass.
            assert hasty.cancel(f"unknown-{number}", "operation") is False


def test_the_reason_names_the_error_and_nothing_else(schedulers: _Schedulers) -> None:
    """No host, port, user or password gets into a message or a log."""
    secret: Any = {"username": "secret-user", "password": "secret-password"}
    wrong = schedulers.make(budget=SHORT, **secret)
    with pytest.raises(SchedulerUnavailable) as refused:
        wrong.cancel("a", "operation")
    nobody = schedulers.make(1, SHORT, **secret)
    with pytest.raises(SchedulerUnavailable) as late:
        nobody.cancel("a", "operation")
    # An asyncio client tries a wrong password again until the budget ends.
    assert str(refused.value) in {
        "Redis refused (AuthenticationError)",
        "Redis gave no answer within 100 ms (TimeoutError)",
    }
    assert str(late.value) in {
        "Redis gave no answer within 100 ms (ConnectionError)",
        "Redis gave no answer within 100 ms (TimeoutError)",
    }


# A wrong answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["due", "job", "run", "old"])
def test_a_key_of_a_wrong_type_is_no_answer(schedulers: _Schedulers, name: str) -> None:
    """Unavailable, with Redis's own code; and right again when the key is."""
    scheduler = schedulers.make()
    scheduler.schedule("a", _future())
    client = schedulers.server.client
    key = schedulers.key(name)
    there = bool(client.exists(key))
    if there:
        client.rename(key, f"{key}:away")
    client.set(key, "not what it was")
    with pytest.raises(SchedulerUnavailable, match="WRONGTYPE"):
        # A cancel of what was not handed out has nothing to do with leases.
        _ = scheduler.claim(1, HOUR) if name == "run" else scheduler.cancel("a", "operation")
    client.delete(key)
    if there:
        client.rename(f"{key}:away", key)
    assert scheduler.cancel("a", "operation") is True
    assert scheduler.cancel("a", "operation") is True
    assert scheduler.claim(1, HOUR) == []


def test_a_server_out_of_memory_changes_nothing(fragile: _Schedulers) -> None:
    """Refused as a whole: the start still waits, and can be taken back later."""
    scheduler = fragile.make()
    scheduler.schedule("a", _past(), b"payload")
    fragile.server.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(SchedulerUnavailable, match="OutOfMemoryError"):
            scheduler.cancel("a", "operation")
        with pytest.raises(SchedulerUnavailable, match="OutOfMemoryError"):
            scheduler.schedule("b", _future())
    finally:
        fragile.server.client.config_set("maxmemory", "0")
    assert scheduler.waiting() == {"a"}
    assert scheduler.cancel("a", "operation") is True
    assert scheduler.waiting() == set()


def test_a_server_out_of_memory_hands_out_what_waits(fragile: _Schedulers) -> None:
    """What was claimed and lapsed, too: whoever finishes it makes room."""
    scheduler = fragile.make()
    for each in ("a", "b", "c"):
        scheduler.schedule(each, _past(), each.encode())
    assert len(scheduler.claim(2, timedelta(0))) == 2
    fragile.server.client.config_set("maxmemory", "1")
    try:
        claimed = scheduler.claim(9, HOUR)
    finally:
        fragile.server.client.config_set("maxmemory", "0")
    found = sorted((start.deferred_id, start.payload) for start in claimed)
    assert found == [("a", b"a"), ("b", b"b"), ("c", b"c")]
    assert [scheduler.ack(start.deferred_id, start.token) for start in claimed] == [True] * 3


def test_a_server_that_may_not_write_is_asked_until_it_may(fragile: _Schedulers) -> None:
    """A demoted master is no answer within a short budget, and no obstacle to a long one."""
    hasty, patient = fragile.make(budget=SHORT), fragile.make()
    patient.schedule("a", _future())
    client: Any = fragile.server.client
    client.replicaof("127.0.0.1", 1)
    with pytest.raises(SchedulerUnavailable):
        hasty.cancel("a", "operation")
    refused = client.info("errorstats")["errorstat_READONLY"]

    def promote() -> None:
        wait_until(
            lambda: client.info("errorstats")["errorstat_READONLY"] != refused,
            "another cancel was refused",
        )
        client.replicaof("NO", "ONE")

    promotion = threading.Thread(target=promote)
    promotion.start()
    try:
        assert patient.cancel("a", "operation") is True
    finally:
        promotion.join()
        client.replicaof("NO", "ONE")


def test_a_server_that_forgot_the_scripts_learns_them_again(schedulers: _Schedulers) -> None:
    """SCRIPT FLUSH, or a restart, costs a round trip and nothing else."""
    scheduler = schedulers.make()
    client = schedulers.server.client
    client.script_flush()
    assert scheduler.schedule("a", _past())
    client.script_flush()
    [start] = scheduler.claim(1, HOUR)
    client.script_flush()
    assert scheduler.ack("a", start.token) is True
    scheduler.schedule("b", _future())
    client.script_flush()
    assert scheduler.waiting() == {"b"}
    client.script_flush()
    assert scheduler.cancel("b", "operation") is True


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode_responses", [False, True])
def test_the_client_s_dialect_makes_no_difference(
    schedulers: _Schedulers, protocol: int, *, decode_responses: bool
) -> None:
    """RESP2 or RESP3, decoding or not: payloads are bytes, ids are text."""
    scheduler = schedulers.make(
        protocol=protocol, decode_responses=decode_responses, health_check_interval=1
    )
    scheduler.schedule("ключ", _past(), b"\xff\x00")
    assert scheduler.waiting() == {"ключ"}
    [start] = scheduler.claim(1, HOUR)
    assert (start.deferred_id, start.payload) == ("ключ", b"\xff\x00")
    assert scheduler.ack("ключ", start.token) is True


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp037"])
def test_the_client_s_encoding_makes_no_difference(schedulers: _Schedulers, encoding: str) -> None:
    """What the scripts are sent is bytes; cp037 is an encoding of mainframes, without ASCII."""
    scheduler = schedulers.make(encoding=encoding, protocol=2)
    client = schedulers.server.client
    client.script_flush()
    assert scheduler.schedule("ключ", _past(), b"payload") is True
    [start] = scheduler.claim(1, HOUR)
    assert (start.deferred_id, start.payload) == ("ключ", b"payload")
    assert scheduler.cancel("ключ", "operation") is False
    assert scheduler.check() == []


# Tombstones --------------------------------------------------------------------------------------


def test_tombstones_are_forgotten_in_time_eight_a_call(
    schedulers: _Schedulers,
) -> None:
    """A call clears away at most eight that have outlived their time; younger ones stay."""
    scheduler = schedulers.make()
    for number in range(20):
        scheduler.cancel(f"old-{number}", "operation")
    client = schedulers.server.client
    for number in range(19):
        client.zadd(schedulers.key("old"), {f"old-{number}": 1})
    left = []
    for _ in range(4):
        scheduler.cancel("old-19", "operation")
        left.append((client.zcard(schedulers.key("old")), client.hlen(schedulers.key("job"))))
    assert left == [(12, 12), (4, 4), (1, 1), (1, 1)]


def test_a_tombstone_lasts_as_long_as_it_was_told_to(schedulers: _Schedulers) -> None:
    """Thirty days, unless told otherwise; for cancelled, barred and finished alike."""
    scheduler = schedulers.make()
    scheduler.schedule("cancelled", _future())
    scheduler.cancel("cancelled", "operation")
    scheduler.cancel("barred", "operation")
    scheduler.schedule("late", _past())
    scheduler.claim(1, HOUR)
    scheduler.cancel("late", "operation")
    scheduler.schedule("finished", _past())
    [start] = scheduler.claim(1, HOUR)
    scheduler.ack("finished", start.token)
    client: Any = schedulers.server.client
    forget = dict(client.zrange(schedulers.key("old"), 0, -1, withscores=True))
    forget = {it: at for it, at in forget.items() if not it.startswith("\0")}  # A claim's own.
    assert sorted(forget) == ["barred", "cancelled", "finished", "late"]
    in_30_days = (datetime.now(UTC) + timedelta(days=30)).timestamp() * 1000
    assert all(in_30_days - 600_000 < at <= in_30_days + 1000 for at in forget.values())


# Mistakes ----------------------------------------------------------------------------------------


def test_a_client_of_the_other_kind_is_refused() -> None:
    """At once, not at the first cancel."""
    with pytest.raises(TypeError, match="blocking client"):
        RedisScheduler(redis.asyncio.Redis())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="asyncio client"):
        AsyncRedisScheduler(redis.Redis())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"shards": 0},
        {"namespace": "a{b"},
        {"namespace": "a}b"},
        {"budget": timedelta(0)},
        {"budget": timedelta.min},
        {"budget": timedelta.max},
        {"budget": timedelta(days=2)},
        {"retention": timedelta(0)},
        {"retention": timedelta.min},
        {"retention": timedelta.max},
        {"retention": timedelta(days=365 * 11_000)},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    """At once, not at the first cancel."""
    with pytest.raises(ValueError, match="must"):
        RedisScheduler(redis.Redis(), **options)
    with pytest.raises(ValueError, match="must"):
        AsyncRedisScheduler(redis.asyncio.Redis(), **options)
    if {*options} & {"budget", "retention"}:
        for maker in (StartGate, ArqScheduler, RqScheduler, HueyScheduler):
            with pytest.raises(ValueError, match="must"):
                maker(redis.Redis(), **options)


def test_a_retention_may_be_as_long_as_the_calendar(redis_server: RedisServer) -> None:
    """Ten thousand years, in every script that counts with it."""
    namespace, ages = f"test-{uuid4().hex[:8]}", timedelta(days=365 * 10_000)
    client = redis_server.client
    scheduler = RedisScheduler(client, namespace=namespace, budget=PATIENT, retention=ages)
    gate = StartGate(client, namespace=namespace, budget=PATIENT, retention=ages)
    for each in ("a", "b"):
        assert scheduler.schedule(each, _past()) is True
        assert gate.arm(each, _future()) is True
    assert scheduler.cancel("a", "operation") is True
    [start] = scheduler.claim(9, HOUR)
    assert scheduler.ack(start.deferred_id, start.token) is True
    assert gate.cancel("a", "operation") is True
    assert gate.may_start("b") is True
    for key in client.scan_iter(f"*{namespace}*", count=1000):
        client.delete(key)


# asyncio alone -----------------------------------------------------------------------------------


def test_calling_a_task_off_goes_through_and_leaves_the_client_sound(
    redis_server: RedisServer, proxy: FaultProxy
) -> None:
    """CancelledError, unchanged; the connection it was on is not used again."""
    namespace = f"test-{uuid4().hex[:8]}"
    job = f"{{{namespace}:0}}:job"

    async def run() -> list[bool]:
        answers = []
        async with redis.asyncio.Redis(port=proxy.port, max_connections=2) as client:
            scheduler = AsyncRedisScheduler(client, namespace=namespace, budget=PATIENT)
            await scheduler.cancel("warm", "operation")
            for number in range(10):
                await scheduler.schedule(f"a-{number}", _future())
                await scheduler.schedule(f"b-{number}", _future())
                proxy.stall(TO_CLIENT)
                task = asyncio.create_task(scheduler.cancel(f"a-{number}", "operation"))
                # Until its request has arrived; the server knows of no event.
                while redis_server.client.hget(job, f"a-{number}") == "D":  # noqa: ASYNC110
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                proxy.heal()
                answers += [
                    await scheduler.cancel("unknown", "operation"),
                    await scheduler.cancel(f"b-{number}", "operation"),
                ]
        return answers

    try:
        assert asyncio.run(run()) == [False, True] * 10
    finally:
        redis_server.client.delete(job, f"{{{namespace}:0}}:old")


# The loop of these connections is gone: nobody can close them any more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_client_of_another_event_loop_is_no_answer(redis_server: RedisServer) -> None:
    """A sentence that says so, from every operation; a client made in the loop serves it."""
    namespace = f"test-{uuid4().hex[:8]}"
    client = redis.asyncio.Redis(port=redis_server.port)
    scheduler = AsyncRedisScheduler(client, namespace=namespace, budget=PATIENT)
    gate = AsyncStartGate(client, namespace=namespace, budget=PATIENT)
    assert asyncio.run(scheduler.schedule("a", _future())) is True
    with pytest.raises(SchedulerUnavailable, match="another event loop"):
        asyncio.run(scheduler.cancel("a", "operation"))

    async def cancel_all() -> bool:
        async with redis.asyncio.Redis(port=redis_server.port) as another:
            await AsyncStartGate(another, namespace=namespace).arm("a", _future())
            fresh = AsyncRedisScheduler(another, namespace=namespace, budget=PATIENT)
            return await fresh.cancel("a", "operation")

    assert asyncio.run(cancel_all()) is True
    assert asyncio.run(gate.arm("b", _future())) is True
    with pytest.raises(SchedulerUnavailable, match="another event loop"):
        asyncio.run(gate.may_start("b"))
    for key in redis_server.client.scan_iter(f"*{namespace}*", count=1000):
        redis_server.client.delete(key)
    del scheduler, gate, client
    gc.collect()
