"""Transactions of our own, each on a connection of the adopter's engine."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from batch_cancel.adapters.sqlalchemy.errors import translated
from batch_cancel.adapters.sqlalchemy.health import AsyncChecked, Checked
from batch_cancel.adapters.sqlalchemy.opening import Settings, check_pool, check_shared
from batch_cancel.adapters.sqlalchemy.repositories import (
    AsyncSqlAlchemyRepositories,
    SqlAlchemyRepositories,
)
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.defaults import LOCK_TIMEOUT, STATEMENT_TIMEOUT
from batch_cancel.domain.retry import pause_seconds


class SqlAlchemyUnitOfWork(Checked):
    """
    Transactions of our own, each on a connection of an engine.

    Arguments:
        engine: for Postgres, SQLite or MariaDB. Set in it how long its pool and its driver wait,
            for a connection and for a server that does not answer, and how long SQLite waits for
            its lock.
        tables: your tables.
        lock_timeout: how long Postgres waits for the job's row; MariaDB too, in whole seconds.
        statement_timeout: how long one statement may take there, and how long the transaction may
            be idle.
    """

    def __init__(
        self,
        engine: Engine,
        tables: SqlAlchemyTables,
        *,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._settings = Settings(lock_timeout, statement_timeout)

    @contextmanager
    def begin(self) -> Generator[SqlAlchemyRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with translated() as progress:
            check_pool(self._engine.pool)
            with self._engine.connect() as connection:
                progress.phase = "working"
                check_shared(connection)
                with connection.begin() as transaction:
                    seen = self._settings.open(connection, self._tables)
                    yield SqlAlchemyRepositories(connection, self._tables, seen)
                    with progress.committing():
                        transaction.commit()
                progress.phase = "working"

    def pause(self, attempts: int) -> None:
        """Wait before another attempt; the pause grows with the number of attempts."""
        time.sleep(pause_seconds(attempts, random.random()))  # noqa: S311  # No secret.


class AsyncSqlAlchemyUnitOfWork(AsyncChecked):
    """As `SqlAlchemyUnitOfWork`, awaited."""

    def __init__(
        self,
        engine: AsyncEngine,
        tables: SqlAlchemyTables,
        *,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._settings = Settings(lock_timeout, statement_timeout)

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncSqlAlchemyRepositories]:
        """As `SqlAlchemyUnitOfWork.begin`, awaited."""
        with translated() as progress:
            check_pool(self._engine.pool)
            async with self._engine.connect() as connection:
                progress.phase = "working"
                await connection.run_sync(check_shared)
                async with connection.begin() as transaction:
                    seen = await connection.run_sync(self._settings.open, self._tables)
                    yield AsyncSqlAlchemyRepositories(connection, self._tables, seen)
                    with progress.committing():
                        await transaction.commit()
                progress.phase = "working"

    async def pause(self, attempts: int) -> None:
        """As `SqlAlchemyUnitOfWork.pause`, awaited."""
        await asyncio.sleep(pause_seconds(attempts, random.random()))  # noqa: S311  # No secret.
