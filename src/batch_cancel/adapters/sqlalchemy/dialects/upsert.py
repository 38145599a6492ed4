"""Rows added and kept with ON CONFLICT, which Postgres and SQLite have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from batch_cancel.adapters.sqlalchemy.dialects.base import Copying


def added(
    connection: Connection,
    insert: Callable[[sa.Table], Any],
    table: sa.Table,
    values: Mapping[str, Any],
) -> bool:
    """Add a row, unless its primary key is there or is added meanwhile."""
    # Named, so that a table without the key is refused.
    key = list(table.primary_key)
    new = insert(table).values(**values).on_conflict_do_nothing(index_elements=key)
    done = connection.execute(new.execution_options(preserve_rowcount=True))
    return bool(done.rowcount == 1)


def upserted(
    connection: Connection,
    insert: Callable[[sa.Table], Any],
    ours: sa.Table,
    values: Mapping[str, Any],
    copying: Copying | None,
) -> None:
    """Add a record, or replace the one of an earlier cancellation of the job."""
    if added(connection, insert, ours, values):
        return
    # An existing record is of an earlier cancellation; the job's status was set back since.
    if copying is not None:
        earlier, names, found = copying()
        copied = insert(earlier).from_select(names, found)
        connection.execute(copied.on_conflict_do_nothing())
    kept = insert(ours).values(**values)
    anew = {name: kept.excluded[name] for name in values if not ours.c[name].primary_key}
    connection.execute(
        kept.on_conflict_do_update(index_elements=list(ours.primary_key), set_=anew)
    )
