"""The tables, columns and privileges that are needed, and the sentences about missing ones."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final

import attrs

from batch_cancel.adapters.postgres.doctor.sweeps import SWEEP_COLUMN
from batch_cancel.adapters.postgres.doctor.tables import Database
from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.domain.diagnosis import all_there, not_granted

RECORD_KEY: Final = frozenset({"organization_id", "batch_job_id"})
"""The primary key of our own table."""

_RECORD: Final = (
    *("organization_id", "batch_job_id", "operation_id", "previous_status"),
    *("contacts_cancelled", "actor", "reason", "cancelled_at", "deferred_id", "removal"),
    *("is_announced", "taken_at"),
)
"""The columns of our own table."""

_SELECT: Final = frozenset({"SELECT"})
_CHANGE: Final = frozenset({"SELECT", "UPDATE"})
_TOUCH: Final = frozenset({"UPDATE"})
_ADD: Final = frozenset({"INSERT"})
_KEEP: Final = frozenset({"SELECT", "INSERT", "UPDATE"})

_JOB_COLUMNS: Final = {
    "job_id": _SELECT,
    "job_organization_id": _SELECT,
    "job_status": _CHANGE,
    "job_deferred_id": _SELECT,
    "job_updated_at": _TOUCH,
    "job_key": _SELECT,
    "job_version": _CHANGE,
}
_CONTACT_COLUMNS: Final = {
    "contact_job_id": _SELECT,
    "contact_status": _CHANGE,
    "contact_updated_at": _TOUCH,
    "contact_organization_id": _SELECT,
    "contact_version": _CHANGE,
}
_WORKERS_COLUMNS: Final = {
    "contact_id": _SELECT,
    "contact_next_attempt_at": _CHANGE,
    "contact_job_id": _ADD,
    "contact_organization_id": _ADD,
    "contact_status": _ADD,
    "contact_version": _ADD,
    "contact_dialing_since": _CHANGE,
}
_NEEDED: Final = frozenset(
    {"job_id", "job_status", "contact_id", "contact_job_id", "contact_status"}
)
"""The arguments that can't be None."""

_HIDDEN: Final = {
    "jobs": "a job that they hide counts as missing",
    "contacts": "a contact that they hide is not cancelled",
    "cancellations": "a cancellation that they hide is not replayed, and its removal not finished",
}
"""The effect of rows that policies hide."""


@attrs.frozen
class Wanted:
    """A column that is needed: the schema's argument, and the privileges on it."""

    argument: str
    column: str
    privileges: frozenset[str]


def missing(database: Database, field: str) -> Iterator[str]:
    """Yield what a table certainly lacks."""
    table = database.tables[field]
    if table.oid is None:
        yield _table_missing(field, database.name(field), table.elsewhere or ())
        return
    if not table.may_enter:
        yield (
            f"the user that connects may not use the schema {table.namespace}: GRANT USAGE ON "
            f"SCHEMA {table.namespace} to it"
        )
    wanted = list(_wanted(database.schema, field, database.columns_of(field)))
    yield from _missing_columns(database, field, wanted)
    yield from _missing_privileges(database, field, wanted)
    yield from _missing_policies(database, field, wanted)


def missing_to_workers(database: Database) -> Iterator[str]:
    """Yield what contacts certainly lack for the workers' steps alone."""
    if database.tables["contacts"].oid is not None:
        wanted = list(_wanted_by_workers(database.schema))
        theirs = [it for it in wanted if it.argument not in _CONTACT_COLUMNS]
        yield from _missing_columns(database, "contacts", theirs)
        yield from _missing_privileges(database, "contacts", wanted)


def fits(database: Database, field: str) -> str:
    """Return the sentence that a table has all it needs."""
    return all_there(database.name(field))


