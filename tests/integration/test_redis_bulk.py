"""Many deferred starts are removed from Redis by one script, each as alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from batch_cancel import SchedulerUnavailable
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler

if TYPE_CHECKING:
    from tests.servers import RedisServer

TOMORROW = datetime.now(UTC) + timedelta(days=1)
BUDGET = timedelta(seconds=10)


def blocking(url: str, starts: list[tuple[str, str]], **options: Any) -> list[bool | None]:
    """Remove starts by the blocking half."""
    with redis.Redis.from_url(url) as client:
        return RedisScheduler(client, **options).cancel_many(starts)


def awaited(url: str, starts: list[tuple[str, str]], **options: Any) -> list[bool | None]:
    """Remove starts by the asyncio half."""

    async def remove() -> list[bool | None]:
        async with redis.asyncio.Redis.from_url(url) as client:
            return await AsyncRedisScheduler(client, **options).cancel_many(starts)

    return asyncio.run(remove())


@pytest.mark.parametrize("remove", [blocking, awaited])
@pytest.mark.parametrize("shards", [1, 3])
def test_each_start_gets_the_answer_of_a_cancel_alone(
    redis_server: RedisServer, redis_prefix: str, remove: Any, shards: int
) -> None:
    """Removed, of another, absent, fired, impossible; the same again, in the same order."""
    options: dict[str, Any] = {"namespace": redis_prefix, "shards": shards, "budget": BUDGET}
    with redis.Redis.from_url(redis_server.url()) as client:
        alone = RedisScheduler(client, **options)
        for name in ("fired", "ours", "theirs", "left", "ü\n{}"):
            alone.schedule(name, TOMORROW if name != "fired" else TOMORROW - timedelta(days=2))
        assert [it.deferred_id for it in alone.claim(9, timedelta(hours=1))] == ["fired"]
        assert alone.cancel("theirs", "other")
        starts = [
            ("ours", "op"),
            ("theirs", "op"),
            ("theirs", "other"),
            ("nowhere", "op"),
            ("\0", "op"),
            ("fired", "op"),
            ("ü\n{}", "op"),
        ]
        due = [True, False, True, False, False, False, True]
        for _ in range(2):
            assert remove(redis_server.url(), starts, **options) == due
        assert alone.waiting() == {"left"}
        assert [alone.cancel(name, "op") for name in ("ours", "nowhere")] == [True, False]
        assert not alone.schedule("nowhere", TOMORROW)
        assert remove(redis_server.url(), [], **options) == []


@pytest.mark.parametrize("remove", [blocking, awaited])
def test_no_answer_is_no_answer_for_any(remove: Any) -> None:
    """As for one."""
    with pytest.raises(SchedulerUnavailable):
        remove("redis://127.0.0.1:1", [("start", "op")], budget=timedelta(milliseconds=50))
