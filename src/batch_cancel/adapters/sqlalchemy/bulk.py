"""
The statements about many jobs of one organization.

Rule 1: on Postgres a slice of jobs is locked, cancelled and marked by a handful of statements.
        SQLite has no round trips to save, and MariaDB no RETURNING for an UPDATE: there each job
        has its own.
Rule 2: several transactions that lock jobs do so in the database's order of their ids, so that
        they never wait for each other in a circle.
Rule 3: which ids are equal is the database's decision. Where two of them differ in case only, each
        is looked up by itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from batch_cancel.adapters.sqlalchemy import columns
from batch_cancel.adapters.sqlalchemy.errors import written_otherwise
from batch_cancel.adapters.sqlalchemy.statements import (
    STILL_OPEN,
    Statements,
    as_record,
    recorded,
)
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.bulk import JobFilter, unmapped
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey, folded
from batch_cancel.domain.outcomes import RECORD_CHANGED
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus


def jobs_found(
    statements: Statements, wanted: JobFilter, after: JobKey | None, limit: int
) -> list[JobKey]:
    """Return the keys of the wanted jobs, by id."""
    tables = statements.tables
    refusal = unmapped(
        wanted,
        has_scheduled=tables.job_scheduled_at is not None,
        has_created=tables.job_created_at is not None,
    )
    if refusal is not None:
        raise StoreFailed(refusal)
    column = tables.jobs.c[tables.job_id]
    asked = (
        sa.select(*tables.names(statements.dialect))
        .where(tables.job_in(wanted.live_statuses))
        .order_by(column)
        .limit(limit)
    )
    if tables.job_organization_id is None:
        if wanted.organization_id is not None:
            return []
    else:
        theirs = tables.jobs.c[tables.job_organization_id]
        try:
            asked = asked.where(columns.is_id(theirs, wanted.organization_id))
        except ValueError:
            return []
    if after is not None:
        asked = asked.where(column > columns.bound(column, after.batch_job_id))
    rows: Any = statements.connection.execute(asked.where(*_times(tables, wanted)))
    return [JobKey(str(job_id), columns.text(its)) for job_id, its, _ in rows]


def _times(tables: SqlAlchemyTables, wanted: JobFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    for name, since, until in (
        (tables.job_scheduled_at, wanted.scheduled_after, wanted.scheduled_before),
        (tables.job_created_at, wanted.created_after, wanted.created_before),
    ):
        if name is None:
            continue
        column = tables.jobs.c[name]
        if since is not None:
            conditions.append(column >= columns.moment(column, since))
        if until is not None:
            conditions.append(column < columns.moment(column, until))
    return conditions


def in_order(statements: Statements, keys: Sequence[JobKey]) -> list[JobKey]:
    """
    Return the keys in the database's order of their ids; nothing is locked.

    Several transactions that lock jobs in this order never wait for each other in a circle.
    """
    tables = statements.tables
    column = tables.jobs.c[tables.job_id]
    texts, ids = dict[JobKey, str](), _ids(tables, keys)
    for key in keys:
        with suppress(ValueError):
            texts[key] = str(columns.id_value(column, key.batch_job_id))
    asked = sa.select(*tables.names(statements.dialect)[:1]).where(column.in_(ids))
    rows: Any = statements.connection.execute(asked.order_by(column))
    places = {str(row[0]): place for place, row in enumerate(rows)}
    return sorted(texts, key=lambda key: places.get(texts[key], len(places)))


def _ids(tables: SqlAlchemyTables, keys: Sequence[JobKey]) -> list[Any]:
    """Return the ids that the column can hold; of others there is no job."""
    column, ids = tables.jobs.c[tables.job_id], list[Any]()
    for key in keys:
        with suppress(ValueError):
            ids.append(columns.bound(column, key.batch_job_id))
    return ids


def _are_jobs(tables: SqlAlchemyTables, keys: Sequence[JobKey]) -> sa.ColumnElement[bool]:
    """
    Return the condition that a row of `jobs` is one of these.

    Raises:
        ValueError: no row can meet it.
    """
    of, organization_id = tables.jobs.c, keys[0].organization_id
    if tables.job_organization_id is None:
        are_theirs: sa.ColumnElement[bool] = sa.literal(organization_id, sa.Text).is_(None)
    else:
        are_theirs = columns.is_id(of[tables.job_organization_id], organization_id)
    are_these = of[tables.job_id].in_(_ids(tables, keys))
    return sa.and_(are_these, are_theirs, *tables.counting_jobs)


def locked_together(statements: Statements, keys: Sequence[JobKey]) -> dict[JobKey, Job | None]:
    """
    Lock the jobs in the order of their ids, and read them; for Postgres.

    Returns:
        the jobs by the keys that they were asked for by; None for a key that must be looked up by
        itself: all rows that it may be of are locked.
    """
    tables, dialect = statements.tables, statements.dialect
    try:
        are_these = _are_jobs(tables, keys)
    except ValueError:
        return {}
    reference = columns.as_text(tables.key_column, dialect).label("reference")
    asked = sa.select(*tables.names(dialect), tables.status_text(dialect), reference)
    asked = asked.where(are_these).order_by(tables.jobs.c[tables.job_id])
    locked = asked.with_for_update(key_share=True).cte("locked")
    clock = sa.func.clock_timestamp(type_=columns.Moment)
    by_name = defaultdict[tuple[str, str], list[Any]](list)
    for row in statements.connection.execute(sa.select(locked, clock)):
        by_name[folded(JobKey(str(row[0]), columns.text(row[1])))].append(row)
    asked_for = Counter(map(folded, keys))
    found = dict[JobKey, Job | None]()
    for key in keys:
        rows = by_name[folded(key)]
        if len(rows) == 1 == asked_for[folded(key)]:
            [(job_id, organization_id, deferred_id, status, its_reference, at)] = rows
            its = JobKey(str(job_id), columns.text(organization_id))
            status = tables.read_job_status(status)
            found[key] = Job(its, status, columns.text(deferred_id), at)
            statements.seen.references[its_reference] = its
        elif rows:
            found[key] = None
    return found


def with_records(statements: Statements, found: Mapping[JobKey, Job]) -> dict[JobKey, Job]:
    """Return the jobs with the records of those that are cancelled, in a new statement."""
    cancelled = [it.key for it in found.values() if it.status == JobStatus.CANCELLED]
    if not cancelled:
        return dict(found)
    ours = statements.tables.cancellations
    rows = statements.connection.execute(statements.records().where(_are_records(ours, cancelled)))
    records = {row.batch_job_id: row for row in rows}
    return {
        key: attrs.evolve(job, cancellation=as_record(row, job.key))
        if job.status == JobStatus.CANCELLED and (row := records.get(job.key.batch_job_id))
        else job
        for key, job in found.items()
    }


def _are_records(ours: sa.Table, keys: Sequence[JobKey]) -> sa.ColumnElement[bool]:
    ids = [key.batch_job_id for key in keys]
    organization_id = keys[0].organization_id or ""
    return sa.and_(ours.c.organization_id == organization_id, ours.c.batch_job_id.in_(ids))


def contacts_cancelled(
    statements: Statements, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
) -> dict[JobKey, int]:
    """
    Cancel the contacts of locked jobs, and return how many were changed, by job; for Postgres.

    Raises:
        StoreFailed: contacts are not as written, or of a job that cannot be known.
    """
    tables, seen = statements.tables, statements.seen
    statements.contact_of(keys[0])  # Raises if no contact can refer to such a job.
    its = tables.contacts.c
    column = its[tables.contact_job_id]
    if tables.key_column is tables.jobs.c[tables.job_id]:
        are_theirs: sa.ColumnElement[bool] = column.in_(
            [columns.bound(column, key.batch_job_id) for key in keys]
        )
    else:
        are_theirs = column.in_(sa.select(tables.key_column).where(_are_jobs(tables, keys)))
    if (name := tables.contact_organization_id) is not None:
        are_theirs &= columns.is_id(its[name], keys[0].organization_id)
    is_so = tables.contact_has({ContactStatus.CANCELLED}).label("is_so")
    done = (
        sa.update(tables.contacts)
        .where(are_theirs, tables.contact_in(statuses))
        .values(tables.contact_values(ContactStatus.CANCELLED))
        .values(statements.touched(tables.contacts, tables.contact_updated_at))
        .returning(columns.as_text(column, statements.dialect).label("reference"), is_so)
        .cte("done")
    )
    counted = sa.select(
        done.c.reference, sa.func.count(), sa.func.count().filter(done.c.is_so)
    ).group_by(done.c.reference)
    counts = dict.fromkeys(keys, 0)
    for reference, number, right in statements.connection.execute(counted):
        if number != right:
            what = f"{number - right} of {number} rows have another status than was written"
            raise written_otherwise(what)
        key = seen.references.get(reference)
        if key not in counts:
            raise StoreFailed(_WHOSE)
        counts[key] = int(number)
    return counts


_WHOSE: Final = "the contacts of several jobs cannot be distinguished by how they refer to them"


def kept_together(
    statements: Statements, records: Sequence[CancellationRecord]
) -> list[CancellationRecord]:
    """Keep the records of jobs that have none, and return the others; for Postgres."""
    ours = statements.tables.cancellations
    ordered = sorted(records, key=lambda it: it.key.batch_job_id)
    new = postgresql.insert(ours).values([recorded(it) for it in ordered])
    kept = statements.connection.execute(
        new.on_conflict_do_nothing().returning(ours.c.batch_job_id)
    )
    ids = set(kept.scalars())
    return [it for it in ordered if it.key.batch_job_id not in ids]


def mark_together(statements: Statements, records: Sequence[CancellationRecord]) -> None:
    """
    Mark locked jobs whose records are kept, and check what came of it; for Postgres.

    Raises:
        StoreFailed: a job, its record or its contacts are not as written.
    """
    tables, keys = statements.tables, [it.key for it in records]
    at = max(it.cancelled_at for it in records)
    marked = (
        sa.update(tables.jobs)
        .where(_are_jobs(tables, keys))
        .values(tables.job_values(JobStatus.CANCELLED))
        .values(statements.touched(tables.jobs, tables.job_updated_at, at))
    )
    number = statements.connection.execute(marked).rowcount
    if number != len(keys):
        msg = (
            f"marking {len(keys)} locked jobs changed {number} rows: a trigger or a policy is in "
            "the way"
        )
        raise StoreFailed(msg)
    has_organization = keys[0].organization_id is not None
    connection = statements.connection
    facts = statements.seen.of_contacts(connection, has_organization=has_organization)
    with statements.late_triggers_run(facts):
        asked = sa.select(*_outcome(tables, records))
        row: Any = connection.execute(asked).one()
    are_cancelled, are_kept, is_open = row
    if is_open:
        raise StoreFailed(STILL_OPEN, fault=Fault.INCOMPLETE)
    if are_cancelled != len(keys):
        what = "a job is not cancelled after its status was set"
        raise written_otherwise(what)
    if are_kept != len(keys):
        raise written_otherwise(RECORD_CHANGED)


def _outcome(
    tables: SqlAlchemyTables, records: Sequence[CancellationRecord]
) -> list[sa.ColumnElement[Any]]:
    """Return how many jobs and records are as written, and whether a contact is open."""
    keys, ours = [it.key for it in records], tables.cancellations
    are_jobs, counted = _are_jobs(tables, keys), sa.func.count()
    cancelled = sa.select(counted).where(are_jobs, tables.job_has({JobStatus.CANCELLED}))
    its = sa.tuple_(ours.c.batch_job_id, ours.c.operation_id, ours.c.contacts_cancelled)
    written = [(it.key.batch_job_id, it.operation_id, it.contacts_cancelled) for it in records]
    kept = sa.select(counted).where(_are_records(ours, keys), its.in_(written))
    is_open = tables.any_contact(tables.key_column, CANCELLABLE_CONTACTS)
    is_open = is_open.where(tables.is_contact_of_its_job()).correlate(tables.jobs)
    return [
        cancelled.select_from(tables.jobs).scalar_subquery(),
        kept.select_from(ours).scalar_subquery(),
        sa.exists().where(are_jobs, is_open.scalar_subquery().is_not(None)),
    ]
