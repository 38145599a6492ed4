"""A record kept with ON CONFLICT, which Postgres and SQLite have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from batch_cancel.adapters.sqlalchemy.dialects.base import Copying


def upserted(
    connection: Connection,
    insert: Callable[[sa.Table], Any],
    ours: sa.Table,
    values: Mapping[str, Any],
    copying: Copying | None,
) -> None:
    """Add a record, or replace the one of an earlier cancellation of the job."""
    kept = insert(ours).values(**values)
    new = kept.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    if connection.execute(new).rowcount == 1:
        return
    # An existing record is of an earlier cancellation; the job's status was set back since.
    if copying is not None:
        earlier, names, found = copying()
        copied = insert(earlier).from_select(names, found)
        connection.execute(copied.on_conflict_do_nothing())
    anew = {it.name: kept.excluded[it.name] for it in ours.columns if not it.primary_key}
    connection.execute(
        kept.on_conflict_do_update(index_elements=list(ours.primary_key), set_=anew)
    )
