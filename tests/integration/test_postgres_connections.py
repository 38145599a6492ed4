"""Connections of every kind, pools, PgBouncer: what `connect` gives is used and given back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import attrs
import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, namedtuple_row, scalar_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobNotFound,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresUnitOfWork,
    joining,
    joining_async,
)
from tests.integration.test_postgres_tables import (
    HALVES,
    AsyncRecorder,
    Half,
    Recorder,
    Tables,
    tables,
)
from tests.pgbouncer import PgBouncer
from tests.servers import PostgresServer

FACTORIES: dict[str, dict[str, Any]] = {
    "default": {},
    "dict_row": {"row_factory": dict_row},
    "scalar_row": {"row_factory": scalar_row},
    "namedtuple_row": {"row_factory": namedtuple_row},
    "autocommit": {"autocommit": True},
    "client cursor": {"cursor_factory": psycopg.ClientCursor},
    "raw cursor": {"cursor_factory": psycopg.RawCursor},
    "prepared at once": {"prepare_threshold": 0},
    "never prepared": {"prepare_threshold": None},
    "everything": {
        "row_factory": dict_row,
        "autocommit": True,
        "cursor_factory": psycopg.RawCursor,
        "prepare_threshold": 0,
    },
}


@pytest.fixture
def made(postgres_server: PostgresServer) -> Iterator[Tables]:
    """Lend tables with one running job of two contacts."""
    with postgres_server.schema() as dsn, tables(dsn) as made:
        made.add_job("job", "running", {"ann": "pending", "bob": "completed"})
        yield made


def is_cancelled(made: Tables) -> bool:
    """Tell whether the job is cancelled; it is so fully, or not at all."""
    state = (made.status("job"), made.contacts("job"), len(made.records()))
    if state == ("running", {"ann": "pending", "bob": "completed"}, 0):
        return False
    assert state == ("cancelled", {"ann": "cancelled", "bob": "completed"}, 1)
    return True


def restore(made: Tables) -> None:
    """Make the job run again, with no history."""
    made.rows("DELETE FROM batch_cancellations")
    made.rows("UPDATE batch_jobs SET status = 'running'")
    made.rows("UPDATE batch_contacts SET status = 'pending' WHERE label = 'ann'")


# Kinds -------------------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize("settings", FACTORIES.values(), ids=FACTORIES)
def test_any_connection_will_do(made: Tables, half: Half, settings: dict[str, Any]) -> None:
    """The caller's factories and defaults do not matter; each cancel takes a connection anew."""
    uow = half.uow(made.dsn, **settings)
    result = half.cancel(uow, "job", operation_id="op-1")
    assert (result.batch_job_id, result.contacts_cancelled) == ("job", 1)
    assert is_cancelled(made)
    assert half.cancel(uow, "job", operation_id="op-1").replayed
    with pytest.raises(AlreadyTerminal) as refusal:
        half.cancel(uow, "job")
    assert refusal.value.contacts_cancelled == 1
    with pytest.raises(JobNotFound):
        half.cancel(uow, "nope")


@pytest.mark.parametrize("settings", FACTORIES.values(), ids=FACTORIES)
def test_any_connection_can_be_joined(made: Tables, settings: dict[str, Any]) -> None:
    """As long as it is in a transaction, or begins one by itself."""
    with psycopg.connect(made.dsn, **settings) as connection, connection.transaction():
        psycopg.Cursor(connection).execute("SELECT 1")
        cancellation = cancel_rows("job", uow=joining(connection))
        assert cancellation.record.contacts_cancelled == 1
        assert not is_cancelled(made)
    assert is_cancelled(made)


@pytest.mark.parametrize("hostile", ["nope", "042", str(10**30), "%s", "\ud800"])
def test_a_hostile_id_leaves_a_joined_transaction_as_it_was(
    postgres_server: PostgresServer, hostile: str
) -> None:
    """Postgres choked on it within a savepoint: the caller goes on, and commits his own work."""
    with postgres_server.schema() as dsn, tables(dsn, id_type="bigint") as made:
        with psycopg.connect(dsn) as connection:
            connection.execute("INSERT INTO batch_jobs (id, status) VALUES (42, 'running')")
            with pytest.raises(JobNotFound):
                cancel_rows(hostile, uow=joining(connection))
            cancel_rows("42", uow=joining(connection))
        assert made.status("42") == "cancelled"


@HALVES
def test_a_connection_is_closed_after_use(made: Tables, half: Half) -> None:
    """After an answer as after a failure."""
    given: list[psycopg.Connection[Any] | psycopg.AsyncConnection[Any]] = []
    uow: PostgresUnitOfWork | AsyncPostgresUnitOfWork
    if half.uow(made.dsn).__class__ is PostgresUnitOfWork:

        def connect() -> psycopg.Connection[Any]:
            given.append(connection := psycopg.connect(made.dsn))
            return connection

        uow = PostgresUnitOfWork(connect)
    else:

        async def connect_async() -> psycopg.AsyncConnection[Any]:
            given.append(connection := await psycopg.AsyncConnection.connect(made.dsn))
            return connection

        uow = AsyncPostgresUnitOfWork(connect_async)
    half.cancel(uow, "job")
    for refused in ("job", "nope"):
        with pytest.raises((AlreadyTerminal, JobNotFound)):
            half.cancel(uow, refused)
    assert [connection.closed for connection in given] == [True, True, True]


# A connection that is in use ---------------------------------------------------------------------


