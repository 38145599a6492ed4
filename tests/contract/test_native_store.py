"""
Every native store leads deferred starts through the same life.

Written once, blocking; the asyncio stores are driven through one event loop. Nothing here waits
for time to pass: a start is due an hour ago or in an hour, a lease ends at once or in an hour.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.pump import pump, pump_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_cancel.domain.deferred_start import Claimed

STORES = (
    "memory",
    "memory-async",
    "sqlite",
    "redis",
    "redis-async",
    "redis-sharded",
    "cluster",
    "cluster-async",
)

HOUR = timedelta(hours=1)
AT_ONCE = timedelta(0)

HOSTILE_IDS = [
    "two\nlines",
    "100%s %d",
    "{braces}:{0}",
    "}{",
    "'quotes\" and `ticks`",
    "../../etc/passwd",
    "a*b?c[d]",
    "ключ ☎ 🤖",
    "\x01\x1b[31m",
    " ",
    "x" * 1024,
]
UNSTORABLE_IDS = ["", "nul\0", "\ud800", "x" * 1025, "ы" * 513]


def _past(hours: int = 1) -> datetime:
    return datetime.now(UTC) - hours * HOUR


def _future() -> datetime:
    return datetime.now(UTC) + HOUR


class _Native:
    """A native store, blocking whatever it is underneath."""

    def __init__(self, store: Any, runner: asyncio.Runner, *, in_order: bool) -> None:
        self.store = store
        self.in_order = in_order
        self._runner = runner

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        return bool(self._result(self.store.schedule(deferred_id, at, payload)))

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        return self._result(self.store.cancel(deferred_id, operation_id))

    def claim(self, limit: int, lease: timedelta) -> Any:
        return self._result(self.store.claim(limit, lease))

    def ack(self, deferred_id: str, token: str) -> Any:
        return self._result(self.store.ack(deferred_id, token))

    def waiting(self) -> Any:
        return self._result(self.store.waiting())

    def pump(self, deliver: Callable[[Claimed], object], **options: Any) -> int:
        if not inspect.iscoroutinefunction(self.store.claim):
            return pump(self.store, deliver, **options)

        async def deliver_async(start: Claimed) -> None:
            deliver(start)

        return self._runner.run(pump_async(self.store, deliver_async, **options))

    def _result(self, answer: Any) -> Any:
        if not inspect.isawaitable(answer):
            return answer

        async def wait() -> Any:
            return await answer

        return self._runner.run(wait())


@pytest.fixture(scope="module", params=STORES)
def new_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], _Native]]:
    """Lend what makes an empty store whenever it is called."""
    name: str = request.param
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        make = _maker(name, request, stack, runner)
        in_order = name not in {"redis-sharded", "cluster", "cluster-async"}
        yield lambda: _Native(make(), runner, in_order=in_order)


def _maker(
    name: str, request: pytest.FixtureRequest, stack: ExitStack, runner: asyncio.Runner
) -> Callable[[], Any]:
    number = itertools.count()
    match name:
        case "memory":
            return MemoryScheduler
        case "memory-async":
            return AsyncMemoryScheduler
        case "sqlite":
            folder = request.getfixturevalue("tmp_path_factory").mktemp("native")
            return lambda: SqliteScheduler(folder / f"{next(number)}.sqlite")
        case _:
            return _redis_maker(name, request, stack, runner)


def _redis_maker(
    name: str, request: pytest.FixtureRequest, stack: ExitStack, runner: asyncio.Runner
) -> Callable[[], Any]:
    number = itertools.count()
    namespace = f"test-{uuid4().hex[:8]}"
    clustered = name.startswith("cluster")
    url = request.getfixturevalue("redis_cluster" if clustered else "redis_server").url
    # The standard budget is for servers, not for machines that run four test processes at once.
    options: dict[str, Any] = {"budget": timedelta(seconds=10)}
    options["shards"] = 1 if name in {"redis", "redis-async"} else 3
    blocking: Any = redis.RedisCluster.from_url(url) if clustered else redis.Redis.from_url(url())
    stack.callback(_clean_up, blocking, namespace)
    if not name.endswith("-async"):
        return lambda: RedisScheduler(blocking, namespace=f"{namespace}-{next(number)}", **options)

    async def connect() -> Any:
        kind: Any = redis.asyncio.RedisCluster if clustered else redis.asyncio.Redis
        return kind.from_url(url if clustered else url())

    client = runner.run(connect())
    stack.callback(lambda: runner.run(client.aclose()))
    return lambda: AsyncRedisScheduler(client, namespace=f"{namespace}-{next(number)}", **options)


def _clean_up(client: Any, namespace: str) -> None:
    for key in client.scan_iter(f"{{{namespace}-*", count=1000):
        client.delete(key)
    client.close()


@pytest.fixture
def store(new_store: Callable[[], _Native]) -> _Native:
    """Lend an empty store."""
    return new_store()


# Rule by rule ------------------------------------------------------------------------------------


def test_what_is_scheduled_waits_until_it_is_due(store: _Native) -> None:
    """A start of the future is waiting and is not handed out; one of the past is, once."""
    assert store.schedule("later", _future(), b"L")
    assert store.schedule("now", _past(), b"N")
    assert store.waiting() == {"later", "now"}
    [start] = store.claim(10, HOUR)
    assert (start.deferred_id, start.payload) == ("now", b"N")
    assert store.waiting() == {"later"}
    assert store.claim(10, HOUR) == []


def test_a_start_scheduled_for_this_moment_is_due(store: _Native) -> None:
    """There is no least delay, and there need be no payload."""
    assert store.schedule("now", datetime.now(UTC))
    [start] = store.claim(1, HOUR)
    assert (start.deferred_id, start.payload) == ("now", b"")


def test_any_time_zone_and_any_year_will_do(store: _Native) -> None:
    """A time is an instant, however it is written, from the first year to the last."""
    east = datetime.now(timezone(timedelta(hours=5, minutes=45)))
    assert store.schedule("first", datetime.min.replace(tzinfo=UTC))
    assert store.schedule("last", datetime.max.replace(tzinfo=UTC))
    assert store.schedule("east", east - 2 * HOUR)
    assert sorted(start.deferred_id for start in store.claim(9, HOUR)) == ["east", "first"]


def test_a_waiting_start_can_be_moved(store: _Native) -> None:
    """The last schedule of a start that still waits is the one that counts, payload included."""
    assert store.schedule("a", _past(), b"old")
    assert store.schedule("a", _future(), b"new")
    assert store.claim(10, HOUR) == []
    assert store.schedule("a", _past(), b"newest")
    [start] = store.claim(10, HOUR)
    assert start.payload == b"newest"


def test_cancelling_what_waits_takes_it_back(store: _Native) -> None:
    """True, and it is neither waiting nor ever handed out."""
    store.schedule("a", _past())
    store.schedule("b", _past())
    assert store.cancel("a", "operation") is True
    assert store.waiting() == {"b"}
    assert [start.deferred_id for start in store.claim(10, HOUR)] == ["b"]


def test_the_operation_that_took_it_back_is_told_so_for_ever(store: _Native) -> None:
    """The same operation, the same answer; another operation took nothing back."""
    store.schedule("a", _future())
    assert store.cancel("a", "first") is True
    assert store.cancel("a", "second") is False
    assert store.cancel("a", "first") is True
    assert store.cancel("a", "second") is False


def test_what_was_handed_out_cannot_be_taken_back(store: _Native) -> None:
    """False, for ever; and when the lease ends it is not handed out again."""
    store.schedule("a", _past())
    [start] = store.claim(1, AT_ONCE)
    assert store.cancel("a", "operation") is False
    assert store.cancel("a", "operation") is False
    assert store.claim(1, HOUR) == []
    assert store.ack("a", start.token) is False


def test_what_is_finished_cannot_be_taken_back(store: _Native) -> None:
    """False, for ever, and nothing comes back to life."""
    store.schedule("a", _past())
    [start] = store.claim(1, HOUR)
    assert store.ack("a", start.token) is True
    assert store.cancel("a", "operation") is False
    assert store.schedule("a", _past()) is False
    assert store.claim(1, HOUR) == []


def test_cancelling_the_unknown_bars_it(store: _Native) -> None:
    """False, for ever; a schedule that arrives later is refused."""
    assert store.cancel("a", "operation") is False
    assert store.schedule("a", _past()) is False
    assert store.cancel("a", "operation") is False
    assert store.waiting() == set()
    assert store.claim(1, HOUR) == []


def test_what_was_taken_back_cannot_be_scheduled_again(store: _Native) -> None:
    """A permanent cancel is not undone by a late schedule."""
    store.schedule("a", _future())
    store.cancel("a", "operation")
    assert store.schedule("a", _past()) is False
    assert store.claim(1, HOUR) == []
    assert store.cancel("a", "operation") is True


def test_what_was_handed_out_cannot_be_scheduled_again(store: _Native) -> None:
    """Neither while the lease lasts nor once it has ended; the payload stays the first one."""
    store.schedule("a", _past(), b"first")
    store.claim(1, AT_ONCE)
    assert store.schedule("a", _past(), b"second") is False
    [start] = store.claim(1, HOUR)
    assert start.payload == b"first"
    assert store.schedule("a", _past(), b"second") is False


def test_a_lease_that_ended_is_given_to_another(store: _Native) -> None:
    """The start is handed out again under a new token, which alone can acknowledge it."""
    store.schedule("a", _past(), b"P")
    [first] = store.claim(1, AT_ONCE)
    [second] = store.claim(1, HOUR)
    assert (second.deferred_id, second.payload) == ("a", b"P")
    assert second.token != first.token
    assert store.claim(1, HOUR) == []
    assert store.ack("a", first.token) is False
    assert store.ack("a", second.token) is True
    assert store.ack("a", second.token) is False


def test_an_owner_whose_lease_ended_may_still_finish_what_nobody_took_over(store: _Native) -> None:
    """A lease lasts until somebody else is given it."""
    store.schedule("a", _past())
    [start] = store.claim(1, AT_ONCE)
    assert store.ack("a", start.token) is True
    assert store.claim(1, HOUR) == []


@pytest.mark.parametrize("token", ["", "x", "\0" * 32, "ы" * 40, "f" * 32])
def test_only_the_lease_s_token_acknowledges(store: _Native, token: str) -> None:
    """Any other token, and any token for a start in another state, is told False."""
    assert store.ack("unknown", token) is False
    store.schedule("due", _future())
    assert store.ack("due", token) is False
    store.schedule("a", _past())
    [start] = store.claim(1, HOUR)
    assert store.ack("a", token) is False
    assert store.ack("due", start.token) is False
    assert store.ack("a", start.token + "0") is False
    assert store.ack("a", start.token) is True


def test_a_claim_takes_no_more_than_its_limit(store: _Native) -> None:
    """The rest stays for the next one; a limit of nothing or less takes nothing."""
    for number in range(5):
        store.schedule(f"{number}", _past())
    assert store.claim(0, HOUR) == []
    assert store.claim(-1, HOUR) == []
    taken = [len(store.claim(2, HOUR)) for _ in range(4)]
    assert taken == [2, 2, 1, 0]


def test_the_earliest_are_handed_out_first(store: _Native) -> None:
    """In the order in which they became due, leases that ended included."""
    if not store.in_order:
        return  # Shards have no common order.
    for hours in (3, 5, 1, 4, 2):
        store.schedule(f"{hours} h ago", _past(hours))
    assert [start.deferred_id for start in store.claim(2, AT_ONCE)] == ["5 h ago", "4 h ago"]
    # The two leases have ended only now: later than what is due for an hour or more.
    assert [start.deferred_id for start in store.claim(3, HOUR)] == [
        "3 h ago",
        "2 h ago",
        "1 h ago",
    ]
    again = [start.deferred_id for start in store.claim(9, HOUR)]
    assert sorted(again) == ["4 h ago", "5 h ago"]


def test_a_naive_time_is_refused(store: _Native) -> None:
    """A time without a zone says nothing."""
    with pytest.raises(ValueError, match="aware"):
        store.schedule("a", datetime(2030, 1, 1))  # noqa: DTZ001  # That is the point.


@pytest.mark.parametrize("deferred_id", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
def test_an_id_is_just_its_bytes(store: _Native, deferred_id: str) -> None:
    """Nothing in an id is read as a pattern, a format or a separator."""
    payload = bytes(range(256))
    store.schedule("bystander", _future())
    assert store.schedule(deferred_id, _future(), b"")
    assert store.waiting() == {deferred_id, "bystander"}
    assert store.schedule(deferred_id, _past(), payload)
    [start] = store.claim(9, AT_ONCE)
    assert (start.deferred_id, start.payload) == (deferred_id, payload)
    assert store.cancel(deferred_id, deferred_id) is False
    assert store.cancel("bystander", deferred_id) is True
    assert store.cancel("bystander", deferred_id) is True
    assert store.cancel("bystander", deferred_id + "!") is False


@pytest.mark.parametrize("deferred_id", UNSTORABLE_IDS, ids=range(len(UNSTORABLE_IDS)))
def test_an_id_that_no_store_can_keep_is_refused_without_harm(
    store: _Native, deferred_id: str
) -> None:
    """Scheduling it is a mistake, cancelling it finds nothing."""
    with pytest.raises(ValueError, match="deferred id"):
        store.schedule(deferred_id, _past())
    assert store.cancel(deferred_id, "operation") is False
    assert store.cancel(deferred_id, "operation") is False
    assert store.waiting() == set()
    assert store.claim(9, HOUR) == []


def test_many_can_wait(store: _Native) -> None:
    """More than any page or batch that a store works in."""
    ids = {f"job-{number}" for number in range(2_500)}
    if isinstance(store.store, SqliteScheduler):
        ids = set(sorted(ids)[:100])  # Each is a commit; and it pages nothing.
    for deferred_id in ids:
        store.schedule(deferred_id, _past())
    assert store.waiting() == ids
    taken = [start.deferred_id for start in store.claim(10_000, HOUR)]
    assert sorted(taken) == sorted(ids)


# Against a model ---------------------------------------------------------------------------------

IDS = ("plain", "{0}\n%'\"", "ключ ☎")
OPERATIONS = ("one", "two", "three\nthree")

STEPS = st.one_of(
    st.tuples(
        st.just("schedule"),
        st.sampled_from(IDS),
        st.sampled_from([3, 2, 1, -1]),
        st.sampled_from([b"", b"p", b"\xff\0"]),
    ),
    st.tuples(st.just("cancel"), st.sampled_from(IDS), st.sampled_from(OPERATIONS)),
    st.tuples(st.just("claim"), st.integers(0, 3), st.sampled_from([AT_ONCE, HOUR])),
    st.tuples(st.just("ack"), st.sampled_from(IDS), st.integers(0, 3)),
)


class _Model:
    """The life of a start in plain words: what a store should answer."""

    def __init__(self) -> None:
        self.state: dict[str, tuple[Any, ...]] = {}
        self.tokens: list[str] = ["never given"]

    def schedule(self, deferred_id: str, hours_ago: int, payload: bytes) -> bool:
        if self.state.get(deferred_id, ("due",))[0] != "due":
            return False
        self.state[deferred_id] = ("due", hours_ago, payload)
        return True

    def cancel(self, deferred_id: str, operation: str) -> bool:
        match self.state.get(deferred_id):
            case None | ("leased", *_):
                self.state[deferred_id] = ("dead",)
                return False
            case ("due", *_):
                self.state[deferred_id] = ("cancelled", operation)
                return True
            case state:
                return state == ("cancelled", operation)

    def claimable(self) -> dict[str, tuple[int, bytes]]:
        """Give by id how many hours it has been due (0: its lease has ended), and the payload."""
        found = {}
        for deferred_id, state in self.state.items():
            match state:
                case ("due", hours_ago, payload) if hours_ago > 0:
                    found[deferred_id] = (hours_ago, payload)
                case ("leased", payload, _, True):
                    found[deferred_id] = (0, payload)
                case _:
                    pass
        return found

    def claimed(self, start: Claimed, lease: timedelta) -> None:
        self.tokens.append(start.token)
        ended = lease == AT_ONCE
        self.state[start.deferred_id] = ("leased", start.payload, start.token, ended)

    def ack(self, deferred_id: str, token: str) -> bool:
        match self.state.get(deferred_id):
            case ("leased", _, owner, _) if owner == token:
                self.state[deferred_id] = ("dead",)
                return True
            case _:
                return False


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(STEPS, max_size=14))
def test_any_sequence_is_answered_as_the_model_answers(
    new_store: Callable[[], _Native], steps: list[tuple[Any, ...]]
) -> None:
    """Whatever is asked in whatever order, each answer is the model's."""
    store, model = new_store(), _Model()
    for step in steps:
        match step:
            case ("schedule", deferred_id, hours_ago, payload):
                at = datetime.now(UTC) - hours_ago * HOUR
                expected = model.schedule(deferred_id, hours_ago, payload)
                assert store.schedule(deferred_id, at, payload) is expected
            case ("cancel", deferred_id, operation):
                expected = model.cancel(deferred_id, operation)
                assert store.cancel(deferred_id, operation) is expected
            case ("ack", deferred_id, recent):
                token = model.tokens[-1 - recent % len(model.tokens)]
                assert store.ack(deferred_id, token) is model.ack(deferred_id, token)
            case _:
                _check_claim(store, model, *step[1:])
    assert store.waiting() == {
        deferred_id for deferred_id, state in model.state.items() if state[0] == "due"
    }


