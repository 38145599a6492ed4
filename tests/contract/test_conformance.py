"""
Our own adapters, run through the kit that we give to the owners of others.

`make test` leaves out the stores whose promises it meets one by one, in the tests of the contract.
"""

from __future__ import annotations

import pytest

from batch_cancel.testing.conformance import SchedulerConformance, StoreConformance
from tests import adapters_under_test


@pytest.mark.repeats
class TestMemory(adapters_under_test.MemoryTables, StoreConformance):
    """The memory store keeps the promises."""


class TestAsyncMemory(adapters_under_test.AsyncMemoryTables, StoreConformance):
    """So does its twin."""


@pytest.mark.repeats
class TestSqlite(adapters_under_test.SqliteTables, StoreConformance):
    """The SQLite store keeps the promises."""


@pytest.mark.repeats
class TestPostgres(adapters_under_test.PostgresTables, StoreConformance):
    """The Postgres unit of work keeps the promises."""


class TestAsyncPostgres(adapters_under_test.AsyncPostgresTables, StoreConformance):
    """So does its twin."""


class TestSqlAlchemy(adapters_under_test.SqlAlchemyTables, StoreConformance):
    """SQLAlchemy over psycopg keeps the promises."""


class TestAsyncSqlAlchemy(adapters_under_test.AsyncSqlAlchemyTables, StoreConformance):
    """So does its twin, over asyncpg."""


class TestSqlAlchemySqlite(adapters_under_test.SqlAlchemySqliteTables, StoreConformance):
    """And over SQLite."""


@pytest.mark.mysql
class TestMariaDb(adapters_under_test.MariaDbTables, StoreConformance):
    """And over MariaDB, by PyMySQL."""


@pytest.mark.mysql
class TestAsyncMariaDb(adapters_under_test.AsyncMariaDbTables, StoreConformance):
    """So does its twin, by asyncmy."""


class TestDjango(adapters_under_test.DjangoTables, StoreConformance):
    """Django's connection keeps the promises."""


class TestMemoryScheduler(adapters_under_test.MemoryStarts, SchedulerConformance):
    """The memory scheduler keeps the promises."""


class TestAsyncMemoryScheduler(adapters_under_test.AsyncMemoryStarts, SchedulerConformance):
    """So does its twin."""


class TestSqliteScheduler(adapters_under_test.SqliteStarts, SchedulerConformance):
    """The SQLite scheduler keeps the promises."""


class TestRedisScheduler(adapters_under_test.RedisStarts, SchedulerConformance):
    """The Redis scheduler keeps the promises."""


class TestAsyncRedisScheduler(adapters_under_test.AsyncRedisStarts, SchedulerConformance):
    """So does its twin."""


class TestSqlStartGate(adapters_under_test.SqlStarts, SchedulerConformance):
    """The start gate in SQL keeps them, too: a cancelled start does not pass."""


class TestAsyncSqlStartGate(adapters_under_test.AsyncSqlStarts, SchedulerConformance):
    """So does its twin."""


class TestSqlStartGateOfSqlAlchemy(
    adapters_under_test.SqlStartsOfSqlAlchemy, SchedulerConformance
):
    """So does the one that SQLAlchemy reaches, here in SQLite."""


@pytest.mark.repeats
class TestStoreAndScheduler(
    adapters_under_test.MemoryTables,
    adapters_under_test.MemoryStarts,
    StoreConformance,
    SchedulerConformance,
):
    """Both halves in one class: the store's tests use its scheduler."""
