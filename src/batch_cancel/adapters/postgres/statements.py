"""
Statements over one connection, within a transaction whose tables are known.

Each is sent without a prepared name, so that a pooler in transaction mode can stand between, and
by a cursor of our own.
"""

from __future__ import annotations

from typing import Any

import attrs
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.cursors import with_loaders
from batch_cancel.adapters.postgres.ground import Ground
from batch_cancel.adapters.postgres.parts import trusted
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Parameters, Row
from batch_cancel.adapters.postgres_facts import Facts, read_facts
from batch_cancel.domain.model import JobKey


@attrs.frozen
class Statements:
    """Statements over a blocking connection."""

    connection: psycopg.Connection[Any]
    ground: Ground

    @property
    def queries(self) -> Queries:
        """The statements of the schema."""
        return self.ground.queries

    def execute(
        self, query: sql.SQL, parameters: Parameters | list[object]
    ) -> psycopg.Cursor[Row]:
        """Carry out one statement."""
        cursor = with_loaders(psycopg.Cursor(self.connection, row_factory=tuple_row))
        return cursor.execute(query, parameters, prepare=False, binary=True)

    def execute_together(self, queries: list[sql.SQL], parameters: Parameters) -> list[list[Row]]:
        """Carry out several statements in one round trip; return the rows of each."""
        cursor = with_loaders(psycopg.ClientCursor(self.connection, row_factory=tuple_row))
        cursor.execute(joined(queries), parameters)
        return [result.fetchall() if result.description else [] for result in cursor.results()]

    def facts(self, key: JobKey, *, contacts: bool = False) -> Facts | None:
        """
        Return what the catalogs say of the tables; None where one of them is missing.

        Raises:
            StoreFailed: on these tables the job can't be handled; nothing was changed.
        """
        facts, asked = self.ground.known, self.ground.question
        if facts is None:
            if asked is None:
                return None
            [(answer,)] = self.execute(asked, {}).fetchall()
            facts = read_facts(answer)
        return self.ground.checked(facts, key, contacts=contacts)

    def settle_constraints(self, facts: Facts) -> None:
        """Let the triggers run that would run at the commit."""
        if facts.deferrable:
            self.execute_together(list(self.ground.constraints(facts)), {})


@attrs.frozen
class AsyncStatements:
    """Statements over an asyncio connection."""

    connection: psycopg.AsyncConnection[Any]
    ground: Ground

    @property
    def queries(self) -> Queries:
        """The statements of the schema."""
        return self.ground.queries

    async def execute(
        self, query: sql.SQL, parameters: Parameters | list[object]
    ) -> psycopg.AsyncCursor[Row]:
        """Carry out one statement."""
        cursor = with_loaders(psycopg.AsyncCursor(self.connection, row_factory=tuple_row))
        return await cursor.execute(query, parameters, prepare=False, binary=True)

    async def execute_together(
        self, queries: list[sql.SQL], parameters: Parameters
    ) -> list[list[Row]]:
        """Carry out several statements in one round trip; return the rows of each."""
        cursor = with_loaders(psycopg.AsyncClientCursor(self.connection, row_factory=tuple_row))
        await cursor.execute(joined(queries), parameters)
        return [
            await result.fetchall() if result.description else []
            async for result in cursor.results()
        ]

    async def facts(self, key: JobKey, *, contacts: bool = False) -> Facts | None:
        """
        Return what the catalogs say of the tables; None where one of them is missing.

        Raises:
            StoreFailed: on these tables the job can't be handled; nothing was changed.
        """
        facts, asked = self.ground.known, self.ground.question
        if facts is None:
            if asked is None:
                return None
            [(answer,)] = await (await self.execute(asked, {})).fetchall()
            facts = read_facts(answer)
        return self.ground.checked(facts, key, contacts=contacts)

    async def settle_constraints(self, facts: Facts) -> None:
        """Let the triggers run that would run at the commit."""
        if facts.deferrable:
            await self.execute_together(list(self.ground.constraints(facts)), {})


def joined(queries: list[sql.SQL]) -> sql.SQL:
    """Return one string of several statements; empty ones are left out."""
    return trusted("; ".join(it.as_string(None) for it in queries if it.as_string(None)))
