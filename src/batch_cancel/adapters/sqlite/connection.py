"""
One SQLite file: connections, transactions, and what SQLite's errors mean.

Rule 1: every transaction has a connection of its own, opened for it and closed after it. Nothing
        is shared between threads, and nothing survives a fork.
Rule 2: a transaction takes the write lock before it reads. A transaction that reads first and
        writes later acts on what it saw before it had the lock, or is refused by SQLite.
Rule 3: an error of SQLite's leaves here as `StoreFailed`, with what is known about the commit.

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
    Place,
    primary_code,
    why_it_cannot_be_opened,
)
from batch_cancel.domain.defaults import BUSY_TIMEOUT_SECONDS
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.errors import StoreFailed, shown

Value = str | bytes | int | None
"""What a column of ours may hold."""

_BUSY_TIMEOUT_SECONDS_MAX: Final = 86_400.0

_NOT_COMMITTED: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_FULL}
)
"""
The errors of a COMMIT after which nothing can be committed any more.

After an I/O error the commit mark may be in the write-ahead log although its flush failed: a crash
right then would bring the transaction back.
"""


def _schema(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


_NO_PLACE: Final = "does not exist, nor may it be made: check its folder"

_PACKAGE: Final = "batch_cancel.adapters.sqlite"
SQL: Final = statements(_PACKAGE, "queries.sql")
_SCHEMA: Final = tuple(_schema(sql_text(_PACKAGE, "tables.sql")))


_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def now() -> datetime:
    """Return the store's clock, in UTC."""
    return datetime.now(UTC)


def text_of(at: datetime) -> str:
    """Return an aware datetime as the file keeps it: texts in the order of time."""
    try:
        utc = at.astimezone(UTC)
    except OverflowError:  # At the calendar's ends, an instant may have no date in UTC.
        utc = _LAST if at.year > 1 else _FIRST
    return utc.isoformat(timespec="microseconds")


def time_of(text: str) -> datetime:
    """Read a time that `text_of` wrote."""
    return datetime.fromisoformat(text)


@attrs.frozen
class Connection:
    """A connection in use by one transaction; its errors are `StoreFailed`."""

    raw: sqlite3.Connection
    place: Place

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> sqlite3.Cursor:
        """Carry out one statement."""
        with self.faults_named():
            return self._cursor().execute(statement, parameters)

    def execute_many(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Carry out one statement for each of many rows."""
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
            raise self.place.fault(error, "unchanged" if known else "unknown") from error

    def roll_back(self, statement: str = "ROLLBACK") -> None:
        """Undo the transaction, if SQLite has not done so by itself."""
        with suppress(sqlite3.Error):  # What cannot be undone here is undone by closing.
            if self.raw.in_transaction:
                self.raw.execute(statement)

    @contextmanager
    def faults_named(self) -> Generator[None]:
        """Turn SQLite's errors into `StoreFailed`."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.place.fault(error) from error

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self.raw.cursor()
        cursor.row_factory = None  # A caller's connection may have one of its own.
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
        path: where it is, absolute.
        create: whether to make the file and its tables where they are missing.
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
        Name a file; nothing is opened yet. A later change of the working folder does not matter.

        Raises:
            ValueError: a path that names no file, or a time that is negative or longer than a day.
        """
        text = os.fspath(path)
        if not text or "\0" in text:
            msg = "the path of a SQLite file must not be empty or hold a NUL"
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
        """Open a connection that only looks, at what is committed."""
        with closing(self._opened()) as raw:
            connection = Connection(raw, self._place)
            with connection.faults_named():
                self._prepare(raw)
            self._set_up(connection)
            yield connection

    def check(self) -> list[str]:
        """Name in sentences what keeps this file from being used; nothing is made or changed."""
        return self.examine().problems

    def examine(self) -> Diagnosis:
        """Look at this file; nothing is made or changed."""
        if self.create and not os.path.lexists(self.path):
            if _may_write(self.path.parent):
                return Diagnosis(fits=("the file will be made on first use",))
            return self._unfit(_NO_PLACE)
        if os.path.isdir(self.path):  # noqa: PTH112
            return self._unfit(why_it_cannot_be_opened(self.path))
        try:
            with closing(self._opened("ro")) as raw:
                connection = Connection(raw, self._place)
                missing = list(self._missing_columns(connection))
                notes = tuple(self._triggers(connection))
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))
        if not (_may_write(self.path) and _may_write(self.path.parent)):
            missing.append(f"{self._place.name} {MEANINGS[sqlite3.SQLITE_READONLY]}")
        fits = () if missing else ("the file is fit",)
        return Diagnosis(fits=fits, missing=tuple(missing), notes=notes)

    def _unfit(self, why: str) -> Diagnosis:
        return Diagnosis(missing=(f"{self._place.name} {why}",))

    def _triggers(self, connection: Connection) -> Iterator[str]:
        for trigger, table in connection.rows(SQL["look_at_triggers"]):
            yield (
                f"{self._place.name} has the trigger {shown(str(trigger))} on {table!s}: a cancel "
                "or a worker's step whose writes it skips or undoes is rolled back and fails"
            )

    def _missing_columns(self, connection: Connection) -> Iterator[str]:
        there = _columns(connection)
        if self.create and connection.row(SQL["is_set_up"]) != (1,) and not _ours(there):
            return  # They are made on first use.
        for table, columns in _wanted_columns().items():
            if table not in there:
                yield f"{self._place.name} has no table {table}: is it the right file?"
                continue
            for column in sorted(columns - there[table]):
                yield (
                    f"{self._place.name} has no column {column} in {table}: another version of "
                    "batch_cancel made it"
                )

    @property
    def _place(self) -> Place:
        name = f"the SQLite file {str(self.path)!r}"  # Not cut: what counts is at its end.
        return Place(name, self.path, self.busy_timeout_seconds)

    def _opened(self, mode: str | None = None) -> sqlite3.Connection:
        if mode is None:
            mode = "rwc" if self.create else "rw"
        try:
            return sqlite3.connect(
                f"{self.path.as_uri()}?mode={mode}",
                uri=True,
                timeout=self.busy_timeout_seconds,
                isolation_level=None,  # BEGIN and COMMIT are ours, not guessed by the driver.
                check_same_thread=False,  # Its owner may move from thread to thread.
            )
        except sqlite3.Error as error:
            raise self._place.fault(error) from error

    def _prepare(self, raw: sqlite3.Connection) -> None:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA synchronous = FULL")  # A commit that was answered survives a crash.
        if self.create and raw.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            self._prefer_write_ahead_log(raw)

    def _prefer_write_ahead_log(self, raw: sqlite3.Connection) -> None:
        """
        Let the readers and the writer of this file not wait for each other, if that is to be had.

        Nothing depends on it, and SQLite may refuse, without waiting, while others use the file:
        then the next transaction asks again.
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
            reason = f"{self._place.name} holds no batch jobs: is it the right file?"
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
        Name in sentences what keeps the file from being used; nothing is made or changed.

        An empty list says that it is fit, or will be made on first use.
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
        return _columns(Connection(raw, Place("a database in memory")))


def _ours(tables: Mapping[str, object]) -> bool:
    return not tables.keys().isdisjoint(_wanted_columns())


def _may_write(path: Path) -> bool:
    # As whom we act, which may be another than who started us.
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK, effective_ids=effective)
