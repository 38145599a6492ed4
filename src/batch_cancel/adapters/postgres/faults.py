"""
What goes wrong with Postgres, as the library's own errors: one table, by SQLSTATE.

By SQLSTATE and not by class, because psycopg files the same kind of fault under several classes.
The driver's own message is shown only for faults of the schema, where it names a table or a
column; elsewhere it may hold hosts, users and values.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import attrs
import psycopg

from batch_cancel.domain.errors import Outcome, StoreFailed

_RETRYABLE: Final = {
    "40001": "another transaction was in the way (serialization failure)",
    "40P01": "another transaction was in the way (deadlock)",
    "55P03": "the job is locked by another transaction that does not end (lock timeout)",
    "57014": "Postgres took too long (statement timeout)",
    "25P03": "the transaction was idle for too long and Postgres ended it",
    "25006": "Postgres is read-only here: connect to the primary",
    "53300": "Postgres has no connection left",
}
_UNREACHABLE: Final = (
    "Postgres can't be reached: check that it runs, and that address, database, user and password "
    "are right"
)
_SCHEMA: Final = {
    "3F000": "create the schema or map its name with PostgresSchema(...)",
    "42P01": "run `batch-cancel schema`, or map your names with PostgresSchema(...)",
    "42703": "map your column's name with PostgresSchema(...)",
    "42501": "grant SELECT and UPDATE on jobs and contacts, and INSERT, SELECT and UPDATE on "
    "batch_cancellations",
    "22P02": "a status is missing from your enum",
}


@attrs.define
class Progress:
    """How far a transaction got, for whoever has to say what a fault has left."""

    is_committing: bool = False


@contextmanager
def translated() -> Generator[Progress]:
    """Turn psycopg's errors into `StoreFailed`; everything else passes through."""
    progress = Progress()
    try:
        yield progress
    except psycopg.Error as error:
        raise _store_failed(error, progress) from error


def _store_failed(error: psycopg.Error, progress: Progress) -> StoreFailed:
    state = error.sqlstate
    if state in _RETRYABLE:
        return StoreFailed(_RETRYABLE[state], retryable=True)
    if _is_lost(error):
        # The answer to a COMMIT may be lost on its way back: then nobody here knows.
        outcome: Outcome = "unknown" if progress.is_committing else "unchanged"
        return StoreFailed(_UNREACHABLE, outcome, retryable=True)
    if state in _SCHEMA:
        what = (error.diag.message_primary or type(error).__name__).splitlines()[0]
        return StoreFailed(f"{what}: {_SCHEMA[state]}")
    return StoreFailed(f"Postgres refused ({type(error).__name__}, SQLSTATE {state})")


def _is_lost(error: psycopg.Error) -> bool:
    """Tell whether the connection was refused, cut, or closed by a server that shuts down."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(("08", "57P"))
