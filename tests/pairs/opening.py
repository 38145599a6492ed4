"""Which worlds there are, and how each is opened."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler
from tests import data_layers
from tests.lent_connections import LentConnections
from tests.pairs.stores import MemoryTables, PostgresTables, SqliteTables, Store
from tests.pairs.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Sequence
    from pathlib import Path


PATIENCE = timedelta(seconds=10)
"""A budget of Redis that a loaded machine keeps: these tests are of answers, not of delays."""

STORES = ("memory", "memory-async", "sqlite", "postgres", "postgres-async")
LAYERED = [
    (store, "memory")
    for store in (
        "sqlalchemy-sqlite",
        "sqlalchemy-sqlite-async",
        "sqlalchemy-postgres",
        "sqlalchemy-postgres-async",
        "django",
    )
]
"""
Worlds whose store goes by way of a data layer. What it does does not depend on the scheduler, so
each has but one.
"""
ON_MARIADB = [("sqlalchemy-mariadb", "memory"), ("sqlalchemy-mariadb-async", "memory")]
"""The same on MariaDB; they bear the mark `mysql`."""
SWEEPING = [
    (store, "memory")
    for store in (
        "memory-sweeping",
        "memory-sweeping-async",
        "postgres-sweeping",
        "postgres-sweeping-async",
    )
]
"""Worlds whose store cancels a job before its contacts if it has more than `SWEEP_ABOVE`."""
SWEEP_ABOVE = 2
SCHEDULERS = ("memory", "sqlite", "redis", "cluster")
SHORT = frozenset(
    {
        ("memory", "memory"),
        ("memory", "cluster"),
        ("sqlite", "sqlite"),
        ("postgres", "redis"),
    }
)
"""
The worlds of `make test`. A store does not know which scheduler is asked after its commit, nor a
scheduler which store it is asked for: so each has one world here, and the others repeat it. The
stores that are in none of these, asyncio twins and data layers, go through the conformance kit.
"""


def pairs(schedulers: Sequence[str] = SCHEDULERS) -> list[tuple[str, str]]:
    """Name every world: a store, and a scheduler of its own kind, one of `schedulers`."""
    return [
        (store, scheduler)
        for store, scheduler in itertools.product(STORES, schedulers)
        if not (store.endswith("-async") and scheduler == "sqlite")  # SQLite has no asyncio half.
    ]


def params(
    worlds: Sequence[tuple[str, str]], short: Container[tuple[str, str]] = SHORT
) -> list[pytest.ParameterSet]:
    """Return the worlds as parameters of a test, those that are not short marked `repeats`."""
    return [
        pytest.param(world, id="+".join(world), marks=_marks(world, short)) for world in worlds
    ]


def _marks(
    world: tuple[str, str], short: Container[tuple[str, str]]
) -> Sequence[pytest.MarkDecorator]:
    if world in ON_MARIADB:
        return (pytest.mark.mysql, pytest.mark.repeats)
    return () if world in short else (pytest.mark.repeats,)


@contextmanager
def opened(store: str, scheduler: str, request: pytest.FixtureRequest) -> Generator[World]:
    """Open the world of this name; `request` lends the servers it needs."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner()) if store.endswith("-async") else None
        world = World(
            store_of(store, request, stack),
            scheduler_of(scheduler, request, stack, runner),
            runner,
        )
        world.clear()
        yield world


def store_of(name: str, request: pytest.FixtureRequest, stack: ExitStack) -> Store:
    """Open the store of this name."""
    if name.startswith("memory"):
        kind = AsyncMemoryStore if name.endswith("-async") else MemoryStore
        return MemoryTables(partial(kind, sweep_above=sweep_above(name)))
    if name == "sqlite":
        return SqliteTables(_folder(request))
    if name.startswith("sqlalchemy-sqlite"):
        return data_layers.sqlite(_folder(request), stack, is_async=name.endswith("-async"))
    if name.startswith("sqlalchemy-mariadb"):
        server = request.getfixturevalue("mariadb_server")
        database = stack.enter_context(server.database())
        return data_layers.mariadb(server, database, stack, is_async=name.endswith("-async"))
    dsn = stack.enter_context(request.getfixturevalue("postgres_server").schema())
    tables = PostgresTables(dsn, _postgres_uow(name, dsn, stack))
    stack.callback(tables.connection.close)
    return tables


def sweep_above(name: str) -> int | None:
    """Return above how many contacts the store of this name sweeps; None for never."""
    return SWEEP_ABOVE if "-sweeping" in name else None


def _postgres_uow(name: str, dsn: str, stack: ExitStack) -> Any:
    lent = LentConnections(dsn)
    stack.callback(lent.close)
    match name:
        case "postgres" | "postgres-sweeping":
            return PostgresUnitOfWork(lent.lend, sweep_above=sweep_above(name))
        case "postgres-async" | "postgres-sweeping-async":
            return AsyncPostgresUnitOfWork(lent.lend_async, sweep_above=sweep_above(name))
        case "django":
            return stack.enter_context(data_layers.django_uow(dsn))
        case _:
            return data_layers.postgres_uow(dsn, is_async=name.endswith("-async"))


def scheduler_of(
    name: str, request: pytest.FixtureRequest, stack: ExitStack, runner: asyncio.Runner | None
) -> Callable[[], Any]:
    """Return what makes a new scheduler of this name."""
    number = itertools.count()
    prefix = f"test-{uuid4().hex[:8]}"
    if name == "memory":
        return AsyncMemoryScheduler if runner else MemoryScheduler
    if name == "sqlite":
        folder = _folder(request)
        return lambda: SqliteScheduler(folder / f"starts-{next(number)}.sqlite")
    url, blocking, waiting = _redis(name, request)
    if runner is None:
        client = blocking.from_url(url)
        stack.callback(client.close)
        return lambda: RedisScheduler(
            client, namespace=f"{prefix}-{next(number)}", budget=PATIENCE
        )

    async def connect() -> Any:
        return waiting.from_url(url)

    async_client = runner.run(connect())
    stack.callback(lambda: runner.run(async_client.aclose()))
    return lambda: AsyncRedisScheduler(
        async_client, namespace=f"{prefix}-{next(number)}", budget=PATIENCE
    )


def _redis(name: str, request: pytest.FixtureRequest) -> tuple[str, Any, Any]:
    if name == "redis":
        return request.getfixturevalue("redis_server").url(), redis.Redis, redis.asyncio.Redis
    url = request.getfixturevalue("redis_cluster").url
    return url, redis.RedisCluster, redis.asyncio.RedisCluster


def _folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("world")
    return folder
