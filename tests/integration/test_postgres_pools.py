"""Pools, tasks that are called off, PgBouncer: each connection is given back as it was."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobNotFound,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresUnitOfWork,
)
from tests.integration.own_tables import HALVES, AsyncRecorder, Half, Recorder, Tables, tables
from tests.integration.running_job import TIMEOUTS, is_cancelled, made, restore
from tests.pgbouncer import PgBouncer

__all__ = ["made"]


@contextmanager
def pool_of_one(dsn: str, **settings: Any) -> Generator[ConnectionPool[Any]]:
    """Yield a pool of one connection, which must be idle and the same at the end."""
    with ConnectionPool(dsn, min_size=1, max_size=1, kwargs=settings, open=True) as pool:
        pool.wait()
        with pool.connection() as connection:
            pid = connection.info.backend_pid
        yield pool
        with pool.connection() as connection:
            assert connection.info.transaction_status == TransactionStatus.IDLE
            assert connection.info.backend_pid == pid
        check(pool.get_stats())


def check(stats: dict[str, int]) -> None:
    """See that nothing of a pool of one is lent, lost or broken."""
    assert stats["pool_size"] == 1
    assert stats["pool_available"] == 1
    assert stats.get("returns_bad", 0) == 0
    assert stats.get("connections_lost", 0) == 0


def test_a_pool_gets_its_connection_back(made: Tables) -> None:
    """In good order, and the very same: after an answer, a refusal, a failure, a hostile id."""
    with pool_of_one(made.dsn) as pool:
        uow = PostgresUnitOfWork(pool.connection)
        broken = attrs.evolve(made.schema, contacts="no_such_table")
        with pytest.raises(CancelFailed):
            cancel_job(
                "job", uow=PostgresUnitOfWork(pool.connection, broken), scheduler=Recorder()
            )
        for refused in ("nope", "\ud800", "%s"):
            with pytest.raises(JobNotFound):
                cancel_job(refused, uow=uow, scheduler=Recorder())
        assert not is_cancelled(made)
        cancel_job("job", uow=uow, scheduler=Recorder())
        with pytest.raises(AlreadyTerminal):
            cancel_job("job", uow=uow, scheduler=Recorder())
        assert is_cancelled(made)


def test_an_asyncio_pool_gets_its_connection_back(made: Tables) -> None:
    """The same for the asyncio half."""

    async def run() -> None:
        async with async_pool_of_one(made.dsn) as pool:
            uow = AsyncPostgresUnitOfWork(pool.connection)
            broken = attrs.evolve(made.schema, contacts="no_such_table")
            scheduler = AsyncRecorder(Recorder())
            bad = AsyncPostgresUnitOfWork(pool.connection, broken)
            with pytest.raises(CancelFailed):
                await cancel_job_async("job", uow=bad, scheduler=scheduler)
            for refused in ("nope", "\ud800", "%s"):
                with pytest.raises(JobNotFound):
                    await cancel_job_async(refused, uow=uow, scheduler=scheduler)
            await cancel_job_async("job", uow=uow, scheduler=scheduler)
            with pytest.raises(AlreadyTerminal):
                await cancel_job_async("job", uow=uow, scheduler=scheduler)

    asyncio.run(run())
    assert is_cancelled(made)


@asynccontextmanager
async def async_pool_of_one(dsn: str) -> AsyncGenerator[AsyncConnectionPool[Any]]:
    """Yield a pool of one connection, which must be idle and the same at the end."""
    async with AsyncConnectionPool(dsn, min_size=1, max_size=1, open=False) as pool:
        await pool.wait()
        async with pool.connection() as connection:
            pid = connection.info.backend_pid
        yield pool
        async with pool.connection() as connection:
            assert connection.info.transaction_status == TransactionStatus.IDLE
            assert connection.info.backend_pid == pid
        check(pool.get_stats())


def test_an_empty_pool_is_a_failure_that_may_pass(made: Tables) -> None:
    """Nobody gives a connection back in time: nothing was changed, ask again."""
    with ConnectionPool(made.dsn, min_size=1, max_size=1, timeout=0.05, open=True) as pool:
        pool.wait()
        with pool.connection(), pytest.raises(CancelFailed) as failure:
            cancel_job("job", uow=PostgresUnitOfWork(pool.connection), scheduler=Recorder())
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
        assert not is_cancelled(made)


# Called off --------------------------------------------------------------------------------------


async def cancelled_in_wait(uow: AsyncPostgresUnitOfWork, wait: int) -> str:
    """Cancel the job in a task that is called off in this wait; tell how the task ended."""
    scheduler = AsyncRecorder(Recorder())
    waits = 0

    class Counted:
        """The awaitable that calls its own task off."""

        def __await__(self) -> Generator[Any, Any, Any]:
            nonlocal waits
            inner = cancel_job_async("job", uow=uow, scheduler=scheduler).__await__()
            error: BaseException | None = None
            while True:
                try:
                    awaited = inner.send(None) if error is None else inner.throw(error)
                except StopIteration as end:
                    return end.value
                waits += 1
                if waits == wait:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                error = None
                try:
                    yield awaited
                except asyncio.CancelledError as it:
                    error = it

    async def run() -> None:
        await Counted()

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if task.cancelled():
        return "cancelled"
    task.result()
    return "answered"


@pytest.mark.parametrize("kind", ["pool", "connections"])
def test_a_task_cancelled_in_any_wait_leaves_all_in_order(made: Tables, kind: str) -> None:
    """Nothing changed or fully cancelled, CancelledError out of it, the pool as it was."""
    seen: set[bool] = set()

    async def story(uow: AsyncPostgresUnitOfWork, pool: AsyncConnectionPool[Any] | None) -> None:
        for wait in itertools.count(1):
            how = await cancelled_in_wait(uow, wait)
            if how == "answered":
                assert is_cancelled(made)
                assert wait > 3
                return
            seen.add(is_cancelled(made))
            restore(made)
            if pool is not None:
                async with pool.connection() as connection:
                    assert connection.info.transaction_status == TransactionStatus.IDLE
                assert pool.get_stats()["pool_size"] == 1

    async def run() -> None:
        if kind == "connections":
            connect = psycopg.AsyncConnection.connect
            await story(AsyncPostgresUnitOfWork(lambda: connect(made.dsn)), None)
            return
        async with AsyncConnectionPool(made.dsn, min_size=1, max_size=1, open=False) as pool:
            await pool.wait()
            await story(AsyncPostgresUnitOfWork(pool.connection), pool)

    asyncio.run(run())
    assert False in seen
    others = made.rows(
        "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
        "WHERE c.oid = 'batch_jobs'::regclass"
    )
    assert others == [(0,)]


# PgBouncer ---------------------------------------------------------------------------------------


@HALVES
def test_it_works_through_pgbouncer(
    pgbouncer: PgBouncer, postgres_database: str, half: Half
) -> None:
    """In transaction mode, on few server connections, with psycopg's own defaults."""
    through = pgbouncer.dsn(postgres_database)
    with tables(postgres_database) as made:
        jobs = [f"job {number}" for number in range(12)]
        for job in jobs:
            made.add_job(job, "running", {"ann": "pending"})
        for threshold in (5, 0):
            for job in jobs[:: 1 if threshold else 2]:
                made.rows("UPDATE batch_jobs SET status = 'running' WHERE id = {}", job)
                made.rows("UPDATE batch_contacts SET status = 'busy' WHERE batch_job_id = {}", job)
                uow = half.uow(through, prepare_threshold=threshold)
                assert half.cancel(uow, job).contacts_cancelled == 1