def test_a_connection_in_a_transaction_is_refused(made: Tables) -> None:
    """Committing it would commit the caller's work: it is left to him as it was."""
    with psycopg.connect(made.dsn) as connection:
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('mine', 'pending')")
        uow = PostgresUnitOfWork(lambda: nullcontext(connection))
        with pytest.raises(CancelFailed, match=r"use joining\(connection\)") as failure:
            cancel_job("job", uow=uow, scheduler=Recorder())
        assert failure.value.outcome == "unchanged"
        assert not failure.value.retryable
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        connection.rollback()
    assert not is_cancelled(made)
    assert made.rows("SELECT id FROM batch_jobs WHERE id = 'mine'") == []


def test_an_asyncio_connection_in_a_transaction_is_refused(made: Tables) -> None:
    """The same for the asyncio half."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(made.dsn) as connection:
            await connection.execute("SELECT 1")
            uow = AsyncPostgresUnitOfWork(lambda: nullcontext(connection))
            with pytest.raises(CancelFailed, match=r"use joining\(connection\)"):
                await cancel_job_async("job", uow=uow, scheduler=AsyncRecorder(Recorder()))
            assert connection.info.transaction_status == TransactionStatus.INTRANS

    asyncio.run(run())
    assert not is_cancelled(made)


# Timeouts ----------------------------------------------------------------------------------------

TIMEOUTS = (
    "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), "
    "current_setting('idle_in_transaction_session_timeout')"
)


@HALVES
def test_timeouts_hold_within_our_own_transaction(made: Tables, half: Half) -> None:
    """As given to the unit of work, to the millisecond."""
    seen: list[Any] = []

    def look(call: Any, repositories: Any) -> None:
        cursor = call(repositories.jobs.execute, TIMEOUTS, {})
        seen.append(call(cursor.fetchone))

    half.begun(half.uow(made.dsn), look)
    assert seen == [("5s", "1min", "1min")]


def test_timeouts_end_with_our_transaction(made: Tables) -> None:
    """The connection's own are in force again, whether the cancel succeeded or not."""
    with psycopg.connect(made.dsn, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '7s'")
        before = connection.execute(TIMEOUTS).fetchone()
        uow = PostgresUnitOfWork(lambda: nullcontext(connection))
        cancel_job("job", uow=uow, scheduler=Recorder())
        assert connection.execute(TIMEOUTS).fetchone() == before == ("7s", "0", "0")
        with pytest.raises(JobNotFound):
            cancel_job("nope", uow=uow, scheduler=Recorder())
        assert connection.execute(TIMEOUTS).fetchone() == before


def test_asyncio_timeouts_end_with_our_transaction(made: Tables) -> None:
    """The same for the asyncio half."""

    async def run() -> None:
        connected = psycopg.AsyncConnection.connect(made.dsn, autocommit=True)
        async with await connected as connection:
            await connection.execute("SET statement_timeout = '7s'")
            uow = AsyncPostgresUnitOfWork(lambda: nullcontext(connection))
            await cancel_job_async("job", uow=uow, scheduler=AsyncRecorder(Recorder()))
            cursor = await connection.execute(TIMEOUTS)
            assert await cursor.fetchone() == ("0", "7s", "0")

    asyncio.run(run())


def test_joining_sets_no_timeouts(made: Tables) -> None:
    """In his transaction the caller's own are in force, during the cancel and after."""
    with psycopg.connect(made.dsn) as connection:
        connection.execute("SET LOCAL lock_timeout = '3s'")
        with joining(connection).begin() as repositories:
            cursor = repositories.jobs.execute(repositories.jobs.queries.lock_job, ROW)
            assert cursor.fetchone() is not None
            assert connection.execute(TIMEOUTS).fetchone() == ("3s", "0", "0")
        assert connection.execute(TIMEOUTS).fetchone() == ("3s", "0", "0")


ROW: dict[str, object] = {"batch_job_id": "job", "organization_id": None}


def test_asyncio_joining_sets_no_timeouts(made: Tables) -> None:
    """The same for the asyncio half."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(made.dsn) as connection:
            await connection.execute("SET LOCAL lock_timeout = '3s'")
            await cancel_rows_async("job", uow=joining_async(connection))
            cursor = await connection.execute(TIMEOUTS)
            assert await cursor.fetchone() == ("3s", "0", "0")

    asyncio.run(run())


@HALVES
def test_a_timeout_is_never_none(made: Tables, half: Half) -> None:
    """Less than a millisecond is one: to Postgres nothing would mean for ever."""
    seen: list[Any] = []

    def look(call: Any, repositories: Any) -> None:
        cursor = call(repositories.jobs.execute, TIMEOUTS, {})
        seen.append(call(cursor.fetchone)[0])

    half.begun(half.uow(made.dsn, lock_timeout=timedelta(microseconds=1)), look)
    assert seen == ["1ms"]


# Pools -------------------------------------------------------------------------------------------


@contextmanager
def pool_of_one(dsn: str, **settings: Any) -> Generator[ConnectionPool[Any]]:
    """Lend a pool of one connection, which must be idle and the same at the end."""
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
    """Lend a pool of one connection, which must be idle and the same at the end."""
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
        return "called off"
    task.result()
    return "answered"


@pytest.mark.parametrize("kind", ["pool", "connections"])
def test_a_task_called_off_in_any_wait_leaves_all_in_order(made: Tables, kind: str) -> None:
    """Nothing changed or fully cancelled, CancelledError out of it, the pool as it was."""
    seen: set[bool] = set()

    async def story(uow: AsyncPostgresUnitOfWork, pool: AsyncConnectionPool[Any] | None) -> None:
        for wait in itertools.count(1):
            how = await cancelled_in_wait(uow, wait)
            if how == "answered":
                assert is_cancelled(made)
                assert wait > 5
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
    assert seen == {True, False}  # Called off in the COMMIT, it is fully cancelled.
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
    """Lend a pool of one connection to PgBouncer."""
    with ConnectionPool(dsn, min_size=1, max_size=1, open=True) as pool:
        yield pool
