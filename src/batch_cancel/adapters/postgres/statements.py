"""Statements within a transaction whose context is known, on a connection of either kind."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import psycopg
from psycopg import sql

from batch_cancel.adapters.postgres.outcomes import check_written, looked_at
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.sender import Answer, Parameters
from batch_cancel.adapters.postgres.sql_parts import in_one_string, trusted
from batch_cancel.adapters.postgres.transaction import Transaction
from batch_cancel.adapters.postgres.transaction_settings import BY_INDEX, ONE_BY_ONE
from batch_cancel.adapters.postgres_catalog import Facts, read_facts
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus


@attrs.frozen
class Statements:
    """The statements of one repository."""

    transaction: Transaction

    @property
    def queries(self) -> Queries:
        """The statements of the schema."""
        return self.transaction.queries

    def find_by_index(self) -> None:
        """Have an index find a job's contacts, if the transaction may sweep and is not begun."""
        if self.transaction.sweep_above is not None and not self.transaction.is_begun:
            self.transaction.hold(trusted(BY_INDEX), {})

    def find_one_by_one(self) -> None:
        """Have an index find contacts in its order, if the transaction is ours and not begun."""
        if not (self.transaction.frame.is_joined or self.transaction.is_begun):
            self.transaction.hold(trusted(ONE_BY_ONE), {})

    def has_unique_ids(self, facts: Facts | None) -> bool:
        """Check whether the id of a contact is known to be unique among all contacts."""
        return facts is not None and facts.contacts.is_unique(self.queries.schema.contact_id)

    async def begun(self) -> Queries:
        """Begin the transaction if it is not, and return the statements, which fit our table."""
        await self.transaction.ground()
        return self.queries

    async def execute(self, query: sql.SQL, parameters: Parameters) -> Answer:
        """Execute one statement, whose answer has no times."""
        return await self.transaction.ask(query, parameters)

    async def execute_alone(self, query: sql.SQL, parameters: Parameters) -> Answer:
        """Execute one statement, whose answer may have times."""
        return await self.transaction.send(query, parameters, binary=True)

    async def facts(self, key: JobKey, *, contacts: bool = False) -> Facts | None:
        """
        Return the facts about the tables; None if a table is missing.

        Raises:
            StoreFailed: the job is not safe on these tables; nothing was changed.
        """
        ground = await self.transaction.ground()
        ground.note()
        facts = ground.known
        if facts is None:
            asked = ground.question
            if asked is None:
                return None
            [(answer,)] = await (await self.execute(asked, {})).rows()
            facts = read_facts(answer)
            ground.learn(facts)
        return ground.checked(facts, key, contacts=contacts)

    async def step(
        self, key: JobKey, query: sql.SQL, parameters: Parameters
    ) -> tuple[Answer, Facts | None]:
        """
        Execute a statement about single contacts on tables that are safe for them.

        As the first of its transaction it is sent before the facts are checked, but together with
        the beginning. Nothing of it stays if they are not safe.
        """
        if self.transaction.is_begun:
            facts = await self.facts(key, contacts=True)
            return await self.execute(query, parameters), facts
        try:
            answer = await self.execute(query, parameters)
        except psycopg.ProgrammingError:
            await self.transaction.begin_again()
            await self.facts(key, contacts=True)  # The better error, if it raises one.
            raise
        return answer, await self.facts(key, contacts=True)

    async def run_late_triggers(self, facts: Facts) -> None:
        """Run the deferred triggers now."""
        if facts.deferrable:
            ground = await self.transaction.ground()
            self.transaction.hold(in_one_string(*ground.late_triggers(facts)), {})

    async def check_contacts(
        self, key: JobKey, ids: Sequence[str], statuses: frozenset[ContactStatus]
    ) -> None:
        """Refuse contacts that are not in the statuses that they were written in."""
        answer = await self.execute(
            self.queries.as_written(statuses), looked_at(self.queries, key, ids)
        )
        [(is_so,)] = await answer.rows()
        check_written(self.queries, key, is_so=is_so)
