"""
A unit of work within the caller's transaction, on the caller's connection.

Rule 1: at most one `begin` is open on a connection. Savepoints are a stack: two that are open at
        once would roll back or release each other's work.
Rule 2: if leaving a savepoint fails, the outcome is unknown.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import attrs

from batch_cancel.adapters.sqlite.connection import SQL, Connection
from batch_cancel.adapters.sqlite.errors import Location
from batch_cancel.adapters.sqlite.repositories import SqliteRepositories, repositories
from batch_cancel.domain.errors import Fault, StoreFailed

_in_use: Final = set[int]()
"""The ids of the connections with an open `begin`, which holds the connection."""

_in_use_lock: Final = threading.Lock()

_numbers: Final = itertools.count(1)


@contextmanager
def _taken(connection: Connection) -> Generator[None]:
    """Reserve the connection for this `begin`."""
    name = id(connection.raw)
    with _in_use_lock:
        if name in _in_use:
            reason = (
                f"{connection.location.name} is in use by another cancel or worker's step: make "
                "the calls on one connection one after another, or use a connection for each"
            )
            raise StoreFailed(reason, fault=Fault.BUSY)
        _in_use.add(name)
    try:
        yield
    finally:
        with _in_use_lock:
            _in_use.discard(name)


@attrs.frozen
class Joined:
    """A unit of work within the caller's own transaction."""

    connection: Connection
    is_joined = True

    @contextmanager
    def begin(self) -> Generator[SqliteRepositories]:
        """
        Open a savepoint: release it on a clean exit, roll back to it on any exception.

        Raises:
            StoreFailed: another one is open on this connection.
        """
        with (
            _taken(self.connection),
            _texts_as_they_are(self.connection.raw),
            _savepoint(self.connection),
        ):
            self.connection.execute(SQL["take_write_lock"])
            yield repositories(self.connection)


@contextmanager
def _texts_as_they_are(raw: sqlite3.Connection) -> Generator[None]:
    """Read texts as str meanwhile, whatever the caller's text_factory is."""
    theirs, raw.text_factory = raw.text_factory, str
    try:
        yield
    finally:
        raw.text_factory = theirs


@contextmanager
def _savepoint(connection: Connection) -> Generator[None]:
    if not connection.raw.in_transaction:
        _begin_as_the_driver_would(connection)
    # A unique name, because a name refers to the innermost savepoint of that name.
    name = f"batch_cancel_{next(_numbers)}"
    connection.execute(f"SAVEPOINT {name}")
    try:
        yield
    except Exception:
        # SQLite may have rolled back the whole transaction, with the savepoint.
        if connection.raw.in_transaction:
            _leave(connection, f"ROLLBACK TO {name}")
            _leave(connection, f"RELEASE {name}")
        raise
    except BaseException:
        connection.roll_back(f"ROLLBACK TO {name}")
        connection.roll_back(f"RELEASE {name}")
        raise
    _leave(connection, f"RELEASE {name}")


def _leave(connection: Connection, statement: str) -> None:
    try:
        connection.raw.execute(statement)
    except sqlite3.Error as error:
        raise connection.location.fault(error, "unknown") from error


def _begin_as_the_driver_would(connection: Connection) -> None:
    # The driver sends BEGIN only with the first INSERT, UPDATE or DELETE. A savepoint before it
    # would be a transaction by itself, and its release would commit it.
    raw = connection.raw
    if raw.isolation_level is None or getattr(raw, "autocommit", None) is True:
        reason = (
            f"{connection.location.name} is in autocommit mode without a transaction: send BEGIN "
            "first"
        )
        raise StoreFailed(reason)
    connection.execute("BEGIN IMMEDIATE")


def joining(connection: sqlite3.Connection) -> Joined:
    """
    Return a unit of work within the caller's own transaction.

    The caller's commit is the moment of cancellation, and a rollback undoes it. The tables must
    exist. A connection with the driver's default transaction control gets its BEGIN here; on one
    in autocommit mode, send BEGIN first.

    Arguments:
        connection: a connection to the file, not used by other threads or tasks meanwhile.
    """
    return Joined(Connection(connection, Location("the caller's SQLite connection")))
