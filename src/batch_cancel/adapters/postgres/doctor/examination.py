"""An examination of a database, from the first question to the diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from batch_cancel.adapters.postgres.doctor import (
    columns,
    history,
    indexes,
    shape,
    statuses,
    sweeps,
)
from batch_cancel.adapters.postgres.doctor.catalog import Catalog
from batch_cancel.adapters.postgres.doctor.questions import Attempt, Doubt, Look
from batch_cancel.adapters.postgres.doctor.report import Report
from batch_cancel.adapters.postgres.doctor.tables import (
    FIELDS,
    Database,
    Rows,
    Table,
    names_of,
    read_columns,
    read_constraints,
    read_indexes,
    read_tables,
    tables_of,
)
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.adapters.postgres.sql_parts import trusted
from batch_cancel.adapters.postgres_catalog import question, read_facts, server_problems
from batch_cancel.domain.diagnosis import INDEX_OF_CONTACTS, Diagnosis
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS


async def examined(schema: PostgresSchema, catalog: Catalog) -> Diagnosis:
    """Return in sentences what fits and what does not."""
    server = await catalog.rows("server")
    await catalog.only_read()
    tables = read_tables(await catalog.rows("tables", **tables_of(schema)))
    oids = [table.oid for table in tables.values() if table.oid is not None]
    database = Database(
        schema,
        dict(await catalog.rows("names", names=names_of(schema))),
        tables,
        read_columns(await catalog.rows("columns", tables=oids)),
        read_indexes(await catalog.rows("indexes", tables=oids)),
        read_constraints(await catalog.rows("constraints", tables=oids)),
        read_facts(await catalog.answer(_facts_of(tables))),
    )
    report = _begun(server, database)
    for look in _looks(database):
        report.see(await catalog.seen(look))
    for doubt in _doubts(database, report):
        answers = [await catalog.holds(condition) for condition in doubt.unless]
        is_well = doubt.is_dispelled or any(answers)
        if is_well and doubt.reading is not None:
            is_well = not await catalog.scans(doubt.reading)
        report.note(doubt, is_well=is_well)
    for attempt in _attempts(database, report):
        report.try_out(attempt, await catalog.refusal(attempt.reading))
    return report.diagnosis()


def _facts_of(tables: Mapping[str, Table]) -> str:
    """Return the adapter's own catalog query for these tables; no table has the oid 0."""
    oids = {field: tables[field].oid or 0 for field in FIELDS}
    return trusted(question()).format(**oids).as_string(None)


def _begun(server: Rows, database: Database) -> Report:
    """Return a report of the findings in the catalogs."""
    report, refusals = Report(), database.facts.refusals
    [(version, is_read_only)] = server
    report.missing.extend([*server_problems(version, is_read_only=is_read_only), *refusals])
    for field in FIELDS:
        missing = [*columns.missing(database, field), *shape.refused(database, field)]
        report.missing.extend(missing)
        if not missing and not refusals:
            report.fits.append(columns.fits(database, field))
        report.notes.extend(columns.hidden_rows(database, field))
        report.notes.extend(indexes.invalid(database, field))
    report.missing.extend(statuses.missing_labels(database, "missing"))
    for found in (
        columns.missing_to_workers(database),
        shape.refused_to_workers(database),
        statuses.missing_labels(database, "workers"),
    ):
        report.workers.extend(found)
    for found in (
        shape.refused_without_organization(database),
        shape.writers(database),
        history.lacking(database),
        sweeps.lacking(database),
    ):
        report.notes.extend(found)
    return report


def _looks(database: Database) -> Iterator[Look]:
    """Yield reads of some rows; none if a cancel fails anyhow."""
    if not database.facts.refusals:
        yield from statuses.unmapped(database)
        yield from shape.strayed_contacts(database)


def _doubts(database: Database, report: Report) -> Iterator[Doubt]:
    """Yield the doubts about indexes, and those that only Postgres can resolve."""
    yield from statuses.constraints(database, "missing")
    yield from statuses.constraints(database, "workers")
    if not any(
        shape.refused(database, "jobs")
    ):  # A refused table needs a unique index, which serves as well.
        yield from indexes.index_of_the_job(database)
    yield from indexes.indexes_of_ours(database)
    yield from indexes.indexes_of_contacts(database)
    if INDEX_OF_CONTACTS in report.fits:  # Else one is suggested that has their order as well.
        yield from indexes.index_of_a_claim(database)
    if not any(shape.refused_to_workers(database)):
        yield from indexes.index_of_the_contact(database)


def _attempts(database: Database, report: Report) -> Iterator[Attempt]:
    """Yield the statements to plan, unless something that they need is missing."""
    if report.missing:
        return
    queries, facts = queries_for(database.schema), database.facts
    jobs, contacts = database.name("jobs"), database.name("contacts")
    # The one of three statements that fits these triggers.
    cancel = queries.cancel_contacts
    if facts.contacts_are_rewritten:
        cancel = queries.list_cancelled_contacts
    elif facts.contacts_have_triggers:
        cancel = queries.count_cancelled_contacts
    for field, what, statement in (
        ("jobs", f"locks a job of {jobs}", queries.lock_job),
        ("contacts", f"cancels contacts of {contacts}", cancel(CANCELLABLE_CONTACTS)),
        ("jobs", f"marks a job of {jobs} as cancelled", queries.mark_cancelled),
    ):
        reading = indexes.reading(database, field, statement)
        yield Attempt("missing", columns.fits(database, field), what, reading)
    if report.missing or report.workers:
        return
    finish, _ = queries.finish_job(frozenset({ContactStatus.DIALING}))
    for what, statement in (
        ("claims contacts", queries.claim_contacts(CLAIMABLE_CONTACTS)),
        ("finishes a job", finish),
        ("inspects jobs and contacts", queries.look(CANCELLABLE_CONTACTS)),
    ):
        yield Attempt("workers", "", what, indexes.reading(database, "jobs", statement))
