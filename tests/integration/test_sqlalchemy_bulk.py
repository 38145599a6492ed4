"""Many jobs over SQLAlchemy on Postgres: together, whatever their keys and their ids are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
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
TIMED = attrs.evolve(
    data_layers.TABLES,
    jobs=sa.Table(
        "batch_jobs",
        sa.MetaData(),
        *(sa.Column(name, sa.Text) for name in ("id", "organization_id", "status")),
        sa.Column("scheduled_job_id", sa.Text),
        *(sa.Column(f"{it}_at", sa.DateTime(timezone=True)) for it in ("created", "updated")),
    ),
    job_created_at="created_at",
    job_scheduled_at="updated_at",
)


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


def noon(day: int) -> datetime:
    """Return the noon of a day."""
    return datetime(2026, 1, day, 12, tzinfo=UTC)


@pytest.mark.parametrize("of", ["created", "scheduled"])
@pytest.mark.parametrize(
    ("between", "found"),
    [((2, None), [2, 3]), ((None, 2), [1]), ((2, 3), [2]), ((4, None), [])],
)
def test_jobs_are_found_by_their_times(
    engine: sa.Engine,
    rows: psycopg.Connection[Any],
    of: str,
    between: tuple[int | None, int | None],
    found: list[int],
) -> None:
    """From the first moment on, and before the second."""
    for day in (1, 2, 3):
        times = {"created": noon(9), "scheduled": noon(9)} | {of: noon(day)}
        rows.execute(
            "INSERT INTO batch_jobs (id, status, created_at, updated_at) "
            "VALUES (%s, 'pending', %s, %s)",
            [str(day), times["created"], times["scheduled"]],
        )
    uow = SqlAlchemyUnitOfWork(engine, TIMED)
    since, until = (it and noon(it) for it in between)
    wanted: dict[str, Any] = {f"{of}_after": since, f"{of}_before": until}
    result = cancel_jobs(JobFilter(**wanted), uow=uow, scheduler=MemoryScheduler())
    assert result.cancelled == len(found)
    cancelled = rows.execute("SELECT id FROM batch_jobs WHERE status = 'cancelled' ORDER BY id")
    assert [int(job_id) for (job_id,) in cancelled.fetchall()] == found


def test_where_jobs_have_no_organization_an_organization_has_no_job(
    engine: sa.Engine, rows: psycopg.Connection[Any]
) -> None:
    """Whoever asks for it is told that there is none, and nothing is changed."""
    fill(rows, 3, 2)
    uow = SqlAlchemyUnitOfWork(engine, attrs.evolve(data_layers.TABLES, job_organization_id=None))
    keys = [f"job-{number:04}" for number in range(3)]
    result = cancel_jobs(keys, uow=uow, scheduler=MemoryScheduler(), organization_id="acme")
    assert (result.cancelled, result.not_found) == (0, 3)
    assert counted(rows, "batch_jobs") == {"scheduled": 3}
