"""
Whether a database is fit for the library: what it is asked, and what its answers mean.

Rule 1: nothing is changed: the transaction is a read-only one, which reads the catalogs and has
        the library's own statements planned, never run.
Rule 2: every sentence says what is missing and how to mend it.
Rule 3: what a cancel does not need is not asked for; what the workers' steps need besides is told
        apart from it.
Rule 4: an index serves a statement if it begins with what the statement looks for, and Postgres
        plans to read it: a sequential scan that is left where those are ruled out says that it
        can't, be it for the index's collation or for a condition that Postgres does not prove.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

import attrs
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from batch_cancel.adapters.postgres.parts import statements, trusted
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.adapters.postgres.schema import PostgresSchema, Table
from batch_cancel.domain.fitness import Diagnosis
from batch_cancel.domain.guards import CLAIMABLE_CONTACTS
from batch_cancel.domain.model import CANCELLABLE_CONTACTS, ContactStatus, JobStatus, Removal
from batch_cancel.domain.spelling import Spelling, all_spellings

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

_HIDDEN: Final = {
    "jobs": "a job that they hide is answered as if it were not there",
    "contacts": "a contact that they hide is not cancelled",
    "cancellations": "a cancellation that they hide is not repeated and its removal not finished",
}
"""What becomes of rows that policies hide."""

_REFUSALS: Final = ("0A", "22", "42", "55000")
"""How the SQLSTATEs begin that say something of the statement, and not of the moment."""

_RESERVED: Final = frozenset(
    [
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "authorization",
        "binary",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "collation",
        "column",
        "concurrently",
        "constraint",
        "create",
        "cross",
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "freeze",
        "from",
        "full",
        "grant",
        "group",
        "having",
        "ilike",
        "in",
        "initially",
        "inner",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "lateral",
        "leading",
        "left",
        "like",
        "limit",
        "localtime",
        "localtimestamp",
        "natural",
        "not",
        "notnull",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "outer",
        "overlaps",
        "placing",
        "primary",
        "references",
        "returning",
        "right",
        "select",
        "session_user",
        "similar",
        "some",
        "symmetric",
        "system_user",
        "table",
        "tablesample",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "verbose",
        "when",
        "where",
        "window",
        "with",
    ]
)
"""Words that Postgres takes for a name only in quotes."""

_STATEMENTS: Final = statements("checks.sql")

Rows = list[tuple[Any, ...]]

_Status = TypeVar("_Status", JobStatus, ContactStatus)


@attrs.frozen
class _Table:
    """A table that was looked for."""

    oid: int | None
    namespace: str | None
    kind: str | None
    may_enter: bool | None
    elsewhere: Sequence[str] | None
    """In which schemas there is a table of this name."""
    parts: Sequence[str] | None
    """What its rows are in, as schema.name: the table itself, or its partitions."""
    secured_for: str | None
    """The role that connects, if row-level security applies to it here."""
    allowed: Sequence[str] | None
    """The privileges for which a policy shows that role any rows at all."""
    policies: Sequence[str] | None
    """The policies that apply to that role."""

    @property
    def has_indexes(self) -> bool:
        """Whether it could have some: those of a view or a foreign table are elsewhere."""
        return self.kind in {"r", "p"}


@attrs.frozen
class _Index:
    """An index, its name as it is typed; one that is not valid is in no use."""

    name: str
    is_valid: bool
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
class _Reading:
    """
    A statement of the adapter's that should find what it reads of a table by an index.

    Arguments:
        statement: as the adapter sends it.
        parameters: some that it could be sent with.
        parts: what the table's rows are in, as schema.name.
        alias: what the statement calls the table where it is about this; "" for everywhere.
    """

    statement: sql.SQL
    parameters: Mapping[str, object]
    parts: frozenset[str]
    alias: str

    @property
    def question(self) -> sql.SQL:
        """The statement that asks; it runs nothing."""
        return trusted(_STATEMENTS["plan"] + " " + self.statement.as_string(None))

    def scans(self, row: tuple[Any, ...] | None) -> bool:
        """Read the answer: whether all of the table is read; none at all is a no."""
        return row is not None and any(
            node["Node Type"] == "Seq Scan"
            and f"{node['Schema']}.{node['Relation Name']}" in self.parts
            and node["Alias"].startswith(self.alias)  # Those of partitions end in a number.
            for [planned] in row
            for node in _nodes(planned["Plan"])
        )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


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
        reading: the statement that it is about; planned to read all of a table, it is not well.
    """

    kind: Literal["missing", "slow", "workers"]
    sentence: str
    unless: Sequence[_Condition] = ()
    fits: str | None = None
    is_dispelled: bool = False
    reading: _Reading | None = None


