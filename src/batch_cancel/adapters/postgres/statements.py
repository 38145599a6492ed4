"""
Statements on one connection, within a transaction whose context is known.

Each is sent unprepared, so that a pooler in transaction mode works, and by our own cursor.
"""

from __future__ import annotations

from typing import Any

import attrs
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.cursors import with_loaders
from batch_cancel.adapters.postgres.ground import Ground
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Parameters, Row
from batch_cancel.adapters.postgres.sql_parts import in_one_string
from batch_cancel.adapters.postgres_catalog import Facts, read_facts
from batch_cancel.domain.job import JobKey


@attrs.frozen
class Statements:
    """Statements on a connection."""

    connection: psycopg.Connection[Any]
    ground: Ground

    @property
    def queries(self) -> Queries:
        """The statements of the schema."""
        return self.ground.queries

    def execute(
        self, query: sql.SQL, parameters: Parameters | list[object]
    ) -> psycopg.Cursor[Row]:
        """Execute one statement."""
        cursor = with_loaders(psycopg.Cursor(self.connection, row_factory=tuple_row))
        return cursor.execute(query, parameters, prepare=False, binary=True)

    def execute_together(self, queries: sql.SQL, parameters: Parameters) -> list[list[Row]]:
        """Execute the statements of one string; return the rows of each."""
        cursor = with_loaders(psycopg.ClientCursor(self.connection, row_factory=tuple_row))
        cursor.execute(queries, parameters)
        return [result.fetchall() if result.description else [] for result in cursor.results()]

    def facts(self, key: JobKey, *, contacts: bool = False) -> Facts | None:
        """
        Return the facts about the tables; None if a table is missing.

        Raises:
            StoreFailed: the job is not safe on these tables; nothing was changed.
        """
        facts = self.ground.known
        if facts is None:
            asked = self.ground.question
            if asked is None:
                return None
            [(answer,)] = self.execute(asked, {}).fetchall()
            facts = read_facts(answer)
            self.ground.learn(facts)
        return self.ground.checked(facts, key, contacts=contacts)

    def run_late_triggers(self, facts: Facts) -> None:
        """Run the deferred triggers now."""
        if facts.deferrable:
            self.execute_together(in_one_string(*self.ground.late_triggers(facts)), {})


@attrs.frozen
class AsyncStatements:
    """As `Statements`, awaited."""

    connection: psycopg.AsyncConnection[Any]
    ground: Ground

    @property
    def queries(self) -> Queries:
        """As `Statements.queries`."""
        return self.ground.queries

    async def execute(
        self, query: sql.SQL, parameters: Parameters | list[object]
    ) -> psycopg.AsyncCursor[Row]:
        """As `Statements.execute`, awaited."""
        cursor = with_loaders(psycopg.AsyncCursor(self.connection, row_factory=tuple_row))
        return await cursor.execute(query, parameters, prepare=False, binary=True)

    async def execute_together(self, queries: sql.SQL, parameters: Parameters) -> list[list[Row]]:
        """As `Statements.execute_together`, awaited."""
        cursor = with_loaders(psycopg.AsyncClientCursor(self.connection, row_factory=tuple_row))
        await cursor.execute(queries, parameters)
        return [
            await result.fetchall() if result.description else []
            async for result in cursor.results()
        ]

    async def facts(self, key: JobKey, *, contacts: bool = False) -> Facts | None:
        """As `Statements.facts`, awaited."""
        facts = self.ground.known
        if facts is None:
            asked = self.ground.question
            if asked is None:
                return None
            [(answer,)] = await (await self.execute(asked, {})).fetchall()
            facts = read_facts(answer)
            self.ground.learn(facts)
        return self.ground.checked(facts, key, contacts=contacts)

    async def run_late_triggers(self, facts: Facts) -> None:
        """As `Statements.run_late_triggers`, awaited."""
        if facts.deferrable:
            await self.execute_together(in_one_string(*self.ground.late_triggers(facts)), {})
