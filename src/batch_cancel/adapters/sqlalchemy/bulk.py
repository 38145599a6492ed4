"""Find many jobs, and the order in which they are locked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from batch_cancel.adapters.sqlalchemy import columns
from batch_cancel.adapters.sqlalchemy.statements import Statements
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.bulk import JobFilter, unmapped
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey


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
    texts, ids = dict[JobKey, str](), list[Any]()
    for key in keys:
        with suppress(ValueError):  # The column cannot hold it, so there is no such job.
            texts[key] = str(columns.id_value(column, key.batch_job_id))
            ids.append(columns.bound(column, key.batch_job_id))
    asked = sa.select(*tables.names(statements.dialect)[:1]).where(column.in_(ids))
    rows: Any = statements.connection.execute(asked.order_by(column))
    places = {str(row[0]): place for place, row in enumerate(rows)}
    return sorted(texts, key=lambda key: places.get(texts[key], len(places)))