@attrs.frozen
class _Attempt:
    """
    A statement of the adapter's that Postgres is asked to plan, to see whether it takes it.

    Arguments:
        kind: who needs it.
        belies: the sentence that is not true if Postgres does not take it.
        what: what it does, as a sentence goes on after "the statement that".
        reading: the statement.
    """

    kind: Literal["missing", "workers"]
    belies: str
    what: str
    reading: _Reading


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

    def scans(self, reading: _Reading) -> bool:
        """Tell whether a statement would read all of a table; what can't be planned does not."""
        try:
            with self.connection.transaction():
                cursor = psycopg.Cursor(self.connection, row_factory=tuple_row)
                cursor.execute(trusted(_STATEMENTS["no_scans"]), prepare=False)
                cursor.execute(reading.question, reading.parameters, prepare=False)
                return reading.scans(cursor.fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False

    def refusal(self, reading: _Reading) -> str | None:
        """Give Postgres' words for what is wrong with a statement; None if it can be planned."""
        try:
            with self.connection.transaction():
                cursor = psycopg.Cursor(self.connection)
                cursor.execute(reading.question, reading.parameters, prepare=False)
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(_REFUSALS):
                raise
            return error.diag.message_primary
        return None


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

    async def scans(self, reading: _Reading) -> bool:
        """Tell whether a statement would read all of a table; what can't be planned does not."""
        try:
            async with self.connection.transaction():
                cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
                await cursor.execute(trusted(_STATEMENTS["no_scans"]), prepare=False)
                await cursor.execute(reading.question, reading.parameters, prepare=False)
                return reading.scans(await cursor.fetchone())
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False

    async def refusal(self, reading: _Reading) -> str | None:
        """Give Postgres' words for what is wrong with a statement; None if it can be planned."""
        try:
            async with self.connection.transaction():
                cursor = psycopg.AsyncCursor(self.connection)
                await cursor.execute(reading.question, reading.parameters, prepare=False)
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(_REFUSALS):
                raise
            return error.diag.message_primary
        return None


def examined(schema: PostgresSchema, catalog: Catalog) -> Diagnosis:
    """Say in sentences what fits and what does not."""
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
        is_well = doubt.is_dispelled or any(answers)
        if is_well and doubt.reading is not None:
            is_well = not catalog.scans(doubt.reading)
        found.note(doubt, is_well=is_well)
    for attempt in database.attempts(found):
        found.try_out(attempt, catalog.refusal(attempt.reading))
    return found.diagnosis()


async def examined_async(schema: PostgresSchema, catalog: AsyncCatalog) -> Diagnosis:
    """Say in sentences what fits and what does not."""
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
        is_well = doubt.is_dispelled or any(answers)
        if is_well and doubt.reading is not None:
            is_well = not await catalog.scans(doubt.reading)
        found.note(doubt, is_well=is_well)
    for attempt in database.attempts(found):
        found.try_out(attempt, await catalog.refusal(attempt.reading))
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
        yield from self._missing_policies(field)

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

    def notes(self, field: str) -> Iterator[str]:
        """Say what of a table is worth a look, though it may be meant so."""
        table, name = self.tables[field], self._name(field)
        if table.secured_for is not None and table.policies:
            yield (
                f"row-level security of {name} applies to the user {_shown(table.secured_for)}, "
                f"by {', '.join(map(_shown, table.policies))}: {_HIDDEN[field]}. See that this "
                "is the user that the application connects as, and that what the policies read "
                "is set in every transaction, or let the user bypass them (BYPASSRLS)"
            )
        for index in self.indexes.get(table.oid or 0, ()):
            if not index.is_valid:
                yield (
                    f"the index {index.name} of {name} is not valid, so it serves nothing: CREATE "
                    "INDEX CONCURRENTLY has failed, or is not done yet; if it has failed, "
                    f"REINDEX INDEX CONCURRENTLY {index.name}"
                )

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
        contacts, queries = self._name("contacts"), queries_for(self.schema)
        yield from self._index_of_contacts(
            "slow",
            sorted(CANCELLABLE_CONTACTS),
            f"no index serves the cancel, so each one reads all of {contacts}",
            "an index finds the contacts that a cancel changes",
            queries.cancel_contacts(CANCELLABLE_CONTACTS),
        )
        yield from self._index_of_contacts(
            "workers",
            [ContactStatus.DIALING],
            f"no index finds live calls, so each finish_job reads all of {contacts}",
            None,
            queries.finish_job(frozenset({ContactStatus.DIALING}))[0],
        )
        yield from self._index_of_the_contact()

    def attempts(self, found: _Found) -> Iterator[_Attempt]:
        """Give the statements to be planned, unless something that they need is missing."""
        queries = queries_for(self.schema)
        if not found.missing:
            jobs, contacts = self._name("jobs"), self._name("contacts")
            lock, mark = queries.lock_job, queries.mark_cancelled
            cancel = queries.cancel_contacts(CANCELLABLE_CONTACTS)
            for field, what, statement in (
                ("jobs", f"locks a job of {jobs}", lock),
                ("contacts", f"cancels contacts of {contacts}", cancel),
                ("jobs", f"marks a job of {jobs} as cancelled", mark),
            ):
                reading = self._reading(field, statement)
                yield _Attempt("missing", self.fits(field), what, reading)
        if not found.missing and not found.workers:
            finish, _ = queries.finish_job(frozenset({ContactStatus.DIALING}))
            for what, statement in (
                ("claims contacts", queries.claim_contacts(CLAIMABLE_CONTACTS)),
                ("finishes a job", finish),
                ("inspects jobs and contacts", queries.look(CANCELLABLE_CONTACTS)),
            ):
                yield _Attempt("workers", "", what, self._reading("jobs", statement))

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

    def _missing_policies(self, field: str) -> Iterator[str]:
        table, name = self.tables[field], self._name(field)
        needed = sorted(set[str]().union(*(it.privileges for it in _wanted(self.schema, field))))
        lacking = [it for it in needed if it not in (table.allowed or ())]
        if table.secured_for is not None and lacking:
            yield (
                f"row-level security of {name} hides all rows from the user "
                f"{_shown(table.secured_for)} for {', '.join(lacking)}, because no policy allows "
                "any: CREATE POLICY for it, or let the user bypass them (BYPASSRLS)"
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
            reading=self._reading("jobs", queries_for(self.schema).lock_job),
        )

    def _indexes_of_ours(self) -> Iterator[_Doubt]:
        ours = self._name("cancellations")
        if not self.tables["cancellations"].has_indexes:
            return
        indexes = self._indexes_of("cancellations")
        has_key = any(
            it.is_unique and it.predicate is None and frozenset(it.columns) == _RECORD_KEY
            for it in indexes
        )
        # Without a key reconcile reads all of it as well, which is told already.
        take = self._reading("cancellations", queries_for(self.schema).take_owing)
        yield _Doubt(
            "missing",
            f"{ours} has no primary key (organization_id, batch_job_id), without which no cancel "
            "can keep its record: add it as `batch-cancel schema` prints it",
            is_dispelled=has_key,
        )
        yield _Doubt(
            "slow",
            f"no index finds what is still owed, so each reconcile reads all of {ours}: make "
            "batch_cancellations_owing as `batch-cancel schema` prints it",
            fits="an index finds what is still owed",
            is_dispelled=any(it.columns[0] == _RECORD_BY_AGE for it in indexes),
            reading=take if has_key else None,
        )

    def _index_of_contacts(
        self,
        kind: Literal["slow", "workers"],
        statuses: Sequence[ContactStatus],
        sentence: str,
        fits: str | None,
        statement: sql.SQL,
    ) -> Iterator[_Doubt]:
        job_id, status = self.schema.contact_job_id, self.schema.contact_status
        columns = self._columns_of("contacts")
        if not self.tables["contacts"].has_indexes or not {job_id, status} <= columns.keys():
            return
        spelled = list(map(str, all_spellings(self.schema.contact_statuses, statuses)))
        listed = ", ".join(map(_literal, spelled))
        rows = self._rows("contacts", status)
        yield _Doubt(
            kind,
            f"{sentence}: CREATE INDEX ON {self._name('contacts')} ({_shown(job_id)}) WHERE "
            f"{_shown(status)} IN ({listed})",
            [_Condition(text, rows, spelled) for text in self._predicates("contacts", job_id)],
            fits,
            # A few statuses are named, so an index that begins with them serves as well.
            is_dispelled=self._has_index("contacts", job_id)
            or self._has_index("contacts", status, job_id),
            reading=self._reading("contacts", statement),
        )

    def _index_of_the_contact(self) -> Iterator[_Doubt]:
        contacts, contact_id = self._name("contacts"), self.schema.contact_id
        if not self.tables["contacts"].has_indexes or contact_id not in self._columns_of(
            "contacts"
        ):
            return
        claim = queries_for(self.schema).claim_contacts(CLAIMABLE_CONTACTS)
        yield _Doubt(
            "workers",
            f"no index finds a contact, so each claim_contacts reads all of {contacts}: "
            f"CREATE INDEX ON {contacts} ({_shown(contact_id)})",
            is_dispelled=self._has_index("contacts", contact_id),
            reading=self._reading("contacts", claim, "contact"),
        )

    def _reading(self, field: str, statement: sql.SQL, alias: str = "") -> _Reading:
        names = self.schema
        job_id = names.contact_job_id if field == "contacts" else names.job_id
        column = self._columns_of(field).get(job_id)
        parameters = {
            # Of the kind that the column takes, or Postgres has nothing to plan with.
            "batch_job_id": str(UUID(int=0)) if column and column.type == "uuid" else "0",
            "organization_id": None,
            "record_batch_job_id": "",
            "record_organization_id": "",
            "operation_id": "",
            "previous_status": JobStatus.PENDING.value,
            "contacts_cancelled": 0,
            "actor": None,
            "reason": None,
            "cancelled_at": datetime.min.replace(tzinfo=UTC),
            "deferred_id": None,
            "removal": Removal.PENDING.value,
            "is_announced": True,
            "limit": 1,
            "lease": timedelta(0),
            "older_than": timedelta(0),
            "announcements": True,
        }
        return _Reading(statement, parameters, frozenset(self.tables[field].parts or ()), alias)

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
            ("jobs", names.job_status, _in_order(names.job_statuses, jobs)),
            ("contacts", names.contact_status, _in_order(names.contact_statuses, contacts)),
        ):
            if column in self._columns_of(field):
                yield field, column, spelled

    def _has_index(self, field: str, *columns: str) -> bool:
        return any(
            it.predicate is None and tuple(it.columns[: len(columns)]) == columns
            for it in self._indexes_of(field)
        )

    def _indexes_of(self, field: str) -> Sequence[_Index]:
        found = self.indexes.get(self.tables[field].oid or 0, ())
        return [it for it in found if it.is_valid]

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
    notes: dict[str, None]

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
            dict.fromkeys(chain.from_iterable(database.notes(field) for field in _FIELDS)),
        )

    def note(self, doubt: _Doubt, *, is_well: bool) -> None:
        """Note how a doubt was settled."""
        if not is_well:
            kinds = {"missing": self.missing, "slow": self.slow, "workers": self.workers}
            kinds[doubt.kind].setdefault(doubt.sentence)
        elif doubt.fits is not None:
            self.fits.setdefault(doubt.fits)

    def try_out(self, attempt: _Attempt, refusal: str | None) -> None:
        """Note whether Postgres takes a statement."""
        if refusal is None:
            return
        self.fits.pop(attempt.belies, None)
        kinds = {"missing": self.missing, "workers": self.workers}
        kinds[attempt.kind].setdefault(
            f"Postgres does not take the statement that {attempt.what}: {refusal}"
        )

    def diagnosis(self) -> Diagnosis:
        """Give all of it."""
        return Diagnosis(
            fits=tuple(self.fits),
            missing=tuple(self.missing),
            slow=tuple(self.slow),
            workers=tuple(self.workers),
            notes=tuple(self.notes),
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


def _in_order(
    spellings: Mapping[_Status, tuple[Spelling, ...]], statuses: Sequence[_Status]
) -> list[str]:
    """Return all spellings of these statuses; the one written for the last comes last."""
    return [str(it) for status in statuses for it in reversed(spellings[status])]


def _shown(name: str) -> str:
    """Give a name as it is typed: quoted only where it must be."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED:
        return name
    return sql.Identifier(name).as_string(None)


def _literal(text: str) -> str:
    """Give a constant as it is typed."""
    return sql.Literal(text).as_string(None)
