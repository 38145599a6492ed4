"""Many jobs on Postgres: two bulks at once, beside workers, and a killed one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from batch_cancel import (
    BulkResult,
    ContactStatus,
    Removal,
    cancel_jobs,
    claim_contacts,
    reconcile,
    settle_contact,
)
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.sqlalchemy import SqlAlchemyUnitOfWork
from batch_cancel.adapters.sqlite import SqliteScheduler
from tests import data_layers
from tests.integration.bulk_tables import ALL, bulk, counted, fill, rows, uow_of
from tests.integration.own_tables import (
    Blocking,
    with_options,
)
from tests.processes import wait_until

__all__ = ["rows"]


# Beside others -----------------------------------------------------------------------------------


_BOTH_WAIT = """
SELECT count(DISTINCT pid) = 2
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE NOT granted AND application_name = 'two_bulks'
"""


def by_psycopg(dsn: str) -> PostgresUnitOfWork:
    """Return a unit of work on psycopg."""
    return uow_of(dsn)


def by_sqlalchemy(dsn: str) -> SqlAlchemyUnitOfWork:
    """Return a unit of work over SQLAlchemy."""
    return SqlAlchemyUnitOfWork(data_layers.postgres_engine(dsn), data_layers.TABLES)


@pytest.mark.parametrize("opened", [by_psycopg, by_sqlalchemy])
def test_two_bulks_beside_each_other_never_wait_in_a_circle(
    rows: psycopg.Connection[Any],
    postgres_schema: str,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[[str], Any],
) -> None:
    """Whatever the order in which each plan reads the rows, both lock them by id."""
    fill(rows, 41, 1)  # The last id comes first in the table.
    plans = (
        ("enable_seqscan=off", "enable_bitmapscan=off"),
        ("enable_indexscan=off", "enable_indexonlyscan=off", "enable_bitmapscan=off"),
    )
    dsns = [
        with_options(postgres_schema, "application_name=two_bulks", *settings)
        for settings in plans
    ]
    uows, pauses = list(map(opened, dsns)), list[int]()
    monkeypatch.setattr(type(uows[0]), "pause", lambda _, attempts: pauses.append(attempts))
    results = dict[str, BulkResult]()

    def cancel(name: str, uow: Any) -> None:
        results[name] = bulk(Blocking(), uow, ALL, operation_id=name)

    threads = [
        threading.Thread(target=cancel, args=(name, uow))
        for name, uow in zip(("one", "two"), uows, strict=True)
    ]
    with psycopg.connect(postgres_schema) as holder:
        holder.execute("SELECT FROM batch_jobs WHERE id = 'job-0020' FOR UPDATE")
        for thread in threads:
            thread.start()
        wait_until(lambda: rows.execute(_BOTH_WAIT).fetchone() == (True,), "both wait")
    for thread in threads:
        thread.join(60)
    assert pauses == []
    assert sorted(it.cancelled for it in results.values()) == [0, 41]
    assert sorted(sum(it.refused.values()) for it in results.values()) == [0, 41]
    assert counted(rows, "batch_contacts") == {"cancelled": 41}


def test_a_bulk_beside_workers_strands_no_contact(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """Workers claim and settle meanwhile; no contact of a cancelled job stays open."""
    fill(rows, 60, 20)
    rows.execute("UPDATE batch_jobs SET status = 'running'")
    is_over, calls, errors = threading.Event(), list[tuple[str, str]](), list[BaseException]()

    def work(worker: int) -> None:
        uow = uow_of(postgres_schema)
        try:
            turn = worker
            while not is_over.is_set():
                job_id = f"job-{turn % 60:04}"
                turn += 7
                for contact_id in claim_contacts(job_id, limit=2, uow=uow):
                    calls.append((job_id, contact_id))
                    outcome = ContactStatus.BUSY if turn % 2 else ContactStatus.COMPLETED
                    settle_contact(job_id, contact_id, outcome, uow=uow)
        except BaseException as error:  # noqa: BLE001  # It is looked at below.
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    wait_until(lambda: len(calls) > 20, "workers work")
    result = bulk(Blocking(), uow_of(postgres_schema), ALL, rate=100)
    is_over.set()
    for worker in workers:
        worker.join(60)
    assert errors == []
    assert (result.cancelled, result.failures) == (60, ())
    assert counted(rows, "batch_jobs") == {"cancelled": 60}
    assert counted(rows, "batch_contacts").keys() <= {"cancelled", "completed"}


# Killed ------------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
import psycopg
from batch_cancel import cancel_jobs
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.sqlite import SqliteScheduler

dsn, path, removals = sys.argv[1:]
clock = SqliteScheduler(path)

class Killer:
    calls = 0
    def cancel(self, deferred_id, operation_id):
        self.calls += 1
        if self.calls > int(removals):
            os.kill(os.getpid(), signal.SIGKILL)
        return clock.cancel(deferred_id, operation_id)

cancel_jobs(
    [f"job-{number:04}" for number in range(1000)],
    uow=PostgresUnitOfWork(lambda: psycopg.connect(dsn)),
    scheduler=Killer(),
    operation_id="op",
)
"""


@pytest.mark.repeats
def test_a_killed_bulk_is_resumed(
    rows: psycopg.Connection[Any], postgres_schema: str, tmp_path: Any
) -> None:
    """1,000 jobs of 100 contacts: every job once, nothing twice, the counts exact."""
    fill(rows, 1000, 100)
    path = str(tmp_path / "starts.db")
    clock = SqliteScheduler(path)
    later = datetime.now(UTC) + timedelta(days=1)
    starts = [f"start-{number:04}" for number in range(1000)]
    for start in starts[::10]:
        clock.schedule(start, later)
    command = [sys.executable, "-c", _KILLED, postgres_schema, path, "450"]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # Killed in the third slice: after its commit, before its removals are noted.
    assert counted(rows, "batch_jobs") == {"cancelled": 600, "scheduled": 400}
    before = rows.execute(
        "SELECT batch_job_id, cancelled_at, contacts_cancelled FROM batch_cancellations"
    ).fetchall()
    touched = rows.execute(
        "SELECT id, xmin::text FROM batch_contacts WHERE status = 'cancelled'"
    ).fetchall()

    uow = uow_of(postgres_schema)
    ids = [f"job-{number:04}" for number in range(1000)]
    result = cancel_jobs(ids, uow=uow, scheduler=clock, operation_id="op")

    assert (result.cancelled, result.replayed, result.left) == (400, 600, 0)
    assert (result.contacts_cancelled, result.failures) == (40_000, ())
    assert (result.removals[Removal.REMOVED], result.removals[Removal.ABSENT]) == (100, 900)
    assert counted(rows, "batch_jobs") == {"cancelled": 1000}
    assert counted(rows, "batch_contacts") == {"cancelled": 100_000}
    after = rows.execute(
        "SELECT batch_job_id, cancelled_at, contacts_cancelled FROM batch_cancellations"
    ).fetchall()
    assert len(after) == 1000
    assert set(before) <= set(after)
    assert {contacts for *_, contacts in after} == {100}
    still = rows.execute(
        "SELECT id, xmin::text FROM batch_contacts WHERE status = 'cancelled'"
    ).fetchall()
    assert set(touched) <= set(still)
    assert not clock.waiting_among(set(starts))
    assert reconcile(uow=uow, scheduler=clock, lease=timedelta(0)) == []
