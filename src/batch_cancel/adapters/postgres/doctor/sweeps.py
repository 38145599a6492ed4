"""What sweeps are missing; a cancel works without them, so each finding is a note."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from batch_cancel.adapters.postgres.doctor.tables import Database

SWEEP_COLUMN: Final = "is_swept"
"""The column of our own table that a table of an older version lacks."""


def lacking(database: Database) -> Iterator[str]:
    """Yield what keeps very large jobs in one transaction, or makes reconcile slow."""
    ours, table = database.name("cancellations"), database.tables["cancellations"]
    if table.oid is None:
        return
    if not database.has_columns("cancellations", SWEEP_COLUMN):
        yield (
            f"column {SWEEP_COLUMN} is missing from {ours}, so a job with very many contacts is "
            "cancelled in one long transaction: add it as `batch-cancel schema --from 0.1` prints "
            "it"
        )
        return
    indexes = database.indexes_of("cancellations")
    is_served = any(SWEEP_COLUMN in (it.predicate or "") for it in indexes)
    if table.has_indexes and not is_served:
        yield (
            f"no index finds unfinished sweeps, so each reconcile reads all of {ours}: create "
            "batch_cancellations_sweeping as `batch-cancel schema --from 0.1` prints it"
        )
