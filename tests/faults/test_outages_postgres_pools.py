"""Connections of a pool, or of PgBouncer, break while a job is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg_pool
import pytest

from batch_cancel import AlreadyTerminal, claim_contacts
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.domain.errors import Fault, StoreFailed
from tests.faults.cues import Step
from tests.faults.outages import FULL
from tests.faults.postgres_outages import SHUTDOWNS
from tests.faults.theatre import UNCHANGED, Theatre, opened
from tests.pairs import create_reference_tables
from tests.pgbouncer import PgBouncer
from tests.processes import wait_until
from tests.servers import PostgresServer


@contextmanager
def _pooled(theatre: Theatre, **more: Any) -> Generator[Any]:
    """Let the theatre's connections come from a pool, and lend the pool."""
    settings = {"application_name": "cancel", "connect_timeout": 2}
    options: dict[str, Any] = {"kwargs": settings, "open": False, "timeout": 10} | more
    if theatre.runner is None:
        with psycopg_pool.ConnectionPool(theatre.dsn, **options) as pool:
            theatre.connect = pool.connection
            yield pool
        return
    run = theatre.runner.run
    waiting_pool = psycopg_pool.AsyncConnectionPool(theatre.dsn, **options)
    run(waiting_pool.open())
    theatre.connect = waiting_pool.connection
    try:
        yield waiting_pool
    finally:
        run(waiting_pool.close())


def _wait(theatre: Theatre, pool: Any) -> None:
    """Wait until the pool is filled."""
    answer = pool.wait(10)
    if theatre.runner is not None:
        theatre.runner.run(answer)


def _check_pool(theatre: Theatre, pool: Any) -> None:
    """Every connection is back, in no transaction, and none is missing."""
    for _ in range(2):
        theatre.connections = 0
        with pytest.raises(AlreadyTerminal):
            theatre.cancel("another operation")
        assert theatre.connections == 1
    stats = pool.get_stats()
    assert stats.get("requests_waiting", 0) == 0
    assert stats["pool_size"] <= pool.max_size
    wait_until(lambda: _idle(theatre, pool), "the pool has all its connections back")


def _idle(theatre: Theatre, pool: Any) -> bool:
    if theatre.runner is not None:
        theatre.runner.run(_breathe())
    stats = pool.get_stats()
    return bool(stats["pool_available"] == stats["pool_size"] >= pool.min_size)


async def _breathe() -> None:
    """Let the tasks of a pool go on."""
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("step", [Step.LOCKED, Step.MARKED, Step.COMMIT_DONE])
def test_a_pool_is_as_before_after_a_backend_was_ended(burning: Theatre, step: Step) -> None:
    """Row "server shutdown 57P01": the broken connection is replaced, the others serve on."""
    with _pooled(burning, min_size=1, max_size=2) as pool:
        burning.at(step, burning.terminate)
        burning.check(burning.cancel())
        burning.at(Step.CONNECT, lambda: None)
        _check_pool(burning, pool)


@pytest.mark.parametrize("shutdown", SHUTDOWNS if FULL else ["fast"])
def test_a_pool_whose_connections_a_restart_has_broken_is_not_felt(
    burning: Theatre, shutdown: str
) -> None:
    """Row "server shutdown": each of them is passed over, however many they are."""
    with _pooled(burning, min_size=8) as pool:
        _wait(burning, pool)
        SHUTDOWNS[shutdown](burning.server)
        burning.server.start()
        burning.check(burning.cancel())
        _check_pool(burning, pool)


def test_a_pool_whose_server_is_gone_is_a_failure_that_changed_nothing(burning: Theatre) -> None:
    """Row "connection refused": all are passed over, and no new one is to be had in time."""
    with _pooled(burning, min_size=2, timeout=0.3) as pool:
        _wait(burning, pool)
        burning.server.stop()
        failure = burning.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
        burning.server.start()
        assert burning.state() == UNCHANGED
        burning.connect = None
        burning.finish()


def test_pool_timeout_is_a_failure_that_changed_nothing(theatre: Theatre) -> None:
    """Row "pool timeout": its only connection is held by somebody else."""
    with _pooled(theatre, min_size=1, max_size=1, timeout=0.2) as pool:
        _wait(theatre, pool)
        held = pool.getconn()
        if theatre.runner is not None:
            held = theatre.runner.run(held)
        failure = theatre.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
        assert "the pool returned no connection (PoolTimeout): check that the pool is open" in str(
            failure
        )
        assert theatre.state() == UNCHANGED
        given_back = pool.putconn(held)
        if theatre.runner is not None:
            theatre.runner.run(given_back)
        theatre.finish()
        _check_pool(theatre, pool)


