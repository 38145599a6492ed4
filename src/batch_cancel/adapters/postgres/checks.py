"""
Whether a database is fit for the library: what it is asked, and what its answers mean.

Rule 1: nothing is changed: the transaction is a read-only one, and reads the catalogs alone.
Rule 2: every sentence says what is missing and how to mend it.
Rule 3: what a cancel does not need is not asked for; what the workers' steps need besides is told
        apart from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal

import attrs
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.schema import PostgresSchema, Table, statements, trusted
from batch_cancel.domain.fitness import Diagnosis
from batch_cancel.domain.model import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

_VERSION_MIN: Final = 15

_JOB_STATUSES: Final = (JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.CANCELLED)
"""What the statements say of a job's status; an enum must have it."""

_CONTACT_STATUSES: Final = (*sorted(CANCELLABLE_CONTACTS), ContactStatus.CANCELLED)
"""What the statements say of a contact's status."""

_WORKERS_JOB_STATUSES: Final = (JobStatus.PENDING, JobStatus.COMPLETED)
_WORKERS_CONTACT_STATUSES: Final = (
    *(ContactStatus.DIALING, ContactStatus.COMPLETED, ContactStatus.FAILED),
)
"""What the statements of the workers' steps say besides."""

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
_ADD: Final = frozenset({"INSERT"})
_KEEP: Final = frozenset({"SELECT", "INSERT", "UPDATE"})

_STATEMENTS: Final = statements("checks.sql")

Rows = list[tuple[Any, ...]]