def hidden_rows(database: Database, field: str) -> Iterator[str]:
    """Yield what row-level security may hide."""
    table, name = database.tables[field], database.name(field)
    if table.secured_for is not None and table.policies:
        yield (
            f"row-level security of {name} applies to the user {table.secured_for}, by "
            f"{', '.join(table.policies)}: {_HIDDEN[field]}. Check that the application connects "
            "as this user, and that the settings that the policies read are set in every "
            "transaction, or let the user bypass them (BYPASSRLS)"
        )


def _wanted(schema: PostgresSchema, field: str, columns: Container[str]) -> Iterator[Wanted]:
    if field == "cancellations":
        for name in _RECORD:
            yield Wanted(field, name, _KEEP - _TOUCH if name in RECORD_KEY else _KEEP)
        if SWEEP_COLUMN in columns:  # A table of an older version does without.
            yield Wanted(field, SWEEP_COLUMN, _KEEP)
        return
    yield from _mapped(schema, _JOB_COLUMNS if field == "jobs" else _CONTACT_COLUMNS)
    where = "job_where" if field == "jobs" else "contact_where"
    for name in getattr(schema, where):
        yield Wanted(where, name, _SELECT)


def _wanted_by_workers(schema: PostgresSchema) -> Iterator[Wanted]:
    yield from _mapped(schema, _WORKERS_COLUMNS)
    if schema.contact_dialing_since is None:  # Otherwise the other column is not used.
        yield from _mapped(schema, {"contact_updated_at": _SELECT})


def _mapped(schema: PostgresSchema, arguments: Mapping[str, frozenset[str]]) -> Iterator[Wanted]:
    for argument, privileges in arguments.items():
        column: str | None = getattr(schema, argument)
        if column is not None:
            yield Wanted(argument, column, privileges)


def _table_missing(field: str, name: str, elsewhere: Sequence[str]) -> str:
    if elsewhere:
        return (
            f"table {name} is missing in the search_path, but there is one in "
            f"{', '.join(elsewhere)}: map it with PostgresSchema({field}=(schema, table)), or set "
            "the search_path"
        )
    if field == "cancellations":
        return f"table {name} is missing: run the SQL that `batch-cancel schema` prints"
    return f"table {name} is missing: map its name with PostgresSchema({field}=...)"


def _missing_columns(database: Database, field: str, wanted: Sequence[Wanted]) -> Iterator[str]:
    for it in wanted:
        if database.has_columns(field, it.column):
            continue
        typed = database.typed.get(it.column, it.column)
        missing = f"column {typed} is missing from {database.name(field)}"
        if field == "cancellations":
            yield (
                f"{missing}, which another version has created: add it as `batch-cancel schema` "
                "prints it"
            )
        elif it.argument.endswith("_where"):
            yield f"{missing}: correct PostgresSchema({it.argument}=...)"
        else:
            otherwise = "" if it.argument in _NEEDED else ", or None if there is none"
            yield f"{missing}: map its name with PostgresSchema({it.argument}=...){otherwise}"


def _missing_privileges(database: Database, field: str, wanted: Sequence[Wanted]) -> Iterator[str]:
    columns = database.columns_of(field)
    for privilege in ("SELECT", "INSERT", "UPDATE"):
        lacking = [
            database.typed.get(it.column, it.column)
            for it in wanted
            if it.column in columns and privilege in it.privileges - columns[it.column].privileges
        ]
        if lacking:
            yield not_granted(privilege, lacking, database.name(field))


def _missing_policies(database: Database, field: str, wanted: Sequence[Wanted]) -> Iterator[str]:
    table = database.tables[field]
    needed = sorted(set[str]().union(*(it.privileges for it in wanted)))
    lacking = [it for it in needed if it not in (table.allowed or ())]
    if table.secured_for is not None and lacking:
        yield (
            f"row-level security of {database.name(field)} hides all rows from the user "
            f"{table.secured_for} for {', '.join(lacking)}, because no policy allows any: CREATE "
            "POLICY for it, or let the user bypass them (BYPASSRLS)"
        )
