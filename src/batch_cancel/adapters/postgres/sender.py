"""
Sends statements over one connection, blocking or asyncio; what is sent is written once.

Rule 1: over a blocking connection a sender looks awaited, and never suspends: `run` of
        `batch_cancel.use_cases.run_blocking` runs what sends.
Rule 2: nothing is sent with a prepared name, so that a pooler in transaction mode can stand
        between; and all of it by a cursor of our own.
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
    """What Postgres has answered to a statement."""

    cursor: psycopg.Cursor[Row] | psycopg.AsyncCursor[Row]

    @property
    def rowcount(self) -> int:
        """How many rows were written, or are in the answer."""
        return self.cursor.rowcount

    async def rows(self) -> list[Row]:
        """Return the rows; what can't be read of them is an error here, not where it was sent."""
        rows = self.cursor.fetchall()
        return rows if isinstance(rows, list) else await rows

    async def row(self) -> Row | None:
        """Return the first row; None if there is none."""
        rows = await self.rows()
        return rows[0] if rows else None


@attrs.frozen
class Sender:
    """Sends over a blocking connection."""

    connection: psycopg.Connection[Any]

    async def send(
        self, query: sql.SQL, parameters: Parameters = None, *, binary: bool = False
    ) -> Answer:
        """Carry out one statement."""
        cursor = with_loaders(psycopg.Cursor(self.connection, row_factory=tuple_row))
        cursor.execute(query, parameters, prepare=False, binary=binary)
        return Answer(cursor)

    async def send_together(
        self, queries: sql.SQL, parameters: Parameters = None
    ) -> list[list[Row]]:
        """Carry out the statements of one string; return the rows of each."""
        cursor = with_loaders(psycopg.ClientCursor(self.connection, row_factory=tuple_row))
        cursor.execute(queries, parameters)
        return [result.fetchall() if result.description else [] for result in cursor.results()]

    @asynccontextmanager
    async def savepoint(self, *, force_rollback: bool = False) -> AsyncGenerator[None]:
        """Undo what is sent within if that fails, or in any case."""
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
