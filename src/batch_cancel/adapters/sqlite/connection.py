"""
One SQLite file: connections, transactions and errors.

Rule 1: every transaction has its own connection, opened for it and closed after it. No connection
        is shared between threads, or survives a fork.
Rule 2: a transaction takes the write lock before it reads. A transaction that reads first would
        act on an old state, or be refused by SQLite.
Rule 3: an error of SQLite becomes `StoreFailed`, with the outcome of the commit.

SQLite has no server and so no clock of its own: the store's clock is this machine's.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import attrs

from batch_cancel.adapters.sql_files import sql_text, statements
from batch_cancel.adapters.sqlite.errors import (
    MEANINGS,
    PASSING,
    Location,
    primary_code,
    why_it_cannot_be_opened,
)
from batch_cancel.domain.defaults import BUSY_TIMEOUT_SECONDS
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.errors import StoreFailed, shown

Value = str | bytes | int | None
"""The value of one of our columns."""

_EARLIER: Final = "batch_cancellations_earlier"

_BUSY_TIMEOUT_SECONDS_MAX: Final = 86_400.0

_NOT_COMMITTED: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_FULL}
)
"""
The errors of a COMMIT that certainly did not commit.

After an I/O error the commit mark may be in the write-ahead log although its flush failed: a crash
right then would restore the transaction.
"""


def _schema(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


_NOT_CREATABLE: Final = "does not exist, and may not be created: check its folder"

_PACKAGE: Final = "batch_cancel.adapters.sqlite"
SQL: Final = statements(_PACKAGE, "queries.sql")
_SCHEMA: Final = tuple(_schema(sql_text(_PACKAGE, "tables.sql")))


_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def now() -> datetime:
    """Return the store's clock, in UTC."""
    return datetime.now(UTC)


def text_of(at: datetime) -> str:
    """Return an aware datetime as the file keeps it: as text that sorts by time."""
    try:
        utc = at.astimezone(UTC)
    except OverflowError:  # At the ends of the calendar a time may have no date in UTC.
        utc = _LAST if at.year > 1 else _FIRST
    return utc.isoformat(timespec="microseconds")


def time_of(text: str) -> datetime:
    """Read a time that `text_of` wrote."""
    return datetime.fromisoformat(text)


