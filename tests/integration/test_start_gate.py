"""The start gate on a real server: what it lets pass, and for how long it remembers."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.inspect import inspect
from tests.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PATIENT = timedelta(seconds=30)
"""A budget that a busy machine keeps."""
SHORT = timedelta(milliseconds=100)
"""A budget for what must not be answered."""


class Gates:
    """Makes gates of one kind, and calls them as if they were blocking."""

    def __init__(self, kind: str, server: RedisServer) -> None:
        self.server = server
        self.namespace = f"test-{uuid4().hex[:8]}"
        self._kind = kind
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    def make(self, port: int | None = None, **settings: Any) -> Gate:
        """Make a gate."""
        address: Any = {"port": port or self.server.port, "host": "127.0.0.1"}
        settings.setdefault("budget", PATIENT)
        if self._kind == "blocking":
            client: Any = redis.Redis(**address)
            gate: Any = StartGate(client, namespace=self.namespace, **settings)
        else:
            client = redis.asyncio.Redis(**address)
            gate = AsyncStartGate(client, namespace=self.namespace, **settings)
        self._clients.append(client)
        return Gate(gate, self._runner)

    def left(self, deferred_id: str) -> timedelta:
        """Return for how long the gate remembers a start."""
        milliseconds: Any = self.server.client.pttl(f"{self.namespace}:gate:{deferred_id}")
        return timedelta(milliseconds=milliseconds)

    def close(self) -> None:
        """Close the clients, and delete the keys."""
        for client in self._clients:
            if self._kind == "blocking":
                client.close()
            else:
                self._runner.run(client.aclose())
        self._runner.close()
        for key in self.server.client.scan_iter(f"{self.namespace}:*"):
            self.server.client.delete(key)


class Gate:
    """A gate that is called as if it were blocking."""

    def __init__(self, gate: Any, runner: asyncio.Runner) -> None:
        self._gate = gate
        self._runner = runner

    def arm(self, deferred_id: str, after: timedelta = HOUR) -> bool:
        """Arm a start that is due after so long."""
        return self._answer(self._gate.arm(deferred_id, datetime.now(UTC) + after))

    def cancel(self, deferred_id: str, operation_id: str = "cancel") -> bool:
        """Close it."""
        return self._answer(self._gate.cancel(deferred_id, operation_id))

    def may_start(self, deferred_id: str) -> bool:
        """Pass it."""
        return self._answer(self._gate.may_start(deferred_id))

    def waiting_among(self, deferred_ids: set[str]) -> set[str]:
        """Name those that wait."""
        found: set[str] = self._result(self._gate.waiting_among(deferred_ids))
        return found

    def check(self) -> list[str]:
        """Name what is missing."""
        found: list[str] = self._result(self._gate.check())
        return found

    def _answer(self, given: Any) -> bool:
        answer = self._result(given)
        assert isinstance(answer, bool)
        return answer

    def _result(self, given: Any) -> Any:
        return self._runner.run(given) if asyncio.iscoroutine(given) else given


@pytest.fixture(params=["blocking", "asyncio"])
def gates(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Gates]:
    """Yield a maker of gates."""
    made = Gates(request.param, redis_server)
    yield made
    made.close()


def test_an_armed_start_that_is_cancelled_never_starts(gates: Gates) -> None:
    """The cancel is told True, each time it asks; any other operation False."""
    gate = gates.make()
    assert gate.arm("job")
    assert gate.cancel("job", "first")
    assert not gate.may_start("job")
    assert gate.cancel("job", "first")
    assert not gate.cancel("job", "second")
    assert not gate.may_start("job")


def test_what_has_started_is_not_taken_back(gates: Gates) -> None:
    """A retry of it may start too: the first decision stands."""
    gate = gates.make()
    gate.arm("job")
    assert gate.may_start("job")
    assert not gate.cancel("job")
    assert not gate.cancel("job")
    assert gate.may_start("job")


def test_a_start_that_was_never_armed_does_not_start(gates: Gates) -> None:
    """An exception says so, on which start, and what to do; nothing is decided by it."""
    gate = gates.make()
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable) as refused:
            gate.may_start("job")
        assert str(refused.value) == (
            "the start gate does not know the start 'job': it was never armed, or Redis has lost "
            "its state and a possible cancel, so it is refused. If it still should start, arm it "
            "again and retry it; starts that are never armed pass a StartGate with "
            "armed_only=False"
        )
    assert gate.arm("job")
    assert gate.may_start("job")
    assert not gate.cancel("job")


def test_a_start_that_was_never_armed_may_start_where_not_all_are(gates: Gates) -> None:
    """Nothing closed the gate, and this one is told that starts need not be armed."""
    gate = gates.make(armed_only=False)
    assert gate.may_start("job")
    assert not gate.cancel("job")
    assert gates.make().may_start("job")


@pytest.mark.parametrize("taken_back", [True, False])
def test_a_gate_that_lost_its_state_lets_nothing_pass(
    gates: Gates, redis_server: RedisServer, *, taken_back: bool
) -> None:
    """FLUSHALL, or a key that expired: what was cancelled does not start, nor does the rest."""
    gate = gates.make()
    gate.arm("job")
    if taken_back:
        assert gate.cancel("job")
    redis_server.client.delete(f"{gates.namespace}:gate:job")
    with pytest.raises(SchedulerUnavailable, match="does not know the start 'job'"):
        gate.may_start("job")
    # A cancel afterwards bars it, so that nothing can arm it again.
    assert not gate.cancel("job")
    assert not gate.arm("job")
    assert not gate.may_start("job")


def test_what_too_few_servers_keep_is_no_answer(gates: Gates) -> None:
    """Neither to who arms, nor to who cancels, nor to who starts."""
    gate = gates.make(min_replicas=1, budget=timedelta(seconds=1))
    for ask in (gate.arm, gate.cancel, gate.may_start):
        with pytest.raises(SchedulerUnavailable, match="too few replicas"):
            ask("job")


def test_what_the_gate_is_asked_about_is_not_shown_in_full(gates: Gates) -> None:
    """An id may be long."""
    with pytest.raises(SchedulerUnavailable) as refused:
        gates.make().may_start("x" * 1_000)
    assert len(str(refused.value)) < 400


def test_armed_starts_that_are_not_decided_wait(gates: Gates) -> None:
    """Of those asked for alone; to look changes nothing."""
    gate = gates.make()
    for each in ("waits", "cancelled", "started", "not asked for"):
        gate.arm(each)
    gate.cancel("cancelled")
    gate.may_start("started")
    asked = {"waits", "cancelled", "started", "unknown", "", "\0", "\ud800", "ключ"}
    assert gate.waiting_among(asked) == {"waits"}
    assert gate.waiting_among(asked) == {"waits"}
    assert gate.waiting_among(set()) == set()
    assert not gate.cancel("unknown")


def test_many_starts_can_wait(gates: Gates) -> None:
    """More than one script is asked about, which is a thousand."""
    gate = gates.make()
    ids = {f"job-{number}" for number in range(1_100)}
    for each in ids:
        gate.arm(each)
    assert gate.waiting_among(ids | {"another"}) == ids


def test_inspect_sees_what_the_gate_has_lost(redis_server: RedisServer) -> None:
    """A scheduled job that nothing will start, and an armed start of a cancelled job."""
    namespace = f"test-{uuid4().hex[:8]}"
    with redis.Redis(port=redis_server.port) as client:
        gate = StartGate(client, namespace=namespace, budget=PATIENT)
        store = MemoryStore()
        for job in ("waits", "lost"):
            store.add_job(job, status="scheduled", deferred_id=f"start-of-{job}")
            gate.arm(f"start-of-{job}", datetime.now(UTC) + HOUR)
        assert not inspect(uow=store, scheduler=gate).is_found
        client.delete(f"{namespace}:gate:start-of-lost")
        found = inspect(uow=store, scheduler=gate)
        client.delete(f"{namespace}:gate:start-of-waits")
    assert [it.key.batch_job_id for it in found.starts_missing] == ["lost"]


def test_a_redis_that_is_fit_for_the_gate(gates: Gates, redis_server: RedisServer) -> None:
    """Nothing is written, and no key is made."""
    client: Any = redis_server.client
    gate = gates.make()
    writes = client.info("persistence")["rdb_changes_since_last_save"]
    assert gate.check() == []
    assert client.info("persistence")["rdb_changes_since_last_save"] == writes
    assert list(client.scan_iter(f"{gates.namespace}*")) == []


def test_cancelling_what_was_never_armed_bars_it(gates: Gates) -> None:
    """There was nothing to take back, so False; and nothing starts later."""
    gate = gates.make()
    assert not gate.cancel("job", "first")
    assert not gate.cancel("job", "first")
    assert not gate.arm("job")
    assert not gate.may_start("job")


@pytest.mark.parametrize("decided", ["cancel", "may_start"])
def test_an_id_is_used_once(gates: Gates, decided: str) -> None:
    """Arming what was decided is refused, and decides nothing anew."""
    gate = gates.make()
    gate.arm("job")
    first = getattr(gate, decided)("job")
    assert not gate.arm("job")
    assert getattr(gate, decided)("job") is first


def test_a_start_that_waits_may_be_moved(gates: Gates) -> None:
    """Armed again, it is remembered for as long as it now takes."""
    gate = gates.make(retention=DAY)
    assert gate.arm("job", HOUR)
    assert gate.arm("job", 10 * DAY)
    assert gates.left("job") > 10 * DAY
    assert gate.cancel("job")


@pytest.mark.parametrize("decided", ["cancel", "may_start"])
def test_a_decision_outlives_the_time_at_which_the_start_is_due(
    gates: Gates, decided: str
) -> None:
    """However far ahead it is; and `retention` from now if that is longer."""
    gate = gates.make(retention=DAY)
    for name, after, least in (("far", 100 * DAY, 101 * DAY), ("overdue", -100 * DAY, DAY)):
        gate.arm(name, after)
        assert getattr(gate, decided)(name)
        assert least - HOUR < gates.left(name) <= least


def test_a_cancel_that_is_repeated_is_remembered_as_long(gates: Gates) -> None:
    """No longer and no shorter than the first one said."""
    gate = gates.make(retention=DAY)
    gate.arm("job", 10 * DAY)
    for operation in ("first", "first", "second"):
        gate.cancel("job", operation)
        assert 11 * DAY - HOUR < gates.left("job") <= 11 * DAY


def test_without_an_answer_nothing_starts(gates: Gates) -> None:
    """The gate fails closed: no answer is an error, never a yes."""
    with FaultProxy(gates.server.port) as proxy:
        gate = gates.make(proxy.port, budget=SHORT)
        proxy.refuse()
        with pytest.raises(SchedulerUnavailable):
            gate.may_start("job")


@pytest.mark.parametrize("asked", ["arm", "cancel", "may_start"])
def test_a_lost_answer_is_given_again(gates: Gates, asked: str) -> None:
    """The script has run, its answer is cut off: the repetition says the same."""
    with FaultProxy(gates.server.port) as proxy:
        gate = gates.make(proxy.port)
        gate.arm("to load the script")
        getattr(gate, asked)("to load the script")
        gate.arm("job")
        proxy.cut_answer_to(b"EVALSHA")
        assert getattr(gate, asked)("job")
        assert proxy.cuts == 1


@pytest.mark.parametrize("hostile", ["", "a\0b", "\ud800", "x" * 1025])
def test_an_id_that_cannot_be_armed_is_not_there(gates: Gates, hostile: str) -> None:
    """Cancelling it finds nothing; arming it is refused."""
    gate = gates.make()
    assert not gate.cancel(hostile)
    with pytest.raises(ValueError, match="a deferred id must be"):
        gate.arm(hostile)


@pytest.mark.parametrize("retention", [timedelta(0), -DAY])
def test_remembering_nothing_is_refused(gates: Gates, retention: timedelta) -> None:
    """A decision that is forgotten at once decides nothing."""
    with pytest.raises(ValueError, match="retention must be positive"):
        gates.make(retention=retention)


def test_of_cancel_and_start_exactly_one_wins(redis_server: RedisServer) -> None:
    """1,000 starts, two threads that cancel and one that starts: each has one fate."""
    namespace = f"test-{uuid4().hex[:8]}"
    with redis.Redis(port=redis_server.port) as client:
        gate = StartGate(client, namespace=namespace, budget=PATIENT)
        ids = [f"job-{number}" for number in range(1_000)]
        for each in ids:
            assert gate.arm(each, datetime.now(UTC) + HOUR)
        taken_back: list[str] = []
        started: list[str] = []
        together = threading.Barrier(3)

        def cancel(operation: str) -> None:
            together.wait()
            taken_back.extend(each for each in ids if gate.cancel(each, operation))

        def start() -> None:
            together.wait()
            started.extend(each for each in reversed(ids) if gate.may_start(each))

        threads = [threading.Thread(target=cancel, args=[name]) for name in ("first", "second")]
        threads.append(threading.Thread(target=start))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken_back + started) == sorted(ids)
        assert taken_back
        assert started
        for key in client.scan_iter(f"{namespace}:*", count=1_000):
            client.delete(key)
