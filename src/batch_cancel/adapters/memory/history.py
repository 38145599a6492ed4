"""The history of cancellations in the memory store's rows."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from batch_cancel.adapters.memory.rows import Rows
from batch_cancel.domain.history import Place, Wanted, is_forgettable
from batch_cancel.domain.job import CancellationRecord


def page(rows: Rows, wanted: Wanted, limit: int) -> list[CancellationRecord]:
    """Return the wanted records, the newest first."""
    records = [
        record
        for row in list(rows.values())
        for record in (row.cancellation, *row.earlier)
        if record is not None and wanted.holds(record)
    ]
    return sorted(records, key=Place.of, reverse=True)[:limit]


def forget(rows: Rows, before: datetime, retry_window: timedelta, limit: int) -> int:
    """Delete old records with nothing pending, the oldest first, and return how many."""
    before = min(before, rows.clock() - retry_window)
    old = [
        record
        for row in list(rows.values())
        for record in (
            *(it for it in row.earlier if it.cancelled_at < before),
            *(it for it in [row.cancellation] if it is not None and is_forgettable(it, before)),
        )
    ]
    forgotten = sorted(old, key=Place.of)[:limit]
    for record in forgotten:
        row = rows[record.key]
        rows[record.key] = attrs.evolve(
            row,
            cancellation=None if row.cancellation is record else row.cancellation,
            earlier=tuple(it for it in row.earlier if it is not record),
        )
    return len(forgotten)
