"""
Whether a database is fit for the library: what it is asked, and what its answers mean.

Rule 1: nothing is changed: the transaction is a read-only one, and reads the catalogs alone.
Rule 2: every sentence says what is missing and how to mend it.
Rule 3: what a cancel does not need is not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.schema import PostgresSchema, Table, statements, trusted
from batch_cancel.domain.model import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

_VERSION_MIN: Final = 15

_JOB_STATUSES: Final = (JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.CANCELLED)
"""What the statements say of a job's status; an enum must have it."""

_CONTACT_STATUSES: Final = (*sorted(CANCELLABLE_CONTACTS), ContactStatus.CANCELLED)
"""What the statements say of a contact's status."""

_RECORD: Final = (
    *("organization_id", "batch_job_id", "operation_id", "previous_status"),
    *("contacts_cancelled", "actor", "reason", "cancelled_at", "deferred_id", "removal"),
    *("is_announced", "taken_at"),
)
"""The columns of our own table."""

_RECORD_KEY: Final = frozenset({"organization_id", "batch_job_id"})
_RECORD_BY_AGE: Final = "taken_at"

_FIELDS: Final = ("jobs", "contacts", "cancellations")
"""How the schema's arguments for its tables are called."""

_SELECT: Final = frozenset({"SELECT"})
_CHANGE: Final = frozenset({"SELECT", "UPDATE"})
_TOUCH: Final = frozenset({"UPDATE"})
_KEEP: Final = frozenset({"SELECT", "INSERT", "UPDATE"})

_STATEMENTS: Final = statements("checks.sql")

Rows = list[tuple[Any, ...]]


@attrs.frozen
class _Found:
    """A table that was looked for."""

    oid: int | None
    namespace: str | None
    kind: str | None
    may_enter: bool | None
    elsewhere: Sequence[str] | None
    """In which schemas there is a table of this name."""

    @property
    def has_indexes(self) -> bool:
        """Whether it could have some: those of a view or a foreign table are elsewhere."""
        return self.kind in {"r", "p"}


@attrs.frozen
class _Index:
    """An index in use."""

    is_unique: bool
    predicate: str | None
    columns: Sequence[str]


@attrs.frozen
class _Wanted:
    """A column that is needed: how the schema's argument is called, and what is done with it."""

    argument: str
    column: str
    privileges: frozenset[str]
    is_optional: bool = False


@attrs.frozen
class _Column:
    """A column that is there."""

    privileges: frozenset[str]
    type: str
    labels: frozenset[str] | None
    is_domain: bool


@attrs.frozen
class _Condition:
    """
    A condition on a status column, and the statuses that it has to hold for.

    Arguments:
        text: as the catalog spells it.
        column: the column that it is on.
        type: that column's type, as the catalog spells it.
        statuses: all of which it must hold for.
        unknown_will_do: whether NULL is as good as true, as it is in a check constraint.
    """

    text: str
    column: str
    type: str
    statuses: Sequence[str]
    unknown_will_do: bool

    @property
    def question(self) -> sql.SQL:
        """The statement that asks."""
        parts = {
            "condition": self.text,
            "column": sql.Identifier(self.column).as_string(None),
            "type": self.type,
        }
        # A percent sign would read as a placeholder.
        escaped = {name: trusted(text.replace("%", "%%")) for name, text in parts.items()}
        composed = trusted(_STATEMENTS["condition"]).format(**escaped)
        return trusted(composed.as_string(None))

    def answer(self, row: tuple[Any, ...] | None) -> bool:
        """Read the answer; none at all is a no."""
        return row is not None and bool(row[0] if self.unknown_will_do else row[1])


@attrs.frozen
class _Doubt:
    """A sentence that is true unless one of some conditions holds."""

    sentence: str
    unless: Sequence[_Condition] = ()