@attrs.frozen
class Connection:
    """A connection in use by one transaction; its errors are `StoreFailed`."""

    raw: sqlite3.Connection
    location: Location

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> sqlite3.Cursor:
        """Execute one statement."""
        with self.faults_named():
            return self._cursor().execute(statement, parameters)

    def execute_many(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Execute one statement for each of many rows."""
        with self.faults_named():
            self._cursor().executemany(statement, rows)

    def rows(self, statement: str, parameters: Sequence[Value] = ()) -> list[tuple[Value, ...]]:
        """Return all rows of an answer."""
        with self.faults_named():
            return self._cursor().execute(statement, parameters).fetchall()

    def row(self, statement: str, parameters: Sequence[Value] = ()) -> tuple[Value, ...] | None:
        """Return the first row of an answer; None if it is empty."""
        rows = self.rows(statement, parameters)
        return rows[0] if rows else None

    def commit(self) -> None:
        """Commit the transaction."""
        try:
            self.raw.execute("COMMIT")
        except sqlite3.Error as error:
            known = primary_code(error) in _NOT_COMMITTED
            raise self.location.fault(error, "unchanged" if known else "unknown") from error

    def roll_back(self, statement: str = "ROLLBACK") -> None:
        """Roll the transaction back, if SQLite has not done so itself."""
        with suppress(sqlite3.Error):  # Closing the connection rolls back as well.
            if self.raw.in_transaction:
                self.raw.execute(statement)

    @contextmanager
    def faults_named(self) -> Generator[None]:
        """Turn SQLite's errors into `StoreFailed`."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.location.fault(error) from error

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self.raw.cursor()
        cursor.row_factory = None  # The caller's connection may have its own.
        return cursor


def _is_bounded(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= _BUSY_TIMEOUT_SECONDS_MAX:
        msg = f"{attribute.name} must be between 0 and a day, got {value!r}"
        raise ValueError(msg)


@attrs.frozen
class File:
    """
    A SQLite file that holds our tables.

    Arguments:
        path: its absolute path.
        create: whether to create a missing file and its tables.
        busy_timeout_seconds: how long to wait for another transaction to end.
    """

    path: Path
    create: bool
    busy_timeout_seconds: float = attrs.field(validator=_is_bounded)

    @classmethod
    def at(
        cls, path: str | os.PathLike[str], *, create: bool, busy_timeout_seconds: float
    ) -> File:
        """
        Name a file without opening it. A later change of the working folder does not matter.

        Raises:
            ValueError: the path is not valid, or the timeout is negative or longer than a day.
        """
        text = os.fspath(path)
        if not text or "\0" in text:
            msg = "the path of a SQLite file must not be empty or contain a NUL"
            raise ValueError(msg)
        if text == ":memory:":
            msg = "':memory:' would be empty in every transaction: use adapters.memory instead"
            raise ValueError(msg)
        return cls(Path(text).absolute(), create, busy_timeout_seconds)

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """Open a transaction that holds the write lock: commit on a clean exit, else roll back."""
        with self.looking() as connection, _transaction(connection):
            yield connection

    @contextmanager
    def looking(self) -> Generator[Connection]:
        """Open a connection that only reads."""
        with closing(self._opened()) as raw:
            connection = Connection(raw, self._location)
            with connection.faults_named():
                self._prepare(raw)
            self._set_up(connection)
            yield connection

    def check(self) -> list[str]:
        """Return in sentences what makes this file unusable, without a change."""
        return self.examine().problems

    def examine(self) -> Diagnosis:
        """Examine this file, without a change."""
        if self.create and not os.path.lexists(self.path):
            if _may_write(self.path.parent):
                return Diagnosis(fits=("the file will be created on first use",))
            return self._unfit(_NOT_CREATABLE)
        if os.path.isdir(self.path):  # noqa: PTH112
            return self._unfit(why_it_cannot_be_opened(self.path))
        try:
            with closing(self._opened("ro")) as raw:
                connection = Connection(raw, self._location)
                missing = list(self._missing_columns(connection))
                notes = (*self._triggers(connection), *self._history(connection))
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))
        if not (_may_write(self.path) and _may_write(self.path.parent)):
            missing.append(f"{self._location.name} {MEANINGS[sqlite3.SQLITE_READONLY]}")
        fits = () if missing else ("the file is fit",)
        return Diagnosis(fits=fits, missing=tuple(missing), notes=notes)

    def _unfit(self, why: str) -> Diagnosis:
        return Diagnosis(missing=(f"{self._location.name} {why}",))

    def _triggers(self, connection: Connection) -> Iterator[str]:
        for trigger, table in connection.rows(SQL["look_at_triggers"]):
            yield (
                f"{self._location.name} has the trigger {shown(str(trigger))} on {table!s}: a "
                "cancel or a worker's step fails and is rolled back if the trigger skips or "
                "undoes its writes"
            )

    def _history(self, connection: Connection) -> Iterator[str]:
        there = _columns(connection)
        if not self.create and _ours(there) and _EARLIER not in there:
            yield (
                f"{self._location.name} has no table {_EARLIER}: a job that is cancelled again "
                "loses its earlier record; open the file once with create=True, "
                "which creates that table"
            )

    def _missing_columns(self, connection: Connection) -> Iterator[str]:
        there = _columns(connection)
        if self.create and connection.row(SQL["is_set_up"]) != (1,) and not _ours(there):
            return  # They are created on first use.
        for table, columns in _wanted_columns().items():
            if table not in there:
                if table != _EARLIER:  # Without it, only the history is incomplete.
                    yield f"{self._location.name} has no table {table}: is it the right file?"
                continue
            for column in sorted(columns - there[table]):
                yield (
                    f"{self._location.name} has no column {column} in {table}: another version of "
                    "batch_cancel made it"
                )

    @property
    def _location(self) -> Location:
        name = f"the SQLite file {str(self.path)!r}"  # Not cut: the end of the path matters most.
        return Location(name, self.path, self.busy_timeout_seconds)

    def _opened(self, mode: str | None = None) -> sqlite3.Connection:
        if mode is None:
            mode = "rwc" if self.create else "rw"
        try:
            return sqlite3.connect(
                f"{self.path.as_uri()}?mode={mode}",
                uri=True,
                timeout=self.busy_timeout_seconds,
                isolation_level=None,  # We send BEGIN and COMMIT ourselves.
                check_same_thread=False,  # Its owner may change threads.
            )
        except sqlite3.Error as error:
            raise self._location.fault(error) from error

    def _prepare(self, raw: sqlite3.Connection) -> None:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA synchronous = FULL")  # A confirmed commit survives a crash.
        if self.create and raw.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            self._prefer_write_ahead_log(raw)

    def _prefer_write_ahead_log(self, raw: sqlite3.Connection) -> None:
        """
        Switch to write-ahead logging, in which readers and the writer do not block each other.

        It is optional, and SQLite may refuse it while others use the file: then the next
        transaction tries again.
        """
        raw.execute("PRAGMA busy_timeout = 0")
        try:
            raw.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if primary_code(error) not in PASSING:
                raise
        raw.execute(f"PRAGMA busy_timeout = {round(self.busy_timeout_seconds * 1000)}")

    def _set_up(self, connection: Connection) -> None:
        if connection.row(SQL["is_set_up"]) == (1,):
            return
        if not self.create:
            if connection.row(SQL["was_set_up"]) == (1,):
                return  # It works; a job that is cancelled again replaces its earlier record.
            reason = f"{self._location.name} holds no batch jobs: is it the right file?"
            raise StoreFailed(reason)
        with _transaction(connection):
            for statement in _SCHEMA:
                connection.execute(statement)


class OnFile:
    """What keeps its rows in a file; `SqliteStore` says what the arguments are."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self._file = File.at(path, create=create, busy_timeout_seconds=busy_timeout_seconds)

    def check(self) -> list[str]:
        """
        Name in sentences what keeps the file from being used; nothing is created or changed.

        An empty list means that it is fit, or is created on first use.
        """
        return self._file.check()


@contextmanager
def _transaction(connection: Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.roll_back()
        raise
    connection.commit()


def _columns(connection: Connection) -> dict[str, set[str]]:
    columns: dict[str, set[str]] = {}
    for table, column in connection.rows(SQL["look_at_columns"]):
        columns.setdefault(str(table), set()).add(str(column))
    return columns


@cache
def _wanted_columns() -> dict[str, set[str]]:
    """Return the columns of our tables, from the schema itself."""
    with closing(sqlite3.connect(":memory:")) as raw:
        for statement in _SCHEMA:
            raw.execute(statement)
        return _columns(Connection(raw, Location("a database in memory")))


def _ours(tables: Mapping[str, object]) -> bool:
    return not tables.keys().isdisjoint(_wanted_columns())


def _may_write(path: Path) -> bool:
    # The effective user, which may differ from the real one.
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK, effective_ids=effective)
