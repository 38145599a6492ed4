"""The doctor's questions, on a connection with an open transaction."""

from __future__ import annotations

from typing import Final

import attrs
import psycopg

from batch_cancel.adapters.postgres.doctor.questions import (
    STATEMENTS,
    Condition,
    Look,
    Reading,
)
from batch_cancel.adapters.postgres.doctor.tables import Rows
from batch_cancel.adapters.postgres.sql_parts import trusted
from batch_cancel.adapters.postgres.transaction import Transaction

_REFUSALS: Final = ("0A", "22", "42", "55000")
"""The classes of SQLSTATEs that are about the statement, not about the moment."""


@attrs.frozen
class Catalog:
    """The doctor's questions, on a connection with an open transaction."""

    transaction: Transaction

    async def rows(self, name: str, **parameters: object) -> Rows:
        """Return the answer to a statement of catalog.sql."""
        answer = await self.transaction.send(trusted(STATEMENTS[name]), parameters)
        return await answer.rows()

    async def answer(self, question: str) -> str:
        """Return the single text that a statement without parameters returns."""
        [(text,)] = await (await self.transaction.send(trusted(question))).rows()
        return str(text)

    async def only_read(self) -> None:
        """Make the transaction read-only."""
        await self.transaction.send(trusted("SET TRANSACTION READ ONLY"))

    async def holds(self, condition: Condition) -> bool:
        """Check whether a condition holds; False if Postgres can't evaluate it."""
        parameters = {"statuses": list(condition.statuses)}
        try:
            async with self.transaction.savepoint():
                answer = await self.transaction.send(condition.question, parameters)
                return condition.answer(await answer.row())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False

    async def scans(self, reading: Reading) -> bool:
        """Check whether a statement would read a whole table; False if it has no plan."""
        try:
            async with self.transaction.savepoint():
                await self.transaction.send(trusted(STATEMENTS["no_scans"]))
                answer = await self.transaction.send(reading.question, reading.parameters)
                return reading.scans(await answer.rows())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return False

    async def refusal(self, reading: Reading) -> str | None:
        """Return Postgres' message for a statement that it refuses; None if it is planned."""
        try:
            async with self.transaction.savepoint():
                answer = await self.transaction.send(reading.question, reading.parameters)
                return reading.refusal(await answer.rows())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return error.diag.message_primary

    async def seen(self, look: Look) -> str | None:
        """Return the finding of a read of some rows; None if it fails or takes too long."""
        try:
            async with self.transaction.savepoint(force_rollback=True):
                await self.transaction.send(trusted(STATEMENTS["not_for_long"]))
                answer = await self.transaction.send(look.question, look.parameters)
                return look.finding(await answer.rows())
        except psycopg.Error as error:
            if not _is_of_the_statement(error):
                raise
            return None


def _is_refusal(error: psycopg.Error) -> bool:
    return (error.sqlstate or "").startswith(_REFUSALS)


def _is_of_the_statement(error: psycopg.Error) -> bool:
    """Check whether the connection still works; a policy may raise any error."""
    return error.sqlstate is not None and error.diag.severity_nonlocalized == "ERROR"
