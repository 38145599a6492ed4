"""The doctor's questions, on a connection with an open transaction; blocking and asyncio."""

from __future__ import annotations

from typing import Any, Final

import attrs
import psycopg
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.cursors import with_loaders
from batch_cancel.adapters.postgres.doctor.questions import (
    STATEMENTS,
    Condition,
    Look,
    Reading,
)
from batch_cancel.adapters.postgres.doctor.tables import Rows
from batch_cancel.adapters.postgres.sql_parts import trusted

_REFUSALS: Final = ("0A", "22", "42", "55000")
"""The classes of SQLSTATEs that are about the statement, not about the moment."""


@attrs.frozen
class Catalog:
    """The doctor's questions, on a connection with an open transaction."""

    connection: psycopg.Connection[Any]

    def rows(self, name: str, **parameters: object) -> Rows:
        """Return the answer to a statement of catalog.sql."""
        cursor = self._cursor()
        cursor.execute(trusted(STATEMENTS[name]), parameters, prepare=False)
        return cursor.fetchall()

    def answer(self, question: str) -> str:
        """Return the single text that a statement without parameters returns."""
        cursor = self._cursor()
        cursor.execute(trusted(question), prepare=False)
        [(text,)] = cursor.fetchall()
        return str(text)

    def only_read(self) -> None:
        """Make the transaction read-only."""
        self._cursor().execute("SET TRANSACTION READ ONLY", prepare=False)

    def holds(self, condition: Condition) -> bool:
        """Check whether a condition holds; False if Postgres can't evaluate it."""
        parameters = {"statuses": list(condition.statuses)}
        try:
            with self.connection.transaction():
                cursor = self._cursor()
                cursor.execute(condition.question, parameters, prepare=False)
                return condition.answer(cursor.fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False

    def scans(self, reading: Reading) -> bool:
        """Check whether a statement would read a whole table; False if it has no plan."""
        try:
            with self.connection.transaction():
                cursor = self._cursor()
                cursor.execute(trusted(STATEMENTS["no_scans"]), prepare=False)
                cursor.execute(reading.question, reading.parameters, prepare=False)
                return reading.scans(cursor.fetchall())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return False

    def refusal(self, reading: Reading) -> str | None:
        """Return Postgres' message for a statement that it refuses; None if it is planned."""
        try:
            with self.connection.transaction():
                cursor = self._cursor()
                cursor.execute(reading.question, reading.parameters, prepare=False)
                return reading.refusal(cursor.fetchall())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return error.diag.message_primary

    def seen(self, look: Look) -> str | None:
        """Return the finding of a read of some rows; None if it fails or takes too long."""
        try:
            with self.connection.transaction(force_rollback=True):
                cursor = self._cursor()
                cursor.execute(trusted(STATEMENTS["not_for_long"]), prepare=False)
                cursor.execute(look.question, look.parameters, prepare=False)
                return look.finding(cursor.fetchall())
        except psycopg.Error as error:
            if not _is_of_the_statement(error):
                raise
            return None

    def _cursor(self) -> psycopg.Cursor[tuple[Any, ...]]:
        return with_loaders(psycopg.Cursor(self.connection, row_factory=tuple_row))


@attrs.frozen
class AsyncCatalog:
    """As `Catalog`, awaited."""

    connection: psycopg.AsyncConnection[Any]

    async def rows(self, name: str, **parameters: object) -> Rows:
        """As `Catalog.rows`, awaited."""
        cursor = self._cursor()
        await cursor.execute(trusted(STATEMENTS[name]), parameters, prepare=False)
        return await cursor.fetchall()

    async def answer(self, question: str) -> str:
        """As `Catalog.answer`, awaited."""
        cursor = self._cursor()
        await cursor.execute(trusted(question), prepare=False)
        [(text,)] = await cursor.fetchall()
        return str(text)

    async def only_read(self) -> None:
        """As `Catalog.only_read`, awaited."""
        await self._cursor().execute("SET TRANSACTION READ ONLY", prepare=False)

    async def holds(self, condition: Condition) -> bool:
        """As `Catalog.holds`, awaited."""
        parameters = {"statuses": list(condition.statuses)}
        try:
            async with self.connection.transaction():
                cursor = self._cursor()
                await cursor.execute(condition.question, parameters, prepare=False)
                return condition.answer(await cursor.fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False

    async def scans(self, reading: Reading) -> bool:
        """As `Catalog.scans`, awaited."""
        try:
            async with self.connection.transaction():
                cursor = self._cursor()
                await cursor.execute(trusted(STATEMENTS["no_scans"]), prepare=False)
                await cursor.execute(reading.question, reading.parameters, prepare=False)
                return reading.scans(await cursor.fetchall())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return False

    async def refusal(self, reading: Reading) -> str | None:
        """As `Catalog.refusal`, awaited."""
        try:
            async with self.connection.transaction():
                cursor = self._cursor()
                await cursor.execute(reading.question, reading.parameters, prepare=False)
                return reading.refusal(await cursor.fetchall())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return error.diag.message_primary

    async def seen(self, look: Look) -> str | None:
        """As `Catalog.seen`, awaited."""
        try:
            async with self.connection.transaction(force_rollback=True):
                cursor = self._cursor()
                await cursor.execute(trusted(STATEMENTS["not_for_long"]), prepare=False)
                await cursor.execute(look.question, look.parameters, prepare=False)
                return look.finding(await cursor.fetchall())
        except psycopg.Error as error:
            if not _is_of_the_statement(error):
                raise
            return None

    def _cursor(self) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        return with_loaders(psycopg.AsyncCursor(self.connection, row_factory=tuple_row))


def _is_refusal(error: psycopg.Error) -> bool:
    return (error.sqlstate or "").startswith(_REFUSALS)


def _is_of_the_statement(error: psycopg.Error) -> bool:
    """Check whether the connection still works; a policy may raise any error."""
    return error.sqlstate is not None and error.diag.severity_nonlocalized == "ERROR"
