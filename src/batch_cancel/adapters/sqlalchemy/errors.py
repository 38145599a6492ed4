"""
Translate SQLAlchemy's errors into the library's own.

By SQLSTATE, by SQLite's error name, or by MariaDB's number: a driver's message may contain hosts,
users and values.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Final, Literal

import attrs
from sqlalchemy import exc

from batch_cancel.adapters.postgres_faults import (
    MEANINGS,
    NOT_ADMITTED,
    refused_as,
    unreachable,
)
from batch_cancel.adapters.sqlalchemy import mysql_faults
from batch_cancel.domain.errors import Fault, Outcome, StoreFailed

COMMITS_BY_ITSELF: Final = (
    "a transaction is needed, but this connection commits after each statement: use an engine or "
    "a connection without AUTOCOMMIT"
)
_IN_THE_WAY: Final = (
    "a trigger, a rule or a policy is in the way, or a column cuts the text; let it pass the "
    "statuses that this library writes"
)
_CONCURRENT: Final = "isce"
"""SQLAlchemy's code for a session that two tasks or threads use at once."""
_SHARED: Final = (
    "another task or thread is using this session: make the calls on one session one after "
    "another, or use a session for each"
)
_LOST: Final = "the connection to the database broke"
_MEANINGS: Final[Mapping[str, tuple[Fault, str]]] = {
    "25P01": (Fault.REFUSED, COMMITS_BY_ITSELF),
    **MEANINGS,
    **mysql_faults.MEANINGS,
    "SQLITE_BUSY": (Fault.BUSY, "the SQLite file is locked by another transaction"),
    "SQLITE_LOCKED": (Fault.BUSY, "the SQLite file is locked by another transaction"),
    "SQLITE_FULL": (Fault.REFUSED, "the SQLite file cannot grow: its disk is full"),
    "SQLITE_READONLY": (Fault.REFUSED, "the SQLite file is read-only"),
}


def written_otherwise(what: str) -> StoreFailed:
    """Return the error for rows that are not as they were written, with what was found."""
    return StoreFailed(f"{what}: {_IN_THE_WAY}")


Phase = Literal["connecting", "working", "committing", "leaving"]


@attrs.define
class Progress:
    """
    How far a transaction got.

    Arguments:
        phase: its current phase; "leaving" is the end of a savepoint.
        failure: how the commit failed, whatever the rollback after it raises.
    """

    phase: Phase = "connecting"
    failure: StoreFailed | None = None

    @contextmanager
    def committing(self) -> Generator[None]:
        """Keep how the commit fails: a node that is cut off refuses the ROLLBACK after it, too."""
        self.phase = "committing"
        try:
            yield
        except exc.DBAPIError as error:
            self.failure = _store_failed(error, self)
            raise


@contextmanager
def translated() -> Generator[Progress]:
    """Turn SQLAlchemy's errors into `StoreFailed`; other exceptions pass through."""
    progress = Progress()
    try:
        yield progress
    except exc.TimeoutError as error:
        reason = "the pool returned no connection in time"
        raise StoreFailed(reason, fault=Fault.LATE) from error
    except exc.DBAPIError as error:
        raise progress.failure or _store_failed(error, progress) from error
    except exc.InvalidRequestError as error:
        if error.code != _CONCURRENT:
            raise
        raise StoreFailed(_SHARED) from error
    except Exception as error:
        failure = _drivers_own(error, progress)
        if failure is None:
            raise
        raise failure from error


class TransactionLost(StoreFailed):
    """The database rolled back the caller's whole transaction, with what was written before."""

    @classmethod
    def by(cls, number: str) -> TransactionLost:
        """Return the error for a fault of MariaDB, by its number."""
        fault, reason = mysql_faults.MEANINGS[number]
        what = "the database rolled back your whole transaction, with all that you wrote before"
        # Not "unchanged": a repetition in what is left of the transaction would do half.
        return cls(f"{reason}; {what}: roll back, and begin it again", "unknown", fault)


