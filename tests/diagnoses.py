"""Asking both halves of the Postgres adapter what they find in a database."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo

from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
)
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Generator

    from batch_cancel.domain.diagnosis import Diagnosis


def diagnosed(dsn: str, *first: str, **names: Any) -> Diagnosis:
    """
    Return what both halves find, which is the same.

    Arguments:
        dsn: the database.
        first: what is sent on each connection before it is lent.
        names: the schema's.
    """
    schema = PostgresSchema(**names)

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(dsn)
        for statement in first:
            connection.execute(statement.encode())
        connection.commit()
        return connection

    async def connect_async() -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(dsn)
        for statement in first:
            await connection.execute(statement.encode())
        await connection.commit()
        return connection

    found = PostgresUnitOfWork(connect, schema).examine()
    assert asyncio.run(AsyncPostgresUnitOfWork(connect_async, schema).examine()) == found
    return found


@contextmanager
def a_stranger_to(dsn: str) -> Generator[str]:
    """Yield a connection string for a user who may enter this schema, and nothing else."""
    with psycopg.connect(dsn) as connection:
        [(namespace,)] = connection.execute("SELECT current_schema()").fetchall()
    name = f"user_{namespace}"
    execute(dsn, f"CREATE ROLE {name} LOGIN", f"GRANT USAGE ON SCHEMA {namespace} TO {name}")
    try:
        yield make_conninfo(dsn, user=name)
    finally:
        execute(dsn, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def execute(dsn: str, *statements: str) -> None:
    """Change a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def with_reference_tables(dsn: str, *statements: str) -> str:
    """Make the reference tables and ours, change them, and return the connection string."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_reference_tables(connection)
    execute(dsn, *statements)
    return dsn
