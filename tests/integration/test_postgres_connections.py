"""Connections of every kind, and timeouts: what `connect` gives is used as it is, and closed."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, namedtuple_row, scalar_row

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobKey,
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
from tests.integration.own_tables import HALVES, AsyncRecorder, Half, Recorder, Tables, tables
from tests.integration.running_job import TIMEOUTS, is_cancelled, made
from tests.servers import PostgresServer

__all__ = ["made"]

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
    """Postgres choked on it within a savepoint: the caller goes on, and commits its own work."""
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
    """Committing it would commit the caller's work: it is left to the caller as it was."""
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


@HALVES
def test_timeouts_hold_within_our_own_transaction(made: Tables, half: Half) -> None:
    """As given to the unit of work, to the millisecond."""
    seen: list[Any] = []

    def look(call: Any, repositories: Any) -> None:
        call(repositories.work.status, JobKey("job"))  # It is begun by the first statement.
        cursor = call(repositories.transaction.connection.execute, TIMEOUTS)
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
    """In the caller's transaction its own settings are in force, during the cancel and after."""
    with psycopg.connect(made.dsn) as connection:
        connection.execute("SET LOCAL lock_timeout = '3s'")
        with joining(connection).begin() as repositories:
            assert repositories.jobs.lock(JobKey("job")) is not None
            assert connection.execute(TIMEOUTS).fetchone() == ("3s", "0", "0")
        assert connection.execute(TIMEOUTS).fetchone() == ("3s", "0", "0")


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
        call(repositories.work.status, JobKey("job"))  # It is begun by the first statement.
        cursor = call(repositories.transaction.connection.execute, TIMEOUTS)
        seen.append(call(cursor.fetchone)[0])

    half.begun(half.uow(made.dsn, lock_timeout=timedelta(microseconds=1)), look)
    assert seen == ["1ms"]


@pytest.mark.parametrize("kind", [PostgresUnitOfWork, AsyncPostgresUnitOfWork])
@pytest.mark.parametrize(
    "connect", ["postgresql://localhost/app", None, 7], ids=["dsn", "None", "7"]
)
def test_what_makes_no_connection_is_refused_at_once(kind: Any, connect: object) -> None:
    """With what to pass; a connection string is not shown."""
    with pytest.raises(TypeError, match="must be a function that returns a connection") as refused:
        kind(connect)
    assert "localhost" not in str(refused.value)
    assert str(refused.value).endswith(f"got {type(connect).__name__}")
