"""Our own adapters, run through the kit that we give to the owners of others."""

from __future__ import annotations

from batch_cancel.testing.conformance import SchedulerConformance, StoreConformance
from tests import conformers


class TestMemory(conformers.MemoryTables, StoreConformance):
    """The memory store keeps the promises."""


class TestAsyncMemory(conformers.AsyncMemoryTables, StoreConformance):
    """So does its twin."""


class TestSqlite(conformers.SqliteTables, StoreConformance):
    """The SQLite store keeps the promises."""


class TestPostgres(conformers.PostgresTables, StoreConformance):
    """The Postgres unit of work keeps the promises."""


class TestAsyncPostgres(conformers.AsyncPostgresTables, StoreConformance):
    """So does its twin."""


class TestSqlAlchemy(conformers.SqlAlchemyTables, StoreConformance):
    """SQLAlchemy over psycopg keeps the promises."""


class TestAsyncSqlAlchemy(conformers.AsyncSqlAlchemyTables, StoreConformance):
    """So does its twin, over asyncpg."""


class TestSqlAlchemySqlite(conformers.SqlAlchemySqliteTables, StoreConformance):
    """And over SQLite."""


class TestDjango(conformers.DjangoTables, StoreConformance):
    """Django's connection keeps the promises."""


class TestMemoryScheduler(conformers.MemoryStarts, SchedulerConformance):
    """The memory scheduler keeps the promises."""


class TestAsyncMemoryScheduler(conformers.AsyncMemoryStarts, SchedulerConformance):
    """So does its twin."""


class TestSqliteScheduler(conformers.SqliteStarts, SchedulerConformance):
    """The SQLite scheduler keeps the promises."""


class TestRedisScheduler(conformers.RedisStarts, SchedulerConformance):
    """The Redis scheduler keeps the promises."""


class TestAsyncRedisScheduler(conformers.AsyncRedisStarts, SchedulerConformance):
    """So does its twin."""


class TestStoreAndScheduler(
    conformers.MemoryTables,
    conformers.MemoryStarts,
    StoreConformance,
    SchedulerConformance,
):
    """Both halves in one class: the store's tests use its scheduler."""
