"""Savepoints in transactions of the caller's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.ext.asyncio import async_scoped_session as AsyncScopedSession  # noqa: N812  # A class.
from sqlalchemy.orm import Session
from sqlalchemy.orm import scoped_session as ScopedSession  # noqa: N812  # A class.

from batch_cancel.adapters.sqlalchemy.errors import (
    TransactionLost,
    translated,
    within_savepoint,
)
from batch_cancel.adapters.sqlalchemy.health import AsyncChecked, Checked
from batch_cancel.adapters.sqlalchemy.mapping import mapper_of
from batch_cancel.adapters.sqlalchemy.opening import join
from batch_cancel.adapters.sqlalchemy.repositories import (
    AsyncSqlAlchemyRepositories,
    SqlAlchemyRepositories,
)
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables


@attrs.frozen
class _Joined(Checked):
    caller: Connection | Session | ScopedSession[Any]
    tables: SqlAlchemyTables
    is_joined = True

    @contextmanager
    def begin(self) -> Generator[SqlAlchemyRepositories]:
        with translated() as progress:
            caller, session = self.caller, None
            if isinstance(caller, ScopedSession):
                caller = caller()
            if isinstance(caller, Session):
                session, caller = caller, caller.connection(_where(self.tables))
            progress.phase = "working"
            with join(caller, self.tables) as seen:
                if session is not None:
                    session.flush()
                with caller.begin_nested():
                    try:
                        with within_savepoint(progress, seen.fatal):
                            yield SqlAlchemyRepositories(caller, self.tables, seen)
                    except TransactionLost:
                        # SQLAlchemy refuses whatever the caller goes on with but a rollback.
                        caller.invalidate()
                        raise
                progress.phase = "working"


@attrs.frozen
class _AsyncJoined(AsyncChecked):
    caller: AsyncConnection | AsyncSession | AsyncScopedSession[Any]
    tables: SqlAlchemyTables
    is_joined = True

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncSqlAlchemyRepositories]:
        with translated() as progress:
            caller, session = self.caller, None
            if isinstance(caller, AsyncScopedSession):
                caller = caller()
            if isinstance(caller, AsyncSession):
                session, caller = caller, await caller.connection(_where(self.tables))
            progress.phase = "working"
            with await caller.run_sync(join, self.tables) as seen:
                if session is not None:
                    await session.flush()
                async with caller.begin_nested():
                    try:
                        with within_savepoint(progress, seen.fatal):
                            yield AsyncSqlAlchemyRepositories(caller, self.tables, seen)
                    except TransactionLost:
                        # SQLAlchemy refuses whatever the caller goes on with but a rollback.
                        await caller.invalidate()
                        raise
                progress.phase = "working"


def joining(
    caller: Connection | Session | ScopedSession[Any], tables: SqlAlchemyTables
) -> _Joined:
    """
    Return a unit of work that is a savepoint in the caller's transaction.

    The caller's commit is the moment of cancellation, a rollback undoes it. Timeouts stay the
    caller's own, `synchronous_commit=off` is set on for the transaction. Objects that the session
    has loaded already do not change: refresh them. One cancel at a time may be open on a
    connection: those of one connection follow each other.

    Arguments:
        caller: a session, which is flushed, or a connection; neither is committed or closed. Its
            transaction is begun if it is not open yet, as by any first statement.
        tables: yours.

    Raises:
        StoreFailed: on `begin`, if the connection commits by itself, its transaction on Postgres
            or MariaDB is REPEATABLE READ or SERIALIZABLE, or another cancel is open on it.
    """
    return _Joined(caller, tables)


def joining_async(
    caller: AsyncConnection | AsyncSession | AsyncScopedSession[Any], tables: SqlAlchemyTables
) -> _AsyncJoined:
    """As `joining`."""
    return _AsyncJoined(caller, tables)


def _where(tables: SqlAlchemyTables) -> dict[str, Any]:
    """
    Return what to do, for a session that has several databases.

    An UPDATE: a session that routes sends whatever else it is asked for to a replica.
    """
    return {"clause": sa.update(tables.jobs), "mapper": mapper_of(tables.jobs_given)}
