"""Jobs, contacts and the records of cancellations, in one transaction; and a look at all three."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_cancel.adapters.sqlalchemy import columns
from batch_cancel.adapters.sqlalchemy.bulk import (
    contacts_cancelled,
    in_order,
    jobs_found,
    kept_together,
    locked_together,
    mark_together,
    with_records,
)
from batch_cancel.adapters.sqlalchemy.dialects.base import Copying
from batch_cancel.adapters.sqlalchemy.errors import written_otherwise
from batch_cancel.adapters.sqlalchemy.facts import Seen
from batch_cancel.adapters.sqlalchemy.history import History, replaced
from batch_cancel.adapters.sqlalchemy.inspection import Inspection
from batch_cancel.adapters.sqlalchemy.overview import OverviewOfJob
from batch_cancel.adapters.sqlalchemy.statements import (
    STILL_OPEN,
    Bridge,
    Statements,
    as_record,
    check_written,
    is_cancellation,
    is_record_of,
    recorded,
    several_jobs,
)
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.adapters.sqlalchemy.work_repository import Work
from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.cancellation import next_turn
from batch_cancel.domain.errors import Fault, StoreFailed, shown
from batch_cancel.domain.job import CancellationRecord, Job, JobKey, is_named
from batch_cancel.domain.outcomes import RECORD_CHANGED
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus, Removal
from batch_cancel.ports import AsyncRepositories
from batch_cancel.use_cases.awaited_repositories import Awaited, AwaitedRepositories

_R = TypeVar("_R")

_KEYS_MAX: Final = 1000
"""Of so many jobs the status is asked for in one statement."""


class _Jobs(Statements):
    def lock(self, key: JobKey) -> Job | None:
        tables, dialect = self.tables, self.dialect
        try:
            is_job = tables.is_job(key)
        except ValueError:
            return None
        asked: Any = sa.select(*tables.names(dialect), tables.status_text(dialect))
        asked = asked.where(is_job)
        if not self.database.may_lock(self.connection, asked):
            return None
        asked = self.database.locking(asked.with_for_update(key_share=True))
        rows: list[Any] = list(self.connection.execute(asked).all())
        if not rows:
            return None
        if len(rows) > 1:
            raise several_jobs(key)
        job_id, organization_id, deferred_id, status, *clock = rows[0]
        found = JobKey(str(job_id), columns.text(organization_id))
        if not is_named(found, key):
            return None  # The database reads " 42 " as 42; an id has one text form only.
        status = tables.read_job_status(status)
        job = Job(found, status, columns.text(deferred_id), clock[0] if clock else self.now())
        if status != JobStatus.CANCELLED:
            return job
        ours = tables.cancellations
        # A statement of its own, after the lock.
        row = self.connection.execute(self.records().where(is_record_of(ours, found))).first()
        return job if row is None else attrs.evolve(job, cancellation=as_record(row, found))

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        tables = self.tables
        _keep(self, record)
        marked = (
            sa.update(tables.jobs)
            .where(tables.is_job(job.key))
            .values(tables.job_values(JobStatus.CANCELLED))
            .values(self.touched(tables.jobs, tables.job_updated_at, record.cancelled_at))
        )
        rows_changed = self.connection.execute(marked).rowcount
        if rows_changed != 1:
            msg = (
                f"marking the locked job changed {rows_changed} rows instead of 1: a trigger or a "
                f"policy is in the way, or organization {shown(job.key.organization_id)} has "
                "several jobs of this id"
            )
            raise StoreFailed(msg)
        has_organization = job.key.organization_id is not None
        facts = self.seen.of_contacts(self.connection, has_organization=has_organization)
        with self.late_triggers_run(facts):
            self._check_outcome(record)

    def _check_outcome(self, record: CancellationRecord) -> None:
        """Look, in a statement of its own, whether all is as the answer will say."""
        tables, ours = self.tables, self.tables.cancellations
        its_own = sa.and_(
            is_record_of(ours, record.key),
            ours.c.operation_id == record.operation_id,
            ours.c.contacts_cancelled == record.contacts_cancelled,
        )
        is_cancelled = tables.job_has({JobStatus.CANCELLED})
        cancelled = sa.exists().where(tables.is_job(record.key), is_cancelled)
        is_kept = sa.exists().where(its_own)
        left = tables.any_contact_of(record.key, CANCELLABLE_CONTACTS)
        outcome = self.connection.execute(sa.select(cancelled, is_kept, left.is_(None))).one()
        if not outcome[2]:
            raise StoreFailed(STILL_OPEN, fault=Fault.INCOMPLETE)
        if not outcome[0]:
            what = "the job is not cancelled after its status was set"
            raise written_otherwise(what)
        if not outcome[1]:
            raise written_otherwise(RECORD_CHANGED)
        before = self.seen.cancelled_before.get(record.key)
        if before is not None:
            is_cancelled = tables.contact_has({ContactStatus.CANCELLED})
            number = self.count_contacts(self.contact_of(record.key), is_cancelled)
            check_written(number - before, record.contacts_cancelled)


def _keep(statements: Statements, record: CancellationRecord) -> None:
    ours, earlier = statements.tables.cancellations, statements.seen.earlier
    # Only an earlier record is copied: the query for it is made only then.
    copying: Copying | None = None
    if earlier is not None:
        copying = lambda: (earlier, *replaced(ours, earlier, record.key))  # noqa: E731  # Late.
    statements.database.keep(statements.connection, ours, recorded(record), copying)


class _Contacts(Statements):
    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        tables = self.tables
        has_organization = key.organization_id is not None
        facts = self.seen.of_contacts(self.connection, has_organization=has_organization)
        is_its = self.contact_of(key)
        is_cancelled = tables.contact_has({ContactStatus.CANCELLED})
        cancelled = (
            sa.update(tables.contacts)
            .where(is_its, tables.contact_in(statuses))
            .values(tables.contact_values(ContactStatus.CANCELLED))
            .values(self.touched(tables.contacts, tables.contact_updated_at))
        )
        # A trigger on jobs may write contacts, once the job is marked.
        if not (facts.contacts_are_rewritten or facts.jobs_are_rewritten):
            return self.write(cancelled, is_cancelled, is_rewritten=False)
        # They are counted again with the outcome, once late triggers have run.
        self.seen.cancelled_before[key] = self.count_contacts(is_its, is_cancelled)
        return self.write(cancelled, is_cancelled, is_rewritten=True)


class _Bulk(Statements):
    """Many jobs: together on Postgres; one by one elsewhere, and where triggers write rows."""

    def find(self, wanted: JobFilter, after: JobKey | None, limit: int) -> list[JobKey]:
        return jobs_found(self, wanted, after, limit)

    def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        jobs = _Jobs(self.connection, self.tables, self.seen)
        if not self.database.takes_slices:
            locked = {key: jobs.lock(key) for key in in_order(self, keys)}
            return {key: job for key, job in locked.items() if job is not None}
        together = locked_together(self, keys)
        found = with_records(self, {key: it for key, it in together.items() if it is not None})
        alone = {key: jobs.lock(key) for key, it in together.items() if it is None}
        return found | {key: it for key, it in alone.items() if it is not None}

    def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
    ) -> Mapping[JobKey, int]:
        if self._are_known(keys):
            return contacts_cancelled(self, keys, statuses)
        contacts = _Contacts(self.connection, self.tables, self.seen)
        return {key: contacts.cancel(key, statuses) for key in keys}

    def mark_cancelled(self, records: Sequence[CancellationRecord]) -> None:
        if self._are_known([record.key for record in records]):
            for record in kept_together(self, records):
                _keep(self, record)  # There was one of an earlier cancellation.
            mark_together(self, records)
            return
        jobs = _Jobs(self.connection, self.tables, self.seen)
        for record in records:
            status = record.previous_status.value
            job = Job(record.key, status, record.deferred_id, record.cancelled_at)
            jobs.mark_cancelled(job, record)

    def _are_known(self, keys: Sequence[JobKey]) -> bool:
        """Check whether these jobs were locked together, and no trigger writes their rows."""
        if not self.database.takes_slices or not set(keys) <= set(self.seen.references.values()):
            return False
        has_organization = keys[0].organization_id is not None
        facts = self.seen.of_contacts(self.connection, has_organization=has_organization)
        return not (facts.contacts_are_rewritten or facts.jobs_are_rewritten)


class _Outbox(Statements):
    def settle(self, record: CancellationRecord) -> None:
        ours = self.tables.cancellations
        # Only for the same cancellation, and never undoing progress.
        is_this = is_cancellation(ours, record)
        pending = ours.c.removal == Removal.PENDING.value
        removal = sa.case((pending, record.removal.value), else_=ours.c.removal)
        announced = sa.true() if record.is_announced else ours.c.is_announced
        self.connection.execute(
            sa.update(ours).where(is_this).values(removal=removal, is_announced=announced)
        )

    def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        ours, before = self.tables.cancellations, record.taken_at
        if before is None:
            return None
        taken_at = next_turn(before, self.now())
        mine = sa.and_(is_cancellation(ours, record), ours.c.taken_at == before)
        claimed = self.connection.execute(sa.update(ours).where(mine).values(taken_at=taken_at))
        return self.find(record.key) if claimed.rowcount else None

    def find(self, key: JobKey) -> CancellationRecord | None:
        ours = self.tables.cancellations
        row = self.connection.execute(self.records().where(is_record_of(ours, key))).first()
        if row is None:
            return None
        return attrs.evolve(as_record(row, key), is_undone=key in self._undone([key]))

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        ours, at = self.tables.cancellations, self.now()
        pending = ours.c.removal == Removal.PENDING.value
        pending_rows = sa.or_(pending, sa.not_(ours.c.is_announced)) if announcements else pending
        asked = (
            self.records()
            .where(pending_rows, ours.c.taken_at <= at - lease)
            .order_by(ours.c.taken_at)
            .limit(limit)
            .with_for_update(key_share=True, skip_locked=True)
        )
        rows = self.connection.execute(asked).all()
        found = {JobKey(row.batch_job_id, row.organization_id or None): row for row in rows}
        undone = self._undone(list(found))
        taken: list[CancellationRecord] = []
        for key, row in found.items():
            taken_at = next_turn(row.taken_at, at)
            mine = is_record_of(ours, key)
            self.connection.execute(sa.update(ours).where(mine).values(taken_at=taken_at))
            record = as_record(row, key)
            taken.append(attrs.evolve(record, taken_at=taken_at, is_undone=key in undone))
        return taken

    def _undone(self, keys: list[JobKey]) -> set[JobKey]:
        """Return which of these jobs exist and are not cancelled."""
        tables, undone = self.tables, set[JobKey]()
        column = tables.jobs.c[tables.job_id]
        is_cancelled = tables.job_has({JobStatus.CANCELLED})
        asked = sa.select(*tables.names(self.dialect)).where(
            sa.or_(sa.not_(is_cancelled), tables.jobs.c[tables.job_status].is_(None)),
            *tables.counting_jobs,
        )
        for start in range(0, len(keys), _KEYS_MAX):
            ids: list[Any] = []
            for key in keys[start : start + _KEYS_MAX]:
                with suppress(ValueError):  # The column's type was changed.
                    ids.append(columns.bound(column, key.batch_job_id))
            rows: Any = self.connection.execute(asked.where(column.in_(ids)))
            undone.update(
                JobKey(str(job_id), columns.text(organization_id))
                for job_id, organization_id, _ in rows
            )
        return undone


class SqlAlchemyRepositories:
    """The repositories of one transaction."""

    def __init__(self, connection: Connection, tables: SqlAlchemyTables, seen: Seen) -> None:
        self.jobs: _Jobs = _Jobs(connection, tables, seen)
        self.contacts: _Contacts = _Contacts(connection, tables, seen)
        self.outbox: _Outbox = _Outbox(connection, tables, seen)
        self.inspection: Inspection = Inspection(connection, tables, seen)
        self.work: Work = Work(connection, tables, seen)
        self.overview: OverviewOfJob = OverviewOfJob(connection, tables, seen)
        self.history: History = History(connection, tables, seen)
        self.bulk: _Bulk = _Bulk(connection, tables, seen)
        # However many contacts a job has, it is cancelled in one transaction.
        self.sweep: None = None


class AsyncSqlAlchemyRepositories(AwaitedRepositories):
    """As `SqlAlchemyRepositories`, awaited."""

    def __init__(self, connection: AsyncConnection, tables: SqlAlchemyTables, seen: Seen) -> None:
        started = cast("Connection", connection.sync_connection)  # It is in a transaction.
        super().__init__(SqlAlchemyRepositories(started, tables, seen), Bridge(connection))


async def bridged(repositories: AsyncRepositories, function: Callable[[Statements], _R], /) -> _R:
    """Return the answer of a function of the blocking half, called on the engine's bridge."""
    # By its jobs: a store of the adopter's may yield repositories of its own with ours in them.
    jobs = cast("Awaited[Statements]", repositories.jobs)
    return await jobs.call(function, jobs.port)
