"""
The faults by SQLSTATE, for every adapter on Postgres.

Rule: the kind of a fault follows from its SQLSTATE, not from a driver's classes or messages. For a
      refused connection, libpq keeps only the message, and the SQLSTATE is derived from its words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from batch_cancel.domain.errors import Fault

MEANINGS: Final[Mapping[str, tuple[Fault, str]]] = {
    "40001": (Fault.CONFLICT, "another transaction was in the way (serialization failure)"),
    "40P01": (Fault.CONFLICT, "another transaction was in the way (deadlock)"),
    "55P03": (Fault.LATE, "another transaction locks the job or a contact (lock timeout)"),
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

NOT_ADMITTED: Final = {
    "3D000": (Fault.REFUSED, "Postgres has no such database: check its name, or create it"),
    "28P01": (Fault.REFUSED, "Postgres refused the password: check user and password"),
    "28000": (
        Fault.REFUSED,
        (
            "Postgres refused this user: check that the role exists and may log in, and that "
            "pg_hba.conf allows it from this host"
        ),
    ),
    "57P03": (Fault.BUSY, "Postgres is starting up or shutting down: try again in a moment"),
}
"""The same for a refused connection."""

_WORDS: Final = {
    "3D000": r'database ".*" does not exist$',
    "28P01": r"password authentication failed for user |fe_sendauth: no password supplied$",
    "28000": (
        r'role ".*" (does not exist|is not permitted to log in)$|no pg_hba\.conf entry for |'
        r"pg_hba\.conf rejects |\w+ authentication failed for user "
    ),
    "53300": (
        r"sorry, too many clients already$|too many connections for |"
        r"remaining connection slots are reserved "
    ),
    "57P03": r"the database system is (starting up|shutting down|in recovery|not .*accepting )",
}
"""
The messages of refused connections, by SQLSTATE, which libpq does not pass on. They are English:
in another language all of them count as one reason.
"""


def refused_as(error: object) -> str | None:
    """Return the SQLSTATE of a refused connection, if its message shows it."""
    first, *_ = str(error).splitlines() or [""]
    # The text before is the address; after it comes the reason of the server or of libpq.
    reason = re.split(r"failed: (?:FATAL: +)?(?!connection to server)", first, maxsplit=1)[-1]
    return next((state for state, words in _WORDS.items() if re.match(words, reason)), None)


def unreachable(what: str) -> str:
    """Return the reason for a server without an answer, or a refusal without a reason."""
    return (
        f"{what} can't be reached: check that it runs and has free connections, and that address, "
        "database, user and password are right"
    )
