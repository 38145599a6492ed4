"""A savepoint in the caller's transaction on Postgres."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import attrs
import psycopg

from batch_cancel.adapters.postgres.connection_checks import alone_on, check_transaction
from batch_cancel.adapters.postgres.errors import translated
from batch_cancel.adapters.postgres.queries import Queries, queries_for
from batch_cancel.adapters.postgres.repositories import (
    AsyncPostgresRepositories,
    PostgresRepositories,
)
from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.adapters.postgres.sender import AsyncSender, Sender
from batch_cancel.adapters.postgres.transaction import Transaction
from batch_cancel.use_cases.run_blocking import entered

_DEFAULT_SCHEMA: Final = PostgresSchema()


@attrs.frozen
class _Joined:
    connection: psycopg.Connection[Any]
    queries: Queries
    is_joined = True

    @contextmanager
    def begin(self) -> Generator[PostgresRepositories]:
        with translated() as progress, alone_on(self.connection):
            progress.phase = "working"
            check_transaction(self.connection)
            sender, frame = Sender(self.connection), self.queries.joined_frame
            with entered(Transaction(sender, self.queries, frame, progress)) as transaction:
                yield PostgresRepositories(transaction)


@attrs.frozen
class _AsyncJoined:
    connection: psycopg.AsyncConnection[Any]
    queries: Queries
    is_joined = True

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncPostgresRepositories]:
        with translated() as progress, alone_on(self.connection):
            progress.phase = "working"
            check_transaction(self.connection)
            sender, frame = AsyncSender(self.connection), self.queries.joined_frame
            async with Transaction(sender, self.queries, frame, progress) as transaction:
                yield AsyncPostgresRepositories(transaction)


def joining(
    connection: psycopg.Connection[Any], schema: PostgresSchema = _DEFAULT_SCHEMA
) -> _Joined:
    """
    Return a unit of work that is a savepoint in the caller's open transaction.

    The caller's commit is the moment of cancellation, and a rollback undoes it. A transaction that
    begins lazily, as Django's and SQLAlchemy's do, is begun first. Timeouts are the caller's own;
    `synchronous_commit = off` becomes `on` for the transaction.

    Arguments:
        connection: the caller's; it is neither committed nor closed.
        schema: the names of your tables and columns.

    Raises:
        StoreFailed: on `begin`, if the connection is in autocommit mode without a transaction, the
            transaction is REPEATABLE READ or SERIALIZABLE, or another call of this library is
            using it.
    """
    return _Joined(connection, queries_for(schema))


def joining_async(
    connection: psycopg.AsyncConnection[Any], schema: PostgresSchema = _DEFAULT_SCHEMA
) -> _AsyncJoined:
    """As `joining`."""
    return _AsyncJoined(connection, queries_for(schema))
