"""
Send statements on one connection, blocking or asyncio; the code that sends is written once.

Rule 1: on a blocking connection a sender looks awaited, and never suspends: `run` of
        `batch_cancel.use_cases.run_blocking` runs its callers.
Rule 2: statements are sent unprepared, so that a pooler in transaction mode works, and by our own
        cursor.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.cursors import with_loaders
from batch_cancel.adapters.postgres.rows import Row

Parameters = Mapping[str, object] | list[object] | None


@attrs.frozen
class Answer:
    """Postgres' answer to a statement."""

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

    async def send_together(
        self, queries: sql.SQL, parameters: Parameters = None
    ) -> list[list[Row]]:
        """Execute the statements of one string; return the rows of each."""
        cursor = with_loaders(psycopg.ClientCursor(self.connection, row_factory=tuple_row))
        cursor.execute(queries, parameters)
        return [result.fetchall() if result.description else [] for result in cursor.results()]

    @asynccontextmanager
    async def savepoint(self, *, force_rollback: bool = False) -> AsyncGenerator[None]:
        """Roll back the statements within if one fails, or in any case."""
        with self.connection.transaction(force_rollback=force_rollback):
            yield


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

    async def send_together(
        self, queries: sql.SQL, parameters: Parameters = None
    ) -> list[list[Row]]:
        """As `Sender.send_together`, awaited."""
        cursor = with_loaders(psycopg.AsyncClientCursor(self.connection, row_factory=tuple_row))
        await cursor.execute(queries, parameters)
        return [
            await result.fetchall() if result.description else []
            async for result in cursor.results()
        ]

    @asynccontextmanager
    async def savepoint(self, *, force_rollback: bool = False) -> AsyncGenerator[None]:
        """As `Sender.savepoint`, awaited."""
        async with self.connection.transaction(force_rollback=force_rollback):
            yield


AnySender = Sender | AsyncSender
