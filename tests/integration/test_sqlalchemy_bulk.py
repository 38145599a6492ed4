"""Many jobs over SQLAlchemy on Postgres: together, whatever their keys and their ids are."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from batch_cancel import BulkResult, JobFilter, JobKey, cancel_job, cancel_jobs, cancellations
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlalchemy import SqlAlchemyUnitOfWork
from tests import data_layers
from tests.integration.bulk_tables import counted, fill, rows

__all__ = ["rows"]

ALL = JobFilter(statuses=["scheduled", "pending", "running"])


@pytest.fixture
def engine(postgres_schema: str, rows: psycopg.Connection[Any]) -> sa.Engine:
    """Return an engine for the reference tables."""
    return data_layers.postgres_engine(postgres_schema)


def bulk(engine: sa.Engine, jobs: Any, **more: Any) -> BulkResult:
    """Cancel jobs."""
    uow = SqlAlchemyUnitOfWork(engine, data_layers.TABLES)
    named: dict[str, Any] = {"operation_id": "op", "scheduler": MemoryScheduler()} | more
    return cancel_jobs(jobs, uow=uow, **named)


def sent(engine: sa.Engine, jobs: list[str]) -> int:
    """Cancel jobs, and return how many statements were sent."""
    statements = list[str]()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        bulk(engine, jobs)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(statements)


def test_more_jobs_are_not_more_statements(
    engine: sa.Engine, rows: psycopg.Connection[Any]
) -> None:
    """Nor more contacts."""
    fill(rows, 41, 3)
    rows.execute("UPDATE batch_jobs SET scheduled_job_id = NULL")
    ids = [f"job-{number:04}" for number in range(41)]
    sent(engine, ids[40:])  # The tables are looked at once.
    assert sent(engine, ids[:2]) == sent(engine, ids[2:40])
    assert counted(rows, "batch_contacts") == {"cancelled": 123}


def test_ids_that_differ_in_case_are_what_the_column_says(
    engine: sa.Engine, rows: psycopg.Connection[Any]
) -> None:
    """In a text column they are different jobs; each gets its own contacts."""
    for job_id in ("job", "JOB"):
        rows.execute("INSERT INTO batch_jobs (id, status) VALUES (%s, 'running')", [job_id])
    rows.execute(
        "INSERT INTO batch_contacts (batch_job_id, status) "
        "VALUES ('job', 'busy'), ('JOB', 'busy'), ('JOB', 'pending')"
    )
    assert bulk(engine, ["Job"]).not_found == 1
    result = bulk(engine, ["job", "Job"])
    assert (result.cancelled, result.not_found, result.contacts_cancelled) == (1, 1, 1)
    result = bulk(engine, ["job", "JOB"])
    assert (result.cancelled, result.replayed, result.contacts_cancelled) == (1, 1, 2)


def test_a_job_that_was_set_back_keeps_its_earlier_record(
    engine: sa.Engine, rows: psycopg.Connection[Any]
) -> None:
    """Beside others that have none."""
    fill(rows, 3, 2)
    uow = SqlAlchemyUnitOfWork(engine, data_layers.TABLES)
    cancel_job("job-0001", uow=uow, scheduler=MemoryScheduler(), operation_id="before")
    rows.execute("UPDATE batch_jobs SET status = 'running' WHERE id = 'job-0001'")
    rows.execute("UPDATE batch_contacts SET status = 'busy' WHERE batch_job_id = 'job-0001'")
    result = bulk(engine, ALL)
    assert (result.cancelled, result.contacts_cancelled, result.failures) == (3, 6, ())
    records = cancellations(uow=uow).records
    assert sorted((it.key.batch_job_id, it.operation_id) for it in records) == [
        ("job-0000", "op"),
        ("job-0001", "before"),
        ("job-0001", "op"),
        ("job-0002", "op"),
    ]


def test_a_slice_is_replayed(engine: sa.Engine, rows: psycopg.Connection[Any]) -> None:
    """By the operation that its records name; by another it is refused."""
    fill(rows, 3, 2)
    ids = [f"job-{number:04}" for number in range(3)]
    assert bulk(engine, ids).cancelled == 3
    assert bulk(engine, ids).replayed == 3
    assert sum(bulk(engine, ids, operation_id="other").refused.values()) == 3


@pytest.mark.parametrize("keeps", ["contact", "job", "record", "late"])
def test_one_job_that_a_trigger_keeps_does_not_stop_the_others(
    engine: sa.Engine, rows: psycopg.Connection[Any], keeps: str
) -> None:
    """Its slice changes nothing; then it alone fails."""
    fill(rows, 3, 2)
    table, column, when = {
        "contact": ("batch_contacts", "batch_job_id", "BEFORE UPDATE"),
        "job": ("batch_jobs", "id", "BEFORE UPDATE"),
        "record": ("batch_cancellations", "batch_job_id", "BEFORE INSERT"),
        "late": ("batch_jobs", "id", "AFTER UPDATE"),
    }[keeps]
    body = (
        "UPDATE batch_contacts SET status = 'busy' WHERE batch_job_id = 'job-0001'; RETURN NULL;"
        if keeps == "late"
        else "RETURN NULL;"
    )
    rows.execute(
        f"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$".encode()
    )
    kind = "CONSTRAINT TRIGGER" if keeps == "late" else "TRIGGER"
    rows.execute(
        f"CREATE {kind} keep {when} ON {table} "
        f"{'DEFERRABLE INITIALLY DEFERRED ' if keeps == 'late' else ''}FOR EACH ROW "
        f"WHEN (new.{column} = 'job-0001') EXECUTE FUNCTION keep()".encode()
    )
    result = bulk(engine, ALL)
    assert (result.cancelled, result.failed, result.contacts_cancelled) == (2, 1, 4)
    assert [failure.key for failure in result.failures] == [JobKey("job-0001")]
    assert counted(rows, "batch_jobs") == {"cancelled": 2, "scheduled": 1}