@contextmanager
def within_savepoint(progress: Progress, fatal: AbstractSet[str]) -> Generator[None]:
    """
    Turn the errors of statements within a savepoint into `StoreFailed`.

    An error when it is left comes later, and leaves the outcome unknown.

    Arguments:
        progress: how far the transaction got.
        fatal: the faults of MariaDB that end the whole transaction, by number.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if (number := mysql_faults.number_of(error.orig)) in fatal:
            raise TransactionLost.by(number) from error
        raise _store_failed(error, progress) from error
    except OSError as error:
        raise _lost(progress) from error
    finally:
        progress.phase = "leaving"


def _store_failed(error: exc.DBAPIError, progress: Progress) -> StoreFailed:
    cause = error.orig
    name = _name(cause)
    if progress.phase == "leaving":
        reason = (
            f"the savepoint of the cancel could not be released ({type(cause).__name__}, "
            f"{name or 'no SQLSTATE'}): roll your transaction back"
        )
        return StoreFailed(reason, "unknown")
    if progress.phase == "connecting":
        return _not_connected(cause, name)
    # SQLite's extended names begin with the primary one: SQLITE_BUSY_SNAPSHOT.
    if progress.phase == "committing" and _may_be_committed(cause):
        what = f"the commit failed ({type(cause).__name__}, {name}), and may have been made"
        return StoreFailed(what, "unknown", Fault.INTERRUPTED)
    meaning = _MEANINGS.get(name) or _MEANINGS.get("_".join(name.split("_")[:2]))
    if meaning is not None:
        fault, reason = meaning
        return StoreFailed(reason, fault=fault)
    # Sent by poolers, and by a server that shuts down.
    is_end = name.startswith(("08", "57P")) or name in mysql_faults.LOST
    is_lost = error.connection_invalidated or is_end
    if is_lost or (not name and isinstance(error, exc.OperationalError)):
        return _lost(progress)
    return _refused(cause, name)


def _may_be_committed(cause: object) -> bool:
    number = mysql_faults.number_of(cause)
    return bool(number) and number not in mysql_faults.NOT_COMMITTED | mysql_faults.LOST


def _refused(cause: object, name: str) -> StoreFailed:
    what = f"the database refused a statement ({type(cause).__name__}, {name or 'no SQLSTATE'})"
    return StoreFailed(f"{what}: see its log, or the cause of this error, for the reason")


def _lost(progress: Progress) -> StoreFailed:
    # The answer to a COMMIT may be lost: then the outcome is unknown.
    is_open = progress.phase in {"committing", "leaving"}
    outcome: Outcome = "unknown" if is_open else "unchanged"
    what = f"{_LOST} before the commit was confirmed" if is_open else _LOST
    return StoreFailed(what, outcome, Fault.INTERRUPTED)


def _not_connected(cause: object, name: str) -> StoreFailed:
    name = name or refused_as(cause) or ""
    meaning = NOT_ADMITTED.get(name) or _MEANINGS.get(name)
    if meaning is not None:
        fault, reason = meaning
        return StoreFailed(reason, fault=fault)
    if not name or name.startswith(("08", "57P")) or name in mysql_faults.LOST:
        return StoreFailed(unreachable("the database"), fault=Fault.BUSY)
    return _refused(cause, name)


def _drivers_own(error: Exception, progress: Progress) -> StoreFailed | None:
    """Translate what asyncpg raises past SQLAlchemy: for a closed port or a refused connection."""
    if isinstance(error, OSError):
        return _not_connected(error, "") if progress.phase == "connecting" else _lost(progress)
    name = _name(error)
    return _not_connected(error, name) if name and progress.phase == "connecting" else None


def _name(cause: object) -> str:
    """Return MariaDB's number, the SQLSTATE by any driver's attribute, SQLite's name, or ""."""
    if number := mysql_faults.number_of(cause):
        return number  # Its drivers have a SQLSTATE too, which is mostly the general one.
    for attribute in ("sqlstate", "pgcode", "sqlite_errorname"):
        if name := getattr(cause, attribute, None):
            return str(name)
    return ""
