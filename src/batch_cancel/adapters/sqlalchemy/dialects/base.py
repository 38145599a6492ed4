"""What a database does in its own way, as the statements of all repositories need it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from batch_cancel.adapters.sqlalchemy.facts import Seen
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.diagnosis import Findings

Copying: TypeAlias = Callable[[], tuple[sa.Table, list[str], sa.Select[Any]]]
"""Returns a table of earlier records, its columns, and the query for what is copied there."""


class Database(ABC):
    """A database's own ways; what is not said here is the same on all."""

    returns_rows: ClassVar[bool] = False
    """Whether an UPDATE and an INSERT can return how each row was written."""

    takes_slices: ClassVar[bool] = False
    """Whether many jobs are locked, cancelled and marked together; else one by one."""

    defers_triggers: ClassVar[bool] = False
    """Whether a trigger can be deferred until the commit."""

    refuses_several: ClassVar[bool] = True
    """Whether a subquery that finds several rows is an error where one value is needed."""

    @abstractmethod
    def open(
        self,
        connection: Connection,
        tables: SqlAlchemyTables,
        lock_timeout: timedelta,
        statement_timeout: timedelta,
    ) -> Seen:
        """
        Let the transaction begin as one of ours.

        Raises:
            StoreFailed: it can't be one.
        """

    @abstractmethod
    def join(self, connection: Connection, tables: SqlAlchemyTables) -> Seen:
        """
        Let the caller's transaction begin, and check it.

        Raises:
            StoreFailed: it is none to join.
        """

    @abstractmethod
    def now(self, connection: Connection) -> datetime:
        """Read the store's clock."""

    def clock(self) -> sa.ColumnElement[Any]:
        """Return the clock in a query; NULL where it must be asked for by itself."""
        return sa.null()

    def statement_time(
        self,
        column: sa.Column[Any],  # noqa: ARG002  # For those that need it.
    ) -> sa.ColumnElement[Any] | None:
        """Return the clock as a value of a column; None if it must be read before."""
        return None

    def locking(self, asked: sa.Select[Any]) -> sa.Select[Any]:
        """Return a query that locks, with the clock as read after the wait for the lock."""
        return asked

    def may_lock(
        self,
        connection: Connection,  # noqa: ARG002  # For those that need it.
        asked: sa.Select[Any],  # noqa: ARG002
    ) -> bool:
        """Check whether a query that locks would lock the rows that it finds, and no other."""
        return True

    def picked(
        self,
        connection: Connection,
        asked: sa.Select[Any],
        locked: sa.Select[Any],
        column: sa.Column[Any],
        limit: int,
    ) -> list[Any]:
        """
        Lock up to so many rows that are not locked, and return the values of a query.

        Arguments:
            connection: the connection.
            asked: a query for one value, ordered.
            locked: the same, which locks what is not locked.
            column: a column that is unique among the rows of the query.
            limit: how many.
        """
        del asked, column
        return list(connection.execute(locked.limit(limit)).scalars())

    def is_swept(
        self,
        ours: sa.Table,  # noqa: ARG002  # For the one whose other adapter sweeps.
    ) -> sa.ColumnElement[bool]:
        """Return the condition that all contacts of a record are cancelled."""
        return sa.true()

    @abstractmethod
    def keep(
        self,
        connection: Connection,
        ours: sa.Table,
        values: Mapping[str, Any],
        copying: Copying | None,
    ) -> None:
        """
        Add a record, or replace the one of an earlier cancellation of the job.

        Arguments:
            connection: the connection.
            ours: the table of records.
            values: those of the record.
            copying: names the table of earlier records, and what is copied there if a record is
                replaced; None to lose it.
        """

    @abstractmethod
    def added(self, connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
        """Add a row, unless its primary key is there or is added meanwhile."""

    @abstractmethod
    def delete(self, connection: Connection, table: sa.Table, old: sa.Select[Any]) -> int:
        """Delete the rows whose primary keys a locking query finds, and return how many."""

    def see_server(
        self,
        connection: Connection,
        seen: Seen,
        found: Findings,
    ) -> None:
        """Note what the server's settings forbid, slow down or leave open."""
        del connection, seen, found  # For those that need them.

    def lacking(
        self,
        connection: Connection,  # noqa: ARG002  # For those that need it.
        table: sa.Table,  # noqa: ARG002
        columns: Sequence[str],  # noqa: ARG002
        privilege: str,  # noqa: ARG002
    ) -> list[str]:
        """Return on which of a table's columns the user that connects lacks a privilege."""
        return []
