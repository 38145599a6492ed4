"""
The faults of MariaDB and MySQL by their numbers, in one table.

Rule 1: the kind of a fault follows from the server's number, which every driver has as the first
        argument of its errors; never from a message, which may contain hosts, users and values.
Rule 2: an error at COMMIT leaves the outcome unknown, unless its number says that nothing was
        committed.
Rule 3: a deadlock ends the whole transaction, not only the statement, and so does a lock timeout
        where the server is set so. Then a savepoint is gone with all that the caller wrote before
        it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from batch_cancel.domain.errors import Fault

_READ_ONLY: Final = (Fault.BUSY, "MariaDB is read-only here: connect to the primary")
_NO_CONNECTION: Final = (Fault.BUSY, "MariaDB has no connection left")
_NO_MEMORY: Final = (Fault.BUSY, "MariaDB has no memory left")
_TOO_LONG: Final = (
    Fault.LATE,
    "MariaDB took too long (statement timeout), or the statement was cancelled",
)
_NOT_ALLOWED: Final = (
    Fault.REFUSED,
    "the user that connects lacks a privilege: check() names it, with the table",
)
_NO_LOGIN: Final = (Fault.REFUSED, "MariaDB refused this user: check user, password and host")
_FULL: Final = (Fault.REFUSED, "MariaDB can't write: its disk, or a table, is full")
_NOT_PRIMARY: Final = (
    "this node of the cluster takes no statements now (it is cut off, or is joining): ask again "
    "at another node"
)
_NOT_COMPARED: Final = (
    Fault.REFUSED,
    "an id and its column, or two columns, can't be compared: their character sets differ",
)
_OTHER_TABLES: Final = (
    Fault.REFUSED,
    "a table or a column is missing: check() names it; run your migrations",
)

MEANINGS: Final[Mapping[str, tuple[Fault, str]]] = {
    "1020": (Fault.CONFLICT, "another transaction was in the way (the row has changed)"),
    "1021": _FULL,
    "1037": _NO_MEMORY,
    "1038": _NO_MEMORY,
    "1040": _NO_CONNECTION,
    "1041": _NO_MEMORY,
    "1044": _NOT_ALLOWED,
    "1045": _NO_LOGIN,
    "1047": (Fault.BUSY, _NOT_PRIMARY),
    "1049": (Fault.REFUSED, "MariaDB has no such database: check its name, or create it"),
    "1054": _OTHER_TABLES,
    "1114": _FULL,
    "1129": _NO_LOGIN,
    "1130": _NO_LOGIN,
    "1142": _NOT_ALLOWED,
    "1143": _NOT_ALLOWED,
    "1146": _OTHER_TABLES,
    "1180": (Fault.BUSY, _NOT_PRIMARY),
    "1203": _NO_CONNECTION,
    "1205": (Fault.LATE, "another transaction locks the job or a contact (lock wait timeout)"),
    "1213": (Fault.CONFLICT, "another transaction was in the way (deadlock)"),
    "1226": _NO_CONNECTION,
    "1267": _NOT_COMPARED,
    "1290": _READ_ONLY,
    "1317": _TOO_LONG,
    "1412": (Fault.CONFLICT, "another transaction was in the way (a table has changed)"),
    "1568": (
        Fault.REFUSED,
        "the connection is in a transaction of another: join that one with joining()",
    ),
    "1698": _NO_LOGIN,
    "1792": _READ_ONLY,
    "1836": _READ_ONLY,
    "1969": _TOO_LONG,
    "3024": _TOO_LONG,
    "3101": (Fault.CONFLICT, "another transaction was in the way (certification)"),
}
"""The kind of fault and its reason, by number."""

LOST: Final = frozenset(
    {
        *("1053", "1152", "1158", "1159", "1160", "1161", "1927"),
        *("2001", "2002", "2003", "2005", "2006", "2013", "2014", "2045", "2055", "4031"),
    }
)
"""There is no connection, it broke, or the server is shutting down."""

NOT_COMMITTED: Final = frozenset({"1020", "1047", "1205", "1213", "1290", "1792", "1836", "3101"})
"""At COMMIT: nothing was committed. Not so 1180: a node may lose its cluster while it sends."""

_FATAL: Final = frozenset({"1020", "1213", "3101"})
_LOCK_TIMEOUT: Final = "1205"


def fatal(*, timeouts_are: bool) -> frozenset[str]:
    """
    Return the faults that end the whole transaction, and not only the statement.

    Arguments:
        timeouts_are: whether that is so for a lock timeout (`innodb_rollback_on_timeout`).
    """
    return _FATAL | {_LOCK_TIMEOUT} if timeouts_are else _FATAL


def number_of(cause: object) -> str:
    """Return the number of a driver's error, as text; "" for another error."""
    first = next(iter(getattr(cause, "args", ())), None)
    given = getattr(cause, "errno", first)
    return str(given) if type(given) is int and given >= _SERVERS_MIN else ""


_SERVERS_MIN: Final = 1000
"""Smaller numbers are the operating system's."""
