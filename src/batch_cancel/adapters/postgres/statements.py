"""Statements within a transaction whose context is known, on a connection of either kind."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import psycopg
from psycopg import sql

from batch_cancel.adapters.postgres.outcomes import check_written, looked_at
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Parameters
from batch_cancel.adapters.postgres.sender import Answer
from batch_cancel.adapters.postgres.sender import Parameters as Values
from batch_cancel.adapters.postgres.sql_parts import in_one_string, trusted
from batch_cancel.adapters.postgres.transaction import Transaction
from batch_cancel.adapters.postgres.transaction_settings import BY_INDEX, ONE_BY_ONE
from batch_cancel.adapters.postgres_catalog import Facts, read_facts
from batch_cancel.domain.errors import JobNotFound
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

    def find_one_by_one(self, *, again: bool = False) -> None:
        """
        Have an index find contacts in its order, if the transaction is ours and not begun.

        Arguments:
            again: whether it is begun, because what the next statement did was undone.
        """
        if not self.transaction.frame.is_joined and (again or not self.transaction.is_begun):
            self.transaction.hold(trusted(ONE_BY_ONE), {})

    def has_unique_ids(self, facts: Facts | None) -> bool:
        """Check whether the id of a contact is known to be unique among all contacts."""
        return facts is not None and facts.contacts.is_unique(self.queries.schema.contact_id)

    async def begun(self) -> Queries:
        """Begin the transaction if it is not, and return the statements, which fit our table."""
        await self.transaction.ground()
        return self.queries

    async def execute(self, query: sql.SQL, parameters: Values) -> Answer:
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
        facts, ground = await self.seen(), await self.transaction.ground()
        return None if facts is None else ground.checked(facts, key, contacts=contacts)

    async def seen(self) -> Facts | None:
        """Return the facts about the tables, whatever they are; None if a table is missing."""
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
        return facts

    async def fitted(self, key: JobKey, facts: Facts | None, parameters: Parameters) -> Parameters:
        """
        Return parameters that name a job, with the values by which its contacts refer to it.

        Raises:
            JobNotFound: an id has not the one form that its column shows.
        """
        ground = await self.transaction.ground()
        if facts is None:
            return parameters
        try:
            return ground.fitted(facts, key, parameters)
        except JobNotFound:
            ground.forget()  # The types may have been altered since they were read.
            read = await self.seen()
            return parameters if read is None else ground.fitted(read, key, parameters)

    async def step(
        self,
        key: JobKey,
        query: sql.SQL,
        parameters: Parameters,
        *,
        contacts: bool = True,
        one_by_one: bool = False,
    ) -> tuple[Answer, Facts | None, Parameters]:
        """
        Execute a statement of a step of workers, on tables that are safe for it.

        As the first of its transaction it is sent before the facts are checked, but together with
        the beginning. Nothing of it stays if they are not safe, or if an id has another form. If
        contacts refer to the job by another value than was expected, it is sent again.

        Arguments:
            key: the job.
            query: the statement.
            parameters: its values.
            contacts: whether it names single contacts by their ids.
            one_by_one: whether an index finds contacts in its order, if it is sent again.

        Returns:
            the answer, the facts, and the values that were sent.
        """
        sent, answer = self._expected_to_fit(key, parameters), None
        if not self.transaction.is_begun:
            try:
                answer = await self.execute(query, sent)
            except psycopg.ProgrammingError:
                await self.transaction.begin_again()
                await self.facts(key, contacts=contacts)  # The better error, if it raises one.
                raise
        facts = await self.facts(key, contacts=contacts)
        fitted = await self.fitted(key, facts, parameters)
        if answer is not None and fitted == sent:
            return answer, facts, fitted
        if answer is not None:
            await self.transaction.begin_again()
            if one_by_one:
                self.find_one_by_one(again=True)
        return await self.execute(query, fitted), facts, fitted

    def _expected_to_fit(self, key: JobKey, parameters: Parameters) -> Parameters:
        """Return parameters by the facts of an earlier transaction, which the tables may belie."""
        ground = self.transaction.expected()
        facts = None if ground is None else ground.known
        if ground is None or facts is None:
            return parameters
        try:
            return ground.fitted(facts, key, parameters)
        except JobNotFound:
            return parameters

    async def run_late_triggers(self, facts: Facts) -> None:
        """Run the deferred triggers now."""
        if facts.deferrable:
            ground = await self.transaction.ground()
            self.transaction.hold(in_one_string(*ground.late_triggers(facts)), {})

    async def check_contacts(
        self,
        key: JobKey,
        facts: Facts,
        ids: Sequence[str],
        statuses: frozenset[ContactStatus],
    ) -> None:
        """Refuse contacts that are not in the statuses that they were written in."""
        its = await self.fitted(key, facts, looked_at(self.queries, key, ids))
        answer = await self.execute(self.queries.as_written(statuses), its)
        [(is_so,)] = await answer.rows()
        check_written(self.queries, key, is_so=is_so)
