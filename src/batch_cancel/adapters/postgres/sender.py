"""
Send statements on one connection, blocking or asyncio; the code that sends is written once.

Rule 1: on a blocking connection a sender looks awaited, and never suspends: `run` of
        `batch_cancel.use_cases.run_blocking` runs its callers.
Rule 2: statements are sent unprepared, so that a pooler in transaction mode works, and by our own
        cursor.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.cursors import with_loaders
from batch_cancel.adapters.postgres.rows import Row
from batch_cancel.adapters.postgres.sql_parts import trusted

Parameters = Mapping[str, object] | list[object] | None


@attrs.frozen
class Answer:
    """Postgres' answer to a statement, or to each of several in one string."""

    cursor: psycopg.Cursor[Row] | psycopg.AsyncCursor[Row]

    @property
    def rowcount(self) -> int:
        """How many rows were written, or are in the answer."""
        return self.cursor.rowcount

    async def rows(self) -> list[Row]:
        """Return the rows; an unreadable value is an error here, not in `send`."""
        rows = self.cursor.fetchall()
        return rows if isinstance(rows, list) else await rows

    async def row(self) -> Row | None:
        """Return the first row; None if there is none."""
        rows = await self.rows()
        return rows[0] if rows else None

    async def go_to(self, index: int) -> None:
        """Go on to the answer of this statement of the string; -1 is that of the last."""
        moved = self.cursor.set_result(index)
        if isinstance(moved, Awaitable):
            await moved


@attrs.frozen
class Sender:
    """Sends on a blocking connection."""

    connection: psycopg.Connection[Any]

    async def send(
        self, query: sql.SQL, parameters: Parameters = None, *, binary: bool = False
    ) -> Answer:
        """Execute one statement."""
        cursor = with_loaders(psycopg.Cursor(self.connection, row_factory=tuple_row))
        cursor.execute(query, parameters, prepare=False, binary=binary)
        return Answer(cursor)

    def rendered(self, query: sql.SQL, parameters: Parameters) -> str:
        """Return a statement with its values in it, for `send_string`."""
        return psycopg.ClientCursor(self.connection).mogrify(query, parameters)

    async def send_string(self, statements: str) -> Answer:
        """Execute the statements of one string; the answer begins with that of the first."""
        cursor = with_loaders(psycopg.Cursor(self.connection, row_factory=tuple_row))
        cursor.execute(trusted(statements), prepare=False)
        return Answer(cursor)

    async def copy(self, query: sql.SQL, rows: Iterable[Sequence[object]]) -> int:
        """Send rows to a COPY statement; return how many were written."""
        cursor = psycopg.Cursor(self.connection)
        with cursor.copy(query) as copy:
            for row in rows:
                copy.write_row(row)
        return cursor.rowcount

    @asynccontextmanager
    async def savepoint(self, *, force_rollback: bool = False) -> AsyncGenerator[None]:
        """Roll back the statements within if one fails, or in any case."""
        with self.connection.transaction(force_rollback=force_rollback):
            yield

    async def set_autocommit(self, *, on: bool) -> None:
        """Set, without a round trip, whether psycopg leaves it to us to begin transactions."""
        self.connection.set_autocommit(on)

    async def rollback(self) -> None:
        """Roll back the transaction."""
        self.connection.rollback()

    async def close(self) -> None:
        """Close the connection."""
        self.connection.close()


@attrs.frozen
class AsyncSender:
    """As `Sender`, awaited."""

    connection: psycopg.AsyncConnection[Any]

    async def send(
        self, query: sql.SQL, parameters: Parameters = None, *, binary: bool = False
    ) -> Answer:
        """As `Sender.send`, awaited."""
        cursor = with_loaders(psycopg.AsyncCursor(self.connection, row_factory=tuple_row))
        await cursor.execute(query, parameters, prepare=False, binary=binary)
        return Answer(cursor)

    def rendered(self, query: sql.SQL, parameters: Parameters) -> str:
        """As `Sender.rendered`."""
        return psycopg.AsyncClientCursor(self.connection).mogrify(query, parameters)

    async def send_string(self, statements: str) -> Answer:
        """As `Sender.send_string`, awaited."""
        cursor = with_loaders(psycopg.AsyncCursor(self.connection, row_factory=tuple_row))
        await cursor.execute(trusted(statements), prepare=False)
        return Answer(cursor)

    async def copy(self, query: sql.SQL, rows: Iterable[Sequence[object]]) -> int:
        """As `Sender.copy`, awaited."""
        cursor = psycopg.AsyncCursor(self.connection)
        async with cursor.copy(query) as copy:
            for row in rows:
                await copy.write_row(row)
        return cursor.rowcount

    @asynccontextmanager
    async def savepoint(self, *, force_rollback: bool = False) -> AsyncGenerator[None]:
        """As `Sender.savepoint`, awaited."""
        async with self.connection.transaction(force_rollback=force_rollback):
            yield

    async def set_autocommit(self, *, on: bool) -> None:
        """As `Sender.set_autocommit`, awaited."""
        await self.connection.set_autocommit(on)

    async def rollback(self) -> None:
        """As `Sender.rollback`, awaited."""
        await self.connection.rollback()

    async def close(self) -> None:
        """As `Sender.close`, awaited."""
        await self.connection.close()


AnySender = Sender | AsyncSender
