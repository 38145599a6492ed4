"""
The settings at the beginning of each transaction, ours or the caller's, in one round trip.

A transaction of our own has its own settings, whatever the connection's defaults are:

Rule 1: it is READ COMMITTED. A snapshot from before the wait for the job's lock would miss
        contacts that were added meanwhile.
Rule 2: the server's timeouts bound it in time.
Rule 3: a confirmed commit is on disk. Whether it survives the loss of that server depends on its
        configuration: with `synchronous_standby_names` a promoted replica has it, with
        asynchronous replication it may not.
Rule 4: temporary tables come last in the search path, so that they never hide the real ones.

In the caller's transaction, only rule 3 is set; the rest is checked.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from psycopg import sql

from batch_cancel.adapters.postgres.schema import PostgresSchema, Table
from batch_cancel.adapters.postgres.sql_parts import quoted, trusted, typed

_MILLISECOND: Final = timedelta(milliseconds=1)
_TIMEOUT_MAX: Final = timedelta(milliseconds=2**31 - 1)
"""The longest timeout that Postgres accepts: not quite 25 days."""

_LEVEL: Final = (
    "coalesce(pg_catalog.current_setting('yb_effective_transaction_isolation_level', true), "
    "pg_catalog.current_setting('transaction_isolation'))"
)
"""
The actual isolation of the transaction. If READ COMMITTED is not enabled, YugabyteDB keeps a
snapshot although `transaction_isolation` says otherwise.
"""

# All values of synchronous_commit but off wait for this server's disk.
_DURABLY: Final = (
    "pg_catalog.set_config('synchronous_commit', coalesce(nullif("
    "pg_catalog.current_setting('synchronous_commit'), 'off'), 'on'), true)"
)
_TEMPORARY_LAST: Final = (
    "pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', nullif("
    "pg_catalog.current_setting('search_path'), ''), 'pg_temp'), true)"
)


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
    timeouts = {
        "lock_timeout": lock_timeout,
        "statement_timeout": statement_timeout,
        "idle_in_transaction_session_timeout": statement_timeout,
    }
    settings = (
        f"SET LOCAL {name} = {max(1, value // _MILLISECOND)}" for name, value in timeouts.items()
    )
    # One string without parameters: one round trip.
    return trusted(
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
        f"{'; '.join(settings)}; SELECT {_TEMPORARY_LAST}; {_looked_up(schema)}"
    )


def joined_settings(schema: PostgresSchema) -> sql.SQL:
    """Return the statements that check the caller's transaction; `_looked_up` is the last."""
    return trusted(_looked_up(schema))


def _looked_up(schema: PostgresSchema) -> str:
    """Return the statement that sets rule 3, and reads the isolation and the tables' oids."""
    oids = ", ".join(map(_oid, (schema.jobs, schema.contacts, schema.cancellations)))
    return f"SELECT {_DURABLY}, {_LEVEL}, {oids}"


def _oid(table: Table) -> str:
    if isinstance(table, str):
        visible = sql.Literal(typed(quoted(table))).as_string(None)
        return f"pg_catalog.to_regclass({visible})::oid::bigint"
    # Not to_regclass, which raises if the schema may not be used.
    namespace, name = map(sql.Literal, table)
    return trusted(_OID).format(namespace=namespace, name=name).as_string(None)
