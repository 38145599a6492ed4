"""What the history lacks; no cancel needs it, so all of it is a note."""

from __future__ import annotations

from collections.abc import Iterator

from batch_cancel.adapters.postgres.doctor.tables import Database

_BY_TIME = ["organization_id", "cancelled_at"]


def lacking(database: Database) -> Iterator[str]:
    """Yield what keeps the history from being whole, or quick."""
    ours, earlier = database.name("cancellations"), database.name("earlier")
    if database.tables["cancellations"].oid is None:
        return
    lost = f"so a job that is cancelled anew replaces its earlier record in {ours}"
    if database.tables["earlier"].oid is None:
        yield f"table {earlier} is missing, {lost}: run the SQL that `batch-cancel schema` prints"
    elif not all(
        it.privileges >= {"INSERT", "SELECT"} for it in database.columns_of("earlier").values()
    ):
        yield (
            f"the user that connects may not INSERT and SELECT {earlier}, {lost}: GRANT INSERT, "
            f"SELECT ON {earlier} to it"
        )
    indexes = database.indexes_of("cancellations")
    if database.tables["cancellations"].has_indexes and not any(
        list(it.columns[:2]) == _BY_TIME and it.predicate is None for it in indexes
    ):
        yield (
            f"no index finds the records of {ours} by their time, so each page of the history "
            "reads all of its organization's: make batch_cancellations_by_time as `batch-cancel "
            "schema` prints it"
        )
