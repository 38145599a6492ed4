"""The sweep of very large jobs on Postgres: their contacts after the job, in chunks."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import partial

from batch_cancel.adapters.postgres.outcomes import check_written, unmet
from batch_cancel.adapters.postgres.rows import named, record_found, recorded
from batch_cancel.adapters.postgres.statements import Statements
from batch_cancel.adapters.postgres.sweep_queries import SweepQueries, sweep_queries_for
from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.domain.defaults import SWEEP_ABOVE
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.sweep import Chunk


class Sweep(Statements):
    """The contacts of very large jobs."""

    @property
    def sweeping(self) -> SweepQueries:
        """The statements of a sweep."""
        return sweep_queries_for(self.queries)

    async def lock(self, record: CancellationRecord) -> CancellationRecord | None:
        """As `SweepRepository.lock`."""
        self.find_by_index()
        self.find_one_by_one()
        await self.begun()
        answer = await self.execute_alone(self.sweeping.lock_sweep, recorded(record))
        row = await answer.row()
        return None if row is None else record_found(row, record.key)

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        """As `SweepRepository.cancel`."""
        by_id = self.has_unique_ids(await self.facts(key))
        limit = self.transaction.sweep_above or SWEEP_ABOVE
        statement = self.sweeping.sweep_contacts(frozenset(statuses), by_id=by_id)
        answer = await self.execute(statement, {**named(key), "limit": limit})
        [(found, written, cancelled)] = await answer.rows()
        check_written(self.queries, key, is_so=written == cancelled)
        return Chunk(found, cancelled, limit)

    async def note(self, record: CancellationRecord) -> None:
        """As `SweepRepository.note`."""
        sweeping, explain = self.sweeping, partial(unmet, self.queries, record.key)
        statement = sweeping.note_last_chunk if record.is_swept else sweeping.note_chunk
        self.transaction.hold(statement, recorded(record), explain)

    async def try_one(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> None:
        """
        Check that a contact of a very large job can be cancelled, before the job is.

        A constraint or a trigger that refuses each of them would leave a job that is cancelled and
        whose contacts never are.

        Raises:
            StoreFailed: it is not as written. Postgres' own refusal is its error.
        """
        async with self.transaction.savepoint(force_rollback=True):
            statement = self.sweeping.try_contact(frozenset(statuses))
            [(is_so,)] = await (await self.execute(statement, named(key))).rows()
        check_written(self.queries, key, is_so=is_so)

    async def above(self, facts: Facts | None) -> int | None:
        """
        Return how many contacts this transaction changes at most; None if it changes all.

        It changes all if something may write a contact other than RETURNING shows it, such as an
        AFTER trigger: then the rows are read again before the one commit. And it changes all if
        no unique index finds a contact by its id: then each chunk would read all contacts. It also
        changes all if the id may be NULL: no chunk would find such a contact.
        """
        above = self.transaction.sweep_above
        if above is None or facts is None or not (await self.transaction.ground()).has_sweeps:
            return None
        is_plain = not (facts.jobs_are_rewritten or facts.contacts_are_rewritten)
        schema = self.queries.schema
        key = {schema.contact_id, schema.contact_job_id, schema.contact_organization_id}
        is_found = any(
            schema.contact_id in it.columns and it.columns <= key for it in facts.contacts.unique
        )
        is_there = schema.contact_id in facts.contacts.not_null
        return above if is_plain and is_found and is_there else None