@attrs.frozen
class _Table:
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
        columns: what a row holds in the columns that it may be on, as SQL; `given.status` is a
            status.
        statuses: all of which it must hold for.
        unknown_will_do: whether NULL is as good as true, as it is in a check constraint.
    """

    text: str
    columns: sql.Composable
    statuses: Sequence[str]
    unknown_will_do: bool = False

    @property
    def question(self) -> sql.SQL:
        """The statement that asks."""
        parts = {"condition": self.text, "columns": self.columns.as_string(None)}
        # A percent sign would read as a placeholder.
        escaped = {name: trusted(text.replace("%", "%%")) for name, text in parts.items()}
        composed = trusted(_STATEMENTS["condition"]).format(**escaped)
        return trusted(composed.as_string(None))

    def answer(self, row: tuple[Any, ...] | None) -> bool:
        """Read the answer; none at all is a no."""
        return row is not None and bool(row[0] if self.unknown_will_do else row[1])


@attrs.frozen
class _Doubt:
    """
    A sentence that is true unless one of some conditions holds.

    Arguments:
        kind: what the sentence is about.
        sentence: what is wrong then.
        unless: the conditions.
        fits: what is well otherwise.
        is_dispelled: whether the catalogs alone tell that it is well.
    """

    kind: Literal["missing", "slow", "workers"]
    sentence: str
    unless: Sequence[_Condition] = ()
    fits: str | None = None
    is_dispelled: bool = False


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


def examined(schema: PostgresSchema, catalog: Catalog) -> Diagnosis:
    """Say in sentences what fits, what is missing and what is slow."""
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
    found = _Found.of(server, database)
    for doubt in database.doubts():
        answers = [catalog.holds(condition) for condition in doubt.unless]
        found.note(doubt, is_well=doubt.is_dispelled or any(answers))
    return found.diagnosis()


async def examined_async(schema: PostgresSchema, catalog: AsyncCatalog) -> Diagnosis:
    """Say in sentences what fits, what is missing and what is slow."""
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
    found = _Found.of(server, database)
    for doubt in database.doubts():
        answers = [await catalog.holds(condition) for condition in doubt.unless]
        found.note(doubt, is_well=doubt.is_dispelled or any(answers))
    return found.diagnosis()


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


def _tables(rows: Rows) -> Mapping[str, _Table]:
    return {field: _Table(*rest) for field, *rest in rows}


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
    tables: Mapping[str, _Table]
    columns: Mapping[int, Mapping[str, _Column]]
    indexes: Mapping[int, Sequence[_Index]]
    constraints: Rows

    def missing(self, field: str) -> Iterator[str]:
        """Name what a table lacks for certain."""
        table = self.tables[field]
        if table.oid is None:
            yield _table_missing(field, self._name(field), table.elsewhere or ())
            return
        if not table.may_enter:
            shown = _shown(table.namespace or "")
            yield (
                f"the user that connects may not use the schema {shown}: GRANT USAGE ON "
                f"SCHEMA {shown} to it"
            )
        wanted = list(_wanted(self.schema, field))
        yield from self._missing_columns(field, wanted)
        yield from self._missing_privileges(field, wanted)

    def missing_labels(self) -> Iterator[str]:
        """Name the statuses that an enum lacks."""
        yield from self._missing_labels(_JOB_STATUSES, _CONTACT_STATUSES)

    def missing_to_workers(self) -> Iterator[str]:
        """Name what only the workers' steps lack for certain."""
        if self.tables["contacts"].oid is not None:
            wanted = list(_wanted_by_workers(self.schema))
            yield from self._missing_columns("contacts", wanted)
            yield from self._missing_privileges("contacts", wanted)
        yield from self._missing_labels(_WORKERS_JOB_STATUSES, _WORKERS_CONTACT_STATUSES)

    def fits(self, field: str) -> str:
        """Say that a table lacks nothing."""
        return f"{self._name(field)} has all that a cancel needs"

    def doubts(self) -> Iterator[_Doubt]:
        """Give what is a question of indexes, or only Postgres can tell."""
        for field, column, statuses in self._statuses(_JOB_STATUSES, _CONTACT_STATUSES):
            for oid, name, on, text in self.constraints:
                if (oid, on) == (self.tables[field].oid, column):
                    cancelled = statuses[-1]
                    rows = self._rows(field, column)
                    yield _Doubt(
                        "missing",
                        f"the check constraint {_shown(name)} of {self._name(field)} does not "
                        f"allow {_shown(column)} to be {_literal(cancelled)}: let it",
                        [_Condition(text, rows, [cancelled], unknown_will_do=True)],
                    )
        yield from self._index_of_the_job()
        yield from self._indexes_of_ours()
        contacts = self._name("contacts")
        yield from self._index_of_contacts(
            "slow",
            sorted(CANCELLABLE_CONTACTS),
            f"no index serves the cancel, so each one reads all of {contacts}",
            "an index finds the contacts that a cancel changes",
        )
        yield from self._index_of_contacts(
            "workers",
            [ContactStatus.DIALING],
            f"no index finds live calls, so each finish_job reads all of {contacts}",
            None,
        )

    def _missing_columns(self, field: str, wanted: Sequence[_Wanted]) -> Iterator[str]:
        for it in wanted:
            if it.column in self._columns_of(field):
                continue
            missing = f"column {_shown(it.column)} is missing from {self._name(field)}"
            if field == "cancellations":
                yield (
                    f"{missing}, which another version has made: add it as `batch-cancel schema` "
                    "prints it"
                )
            else:
                otherwise = ", or None if there is none" if it.is_optional else ""
                yield f"{missing}: map its name with PostgresSchema({it.argument}=...)" + (
                    otherwise
                )

    def _missing_privileges(self, field: str, wanted: Sequence[_Wanted]) -> Iterator[str]:
        columns = self._columns_of(field)
        for privilege in ("SELECT", "INSERT", "UPDATE"):
            lacking = [
                _shown(it.column)
                for it in wanted
                if it.column in columns
                and privilege in it.privileges - columns[it.column].privileges
            ]
            if lacking:
                table = self._name(field)
                yield (
                    f"the user that connects may not {privilege} {', '.join(lacking)} of {table}: "
                    f"GRANT {privilege} ON {table} to it"
                )

    def _missing_labels(
        self, jobs: Sequence[JobStatus], contacts: Sequence[ContactStatus]
    ) -> Iterator[str]:
        for field, name, statuses in self._statuses(jobs, contacts):
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
                        f"{_literal(status)}: ALTER TYPE {column.type} ADD VALUE "
                        f"{_literal(status)}"
                    )

    def _index_of_the_job(self) -> Iterator[_Doubt]:
        jobs, job_id = self._name("jobs"), self.schema.job_id
        if not self.tables["jobs"].has_indexes or job_id not in self._columns_of("jobs"):
            return
        rows = self._rows("jobs")
        yield _Doubt(
            "slow",
            f"no index finds a job, so each cancel reads all of {jobs}: "
            f"CREATE INDEX ON {jobs} ({_shown(job_id)})",
            [_Condition(text, rows, [""]) for text in self._predicates("jobs", job_id)],
            f"an index finds a job by its {_shown(job_id)}",
            is_dispelled=self._has_index("jobs", job_id),
        )

    def _indexes_of_ours(self) -> Iterator[_Doubt]:
        ours = self._name("cancellations")
        if not self.tables["cancellations"].has_indexes:
            return
        indexes = self._indexes_of("cancellations")
        yield _Doubt(
            "missing",
            f"{ours} has no primary key (organization_id, batch_job_id), without which no cancel "
            "can keep its record: add it as `batch-cancel schema` prints it",
            is_dispelled=any(
                it.is_unique and it.predicate is None and frozenset(it.columns) == _RECORD_KEY
                for it in indexes
            ),
        )
        yield _Doubt(
            "slow",
            f"no index finds what is still owed, so each reconcile reads all of {ours}: make "
            "batch_cancellations_owing as `batch-cancel schema` prints it",
            fits="an index finds what is still owed",
            is_dispelled=any(it.columns[0] == _RECORD_BY_AGE for it in indexes),
        )

    def _index_of_contacts(
        self,
        kind: Literal["slow", "workers"],
        statuses: Sequence[ContactStatus],
        sentence: str,
        fits: str | None,
    ) -> Iterator[_Doubt]:
        job_id, status = self.schema.contact_job_id, self.schema.contact_status
        columns = self._columns_of("contacts")
        if not self.tables["contacts"].has_indexes or not {job_id, status} <= columns.keys():
            return
        spelled = [self.schema.contact_statuses[it] for it in statuses]
        listed = ", ".join(map(_literal, spelled))
        rows = self._rows("contacts", status)
        yield _Doubt(
            kind,
            f"{sentence}: CREATE INDEX ON {self._name('contacts')} ({_shown(job_id)}) WHERE "
            f"{_shown(status)} IN ({listed})",
            [_Condition(text, rows, spelled) for text in self._predicates("contacts", job_id)],
            fits,
            is_dispelled=self._has_index("contacts", job_id),
        )

    def _rows(self, field: str, status: str | None = None) -> sql.Composable:
        """Give what a row that counts holds, as far as it is known."""
        columns = self._columns_of(field)
        where = self.schema.job_where if field == "jobs" else self.schema.contact_where
        known: dict[str, sql.Composable] = {
            column: sql.Literal(constant) for column, constant in where.items()
        }
        if status is not None:
            known[status] = sql.SQL("given.status")
        typed = (
            sql.SQL("{}::{} AS {}").format(it, trusted(columns[name].type), sql.Identifier(name))
            for name, it in known.items()
            if name in columns
        )
        return sql.SQL(", ").join(typed)

    def _predicates(self, field: str, column: str) -> Iterator[str]:
        """Give the conditions of the partial indexes that begin with a column."""
        for it in self._indexes_of(field):
            if it.predicate is not None and it.columns[0] == column:
                yield it.predicate

    def _statuses(
        self, jobs: Sequence[JobStatus], contacts: Sequence[ContactStatus]
    ) -> Iterator[tuple[str, str, Sequence[str]]]:
        """Give the status columns that are there, and how they spell these statuses."""
        names = self.schema
        for field, column, spelled in (
            ("jobs", names.job_status, [names.job_statuses[it] for it in jobs]),
            ("contacts", names.contact_status, [names.contact_statuses[it] for it in contacts]),
        ):
            if column in self._columns_of(field):
                yield field, column, spelled

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


