"""What the conformance kit needs to know of our own adapters."""

from __future__ import annotations

from tests.adapters_under_test.django import DjangoTables
from tests.adapters_under_test.mariadb import AsyncMariaDbTables, MariaDbTables
from tests.adapters_under_test.memory import AsyncMemoryTables, MemoryTables
from tests.adapters_under_test.postgres import (
    AsyncPostgresTables,
    IntegerTables,
    PostgresTables,
    UuidTables,
)
from tests.adapters_under_test.schedulers import (
    AsyncMemoryStarts,
    AsyncRedisStarts,
    MemoryStarts,
    RedisStarts,
    SqliteStarts,
)
from tests.adapters_under_test.sql_gates import (
    AsyncSqlStarts,
    SqlStarts,
    SqlStartsOfSqlAlchemy,
)
from tests.adapters_under_test.sqlalchemy import (
    AsyncSqlAlchemyTables,
    SqlAlchemySqliteTables,
    SqlAlchemyTables,
)
from tests.adapters_under_test.sqlite import SqliteTables

__all__ = [
    "AsyncMariaDbTables",
    "AsyncMemoryStarts",
    "AsyncMemoryTables",
    "AsyncPostgresTables",
    "AsyncRedisStarts",
    "AsyncSqlAlchemyTables",
    "AsyncSqlStarts",
    "DjangoTables",
    "IntegerTables",
    "MariaDbTables",
    "MemoryStarts",
    "MemoryTables",
    "PostgresTables",
    "RedisStarts",
    "SqlAlchemySqliteTables",
    "SqlAlchemyTables",
    "SqlStarts",
    "SqlStartsOfSqlAlchemy",
    "SqliteStarts",
    "SqliteTables",
    "UuidTables",
]
