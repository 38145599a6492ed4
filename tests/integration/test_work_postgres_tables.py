"""The worker's statements on tables of the adopter's own: their plans, order and types."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from batch_cancel import (
    append_contacts,
    claim_contacts,
    finish_job,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
)
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.adapters.postgres.rows import named
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS, UNFINISHED_CONTACTS
from tests.integration.work_database import Database, database

__all__ = ["database"]


def plan(database: Database, statement: sql.SQL, **parameters: object) -> str:
    """Return the plan of a statement for the job `j`."""
    rows = psycopg.Cursor(database.connection).execute(
        sql.SQL("EXPLAIN {}").format(statement),
        {**named(JobKey("j")), **parameters},
        prepare=False,
    )
    return "\n".join(line for (line,) in rows.fetchall())


@pytest.fixture
def full(database: Database) -> Database:
    """Yield a database where the job is one of many, with 20,000 contacts open."""
    database.seed("running")
    database.connection.execute(
        "INSERT INTO batch_jobs (id, status) SELECT 'other-' || n, 'running' "
        "FROM generate_series(1, 50) AS n;"
        "INSERT INTO batch_contacts (batch_job_id, status, next_attempt_at) SELECT "
        "CASE n % 3 WHEN 0 THEN 'j' ELSE 'other-' || (1 + n % 50) END, "
        "(ARRAY['pending', 'no_answer', 'completed', 'completed', 'dialing'])[1 + n % 5], "
        "CASE n % 7 WHEN 0 THEN NULL ELSE now() + (n - 30000) * interval '1 second' END "
        "FROM generate_series(1, 60000) AS n;"
        "ANALYZE batch_jobs; ANALYZE batch_contacts"
    )
    return database


def test_a_claim_reads_the_index_in_its_order(full: Database) -> None:
    """It sorts nothing and reads no contact that is not due."""
    statement = queries_for(PostgresSchema()).claim_contacts(CLAIMABLE_CONTACTS)
    found = plan(full, statement, limit=10)
    assert found.count("Index Scan using batch_contacts_open") == 2
    assert "next_attempt_at IS NULL" in found
    assert "next_attempt_at <= statement_timestamp()" in found
    assert "Sort" not in found
    assert "Seq Scan on batch_contacts" not in found


def test_a_finish_reads_the_indexes(full: Database) -> None:
    """One for the contacts that wait, one for the live calls."""
    unfinished = frozenset(UNFINISHED_CONTACTS)
    for statement in queries_for(PostgresSchema()).finish_job(unfinished):
        found = plan(full, statement)
        assert "batch_contacts_open" in found
        assert "batch_contacts_dialing" in found
        assert "Seq Scan on batch_contacts" not in found


def test_a_claim_without_times_reads_the_index(full: Database) -> None:
    """It sorts nothing."""
    schema = PostgresSchema(contact_next_attempt_at=None)
    found = plan(full, queries_for(schema).claim_contacts(CLAIMABLE_CONTACTS), limit=10)
    assert "Index Scan using batch_contacts_open" in found
    assert "Sort" not in found
    assert "Seq Scan on batch_contacts" not in found


def test_claims_are_given_the_longest_due_first(database: Database) -> None:
    """Those without a time before all others, those that are not due not at all."""
    database.seed("running")
    times = ["2031-01-01", "2021-01-01", None, "2020-01-01"]
    append_contacts("j", [{"next_attempt_at": at} for at in times], uow=database.uow)
    given = [claim_contacts("j", uow=database.uow, limit=1) for _ in range(4)]
    assert given == [["3"], ["4"], ["2"], []]


def test_tables_without_times_and_without_organizations(database: Database) -> None:
    """Every contact is due, every job one of no organization."""
    database.seed("scheduled", "pending", "timeout")
    database.connection.execute(
        "ALTER TABLE batch_contacts DROP next_attempt_at, DROP updated_at;"
        "ALTER TABLE batch_jobs DROP organization_id, DROP updated_at"
    )
    schema = PostgresSchema(
        job_organization_id=None,
        job_updated_at=None,
        contact_updated_at=None,
        contact_next_attempt_at=None,
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(database.dsn), schema)
    assert not start_job("j", uow=uow, organization_id="acme")
    assert claim_contacts("j", uow=uow, limit=5) == []
    assert start_job("j", uow=uow)
    first, second = claim_contacts("j", uow=uow, limit=5)
    assert settle_contact("j", first, ContactStatus.BUSY, uow=uow) == "busy"
    assert settle_contact("j", second, ContactStatus.FAILED, uow=uow) == "failed"
    assert not finish_job("j", uow=uow)
    assert claim_contacts("j", uow=uow, limit=5) == [first]
    assert settle_contact("j", first, ContactStatus.COMPLETED, uow=uow) == "completed"
    assert finish_job("j", uow=uow)


def _with_uuids_and_enums(database: Database, statuses: str) -> None:
    database.connection.execute(
        "DROP TABLE batch_contacts, batch_jobs;"
        f"CREATE TYPE contact_status AS ENUM ({statuses});"
        "CREATE TYPE job_status AS ENUM "
        "('scheduled', 'pending', 'running', 'completed', 'failed', 'cancelled');"
        "CREATE TABLE batch_jobs (id uuid PRIMARY KEY, organization_id uuid, status job_status, "
        "scheduled_job_id text, updated_at timestamptz);"
        "CREATE TABLE batch_contacts (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
        "batch_job_id uuid REFERENCES batch_jobs, status contact_status, "
        "next_attempt_at timestamptz, updated_at timestamptz);".encode()
    )


JOB = "6b29fc40-ca47-1067-b31d-00dd010662da"


def test_ids_that_are_uuids_and_statuses_that_are_an_enum(database: Database) -> None:
    """What is no uuid names nothing; the caller's own transaction stays whole."""
    _with_uuids_and_enums(database, ", ".join(f"'{status.value}'" for status in ContactStatus))
    database.connection.execute("INSERT INTO batch_jobs VALUES (%s, NULL, 'pending')", [JOB])
    for uow in (database.uow, joining(database.connection)):
        with database.connection.transaction():
            assert not start_job("no-uuid", uow=uow)
            assert not start_job(JOB, uow=uow, organization_id="no-uuid")
            assert claim_contacts("no-uuid", uow=uow, limit=1) == []
            assert settle_contact("no-uuid", JOB, ContactStatus.BUSY, uow=uow) is None
            assert settle_contact(JOB, "no-uuid", ContactStatus.BUSY, uow=uow) is None
            assert settle_contact(JOB, "no-uuid", ContactStatus.FAILED, uow=uow) is None
            assert not finish_job("no-uuid", uow=uow)
            assert not still_running("no-uuid", uow=uow)
    uow = database.uow
    assert start_job(JOB, uow=uow)
    assert append_contacts(JOB, [{}], uow=uow) == 1
    (contact,) = claim_contacts(JOB, uow=uow, limit=1)
    assert settle_contact(JOB, contact, ContactStatus.TIMEOUT, uow=uow) == "timeout"
    assert not finish_job(JOB, uow=uow)


def test_a_status_that_is_missing_from_an_enum_is_reported(database: Database) -> None:
    """It would be easy to take it for a job that is not there."""
    _with_uuids_and_enums(database, "'pending', 'completed', 'cancelled'")
    database.connection.execute("INSERT INTO batch_jobs VALUES (%s, NULL, 'running')", [JOB])
    with pytest.raises(StoreFailed, match="missing from your enum"):
        claim_contacts(JOB, uow=database.uow, limit=1)
    with pytest.raises(StoreFailed, match="missing from your enum"):
        settle_contact(JOB, JOB, ContactStatus.FAILED, uow=database.uow)
    with pytest.raises(StoreFailed, match="missing from your enum"):
        finish_job(JOB, uow=database.uow)
