"""The SQLite store."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel.adapters import sqlite as sqlite_adapter
from batch_cancel.adapters.sqlite import SqliteStore
from batch_cancel.testing.adapter import (
    Sabotage,
)
from tests.adapters_under_test.limits import BUDGET
from tests.adapters_under_test.memory import MemoryTables
from tests.sabotage import (
    SQLITE_TRIGGERS,
)

if TYPE_CHECKING:
    from pathlib import Path


class SqliteTables(MemoryTables):
    """The SQLite store, a new file each time."""

    sweep = False
    lock_timeout = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.sqlite" for number in itertools.count())

    def fresh(self) -> None:
        """Make another file."""
        self.path = next(self.paths)
        self.keys = []

    @property
    def store(self) -> Any:
        """The file, opened anew each time."""
        return SqliteStore(self.path, busy_timeout_seconds=BUDGET.total_seconds())

    def sabotage(self, what: Sabotage) -> None:
        """Add triggers; the next test has another file."""
        connection = sqlite3.connect(self.path)
        with closing(connection), connection:
            connection.executescript(SQLITE_TRIGGERS[what])

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                yield sqlite_adapter.joining(connection)
        finally:
            connection.close()
