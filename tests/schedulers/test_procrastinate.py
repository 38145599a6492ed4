"""Our adapter for Procrastinate, against its real client and real workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork, joining
from batch_cancel.adapters.procrastinate import (
    AsyncProcrastinateScheduler,
    ProcrastinateScheduler,
)
from batch_cancel.ports import SchedulerUnavailable
from tests.processes import HOST, free_port
from tests.schedulers.on_postgres import PostgresRig, at_work
from tests.schedulers.races import race

FAR = 4e9
"""Years ahead."""


@pytest.fixture(scope="module")
def rig() -> Iterator[PostgresRig]:
    """Yield Procrastinate at work."""
    with at_work() as rig:
        yield rig


@pytest.fixture
def ours(rig: PostgresRig) -> ProcrastinateScheduler:
    """Yield our adapter."""
    return rig.ours()


@pytest.fixture
def start() -> str:
    """Return a name that no other test has."""
    return f"start-{uuid4().hex}"


def test_the_private_names_are_those_of_the_installed_version(rig: PostgresRig) -> None:
    """The table, its columns and the statuses that our statements name; they call no function."""
    assert rig.ask("private_names") == {"waits": "todo", "cancelled": "cancelled"}
    with psycopg.connect(rig.server.dsn()) as connection:
        columns = connection.execute(
            "SELECT column_name, udt_name FROM information_schema.columns"
            " WHERE table_name = 'procrastinate_jobs'"
        ).fetchall()
        statuses = connection.execute(
            "SELECT enumlabel FROM pg_enum WHERE enumtypid = 'procrastinate_job_status'::regtype"
        ).fetchall()
    assert {
        ("id", "int8"),
        ("status", "procrastinate_job_status"),
        ("args", "jsonb"),
        ("attempts", "int4"),
    } <= set(columns)
    assert {("todo",), ("cancelled",)} <= set(statuses)


def test_what_is_cancelled_never_runs(
    rig: PostgresRig, ours: ProcrastinateScheduler, start: str
) -> None:
    """True; and when its time has come and gone, it has not run, and Procrastinate says why."""
    due = time.time() + 1
    job_id = rig.schedule(start, due)
    assert ours.cancel(job_id, "operation") is True
    rig.schedule(f"after-{start}", due)
    rig.wait_ran(f"after-{start}")
    rig.settle(f"past-{start}")
    assert rig.ran(start) == 0
    assert rig.ask("status", job_id) == "cancelled"


def test_what_runs_is_left_to_run(
    rig: PostgresRig, ours: ProcrastinateScheduler, start: str
) -> None:
    """False while it runs and when it has finished; it runs once."""
    held = f"held-{start}"
    job_id = rig.schedule(held)
    rig.wait_ran(held)
    assert ours.cancel(job_id, "operation") is False
    rig.release(held)
    rig.settle(held)
    assert ours.cancel(job_id, "another") is False
    assert rig.ran(held) == 1


def test_what_waits_for_its_retry_has_fired(
    rig: PostgresRig, ours: ProcrastinateScheduler, start: str
) -> None:
    """False, each time; and it waits no more."""
    name = f"fails-{start}"
    job_id = rig.schedule(name)
    rig.wait_ran(name)
    while rig.ask("status", job_id) != "todo":
        time.sleep(0.01)
    assert ours.cancel(job_id, "operation") is False
    assert rig.ask("status", job_id) == "cancelled"
    assert ours.cancel(job_id, "operation") is False


@pytest.mark.parametrize(
    "unknown", ["", "0", "-1", "9" * 18, "9" * 19, "9" * 30, "1\n", "x", "\u0661"]
)
def test_what_is_unknown_is_not_taken_back(ours: ProcrastinateScheduler, unknown: str) -> None:
    """False; and for what can't be an id."""
    assert ours.cancel(unknown, "operation") is False


def test_the_same_operation_has_the_same_answer(
    rig: PostgresRig, ours: ProcrastinateScheduler, start: str
) -> None:
    """The one that took it back did, however often it asks; any other did not."""
    job_id = rig.schedule(start, FAR)
    assert ours.cancel(job_id, "operation") is True
    assert ours.cancel(job_id, "another") is False
    assert ours.cancel(job_id, "operation") is True


def test_a_lost_answer_does_not_change_the_answer(rig: PostgresRig, start: str) -> None:
    """The commit has happened, its answer is lost, and asked again it is told the same."""
    assert rig.replies_dropped(5, start) == 5


def test_no_answer_is_unavailable() -> None:
    """Nobody listens: not False, which would say that there was nothing."""
    dsn = f"host={HOST} port={free_port()} connect_timeout=2"
    scheduler = ProcrastinateScheduler(PostgresUnitOfWork(lambda: psycopg.connect(dsn)))
    with pytest.raises(SchedulerUnavailable):
        scheduler.cancel("1", "operation")


def test_the_caller_s_rollback_undoes_it(rig: PostgresRig, start: str) -> None:
    """In the caller's transaction it is the caller's commit that cancels."""
    job_id = rig.schedule(start, FAR)
    with psycopg.connect(rig.server.dsn()) as connection:
        assert ProcrastinateScheduler(joining(connection)).cancel(job_id, "operation") is True
        connection.rollback()
    assert rig.ask("status", job_id) == "todo"
    with psycopg.connect(rig.server.dsn()) as connection:
        assert ProcrastinateScheduler(joining(connection)).cancel(job_id, "operation") is True
    assert rig.ask("status", job_id) == "cancelled"


def test_the_asyncio_twin_answers_the_same(rig: PostgresRig, start: str) -> None:
    """True, the same again, and False for another operation."""
    job_id = rig.schedule(start, FAR)
    dsn = rig.server.dsn()

    async def cancel() -> list[bool]:
        uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn))
        twin = AsyncProcrastinateScheduler(uow)
        return [await twin.cancel(job_id, it) for it in ("one", "one", "two")]

    assert asyncio.run(cancel()) == [True, True, False]


def test_races_are_won_by_one(rig: PostgresRig, ours: ProcrastinateScheduler, start: str) -> None:
    """Aimed at the worker's pick-up, every answer is right, and both kinds of answer occur."""
    tally = race(rig, lambda it: ours.cancel(rig.ids[it], f"operation {it}"), 60, start)
    assert tally.is_exact, tally
    assert tally.taken_back, tally
    assert tally.left, tally
