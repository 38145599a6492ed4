"""
The faults by SQLSTATE, and the isolation that a cancel needs, for every adapter on Postgres.

Rule 1: the kind of a fault follows from its SQLSTATE, not from a driver's classes or messages.
Rule 2: a transaction must be READ COMMITTED. Otherwise the snapshot of its first statement hides
        contacts that were added while it waited for the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from batch_cancel.domain.errors import Fault, StoreFailed, shown

MEANINGS: Final[Mapping[str, tuple[Fault, str]]] = {
    "40001": (Fault.CONFLICT, "another transaction was in the way (serialization failure)"),
    "40P01": (Fault.CONFLICT, "another transaction was in the way (deadlock)"),
    "55P03": (Fault.LATE, "another transaction holds the lock on the job (lock timeout)"),
    "57014": (
        Fault.LATE,
        "Postgres took too long (statement timeout), or the statement was cancelled",
    ),
    "25P02": (
        Fault.REFUSED,
        "an earlier statement in this transaction has failed: roll it back, and begin a new one",
    ),
    "25P03": (Fault.LATE, "Postgres ended the transaction, because it was idle for too long"),
    "25P04": (Fault.LATE, "Postgres ended the transaction, because it took too long"),
    "25006": (Fault.BUSY, "Postgres is read-only here: connect to the primary"),
    "53200": (Fault.BUSY, "Postgres has no memory left"),
    "53300": (Fault.BUSY, "Postgres has no connection left"),
}
"""The kind of fault and its reason, by SQLSTATE."""


def check_isolation(level: object, *, is_joined: bool) -> None:
    """
    Check that a transaction sees contacts that were added while it waited.

    Arguments:
        level: the actual isolation of the transaction.
        is_joined: whether the transaction is the caller's.
    """
    if level not in {"read committed", "read uncommitted"}:
        what = "joining() needs a" if is_joined else "the server grants no"
        msg = (
            f"{what} READ COMMITTED transaction, and this one is {shown(level)}: it would miss "
            "contacts that were added while it waited for the job"
        )
        raise StoreFailed(msg)
