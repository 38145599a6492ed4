"""
Translate psycopg's errors into the library's own, by the table in `postgres_faults.py`.

By SQLSTATE and not by class, because psycopg has several classes for one kind of fault. The
driver's own message is shown only for faults of the schema, where it names a table or a column;
elsewhere it may contain hosts, users and values, and is only parsed.

The outcome depends on the phase. An error that Postgres reports has rolled the transaction back,
even at COMMIT. If the connection ends once COMMIT was sent, the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Literal

import attrs
import psycopg

from batch_cancel.adapters.postgres_faults import (
    MEANINGS,
    NOT_ADMITTED,
    refused_as,
    unreachable,
)
from batch_cancel.domain.errors import Fault, Outcome, StoreFailed
from batch_cancel.use_cases import log

_MOVED: Final = (
    "another transaction moved a row to another partition meanwhile: if contacts are partitioned "
    "by their status, partition them by another column, or cancels keep failing while workers "
    "are busy"
)
_UNREADABLE: Final = "psycopg can't read the connection settings in `connect`"
_NOT_CONNECTED: Final = "Postgres did not accept the connection in time (connect_timeout)"
_POOL: Final = (
    "check that the pool is open, that its max_size covers the concurrent transactions, and that "
    "Postgres can be reached"
)
_POOLER: Final = "the pooler returned no connection in time (query_wait_timeout)"
_LOST: Final = "the connection to Postgres broke"
_CUT: Final = "Postgres did not answer in time, so the connection was cut"
_UNKNOWN: Final = "the connection to Postgres broke before it confirmed the commit"
_NOT_RELEASED: Final = (
    "the savepoint could not be released, because other code was using the transaction: roll it "
    "back"
)
_SCHEMA: Final = {
    "3F000": "create the schema or map its name with PostgresSchema(...)",
    "42P01": "run `batch-cancel schema`, or map your names with PostgresSchema(...)",
    "42703": "map your column's name with PostgresSchema(...): `batch-cancel check` names each "
    "column that is missing",
    "42501": "grant SELECT and UPDATE on jobs and contacts, and INSERT, SELECT and UPDATE on "
    "batch_cancellations",
    "22P02": "a status is missing from your enum, or a trigger or a policy can't read a value",
    "0A000": "look for a rule on that table, which prevents RETURNING",
    "21000": "a job's id names several jobs: give each an id of its own within its organization",
    "42883": "let statuses be text, an enum or a domain over text, not a domain over an enum, and "
    "let contacts refer to jobs by a column of one type with theirs",
}

_NO_SAVEPOINT: Final = {"3B001", "25P01"}
"""The SQLSTATEs of a savepoint, or a transaction, that is no longer there."""

Phase = Literal["connecting", "working", "releasing", "committing", "committed"]


@attrs.define
class Progress:
    """
    How far a transaction got; it decides the outcome of a fault.

    Arguments:
        phase: its current phase.
        is_cut: whether its connection was cut after a timeout.
    """

    phase: Phase = "connecting"
    is_cut: bool = False

    def note_cut(self) -> None:
        """Note that its connection was cut."""
        self.is_cut = True


@contextmanager
def translated() -> Generator[Progress]:
    """
    Turn psycopg's errors into `StoreFailed`; other exceptions pass through.

    After the commit no exception is raised: a failure to return the connection does not undo it.
    """
    progress = Progress()
    try:
        yield progress
    except Exception as error:
        if progress.phase == "committed":
            log.not_given_back(error)
            return
        if isinstance(error, psycopg.Error):
            raise _store_failed(error, progress) from error
        raise


def lost() -> StoreFailed:
    """Return the error for a connection that is broken before its first statement."""
    return StoreFailed(_LOST, fault=Fault.INTERRUPTED)


def _store_failed(error: psycopg.Error, progress: Progress) -> StoreFailed:
    if progress.phase == "releasing" and error.sqlstate in _NO_SAVEPOINT:
        # The savepoint was not released properly: its changes may be committed.
        return StoreFailed(_NOT_RELEASED, "unknown", Fault.INTERRUPTED)
    state = error.sqlstate
    known = _known(error, progress)
    if known is not None:
        fault, reason = known
        return StoreFailed(reason, fault=fault)
    if progress.phase == "connecting" and state is None:
        return _not_connected(error)
    if _is_lost(error):
        return _broken(error, progress)
    if state in _SCHEMA:
        what = (error.diag.message_primary or type(error).__name__).splitlines()[0]
        return StoreFailed(f"{what}: {_SCHEMA[state]}")
    what = f"Postgres refused a statement ({type(error).__name__}, SQLSTATE {state})"
    return StoreFailed(f"{what}: see Postgres' log for the reason")


def _known(error: psycopg.Error, progress: Progress) -> tuple[Fault, str] | None:
    """Return the kind of fault and its reason, if the SQLSTATE alone decides."""
    state = error.sqlstate
    if progress.phase == "connecting":
        state = state or refused_as(error)
        if state in NOT_ADMITTED:
            return NOT_ADMITTED[state]
    if state is None or state not in MEANINGS or error.diag.severity_nonlocalized == "PANIC":
        return None
    fault, reason = MEANINGS[state]
    is_moved = "moved to another partition" in (error.diag.message_primary or "")
    return fault, _MOVED if is_moved else reason


def _is_lost(error: psycopg.Error) -> bool:
    """Check whether the connection was cut or ended by the server."""
    state = error.sqlstate
    if state is None:
        # An InternalError if an error and the end of the connection arrive together.
        return isinstance(error, psycopg.OperationalError | psycopg.InternalError)
    # Poolers send class 08, a server that shuts down sends 57P.
    is_end = error.diag.severity_nonlocalized in {"FATAL", "PANIC"}
    return is_end or state.startswith(("08", "57P"))


def _not_connected(error: psycopg.Error) -> StoreFailed:
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return StoreFailed(_NOT_CONNECTED, fault=Fault.LATE)
    if type(error).__module__.startswith("psycopg_pool"):  # psycopg_pool need not be installed.
        what = f"the pool returned no connection ({type(error).__name__})"
        return StoreFailed(f"{what}: {_POOL}", fault=Fault.LATE)
    if not isinstance(error, psycopg.OperationalError):
        return StoreFailed(_UNREADABLE)
    return StoreFailed(unreachable("Postgres"), fault=Fault.BUSY)


def _broken(error: psycopg.Error, progress: Progress) -> StoreFailed:
    # The answer to a COMMIT may be lost: then the outcome is unknown.
    outcome: Outcome = "unknown" if progress.phase == "committing" else "unchanged"
    if progress.is_cut:
        return StoreFailed(_CUT, outcome, Fault.LATE)
    # PgBouncer has one SQLSTATE for all its errors. With this one it has sent nothing to Postgres.
    if (error.diag.message_primary or "") == "query_wait_timeout":
        return StoreFailed(_POOLER, fault=Fault.LATE)
    return StoreFailed(_UNKNOWN if outcome == "unknown" else _LOST, outcome, Fault.INTERRUPTED)
