"""
Our own table, and the conversion of values to and from columns of any type.

Rule 1: an id has one text form. Other texts that Postgres would accept, such as " 42 " or
        "{6b29...}", are not ids.
Rule 2: a status is the value in the database, without the column's type, and is a literal in the
        statement: for partial indexes, and for enums of Postgres, which are not text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from batch_cancel.adapters.sqlalchemy.bytewise import collation, exactly
from batch_cancel.domain.status_names import StatusName
from batch_cancel.domain.statuses import LIVE_JOBS, Removal

Constant = str | int | bool | None

IS_SWEPT: Final = "is_swept"
"""The column of sweeps, which the Postgres adapter writes; an older table has none."""

EARLIER: Final = "_earlier"
"""The end of the name of the table with the earlier records."""


KEY_LENGTH: Final = 255
"""Three such texts and a time fit a key of MariaDB and MySQL: 3072 bytes of utf8mb4."""


class Moment(sa.types.TypeDecorator[datetime]):
    """A time in UTC, also if the database keeps no time zone."""

    impl: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]] = sa.DateTime(timezone=True)
    cache_ok: bool | None = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the type: in MariaDB and MySQL one with microseconds, without a time zone."""
        if is_mysql(dialect):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return super().load_dialect_impl(dialect)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the time in UTC."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if is_mysql(dialect) else value

    def process_result_value(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002  # Named so by SQLAlchemy.
    ) -> datetime | None:
        """Return the time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(sa.types.TypeDecorator[str]):
    """
    A text, compared byte by byte.

    Arguments:
        length: in MariaDB and MySQL, where a key needs one; None for a text that is in no key.
    """

    impl: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]] = sa.Text
    cache_ok: bool | None = True

    def __init__(self, length: int | None = KEY_LENGTH) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the type of this database."""
        if not is_mysql(dialect):
            return super().load_dialect_impl(dialect)
        its: Any = {"charset": "utf8mb4", "collation": collation(dialect)}
        kind: Any = mysql.TEXT(**its)
        if self.length is not None:
            kind = mysql.VARCHAR(self.length, **its)
        return dialect.type_descriptor(kind)


def is_mysql(dialect: sa.Dialect) -> bool:
    """Check whether a dialect is that of MariaDB and MySQL."""
    return dialect.name in {"mysql", "mariadb"}


