"""Every native store of deferred starts, blocking whatever it is underneath."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler
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


def past(hours: int = 1) -> datetime:
    """Return a time at which a start is due."""
    return datetime.now(UTC) - hours * HOUR


def future() -> datetime:
    """Return a time at which a start is not yet due."""
    return datetime.now(UTC) + HOUR


class Native:
    """A native store, blocking whatever it is underneath."""

    def __init__(self, store: Any, runner: asyncio.Runner, *, in_order: bool) -> None:
        self.store = store
        self.in_order = in_order
        self._runner = runner

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        """Schedule a start."""
        return bool(self._result(self.store.schedule(deferred_id, at, payload)))

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        """Take a start back."""
        return self._result(self.store.cancel(deferred_id, operation_id))

    def claim(self, limit: int, lease: timedelta) -> Any:
        """Claim what is due."""
        return self._result(self.store.claim(limit, lease))

    def ack(self, deferred_id: str, token: str) -> Any:
        """Finish a start that was claimed."""
        return self._result(self.store.ack(deferred_id, token))

    def waiting(self) -> Any:
        """Return the ids of the starts that wait."""
        return self._result(self.store.waiting())

    def pump(self, deliver: Callable[[Claimed], object], **options: Any) -> int:
        """Deliver what is due."""
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
def new_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], Native]]:
    """Yield what makes an empty store whenever it is called."""
    name: str = request.param
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        make = _maker(name, request, stack, runner)
        in_order = name not in {"redis-sharded", "cluster", "cluster-async"}
        yield lambda: Native(make(), runner, in_order=in_order)


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
def store(new_store: Callable[[], Native]) -> Native:
    """Yield an empty store."""
    return new_store()
