"""How the tests of `check()` ask Postgres, look at its catalogs, and change what it says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
)

if TYPE_CHECKING:
    from collections.abc import Generator


def checked(dsn: str, **names: Any) -> list[str]:
    """Ask both halves, which say the same, whatever rows their connections make."""
    schema = PostgresSchema(**names)
    rows: Any = dict_row  # Else pyright asks a lambda for rows of tuples.

    async def ask() -> list[str]:
        return await AsyncPostgresUnitOfWork(
            lambda: psycopg.AsyncConnection.connect(dsn, row_factory=rows), schema
        ).check()

    blocking = PostgresUnitOfWork(lambda: psycopg.connect(dsn, row_factory=rows), schema)
    found = blocking.check()
    assert asyncio.run(ask()) == found
    return found


def catalog(dsn: str) -> list[Any]:
    """Return what a check could have changed: every row of the catalogs, by its last writer."""
    with psycopg.connect(dsn) as connection:
        return [
            connection.execute(
                b"SELECT xmin::text, ctid::text FROM %s ORDER BY 2" % table
            ).fetchall()
            for table in (b"pg_class", b"pg_attribute", b"pg_index", b"batch_jobs")
        ]


def rows(dsn: str, statement: str) -> list[Any]:
    """Run a statement, and give its rows."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


@contextlib.contextmanager
def replacing(port: int, old: bytes, new: bytes) -> Generator[int]:
    """Yield a port that leads to a server's, with some bytes of what it says replaced."""
    assert len(old) == len(new)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pipe(source: socket.socket, target: socket.socket, *, change: bool) -> None:
            with contextlib.suppress(OSError):
                while piece := source.recv(65_536):
                    target.sendall(piece.replace(old, new) if change else piece)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.create_connection(("127.0.0.1", port))
                    ways = [
                        threading.Thread(target=pipe, args=(client, server), kwargs={"change": 0}),
                        threading.Thread(target=pipe, args=(server, client), kwargs={"change": 1}),
                    ]
                    for way in ways:
                        way.start()
                    for way in ways:
                        way.join()
                    client.close()
                    server.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
