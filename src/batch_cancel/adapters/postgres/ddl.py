"""The printed DDL: our own tables, and the triggers on the adopter's tables."""

from __future__ import annotations

import re

from psycopg import sql

from batch_cancel.adapters.postgres.schema import PostgresSchema, Table, beside_table
from batch_cancel.adapters.postgres.sql_parts import (
    PACKAGE,
    beside,
    constant,
    existing_rows,
    fixed,
    listed,
    quoted,
    trusted,
    typed,
)
from batch_cancel.adapters.postgres_releases import migration_text
from batch_cancel.adapters.sql_files import sql_text
from batch_cancel.adapters.sql_gate import START_GATES
from batch_cancel.domain.statuses import (
    CANCELLABLE_CONTACTS,
    TERMINAL_CONTACTS,
    TERMINAL_JOBS,
    ContactStatus,
    JobStatus,
)
from batch_cancel.domain.worker_rules import UNFINISHED_CONTACTS


def table_ddl(schema: PostgresSchema) -> str:
    """Return the SQL that creates our own tables under their names in the schema."""
    return named_ddl(sql_text(PACKAGE, "tables.sql"), schema)


def migration_ddl(schema: PostgresSchema, release: str) -> list[str]:
    """
    Return the statements that bring the tables of an earlier release to their current shape.

    Each must run by itself, outside of a transaction. A statement does nothing if what it creates
    is there already.

    Arguments:
        schema: the names.
        release: the release that created the tables, such as "0.1".

    Raises:
        ValueError: its tables have the current shape, or there is no such release.
    """
    statements = named_ddl(migration_text(release), schema).rstrip(";\n").split(";\n\n")
    return [f"{it.strip()};" for it in statements if it.strip()]


def named_ddl(text: str, schema: PostgresSchema) -> str:
    """Return the SQL of a file of ours under the names in the schema."""
    table = schema.cancellations
    # CREATE INDEX takes no schema: the index is in its table's.
    name = table if isinstance(table, str) else table[1]
    names = {
        "batch_cancellations": table,
        "batch_cancellations_owing": beside_table(name, "_owing"),
        "batch_cancellations_sweeping": beside_table(name, "_sweeping"),
        "batch_cancellations_by_time": beside_table(name, "_by_time"),
        "batch_cancellations_by_age": beside_table(name, "_by_age"),
        "batch_cancellations_earlier": schema.earlier,
    }
    return re.sub(
        r"\bbatch_cancellations(_owing|_sweeping|_by_time|_by_age|_earlier)?\b",
        lambda found: typed(quoted(names[found[0]])),
        text,
    )


def start_gates_ddl(table: Table = START_GATES) -> str:
    """
    Return the SQL that creates the table of `SqlStartGate`.

    Arguments:
        table: its name, or its schema and name.
    """
    name = table if isinstance(table, str) else table[1]
    names: dict[str, Table] = {START_GATES: table, f"{START_GATES}_by_age": f"{name}_by_age"}
    return re.sub(
        rf"\b{START_GATES}(_by_age)?\b",
        lambda found: typed(quoted(names[found[0]])),
        sql_text(PACKAGE, "start_gate_table.sql"),
    )


def guards_ddl(schema: PostgresSchema) -> str:
    """Return the SQL that creates the triggers on the tables of a schema."""
    jobs, contacts = schema.job_statuses, schema.contact_statuses
    dialing = listed({ContactStatus.DIALING}, contacts)
    keep_contact_cancelled = beside(schema.contacts, "batch_cancel_keep_contact_cancelled")
    of_tables = {
        "jobs": quoted(schema.jobs),
        "job_key": quoted(schema.job_key or schema.job_id),
        "job_status": quoted(schema.job_status),
        "contacts": quoted(schema.contacts),
        "contact_job_id": quoted(schema.contact_job_id),
        "contact_status": quoted(schema.contact_status),
        "of_its_organization": _of_its_organization(schema),
        "changes_organization": _changes_organization(schema),
        "job_counts": existing_rows(schema.job_where, "job."),
        "old_job_counts": existing_rows(schema.job_where, "OLD."),
        "old_contact_counts": existing_rows(schema.contact_where, "OLD."),
        "new_contact_counts": existing_rows(schema.contact_where, "NEW."),
        "keep_job_status": beside(schema.jobs, "batch_cancel_keep_job_status"),
        "keep_contact_cancelled": keep_contact_cancelled,
        "named_keep_contact_cancelled": sql.Literal(typed(keep_contact_cancelled)),
        "cancelled_jobs": listed({JobStatus.CANCELLED}, jobs),
        "contact_cancelled": constant(contacts[ContactStatus.CANCELLED][0]),
        "dialing_contacts": dialing,
        "ended_jobs": listed(TERMINAL_JOBS, jobs),
        "ended_contacts": listed(TERMINAL_CONTACTS - {ContactStatus.CANCELLED}, contacts),
        "open_contacts": listed(CANCELLABLE_CONTACTS, contacts),
        "live_contacts": listed(UNFINISHED_CONTACTS, contacts),
    }
    return typed(trusted(sql_text(PACKAGE, "triggers.sql")).format(**of_tables))


def _of_its_organization(schema: PostgresSchema) -> sql.SQL:
    if schema.contact_organization_id is None or schema.job_organization_id is None:
        return sql.SQL("")
    return fixed(
        sql.SQL(" AND job.{} IS NOT DISTINCT FROM NEW.{}").format(
            quoted(schema.job_organization_id), quoted(schema.contact_organization_id)
        )
    )


def _changes_organization(schema: PostgresSchema) -> sql.SQL:
    if schema.contact_organization_id is None:
        return sql.SQL("")
    return fixed(
        sql.SQL(" OR NEW.{0} IS DISTINCT FROM OLD.{0}").format(
            quoted(schema.contact_organization_id)
        )
    )
