"""
How each transaction begins and ends, ours or a savepoint in the caller's.

The settings at its beginning follow the rules of `postgres_transactions`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Final

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.errors import Phase
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


_SAVEPOINT: Final = "batch_cancel"

_OF_STEPS: Final = 3
"""How much of a context concerns workers' steps: the isolation, and jobs and contacts."""

BY_INDEX: Final = (
    "SELECT pg_catalog.set_config('enable_seqscan', 'off', true), "
    "CASE pg_catalog.current_setting('jit', true) "
    "WHEN 'on' THEN pg_catalog.set_config('jit', 'off', true) END"
)
"""
Makes the planner find a job's contacts by an index. For a statement with a limit it would choose
to read the whole table, because it expects many of a large job's contacts near the beginning; but
they may be at the end. Where no index serves, Postgres reads the table all the same. Before
version 18 it estimates so high a cost then that it would compile the statement, hence `jit`.
"""

ONE_BY_ONE: Final = "SELECT pg_catalog.set_config('enable_bitmapscan', 'off', true)"
"""
For claims and for the chunks of a sweep: if the planner expects few contacts of the job, each of
them would build a bitmap of all its contacts.
"""

ANOTHER_CONTEXT: Final = "batch_cancel: the tables are not those of the transaction before"
"""In the error of a transaction whose context is another one than it demands."""


@attrs.frozen
class Frame:
    """
    How a transaction begins and ends.

    Arguments:
        beginning: the statements that begin it; the last of them reads its context.
        context: what that one reads, as SQL: the isolation, the oids of the tables of jobs,
            contacts and cancellations, whether earlier records can be kept, and whether ours has
            the column of sweeps.
        end: the statement that ends it.
        undo: the statements that undo it; None for a transaction of our own.
        last_phase: the phase in which it ends.
    """

    beginning: tuple[str, ...]
    context: tuple[str, ...]
    end: str
    undo: str | None
    last_phase: Phase

    @property
    def is_joined(self) -> bool:
        """Whether the transaction is the caller's."""
        return self.undo is not None

    def demanding(self, context: tuple[object, ...]) -> tuple[str, ...]:
        """Return the beginning that fails if what concerns workers' steps is not as here."""
        read, expected = self.context[:_OF_STEPS], context[:_OF_STEPS]
        return (*self.beginning[:-1], _demanding(read, expected))


def check_timeout(name: str, value: timedelta) -> None:
    """
    Check a timeout.

    Raises:
        ValueError: it is negative, or longer than 2,147,483,647 ms.
    """
    if not timedelta(0) <= value <= _TIMEOUT_MAX:
        msg = f"{name} must be 0 to 2147483647 ms (24.8 days), got {value}"
        raise ValueError(msg)


def own_frame(
    schema: PostgresSchema, lock_timeout: timedelta, statement_timeout: timedelta
) -> Frame:
    """
    Return the frame of a transaction of our own.

    Raises:
        ValueError: a timeout is out of range.
    """
    check_timeout("lock_timeout", lock_timeout)
    check_timeout("statement_timeout", statement_timeout)
    settings = ", ".join(
        f"pg_catalog.set_config('{name}', '{value}', true)"
        for name, value in timeouts(lock_timeout, statement_timeout).items()
    )
    settings, context = f"SELECT {settings}, {TEMPORARY_LAST}", _context(schema)
    beginning = ("BEGIN", READ_COMMITTED, settings, _reading(context))
    return Frame(beginning, context, "COMMIT", None, "committing")


def joined_frame(schema: PostgresSchema) -> Frame:
    """Return the frame of a savepoint in the caller's transaction."""
    context = _context(schema)
    return Frame(
        (f"SAVEPOINT {_SAVEPOINT}", _reading(context)),
        context,
        f"RELEASE SAVEPOINT {_SAVEPOINT}",
        f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}; RELEASE SAVEPOINT {_SAVEPOINT}",
        "releasing",
    )


def _reading(context: tuple[str, ...]) -> str:
    """Return the statement that sets rule 3, and reads the context."""
    return f"SELECT {DURABLY}, {', '.join(context)}"


@lru_cache(maxsize=1000)
def _demanding(context: tuple[str, ...], expected: tuple[object, ...]) -> str:
    values = sql.SQL(", ").join(map(sql.Literal, expected)).as_string(None)
    is_so = f"({', '.join(context)}) IS NOT DISTINCT FROM ({values})"
    demand = f"(CASE WHEN {is_so} THEN '1' ELSE '{ANOTHER_CONTEXT}' END)::integer"
    return f"SELECT {DURABLY}, {demand}"


def _context(schema: PostgresSchema) -> tuple[str, ...]:
    """Return the SQL of the context."""
    oids = map(_oid, (schema.jobs, schema.contacts, schema.cancellations))
    return (LEVEL, *oids, _is_usable(schema.earlier), _has_sweeps(schema.cancellations))


def _is_usable(table: Table) -> str:
    """Return the SQL that checks whether a table exists and may be read and added to."""
    may = (
        f"pg_catalog.has_table_privilege(({_oid(table)})::oid, '{privilege}')"
        for privilege in ("INSERT", "SELECT")
    )
    return f"coalesce({' AND '.join(may)}, false)"


def _has_sweeps(table: Table) -> str:
    """Return the SQL that checks whether our own table has the column of sweeps."""
    return (
        "EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = "
        f"({_oid(table)})::oid AND a.attname = 'is_swept' AND NOT a.attisdropped)"
    )


def _oid(table: Table) -> str:
    if isinstance(table, str):
        visible = sql.Literal(typed(quoted(table))).as_string(None)
        return f"pg_catalog.to_regclass({visible})::oid::bigint"
    # Not to_regclass, which raises if the schema may not be used.
    namespace, name = map(sql.Literal, table)
    return trusted(_OID).format(namespace=namespace, name=name).as_string(None)
