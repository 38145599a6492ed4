"""The questions, asked over a connection whose transaction is open."""

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
from batch_cancel.adapters.postgres.sender import AnySender
from batch_cancel.adapters.postgres.sql_parts import trusted

_REFUSALS: Final = ("0A", "22", "42", "55000")
"""How the SQLSTATEs begin that say something of the statement, and not of the moment."""


@attrs.frozen
class Catalog:
    """The questions, over a connection whose transaction is open."""

    sender: AnySender

    async def rows(self, name: str, **parameters: object) -> Rows:
        """Return the answer to a statement of catalog.sql."""
        answer = await self.sender.send(trusted(STATEMENTS[name]), parameters)
        return await answer.rows()

    async def answer(self, question: str) -> str:
        """Return the one text that answers a question without parameters."""
        [(text,)] = await (await self.sender.send(trusted(question))).rows()
        return str(text)

    async def only_read(self) -> None:
        """Let Postgres itself refuse whatever would change something from here on."""
        await self.sender.send(trusted("SET TRANSACTION READ ONLY"))

    async def holds(self, condition: Condition) -> bool:
        """Check whether it holds; what Postgres can't say of a status alone does not."""
        parameters = {"statuses": list(condition.statuses)}
        try:
            async with self.sender.savepoint():
                answer = await self.sender.send(condition.question, parameters)
                return condition.answer(await answer.row())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False

    async def scans(self, reading: Reading) -> bool:
        """Check whether a statement would read all of a table; one without a plan does not."""
        try:
            async with self.sender.savepoint():
                await self.sender.send(trusted(STATEMENTS["no_scans"]))
                answer = await self.sender.send(reading.question, reading.parameters)
                return reading.scans(await answer.rows())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return False

    async def refusal(self, reading: Reading) -> str | None:
        """Return Postgres' words for what is wrong with a statement; None if it is planned."""
        try:
            async with self.sender.savepoint():
                answer = await self.sender.send(reading.question, reading.parameters)
                return reading.refusal(await answer.rows())
        except psycopg.Error as error:
            if not _is_refusal(error):
                raise
            return error.diag.message_primary

    async def seen(self, look: Look) -> str | None:
        """Return what a look at some rows finds; None where they can't be read, or not soon."""
        try:
            async with self.sender.savepoint(force_rollback=True):
                await self.sender.send(trusted(STATEMENTS["not_for_long"]))
                answer = await self.sender.send(look.question, look.parameters)
                return look.finding(await answer.rows())
        except psycopg.Error as error:
            if not _is_of_the_statement(error):
                raise
            return None


def _is_refusal(error: psycopg.Error) -> bool:
    return (error.sqlstate or "").startswith(_REFUSALS)


def _is_of_the_statement(error: psycopg.Error) -> bool:
    """Check whether the connection is as good as before; a policy may raise whatever it likes."""
    return error.sqlstate is not None and error.diag.severity_nonlocalized == "ERROR"
