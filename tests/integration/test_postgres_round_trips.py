"""How often a call waits for Postgres: what it costs over a network."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from batch_cancel import (
    ContactStatus,
    append_contacts,
    cancel_job,
    cancel_rows,
    claim_contacts,
    finish_job,
    reconcile,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork, joining
from tests.pairs import create_reference_tables
from tests.servers import PostgresServer


class Counting(psycopg.Connection[Any]):
    """A connection that counts how often an answer is waited for."""

    trips = 0

    def wait(self, gen: Any, interval: float = 0.1) -> Any:  # type: ignore[override]
        """Wait for an answer."""
        Counting.trips += 1
        return super().wait(gen, interval)


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the reference tables, with a job of three contacts in each live status."""
    with postgres_server.schema() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES "
            "('first', 'pending', NULL), ('later', 'scheduled', 'start'), "
            "('live', 'running', NULL), ('mine', 'running', NULL);"
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT id, 'pending' FROM batch_jobs, generate_series(1, 3)"
        )
        # The catalogs are asked once per process, schema and database.
        cancel_job(
            "first",
            uow=PostgresUnitOfWork(lambda: psycopg.connect(dsn)),
            scheduler=MemoryScheduler(),
        )
        yield dsn


def trips(call: Any, *arguments: Any, **options: Any) -> int:
    """Count the round trips of a call."""
    before = Counting.trips
    call(*arguments, **options)
    return Counting.trips - before


def test_a_call_waits_no_more_often_than_it_has_to(dsn: str) -> None:
    """By hand: BEGIN, settings, then one each for what is read or written, COMMIT."""
    connection = Counting.connect(dsn)

    def connect() -> Any:
        return _Kept(connection)

    uow: Any = PostgresUnitOfWork(connect)
    scheduler = MemoryScheduler()
    assert trips(claim_contacts, "live", uow=uow, limit=1) == 4
    (contact,) = claim_contacts("live", uow=uow, limit=1)
    assert trips(settle_contact, "live", contact, ContactStatus.COMPLETED, uow=uow) == 4
    (contact,) = claim_contacts("live", uow=uow, limit=1)
    assert trips(settle_contact, "live", contact, ContactStatus.BUSY, uow=uow) == 5
    assert trips(append_contacts, "live", [{}, {}], uow=uow) == 5
    assert trips(finish_job, "live", uow=uow) == 4
    assert trips(start_job, "later", uow=uow) == 4
    connection.execute("UPDATE batch_jobs SET status = 'scheduled' WHERE id = 'later'")
    connection.commit()
    assert trips(cancel_job, "live", uow=uow, scheduler=scheduler) == 6
    assert trips(cancel_job, "later", uow=uow, scheduler=scheduler) == 10
    connection.execute("SELECT 1")
    # The isolation and the tables, SAVEPOINT, three statements, RELEASE.
    assert trips(cancel_rows, "mine", uow=joining(connection)) == 6
    connection.close()


def test_what_a_hook_and_a_removal_cost(dsn: str) -> None:
    """By hand: a transaction that claims, the hook, one that notes it; a note for each removal."""
    connection = Counting.connect(dsn)

    def connect() -> Any:
        return _Kept(connection)

    uow: Any = PostgresUnitOfWork(connect)
    scheduler = MemoryScheduler()
    given = {"uow": uow, "scheduler": scheduler, "on_cancelled": lambda _: None}
    # The cancel; BEGIN, settings, the claim, COMMIT; the same for the note.
    assert trips(cancel_job, "live", **given) == 6 + 4 + 4
    # The removal is noted together with the claim.
    assert trips(cancel_job, "later", **given) == 6 + 5 + 4
    for number in range(3):
        connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES (%s, 'scheduled', 's')",
            [f"owed-{number}"],
        )
        connection.commit()
        cancel_rows(f"owed-{number}", uow=uow)
    # However many are taken, the take is of seven: BEGIN, settings, the records, and in a
    # savepoint of its own, which is two more, their jobs; COMMIT.
    del given["on_cancelled"]
    assert trips(reconcile, lease=timedelta(0), **given) == 7 + 3 * 4
    connection.close()


class _Kept:
    """A connection that stays open."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def __enter__(self) -> Any:
        return self.connection

    def __exit__(self, *_: object) -> None:
        return None
