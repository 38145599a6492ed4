"""Where it is measured: a Postgres that waits for its disk, a Redis, and connections to both."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import psycopg
import redis
import redis.asyncio
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from benchmarks.sizes import Sizes
from benchmarks.tables import Tables, start_of
from tests.servers import PostgresServer, RedisServer

SETTINGS: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",  # No checkpoint within a run.
    "checkpoint_timeout": "1h",
    "autovacuum": "off",  # It would begin within a run; `Tables` vacuums between them.
}
PATIENCE: Final = timedelta(seconds=10)
"""A budget of Redis that no run exceeds: it is the time that is measured, not the answer."""


_BEGUN: Final = time.monotonic()

AnyConnection = psycopg.Connection[Any]


@attrs.frozen(kw_only=True)
class Place:
    """
    Where it is measured.

    Arguments:
        sizes: how much.
        server: Postgres.
        redis_server: Redis, or Valkey.
        tables: the tables, and what fills them.
        pool: of one connection, in autocommit.
        pool_async: the same, asyncio.
        client: for Redis.
        client_async: the same, asyncio.
        runner: runs coroutines, all in one event loop.
    """

    sizes: Sizes
    server: PostgresServer
    redis_server: RedisServer
    tables: Tables
    pool: ConnectionPool[AnyConnection]
    pool_async: AsyncConnectionPool[psycopg.AsyncConnection[Any]]
    client: redis.Redis
    client_async: redis.asyncio.Redis
    runner: asyncio.Runner

    @property
    def uow(self) -> PostgresUnitOfWork:
        """The store."""
        return PostgresUnitOfWork(self.pool.connection)

    @property
    def uow_async(self) -> AsyncPostgresUnitOfWork:
        """As `uow`, asyncio."""
        return AsyncPostgresUnitOfWork(self.pool_async.connection)

    @property
    def scheduler(self) -> RedisScheduler:
        """The native scheduler."""
        return RedisScheduler(self.client, budget=PATIENCE)

    @property
    def scheduler_async(self) -> AsyncRedisScheduler:
        """As `scheduler`, asyncio."""
        return AsyncRedisScheduler(self.client_async, budget=PATIENCE)

    def execute(self, statements: str) -> None:
        """Send a string with psycopg alone, on a connection of the same pool."""
        with self.pool.connection() as connection:
            connection.execute(statements.encode())

    def jobs(
        self, number: int, contacts: int, status: str = "running", *, open_only: bool = False
    ) -> list[str]:
        """Return new jobs; those that are scheduled have a deferred start in Redis."""
        names = self.tables.seed(number, contacts, status, open_only=open_only)
        if status == "scheduled":
            self.schedule(names)
        return names

    def schedule(self, jobs: Sequence[str]) -> None:
        """Schedule the deferred starts of some jobs."""
        scheduler, later = self.scheduler, datetime.now(UTC) + timedelta(days=1)
        for job in jobs:
            scheduler.schedule(start_of(job), later)


def shared(jobs: Sequence[str], contestants: int) -> list[Iterator[str]]:
    """Return the jobs in turns, so that each contestant gets every so many-th of them."""
    return [itertools.islice(jobs, first, None, contestants) for first in range(contestants)]


@contextmanager
def pool_at(dsn: str, size: int) -> Generator[ConnectionPool[AnyConnection]]:
    """Yield a pool of so many connections, all of them open."""
    with ConnectionPool[AnyConnection](
        dsn, kwargs={"autocommit": True}, min_size=size, max_size=size
    ) as pool:
        pool.wait()
        yield pool


def progress(what: str) -> None:
    """Print what is under way, and since when we run."""
    sys.stderr.write(f"{time.monotonic() - _BEGUN:6.0f} s  {what}\n")
    sys.stderr.flush()


@contextmanager
def opened(sizes: Sizes) -> Generator[Place]:
    """Yield the place, its tables filled."""
    with (
        PostgresServer.own(fsync=True, settings=SETTINGS) as server,
        RedisServer.own() as redis_server,
        psycopg.connect(server.dsn(), autocommit=True) as connection,
        pool_at(server.dsn(), 1) as pool,
        closing(redis.Redis.from_url(redis_server.url())) as client,
        asyncio.Runner() as runner,
    ):
        tables = Tables(connection)
        tables.create(sizes.other_contacts)
        pool_async = AsyncConnectionPool[psycopg.AsyncConnection[Any]](
            server.dsn(), kwargs={"autocommit": True}, min_size=1, max_size=1, open=False
        )
        client_async = redis.asyncio.Redis.from_url(redis_server.url())
        runner.run(pool_async.open())
        try:
            yield Place(
                sizes=sizes,
                server=server,
                redis_server=redis_server,
                tables=tables,
                pool=pool,
                pool_async=pool_async,
                client=client,
                client_async=client_async,
                runner=runner,
            )
        finally:
            runner.run(client_async.aclose())
            runner.run(pool_async.close())
