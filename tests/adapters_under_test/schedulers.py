"""The native schedulers: memory, SQLite and Redis."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    MemoryScheduler,
)
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler
from batch_cancel.testing.adapter import (
    SchedulerAdapter,
)
from tests.pairs import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer

HOUR = timedelta(hours=1)


class NativeStarts(SchedulerAdapter):
    """A scheduler that has `schedule`, `waiting` and `claim` of its own."""

    def schedule(self, scheduler: Any, deferred_id: str) -> Any:
        """Schedule a start for an hour from now."""
        return scheduler.schedule(deferred_id, datetime.now(UTC) + HOUR)

    def waiting(self, scheduler: Any) -> Any:
        """Return what waits."""
        return scheduler.waiting()

    def fire(self, scheduler: Any) -> Any:
        """Move what waits to the past, and claim it."""
        for deferred_id in scheduler.waiting():
            scheduler.schedule(deferred_id, datetime.now(UTC) - HOUR)
        return {start.deferred_id for start in scheduler.claim(1000, HOUR)}


class MemoryStarts(NativeStarts):
    """The memory scheduler."""

    def scheduler(self) -> Any:
        """Return an empty one."""
        return MemoryScheduler()


class SqliteStarts(NativeStarts):
    """The SQLite scheduler."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def scheduler(self) -> Any:
        """Return one in a new file."""
        return SqliteScheduler(self.path / f"{uuid4().hex}.sqlite")


class OnRedis(NativeStarts):
    """The server that all tests share."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer, redis_prefix: str) -> None:
        self.url, self.prefix = redis_server.url(), redis_prefix


class RedisStarts(OnRedis):
    """The Redis scheduler."""

    def scheduler(self) -> Any:
        """Return one in a namespace of its own."""
        self.client = redis.Redis.from_url(self.url)
        return RedisScheduler(self.client, namespace=self.prefix, budget=PATIENCE)

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class AsyncStarts(NativeStarts):
    """A scheduler of the asyncio kind."""

    is_async = True

    async def fire(self, scheduler: Any) -> Any:
        """Move what waits to the past, and claim it."""
        waiting = scheduler.waiting()
        for deferred_id in await waiting if asyncio.iscoroutine(waiting) else waiting:
            await scheduler.schedule(deferred_id, datetime.now(UTC) - HOUR)
        return {start.deferred_id for start in await scheduler.claim(1000, HOUR)}


class AsyncMemoryStarts(AsyncStarts):
    """The memory scheduler's twin."""

    def scheduler(self) -> Any:
        """Return an empty one."""
        return AsyncMemoryScheduler()


class AsyncRedisStarts(AsyncStarts, OnRedis):
    """The Redis scheduler's twin."""

    def scheduler(self) -> Any:
        """Return one in a namespace of its own."""
        self.client = redis.asyncio.Redis.from_url(self.url)
        return AsyncRedisScheduler(self.client, namespace=self.prefix, budget=PATIENCE)

    async def close(self) -> None:
        """Close the client."""
        await self.client.aclose()
