"""The store of SQLAlchemy on MariaDB, blocking and asyncio."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from batch_cancel.adapters import sqlalchemy as alchemy
from tests import data_layers
from tests.adapters_under_test.limits import BUDGET
from tests.adapters_under_test.sqlalchemy import SqlAlchemySqliteTables
from tests.sabotage import MARIADB_TRIGGERS, SETS_BACK

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from batch_cancel.testing.adapter import Sabotage
    from tests.servers import MariaDbServer

_COMMITTED = {"isolation_level": "READ COMMITTED"}


@functools.cache
def engine_of(server: MariaDbServer, database: str) -> sa.Engine:
    """Return the engine, one as in an application."""
    options: dict[str, Any] = {"poolclass": sa.QueuePool, "pool_size": 20}
    return data_layers.mariadb_engine(server, database, **options)


@functools.cache
def engine_of_async(server: MariaDbServer, database: str) -> AsyncEngine:
    """As `engine_of`, over asyncmy."""
    return data_layers.mariadb_engine_async(server, database)


class MariaDbTables(SqlAlchemySqliteTables):
    """SQLAlchemy over PyMySQL, in a database of the class's own."""

    row_locks = True
    id_characters_max = data_layers.ID_CHARACTERS_MAX
    is_sabotaged = False

    @pytest.fixture(autouse=True)
    def _database(self, mariadb_of_class: tuple[MariaDbServer, str]) -> None:
        self.place = mariadb_of_class
        type(self).engine = engine_of(*self.place)
        data_layers.METADATA.create_all(self.engine)

    def fresh(self) -> None:
        """Forget everything."""
        self.repair()
        with self.engine.begin() as connection:
            for table in data_layers.METADATA.sorted_tables:
                connection.execute(sa.delete(table))

    def repair(self) -> None:
        """Drop the triggers of a sabotage."""
        if not self.is_sabotaged:
            return
        self.is_sabotaged = False
        asked = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s"
        with self.engine.begin() as connection:
            for name in connection.exec_driver_sql(asked, (self.place[1],)).scalars().all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        data_layers.TABLES.known.clear()

    def close(self) -> None:
        """Leave no trigger behind."""
        self.repair()

    def uow(self) -> Any:
        """Return a unit of work with connections of its own."""
        return alchemy.SqlAlchemyUnitOfWork(self.engine, data_layers.TABLES, lock_timeout=BUDGET)

    def sabotage(self, what: Sabotage) -> None:
        """Add triggers."""
        self.is_sabotaged = True
        with self.engine.begin() as connection:
            if what == "job set back":
                connection.exec_driver_sql(SETS_BACK)
                return
            for number, (when, body) in enumerate(MARIADB_TRIGGERS[what].items()):
                connection.exec_driver_sql(
                    f"CREATE TRIGGER sabotage_{number} {when} FOR EACH ROW {body}"
                )
        # A process asks the catalogs once: it goes on as one that begins now.
        data_layers.TABLES.known.clear()

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        with self.engine.execution_options(**_COMMITTED).begin() as connection:
            yield alchemy.joining(connection, data_layers.TABLES)


class AsyncMariaDbTables(MariaDbTables):
    """SQLAlchemy over asyncmy."""

    is_async = True

    def uow(self) -> Any:
        """Return a unit of work with connections of its own."""
        engine = engine_of_async(*self.place)
        return alchemy.AsyncSqlAlchemyUnitOfWork(engine, data_layers.TABLES, lock_timeout=BUDGET)

    def joined(self) -> Any:
        """Return a transaction of the caller's."""
        return self._joined_async()

    @asynccontextmanager
    async def _joined_async(self) -> AsyncGenerator[Any]:
        """Open a transaction of the caller's."""
        engine = engine_of_async(*self.place).execution_options(**_COMMITTED)
        async with engine.begin() as connection:
            yield alchemy.joining_async(connection, data_layers.TABLES)
