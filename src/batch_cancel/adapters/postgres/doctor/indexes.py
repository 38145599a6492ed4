"""Whether each statement finds its rows by an index, and which index to create if not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from psycopg import sql

from batch_cancel.adapters.postgres.doctor.columns import RECORD_KEY
from batch_cancel.adapters.postgres.doctor.questions import Condition, Doubt, Reading
from batch_cancel.adapters.postgres.doctor.tables import Database
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.adapters.postgres.sql_parts import listed, typed
from batch_cancel.domain.diagnosis import CLAIMS_SORT, INDEX_OF_CONTACTS
from batch_cancel.domain.status_names import all_status_names
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus, Removal
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS

_RECORD_BY_AGE: Final = "taken_at"
_LIVE: Final = frozenset({ContactStatus.DIALING})


def reading(database: Database, field: str, statement: sql.SQL, alias: str = "") -> Reading:
    """Return a statement with sample parameters, as a reading of a table."""
    schema = database.schema
    parameters = {
        "batch_job_id": _sample(database, "jobs", schema.job_id),
        "organization_id": None,
        "its_key": _sample(database, "contacts", schema.contact_job_id),
        "its_organization": None,
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
    parts = frozenset(database.tables[field].parts or ())
    return Reading(statement, parameters, parts, alias)


def _sample(database: Database, field: str, name: str) -> str:
    """Return a value of the column's kind, so that Postgres can plan."""
    column = database.columns_of(field).get(name)
    return str(UUID(int=0)) if column is not None and column.type == "uuid" else "0"


def index_of_the_job(database: Database) -> Iterator[Doubt]:
    """Yield whether an index finds a job by its id, within its organization."""
    schema, jobs = database.schema, database.name("jobs")
    if not database.tables["jobs"].has_indexes or not database.has_columns("jobs", schema.job_id):
        return
    job_id = database.typed[schema.job_id]
    is_served, unless = _served(
        database, "jobs", schema.job_id, {schema.job_organization_id, *schema.job_where}
    )
    yield Doubt(
        "slow",
        f"no index finds a job, so each cancel reads all of {jobs}: "
        f"CREATE INDEX ON {jobs} ({job_id})",
        unless,
        f"an index finds a job by its {job_id}",
        is_dispelled=is_served,
        reading=reading(database, "jobs", queries_for(schema).lock_job),
    )


def index_of_the_contact(database: Database) -> Iterator[Doubt]:
    """Yield whether an index finds a contact by its id, within its job."""
    schema, contacts = database.schema, database.name("contacts")
    if not database.tables["contacts"].has_indexes or not database.has_columns(
        "contacts", schema.contact_id
    ):
        return
    is_served, _ = _served(
        *(database, "contacts", schema.contact_id),
        {schema.contact_job_id, schema.contact_organization_id},
    )
    claim = queries_for(schema).claim_contacts(CLAIMABLE_CONTACTS)
    yield Doubt(
        "workers",
        f"no index finds a contact, so each claim_contacts reads all of {contacts}: CREATE INDEX "
        f"ON {contacts} ({database.typed[schema.contact_id]})",
        is_dispelled=is_served,
        reading=reading(database, "contacts", claim, "contact"),
    )


def indexes_of_contacts(database: Database) -> Iterator[Doubt]:
    """Yield whether indexes find a job's open contacts and its live calls."""
    contacts, queries = database.name("contacts"), queries_for(database.schema)
    yield from _index_of_contacts(
        *(database, "slow"),
        f"no index serves the cancel, so each one reads all of {contacts}",
        CANCELLABLE_CONTACTS,
        queries.cancel_contacts(CANCELLABLE_CONTACTS),
        fits=INDEX_OF_CONTACTS,
        then=_order_of_a_claim(database),
    )
    yield from _index_of_contacts(
        *(database, "workers"),
        f"no index finds live calls, so each finish_job reads all of {contacts}",
        _LIVE,
        queries.finish_job(_LIVE)[0],
    )


def index_of_a_claim(database: Database) -> Iterator[Doubt]:
    """Yield whether an index has the contacts of a job in the order in which they are claimed."""
    schema, order = database.schema, _order_of_a_claim(database)
    if not order:
        return
    given = frozenset(filter(None, {schema.contact_organization_id, *schema.contact_where}))
    indexes = [
        it
        for it in database.indexes_of("contacts")
        if it.orders(schema.contact_job_id, given, order)
    ]
    statuses = list(map(str, all_status_names(schema.contact_statuses, CLAIMABLE_CONTACTS)))
    rows = database.known_columns("contacts", schema.contact_status)
    yield Doubt(
        "workers",
        f"{CLAIMS_SORT}: {_suggested(database, CLAIMABLE_CONTACTS, order)}",
        [Condition(it.predicate, rows, statuses) for it in indexes if it.predicate is not None],
        is_dispelled=any(it.predicate is None for it in indexes),
    )


