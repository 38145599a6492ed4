"""What a connection must be like, ours or the caller's, before and after a transaction."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from batch_cancel.adapters.postgres.cursors import AnyConnection
from batch_cancel.adapters.postgres.errors import lost
from batch_cancel.adapters.postgres_catalog import SQL_ASCII
from batch_cancel.domain.errors import StoreFailed


def is_broken(connection: AnyConnection) -> bool:
    """Check, without asking the server, whether it has closed the connection meanwhile."""
    try:
        for _ in range(2):  # A pending error message, then the end of the file.
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


def check_idle(connection: AnyConnection) -> None:
    """Refuse a connection that is in a transaction or a pipeline already, or broken."""
    _check_no_pipeline(connection)
    match connection.info.transaction_status:
        case TransactionStatus.IDLE:
            return
        case TransactionStatus.UNKNOWN:
            raise lost()
        case _:
            msg = (
                "`connect` gave a connection that is in a transaction already: to cancel within "
                "your own transaction use joining(connection)"
            )
            raise StoreFailed(msg)


def check_committed(connection: AnyConnection) -> None:
    """Refuse to believe in a commit that was not confirmed."""
    # psycopg's `transaction` ends without a word, and without a COMMIT, on a connection that
    # somebody has closed meanwhile.
    if connection.info.transaction_status != TransactionStatus.IDLE:
        msg = "the connection was closed before the commit was confirmed"
        raise psycopg.OperationalError(msg)


def check_transaction(connection: AnyConnection) -> None:
    """
    Refuse a connection that is in no transaction, and will begin none with its next statement.

    That statement is ours: were the savepoint the first, it would be a transaction of its own.
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
            "the connection is in pipeline mode, in which no answer can be waited for: leave the "
            "pipeline first"
        )
        raise StoreFailed(msg)


def check_encoding(connection: AnyConnection) -> None:
    """Refuse a connection on which texts come as bytes, because nobody knows their encoding."""
    if connection.info.encoding == "ascii":  # psycopg's word for SQL_ASCII.
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            raise StoreFailed(SQL_ASCII)
        msg = "the connection's client_encoding is SQL_ASCII: set it to UTF8"
        raise StoreFailed(msg)


_busy: Final[set[int]] = set()
"""The connections with a transaction or a savepoint of ours that is open."""

_busy_lock: Final = threading.Lock()


@contextmanager
def alone_on(connection: AnyConnection) -> Generator[None]:
    """
    Keep a connection for one transaction or savepoint of ours at a time.

    Two that are open at once, in two threads or tasks, end each other's: savepoints nest.

    Raises:
        StoreFailed: another one is open; nothing was sent.
    """
    with _busy_lock:
        if id(connection) in _busy:
            raise StoreFailed(_NOT_ALONE)
        _busy.add(id(connection))  # It lives as long as we hold it, and so does its identity.
    try:
        yield
    finally:
        with _busy_lock:
            _busy.discard(id(connection))


_NOT_ALONE: Final = (
    "another call of this library is at work on this connection: those on one connection must "
    "follow each other, so wait for one before you begin the next (no asyncio.gather, no threads)"
)
