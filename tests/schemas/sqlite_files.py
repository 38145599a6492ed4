"""Dumps of SQLite files, by a connection of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.schemas.calls import Dump, Row

IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
"""Where files are made: each commit waits for its disk, and none is pulled out here."""


class SqliteDumper:
    """
    Dumps tables of a file.

    Arguments:
        path: of the file.
        queries: by table; the first column of each names the row.
    """

    def __init__(self, path: str, queries: Mapping[str, str]) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._queries = queries

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def dump(self) -> Dump:
        """Return every row of every table."""
        return {table: self._dump(query) for table, query in self._queries.items()}

    def run(self, statement: str) -> None:
        """Carry out a statement."""
        self._connection.execute(statement)

    def rows(self, query: str) -> list[tuple[str, ...]]:
        """Return what a query finds."""
        return self._connection.execute(query).fetchall()

    def _dump(self, query: str) -> Mapping[str, Row]:
        cursor = self._connection.execute(query)
        names = [column[0] for column in cursor.description]
        rows = (dict(zip(names, map(_text, row), strict=True)) for row in cursor)
        return {str(next(iter(row.values()))): row for row in rows}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