@attrs.frozen
class Catalog:
    """The questions, over a connection whose transaction is open."""

    connection: psycopg.Connection[Any]

    def rows(self, name: str, **parameters: object) -> Rows:
        """Give the answer to a statement of checks.sql."""
        cursor = psycopg.Cursor(self.connection, row_factory=tuple_row)
        cursor.execute(trusted(_STATEMENTS[name]), parameters, prepare=False)
        return cursor.fetchall()

    def only_read(self) -> None:
        """Let Postgres itself refuse whatever would change something from here on."""
        cursor = psycopg.Cursor(self.connection)
        cursor.execute("SET TRANSACTION READ ONLY", prepare=False)

    def holds(self, condition: _Condition) -> bool:
        """Tell whether it holds; what Postgres can't say of a status alone does not."""
        parameters = {"statuses": list(condition.statuses)}
        try:
            with self.connection.transaction():
                cursor = psycopg.Cursor(self.connection, row_factory=tuple_row)
                cursor.execute(condition.question, parameters, prepare=False)
                return condition.answer(cursor.fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False


@attrs.frozen
class AsyncCatalog:
    """The questions, over a connection whose transaction is open."""

    connection: psycopg.AsyncConnection[Any]

    async def rows(self, name: str, **parameters: object) -> Rows:
        """Give the answer to a statement of checks.sql."""
        cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
        await cursor.execute(trusted(_STATEMENTS[name]), parameters, prepare=False)
        return await cursor.fetchall()

    async def only_read(self) -> None:
        """Let Postgres itself refuse whatever would change something from here on."""
        cursor = psycopg.AsyncCursor(self.connection)
        await cursor.execute("SET TRANSACTION READ ONLY", prepare=False)

    async def holds(self, condition: _Condition) -> bool:
        """Tell whether it holds; what Postgres can't say of a status alone does not."""
        parameters = {"statuses": list(condition.statuses)}
        try:
            async with self.connection.transaction():
                cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
                await cursor.execute(condition.question, parameters, prepare=False)
                return condition.answer(await cursor.fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False


def problems(schema: PostgresSchema, catalog: Catalog) -> list[str]:
    """Name in sentences what is missing."""
    server = catalog.rows("server")
    catalog.only_read()
    tables = _tables(catalog.rows("tables", **_wanted_tables(schema)))
    oids = [table.oid for table in tables.values() if table.oid is not None]
    database = _Database(
        schema,
        tables,
        _columns(catalog.rows("columns", tables=oids)),
        _indexes(catalog.rows("indexes", tables=oids)),
        catalog.rows("constraints", tables=oids),
    )
    found = [*_server_problems(server), *database.problems()]
    for doubt in database.doubts():
        answers = [catalog.holds(condition) for condition in doubt.unless]
        if not any(answers):
            found.append(doubt.sentence)
    return list(dict.fromkeys(found))


async def problems_async(schema: PostgresSchema, catalog: AsyncCatalog) -> list[str]:
    """Name in sentences what is missing."""
    server = await catalog.rows("server")
    await catalog.only_read()
    tables = _tables(await catalog.rows("tables", **_wanted_tables(schema)))
    oids = [table.oid for table in tables.values() if table.oid is not None]
    database = _Database(
        schema,
        tables,
        _columns(await catalog.rows("columns", tables=oids)),
        _indexes(await catalog.rows("indexes", tables=oids)),
        await catalog.rows("constraints", tables=oids),
    )
    found = [*_server_problems(server), *database.problems()]
    for doubt in database.doubts():
        answers = [await catalog.holds(condition) for condition in doubt.unless]
        if not any(answers):
            found.append(doubt.sentence)
    return list(dict.fromkeys(found))


def _server_problems(rows: Rows) -> Iterator[str]:
    [(version, is_read_only)] = rows
    if version // 10_000 < _VERSION_MIN:
        yield f"Postgres is version {version // 10_000}: {_VERSION_MIN} or later is needed"
    if is_read_only:
        yield "Postgres is read-only here: connect to the primary, as a user that may write"


def _pair(table: Table) -> tuple[str | None, str]:
    return (None, table) if isinstance(table, str) else table


def _wanted_tables(schema: PostgresSchema) -> Mapping[str, list[str | None]]:
    pairs = [_pair(getattr(schema, field)) for field in _FIELDS]
    return {
        "fields": list(_FIELDS),
        "schemas": [namespace for namespace, _ in pairs],
        "names": [name for _, name in pairs],
    }


def _tables(rows: Rows) -> Mapping[str, _Found]:
    return {field: _Found(*rest) for field, *rest in rows}


def _columns(rows: Rows) -> Mapping[int, Mapping[str, _Column]]:
    columns: dict[int, dict[str, _Column]] = {}
    for table, name, may_select, may_insert, may_update, type_, labels, is_domain in rows:
        may = {"SELECT": may_select, "INSERT": may_insert, "UPDATE": may_update}
        privileges = frozenset(privilege for privilege, granted in may.items() if granted)
        known = None if labels is None else frozenset[str](labels)
        columns.setdefault(table, {})[name] = _Column(privileges, type_, known, is_domain)
    return columns


def _indexes(rows: Rows) -> Mapping[int, Sequence[_Index]]:
    indexes: dict[int, list[_Index]] = {}
    for table, *rest in rows:
        indexes.setdefault(table, []).append(_Index(*rest))
    return indexes


@attrs.frozen
class _Database:
    """All that the catalogs tell of a database, and the schema that it should have."""

    schema: PostgresSchema
    tables: Mapping[str, _Found]
    columns: Mapping[int, Mapping[str, _Column]]
    indexes: Mapping[int, Sequence[_Index]]
    constraints: Rows

    def problems(self) -> Iterator[str]:
        """Name what is missing for certain."""
        for field in _FIELDS:
            table = self.tables[field]
            if table.oid is None:
                yield _table_missing(field, self._name(field), table.elsewhere or ())
                continue
            if not table.may_enter:
                shown = _shown(table.namespace or "")
                yield (
                    f"the user that connects may not use the schema {shown}: GRANT USAGE ON "
                    f"SCHEMA {shown} to it"
                )
            yield from self._missing_columns(field)
            yield from self._missing_privileges(field)
        yield from self._missing_labels()
        yield from self._missing_indexes()

    def doubts(self) -> Iterator[_Doubt]:
        """Give what only Postgres can tell, because a condition on a status decides it."""
        for field, column, statuses in self._statuses():
            for oid, name, on, text in self.constraints:
                if (oid, on) == (self.tables[field].oid, column):
                    allowed = self._condition(field, column, text, statuses[-1:], or_null=True)
                    yield _Doubt(
                        f"the check constraint {_shown(name)} of {self._name(field)} does not "
                        f"allow {_shown(column)} to be 'cancelled': let it",
                        [allowed],
                    )
        yield from self._index_of_the_cancel()

    def _missing_columns(self, field: str) -> Iterator[str]:
        for wanted in _wanted(self.schema, field):
            if wanted.column in self._columns_of(field):
                continue
            missing = f"column {_shown(wanted.column)} is missing from {self._name(field)}"
            if field == "cancellations":
                yield (
                    f"{missing}, which another version has made: add it as `batch-cancel schema` "
                    "prints it"
                )
            else:
                otherwise = ", or None if there is none" if wanted.is_optional else ""
                yield f"{missing}: map its name with PostgresSchema({wanted.argument}=...)" + (
                    otherwise
                )

    def _missing_privileges(self, field: str) -> Iterator[str]:
        columns = self._columns_of(field)
        for privilege in ("SELECT", "INSERT", "UPDATE"):
            lacking = [
                _shown(it.column)
                for it in _wanted(self.schema, field)
                if it.column in columns
                and privilege in it.privileges - columns[it.column].privileges
            ]
            if lacking:
                table = self._name(field)
                yield (
                    f"the user that connects may not {privilege} {', '.join(lacking)} of {table}: "
                    f"GRANT {privilege} ON {table} to it"
                )

    def _missing_labels(self) -> Iterator[str]:
        for field, name, statuses in self._statuses():
            column = self._columns_of(field)[name]
            if column.labels is not None and column.is_domain:
                table, shown = self._name(field), _shown(name)
                yield (
                    f"column {shown} of {table} is a domain over an enum, which Postgres does not "
                    f"compare with a list of statuses: ALTER TABLE {table} ALTER {shown} TYPE "
                    f"{column.type}"
                )
            for status in statuses:
                if column.labels is not None and status not in column.labels:
                    yield (
                        f"column {_shown(name)} of {self._name(field)} is an enum without "
                        f"'{status}': ALTER TYPE {column.type} ADD VALUE '{status}'"
                    )

    def _missing_indexes(self) -> Iterator[str]:
        jobs, _, ours = map(self._name, _FIELDS)
        job_id = self.schema.job_id
        is_there = self.tables["jobs"].has_indexes and job_id in self._columns_of("jobs")
        if is_there and not self._has_index("jobs", job_id):
            yield (
                f"no index finds a job, so each cancel reads all of {jobs}: "
                f"CREATE INDEX ON {jobs} ({_shown(job_id)})"
            )
        if not self.tables["cancellations"].has_indexes:
            return
        indexes = self._indexes_of("cancellations")
        if not any(
            it.is_unique and it.predicate is None and frozenset(it.columns) == _RECORD_KEY
            for it in indexes
        ):
            yield (
                f"{ours} has no primary key (organization_id, batch_job_id), without which no "
                "cancel can keep its record: add it as `batch-cancel schema` prints it"
            )
        if not any(it.columns[0] == _RECORD_BY_AGE for it in indexes):
            yield (
                f"no index finds what is still owed, so each reconcile reads all of {ours}: make "
                "batch_cancellations_owing as `batch-cancel schema` prints it"
            )

    def _index_of_the_cancel(self) -> Iterator[_Doubt]:
        job_id, status = self.schema.contact_job_id, self.schema.contact_status
        columns = self._columns_of("contacts")
        if not self.tables["contacts"].has_indexes or not {job_id, status} <= columns.keys():
            return
        if self._has_index("contacts", job_id):
            return
        statuses = [it.value for it in sorted(CANCELLABLE_CONTACTS)]
        table, listed = self._name("contacts"), ", ".join(f"'{it}'" for it in statuses)
        yield _Doubt(
            f"no index serves the cancel, so each one reads all of {table}: CREATE INDEX ON "
            f"{table} ({_shown(job_id)}) WHERE {_shown(status)} IN ({listed})",
            [
                self._condition("contacts", status, it.predicate, statuses, or_null=False)
                for it in self._indexes_of("contacts")
                if it.predicate is not None and it.columns[0] == job_id
            ],
        )

    def _condition(
        self, field: str, column: str, text: str, statuses: Sequence[str], *, or_null: bool
    ) -> _Condition:
        return _Condition(text, column, self._columns_of(field)[column].type, statuses, or_null)

    def _statuses(self) -> Iterator[tuple[str, str, Sequence[str]]]:
        """Give the status columns that are there, and what our statements say of them."""
        for field, column, statuses in (
            ("jobs", self.schema.job_status, _JOB_STATUSES),
            ("contacts", self.schema.contact_status, _CONTACT_STATUSES),
        ):
            if column in self._columns_of(field):
                yield field, column, [status.value for status in statuses]

    def _has_index(self, field: str, column: str) -> bool:
        return any(
            it.predicate is None and it.columns[0] == column for it in self._indexes_of(field)
        )

    def _indexes_of(self, field: str) -> Sequence[_Index]:
        return self.indexes.get(self.tables[field].oid or 0, ())

    def _columns_of(self, field: str) -> Mapping[str, _Column]:
        return self.columns.get(self.tables[field].oid or 0, {})

    def _name(self, field: str) -> str:
        namespace, name = _pair(getattr(self.schema, field))
        return ".".join(_shown(part) for part in (namespace, name) if part is not None)


_JOB_COLUMNS: Final = {
    "job_id": _SELECT,
    "job_organization_id": _SELECT,
    "job_status": _CHANGE,
    "job_deferred_id": _SELECT,
    "job_updated_at": _TOUCH,
}
_CONTACT_COLUMNS: Final = {
    "contact_job_id": _SELECT,
    "contact_status": _CHANGE,
    "contact_updated_at": _TOUCH,
}
_OPTIONAL: Final = frozenset(
    {"job_organization_id", "job_deferred_id", "job_updated_at", "contact_updated_at"}
)


def _wanted(schema: PostgresSchema, field: str) -> Iterator[_Wanted]:
    if field == "cancellations":
        for name in _RECORD:
            yield _Wanted(field, name, _KEEP - _TOUCH if name in _RECORD_KEY else _KEEP)
        return
    for argument, privileges in (_JOB_COLUMNS if field == "jobs" else _CONTACT_COLUMNS).items():
        column: str | None = getattr(schema, argument)
        if column is not None:
            yield _Wanted(argument, column, privileges, argument in _OPTIONAL)


def _table_missing(field: str, name: str, elsewhere: Sequence[str]) -> str:
    if elsewhere:
        listed = ", ".join(map(_shown, elsewhere))
        return (
            f"table {name} is missing where it is looked for, but there is one in {listed}: map "
            f"it with PostgresSchema({field}=(schema, table)), or set the search_path"
        )
    if field == "cancellations":
        return f"table {name} is missing: run `batch-cancel schema` and send what it prints"
    return f"table {name} is missing: map its name with PostgresSchema({field}=...)"


def _shown(name: str) -> str:
    """Give a name as it is typed: quoted only where it must be."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        return name
    return sql.Identifier(name).as_string(None)
