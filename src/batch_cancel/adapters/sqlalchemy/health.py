"""
Whether a database fits the mapped tables: what `check` and `examine` ask, on every dialect.

Rule 1: nothing is changed. What is asked is read from the catalogs, through SQLAlchemy's inspector
        where both databases have it, and by `facts` for keys and triggers.
Rule 2: what a cancel needs is `missing`, what only makes it slow is `slow`, what only the workers'
        steps need is `workers`. Triggers may be intended: they are notes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from itertools import dropwhile, takewhile
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection, exc
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ReflectedColumn

from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.adapters.sqlalchemy.columns import EARLIER
from batch_cancel.adapters.sqlalchemy.dialects import database_of
from batch_cancel.adapters.sqlalchemy.facts import name_parts
from batch_cancel.adapters.sqlalchemy.repositories import (
    AsyncSqlAlchemyRepositories,
    SqlAlchemyRepositories,
    bridged,
)
from batch_cancel.adapters.sqlalchemy.statements import Statements
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.diagnosis import (
    CLAIMS_SORT,
    INDEX_OF_CONTACTS,
    Diagnosis,
    Findings,
    all_there,
    not_granted,
)
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.status_names import StatusName
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

_FIELDS: Final = ("jobs", "contacts", "cancellations")
"""The tables, in the order in which a transaction has seen them."""

_TOUCHED: Final = frozenset(
    {
        *("job_status", "job_updated_at", "job_version"),
        *("contact_status", "contact_updated_at", "contact_version"),
    }
)
"""The columns that a cancel writes; it reads the others."""

_OF_WORKERS: Final = frozenset({"contact_id", "contact_next_attempt_at", "contact_dialing_since"})
"""The columns that the workers' steps alone need."""

_NAME_CHARACTERS_MAX: Final = 63
"""How long the name of an index may be: Postgres cuts it there, MariaDB refuses a longer one."""


@attrs.frozen
class _Table:
    """
    A mapped table, as the database has it.

    Arguments:
        name: as messages show it.
        columns: its columns by name; in lower case unless it is Postgres.
        is_postgres: whether names differ by case.
        keeps_any_text: whether a column holds a text that its type does not.
    """

    name: str
    columns: Mapping[str, ReflectedColumn]
    is_postgres: bool
    keeps_any_text: bool

    def column(self, name: str) -> ReflectedColumn | None:
        """Return a column; None if the table has none of this name."""
        return self.columns.get(name if self.is_postgres else name.lower())


def examined(its: Statements) -> Diagnosis:
    """Return in sentences what fits and what does not, in a transaction of the unit of work's."""
    connection, tables, seen = its.connection, its.tables, its.seen
    found = Findings()
    database = database_of(connection.dialect)
    database.see_server(connection, seen, found)
    there: dict[str, _Table] = {}
    for field in _FIELDS:
        table = _reflected(connection, getattr(tables, field))
        if table is None:
            found.missing.append(_table_missing(connection, tables, field))
            continue
        there[field] = table
        _see_columns(found, tables, field, table)
        _see_statuses(found, tables, field, table)
        found.missing.extend(_missing_privileges(connection, tables, field, table))
    if "contacts" in there:
        _see_index(found, connection, tables, there["contacts"])
    if "cancellations" in there and seen.earlier is None:
        found.notes.append(_without_earlier(connection, tables))
    facts = seen.read()
    if facts is not None:
        _see_facts(found, tables, facts)
    if not found.missing:
        found.fits.extend(all_there(it.name) for it in there.values())
    return found.diagnosis()


def _without_earlier(connection: Connection, tables: SqlAlchemyTables) -> str:
    ours = _shown(connection, tables.cancellations)
    what = f"{ours}{EARLIER}, which cancellations_table() adds to the metadata,"
    return (
        f"table {what} is missing, or the user that connects may not INSERT and SELECT there: a "
        f"job that is cancelled again loses its earlier record in {ours}; create it by a migration"
    )


# Columns -----------------------------------------------------------------------------------------


def _shown(connection: Connection, table: sa.Table) -> str:
    return ".".join(filter(None, name_parts(connection, table)))


def _reflected(connection: Connection, table: sa.Table) -> _Table | None:
    schema, name = name_parts(connection, table)
    try:
        columns = sa.inspect(connection).get_columns(name, schema=schema)
    except exc.NoSuchTableError:
        return None
    is_postgres = connection.dialect.name == "postgresql"
    by_name = {it["name"] if is_postgres else it["name"].lower(): it for it in columns}
    is_sqlite = connection.dialect.name == "sqlite"
    return _Table(_shown(connection, table), by_name, is_postgres, is_sqlite)


