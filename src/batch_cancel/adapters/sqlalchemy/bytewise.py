"""
Texts compared byte by byte, on every database.

Rule 1: Postgres and SQLite compare so by themselves, and get the plain comparison.
Rule 2: MariaDB and MySQL compare by a column's collation: by default 'JOB', 'job ' and 'job' are
        one text. So they get the plain comparison, which an index serves, and beside it the same
        in a collation that distinguishes all bytes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import BinaryExpression
from sqlalchemy.sql.functions import FunctionElement


class Bytewise(FunctionElement[Any]):
    """A text, compared and grouped byte by byte."""

    inherit_cache: bool | None = True
    name = "bytewise"

    def __init__(self, text: sa.ColumnElement[Any]) -> None:
        super().__init__(text)
        self.type: sa.types.TypeEngine[Any] = sa.String()


class Exactly(FunctionElement[bool]):
    """A comparison of texts, made byte by byte."""

    inherit_cache: bool | None = True
    name = "exactly"

    def __init__(self, comparison: sa.ColumnElement[bool]) -> None:
        super().__init__(comparison)
        self.type: sa.types.TypeEngine[bool] = sa.Boolean()

    def self_group(self, against: Any = None) -> Any:  # noqa: ANN401, ARG002  # Named so there.
        """Return it as it is: SQLAlchemy would add `= 1`, and no index would serve it."""
        return self


def _only(element: FunctionElement[Any]) -> Any:  # noqa: ANN401  # An expression of any kind.
    (expression,) = element.clauses
    return expression


@compiles(Bytewise)
@compiles(Exactly)
def _plain(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:  # noqa: ANN401
    return str(compiler.process(_only(element), **options))


@compiles(Bytewise, "mysql")
@compiles(Bytewise, "mariadb")
def _collated(element: Bytewise, compiler: Any, **options: Any) -> str:  # noqa: ANN401
    text = compiler.process(_only(element), **options)
    return f"CONVERT({text} USING utf8mb4) COLLATE {collation(compiler.dialect)}"


@compiles(Exactly, "mysql")
@compiles(Exactly, "mariadb")
def _exactly(element: Exactly, compiler: Any, **options: Any) -> str:  # noqa: ANN401
    plain = _only(element)
    exact: BinaryExpression[bool] = BinaryExpression(
        Bytewise(plain.left), plain.right, plain.operator, type_=sa.Boolean()
    )
    both = [compiler.process(it, **options) for it in (plain, exact)]
    return f"({' AND '.join(both)})"


def collation(dialect: Any) -> str:  # noqa: ANN401  # Only the dialect of MySQL has the attribute.
    """Return the collation of MariaDB, or of MySQL, that distinguishes all bytes."""
    return "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"


def is_text(column: sa.ColumnElement[Any]) -> bool:
    """Check whether the database may compare a column as a text."""
    kind = column.type
    while isinstance(kind, sa.types.TypeDecorator):
        kind = kind.impl_instance
    return not isinstance(
        kind,
        sa.Integer
        | sa.Numeric
        | sa.Uuid
        | sa.DateTime
        | sa.Date
        | sa.Boolean
        | sa.LargeBinary
        | sa.BINARY
        | sa.VARBINARY,
    )


def exactly(
    column: sa.ColumnElement[Any], comparison: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    """Return a comparison of a column as one of texts byte by byte, if the column is a text."""
    return Exactly(comparison) if is_text(column) else comparison
