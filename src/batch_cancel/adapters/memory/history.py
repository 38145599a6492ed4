"""The history of cancellations in the memory store's rows."""

from __future__ import annotations

from batch_cancel.adapters.memory.rows import Rows
from batch_cancel.domain.history import Place, Wanted
from batch_cancel.domain.job import CancellationRecord


def page(rows: Rows, wanted: Wanted, limit: int) -> list[CancellationRecord]:
    """Return the records that are asked for, the newest first."""
    records = [
        record
        for row in list(rows.values())
        for record in (row.cancellation, *row.earlier)
        if record is not None and wanted.holds(record)
    ]
    return sorted(records, key=Place.of, reverse=True)[:limit]
