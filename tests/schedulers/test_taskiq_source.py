"""taskiq's source before it sends, where taskiq itself is not installed."""

from __future__ import annotations

import asyncio
import importlib
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.taskiq import TaskiqStarts

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = timedelta(seconds=10)
AT = datetime(2031, 1, 2, tzinfo=UTC)

KINDS = {
    "time": SimpleNamespace(schedule_id="a", time=AT, cron=None),
    "cron": SimpleNamespace(schedule_id="a", time=None, cron="* * * * *"),
    "interval": SimpleNamespace(schedule_id="a", time=None, cron=None, interval=60),
}


class Cancelled(Exception):
    """What taskiq wants to be told by."""


class Source:
    """What a source of taskiq-redis has."""

    def __init__(self, url: str) -> None:
        self._prefix = "schedule"
        self._connection_pool = redis.asyncio.ConnectionPool.from_url(url)


@pytest.fixture
def client(redis_database: str) -> Iterator[redis.Redis]:
    """Yield a client of an empty database."""
    with redis.Redis.from_url(redis_database) as client:
        yield client


@pytest.fixture
def is_sent(redis_database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Yield a way to ask the source whether it sends."""
    stubs: dict[str, dict[str, Any]] = {
        "taskiq": {},
        "taskiq.exceptions": {"ScheduledTaskCancelledError": Cancelled},
        "taskiq_redis": {"ListRedisScheduleSource": Source},
    }
    for name, members in stubs.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "batch_cancel.adapters.taskiq.source", raising=False)
    source_module = importlib.import_module("batch_cancel.adapters.taskiq.source")
    monkeypatch.delitem(sys.modules, "batch_cancel.adapters.taskiq.source")

    def ask(task: SimpleNamespace) -> bool:
        async def sent() -> bool:
            source = source_module.CancellableScheduleSource(redis_database)
            try:
                await source.pre_send(task)
            except Cancelled:
                return False
            finally:
                await source._connection_pool.disconnect()
            return True

        return asyncio.run(sent())

    return ask


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_cancelled_is_not_sent_whatever_its_kind(
    kind: str, client: redis.Redis, is_sent: Any
) -> None:
    """Even if it is there again under its id, which is used up."""
    client.set("schedule:data:a", "a schedule")
    assert TaskiqStarts(client, budget=PATIENCE).cancel("a", "operation") is True
    assert is_sent(KINDS[kind]) is False
    client.set("schedule:data:a", "a schedule")
    assert is_sent(KINDS[kind]) is False


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_sent_has_fired_whatever_its_kind(
    kind: str, client: redis.Redis, is_sent: Any
) -> None:
    """Sent as often as it is asked; then cancelled, which is a no, and not sent any more."""
    client.set("schedule:data:a", "a schedule")
    assert [is_sent(KINDS[kind]) for _ in range(2)] == [True, True]
    assert TaskiqStarts(client, budget=PATIENCE).cancel("a", "operation") is False
    assert is_sent(KINDS[kind]) is False


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_deleted_is_not_sent(kind: str, client: redis.Redis, is_sent: Any) -> None:
    """By taskiq itself, without our cancel."""
    assert client.exists("schedule:data:a") == 0
    assert is_sent(KINDS[kind]) is False
