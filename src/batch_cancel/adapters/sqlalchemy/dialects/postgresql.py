"""Postgres: what holds in a transaction, and what is read before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from batch_cancel.adapters import postgres_catalog
from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.adapters.postgres_transactions import (
    DURABLY,
    LEVEL,
    READ_COMMITTED,
    TEMPORARY_LAST,
    check_isolation,
    timeouts,
)
from batch_cancel.adapters.sqlalchemy.columns import Moment
from batch_cancel.adapters.sqlalchemy.dialects.base import Copying, Database
from batch_cancel.adapters.sqlalchemy.dialects.upsert import added, upserted
from batch_cancel.adapters.sqlalchemy.errors import COMMITS_BY_ITSELF
from batch_cancel.adapters.sqlalchemy.facts import Seen, name_parts, quoted
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.diagnosis import Findings
from batch_cancel.domain.errors import StoreFailed


class Postgres(Database):
    """Postgres."""

    returns_rows = takes_slices = defers_triggers = True

    def open(
        self,
        connection: Connection,
        tables: SqlAlchemyTables,
        lock_timeout: timedelta,
        statement_timeout: timedelta,
    ) -> Seen:
        """Let the transaction begin as one of ours."""
        _check_transaction(connection)
        connection.execute(sa.text(READ_COMMITTED))
        set_each: list[sa.ColumnElement[Any]] = [
            sa.func.set_config(name, str(value), sa.true())
            for name, value in timeouts(lock_timeout, statement_timeout).items()
        ]
        # What this sets is in force for the names that are read after it.
        set_each.append(sa.literal_column(TEMPORARY_LAST))
        seen, level = _read(connection, tables, set_each, is_joined=False)
        check_isolation(level, is_joined=False)
        return seen

    def join(self, connection: Connection, tables: SqlAlchemyTables) -> Seen:
        """Let the caller's transaction begin, and check it."""
        _check_transaction(connection)
        seen, level = _read(connection, tables, [], is_joined=True)
        check_isolation(level, is_joined=True)
        return seen

    def now(self, connection: Connection) -> datetime:
        """Read the store's clock."""
        now: datetime = connection.execute(sa.select(self.clock())).scalar_one()
        return now

    def clock(self) -> sa.ColumnElement[Any]:
        """Return the clock in a query."""
        return sa.func.clock_timestamp(type_=Moment)

    def statement_time(self, column: sa.Column[Any]) -> sa.ColumnElement[Any] | None:
        """Return the clock as a value of a column; None for a converting type."""
        if not isinstance(column.type, sa.DateTime):
            return None
        now = sa.func.statement_timestamp()
        return now if column.type.timezone else sa.func.timezone("UTC", now)

    def locking(self, asked: sa.Select[Any]) -> sa.Select[Any]:
        """Return a query that locks, with the clock as read after the wait for the lock."""
        # Outside of the query that waits.
        locked = asked.cte("locked")
        return sa.select(locked, self.clock())

    def is_swept(self, ours: sa.Table) -> sa.ColumnElement[bool]:
        """Return the condition that all contacts of a record are cancelled."""
        # By the row as JSON: a table from before there were sweeps has no such column.
        row = sa.func.to_jsonb(ours.table_valued(), type_=postgresql.JSONB)
        return sa.func.coalesce(sa.cast(row["is_swept"].astext, sa.Boolean), sa.true())

    def keep(
        self,
        connection: Connection,
        ours: sa.Table,
        values: Mapping[str, Any],
        copying: Copying | None,
    ) -> None:
        """Add a record, or replace the one of an earlier cancellation of the job."""
        upserted(connection, postgresql.insert, ours, values, copying)

    def added(self, connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
        """Add a row, unless its primary key is there or is added meanwhile."""
        return added(connection, postgresql.insert, table, values)

    def delete(self, connection: Connection, table: sa.Table, old: sa.Select[Any]) -> int:
        """Delete the rows whose primary keys a query finds, and return how many."""
        # It may run a subquery twice and find other rows.
        is_old = sa.tuple_(*table.primary_key).in_(sa.select(old.cte("old")))
        return connection.execute(sa.delete(table).where(is_old)).rowcount

    def see_server(
        self,
        connection: Connection,
        seen: Seen,  # noqa: ARG002  # For others.
        found: Findings,
    ) -> None:
        """Note what the server forbids."""
        asked = sa.select(
            sa.cast(sa.func.current_setting("server_version_num"), sa.Integer),
            sa.or_(
                sa.func.pg_is_in_recovery(),
                sa.cast(sa.func.current_setting("transaction_read_only"), sa.Boolean),
            ),
        )
        version, is_read_only = connection.execute(asked).one()
        problems = postgres_catalog.server_problems(version, is_read_only=is_read_only)
        found.missing.extend(problems)

    def lacking(
        self, connection: Connection, table: sa.Table, columns: Sequence[str], privilege: str
    ) -> list[str]:
        """Return on which of a table's columns the user that connects lacks a privilege."""
        oid = _oid(connection, table)
        granted = connection.execute(
            sa.select(*(sa.func.has_column_privilege(oid, it, privilege) for it in columns))
        ).one()
        return [it for it, is_granted in zip(columns, granted, strict=True) if not is_granted]


def _oid(connection: Connection, table: sa.Table) -> sa.ColumnElement[Any]:
    """Return the expression of a table's oid; NULL if it is missing."""
    name = quoted(*name_parts(connection, table))
    return sa.cast(sa.func.to_regclass(name), postgresql.OID)


def _check_transaction(connection: Connection) -> None:
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise StoreFailed(COMMITS_BY_ITSELF)


def _read(
    connection: Connection,
    tables: SqlAlchemyTables,
    set_each: Sequence[sa.ColumnElement[Any]],
    *,
    is_joined: bool,
) -> tuple[Seen, object]:
    """Set what is to be set, and read the transaction's level and which tables these are."""
    ours = (tables.jobs, tables.contacts, tables.cancellations)
    oids = [_oid(connection, it) for it in ours]
    # As the server knows itself: an engine need not say where it connects to.
    server = sa.func.concat_ws(
        " ",
        sa.func.current_database(),
        sa.func.current_setting("port"),
        sa.func.inet_server_addr(),
    )
    settings: list[sa.ColumnElement[Any]] = [sa.literal_column(it) for it in (DURABLY, LEVEL)]
    asked = sa.select(*set_each, *settings, server, _is_usable(connection, tables), *oids)
    row = connection.execute(asked).one()[len(set_each) + 1 :]
    level_is, server_is, keeps_earlier, *found = row
    earlier = tables.earlier if keeps_earlier else None
    key = (server_is, *found)
    return Seen(tables, lambda: _facts(connection, found), key, is_joined, earlier), level_is


def _is_usable(connection: Connection, tables: SqlAlchemyTables) -> sa.ColumnElement[Any]:
    """Return the expression that checks whether earlier records may be read and added."""
    if tables.earlier is None:
        return sa.false()
    oid = _oid(connection, tables.earlier)
    return sa.and_(
        *(sa.func.has_table_privilege(oid, privilege) for privilege in ("INSERT", "SELECT"))
    )


def _facts(connection: Connection, oids: Sequence[int | None]) -> Facts | None:
    jobs, contacts, cancellations = oids
    if jobs is None or contacts is None or cancellations is None:
        return None
    question = postgres_catalog.question().format(
        jobs=jobs, contacts=contacts, cancellations=cancellations
    )
    return postgres_catalog.read_facts(connection.execute(sa.text(question)).scalar_one())
