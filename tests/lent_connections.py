"""
Connections to Postgres that are lent again, as a pool lends them.

A new one costs its server more than a cancel does. One that comes back within a transaction, or
broken, is closed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import psycopg
from psycopg.pq import TransactionStatus


@attrs.define
class LentConnections:
    """
    The connections to a place.

    Arguments:
        dsn: the place.
    """

    dsn: str
    _idle: list[Any] = attrs.field(factory=list)
    _opened: list[Any] = attrs.field(factory=list)

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[Any]]:
        """Yield one, for a transaction."""
        connection = self._idle.pop() if self._idle else psycopg.connect(self.dsn)
        try:
            yield self._known(connection)
        finally:
            self._take_back(connection)

    @asynccontextmanager
    async def lend_async(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        """As `lend`, awaited; not both of the same object."""
        connection = (
            self._idle.pop() if self._idle else await psycopg.AsyncConnection.connect(self.dsn)
        )
        try:
            yield self._known(connection)
        finally:
            self._take_back(connection)

    def open_connections(self) -> int:
        """Count those that are open, whoever has them."""
        return sum(not connection.closed for connection in self._opened)

    def close(self) -> None:
        """Close all of them; it waits for nothing."""
        for connection in self._opened:
            connection.pgconn.finish()
        self._idle.clear()
        self._opened.clear()

    def _known(self, connection: Any) -> Any:
        if connection not in self._opened:
            self._opened.append(connection)
        return connection

    def _take_back(self, connection: Any) -> None:
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            connection.pgconn.finish()
