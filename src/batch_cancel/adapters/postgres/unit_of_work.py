"""
Transactions of our own on Postgres.

The server's timeouts bound them in time; if the server does not answer at all, the connection is
cut. Their settings are in `transaction_settings.py`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from datetime import timedelta
from typing import Any, Final

import psycopg

from batch_cancel.adapters.postgres.connection_checks import (
    alone_on,
    check_idle,
    checked_connect,
    is_broken,
)
from batch_cancel.adapters.postgres.doctor.catalog import Catalog
from batch_cancel.adapters.postgres.doctor.examination import examined
from batch_cancel.adapters.postgres.errors import lost, translated
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.adapters.postgres.repositories import (
    AsyncPostgresRepositories,
    PostgresRepositories,
)
from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.adapters.postgres.sender import AsyncSender, Sender
from batch_cancel.adapters.postgres.transaction import Transaction
from batch_cancel.adapters.postgres.transaction_settings import own_frame
from batch_cancel.adapters.postgres.watchdog import cut_after
from batch_cancel.domain.defaults import LOCK_TIMEOUT, STATEMENT_TIMEOUT, SWEEP_ABOVE
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.retry import pause_seconds
from batch_cancel.domain.sweep import check_sweep_above
from batch_cancel.use_cases.run_blocking import entered, run

_BROKEN_MAX: Final = 100
"""The most broken connections in a row to skip; a restart breaks all in a pool."""

_DEFAULT_SCHEMA: Final = PostgresSchema()


class PostgresUnitOfWork:
    """
    Transactions of our own, each on a connection from `connect`.

    Arguments:
        connect: returns a new connection, or one from a pool: `lambda: psycopg.connect(dsn)`
            (asyncio: `psycopg.AsyncConnection.connect(dsn)`), or the `connection` method of a
            psycopg_pool pool. It is closed, or returned to the pool, after each transaction. Bound
            its time in it: in psycopg by `connect_timeout` (130 s by default), in a pool by
            `timeout` (30 s).
        schema: the names of your tables and columns.
        lock_timeout: how long to wait for the job's row.
        statement_timeout: how long one statement may take, and how long the transaction may be
            idle. If the server does not answer at all, the connection is cut after both timeouts
            together.
        sweep_above: if a job has more open contacts, it is cancelled in a short transaction of its
            own, and they after it in chunks of that many: then the job's own workers are not held
            up. The answer waits for all of them. None for one transaction always.

    Raises:
        TypeError: `connect` is no function, or `sweep_above` no number.
        ValueError: a timeout is negative or longer than 24.8 days; `sweep_above` is less than 1.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
        schema: PostgresSchema = _DEFAULT_SCHEMA,
        *,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
        sweep_above: int | None = SWEEP_ABOVE,
    ) -> None:
        check_sweep_above(sweep_above)
        self._connect = checked_connect(connect)
        self._schema = schema
        self._queries = queries_for(schema)
        self._frame = own_frame(schema, lock_timeout, statement_timeout)
        self._sweep_above = sweep_above
        self._patience_seconds = (lock_timeout + statement_timeout).total_seconds()

    @contextmanager
    def begin(self) -> Generator[PostgresRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with translated() as progress:  # noqa: SIM117  # Its async twin can't be one statement.
            with self._connected() as connection:
                progress.phase = "working"
                check_idle(connection)
                sender = Sender(connection)
                with (  # noqa: SIM117  # The same.
                    alone_on(connection),
                    cut_after(self._patience_seconds, connection, progress.note_cut),
                ):
                    with entered(
                        Transaction(
                            sender, self._queries, self._frame, progress, self._sweep_above
                        )
                    ) as transaction:
                        yield PostgresRepositories(transaction)

    @contextmanager
    def begin_autocommit(self) -> Generator[PostgresRepositories]:
        """Open a transaction in which each call may be committed by itself."""
        with self.begin() as repositories:
            if type(self).begin is PostgresUnitOfWork.begin:  # That of a subclass may do more.
                repositories.transaction.is_autocommit = True
            yield repositories

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this database, without a change.

        An empty list means that it is fit: check when your program starts. A missing index makes a
        cancel slow; everything else makes it fail.
        """
        return self.examine().problems

    def examine(self) -> Diagnosis:
        """Return in sentences what fits, what is missing and what is slow, without a change."""
        try:
            with self.begin() as repositories:
                return run(examined(self._schema, Catalog(repositories.transaction)))
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))

    @contextmanager
    def _connected(self) -> Generator[psycopg.Connection[Any]]:
        """Connect, and skip pooled connections that the server has closed."""
        for _ in range(_BROKEN_MAX):
            with self._connect() as connection:
                if not is_broken(connection):
                    yield connection
                    return
        raise lost()

    def pause(self, attempts: int) -> None:
        """Wait before another attempt; the pause grows with the number of attempts."""
        time.sleep(pause_seconds(attempts, random.random()))  # noqa: S311  # No secret.


class AsyncPostgresUnitOfWork:
    """As `PostgresUnitOfWork`, awaited."""

    def __init__(
        self,
        connect: Callable[
            [],
            AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]
            | Awaitable[psycopg.AsyncConnection[Any]],
        ],
        schema: PostgresSchema = _DEFAULT_SCHEMA,
        *,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
        sweep_above: int | None = SWEEP_ABOVE,
    ) -> None:
        check_sweep_above(sweep_above)
        self._connect = checked_connect(connect)
        self._schema = schema
        self._queries = queries_for(schema)
        self._frame = own_frame(schema, lock_timeout, statement_timeout)
        self._sweep_above = sweep_above
        self._patience_seconds = (lock_timeout + statement_timeout).total_seconds()

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncPostgresRepositories]:
        """As `PostgresUnitOfWork.begin`, awaited."""
        with translated() as progress:
            async with self._connected() as connection:
                progress.phase = "working"
                check_idle(connection)
                sender = AsyncSender(connection)
                with (
                    alone_on(connection),
                    cut_after(self._patience_seconds, connection, progress.note_cut),
                ):
                    async with Transaction(
                        sender, self._queries, self._frame, progress, self._sweep_above
                    ) as transaction:
                        yield AsyncPostgresRepositories(transaction)

    @asynccontextmanager
    async def begin_autocommit(self) -> AsyncGenerator[AsyncPostgresRepositories]:
        """As `PostgresUnitOfWork.begin_autocommit`, awaited."""
        async with self.begin() as repositories:
            if type(self).begin is AsyncPostgresUnitOfWork.begin:
                repositories.transaction.is_autocommit = True
            yield repositories

    async def check(self) -> list[str]:
        """As `PostgresUnitOfWork.check`, awaited."""
        return (await self.examine()).problems

    async def examine(self) -> Diagnosis:
        """As `PostgresUnitOfWork.examine`, awaited."""
        try:
            async with self.begin() as repositories:
                return await examined(self._schema, Catalog(repositories.transaction))
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        for _ in range(_BROKEN_MAX):
            async with await _awaited(self._connect()) as connection:
                if not is_broken(connection):
                    yield connection
                    return
        raise lost()

    async def pause(self, attempts: int) -> None:
        """As `PostgresUnitOfWork.pause`, awaited."""
        await asyncio.sleep(pause_seconds(attempts, random.random()))  # noqa: S311  # No secret.


async def _awaited(
    connection: AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]
    | Awaitable[psycopg.AsyncConnection[Any]],
) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
    """Return a pool's context manager as it is, or await a new connection."""
    if isinstance(connection, Awaitable):
        return await connection
    return connection
