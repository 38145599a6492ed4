"""
The settings at the beginning of each transaction, ours or the caller's, in one round trip.

The rules are those of `postgres_transactions`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from psycopg import sql

from batch_cancel.adapters.postgres.schema import PostgresSchema, Table
from batch_cancel.adapters.postgres.sql_parts import quoted, trusted, typed
from batch_cancel.adapters.postgres_transactions import (
    DURABLY,
    LEVEL,
    READ_COMMITTED,
    TEMPORARY_LAST,
    timeouts,
)

_TIMEOUT_MAX: Final = timedelta(milliseconds=2**31 - 1)
"""The longest timeout that Postgres accepts: not quite 25 days."""

_OID: Final = (
    "(SELECT c.oid::bigint FROM pg_catalog.pg_class AS c "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE n.nspname = {namespace} AND c.relname = {name})"
)


def check_timeout(name: str, value: timedelta) -> None:
    """
    Check a timeout.

    Raises:
        ValueError: it is negative, or longer than 2,147,483,647 ms.
    """
    if not timedelta(0) <= value <= _TIMEOUT_MAX:
        msg = f"{name} must be 0 to 2147483647 ms (24.8 days), got {value}"
        raise ValueError(msg)


def own_settings(
    schema: PostgresSchema, lock_timeout: timedelta, statement_timeout: timedelta
) -> sql.SQL:
    """
    Return the statements that begin our own transaction; `_looked_up` is the last.

    Raises:
        ValueError: a timeout is out of range.
    """
    check_timeout("lock_timeout", lock_timeout)
    check_timeout("statement_timeout", statement_timeout)
    settings = (
        f"SET LOCAL {name} = {value}"
        for name, value in timeouts(lock_timeout, statement_timeout).items()
    )
    # One string without parameters: one round trip.
    return trusted(
        f"{READ_COMMITTED}; {'; '.join(settings)}; SELECT {TEMPORARY_LAST}; {_looked_up(schema)}"
    )


def joined_settings(schema: PostgresSchema) -> sql.SQL:
    """Return the statements that check the caller's transaction; `_looked_up` is the last."""
    return trusted(_looked_up(schema))


def _looked_up(schema: PostgresSchema) -> str:
    """Return the statement that sets rule 3, and reads the isolation and the tables' oids."""
    oids = ", ".join(map(_oid, (schema.jobs, schema.contacts, schema.cancellations)))
    return f"SELECT {DURABLY}, {LEVEL}, {oids}"


def _oid(table: Table) -> str:
    if isinstance(table, str):
        visible = sql.Literal(typed(quoted(table))).as_string(None)
        return f"pg_catalog.to_regclass({visible})::oid::bigint"
    # Not to_regclass, which raises if the schema may not be used.
    namespace, name = map(sql.Literal, table)
    return trusted(_OID).format(namespace=namespace, name=name).as_string(None)
