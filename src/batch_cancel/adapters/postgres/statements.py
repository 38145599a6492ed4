"""Statements within a transaction whose context is known, on a connection of either kind."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.ground import Ground
from batch_cancel.adapters.postgres.outcomes import check_written, looked_at
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Row
from batch_cancel.adapters.postgres.sender import Answer, AnySender, Parameters
from batch_cancel.adapters.postgres.sql_parts import in_one_string
from batch_cancel.adapters.postgres_catalog import Facts, read_facts
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus


@attrs.frozen
class Statements:
    """The statements of one repository."""

    sender: AnySender
    ground: Ground

    @property
    def queries(self) -> Queries:
        """The statements of the schema."""
        return self.ground.queries

    async def execute(self, query: sql.SQL, parameters: Parameters) -> Answer:
        """Execute one statement."""
        return await self.sender.send(query, parameters, binary=True)

    async def execute_together(self, queries: sql.SQL, parameters: Parameters) -> list[list[Row]]:
        """Execute the statements of one string; return the rows of each."""
        return await self.sender.send_together(queries, parameters)

    async def facts(self, key: JobKey, *, contacts: bool = False) -> Facts | None:
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
            [(answer,)] = await (await self.execute(asked, {})).rows()
            facts = read_facts(answer)
            self.ground.learn(facts)
        return self.ground.checked(facts, key, contacts=contacts)

    async def run_late_triggers(self, facts: Facts) -> None:
        """Run the deferred triggers now."""
        if facts.deferrable:
            await self.execute_together(in_one_string(*self.ground.late_triggers(facts)), {})

    async def check_contacts(
        self, key: JobKey, ids: Sequence[str], statuses: frozenset[ContactStatus]
    ) -> None:
        """Refuse contacts that are not in the statuses that they were written in."""
        answer = await self.execute(self.queries.as_written(statuses), looked_at(key, ids))
        [(is_so,)] = await answer.rows()
        check_written(self.queries, key, is_so=is_so)
