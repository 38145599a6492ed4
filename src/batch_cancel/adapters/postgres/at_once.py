"""
The workers' steps as transactions of one string: beginning, statement and COMMIT.

Only where each call may be committed by itself (`begin_autocommit`).

Rule 1: the statement fails if its outcome must not be committed. Where another statement must look
        at it, because of a trigger, a rule, a policy or a view, the step is not made here.
Rule 2: the facts about the tables are those of an earlier transaction, so the string demands the
        same tables. Without facts the step is not made here.
Rule 3: a step that is not made here, or that Postgres refuses, is None: nothing was changed. It is
        made in a transaction of several strings, which explains an error.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import cache

from psycopg import sql

from batch_cancel.adapters.postgres.outcomes import settled
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import Parameters, Row, named
from batch_cancel.adapters.postgres.statements import Statements
from batch_cancel.adapters.postgres.transaction_settings import ONE_BY_ONE
from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.domain.errors import JobNotFound
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.worker_rules import Settlement


class WorkAtOnce(Statements):
    """The steps."""

    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool | None:
        """As `WorkRepository.start`."""
        rows = await self._commit(
            key,
            lambda it, _: _started(it, frozenset(statuses)),
            {**named(key), "deferred_id": deferred_id},
            unless=lambda it: it.jobs_have_triggers,
        )
        return None if rows is None else rows == [(1,)]

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str] | None:
        """As `WorkRepository.claim`."""
        rows = await self._commit(
            key,
            lambda it, _: it.claim_contacts(frozenset(statuses), is_claimed="demand_claimed"),
            {**named(key), "limit": limit},
            ONE_BY_ONE,
            unless=lambda it: it.contacts_are_rewritten,
            contacts=True,
        )
        return None if rows is None else [contact_id for contact_id, _ in rows]

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool | None:
        """As `WorkRepository.settle`."""
        rows = await self._commit(
            key,
            lambda it, facts: _settled(it, settlement.status, by_id=self.has_unique_ids(facts)),
            settled(key, contact_id, settlement),
            unless=lambda it: it.contacts_have_triggers,
            contacts=True,
        )
        return None if rows is None else rows == [(1,)]

    async def read(self, key: JobKey, query: sql.SQL) -> list[Row] | None:
        """Return the rows of a statement about a job that only reads, and so demands no tables."""
        return await self.transaction.ask_and_commit(query, named(key), None)

    async def has_contacts(self, key: JobKey, statuses: frozenset[ContactStatus]) -> bool | None:
        """As `ReadingWorkRepository.has_contacts`."""
        asked = named(key)
        rows = await self._commit(
            key, lambda it, _: it.has_contacts(statuses), asked, unless=lambda _: False
        )
        return None if rows is None else rows == [(True,)]

    async def _commit(
        self,
        key: JobKey,
        statement_of: Callable[[Queries, Facts], sql.SQL],
        parameters: Parameters,
        *settings: str,
        unless: Callable[[Facts], bool],
        contacts: bool = False,
    ) -> list[Row] | None:
        """
        Make a step.

        Arguments:
            key: the job.
            statement_of: returns its statement.
            parameters: its values.
            settings: statements that set something for it.
            unless: returns whether its outcome must be looked at by another statement.
            contacts: whether single contacts are named by their ids.
        """
        ground = self.transaction.expected()
        facts = None if ground is None else ground.known
        if ground is None or facts is None or unless(facts):
            return None
        if ground.problem(facts, key, contacts=contacts) is not None:
            return None
        try:
            its = ground.fitted(facts, key, parameters)
        except JobNotFound:
            return None  # If it is none on the tables of this transaction, either.
        statement = statement_of(ground.queries, facts)
        return await self.transaction.ask_and_commit(statement, its, ground, *settings)


@cache
def _started(queries: Queries, statuses: frozenset[JobStatus]) -> sql.SQL:
    return queries.statement("demand_one_row", step=queries.start_job(statuses))


@cache
def _settled(queries: Queries, status: ContactStatus, *, by_id: bool) -> sql.SQL:
    step = queries.settle_contact(status, by_id=by_id)
    return queries.statement("demand_one_row", step=step)