def _table_missing(connection: Connection, tables: SqlAlchemyTables, field: str) -> str:
    missing = f"table {_shown(connection, getattr(tables, field))} is missing"
    if field == "cancellations":
        return f"{missing}: let your migrations create the table of cancellations_table(metadata)"
    return f"{missing}: create it, or see which schema the connection looks in"


def _mapped(tables: SqlAlchemyTables, field: str) -> Iterator[tuple[str, str]]:
    """Yield the arguments that map the columns of a table, each with the column's name."""
    table: Any = getattr(tables, field)
    if field == "cancellations":
        yield from ((field, str(it.name)) for it in table.columns)
        return
    prefix = "job_" if field == "jobs" else "contact_"
    for argument in attrs.fields_dict(type(tables)):
        given = getattr(tables, argument)
        if argument == f"{prefix}where":
            yield from ((argument, table.c[it].name) for it in given)
        elif argument.startswith(prefix) and isinstance(given, str):
            yield argument, table.c[given].name


def _see_columns(found: Findings, tables: SqlAlchemyTables, field: str, table: _Table) -> None:
    for argument, name in _mapped(tables, field):
        if table.column(name) is not None:
            continue
        missing = f"column {name} is missing from {table.name}"
        if field == "cancellations":
            sentence = f"{missing}, which another version has made: add it by a migration"
        else:
            sentence = f"{missing}: run your migrations, or map its name with {argument}=..."
        (found.workers if argument in _OF_WORKERS else found.missing).append(sentence)


def _missing_privileges(
    connection: Connection, tables: SqlAlchemyTables, field: str, table: _Table
) -> Iterator[str]:
    database, of = database_of(connection.dialect), getattr(tables, field)
    for privilege in ("SELECT", "INSERT", "UPDATE"):
        names = [
            name
            for argument, name in _mapped(tables, field)
            if table.column(name) is not None and _is_wanted(field, argument, privilege)
        ]
        lacking = database.lacking(connection, of, names, privilege) if names else []
        if lacking:
            yield not_granted(privilege, lacking, table.name)


def _is_wanted(field: str, argument: str, privilege: str) -> bool:
    """Check whether a cancel needs this privilege on the column of an argument."""
    if argument in _OF_WORKERS:
        return False
    return (
        field == "cancellations"
        or privilege == "SELECT"
        or (privilege == "UPDATE" and argument in _TOUCHED)
    )


# Statuses ----------------------------------------------------------------------------------------


def _see_statuses(found: Findings, tables: SqlAlchemyTables, field: str, table: _Table) -> None:
    """Note the words that a status column can't hold, or be compared with."""
    if field == "cancellations" or table.keeps_any_text:
        return
    names: Mapping[Any, Sequence[StatusName]]
    if field == "jobs":
        of, names = tables.jobs.c[tables.job_status], tables.job_statuses
        needed: frozenset[str] = frozenset({JobStatus.CANCELLED})
    else:
        of, names = tables.contacts.c[tables.contact_status], tables.contact_statuses
        needed = CANCELLABLE_CONTACTS | {ContactStatus.CANCELLED}
    column = table.column(of.name)
    if column is None:
        return
    for status, words in names.items():
        for word in words:
            if isinstance(word, str) and (why := _why_not(column["type"], word)) is not None:
                sentence = f"{of.name} of {table.name} can't hold {word!r}: {why}"
                (found.missing if status in needed else found.workers).append(sentence)


def _why_not(kind: sa.types.TypeEngine[Any], word: str) -> str | None:
    while isinstance(kind, postgresql.DOMAIN):
        kind = kind.data_type
    if isinstance(kind, sa.Enum):
        if word in kind.enums:
            return None
        # In MariaDB and MySQL an enum has no name: it is the column's.
        return f"ALTER TYPE {kind.name} ADD VALUE '{word}'" if kind.name else "add it to the enum"
    length = kind.length if isinstance(kind, sa.String) else None
    return None if length is None or len(word) <= length else f"it is longer than {length}"


# Keys, indexes, triggers -------------------------------------------------------------------------


