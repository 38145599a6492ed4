"""
The repositories within one transaction on Postgres.

They are coroutines over a sender; the blocking ones run them, see
`batch_cancel.use_cases.run_blocking`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import partial

import attrs
import psycopg

from batch_cancel.adapters.postgres.bulk import Bulk
from batch_cancel.adapters.postgres.history import History
from batch_cancel.adapters.postgres.outcomes import (
    any_job,
    check_names,
    check_written,
    is_of_an_id,
    looked_at,
    only,
    unmet,
)
from batch_cancel.adapters.postgres.overview import OverviewOfJob
from batch_cancel.adapters.postgres.rows import (
    Parameters,
    Row,
    cancellation,
    inventory,
    job,
    named,
    named_in_record,
    record_found,
    record_taken,
    recorded,
    sought,
)
from batch_cancel.adapters.postgres.sql_parts import array_of
from batch_cancel.adapters.postgres.statements import Statements
from batch_cancel.adapters.postgres.sweep import Sweep
from batch_cancel.adapters.postgres.sweep_queries import sweep_queries_for
from batch_cancel.adapters.postgres.transaction import Transaction
from batch_cancel.adapters.postgres.work_repository import Work
from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.drift import Inventory
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.sweep import Chunk
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.use_cases.run_blocking import run


class Jobs(Statements):
    """The jobs."""

    async def lock(self, key: JobKey) -> Job | None:
        """As `JobRepository.lock`."""
        self.find_by_index()
        try:
            answer = await self.execute(self.queries.lock_job, named(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return None
            raise
        row = only(await answer.rows(), key)
        found = None if row is None else job(row, key, self.queries.schema)
        if found is None or found.status != JobStatus.CANCELLED:
            return found
        answer = await self.execute_alone(
            self.queries.read_cancellation, named_in_record(found.key)
        )
        row = await answer.row()
        if row is None:
            return found
        return attrs.evolve(found, cancellation=cancellation(row, found.key))

    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        """As `JobRepository.mark_cancelled`."""
        facts, ground = await self.facts(job.key), await self.transaction.ground()
        explain = partial(unmet, self.queries, job.key)
        queries = self.queries if record.is_swept else sweep_queries_for(self.queries)
        statement = ground.mark_and_demand(facts, queries.marking)
        self.transaction.hold(statement, recorded(record), explain)
        if ground.contacts_to_look_at is not None:
            demand = self.queries.demand_as_written(frozenset({ContactStatus.CANCELLED}))
            parameters = looked_at(self.queries, job.key, ground.contacts_to_look_at)
            self.transaction.hold(demand, parameters, explain)


class Contacts(Statements):
    """The contacts."""

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int | None:
        """As `ContactRepository.cancel`."""
        facts, asked, queries = await self.facts(key), frozenset(statuses), self.queries
        if facts is not None and (above := await Sweep(self.transaction).above(facts)) is not None:
            return await self._cancel_unless_many(key, asked, above, facts)
        if facts is None or not (facts.contacts_have_triggers or facts.jobs_are_rewritten):
            return (await self.execute(queries.cancel_contacts(asked), named(key))).rowcount
        # A trigger on jobs may write contacts once the job is marked.
        if not (facts.contacts_are_rewritten or facts.jobs_are_rewritten):
            answer = await self.execute(queries.count_cancelled_contacts(asked), named(key))
            written, cancelled = _counts(await answer.rows())
            check_written(queries, key, is_so=written == cancelled)
            return written
        answer = await self.execute(queries.list_cancelled_contacts(asked), named(key))
        rows = await answer.rows()
        check_written(queries, key, is_so=all(is_so for _, is_so in rows))
        ground = await self.transaction.ground()
        ground.contacts_to_look_at = [contact_id for contact_id, _ in rows]
        return len(rows)

    async def _cancel_unless_many(
        self, key: JobKey, statuses: frozenset[ContactStatus], above: int, facts: Facts
    ) -> int | None:
        sweeping, counted = sweep_queries_for(self.queries), facts.contacts_have_triggers
        statement = sweeping.cancel_unless_many(statuses, counted=counted)
        answer = await self.execute(statement, {**named(key), "above": above})
        if counted:
            written, cancelled = _counts(await answer.rows())
            check_written(self.queries, key, is_so=written == cancelled)
        else:
            written = answer.rowcount
        if written:
            return written
        [(are_left,)] = await (await self.execute(sweeping.are_left(statuses), named(key))).rows()
        if not are_left:
            return 0
        await Sweep(self.transaction).try_one(key, statuses)
        return None


class Outbox(Statements):
    """The records of cancellations."""

    async def settle(self, record: CancellationRecord) -> None:
        """As `Outbox.settle`."""
        self.transaction.hold_note(record)

    async def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        """As `Outbox.claim`."""
        queries = await self.begun()
        answer = await self.execute_alone(queries.claim_cancellation, recorded(record))
        row = await answer.row()
        return None if row is None else record_found(row, record.key)

    async def find(self, key: JobKey) -> CancellationRecord | None:
        """As `Outbox.find`."""
        queries = await self.begun()
        try:
            answer = await self.execute_alone(queries.find_cancellation, sought(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return None
            raise
        row = await answer.row()
        return None if row is None else record_found(row, key)

    async def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        """As `Outbox.take`."""
        parameters: Parameters = {
            "limit": limit,
            "lease": lease,
            "announcements": announcements,
        }
        queries = await self.begun()
        answer = await self.execute_alone(queries.take_pending, parameters)
        records = [record_taken(row) for row in await answer.rows()]
        undone = await self._undone(records)
        return [attrs.evolve(it, is_undone=it.key in undone) for it in records]

    async def _undone(self, records: list[CancellationRecord]) -> set[JobKey]:
        """Return the keys of the jobs that exist and are not cancelled."""
        if not records:
            return set()
        ids = array_of(record.key.batch_job_id for record in records)
        try:
            async with self.transaction.savepoint():
                answer = await self.execute(self.queries.find_undone, {"batch_job_ids": ids})
        except psycopg.DataError as error:
            if not is_of_an_id(error):
                raise
            # The column's type was changed; there is no job with an id that it cannot hold.
            if len(records) == 1:
                return set()
            return {key for it in records for key in await self._undone([it])}
        return {JobKey(*row) for row in await answer.rows()}


class Inspection(Statements):
    """The inspection."""

    async def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        """As `InspectionRepository.look`."""
        await self.facts(any_job(self.queries))
        statement = self.queries.look(frozenset(statuses))
        answer = await self.execute_alone(statement, {"limit": limit, "older_than": older_than})
        knows_calls = self.queries.schema.dialing_since is not None
        return check_names(inventory(await answer.rows(), knows_calls=knows_calls))


def _counts(rows: list[Row]) -> tuple[int, int]:
    [(written, cancelled)] = rows
    return written, cancelled


# The same, blocking ------------------------------------------------------------------------------


@attrs.frozen
class _Jobs:
    awaited: Jobs

    def lock(self, key: JobKey) -> Job | None:
        return run(self.awaited.lock(key))

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        run(self.awaited.mark_cancelled(job, record))


@attrs.frozen
class _Contacts:
    awaited: Contacts

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int | None:
        return run(self.awaited.cancel(key, statuses))


@attrs.frozen
class _Sweep:
    awaited: Sweep

    def lock(self, record: CancellationRecord) -> CancellationRecord | None:
        return run(self.awaited.lock(record))

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        return run(self.awaited.cancel(key, statuses))

    def note(self, record: CancellationRecord) -> None:
        run(self.awaited.note(record))


@attrs.frozen
class _Outbox:
    awaited: Outbox

    def settle(self, record: CancellationRecord) -> None:
        run(self.awaited.settle(record))

    def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        return run(self.awaited.claim(record))

    def find(self, key: JobKey) -> CancellationRecord | None:
        return run(self.awaited.find(key))

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        return run(self.awaited.take(limit, lease, announcements=announcements))


@attrs.frozen
class _Inspection:
    awaited: Inspection

    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        return run(self.awaited.look(limit, statuses, older_than))


@attrs.frozen
class _Work:
    awaited: Work

    def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        return run(self.awaited.start(key, statuses, deferred_id))

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        return run(self.awaited.claim(key, statuses, limit))

    def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
    ) -> list[tuple[str, Mapping[str, object]]]:
        return run(self.awaited.claim_returning(key, statuses, limit, columns))

    def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> bool:
        return run(self.awaited.has_contacts(key, statuses))

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        return run(self.awaited.settle(key, contact_id, settlement))

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        return run(self.awaited.expire(key, settlement, older_than))

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        return run(self.awaited.append(job, contacts))

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        return run(self.awaited.finish(key, unfinished))

    def status(self, key: JobKey) -> str | None:
        return run(self.awaited.status(key))


@attrs.frozen
class _Overview:
    awaited: OverviewOfJob

    def look(self, key: JobKey) -> Overview | None:
        return run(self.awaited.look(key))


@attrs.frozen
class _Bulk:
    awaited: Bulk

    def find(self, wanted: JobFilter, after: JobKey | None, limit: int) -> list[JobKey]:
        return run(self.awaited.find(wanted, after, limit))

    def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        return run(self.awaited.lock(keys))

    def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
    ) -> Mapping[JobKey, int] | None:
        return run(self.awaited.cancel(keys, statuses))

    def mark_cancelled(self, records: Sequence[CancellationRecord]) -> None:
        run(self.awaited.mark_cancelled(records))


@attrs.frozen
class _History:
    awaited: History

    def page(self, wanted: Wanted, limit: int) -> list[CancellationRecord]:
        return run(self.awaited.page(wanted, limit))

    def forget(self, before: datetime, retry_window: timedelta, limit: int) -> int:
        return run(self.awaited.forget(before, retry_window, limit))


class PostgresRepositories:
    """The repositories of one transaction on Postgres."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.jobs: _Jobs = _Jobs(Jobs(transaction))
        self.contacts: _Contacts = _Contacts(Contacts(transaction))
        self.outbox: _Outbox = _Outbox(Outbox(transaction))
        self.inspection: _Inspection = _Inspection(Inspection(transaction))
        self.work: _Work = _Work(Work(transaction))
        self.overview: _Overview = _Overview(OverviewOfJob(transaction))
        self.history: _History = _History(History(transaction))
        self.bulk: _Bulk = _Bulk(Bulk(transaction))
        self.sweep: _Sweep | None = (
            None if transaction.frame.is_joined else _Sweep(Sweep(transaction))
        )


class AsyncPostgresRepositories:
    """As `PostgresRepositories`, awaited."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.jobs: Jobs = Jobs(transaction)
        self.contacts: Contacts = Contacts(transaction)
        self.outbox: Outbox = Outbox(transaction)
        self.inspection: Inspection = Inspection(transaction)
        self.work: Work = Work(transaction)
        self.overview: OverviewOfJob = OverviewOfJob(transaction)
        self.history: History = History(transaction)
        self.bulk: Bulk = Bulk(transaction)
        self.sweep: Sweep | None = None if transaction.frame.is_joined else Sweep(transaction)
