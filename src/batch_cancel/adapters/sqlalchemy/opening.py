"""
How a transaction is opened: what must hold in it, and what is read before anything else.

Rule 1: what is asked of the database here travels with what had to be sent anyway.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import attrs
from sqlalchemy import Connection
from sqlalchemy.pool import Pool, SingletonThreadPool, StaticPool

from batch_cancel.adapters.sqlalchemy.dialects import database_of
from batch_cancel.adapters.sqlalchemy.facts import Seen
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.errors import StoreFailed

_IDLE: Final = 0
"""The status of a connection of psycopg on which no transaction is open."""


def check_pool(pool: Pool) -> None:
    """
    Refuse the one connection that a pool has for all, while it is in a transaction of another.

    Our commit would be the end of that, and so would a mere look: giving the connection back rolls
    back.

    Raises:
        StoreFailed: it is.
    """
    # The connection of a StaticPool is made when it is first asked for.
    record: Any = vars(pool).get("connection") if isinstance(pool, StaticPool) else None
    if record is not None and _is_in_transaction(record.driver_connection):
        raise StoreFailed(_SHARED)


def check_shared(connection: Connection) -> None:
    """
    Refuse a thread's one connection while it is in a transaction of another, as `check_pool` does.

    Raises:
        StoreFailed: it is.
    """
    is_shared = isinstance(connection.engine.pool, SingletonThreadPool)
    if is_shared and _is_in_transaction(connection.connection.driver_connection):
        raise StoreFailed(_SHARED)


_SHARED: Final = (
    "this engine has a single connection, which is in another transaction: join that one with "
    "joining(), or use an engine whose pool has several connections"
)


def _is_in_transaction(driver: Any) -> bool:  # noqa: ANN401  # Of any driver.
    if (status := getattr(getattr(driver, "info", None), "transaction_status", None)) is not None:
        return bool(status != _IDLE)
    if (ask := getattr(driver, "is_in_transaction", None)) is not None:
        return bool(ask())
    return bool(getattr(driver, "in_transaction", False))


_STREAMING: Final = ("stream_results", "yield_per")


def _unstreamed(connection: Connection) -> dict[str, Any]:
    """
    Let a connection read its results whole, and return the options that are off now.

    A statement whose result is streamed does not report how many rows it wrote, and most cannot
    be sent at all.
    """
    options = connection.get_execution_options()
    streaming = {name: options[name] for name in _STREAMING if options.get(name)}
    if streaming:
        connection.execution_options(**dict.fromkeys(streaming))
    return streaming


@attrs.frozen
class Settings:
    """
    What holds in each transaction of ours, and in it alone.

    Arguments:
        lock_timeout: how long the server waits for a lock.
        statement_timeout: how long a statement may take there, and the transaction may be idle.
    """

    lock_timeout: timedelta
    statement_timeout: timedelta

    def open(self, connection: Connection, tables: SqlAlchemyTables) -> Seen:
        """
        Let the transaction begin as one of ours.

        Raises:
            StoreFailed: it can't be one.
        """
        _unstreamed(connection)
        database = database_of(connection.dialect)
        return database.open(connection, tables, self.lock_timeout, self.statement_timeout)


_OPEN: Final[dict[int, object]] = {}
"""The connections on which a cancel is open that was joined to them, by their identity."""


@attrs.define
class Joined:
    """
    The one cancel that may be open on a connection of the caller's.

    Two would be savepoints of which the one ends the other: whatever is undone or kept by either,
    half of the other is undone or kept with it. A second is refused, for waiting would be waiting
    for a task or thread that may itself wait for this one.

    Arguments:
        connection: the caller's.
        driver: the driver's connection.
        streaming: the options of the caller's that are off meanwhile.
        seen: what it saw of the tables.
    """

    connection: Connection
    driver: object
    streaming: dict[str, Any]
    seen: Seen

    def __enter__(self) -> Seen:
        return self.seen

    def __exit__(self, *_: object) -> None:
        self.connection.execution_options(**self.streaming)
        del _OPEN[id(self.driver)]


def join(connection: Connection, tables: SqlAlchemyTables) -> Joined:
    """
    Let the caller's transaction begin in earnest: drivers put that off until a statement.

    Raises:
        StoreFailed: another cancel is open on the connection, or the transaction is none to join.
    """
    driver = connection.connection.driver_connection
    mine = object()
    if _OPEN.setdefault(id(driver), mine) is not mine:
        msg = (
            "another cancel is open on this connection: join cancels to one connection one after "
            "another, or use a connection for each"
        )
        raise StoreFailed(msg)
    streaming = _unstreamed(connection)
    try:
        seen = database_of(connection.dialect).join(connection, tables)
    except BaseException:
        connection.execution_options(**streaming)
        del _OPEN[id(driver)]
        raise
    return Joined(connection, driver, streaming, seen)