def _see_index(
    found: Findings, connection: Connection, tables: SqlAlchemyTables, contacts: _Table
) -> None:
    """Note whether an index finds the contacts of a job, and has the order of their claims."""
    schema, name = name_parts(connection, tables.contacts)
    inspector, keys = sa.inspect(connection), tables.keys
    if name in {*inspector.get_view_names(schema), *_materialized(inspector, schema)}:
        return  # A view has none of its own.
    listed: list[Sequence[str | None]] = [
        *(it["column_names"] for it in inspector.get_indexes(name, schema=schema)),
        *(it["column_names"] for it in inspector.get_unique_constraints(name, schema=schema)),
        inspector.get_pk_constraint(name, schema=schema)["constrained_columns"],
    ]
    its = {keys.contact_job_id, keys.contact_organization_id}
    its |= {tables.contacts.c[it].name for it in tables.contact_where}
    finding = [it for it in listed if keys.contact_job_id in takewhile(its.__contains__, it)]
    at, order = tables.contact_next_attempt_at, list[str]()
    # On MariaDB a column of texts of any length leaves no room for others in an index.
    may_order = connection.dialect.name in {"postgresql", "sqlite"}
    if at is not None and may_order and contacts.column(tables.contacts.c[at].name) is not None:
        order = [tables.contacts.c[at].name, keys.contact_id]
    shown = _shown(connection, tables.contacts)
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, (keys.contact_job_id, *order)))
    # Only Postgres takes an index without a name. The one on the job alone may be there.
    index = "_".join(("ix", name, keys.contact_job_id, *order))[:_NAME_CHARACTERS_MAX]
    suggested = f"CREATE INDEX {quote(index)} ON {shown} ({columns})"
    if not finding:
        each = f"no index finds the contacts of a job, so each cancel reads all of {shown}"
        found.slow.append(f"{each}: {suggested}")
        return
    found.fits.append(INDEX_OF_CONTACTS)
    if order and not any(_then(it, its)[: len(order)] == order for it in finding):
        found.workers.append(f"{CLAIMS_SORT}: {suggested}")


def _then(columns: Sequence[str | None], its: AbstractSet[str | None]) -> Sequence[str | None]:
    """Return the columns of an index after those that name a job."""
    return list(dropwhile(its.__contains__, columns))


def _materialized(inspector: sa.Inspector, schema: str | None) -> list[str]:
    if inspector.dialect.name != "postgresql":
        return []
    return inspector.get_materialized_view_names(schema)


def _see_facts(found: Findings, tables: SqlAlchemyTables, facts: Facts) -> None:
    found.missing.extend(facts.refusals)
    for is_of_workers, sentence in tables.keys.problems(facts.jobs, facts.contacts):
        (found.workers if is_of_workers else found.missing).append(sentence)
    for it in facts.writers:
        found.notes.append(
            f"the {it.kind} {it.name} of {it.table} ({it.when} {' OR '.join(it.events)}) may "
            "write otherwise than the library does: check that it leaves a cancelled job and its "
            "contacts cancelled"
        )
    if facts.writers:
        return
    for has_triggers, table in (
        (facts.jobs_have_triggers, facts.jobs),
        (facts.contacts_have_triggers, facts.contacts),
    ):
        if has_triggers:
            found.notes.append(
                f"a trigger of {table.name} may write otherwise than the library does: check "
                "that it leaves a cancelled job and its contacts cancelled"
            )


# What a unit of work offers ----------------------------------------------------------------------


class Checked:
    """A unit of work that can be checked."""

    __slots__ = ()

    @abstractmethod
    def begin(self) -> AbstractContextManager[SqlAlchemyRepositories]:
        """Open a transaction."""

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this database; nothing is changed.

        An empty list means that it fits: ask when your program starts. That an index is missing
        makes a cancel slow; everything else makes it fail.
        """
        return self.examine().problems

    def examine(self) -> Diagnosis:
        """Return in sentences what fits, what is missing and what is slow; nothing is changed."""
        try:
            with self.begin() as repositories:
                return examined(repositories.jobs)
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))


class AsyncChecked:
    """As `Checked`, awaited."""

    __slots__ = ()

    @abstractmethod
    def begin(self) -> AbstractAsyncContextManager[AsyncSqlAlchemyRepositories]:
        """As `Checked.begin`."""

    async def check(self) -> list[str]:
        """As `Checked.check`, awaited."""
        return (await self.examine()).problems

    async def examine(self) -> Diagnosis:
        """As `Checked.examine`, awaited."""
        try:
            async with self.begin() as repositories:
                return await bridged(repositories, examined)
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))
