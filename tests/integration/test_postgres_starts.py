"""A deferred start that fires on Postgres: compared with what the job names, under its lock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import start_job, start_job_async
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.domain.errors import StoreFailed
from tests import data_layers
from tests.integration.own_tables import REFERENCE, Tables, tables
from tests.processes import wait_until
from tests.servers import PostgresServer

Start = Callable[[str], bool]


@pytest.fixture
def made(postgres_server: PostgresServer) -> Iterator[Tables]:
    """Yield tables with a scheduled job."""
    with postgres_server.schema() as dsn, tables(dsn) as lent:
        lent.add_job("job", "scheduled", {"ann": "pending"}, deferred_id="new")
        yield lent


@pytest.fixture(params=["psycopg", "psycopg-async", "sqlalchemy", "sqlalchemy-async"])
def start(request: pytest.FixtureRequest, made: Tables) -> Start:
    """Return a start of the job by a deferred start, over each adapter."""
    return starts(made, request.param)


def starts(made: Tables, adapter: str) -> Start:
    """Return a start of the job by a deferred start."""
    uow: Any
    match adapter:
        case "psycopg":
            uow = PostgresUnitOfWork(lambda: psycopg.connect(made.dsn), made.schema)
        case "psycopg-async":
            uow = AsyncPostgresUnitOfWork(
                lambda: psycopg.AsyncConnection.connect(made.dsn), made.schema
            )
        case _:
            uow = data_layers.postgres_uow(made.dsn, is_async=adapter.endswith("-async"))
    if not adapter.endswith("-async"):
        return lambda deferred_id: start_job("job", uow=uow, deferred_id=deferred_id)
    return lambda deferred_id: asyncio.run(
        start_job_async("job", uow=uow, deferred_id=deferred_id)
    )


def status(made: Tables) -> object:
    """Return the job's status."""
    [[found]] = made.rows("SELECT status FROM batch_jobs")
    return found


def test_a_start_waits_for_a_rescheduling(made: Tables, start: Start) -> None:
    """What the job names after the wait counts: the old start does not start it."""
    with ThreadPoolExecutor(1) as threads, psycopg.connect(made.dsn) as holder:
        holder.execute("UPDATE batch_jobs SET scheduled_job_id = 'newer'")
        started = threads.submit(start, "new")
        wait_until(lambda: started.done() or is_somebody_waiting(made), "the start waits")
        assert not started.done()
        holder.commit()
        assert started.result() is False
    assert status(made) == "scheduled"
    assert start("newer") is True


def is_somebody_waiting(made: Tables) -> bool:
    """Check whether somebody in this database waits for a lock of the jobs."""
    [[waiting]] = made.rows(
        "SELECT count(*) FROM pg_locks AS held JOIN pg_stat_activity AS at USING (pid) "
        "WHERE NOT held.granted AND at.query LIKE '%batch_jobs%'"
    )
    return bool(waiting)


WRITER = (
    "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN {}; END'; "
    "CREATE TRIGGER looks BEFORE UPDATE ON batch_jobs FOR EACH ROW EXECUTE FUNCTION look()"
)


def test_triggers_make_no_error_of_an_old_start(made: Tables, start: Start) -> None:
    """The job was not written because it names another, and not because of a trigger."""
    made.connection.execute(WRITER.format("new").encode())
    assert start("old") is False
    assert start("new") is True
    assert start("new") is False


def test_a_start_that_a_trigger_skips_is_an_error(made: Tables, start: Start) -> None:
    """It was this job's, and it is not running."""
    made.connection.execute(WRITER.format("NULL").encode())
    assert start("old") is False
    with pytest.raises(StoreFailed, match="trigger"):
        start("new")


@pytest.mark.parametrize("adapter", ["psycopg", "psycopg-async"])
def test_without_a_column_the_job_s_own_id_is_its_start(
    postgres_server: PostgresServer, adapter: str
) -> None:
    """As a cancel takes it."""
    schema = attrs.evolve(REFERENCE, job_deferred_id=None)
    with postgres_server.schema() as dsn, tables(dsn, schema) as made:
        made.add_job("job", "scheduled")
        start = starts(made, adapter)
        assert start("another") is False
        assert start("job") is True


@pytest.mark.parametrize("kind", ["uuid", "char(40)", "bigint"])
def test_a_start_is_compared_as_the_text_that_names_it(
    postgres_server: PostgresServer, kind: str
) -> None:
    """Of whatever type the column is."""
    name = {"uuid": "10000000-0000-4000-8000-00000000000a", "bigint": "42"}.get(kind, "start")
    with postgres_server.schema() as dsn, tables(dsn, deferred_type=kind) as made:
        made.add_job("job", "scheduled", deferred_id=name)
        start = starts(made, "psycopg")
        for other in ("no uuid", "41", f"{name} ", name.upper() if name.upper() != name else "0"):
            assert start(other) is False
        assert start(name) is True