def _check_claim(store: _Native, model: _Model, limit: int, lease: timedelta) -> None:
    claimable = model.claimable()
    starts = store.claim(limit, lease)
    hours = [claimable[start.deferred_id][0] for start in starts]
    payloads = [claimable[start.deferred_id][1] for start in starts]
    assert len({start.deferred_id for start in starts}) == len(starts)
    assert len(starts) == min(limit, len(claimable))
    assert [start.payload for start in starts] == payloads
    if store.in_order:
        longest_due = sorted((found[0] for found in claimable.values()), reverse=True)
        assert hours == longest_due[: len(starts)]
    for start in starts:
        model.claimed(start, lease)


# The pump ----------------------------------------------------------------------------------------


def test_the_pump_delivers_what_is_due_and_finishes_it(store: _Native) -> None:
    """Each due start reaches the callable once, with its payload; the next round has nothing."""
    store.schedule("a", _past(), b"A")
    store.schedule("b", _past(), b"B")
    store.schedule("later", _future())
    delivered: dict[str, bytes] = {}
    assert store.pump(lambda start: delivered.update({start.deferred_id: start.payload})) == 2
    assert delivered == {"a": b"A", "b": b"B"}
    assert store.pump(lambda start: pytest.fail(f"delivered twice: {start}")) == 0
    assert store.cancel("a", "operation") is False
    assert store.schedule("a", _past()) is False


