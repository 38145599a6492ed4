"""The history of cancellations; reading it locks nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from batch_cancel.adapters.sqlalchemy.statements import (
    Statements,
    as_record,
    is_record_of,
)
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import Removal


class History(Statements):
    """The history."""

    def page(self, wanted: Wanted, limit: int) -> list[CancellationRecord]:
        """Return the wanted records, the newest first."""
        ours, earlier = self.tables.cancellations, self.seen.earlier
        records = self._records(ours, wanted, limit)
        if earlier is not None:
            both = sa.union_all(
                sa.select(records.subquery()),
                sa.select(self._records(earlier, wanted, limit).subquery()),
            ).subquery()
            records = sa.select(both).order_by(*_newest_first(both.c)).limit(limit)
        rows: Any = self.connection.execute(records)
        return [as_record(it, JobKey(it.batch_job_id, it.organization_id or None)) for it in rows]

    def forget(self, before: datetime, retry_window: timedelta, limit: int) -> int:
        """Delete old records with nothing pending, the oldest first, and return how many."""
        ours, earlier = self.tables.cancellations, self.seen.earlier
        at = min(before, self.now() - retry_window)
        settled = sa.and_(
            ours.c.removal != Removal.PENDING.value,
            ours.c.is_announced,
            self.database.is_swept(ours),
        )
        forgotten = self._delete(ours, sa.and_(ours.c.cancelled_at < at, settled), limit)
        if forgotten < limit and earlier is not None:
            forgotten += self._delete(earlier, earlier.c.cancelled_at < at, limit - forgotten)
        return forgotten

    def _records(self, table: sa.Table, wanted: Wanted, limit: int) -> sa.Select[Any]:
        """Return the query for one table's records, up to the size of the page."""
        its = table.c
        asked = sa.select(*self.columns_of(table)).where(
            its.organization_id == (wanted.organization_id or "")
        )
        if wanted.since is not None:
            asked = asked.where(its.cancelled_at >= wanted.since)
        if wanted.until is not None:
            asked = asked.where(its.cancelled_at < wanted.until)
        if (after := wanted.after) is not None:
            at = sa.literal(after.cancelled_at, its.cancelled_at.type)
            ids = (sa.literal(after.batch_job_id), sa.literal(after.operation_id))
            # The second condition implies the first, which is for the index.
            key = sa.tuple_(its.cancelled_at, its.batch_job_id, its.operation_id)
            asked = asked.where(its.cancelled_at <= at).where(key < sa.tuple_(at, *ids))
        return asked.order_by(*_newest_first(its)).limit(limit)

    def _delete(self, table: sa.Table, is_old: sa.ColumnElement[bool], limit: int) -> int:
        key = list(table.primary_key)
        # Locked when they are picked: none gets something pending before it is deleted.
        old = (
            sa.select(*key)
            .where(is_old)
            .order_by(table.c.cancelled_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return self.database.delete(self.connection, table, old)


def replaced(ours: sa.Table, earlier: sa.Table, key: JobKey) -> tuple[list[str], sa.Select[Any]]:
    """Return the columns of an earlier record, and the query for the one that is replaced."""
    names = [column.name for column in earlier.columns]
    found = sa.select(*(ours.c[name] for name in names)).where(is_record_of(ours, key))
    # Locked, so that what another transaction writes to it before is copied, too.
    return names, found.with_for_update(key_share=True)


def _newest_first(its: Any) -> list[sa.ColumnElement[Any]]:  # noqa: ANN401  # Columns of any kind.
    return [its.cancelled_at.desc(), its.batch_job_id.desc(), its.operation_id.desc()]
