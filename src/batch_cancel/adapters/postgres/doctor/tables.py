"""The catalogs' facts about the three tables, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

import attrs
from psycopg import sql

from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.adapters.postgres.schema import Table as Name
from batch_cancel.adapters.postgres.sql_parts import trusted
from batch_cancel.adapters.postgres_catalog import Facts

FIELDS: Final = ("jobs", "contacts", "cancellations")
"""The schema's arguments for its tables."""

Rows = list[tuple[Any, ...]]


@attrs.frozen
class Table:
    """A table of the schema; its names as SQL, but for those of its parts."""

    oid: int | None
    namespace: str | None
    kind: str | None
    may_enter: bool | None
    elsewhere: Sequence[str] | None
    """The schemas that have a table of this name."""
    parts: Sequence[str] | None
    """The table itself or its partitions, as schema.name."""
    secured_for: str | None
    """The role that connects, if row-level security applies to it."""
    allowed: Sequence[str] | None
    """The privileges for which a policy shows rows to that role."""
    policies: Sequence[str] | None
    """The policies that apply to that role."""

    @property
    def has_indexes(self) -> bool:
        """Whether it can have indexes; a view or a foreign table can't."""
        return self.kind in {"r", "p"}


@attrs.frozen
class Column:
    """An existing column; of a domain the base type."""

    privileges: frozenset[str]
    type: str
    labels: frozenset[str] | None
    is_domain: bool


@attrs.frozen
class Index:
    """An index, its name as SQL; one that is not valid is not used."""

    name: str
    is_valid: bool
    is_unique: bool
    predicate: str | None
    columns: Sequence[str]
    is_ascending: bool

    def finds(self, column: str, given: frozenset[str]) -> bool:
        """
        Check whether it begins with a column, or with given columns and then this one.

        Arguments:
            column: the column of the condition.
            given: what else the statement says by `=`, IN or IS NULL.
        """
        return column in takewhile(lambda it: it == column or it in given, self.columns)

    def orders(self, column: str, given: frozenset[str], then: Sequence[str]) -> bool:
        """
        Check whether it has the rows that it finds by a column in the order of others.

        Arguments:
            column: the column of the condition.
            given: what else the statement says by `=` or IS NULL.
            then: the columns of the order.
        """
        found_by = list(takewhile(lambda it: it == column or it in given, self.columns))
        after = self.columns[len(found_by) : len(found_by) + len(then)]
        return self.is_ascending and column in found_by and tuple(after) == tuple(then)


@attrs.frozen
class Constraint:
    """
    A check constraint on a single column, or of its domain.

    Arguments:
        table: the oid of the table.
        name: its name, as SQL.
        column: the column.
        text: its condition, as in the catalog.
        of_domain: the domain, as SQL; None for a constraint of the table.
    """

    table: int
    name: str
    column: str
    text: str
    of_domain: str | None


@attrs.frozen
class Database:
    """
    The facts about a database from its catalogs, and the schema that it should have.

    Arguments:
        schema: the names of the tables and columns.
        typed: each of these names as SQL.
        tables: the tables, by the schema's arguments, and the one of the earlier records.
        columns: the columns by table and name.
        indexes: the indexes by table.
        constraints: the check constraints.
        facts: the facts that the adapter itself reads.
    """

    schema: PostgresSchema
    typed: Mapping[str, str]
    tables: Mapping[str, Table]
    columns: Mapping[int, Mapping[str, Column]]
    indexes: Mapping[int, Sequence[Index]]
    constraints: Sequence[Constraint]
    facts: Facts

    def name(self, field: str) -> str:
        """Return the name of a table as SQL."""
        namespace, name = pair(getattr(self.schema, field))
        return ".".join(self.typed[part] for part in (namespace, name) if part is not None)

    def columns_of(self, field: str) -> Mapping[str, Column]:
        """Return the columns of a table."""
        return self.columns.get(self.tables[field].oid or 0, {})

    def has_columns(self, field: str, *names: str | None) -> bool:
        """Check whether a table has these columns; None stands for one that is not needed."""
        return self.columns_of(field).keys() >= set(filter(None, names))

    def indexes_of(self, field: str) -> Sequence[Index]:
        """Return the valid indexes of a table."""
        found = self.indexes.get(self.tables[field].oid or 0, ())
        return [it for it in found if it.is_valid]

    def known_columns(
        self, field: str, status: str | None = None, *, is_value: bool = False
    ) -> sql.Composable:
        """
        Return the known values of a row that counts, as SQL.

        Arguments:
            field: which table.
            status: the column whose value is `given.status`.
            is_value: whether it is for a domain's constraint, which calls the column VALUE.
        """
        columns = self.columns_of(field)
        where = self.schema.job_where if field == "jobs" else self.schema.contact_where
        known: dict[str, sql.Composable] = {
            column: sql.Literal(constant) for column, constant in where.items()
        }
        if status is not None:
            known[status] = sql.SQL("given.status")
        typed = (
            sql.SQL("{}::{} AS {}").format(
                it, trusted(columns[name].type), sql.Identifier("value" if is_value else name)
            )
            for name, it in known.items()
            if name in columns and (name == status or not is_value)
        )
        return sql.SQL(", ").join(typed)


def pair(table: Name) -> tuple[str | None, str]:
    """Return the schema of a table, if one is given, and its name."""
    return (None, table) if isinstance(table, str) else table


def names_of(schema: PostgresSchema) -> list[str]:
    """Return every name of a schema."""

    def each() -> Iterator[str]:
        for value in attrs.asdict(schema, recurse=False).values():
            if isinstance(value, str):
                yield value
            elif isinstance(value, tuple):
                yield from value
        yield from filter(None, pair(schema.earlier))
        yield from schema.job_where
        yield from schema.contact_where

    return list(each())


def tables_of(schema: PostgresSchema) -> Mapping[str, list[str | None]]:
    """Return the parameters that read the tables."""
    fields = [*FIELDS, "earlier"]
    pairs = [pair(getattr(schema, field)) for field in fields]
    return {
        "fields": [*fields],
        "schemas": [namespace for namespace, _ in pairs],
        "names": [name for _, name in pairs],
    }


def read_tables(rows: Rows) -> Mapping[str, Table]:
    """Read the tables."""
    return {field: Table(*rest) for field, *rest in rows}


def read_columns(rows: Rows) -> Mapping[int, Mapping[str, Column]]:
    """Read the columns."""
    columns: dict[int, dict[str, Column]] = {}
    for table, name, may_select, may_insert, may_update, type_, labels, is_domain in rows:
        may = {"SELECT": may_select, "INSERT": may_insert, "UPDATE": may_update}
        privileges = frozenset(privilege for privilege, granted in may.items() if granted)
        known = None if labels is None else frozenset[str](labels)
        columns.setdefault(table, {})[name] = Column(privileges, type_, known, is_domain)
    return columns


def read_indexes(rows: Rows) -> Mapping[int, Sequence[Index]]:
    """Read the indexes."""
    indexes: dict[int, list[Index]] = {}
    for table, *rest in rows:
        indexes.setdefault(table, []).append(Index(*rest))
    return indexes


def read_constraints(rows: Rows) -> Sequence[Constraint]:
    """Read the check constraints."""
    return [Constraint(*row) for row in rows]
