"""Reports on jobs, on Postgres: they lock nothing, wait for nothing, count this job alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import ContactStatus, JobKey, StoreFailed, job_progress, preview_job
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to the reference tables, with a running job."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')")
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "VALUES ('job', 'pending'), ('job', 'dialing'), ('job', 'dialing')"
        )
        yield connection


def uow(dsn: str, **names: Any) -> PostgresUnitOfWork:
    """Return a unit of work that waits for a lock only shortly."""
    return PostgresUnitOfWork(lambda: psycopg.connect(dsn), PostgresSchema(**names))


def test_a_preview_waits_for_no_lock(rows: psycopg.Connection[Any], postgres_schema: str) -> None:
    """Whoever has the job and its contacts in hand; what is committed is reported."""
    rows.execute("SET statement_timeout = '20s'")
    with rows.transaction():
        rows.execute("SELECT FROM batch_jobs FOR UPDATE")
        rows.execute("UPDATE batch_contacts SET status = 'completed'")
        preview = preview_job("job", uow=uow(postgres_schema))
        assert (preview.contacts_to_cancel, preview.live_calls) == (1, 2)


def test_nobody_waits_for_a_preview(rows: psycopg.Connection[Any], postgres_schema: str) -> None:
    """It leaves no lock on a row, and writes none."""
    rows.execute("SET lock_timeout = '5s'")
    before = rows.execute("SELECT xmin, xmax FROM batch_jobs").fetchall()
    with uow(postgres_schema).begin() as repositories:
        seen = repositories.overview.look(JobKey("job"))
        assert seen is not None
        rows.execute("SELECT FROM batch_jobs FOR UPDATE NOWAIT")
        rows.execute("SELECT FROM batch_contacts FOR UPDATE NOWAIT")
    rows.execute("UPDATE batch_contacts SET status = 'completed' WHERE status = 'dialing'")
    assert rows.execute("SELECT xmin FROM batch_jobs").fetchall() == [(before[0][0],)]
    assert job_progress("job", uow=uow(postgres_schema)).contacts_ended == 2


def test_a_second_job_of_the_id_is_named(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """It came in after the tables were looked at; a report on one of the two would mislead."""
    assert preview_job("job", uow=uow(postgres_schema)).live_calls == 2
    rows.execute("ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey CASCADE")
    rows.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'completed')")
    with pytest.raises(StoreFailed, match="has several jobs of the id 'job'"):
        preview_job("job", uow=uow(postgres_schema))


def test_rows_that_do_not_count_are_not_counted(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """Nor is a job that does not count there; spellings of one status are added up."""
    rows.execute("ALTER TABLE batch_contacts ADD deleted_at timestamptz")
    rows.execute("INSERT INTO batch_contacts (batch_job_id, status) VALUES ('job', 'waiting')")
    rows.execute("INSERT INTO batch_contacts VALUES (DEFAULT, 'job', 'busy', NULL, now(), now())")
    spelled = {it: it for it in (*_STATUSES,)}
    store = uow(
        postgres_schema,
        contact_where={"deleted_at": None},
        contact_statuses={**spelled, "pending": ("pending", "waiting"), "busy": "engaged"},
    )
    preview = preview_job("job", uow=store)
    assert (preview.contacts[ContactStatus.PENDING], preview.contacts_unknown) == (2, 0)
    rows.execute("INSERT INTO batch_contacts (batch_job_id, status) VALUES ('job', 'busy')")
    assert preview_job("job", uow=store).contacts_unknown == 1


_STATUSES = (
    *("pending", "queued", "no_answer", "busy", "timeout", "dialing", "completed", "failed"),
    *("blocked", "invalid_number", "carrier_error", "cancelled"),
)


def test_several_jobs_of_one_name_are_refused(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """None of them can be meant."""
    rows.execute(
        "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_batch_job_id_fkey;"
        "ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey"
    )
    rows.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'scheduled')")
    with pytest.raises(StoreFailed):
        preview_job("job", uow=uow(postgres_schema))
