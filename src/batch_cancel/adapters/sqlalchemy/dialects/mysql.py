"""
MariaDB and MySQL, with InnoDB.

Rule 1: a transaction of our own is READ COMMITTED, whatever the connection's default is. Under
        REPEATABLE READ, the default, it would miss contacts that were added while it waited, and
        lock gaps between the rows of others.
Rule 2: the timeouts are those of each statement (MariaDB's SET STATEMENT). Nothing is set on the
        connection, which may be a pool's. In MySQL, which has no such thing, they are the
        connection's own.
Rule 3: a row is looked at without a lock before it is locked: a query by primary key that locks
        keeps the lock of a row which the rest of the query excludes, such as another
        organization's.
Rule 4: what a query sorts, it locks as a whole. So rows to be picked are found first, and locked
        one by one.
Rule 5: on a node of Galera, a row lock is no promise (`certification.py`). A transaction of our
        own begins with a wait until the node has all that other nodes have committed before.
Rule 6: neither has RETURNING for an UPDATE: written rows are counted, and read again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, event, exc

from batch_cancel.adapters.sqlalchemy.columns import Moment
from batch_cancel.adapters.sqlalchemy.dialects.base import Copying, Database
from batch_cancel.adapters.sqlalchemy.dialects.galera import may_be_node, see_cluster
from batch_cancel.adapters.sqlalchemy.dialects.mysql_facts import facts_of
from batch_cancel.adapters.sqlalchemy.dialects.mysql_server import (
    check_mode,
    denied,
    is_strict,
    see_server,
)
from batch_cancel.adapters.sqlalchemy.errors import COMMITS_BY_ITSELF
from batch_cancel.adapters.sqlalchemy.facts import Seen, name_parts
from batch_cancel.adapters.sqlalchemy.mysql_faults import fatal, number_of
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.diagnosis import Findings
from batch_cancel.domain.errors import StoreFailed, shown

_SECOND: Final = timedelta(seconds=1)
_DUPLICATE: Final = "1062"
"""The error for a key that is there; the transaction goes on."""
_SERVER: Final = ("hostname", "port", "server_id")
"""The variables that name a server."""
_NO_SUCH_TEXT: Final = "1267"
"""The error for a text that the column's character set can't hold; the transaction goes on."""


class MySql(Database):
    """MariaDB and MySQL."""

    def open(
        self,
        connection: Connection,
        tables: SqlAlchemyTables,
        lock_timeout: timedelta,
        statement_timeout: timedelta,
    ) -> Seen:
        """Let the transaction begin as one of ours."""
        waits = may_be_node(connection)
        # Of the next transaction only, which begins with the next statement.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        if is_mariadb(connection):
            _bound(connection, lock_timeout, statement_timeout, waits_for_nodes=waits)
        return _seen(connection, tables, is_joined=False)[0]

    def join(self, connection: Connection, tables: SqlAlchemyTables) -> Seen:
        """Let the caller's transaction begin, and check it."""
        seen, level = _seen(connection, tables, is_joined=True)
        if level != "READ-COMMITTED":
            msg = (
                f"joining() needs a READ COMMITTED transaction, and this connection's are "
                f"{shown(level)}: other levels miss contacts that were added while it waited for "
                'the job, or see what is not committed; set isolation_level="READ COMMITTED" on '
                "the engine, or on the connection by its execution options"
            )
            raise StoreFailed(msg)
        return seen

    def now(self, connection: Connection) -> datetime:
        """Read the store's clock."""
        clock = sa.func.utc_timestamp(sa.literal_column("6"), type_=Moment)
        return connection.execute(sa.select(clock)).scalar_one()

    def statement_time(self, column: sa.Column[Any]) -> sa.ColumnElement[Any] | None:
        """Return the clock as a value of a column; None for a converting type."""
        if isinstance(column.type, sa.TIMESTAMP):
            return sa.func.now(sa.literal_column("6"))  # It keeps UTC, and takes local time.
        if isinstance(column.type, sa.DateTime):
            return sa.func.utc_timestamp(sa.literal_column("6"))
        return None

    def may_lock(self, connection: Connection, asked: sa.Select[Any]) -> bool:
        """Check whether a query finds a row, without a lock."""
        try:
            return connection.execute(asked.limit(1)).first() is not None
        except exc.OperationalError as error:
            if number_of(error.orig) != _NO_SUCH_TEXT:
                raise
            return False

    def picked(
        self,
        connection: Connection,
        asked: sa.Select[Any],
        locked: sa.Select[Any],
        column: sa.Column[Any],
        limit: int,
    ) -> list[Any]:
        """Lock up to so many rows that are not locked, and return the values of a query."""
        found: list[Any] = []
        seen: set[Any] = set()
        while len(found) < limit:
            look = asked.limit(limit - len(found))
            if seen:
                look = look.where(column.not_in(seen))
            some = list(connection.execute(look).scalars())
            if not some:
                break
            seen.update(some)
            # In the order of the first query; both read what is committed.
            ours = set(connection.execute(locked.where(column.in_(some))).scalars())
            found += [it for it in some if it in ours]
        return found

    def keep(
        self,
        connection: Connection,
        ours: sa.Table,
        values: Mapping[str, Any],
        copying: Copying | None,
    ) -> None:
        """
        Add a record, or replace the one of an earlier cancellation of the job.

        Only who holds the job's lock adds one. ON DUPLICATE KEY would not say which it did, and
        INSERT IGNORE would cut what is too long.
        """
        is_its = sa.and_(*(it == values[it.name] for it in ours.primary_key))
        look = sa.select(sa.literal(1)).select_from(ours).where(is_its)
        if connection.execute(look).first() is None:
            connection.execute(sa.insert(ours).values(**values))
            return
        if copying is not None:
            earlier, names, found = copying()
            row = connection.execute(found).one()
            copy = dict(zip(names, row, strict=True))
            is_there = sa.and_(*(it == copy[it.name] for it in earlier.primary_key))
            look = sa.select(sa.literal(1)).select_from(earlier).where(is_there)
            if connection.execute(look).first() is None:
                connection.execute(sa.insert(earlier).values(**copy))
        anew = {name: value for name, value in values.items() if not ours.c[name].primary_key}
        connection.execute(sa.update(ours).where(is_its).values(**anew))

    def added(self, connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
        """Add a row, unless its primary key is there or is added meanwhile."""
        try:
            connection.execute(sa.insert(table).values(**values))
        except exc.IntegrityError as error:
            if number_of(error.orig) != _DUPLICATE:
                raise
            return False
        return True

    def delete(self, connection: Connection, table: sa.Table, old: sa.Select[Any]) -> int:
        """Delete the rows whose primary keys a query finds, and return how many."""
        # No DELETE reads from the table that it deletes from.
        keys = [tuple(row) for row in connection.execute(old)]
        if not keys:
            return 0
        is_old = sa.tuple_(*table.primary_key).in_(keys)
        return connection.execute(sa.delete(table).where(is_old)).rowcount

    def see_server(self, connection: Connection, seen: Seen, found: Findings) -> None:
        """Note what the server's settings forbid, slow down or leave open."""
        see_server(connection, found, is_mariadb=is_mariadb(connection), is_joined=seen.is_joined)
        if seen.locks_are_local:
            see_cluster(connection, seen, found)

    def lacking(
        self, connection: Connection, table: sa.Table, columns: Sequence[str], privilege: str
    ) -> list[str]:
        """Return on which of a table's columns the user that connects lacks a privilege."""
        return denied(connection, *name_parts(connection, table), columns, privilege)


def is_mariadb(connection: Connection) -> bool:
    """Check whether the server is MariaDB, and not MySQL."""
    return bool(getattr(connection.dialect, "is_mariadb", False))


def _bound(
    connection: Connection,
    lock_timeout: timedelta,
    statement_timeout: timedelta,
    *,
    waits_for_nodes: bool,
) -> None:
    """
    Bound in time each statement on this connection, until it is returned to its pool.

    Arguments:
        connection: the connection.
        lock_timeout: how long one may wait for a lock.
        statement_timeout: how long it may take.
        waits_for_nodes: whether the first statement waits until this node has all that others have
            committed. No later one could: what a transaction sees is then known. Nor is the
            transaction sent to them in fragments before its commit: then nodes have come to a halt
            over two such transactions that wrote one row.
    """
    # Whole seconds; 0 would not wait at all.
    lock_seconds = max(1, math.ceil(lock_timeout / _SECOND))
    seconds = max(0.001, statement_timeout / _SECOND)
    settings = f"innodb_lock_wait_timeout={lock_seconds}, max_statement_time={seconds:.3f}"
    if waits_for_nodes:
        settings += ", wsrep_trx_fragment_size=0"
    first = ["wsrep_sync_wait=1, "] if waits_for_nodes else []

    def bounded(
        _connection: object, _cursor: object, statement: str, parameters: object, *_: object
    ) -> tuple[str, object]:
        once = first.pop() if first else ""
        return f"SET STATEMENT {once}{settings} FOR {statement}", parameters

    event.listen(connection, "before_cursor_execute", bounded, retval=True)


def _seen(
    connection: Connection, tables: SqlAlchemyTables, *, is_joined: bool
) -> tuple[Seen, object]:
    """Read the connection's isolation level, and which tables these are."""
    earlier = tables.earlier
    level = "tx_isolation" if is_mariadb(connection) else "transaction_isolation"
    names = ("autocommit", level, "sql_mode", "innodb_rollback_on_timeout", *_SERVER)
    asked: list[sa.ColumnElement[Any]] = [sa.literal_column(f"@@{it}") for it in names]
    asked.append(sa.func.database())
    asked.append(sa.false() if earlier is None else _exists(connection, earlier))
    asked.append(sa.literal_column("@@wsrep_on") if may_be_node(connection) else sa.false())
    row: Any = connection.execute(sa.select(*asked)).one()
    is_alone, level_is, mode, timeouts_are_fatal, *server, keeps_earlier, is_node = row
    if is_alone:
        raise StoreFailed(COMMITS_BY_ITSELF)
    check_mode(mode)
    cuts = not is_strict(mode)
    seen = Seen(
        tables,
        lambda: facts_of(connection, tables, cuts=cuts),
        (*server, cuts, *(name_parts(connection, it) for it in _tables(tables))),
        is_joined,
        earlier if keeps_earlier else None,
        locks_are_local=bool(is_node),
        fatal=fatal(timeouts_are=bool(timeouts_are_fatal)),
    )
    return seen, level_is


def _tables(tables: SqlAlchemyTables) -> tuple[sa.Table, ...]:
    return tables.jobs, tables.contacts, tables.cancellations


def _exists(connection: Connection, table: sa.Table) -> sa.ColumnElement[Any]:
    schema, name = name_parts(connection, table)
    its = sa.table("tables", sa.column("table_schema"), sa.column("table_name"))
    its.schema = "information_schema"
    return sa.exists().where(
        its.c.table_schema == (sa.func.database() if schema is None else schema),
        its.c.table_name == name,
    )