def indexes_of_ours(database: Database) -> Iterator[Doubt]:
    """Yield whether our own table has its key and its index of pending records."""
    ours = database.name("cancellations")
    if not database.tables["cancellations"].has_indexes:
        return
    indexes = database.indexes_of("cancellations")
    has_key = any(
        it.is_unique and it.predicate is None and frozenset(it.columns) == RECORD_KEY
        for it in indexes
    )
    # Without a key reconcile reads all of it as well, which is reported already.
    take = reading(database, "cancellations", queries_for(database.schema).take_pending)
    yield Doubt(
        "missing",
        f"{ours} has no primary key (organization_id, batch_job_id), which every cancel needs for "
        "its record: add it as `batch-cancel schema` prints it",
        is_dispelled=has_key,
    )
    yield Doubt(
        "slow",
        f"no index finds what is pending, so each reconcile reads all of {ours}: create "
        "batch_cancellations_owing as `batch-cancel schema` prints it",
        fits="an index finds what is pending",
        is_dispelled=any(it.columns[0] == _RECORD_BY_AGE for it in indexes),
        reading=take if has_key else None,
    )


def _index_of_contacts(
    database: Database,
    kind: Literal["slow", "workers"],
    sentence: str,
    statuses: frozenset[ContactStatus],
    statement: sql.SQL,
    *,
    fits: str | None = None,
    then: Sequence[str] = (),
) -> Iterator[Doubt]:
    schema = database.schema
    job_id, status = schema.contact_job_id, schema.contact_status
    if not database.tables["contacts"].has_indexes or not database.has_columns(
        "contacts", job_id, status
    ):
        return
    is_served, unless = _served(
        *(database, "contacts", job_id),
        # The statement names a few statuses, so an index that begins with the status serves as
        # well.
        {status, schema.contact_organization_id, *schema.contact_where},
        status=status,
        statuses=list(map(str, all_status_names(schema.contact_statuses, statuses))),
    )
    yield Doubt(
        kind,
        f"{sentence}: {_suggested(database, statuses, then)}",
        unless,
        fits,
        is_dispelled=is_served,
        reading=reading(database, "contacts", statement),
    )


def _order_of_a_claim(database: Database) -> Sequence[str]:
    """Return the columns by which a job's contacts are claimed; none without their times."""
    at, contact_id = database.schema.contact_next_attempt_at, database.schema.contact_id
    if at is None or not database.has_columns("contacts", at, contact_id):
        return ()
    return (at, contact_id)


def _suggested(database: Database, statuses: frozenset[ContactStatus], then: Sequence[str]) -> str:
    """Return the SQL of an index on the job and other columns, for contacts in some statuses."""
    schema = database.schema
    columns = ", ".join(database.typed[it] for it in (schema.contact_job_id, *then))
    named = typed(listed(statuses, schema.contact_statuses))
    return (
        f"CREATE INDEX ON {database.name('contacts')} ({columns}) "
        f"WHERE {database.typed[schema.contact_status]} IN ({named})"
    )


def _served(
    database: Database,
    field: str,
    column: str,
    given: set[str | None],
    *,
    status: str | None = None,
    statuses: Sequence[str] = ("",),
) -> tuple[bool, list[Condition]]:
    """
    Return whether an index finds rows by a column, and the conditions of partial candidates.

    Arguments:
        database: the facts from the catalogs.
        field: which table.
        column: the column.
        given: the other columns in the statement's condition, by `=`, IN or IS NULL.
        status: the status column, if the statement names statuses.
        statuses: those statuses.
    """
    known = frozenset(it for it in given if it is not None)
    indexes = [it for it in database.indexes_of(field) if it.finds(column, known)]
    rows = database.known_columns(field, status)
    return any(it.predicate is None for it in indexes), [
        Condition(it.predicate, rows, statuses) for it in indexes if it.predicate is not None
    ]


def invalid(database: Database, field: str) -> Iterator[str]:
    """Yield the indexes that are not valid."""
    for index in database.indexes.get(database.tables[field].oid or 0, ()):
        if not index.is_valid:
            yield (
                f"the index {index.name} of {database.name(field)} is not valid, so it is not "
                "used: CREATE INDEX CONCURRENTLY has failed, or is still running; if it has "
                f"failed, REINDEX INDEX CONCURRENTLY {index.name}"
            )
