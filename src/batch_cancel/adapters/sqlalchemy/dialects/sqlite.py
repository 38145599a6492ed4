"""SQLite: one lock for the whole file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, exc
from sqlalchemy.dialects import sqlite

from batch_cancel.adapters.sqlalchemy.dialects.base import Copying, Database
from batch_cancel.adapters.sqlalchemy.dialects.upsert import added, upserted
from batch_cancel.adapters.sqlalchemy.errors import COMMITS_BY_ITSELF
from batch_cancel.adapters.sqlalchemy.facts import (
    Seen,
    name_parts,
    sqlite_cache_key,
    sqlite_earlier,
    sqlite_facts,
)
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.errors import StoreFailed


class Sqlite(Database):
    """SQLite."""

    refuses_several = False

    def open(
        self,
        connection: Connection,
        tables: SqlAlchemyTables,
        lock_timeout: timedelta,  # noqa: ARG002  # The driver's own.
        statement_timeout: timedelta,  # noqa: ARG002
    ) -> Seen:
        """Let the transaction begin as one of ours."""
        return _opened(connection, tables, is_joined=False)

    def join(self, connection: Connection, tables: SqlAlchemyTables) -> Seen:
        """Let the caller's transaction begin, and check it."""
        return _opened(connection, tables, is_joined=True)

    def now(self, connection: Connection) -> datetime:  # noqa: ARG002  # This machine's.
        """Read this machine's clock."""
        return datetime.now(UTC)

    def keep(
        self,
        connection: Connection,
        ours: sa.Table,
        values: Mapping[str, Any],
        copying: Copying | None,
    ) -> None:
        """Add a record, or replace the one of an earlier cancellation of the job."""
        upserted(connection, sqlite.insert, ours, values, copying)

    def added(self, connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
        """Add a row, unless its primary key is there or is added meanwhile."""
        return added(connection, sqlite.insert, table, values)

    def delete(self, connection: Connection, table: sa.Table, old: sa.Select[Any]) -> int:
        """Delete the rows whose primary keys a query finds, and return how many."""
        # It counts no rows after WITH.
        is_old = sa.tuple_(*table.primary_key).in_(old)
        return connection.execute(sa.delete(table).where(is_old)).rowcount


def _opened(connection: Connection, tables: SqlAlchemyTables, *, is_joined: bool) -> Seen:
    # Waits for the lock and changes nothing: a SELECT would see what was there before the wait.
    try:
        connection.execute(sa.delete(tables.jobs).where(sa.false()))
    except exc.OperationalError as error:
        if not str(error.orig).startswith("no such table: "):
            raise
        jobs = ".".join(filter(None, name_parts(connection, tables.jobs)))
        reason = f"table {jobs} is missing: create it, or see which file the URL names"
        raise StoreFailed(reason) from error
    if not getattr(connection.connection.driver_connection, "in_transaction", True):
        raise StoreFailed(COMMITS_BY_ITSELF)
    return Seen(
        tables,
        lambda: sqlite_facts(connection, tables),
        sqlite_cache_key(connection, tables),
        is_joined,
        sqlite_earlier(connection, tables),
    )
