"""Schedulers on a real Redis, blocking and asyncio, called as if they were blocking."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry

from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    RedisScheduler,
)
from tests.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import RedisServer

HOUR = timedelta(hours=1)
PATIENT = timedelta(seconds=30)
"""A budget for what must be answered in the end, on a busy machine too."""
SHORT = timedelta(milliseconds=100)
"""A budget for what must not be answered."""

KINDS = ("blocking", "asyncio")


class Schedulers:
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
        """Return one of the four keys."""
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
def schedulers(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Schedulers]:
    """Yield schedulers of one kind on the shared server."""
    with contextlib.closing(Schedulers(request.param, redis_server)) as made:
        yield made


@pytest.fixture(params=KINDS)
def fragile(request: pytest.FixtureRequest, redis_to_break: RedisServer) -> Iterator[Schedulers]:
    """Yield schedulers of one kind on a server that the test may hurt."""
    with contextlib.closing(Schedulers(request.param, redis_to_break)) as made:
        yield made


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Yield a bad line to the shared server."""
    with FaultProxy(redis_server.port) as made:
        yield made


def past() -> datetime:
    """Return a time at which a start is due."""
    return datetime.now(UTC) - HOUR


def future() -> datetime:
    """Return a time at which a start is not yet due."""
    return datetime.now(UTC) + HOUR