def cancellations_table(metadata: sa.MetaData, name: str = "batch_cancellations") -> sa.Table:
    """
    Return our own table, the records of cancellations, for your migrations.

    The metadata gets a second table, `{name}_earlier`, for the records that are replaced when a
    job is cancelled again. On Postgres both equal those that `batch-cancel schema` prints.

    Arguments:
        metadata: yours.
        name: of the table.
    """
    table = sa.Table(
        name,
        metadata,
        sa.Column("organization_id", Word, primary_key=True),  # "" for jobs of none.
        sa.Column("batch_job_id", Word, primary_key=True),
        sa.Column("operation_id", Word, nullable=False),
        sa.Column("previous_status", Word, nullable=False),
        sa.Column("contacts_cancelled", sa.BigInteger, nullable=False),
        sa.Column("actor", Word(None)),
        sa.Column("reason", Word(None)),
        sa.Column("cancelled_at", Moment, nullable=False),
        sa.Column("deferred_id", Word(None)),
        sa.Column("removal", Word, nullable=False),
        sa.Column("is_announced", sa.Boolean, nullable=False),
        sa.Column("taken_at", Moment, nullable=False),
        # For processes that cancel very large jobs through the Postgres adapter.
        sa.Column(IS_SWEPT, sa.Boolean, nullable=False, server_default=sa.text("true")),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
    known = {
        "previous_status": table.c.previous_status.in_(sorted(LIVE_JOBS)),
        "contacts_cancelled": table.c.contacts_cancelled >= 0,
        "removal": table.c.removal.in_(sorted(Removal)),
    }
    for column, condition in known.items():
        table.append_constraint(sa.CheckConstraint(condition, name=f"{name}_{column}_check"))
    pending = sa.or_(table.c.removal == "pending", sa.not_(table.c.is_announced))
    sa.Index(
        f"{name}_owing",
        table.c.taken_at,
        # A text, because Alembic writes an expression with `is_announced = 0`.
        postgresql_where=sa.text("removal = 'pending' OR NOT is_announced"),
        sqlite_where=pending,
    )
    sa.Index(
        f"{name}_sweeping",
        table.c.taken_at,
        postgresql_where=sa.text("NOT is_swept"),
        sqlite_where=sa.not_(table.c.is_swept),
    )
    sa.Index(f"{name}_by_time", table.c.organization_id, table.c.cancelled_at)
    sa.Index(f"{name}_by_age", table.c.cancelled_at)
    sa.Table(
        f"{name}{EARLIER}",
        metadata,
        sa.Column("organization_id", Word, primary_key=True),
        sa.Column("cancelled_at", Moment, primary_key=True),
        sa.Column("batch_job_id", Word, primary_key=True),
        sa.Column("operation_id", Word, primary_key=True),
        sa.Column("previous_status", Word, nullable=False),
        sa.Column("contacts_cancelled", sa.BigInteger, nullable=False),
        sa.Column("actor", Word(None)),
        sa.Column("reason", Word(None)),
        sa.Column("deferred_id", Word(None)),
        sa.Column("removal", Word, nullable=False),
        sa.Column("is_announced", sa.Boolean, nullable=False),
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
    )
    return table


def constant(status_name: StatusName) -> sa.ColumnElement[Any]:
    """Return a status name as the database holds it, without the column's type."""
    kind = sa.Integer() if isinstance(status_name, int) else sa.String()
    # An UPDATE names a bare literal after its column, and fails to find it if that name has a
    # blank; inside a type_coerce it keeps its own name.
    return sa.type_coerce(sa.literal(status_name, kind, literal_execute=True), kind)


def is_among(column: sa.Column[Any], status_names: Iterable[StatusName]) -> sa.ColumnElement[bool]:
    """Return the condition that a status column holds one of these."""
    names = list(status_names)
    among = column.in_([constant(it) for it in names])
    return exactly(column, among) if any(isinstance(it, str) for it in names) else among


def holding(table: sa.Table, where: Mapping[str, Constant]) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that a row counts."""
    return [
        (
            table.c[name].is_(None)
            if value is None
            else exactly(table.c[name], table.c[name] == value)
        )
        for name, value in where.items()
    ]


def is_id(column: sa.Column[Any], text: str | None) -> sa.ColumnElement[bool]:
    """
    Return the condition that a column holds an id; None for NULL.

    Raises:
        ValueError: the column cannot hold such an id.
    """
    return column.is_(None) if text is None else exactly(column, column == bound(column, text))


def bound(column: sa.Column[Any], text: str) -> Any:  # noqa: ANN401  # A value, or a literal.
    """
    Return an id as a value to compare the column with.

    Raises:
        ValueError: the column cannot hold such an id.
    """
    value = id_value(column, text)
    # asyncpg refuses a number that is too large for its parameter's type.
    return sa.literal(value, sa.BigInteger) if isinstance(value, int) else value


def id_value(column: sa.Column[Any], text: str) -> object:
    """
    Return an id as a value of the column's type.

    Raises:
        ValueError: the column cannot hold such an id.
    """
    given: Any = column.type
    while isinstance(given, postgresql.DOMAIN):
        given = given.data_type
    is_uuid = isinstance(given, sa.Uuid)
    kind = UUID if is_uuid else _python_type(given)
    if kind not in {int, UUID}:
        return text
    value: int | UUID = kind(text)
    # An id has one text form: " 42 " and "{6b29...}" are not ids, though the type accepts them.
    if str(value) != text.casefold() or int(value).bit_length() > (63 if kind is int else 128):
        msg = "no row can have such an id"
        raise ValueError(msg)
    return str(value) if is_uuid and not given.as_uuid else value


def shown(column: sa.Column[Any] | None, text: str | None) -> str | None:
    """
    Return an id as its column shows it, by which a column of texts refers to it; None for NULL.

    Raises:
        ValueError: the column cannot hold such an id.
    """
    return text if column is None or text is None else str(id_value(column, text))


def _python_type(kind: sa.types.TypeEngine[Any]) -> Any:  # noqa: ANN401  # A class.
    try:
        return kind.python_type
    except NotImplementedError:  # Types without a Python type, such as Postgres' citext.
        return str


def as_text(column: sa.ColumnElement[Any], dialect: sa.Dialect) -> sa.ColumnElement[Any]:
    """
    Return a column as the text form of an id.

    Postgres itself converts it to text, without the padding of CHAR(n). Elsewhere, only the
    column's type can read a uuid.
    """
    return sa.cast(column, sa.Text) if dialect.name == "postgresql" else column


def text(value: object) -> str | None:
    """Return a value as text; None stays None."""
    return None if value is None else str(value)


def moment(column: sa.Column[Any], at: datetime | None) -> Any:  # noqa: ANN401  # Or an expression.
    """Return a time as a value of the column's type, in UTC."""
    if at is None:
        return None
    at = at.astimezone(UTC)
    if not getattr(column.type, "timezone", True):
        at = at.replace(tzinfo=None)
    if isinstance(column.type, sa.TIMESTAMP):
        return AsTimestamp(sa.literal(at, column.type))
    return at


class AsTimestamp(FunctionElement[Any]):
    """A time in UTC, for a column of the type TIMESTAMP."""

    inherit_cache: bool | None = True
    name = "as_timestamp"

    def __init__(self, at: sa.BindParameter[Any]) -> None:
        super().__init__(at)
        self.type: sa.types.TypeEngine[Any] = at.type


@compiles(AsTimestamp)
def _as_it_is(element: AsTimestamp, compiler: Any, **options: Any) -> str:  # noqa: ANN401
    return str(compiler.process(*element.clauses, **options))


@compiles(AsTimestamp, "mysql")
@compiles(AsTimestamp, "mariadb")
def _local(element: AsTimestamp, compiler: Any, **options: Any) -> str:  # noqa: ANN401
    # There, such a column keeps UTC, but takes the connection's local time.
    at = _as_it_is(element, compiler, **options)
    return f"CONVERT_TZ({at}, '+00:00', @@time_zone)"
