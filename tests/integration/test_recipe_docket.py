"""
Where a task of docket may be, played by hand on docket's keys.

That these are the keys and the steps of the real docket, `tests/schedulers` and `tests/wiring`
show.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.docket import AsyncDocketScheduler, DocketScheduler

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = timedelta(seconds=10)
DUE = 1_700_000_000
WAITERS = "docket:concurrency:start:waiters"


@pytest.fixture
def client(redis_database: str) -> Iterator[redis.Redis]:
    """Yield a client of an empty database."""
    with redis.Redis.from_url(redis_database, decode_responses=True) as client:
        yield client


def put(client: redis.Redis, place: str, attempt: int = 1, key: str = "a") -> None:
    """Leave a task where docket does, with what its record then says."""
    message: dict[Any, Any] = {"key": key, "attempt": attempt, "generation": 2}
    record: dict[Any, Any] = {"generation": 2, "when": DUE, "known": DUE, "state": "queued"}
    match place:
        case "queue":
            client.zadd("docket:queue", {key: DUE})
            client.hset(f"docket:{key}", mapping=message)
            record["state"] = "scheduled"
        case "stream":
            record["stream_id"] = client.xadd("docket:stream", message)
        case "moved to the stream":
            client.xadd("docket:stream", message, id=f"{DUE * 1000 + 5}-*")
        case "for a slot":
            record |= {"state": "scheduled", "waiter_stream": WAITERS}
            record["waiter_entry_id"] = client.xadd(WAITERS, message)
        case _:
            client.xadd("docket:stream", message)
            record["state"] = place
    client.hset(f"docket:runs:{key}", mapping=record)


def ours(client: redis.Redis) -> DocketScheduler:
    """Return the adapter, with time for a loaded machine."""
    return DocketScheduler(client, budget=PATIENCE)


PLACES = ("queue", "stream", "moved to the stream", "for a slot")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("was_claimed", "attempt", "taken_back"),
    [(False, 1, True), (True, 1, True), (True, 2, False)],
)
def test_a_task_is_taken_back_wherever_it_waits(
    place: str, was_claimed: object, attempt: int, taken_back: object, client: redis.Redis
) -> None:
    """Claimed and sent back by a limit it has not run; a retry has, and is removed, too."""
    put(client, place, attempt)
    put(client, place, key="b")
    if was_claimed:
        client.hset("docket:progress:a", mapping={"current": 0})
    assert ours(client).waiting_among({"a", "b", "c"}) == {"a", "b"}
    assert ours(client).cancel("a", "operation") is taken_back
    assert ours(client).waiting_among({"a", "b", "c"}) == {"b"}
    # So no worker claims it, whatever message of it there is.
    assert client.hgetall("docket:runs:a") == {
        "generation": "2",
        "when": str(DUE),
        "state": "cancelled",
    }
    assert 0 < client.ttl("docket:runs:a") <= 30 * 86400
    assert client.exists("docket:a", "docket:progress:a") == 0
    assert client.zrange("docket:queue", 0, -1) == (["b"] if place == "queue" else [])
    left = client.xlen("docket:stream") + client.xlen(WAITERS)
    assert left == {"queue": 0, "moved to the stream": 2}.get(place, 1)


@pytest.mark.parametrize("state", ["running", "completed", "failed", "cancelled"])
def test_a_task_that_a_worker_has_claimed_is_left_alone(state: str, client: redis.Redis) -> None:
    """Nothing of it is changed, though its message stays in the stream until it has ended."""
    put(client, state)
    before = client.hgetall("docket:runs:a")
    assert ours(client).waiting_among({"a"}) == set()
    assert ours(client).cancel("a", "operation") is False
    assert client.hgetall("docket:runs:a") == before
    assert client.xlen("docket:stream") == 1
    assert client.ttl("docket:runs:a") == -1


def test_a_message_is_found_among_many_that_were_due(client: redis.Redis) -> None:
    """Those that were moved before it, and an older one of the same key, are passed over."""
    for number in range(250):
        client.xadd("docket:stream", {"key": f"other {number}", "attempt": 2})
    client.xadd("docket:stream", {"key": "a", "attempt": 2, "generation": 1})
    client.xadd("docket:stream", {"key": "a", "attempt": 1, "generation": 2})
    record: dict[Any, Any] = {"state": "queued", "generation": 2, "when": DUE}
    record["stream_id"] = "5-5"
    client.hset("docket:runs:a", mapping=record)
    client.hset("docket:progress:a", mapping={"current": 0})
    assert ours(client).cancel("a", "operation") is True


def test_a_task_whose_message_is_not_found_counts_as_fired(client: redis.Redis) -> None:
    """Its attempt cannot be read; it is removed all the same."""
    client.hset("docket:runs:a", mapping={"state": "queued", "generation": 2, "when": DUE})
    client.hset("docket:progress:a", mapping={"current": 0})
    assert ours(client).cancel("a", "operation") is False
    assert client.hget("docket:runs:a", "state") == "cancelled"


@pytest.mark.parametrize("key", ["queue", "stream", "runs:b", "progress:b", "state:b"])
def test_an_id_that_reads_like_a_key_of_docket_touches_nothing(
    key: str, client: redis.Redis
) -> None:
    """A task's message is kept under its bare key, which may be that of something else."""
    put(client, "queue", key="b")
    put(client, "stream", key="c")
    client.hset("docket:progress:b", mapping={"current": 0})
    before = {it: client.dump(it) for it in client.scan_iter("docket:*")}
    assert ours(client).cancel(key, "operation") is False
    assert {it: client.dump(it) for it in client.scan_iter("docket:*")} == before


def test_whoever_waits_for_its_result_hears_of_it(client: redis.Redis) -> None:
    """In the words of docket's own cancel; a user who may not publish there can still cancel."""
    put(client, "queue", key='a "b"')
    with client.pubsub() as listener:
        listener.subscribe('docket:state:a "b"')
        assert listener.get_message(timeout=10)
        assert ours(client).cancel('a "b"', "operation") is True
        heard = listener.get_message(ignore_subscribe_messages=True, timeout=10)
    assert heard is not None
    assert json.loads(str(heard["data"])) == {
        "type": "state",
        "key": 'a "b"',
        "state": "cancelled",
    }


def test_a_user_without_channels_can_cancel(client: redis.Redis, redis_database: str) -> None:
    """What it may not publish is left out."""
    put(client, "queue")
    user = "without-channels"
    client.acl_setuser(
        user, enabled=True, nopass=True, keys="*", commands=["+@all"], reset_channels=True
    )
    try:
        with redis.Redis.from_url(redis_database, username=user, password="any") as limited:
            assert ours(limited).cancel("a", "operation") is True
    finally:
        client.acl_deluser(user)


def test_a_key_of_another_type_is_named(client: redis.Redis, redis_database: str) -> None:
    """Every cancel would fail there; both halves say so."""
    assert ours(client).check() == []
    client.hset("docket:stream", "what", "is this?")

    async def checked() -> list[str]:
        async with redis.asyncio.Redis.from_url(redis_database) as asynchronous:
            return await AsyncDocketScheduler(asynchronous, budget=PATIENCE).check()

    [sentence] = ours(client).check()
    assert sentence.startswith("docket:stream is a hash, where a stream is expected: ")
    assert asyncio.run(checked()) == [sentence]
