"""A very large job whose contacts can't be cancelled: nothing is changed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import CancelFailed, cancel_job, cancel_jobs, cancellation_of
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

CONSTRAINT = "ALTER TABLE batch_contacts ADD CHECK (status <> 'cancelled')"
TRIGGER = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$; "
    "CREATE TRIGGER refuse BEFORE UPDATE ON batch_contacts FOR EACH ROW EXECUTE FUNCTION refuse()"
)


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to the reference tables, with a running job of five open contacts."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT 'j', 'pending' FROM generate_series(1, 5)"
        )
        yield connection


def sweeping(dsn: str, **more: Any) -> PostgresUnitOfWork:
    """Return a store that sweeps above two contacts."""
    return PostgresUnitOfWork(lambda: psycopg.connect(dsn), sweep_above=2, **more)


@pytest.mark.parametrize(
    "obstacle",
    [
        CONSTRAINT,
        TRIGGER.format("RAISE 'frozen';"),
        TRIGGER.format("RETURN NULL;"),
        TRIGGER.format("NEW.status := 'blocked'; RETURN NEW;"),
    ],
    ids=["constraint", "raises", "skips", "changes"],
)
def test_what_refuses_each_contact_changes_nothing(
    rows: psycopg.Connection[Any], postgres_schema: str, obstacle: str
) -> None:
    """As with a small job; without the obstacle the same operation cancels it."""
    rows.execute(obstacle.encode())
    uow = sweeping(postgres_schema)
    with pytest.raises(CancelFailed) as failed:
        cancel_job("j", uow=uow, scheduler=MemoryScheduler(), operation_id="op")
    assert failed.value.outcome == "unchanged"
    [bulk_failure] = cancel_jobs(["j"], uow=uow, scheduler=MemoryScheduler()).failures
    assert isinstance(bulk_failure, CancelFailed)
    assert bulk_failure.outcome == "unchanged"
    assert rows.execute("SELECT status FROM batch_jobs").fetchall() == [("running",)]
    assert rows.execute("SELECT DISTINCT status FROM batch_contacts").fetchall() == [("pending",)]
    assert cancellation_of("j", uow=uow) is None

    rows.execute("DROP TRIGGER IF EXISTS refuse ON batch_contacts")
    rows.execute(
        "ALTER TABLE batch_contacts DROP CONSTRAINT IF EXISTS batch_contacts_status_check"
    )
    result = cancel_job("j", uow=uow, scheduler=MemoryScheduler(), operation_id="op")
    assert (result.contacts_cancelled, result.replayed) == (5, False)


def test_a_contact_that_stays_locked_is_named_as_the_cause(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """The lock on the job was had; a retry after the worker's commit has the exact count."""
    uow = sweeping(postgres_schema, lock_timeout=timedelta(milliseconds=50))
    with psycopg.connect(postgres_schema) as worker:
        worker.execute("SELECT FROM batch_contacts FOR UPDATE")
        with pytest.raises(CancelFailed, match="locks the job or a contact") as failed:
            cancel_job("j", uow=uow, scheduler=MemoryScheduler(), operation_id="op")
    assert failed.value.outcome == "unknown"
    assert rows.execute("SELECT status FROM batch_jobs").fetchall() == [("cancelled",)]
    result = cancel_job("j", uow=uow, scheduler=MemoryScheduler(), operation_id="op")
    assert (result.contacts_cancelled, result.replayed) == (5, True)
