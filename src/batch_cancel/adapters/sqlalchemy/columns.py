"""
Our own table, and how values go into columns of any type and come out of them.

Rule 1: an id has one spelling. A text that Postgres would read as an id, " 42 " or "{6b29...}", is
        none.
Rule 2: a status is what the database holds, past the column's type, and is written into the
        statement: for an index, and for an enum of Postgres, which is no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from batch_cancel.domain.status_names import Spelling
from batch_cancel.domain.statuses import LIVE_JOBS, Removal

Constant = str | int | bool | None


class Moment(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, also where a database keeps no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002  # Named so by SQLAlchemy.
    ) -> datetime | None:
        """Return the moment in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002  # Named so by SQLAlchemy.
    ) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def cancellations_table(metadata: sa.MetaData, name: str = "batch_cancellations") -> sa.Table:
    """
    Return our own table, the records of cancellations, for your migrations to make.

    On Postgres it is the one that `batch-cancel schema` prints.

    Arguments:
        metadata: yours.
        name: of the table.
    """
    table = sa.Table(
        name,
        metadata,
        sa.Column("organization_id", sa.Text, primary_key=True),  # "" for jobs of none.
        sa.Column("batch_job_id", sa.Text, primary_key=True),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("previous_status", sa.Text, nullable=False),
        sa.Column("contacts_cancelled", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("cancelled_at", Moment, nullable=False),
        sa.Column("deferred_id", sa.Text),
        sa.Column("removal", sa.Text, nullable=False),
        sa.Column("is_announced", sa.Boolean, nullable=False),
        sa.Column("taken_at", Moment, nullable=False),
    )
    known = {
        "previous_status": table.c.previous_status.in_(sorted(LIVE_JOBS)),
        "contacts_cancelled": table.c.contacts_cancelled >= 0,
        "removal": table.c.removal.in_(sorted(Removal)),
    }
    for column, condition in known.items():
        table.append_constraint(sa.CheckConstraint(condition, name=f"{name}_{column}_check"))
    owing = sa.or_(table.c.removal == "pending", sa.not_(table.c.is_announced))
    sa.Index(f"{name}_owing", table.c.taken_at, postgresql_where=owing, sqlite_where=owing)
    return table


def constant(spelling: Spelling) -> sa.ColumnElement[Any]:
    """Return a spelling as the database holds it, past the column's type."""
    kind = sa.Integer() if isinstance(spelling, int) else sa.String()
    # An UPDATE would name a bare literal after its column, and not find it again by a name with a
    # blank in it; what is in a type_coerce keeps its own name.
    return sa.type_coerce(sa.literal(spelling, kind, literal_execute=True), kind)


def is_among(column: sa.Column[Any], spellings: Iterable[Spelling]) -> sa.ColumnElement[bool]:
    """Return the condition that a status column holds one of these."""
    return column.in_([constant(it) for it in spellings])


def holding(table: sa.Table, where: Mapping[str, Constant]) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that columns hold what they hold in the rows that count."""
    return [
        table.c[name].is_(None) if value is None else table.c[name] == value
        for name, value in where.items()
    ]


def is_id(column: sa.Column[Any], text: str | None) -> sa.ColumnElement[bool]:
    """
    Return the condition that a column holds an id; None for NULL.

    Raises:
        ValueError: no row can have such an id.
    """
    return column.is_(None) if text is None else column == bound(column, text)


def bound(column: sa.Column[Any], text: str) -> Any:  # noqa: ANN401  # A value, or a literal.
    """
    Return an id as a value to compare the column with.

    Raises:
        ValueError: no row can have such an id.
    """
    value = id_value(column, text)
    # asyncpg refuses a number that is too large for its parameter's type.
    return sa.literal(value, sa.BigInteger) if isinstance(value, int) else value


def id_value(column: sa.Column[Any], text: str) -> object:
    """
    Return an id as the column's type takes it.

    Raises:
        ValueError: no row can have such an id.
    """
    given: Any = column.type
    while isinstance(given, postgresql.DOMAIN):
        given = given.data_type
    is_uuid = isinstance(given, sa.Uuid)
    kind = UUID if is_uuid else _python_type(given)
    if kind not in {int, UUID}:
        return text
    value: int | UUID = kind(text)
    # An id has one spelling: " 42 " and "{6b29...}" are none, though they could be read.
    if str(value) != text.casefold() or int(value).bit_length() > (63 if kind is int else 128):
        msg = "no row can have such an id"
        raise ValueError(msg)
    return str(value) if is_uuid and not given.as_uuid else value


def _python_type(kind: sa.types.TypeEngine[Any]) -> Any:  # noqa: ANN401  # A class.
    try:
        return kind.python_type
    except NotImplementedError:  # Types that know of none, as Postgres' citext does.
        return str


def as_text(column: sa.ColumnElement[Any], dialect: sa.Dialect) -> sa.ColumnElement[Any]:
    """
    Return a column as the text that names a row by it.

    Postgres itself makes the text, without the blanks that CHAR(n) is padded with. On SQLite, a
    uuid is a text that only the column's type can read.
    """
    return sa.cast(column, sa.Text) if dialect.name == "postgresql" else column


def text(value: object) -> str | None:
    """Return what was read as a text; None stays None."""
    return None if value is None else str(value)


def moment(column: sa.Column[Any], at: datetime | None) -> datetime | None:
    """Return a moment as the column's type takes it."""
    if at is None or getattr(column.type, "timezone", True):
        return at
    return at.astimezone(UTC).replace(tzinfo=None)


def statement_time(column: sa.Column[Any]) -> sa.ColumnElement[Any] | None:
    """Return Postgres' own clock as the column takes it; None for a type that makes its own."""
    if not isinstance(column.type, sa.DateTime):
        return None
    now = sa.func.statement_timestamp()
    return now if column.type.timezone else sa.func.timezone("UTC", now)
