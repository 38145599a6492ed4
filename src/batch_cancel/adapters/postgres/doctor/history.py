"""What the history is missing; no cancel needs it, so each finding is a note."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from batch_cancel.adapters.postgres.doctor.tables import Database

_PRINTED: Final = "as `batch-cancel schema --from 0.1` prints it"

_INDEXES: Final = {
    ("organization_id", "cancelled_at"): (
        "no index finds the records of {ours} by their time, so each page of the history reads "
        f"all of its organization's: create batch_cancellations_by_time {_PRINTED}"
    ),
    ("cancelled_at",): (
        "no index finds the oldest records of {ours}, so forget reads all of them again and "
        f"again: create batch_cancellations_by_age {_PRINTED}"
    ),
}
"""The indexes of our own table, and what is slow without them."""


def lacking(database: Database) -> Iterator[str]:
    """Yield what makes the history incomplete or slow."""
    ours, earlier = database.name("cancellations"), database.name("earlier")
    if database.tables["cancellations"].oid is None:
        return
    lost = f"so a job that is cancelled again loses its earlier record in {ours}"
    if database.tables["earlier"].oid is None:
        yield (
            f"table {earlier} is missing, {lost}: run the SQL that `batch-cancel schema --from "
            "0.1` prints"
        )
    elif _may_keep(database, "cancellations") and not _may_keep(database, "earlier"):
        yield (
            f"the user that connects may not INSERT and SELECT {earlier}, {lost}: GRANT INSERT, "
            f"SELECT ON {earlier} to it"
        )
    if not database.tables["cancellations"].has_indexes:
        return
    whole = [it for it in database.indexes_of("cancellations") if it.predicate is None]
    for columns, sentence in _INDEXES.items():
        if not any(tuple(it.columns[: len(columns)]) == columns for it in whole):
            yield sentence.format(ours=ours)


def _may_keep(database: Database, field: str) -> bool:
    """Check whether the user that connects may read and add records."""
    columns = database.columns_of(field).values()
    return all(it.privileges >= {"INSERT", "SELECT"} for it in columns)
