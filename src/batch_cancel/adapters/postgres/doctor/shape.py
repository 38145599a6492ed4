"""Whether a cancel is safe on the tables, and which triggers and rules write to them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from batch_cancel.adapters.postgres.doctor.questions import STATEMENTS, Look
from batch_cancel.adapters.postgres.doctor.statuses import ROWS_MAX
from batch_cancel.adapters.postgres.doctor.tables import Database, Rows
from batch_cancel.adapters.postgres.sql_parts import existing_rows, fixed, quoted, trusted
from batch_cancel.adapters.postgres_catalog import Writer

_MAY: Final = {
    "BEFORE": "change or skip each row that is written",
    "AFTER": "write the rows again or refuse the change",
    "INSTEAD OF": "write other values than given",
    "DO ALSO": "write more rows",
    "DO INSTEAD": "write other values than given, or none",
}
"""What a trigger or a rule may do, by its timing."""

_LETS: Final = {
    "jobs": "lets a job become cancelled",
    "contacts": "lets contacts become cancelled, and opens none of a cancelled job",
    "cancellations": "leaves records as they are written",
}
"""What it must leave alone."""


def refused(database: Database, field: str) -> Iterator[str]:
    """Yield why a cancel is not safe on a table, in the words of its refusal."""
    if field == "jobs":
        yield from _keys(database, of_contacts=False)
    status = database.schema.contact_status
    if field == "contacts" and status in database.facts.contacts_partitioned_by:
        yield (
            f"{database.name(field)} is partitioned by {database.typed[status]}, so each claim "
            "moves rows to another partition, and a cancel beside busy workers keeps failing: "
            "partition it by another column"
        )


def refused_to_workers(database: Database) -> Iterator[str]:
    """Yield why the workers' steps are not safe on contacts."""
    yield from _keys(database, of_contacts=True)


def refused_without_organization(database: Database) -> Iterator[str]:
    """Yield why jobs of no organization can't be cancelled, if all others can."""
    schema, facts = database.schema, database.facts
    organization = schema.job_organization_id
    if (
        organization is None
        or database.facts.refusals
        or any(refused(database, "jobs"))
        or not _has_jobs_columns(database)
    ):
        return
    problem = schema.keys.job_problem(facts.jobs, has_organization=False)
    if problem is not None:
        yield (
            f"a job without {database.typed[organization]}, if there is one, can't be cancelled: "
            f"{problem}"
        )


def writers(database: Database) -> Iterator[str]:
    """Yield the triggers and rules that may change what a cancel writes."""
    for it in database.facts.writers:
        how = f"{it.when} {' OR '.join(it.events)}"
        if it.kind == "rule":
            how = f"ON {' OR '.join(it.events)} {it.when}"
        yield (
            f"the {it.kind} {it.name} of {it.table} ({how}) may {_may(it)}: check that it "
            f"{_LETS[it.field]}"
        )


def strayed_contacts(database: Database) -> Iterator[Look]:
    """Yield a read for contacts of another organization than their job's."""
    schema, facts = database.schema, database.facts
    organization, keys = schema.job_organization_id, schema.keys
    if (
        schema.contact_organization_id is None
        or not facts.jobs.is_unique(keys.job_key)
        or not _has_jobs_columns(database)
        or not _has_contacts_columns(database)
    ):
        return
    columns = database.columns_of("jobs"), database.columns_of("contacts")
    kinds = columns[0][organization or ""].type, columns[1][schema.contact_organization_id].type
    question = trusted(STATEMENTS["strayed"]).format(
        jobs=quoted(schema.jobs),
        job_key=quoted(keys.job_key),
        organization_id=quoted(organization),
        existing_job=existing_rows(schema.job_where),
        contacts=quoted(schema.contacts),
        contact_job_id=quoted(schema.contact_job_id),
        contact_organization_id=quoted(schema.contact_organization_id),
        existing_contact=existing_rows(schema.contact_where),
        # If the types differ, the values are compared as the library sends them.
        kind=trusted("" if kinds[0] == kinds[1] else "::text"),
    )
    finding = partial(_strayed, database.typed[schema.contact_organization_id])
    yield Look(fixed(question), {"rows_max": ROWS_MAX}, finding)


def _strayed(organization: str, rows: Rows) -> str | None:
    [(looked_at, number)] = rows
    if not number:
        return None
    has, them, their = ("has", "it", "its") if number == 1 else ("have", "them", "their")
    return (
        f"{number:,} of the {looked_at:,} contacts looked at {has} another {organization} than "
        f"{their} job, so no cancel finds {them}: correct {their} {organization}"
    )


def _may(writer: Writer) -> str:
    if writer.when == "BEFORE" and not writer.is_of_rows:
        return "write other rows or refuse the change"
    return _MAY[writer.when]


def _keys(database: Database, *, of_contacts: bool) -> Iterator[str]:
    """Yield the problems of the keys of a table with all its columns."""
    facts = database.facts
    if facts.refusals:
        return  # A foreign table, for example, has no visible key.
    is_there = _has_contacts_columns if of_contacts else _has_jobs_columns
    for is_of_contacts, sentence in database.schema.keys.problems(facts.jobs, facts.contacts):
        if is_of_contacts is of_contacts and is_there(database):
            yield sentence


def _has_jobs_columns(database: Database) -> bool:
    keys = database.schema.keys
    return database.has_columns("jobs", keys.job_key, keys.job_organization_id)


def _has_contacts_columns(database: Database) -> bool:
    keys = database.schema.keys
    return database.has_columns(
        "contacts", keys.contact_id, keys.contact_job_id, keys.contact_organization_id
    )
