"""
The facts that `information_schema` holds about the adopter's tables, for `domain.table_shape`.

Rule 1: texts are compared byte by byte, so a unique index in any collation makes them unique.
Rule 2: who may not see triggers finds none. Then rows are read again as if there were some.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection

from batch_cancel.adapters.postgres_catalog import Facts, Writer
from batch_cancel.adapters.sqlalchemy.facts import name_parts
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.table_shape import TEXT, Table, UniqueIndex

_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})

_FIELDS: Final = ("jobs", "contacts", "cancellations")


@attrs.frozen
class _Found:
    """
    A table, as the database has it.

    Arguments:
        table: as it is mapped.
        name: as messages show it.
        engine: its engine; None for a view.
        columns: the type and the collation of each, None for one that is no text, by their names
            in the mapping.
        unique: the columns of its unique indexes.
        not_null: the columns that hold no NULL.
        triggers: name, time and event of each.
    """

    table: sa.Table
    name: str
    engine: str | None
    columns: dict[str, tuple[str, str | None]]
    unique: list[frozenset[str]]
    not_null: frozenset[str]
    triggers: list[tuple[str, str, str]]

    def described(self, kinds: dict[str, str]) -> Table:
        """Return what the rules ask about."""
        unique = tuple(UniqueIndex(it) for it in self.unique)
        return Table(self.name, unique, self.not_null, self.engine is None, kinds)


def facts_of(connection: Connection, tables: SqlAlchemyTables, *, cuts: bool) -> Facts | None:
    """
    Return the facts; None if a table is missing.

    Arguments:
        connection: the connection.
        tables: the adopter's.
        cuts: whether the server cuts what a column can't hold: then written rows are read again.
    """
    found = [_found(connection, getattr(tables, it)) for it in _FIELDS]
    jobs, contacts, ours = found
    if jobs is None or contacts is None or ours is None:
        return None
    sees_triggers = _sees_triggers(connection)
    kinds = _kinds(tables, jobs, contacts)
    jobs_have, contacts_have = (
        bool(it.triggers) or it.engine is None or not sees_triggers for it in (jobs, contacts)
    )
    return Facts(
        jobs=jobs.described(kinds[0]),
        contacts=contacts.described(kinds[1]),
        refusals=tuple(_refusals(jobs, contacts, ours)),
        jobs_have_triggers=jobs_have,
        contacts_have_triggers=contacts_have,
        jobs_are_rewritten=jobs_have or cuts,
        contacts_are_rewritten=contacts_have or cuts,
        contacts_partitioned_by=frozenset(),
        deferrable=(),
        writers=tuple(
            Writer(field, "trigger", name, it.name, when, is_of_rows=True, events=(event,))
            for field, it in zip(_FIELDS, (jobs, contacts, ours), strict=True)
            for name, when, event in it.triggers
        ),
    )


def _refusals(jobs: _Found, contacts: _Found, ours: _Found) -> Iterator[str]:
    for it in (jobs, contacts, ours):
        if it.engine is not None and it.engine.lower() != "innodb":
            yield (
                f"{it.name} has the engine {it.engine}, which has no transactions with row "
                f"locks: ALTER TABLE {it.name} ENGINE=InnoDB"
            )
    for name in ("organization_id", "batch_job_id", "operation_id"):
        _, collation = ours.columns.get(name, ("", None))
        if collation is not None and not distinguishes_bytes(collation):
            yield (
                f"column {name} of {ours.name} has the collation {collation}, which takes "
                "different ids for one: create the table as cancellations_table(metadata) does"
            )
            return


def distinguishes_bytes(collation: str) -> bool:
    """Check whether a collation finds two texts equal only if they are the same."""
    return collation.endswith(("_nopad_bin", "_0900_bin")) or collation == "binary"


def _kinds(
    tables: SqlAlchemyTables, jobs: _Found, contacts: _Found
) -> tuple[dict[str, str], dict[str, str]]:
    """
    Return how each column is compared.

    Texts are compared byte by byte, but two columns only if they have one collation.
    """
    keys = tables.keys
    of_jobs = {name: _kind(*it) for name, it in jobs.columns.items()}
    of_contacts = {name: _kind(*it) for name, it in contacts.columns.items()}
    for own, theirs in (
        (keys.job_key, keys.contact_job_id),
        (keys.job_organization_id, keys.contact_organization_id),
    ):
        if own is None or theirs is None:
            continue
        collations = [
            it.columns.get(name, ("", None))[1] for it, name in ((jobs, own), (contacts, theirs))
        ]
        if None not in collations and collations[0] != collations[1]:
            of_jobs[own], of_contacts[theirs] = (str(it) for it in collations)
    return of_jobs, of_contacts


def _kind(kind: str, collation: str | None) -> str:
    if collation is not None:
        return TEXT
    if kind in _INTEGERS:
        return "integer"
    return "numeric" if kind == "decimal" else kind


def _found(connection: Connection, table: sa.Table) -> _Found | None:
    schema, name = name_parts(connection, table)
    where = "table_schema = coalesce(%s, database()) AND table_name = %s"
    its = (schema, name)

    def rows(asked: str, of: str = where) -> list[Any]:
        query = sa.text(asked + " WHERE " + of.replace("%s", ":a", 1).replace("%s", ":b", 1))
        return [*connection.execute(query, {"a": its[0], "b": its[1]})]

    kinds = rows("SELECT table_type, engine FROM information_schema.tables")
    if not kinds:
        return None
    ((kind, engine),) = kinds
    mapped = {it.name.lower(): it.name for it in table.columns}

    def as_mapped(column: str) -> str:
        return mapped.get(column.lower(), column)

    described = rows(
        "SELECT column_name, data_type, collation_name, is_nullable "
        "FROM information_schema.columns"
    )
    indexes: dict[str, list[str | None]] = defaultdict(list)
    for index, column in rows(
        "SELECT index_name, column_name FROM information_schema.statistics",
        f"{where} AND non_unique = 0",
    ):
        indexes[index].append(column)
    triggers = rows(
        "SELECT trigger_name, action_timing, event_manipulation FROM information_schema.triggers",
        where.replace("table_schema", "event_object_schema").replace(
            "table_name", "event_object_table"
        ),
    )
    return _Found(
        table,
        ".".join(filter(None, its)),
        None if "VIEW" in str(kind) else str(engine),
        {as_mapped(column): (str(of), text) for column, of, text, _ in described},
        [
            frozenset(as_mapped(it) for it in columns if it is not None)
            for columns in indexes.values()
            if None not in columns  # An expression is not a column.
        ],
        frozenset(as_mapped(column) for column, *_, is_null in described if is_null == "NO"),
        [(str(it), str(when), str(event)) for it, when, event in triggers if event != "DELETE"],
    )


def _sees_triggers(connection: Connection) -> bool:
    """Check whether the user that connects has a privilege by which triggers are seen."""
    return bool(connection.execute(sa.text(_PRIVILEGES)).scalar_one())


_PRIVILEGES: Final = (
    "SELECT EXISTS (SELECT 1 FROM information_schema.user_privileges "
    "WHERE privilege_type = 'TRIGGER' UNION ALL "
    "SELECT 1 FROM information_schema.schema_privileges "
    "WHERE privilege_type = 'TRIGGER' AND table_schema = database())"
)
