"""Checks of a connection, ours or the caller's, before and after a transaction."""

from __future__ import annotations

import selectors
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, TypeVar

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from batch_cancel.adapters.postgres.cursors import AnyConnection
from batch_cancel.adapters.postgres.errors import lost
from batch_cancel.adapters.postgres_catalog import SQL_ASCII
from batch_cancel.domain.errors import StoreFailed

_Connect = TypeVar("_Connect")


def checked_connect(connect: _Connect) -> _Connect:
    """Return `connect`; raise a TypeError if it is no function."""
    if not callable(connect):
        msg = (
            "`connect` must be a function that returns a connection, for example "
            "lambda: psycopg.connect(dsn), or the method `connection` of a pool; got "
            f"{type(connect).__name__}"
        )
        raise TypeError(msg)
    return connect


def is_broken(connection: AnyConnection) -> bool:
    """Check, without a round trip, whether the server has closed the connection."""
    try:
        for _ in range(2):  # A pending error message, then the end of the file.
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


def has_unread(connection: AnyConnection) -> bool:
    """Check, without a round trip, whether the server has sent something unasked."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


def check_idle(connection: AnyConnection) -> None:
    """Check that a connection is not broken, and not in a transaction or a pipeline."""
    _check_no_pipeline(connection)
    match connection.info.transaction_status:
        case TransactionStatus.IDLE:
            return
        case TransactionStatus.UNKNOWN:
            raise lost()
        case _:
            msg = (
                "`connect` returned a connection that is already in a transaction: to cancel "
                "within your own transaction use joining(connection)"
            )
            raise StoreFailed(msg)


def check_committed(connection: AnyConnection) -> None:
    """Check that the commit was confirmed."""
    # psycopg's `transaction` ends without an error and without a COMMIT if the connection was
    # closed meanwhile.
    if connection.info.transaction_status != TransactionStatus.IDLE:
        msg = "the connection was closed before the commit was confirmed"
        raise psycopg.OperationalError(msg)


def check_transaction(connection: AnyConnection) -> None:
    """
    Check that a connection is in a transaction, or begins one with its next statement.

    That statement must come before the savepoint, which would otherwise be a transaction of its
    own.
    """
    _check_no_pipeline(connection)
    if connection.info.transaction_status == TransactionStatus.IDLE and connection.autocommit:
        msg = (
            "joining() needs a connection with an open transaction, and this one commits by "
            "itself: open one, or use PostgresUnitOfWork"
        )
        raise StoreFailed(msg)


def _check_no_pipeline(connection: AnyConnection) -> None:
    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
        msg = (
            "the connection is in pipeline mode, in which statements have no immediate result: "
            "leave the pipeline first"
        )
        raise StoreFailed(msg)


def check_encoding(connection: AnyConnection) -> None:
    """Check that a connection has an encoding; without one, texts are returned as bytes."""
    if connection.info.encoding == "ascii":  # psycopg's name for SQL_ASCII.
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            raise StoreFailed(SQL_ASCII)
        msg = "the connection's client_encoding is SQL_ASCII: set it to UTF8"
        raise StoreFailed(msg)


_busy: Final[set[int]] = set()
"""The connections with an open transaction or savepoint of this library."""

_busy_lock: Final = threading.Lock()


@contextmanager
def alone_on(connection: AnyConnection) -> Generator[None]:
    """
    Allow one transaction or savepoint of this library at a time on a connection.

    Two that are open at once, in two threads or tasks, would end each other: savepoints nest.

    Raises:
        StoreFailed: another one is open; no statement was sent.
    """
    with _busy_lock:
        if id(connection) in _busy:
            raise StoreFailed(_NOT_ALONE)
        _busy.add(id(connection))  # The id is unique while we hold the connection.
    try:
        yield
    finally:
        with _busy_lock:
            _busy.discard(id(connection))


_NOT_ALONE: Final = (
    "another call of this library is using this connection: make the calls on one connection one "
    "after another (no asyncio.gather, no threads)"
)
