"""
The primary key of a table that is keyed by several columns, as one field.

Rule 1: the table has no such column. What is read is the JSON list of the key's columns; what is
        looked up are those columns, so that the index of the key is used.
Rule 2: what is no such list names no row.

Django's own `CompositePrimaryKey` begins with 5.2, and its admin refuses such models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import TextField
from django.db.models.expressions import Col
from django.db.models.lookups import Exact


class KeyField(TextField):
    """
    A primary key that is made of other columns.

    Arguments:
        columns: the fields of the key, which are its columns.
        options: as of any field.
    """

    def __init__(self, columns: Sequence[str], **options: Any) -> None:
        self.columns = tuple(columns)
        fixed = {"primary_key": True, "editable": False, "serialize": False}
        super().__init__(**{**fixed, **options})

    def deconstruct(self) -> Any:
        """Return what a migration writes down."""
        name, path, arguments, options = super().deconstruct()
        return name, path, arguments, {**options, "columns": self.columns}

    def get_col(self, alias: str, output_field: Any = None) -> Col:
        """Return the expression for the key."""
        return _Key(alias, self, output_field)

    @property
    def cached_col(self) -> Col:
        """The expression for the key, by the table's own name."""
        return _Key(self.model._meta.db_table, self)


class _Key(Col):
    """The columns of the key, as the text of a JSON list."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        columns = ", ".join(self.columns(compiler))
        return f"jsonb_build_array({columns})::text", []

    def columns(self, compiler: Any) -> list[str]:
        """Return the columns as SQL."""
        field = self.target.model._meta.get_field
        return [compiler.compile(field(it).get_col(self.alias))[0] for it in self.target.columns]


class _KeyExact(Exact):
    """The row of a key."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        if not isinstance(self.rhs, str):  # Such as OuterRef: the text of another key.
            sql: tuple[str, list[Any]] = super().as_sql(compiler, connection)
            return sql
        key: Any = self.lhs
        columns = key.columns(compiler)
        values = _read(self.rhs)
        if len(values) != len(columns):
            raise EmptyResultSet
        return " AND ".join(f"{it} = %s" for it in columns), values


KeyField.register_lookup(_KeyExact)


def _read(key: str) -> list[str]:
    """Return the values of a key; none if it is not one."""
    try:
        values = json.loads(key)
    except ValueError:
        return []
    is_key = isinstance(values, list) and all(isinstance(it, str) for it in values)
    return values if is_key and not any("\0" in it for it in values) else []