def test_a_delivery_that_fails_is_repeated_and_stops_no_other(
    store: _Native, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are delivered; the one that failed is handed out again when its lease ends."""
    for name in ("a", "bad", "c"):
        store.schedule(name, _past(), b"secret")
    delivered = []

    def deliver(start: Claimed) -> None:
        if start.deferred_id == "bad":
            raise RuntimeError(start.payload)
        delivered.append(start.deferred_id)

    with caplog.at_level(logging.WARNING, "batch_cancel"):
        assert store.pump(deliver, lease=AT_ONCE) == 2
    assert sorted(delivered) == ["a", "c"]
    assert "'bad' was not delivered (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text
    again: list[str] = []
    assert store.pump(lambda start: again.append(start.deferred_id)) == 1
    assert again == ["bad"]


def test_the_pump_takes_no_more_than_its_limit(store: _Native) -> None:
    """The rest is for the next round."""
    for number in range(3):
        store.schedule(f"{number}", _past())
    assert [store.pump(lambda _: None, limit=2) for _ in range(3)] == [2, 1, 0]


def test_an_interrupt_goes_through_the_pump(store: _Native) -> None:
    """What is not an ordinary exception is nobody's to swallow."""
    store.schedule("a", _past())

    def deliver(_: Claimed) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pump(deliver)


@pytest.mark.parametrize("limit", [100, 3])
def test_starts_that_end_their_pump_each_time_hold_up_no_other(store: _Native, limit: int) -> None:
    """Two of them, due first of all: the others are delivered in a few lives of the pump."""
    poison, good = {"a-poison", "b-poison"}, [f"good-{number}" for number in range(5)]
    for name in (*sorted(poison), *good):
        store.schedule(name, _past())
    delivered: list[str] = []

    def deliver(start: Claimed) -> None:
        if start.deferred_id in poison:
            raise KeyboardInterrupt
        delivered.append(start.deferred_id)

    # A store with shards begins with any of them: how many lives it takes is up to chance.
    lives = 3 if store.in_order and limit == 100 else 12 if store.in_order else 200
    for _ in range(lives):
        if set(delivered) == set(good):
            break
        with suppress(KeyboardInterrupt):
            store.pump(deliver, limit=limit, lease=AT_ONCE)
    assert sorted(delivered) == good


@pytest.mark.parametrize("lease", [-timedelta(seconds=1), timedelta.max, timedelta(days=36_501)])
def test_a_lease_that_no_store_could_keep_is_refused(store: _Native, lease: timedelta) -> None:
    """And nothing is handed out."""
    store.schedule("a", _past())
    with pytest.raises(ValueError, match="lease must not be negative, and at most 36500 days"):
        store.claim(1, lease)
    assert store.waiting() == {"a"}


def test_a_claimed_start_does_not_show_its_payload(store: _Native) -> None:
    """It may hold personal data, and a repr ends up in logs."""
    store.schedule("a", _past(), b"+49 170 1234567")
    [start] = store.claim(1, HOUR)
    assert "170" not in repr(start)
    assert start.deferred_id in repr(start)


def test_a_start_whose_acknowledgement_is_lost_counts_as_delivered(
    store: _Native, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in good hands; it is only handed out once more, and the log says so."""
    store.schedule("a", _past())

    def ack(*_: str) -> bool:
        reason = "gone"
        raise SchedulerUnavailable(reason)

    async def ack_async(*arguments: str) -> bool:
        return ack(*arguments)

    waits = inspect.iscoroutinefunction(store.store.ack)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "batch_cancel"):
        patched.setattr(store.store, "ack", ack_async if waits else ack)
        assert store.pump(lambda _: None, lease=AT_ONCE) == 1
    assert "'a' was delivered but not acknowledged (SchedulerUnavailable)" in caplog.text
    assert store.pump(lambda _: None) == 1
    assert store.pump(lambda _: None) == 0
