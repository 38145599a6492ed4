"""How often a call waits for Postgres: what it costs over a network."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import attrs
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

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
    still_running,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork, joining
from tests.fault_proxy import FaultProxy
from tests.pairs import create_reference_tables
from tests.pgbouncer import PgBouncer
from tests.processes import HOST
from tests.servers import PostgresServer


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the reference tables, with a job of three contacts in each live status."""
    with postgres_server.schema() as dsn:
        fill(dsn)
        yield dsn


def fill(dsn: str) -> None:
    """Make the reference tables, with a job of three contacts in each live status."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES "
            "('first', 'pending', NULL), ('later', 'scheduled', 'start'), "
            "('live', 'running', NULL), ('mine', 'running', NULL);"
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT id, 'pending' FROM batch_jobs, generate_series(1, 3)"
        )


@attrs.frozen
class Line:
    """A connection through a proxy that counts, and the stores on it."""

    proxy: FaultProxy
    connection: Any

    @property
    def uow(self) -> Any:
        """A store of our own transactions."""
        return PostgresUnitOfWork(lambda: nullcontext(self.connection))

    def trips(self, call: Any, *arguments: Any, **options: Any) -> int:
        """Count the round trips of a call."""
        before = self.proxy.round_trips
        call(*arguments, **options)
        return self.proxy.round_trips - before


@contextmanager
def line(dsn: str) -> Generator[Line]:
    """Yield one."""
    parts = conninfo_to_dict(dsn)
    with FaultProxy(int(str(parts["port"]))) as proxy:
        through = make_conninfo(dsn, host=HOST, port=proxy.port)
        with closing(psycopg.connect(through)) as connection:
            made = Line(proxy, connection)
            # The catalogs are asked once per process, schema and database.
            cancel_job("first", uow=made.uow, scheduler=MemoryScheduler())
            yield made


def test_a_call_waits_no_more_often_than_it_has_to(dsn: str) -> None:
    """By hand: one for each answer; BEGIN goes with the first statement, COMMIT with the last."""
    with line(dsn) as it:
        check_steps(it)


def test_it_waits_no_more_often_through_pgbouncer(
    postgres_server: PostgresServer, pgbouncer: PgBouncer
) -> None:
    """In transaction mode, where a transaction that waits holds a server connection."""
    with postgres_server.database() as dsn:  # A schema would be lost on the way.
        fill(dsn)
        with line(pgbouncer.dsn(dsn)) as it:
            check_steps(it)


def check_steps(it: Line) -> None:
    """Count the round trips of each."""
    scheduler = MemoryScheduler()
    assert it.trips(claim_contacts, "live", uow=it.uow, limit=1) == 1
    (contact,) = claim_contacts("live", uow=it.uow, limit=1)
    # An empty claim also reads the job's status.
    assert it.trips(claim_contacts, "first", uow=it.uow, limit=1) == 2
    assert it.trips(still_running, "live", uow=it.uow) == 1
    assert it.trips(settle_contact, "live", contact, ContactStatus.COMPLETED, uow=it.uow) == 1
    (contact,) = claim_contacts("live", uow=it.uow, limit=1)
    assert it.trips(settle_contact, "live", contact, ContactStatus.BUSY, uow=it.uow) == 3
    assert it.trips(append_contacts, "live", [{}, {}], uow=it.uow) == 3
    assert it.trips(finish_job, "live", uow=it.uow) == 2
    assert it.trips(start_job, "later", uow=it.uow) == 1
    it.connection.execute("UPDATE batch_jobs SET status = 'scheduled' WHERE id = 'later'")
    it.connection.commit()
    assert it.trips(cancel_job, "live", uow=it.uow, scheduler=scheduler) == 3
    assert it.trips(cancel_job, "later", uow=it.uow, scheduler=scheduler) == 4
    it.connection.execute("SELECT 1")
    assert it.trips(cancel_rows, "mine", uow=joining(it.connection)) == 3
    it.connection.commit()


def test_what_a_hook_and_a_removal_cost(dsn: str) -> None:
    """By hand: a transaction that claims, the hook, one that notes it; a note for each removal."""
    with line(dsn) as it:
        check_hooks(it)


def check_hooks(it: Line) -> None:
    """Count the round trips of each."""
    given: dict[str, Any] = {
        "uow": it.uow,
        "scheduler": MemoryScheduler(),
        "on_cancelled": lambda _: None,
    }
    # The cancel; the beginning, the claim, COMMIT; the note.
    assert it.trips(cancel_job, "live", **given) == 3 + 3 + 1
    # The removal is noted together with the beginning of the claim.
    assert it.trips(cancel_job, "later", **given) == 3 + 3 + 1
    for number in range(3):
        it.connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES (%s, 'scheduled', 's')",
            [f"owed-{number}"],
        )
        it.connection.commit()
        cancel_rows(f"owed-{number}", uow=it.uow)
    # However many are taken, the take is of six: the beginning, the records, and in a savepoint of
    # its own, which is two more, their jobs; COMMIT.
    del given["on_cancelled"]
    assert it.trips(reconcile, lease=timedelta(0), **given) == 6 + 1