@attrs.frozen
class _Found:
    """What was found so far, each sentence once."""

    fits: dict[str, None]
    missing: dict[str, None]
    slow: dict[str, None]
    workers: dict[str, None]

    @classmethod
    def of(cls, server: Rows, database: _Database) -> _Found:
        """Begin with what the catalogs alone tell."""
        lacking = {field: list(database.missing(field)) for field in _FIELDS}
        missing = [*_server_problems(server), *chain.from_iterable(lacking.values())]
        return cls(
            dict.fromkeys(database.fits(field) for field in _FIELDS if not lacking[field]),
            dict.fromkeys([*missing, *database.missing_labels()]),
            {},
            dict.fromkeys(database.missing_to_workers()),
        )

    def note(self, doubt: _Doubt, *, is_well: bool) -> None:
        """Note how a doubt was settled."""
        if not is_well:
            kinds = {"missing": self.missing, "slow": self.slow, "workers": self.workers}
            kinds[doubt.kind].setdefault(doubt.sentence)
        elif doubt.fits is not None:
            self.fits.setdefault(doubt.fits)

    def diagnosis(self) -> Diagnosis:
        """Give all of it."""
        return Diagnosis(
            fits=tuple(self.fits),
            missing=tuple(self.missing),
            slow=tuple(self.slow),
            workers=tuple(self.workers),
        )


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
    where = "job_where" if field == "jobs" else "contact_where"
    for name in getattr(schema, where):
        yield _Wanted(where, name, _SELECT)


def _wanted_by_workers(schema: PostgresSchema) -> Iterator[_Wanted]:
    yield _Wanted("contact_id", schema.contact_id, _SELECT)
    if schema.contact_next_attempt_at is not None:
        argument = "contact_next_attempt_at"
        yield _Wanted(argument, schema.contact_next_attempt_at, _CHANGE, is_optional=True)
    for argument in ("contact_job_id", "contact_status"):
        column: str = getattr(schema, argument)
        yield _Wanted(argument, column, _ADD)


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


def _literal(text: str) -> str:
    """Give a constant as it is typed."""
    return sql.Literal(text).as_string(None)
