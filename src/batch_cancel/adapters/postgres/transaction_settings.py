"""
What is sent at the beginning of each transaction, ours or the caller's, in one round trip.

A transaction of our own brings its own settings, whatever the connection's defaults are:

Rule 1: it is READ COMMITTED. A snapshot from before the wait for the job's lock would miss the
        contacts that came in meanwhile.
Rule 2: it is bounded in time by the server's timeouts.
Rule 3: a commit that was answered is on disk. That it survives the loss of that server is for its
        configuration to decide: with `synchronous_standby_names` a promoted replica knows of it,
        with asynchronous replication it may not.
Rule 4: a temporary table of the session comes last, so that it never stands in for the real one.

In the caller's transaction, only rule 3 is set; the rest is looked at.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from psycopg import sql

from batch_cancel.adapters.postgres.schema import PostgresSchema, Table
from batch_cancel.adapters.postgres.sql_parts import quoted, trusted, typed

_MILLISECOND: Final = timedelta(milliseconds=1)
_TIMEOUT_MAX: Final = timedelta(milliseconds=2**31 - 1)
"""The longest timeout that Postgres takes: not quite 25 days."""

_LEVEL: Final = (
    "coalesce(pg_catalog.current_setting('yb_effective_transaction_isolation_level', true), "
    "pg_catalog.current_setting('transaction_isolation'))"
)
"""
The isolation that the transaction really has. Where READ COMMITTED is not enabled, YugabyteDB
keeps a snapshot while `transaction_isolation` still says otherwise.
"""

# All other values of synchronous_commit than off wait for this server's disk already.
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
    Refuse a timeout that Postgres does not take.

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
    Return what begins a transaction of our own; its last result is that of `_looked_up`.

    Raises:
        ValueError: a timeout that Postgres does not take.
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
    """Return what looks at the caller's transaction; its last result is that of `_looked_up`."""
    return trusted(_looked_up(schema))


def _looked_up(schema: PostgresSchema) -> str:
    """Return what sets rule 3, and asks for the isolation and the tables that names lead to."""
    oids = ", ".join(map(_oid, (schema.jobs, schema.contacts, schema.cancellations)))
    return f"SELECT {_DURABLY}, {_LEVEL}, {oids}, {_is_usable(schema.earlier)}"


def _is_usable(table: Table) -> str:
    """Return whether a table is there, and may be read and added to."""
    may = (
        f"pg_catalog.has_table_privilege(({_oid(table)})::oid, '{privilege}')"
        for privilege in ("INSERT", "SELECT")
    )
    return f"coalesce({' AND '.join(may)}, false)"


def _oid(table: Table) -> str:
    if isinstance(table, str):
        visible = sql.Literal(typed(quoted(table))).as_string(None)
        return f"pg_catalog.to_regclass({visible})::oid::bigint"
    # Not to_regclass: where the schema may not be used, it raises instead of finding nothing.
    namespace, name = map(sql.Literal, table)
    return trusted(_OID).format(namespace=namespace, name=name).as_string(None)