def test_a_connection_that_can_not_be_given_back_raises_nothing_after_the_commit(
    theatre: Theatre, caplog: pytest.LogCaptureFixture
) -> None:
    """I13: whatever the pool's own trouble is, the cancellation stands; the log tells of it."""

    class Broken:
        """A pool that fails when it is given a connection back."""

        def __init__(self) -> None:
            self.connection: Any = None

        def __enter__(self) -> Any:
            self.connection = psycopg.connect(theatre.dsn)
            return self.connection

        def __exit__(self, *_: object) -> None:
            self.connection.close()
            message = "secret"
            raise RuntimeError(message)

        async def __aenter__(self) -> Any:
            self.connection = await psycopg.AsyncConnection.connect(theatre.dsn)
            return self.connection

        async def __aexit__(self, *_: object) -> None:
            await self.connection.close()
            message = "secret"
            raise RuntimeError(message)

    theatre.connect = Broken
    with caplog.at_level(logging.WARNING, "batch_cancel"):
        result = theatre.cancel()
    assert "committed, but the connection was not given back (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text
    theatre.connect = None
    theatre.check(result)


# PgBouncer ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pgbouncer_in_a_hurry(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """Yield a PgBouncer that has one connection, and does not wait for it long."""
    with PgBouncer(postgres_server, 1, "query_wait_timeout = 1\n") as bouncer:
        yield bouncer


@contextmanager
def _behind(bouncer: PgBouncer, server: PostgresServer, half: str) -> Generator[Theatre]:
    with opened(server, half, in_database=True) as theatre:
        settings: dict[str, Any] = {"application_name": "cancel", "prepare_threshold": None}
        kind = psycopg.AsyncConnection if theatre.runner else psycopg.Connection
        theatre.connect = lambda: kind.connect(bouncer.dsn(theatre.dsn), **settings)
        yield theatre


@pytest.mark.parametrize("step", [Step.LOCKED, Step.COMMIT_UNDONE])
def test_server_shutdown_57p01_behind_pgbouncer_is_retried(
    pgbouncer_in_a_hurry: PgBouncer, postgres_server: PostgresServer, half: str, step: Step
) -> None:
    """Row "57P01 retried once": PgBouncer tells of it in its own words, with one SQLSTATE."""
    with _behind(pgbouncer_in_a_hurry, postgres_server, half) as theatre:
        theatre.at(step, theatre.terminate)
        theatre.check(theatre.cancel())
        assert theatre.connections == 4


def test_pool_timeout_of_pgbouncer_is_a_failure_that_changed_nothing(
    pgbouncer_in_a_hurry: PgBouncer, postgres_server: PostgresServer
) -> None:
    """Row "pool timeout": PgBouncer has no connection for us, and says so after a second."""
    with _behind(pgbouncer_in_a_hurry, postgres_server, "asyncio") as theatre:
        with psycopg.connect(pgbouncer_in_a_hurry.dsn(theatre.dsn)) as other:
            other.execute("SELECT 1")
            failure = theatre.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
        assert "query_wait_timeout" in str(failure)
        assert theatre.connections == 1
        assert theatre.state() == UNCHANGED
        theatre.finish()


def test_pool_timeout_of_pgbouncer_at_a_workers_only_string_has_changed_nothing(
    pgbouncer_in_a_hurry: PgBouncer, postgres_server: PostgresServer
) -> None:
    """Row "pool timeout": the string holds its COMMIT, but was sent to no server."""
    with postgres_server.database() as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            create_reference_tables(connection)
        through = pgbouncer_in_a_hurry.dsn(dsn)
        uow = PostgresUnitOfWork(lambda: psycopg.connect(through, prepare_threshold=None))
        assert claim_contacts("job", uow=uow, limit=1) == []
        with psycopg.connect(through) as other:
            other.execute("SELECT 1")
            with pytest.raises(StoreFailed, match="query_wait_timeout") as failure:
                claim_contacts("job", uow=uow, limit=1)
        assert (failure.value.outcome, failure.value.fault) == ("unchanged", Fault.LATE)