def test_a_pool_works_through_pgbouncer(pgbouncer: PgBouncer, postgres_database: str) -> None:
    """Many cancels on one client connection, whichever server connection each meets."""
    with tables(postgres_database) as made:
        through = pgbouncer.dsn(postgres_database)
        with (
            pool_of_client(through) as one,
            pool_of_client(through) as other,
        ):
            for number in range(12):
                made.add_job(str(number), "running", {"ann": "pending"})
                # A transaction of the other client's holds one server connection meanwhile.
                mine, others = (one, other) if number % 2 else (other, one)
                with others.connection() as connection:
                    connection.execute("SELECT 1", prepare=False)
                    uow = PostgresUnitOfWork(mine.connection)
                    result = cancel_job(str(number), uow=uow, scheduler=Recorder())
                    assert result.contacts_cancelled == 1
            for pool in (one, other):
                with pool.connection() as connection:
                    cursor = connection.execute(TIMEOUTS, prepare=False)
                    assert cursor.fetchone() == ("0", "0", "0")


@contextmanager
def pool_of_client(dsn: str) -> Generator[ConnectionPool[Any]]:
    """Yield a pool of one connection to PgBouncer."""
    with ConnectionPool(dsn, min_size=1, max_size=1, open=True) as pool:
        yield pool
