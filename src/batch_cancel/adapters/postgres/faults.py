"""
What goes wrong with Postgres, as the library's own errors: one table, by SQLSTATE.

By SQLSTATE and not by class, because psycopg files the same kind of fault under several classes.
The driver's own message is shown only for faults of the schema, where it names a table or a
column; elsewhere it may hold hosts, users and values.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Literal

import attrs
import psycopg

from batch_cancel.domain.errors import Fault, Outcome, StoreFailed

_PASSING: Final = {
    "40001": (Fault.CONFLICT, "another transaction was in the way (serialization failure)"),
    "40P01": (Fault.CONFLICT, "another transaction was in the way (deadlock)"),
    "55P03": (Fault.BUSY, "another transaction holds the job and does not end (lock timeout)"),
    "57014": (Fault.BUSY, "Postgres took too long (statement timeout)"),
    "25P03": (Fault.BUSY, "the transaction was idle for too long, so Postgres ended it"),
    "25006": (Fault.BUSY, "Postgres is read-only here: connect to the primary"),
    "53300": (Fault.BUSY, "Postgres has no connection left"),
}
_UNREACHABLE: Final = (
    "Postgres can't be reached: check that it runs, and that address, database, user and password "
    "are right"
)
_LOST: Final = "the connection to Postgres broke"
_UNKNOWN: Final = "the connection to Postgres broke before it confirmed the commit"
_SCHEMA: Final = {
    "3F000": "create the schema or map its name with PostgresSchema(...)",
    "42P01": "run `batch-cancel schema`, or map your names with PostgresSchema(...)",
    "42703": "map your column's name with PostgresSchema(...)",
    "42501": "grant SELECT and UPDATE on jobs and contacts, and INSERT, SELECT and UPDATE on "
    "batch_cancellations",
    "22P02": "a status is missing from your enum",
}

Phase = Literal["connecting", "working", "committing", "committed"]


@attrs.define
class Progress:
    """How far a transaction got, for whoever has to say what a fault has left."""

    phase: Phase = "connecting"


@contextmanager
def translated() -> Generator[Progress]:
    """Turn psycopg's errors into `StoreFailed`; everything else passes through."""
    progress = Progress()
    try:
        yield progress
    except psycopg.Error as error:
        if progress.phase == "committed":
            return  # Giving back the connection failed; the cancellation stands.
        raise _store_failed(error, progress.phase) from error


def _store_failed(error: psycopg.Error, phase: Phase) -> StoreFailed:
    state = error.sqlstate
    if state in _PASSING:
        fault, reason = _PASSING[state]
        return StoreFailed(reason, fault=fault)
    if _is_lost(error):
        if phase == "connecting":
            return StoreFailed(_UNREACHABLE, fault=Fault.BUSY)
        # The answer to a COMMIT may be lost on its way back: then nobody here knows.
        outcome: Outcome = "unknown" if phase == "committing" else "unchanged"
        return StoreFailed(_UNKNOWN if outcome == "unknown" else _LOST, outcome, Fault.INTERRUPTED)
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
