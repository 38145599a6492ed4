"""The caller's client and options: dialects, encodings, the wrong kind, tasks called off."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio

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
from tests.fault_proxy import TO_CLIENT, FaultProxy
from tests.integration.redis_schedulers import (
    HOUR,
    PATIENT,
    Schedulers,
    future,
    past,
    proxy,
    schedulers,
)

if TYPE_CHECKING:
    from tests.servers import RedisServer

__all__ = ["proxy", "schedulers"]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode_responses", [False, True])
def test_the_client_s_dialect_makes_no_difference(
    schedulers: Schedulers, protocol: int, *, decode_responses: bool
) -> None:
    """RESP2 or RESP3, decoding or not: payloads are bytes, ids are text."""
    scheduler = schedulers.make(
        protocol=protocol, decode_responses=decode_responses, health_check_interval=1
    )
    scheduler.schedule("ключ", past(), b"\xff\x00")
    assert scheduler.waiting() == {"ключ"}
    [start] = scheduler.claim(1, HOUR)
    assert (start.deferred_id, start.payload) == ("ключ", b"\xff\x00")
    assert scheduler.ack("ключ", start.token) is True


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp037"])
def test_the_client_s_encoding_makes_no_difference(schedulers: Schedulers, encoding: str) -> None:
    """What the scripts are sent is bytes; cp037 is an encoding of mainframes, without ASCII."""
    scheduler = schedulers.make(encoding=encoding, protocol=2)
    client = schedulers.server.client
    client.script_flush()
    assert scheduler.schedule("ключ", past(), b"payload") is True
    [start] = scheduler.claim(1, HOUR)
    assert (start.deferred_id, start.payload) == ("ключ", b"payload")
    assert scheduler.cancel("ключ", "operation") is False
    assert scheduler.check() == []


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
        assert scheduler.schedule(each, past()) is True
        assert gate.arm(each, future()) is True
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
                await scheduler.schedule(f"a-{number}", future())
                await scheduler.schedule(f"b-{number}", future())
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
    assert asyncio.run(scheduler.schedule("a", future())) is True
    with pytest.raises(SchedulerUnavailable, match="another event loop"):
        asyncio.run(scheduler.cancel("a", "operation"))

    async def cancel_all() -> bool:
        async with redis.asyncio.Redis(port=redis_server.port) as another:
            await AsyncStartGate(another, namespace=namespace).arm("a", future())
            fresh = AsyncRedisScheduler(another, namespace=namespace, budget=PATIENT)
            return await fresh.cancel("a", "operation")

    assert asyncio.run(cancel_all()) is True
    assert asyncio.run(gate.arm("b", future())) is True
    with pytest.raises(SchedulerUnavailable, match="another event loop"):
        asyncio.run(gate.may_start("b"))
    for key in redis_server.client.scan_iter(f"*{namespace}*", count=1000):
        redis_server.client.delete(key)
    del scheduler, gate, client
    gc.collect()
