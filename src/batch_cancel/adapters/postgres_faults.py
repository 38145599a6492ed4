"""
What Postgres' errors mean, for every adapter on Postgres.

Rule: the kind of a fault follows from its SQLSTATE, not from a driver's classes or messages. Where
      libpq keeps the message alone, of a refusal to connect, its SQLSTATE is read off its words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from batch_cancel.domain.errors import Fault

MEANINGS: Final[Mapping[str, tuple[Fault, str]]] = {
    "40001": (Fault.CONFLICT, "another transaction was in the way (serialization failure)"),
    "40P01": (Fault.CONFLICT, "another transaction was in the way (deadlock)"),
    "55P03": (Fault.LATE, "another transaction holds the job and does not end (lock timeout)"),
    "57014": (Fault.LATE, "Postgres took too long (statement timeout), or was told to stop"),
    "25P02": (
        Fault.REFUSED,
        "an earlier statement in this transaction has failed: roll it back, and begin a new one",
    ),
    "25P03": (Fault.LATE, "the transaction was idle for too long, so Postgres ended it"),
    "25P04": (Fault.LATE, "the transaction took too long, so Postgres ended it"),
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
            "Postgres does not admit this user: check that the role exists and may log in, and "
            "that pg_hba.conf admits it from here"
        ),
    ),
    "57P03": (Fault.BUSY, "Postgres is starting up or shutting down: try again in a moment"),
}
"""The same for a connection that is refused."""

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
The reasons for which a connection is refused, by SQLSTATE, which libpq does not pass on.
They are English: where the server speaks another language, all of them are one.
"""


def refused_as(error: object) -> str | None:
    """Return the SQLSTATE for which a connection was refused, as far as its words show it."""
    first, *_ = str(error).splitlines() or [""]
    # Before stands the address; after, the server's own reason, or that of its client library.
    reason = re.split(r"failed: (?:FATAL: +)?(?!connection to server)", first, maxsplit=1)[-1]
    return next((state for state, words in _WORDS.items() if re.match(words, reason)), None)


def unreachable(what: str) -> str:
    """Return the reason where nobody answers, or nobody says why a connection is refused."""
    return (
        f"{what} can't be reached: check that it runs and has connections left, and that address, "
        "database, user and password are right"
    )
