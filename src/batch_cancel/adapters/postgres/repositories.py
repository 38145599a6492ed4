"""The repositories within one transaction on Postgres."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

import attrs
import psycopg

from batch_cancel.adapters.postgres.ground import Ground
from batch_cancel.adapters.postgres.outcomes import (
    any_job,
    check_names,
    check_outcome,
    check_written,
    is_of_an_id,
    only,
)
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
from batch_cancel.adapters.postgres.statements import AsyncStatements, Statements
from batch_cancel.adapters.postgres.work_repository import AsyncWatched, AsyncWork, Watched, Work
from batch_cancel.domain.drift import Inventory
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus


class _Jobs(Watched):
    def lock(self, key: JobKey) -> Job | None:
        try:
            cursor = self.execute(self.queries.lock_job, named(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return None
            raise
        row = only(cursor.fetchmany(2), key)
        found = None if row is None else job(row, key, self.queries.schema)
        if found is None or found.status != JobStatus.CANCELLED:
            return found
        cursor = self.execute(self.queries.read_cancellation, named_in_record(found.key))
        row = cursor.fetchone()
        if row is None:
            return found
        return attrs.evolve(found, cancellation=cancellation(row, found.key))

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        statements = self.ground.mark_and_look(self.facts(job.key))
        results = self.execute_together(statements, recorded(record))
        check_outcome(self.queries, job.key, results)
        if self.ground.contacts_to_look_at is not None:
            self.check_contacts(
                job.key, self.ground.contacts_to_look_at, frozenset({ContactStatus.CANCELLED})
            )


class _Contacts(Statements):
    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        facts, asked, queries = self.facts(key), frozenset(statuses), self.queries
        if facts is None or not (facts.contacts_have_triggers or facts.jobs_are_rewritten):
            return self.execute(queries.cancel_contacts(asked), named(key)).rowcount
        # A trigger on jobs may write contacts once the job is marked.
        if not (facts.contacts_are_rewritten or facts.jobs_are_rewritten):
            cursor = self.execute(queries.count_cancelled_contacts(asked), named(key))
            written, cancelled = _counts(cursor.fetchall())
            check_written(queries, key, is_so=written == cancelled)
            return written
        cursor = self.execute(queries.list_cancelled_contacts(asked), named(key))
        rows = cursor.fetchall()
        check_written(queries, key, is_so=all(is_so for _, is_so in rows))
        self.ground.contacts_to_look_at = [contact_id for contact_id, _ in rows]
        return len(rows)


class _Outbox(Statements):
    def settle(self, record: CancellationRecord) -> None:
        self.execute(self.queries.mark_cancellation_done, recorded(record))

    def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        cursor = self.execute(self.queries.claim_cancellation, recorded(record))
        row = cursor.fetchone()
        return None if row is None else record_found(row, record.key)

    def find(self, key: JobKey) -> CancellationRecord | None:
        try:
            cursor = self.execute(self.queries.find_cancellation, sought(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return None
            raise
        row = cursor.fetchone()
        return None if row is None else record_found(row, key)

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        parameters: Parameters = {
            "limit": limit,
            "lease": lease,
            "announcements": announcements,
        }
        cursor = self.execute(self.queries.take_pending, parameters)
        records = [record_taken(row) for row in cursor.fetchall()]
        undone = self._undone(records)
        return [attrs.evolve(it, is_undone=it.key in undone) for it in records]

    def _undone(self, records: list[CancellationRecord]) -> set[JobKey]:
        """Return the keys of the jobs that exist and are not cancelled."""
        if not records:
            return set()
        ids = array_of(record.key.batch_job_id for record in records)
        try:
            with self.connection.transaction():
                cursor = self.execute(self.queries.find_undone, {"batch_job_ids": ids})
        except psycopg.DataError as error:
            if not is_of_an_id(error):
                raise
            # The column's type was changed; there is no job with an id that it cannot hold.
            if len(records) == 1:
                return set()
            return {key for it in records for key in self._undone([it])}
        return {JobKey(*row) for row in cursor.fetchall()}


class _Inspection(Statements):
    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        self.facts(any_job(self.queries))
        statement = self.queries.look(frozenset(statuses))
        cursor = self.execute(statement, {"limit": limit, "older_than": older_than})
        knows_calls = self.queries.schema.dialing_since is not None
        return check_names(inventory(cursor.fetchall(), knows_calls=knows_calls))


class _AsyncJobs(AsyncWatched):
    async def lock(self, key: JobKey) -> Job | None:
        try:
            cursor = await self.execute(self.queries.lock_job, named(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return None
            raise
        row = only(await cursor.fetchmany(2), key)
        found = None if row is None else job(row, key, self.queries.schema)
        if found is None or found.status != JobStatus.CANCELLED:
            return found
        cursor = await self.execute(self.queries.read_cancellation, named_in_record(found.key))
        row = await cursor.fetchone()
        if row is None:
            return found
        return attrs.evolve(found, cancellation=cancellation(row, found.key))

    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        statements = self.ground.mark_and_look(await self.facts(job.key))
        results = await self.execute_together(statements, recorded(record))
        check_outcome(self.queries, job.key, results)
        if self.ground.contacts_to_look_at is not None:
            await self.check_contacts(
                job.key, self.ground.contacts_to_look_at, frozenset({ContactStatus.CANCELLED})
            )


class _AsyncContacts(AsyncStatements):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        facts, asked, queries = await self.facts(key), frozenset(statuses), self.queries
        if facts is None or not (facts.contacts_have_triggers or facts.jobs_are_rewritten):
            return (await self.execute(queries.cancel_contacts(asked), named(key))).rowcount
        # A trigger on jobs may write contacts once the job is marked.
        if not (facts.contacts_are_rewritten or facts.jobs_are_rewritten):
            cursor = await self.execute(queries.count_cancelled_contacts(asked), named(key))
            written, cancelled = _counts(await cursor.fetchall())
            check_written(queries, key, is_so=written == cancelled)
            return written
        cursor = await self.execute(queries.list_cancelled_contacts(asked), named(key))
        rows = await cursor.fetchall()
        check_written(queries, key, is_so=all(is_so for _, is_so in rows))
        self.ground.contacts_to_look_at = [contact_id for contact_id, _ in rows]
        return len(rows)


class _AsyncOutbox(AsyncStatements):
    async def settle(self, record: CancellationRecord) -> None:
        await self.execute(self.queries.mark_cancellation_done, recorded(record))

    async def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        cursor = await self.execute(self.queries.claim_cancellation, recorded(record))
        row = await cursor.fetchone()
        return None if row is None else record_found(row, record.key)

    async def find(self, key: JobKey) -> CancellationRecord | None:
        try:
            cursor = await self.execute(self.queries.find_cancellation, sought(key))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return None
            raise
        row = await cursor.fetchone()
        return None if row is None else record_found(row, key)

    async def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        parameters: Parameters = {
            "limit": limit,
            "lease": lease,
            "announcements": announcements,
        }
        cursor = await self.execute(self.queries.take_pending, parameters)
        records = [record_taken(row) for row in await cursor.fetchall()]
        undone = await self._undone(records)
        return [attrs.evolve(it, is_undone=it.key in undone) for it in records]

    async def _undone(self, records: list[CancellationRecord]) -> set[JobKey]:
        if not records:
            return set()
        ids = array_of(record.key.batch_job_id for record in records)
        try:
            async with self.connection.transaction():
                cursor = await self.execute(self.queries.find_undone, {"batch_job_ids": ids})
        except psycopg.DataError as error:
            if not is_of_an_id(error):
                raise
            # The column's type was changed; there is no job with an id that it cannot hold.
            if len(records) == 1:
                return set()
            return {key for it in records for key in await self._undone([it])}
        return {JobKey(*row) for row in await cursor.fetchall()}


class _AsyncInspection(AsyncStatements):
    async def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        await self.facts(any_job(self.queries))
        statement = self.queries.look(frozenset(statuses))
        cursor = await self.execute(statement, {"limit": limit, "older_than": older_than})
        knows_calls = self.queries.schema.dialing_since is not None
        return check_names(inventory(await cursor.fetchall(), knows_calls=knows_calls))


def _counts(rows: list[Row]) -> tuple[int, int]:
    [(written, cancelled)] = rows
    return written, cancelled


class PostgresRepositories:
    """The repositories of one transaction on Postgres."""

    def __init__(self, connection: psycopg.Connection[Any], ground: Ground) -> None:
        self.jobs = _Jobs(connection, ground)
        self.contacts = _Contacts(connection, ground)
        self.outbox = _Outbox(connection, ground)
        self.inspection = _Inspection(connection, ground)
        self.work = Work(connection, ground)


class AsyncPostgresRepositories:
    """As `PostgresRepositories`, awaited."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], ground: Ground) -> None:
        self.jobs = _AsyncJobs(connection, ground)
        self.contacts = _AsyncContacts(connection, ground)
        self.outbox = _AsyncOutbox(connection, ground)
        self.inspection = _AsyncInspection(connection, ground)
        self.work = AsyncWork(connection, ground)
