"""SQLite's errors, as sentences about a file or a connection."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from batch_cancel.domain.errors import Fault, Outcome, StoreFailed, shown

_PRIMARY_CODE: Final = 0xFF
"""The bits of the primary code in SQLite's extended error code."""

PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
"""The errors that go away by themselves."""

MEANINGS: Final[Mapping[int | None, str]] = {
    sqlite3.SQLITE_BUSY: "is locked by another transaction",
    sqlite3.SQLITE_LOCKED: "is locked by another transaction",
    sqlite3.SQLITE_FULL: "cannot grow: its disk is full",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_READONLY: "is read-only: check its permissions, and those of its folder",
    sqlite3.SQLITE_IOERR: "cannot be read or written: its disk reports an error",
}
"""The meaning of an error, to follow the file's name."""


@attrs.frozen
class Location:
    """
    The file or database of a connection, for the sentences about its errors.

    Arguments:
        name: its name in messages.
        path: the file, if it is one that we opened.
        busy_timeout_seconds: how long it waits for a lock, if that is known.
    """

    name: str
    path: Path | None = None
    busy_timeout_seconds: float | None = None

    def fault(self, error: sqlite3.Error, outcome: Outcome = "unchanged") -> StoreFailed:
        """Return the `StoreFailed` for an error of SQLite."""
        code = primary_code(error)
        return StoreFailed(
            f"{self.name} {self._meaning(code, error)}",
            outcome,
            Fault.BUSY if code in PASSING or outcome == "unknown" else Fault.REFUSED,
        )

    def _meaning(self, code: int | None, error: sqlite3.Error) -> str:
        if code == sqlite3.SQLITE_CANTOPEN:
            return why_it_cannot_be_opened(self.path)
        if code in PASSING and self.busy_timeout_seconds is not None:
            return f"stayed locked by another transaction for {self.busy_timeout_seconds:g} s"
        return MEANINGS.get(code, f"cannot be used: SQLite says {shown(str(error))}")


def primary_code(error: sqlite3.Error) -> int | None:
    """Return the primary code of an error; None for an error of the driver."""
    code: int | None = getattr(
        error, "sqlite_errorcode", None
    )  # The driver's own errors have none.
    return None if code is None else code & _PRIMARY_CODE


def why_it_cannot_be_opened(path: Path | None) -> str:
    """Return why a file cannot be opened, to follow its name."""
    # Not pathlib, whose checks raise if a folder on the path may not be entered.
    if path is None:
        return "cannot be opened: check its permissions"
    if os.path.isdir(path):  # noqa: PTH112
        return "is a folder, not a file"
    if os.path.lexists(path):
        return "cannot be opened: check its permissions, and those of its folder"
    if os.path.isdir(path.parent):  # noqa: PTH112
        return "does not exist, or its folder may not be written"
    return "does not exist, nor does its folder"
