"""Postgres under a cancel of SQLAlchemy: durability, isolation, locks, lost connections."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import (
    Session,
)

from batch_cancel import (
    CancelFailed,
    ContactStatus,
    JobKey,
    JobNotFound,
    cancel_job,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyUnitOfWork,
    joining,
)
from batch_cancel.domain.errors import Fault, StoreFailed
from tests import data_layers
from tests.data_layers import TABLES
from tests.integration.sqlalchemy_databases import (
    POSTGRES,
    SQLITE,
    Database,
    database,
    waiting_start,
)

__all__ = ["database"]


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_a_transaction_of_ours_is_durable(database: Database) -> None:
    """Whatever the server's default: what was answered survives its crash."""
    engine = database.engine_with()

    def hurry(connection: psycopg.Connection[Any], _: object) -> None:
        connection.execute("SET synchronous_commit = off")
        connection.commit()

    event.listen(engine, "connect", hurry)

    shown = sa.text("SHOW synchronous_commit")
    with SqlAlchemyUnitOfWork(engine, TABLES).begin() as repositories:
        assert repositories.jobs.connection.execute(shown).scalar_one() == "on"
    with engine.connect() as connection:
        assert connection.execute(shown).scalar_one() == "off"


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_would_leave_contacts_behind_is_refused(
    database: Database, level: str
) -> None:
    """Above READ COMMITTED, contacts that came in during the wait for the job are not seen."""
    engine = database.engine_with(isolation_level=level)
    with Session(engine) as session, pytest.raises(CancelFailed, match="READ COMMITTED"):
        cancel_rows("job", uow=joining(session, TABLES), organization_id="a")
    uow = SqlAlchemyUnitOfWork(engine, TABLES)  # Ours sets its own.
    scheduler = waiting_start()
    assert cancel_job("job", uow=uow, scheduler=scheduler, organization_id="a").redis_job_cancelled


@pytest.mark.parametrize("organization_id", ["b", None, "A", "%"])
def test_a_stranger_neither_sees_nor_locks_the_job(
    database: Database, organization_id: str | None
) -> None:
    """The answer is that of a missing job, at once, while the owner holds the lock."""
    uow = SqlAlchemyUnitOfWork(database.engine, TABLES, lock_timeout=timedelta(milliseconds=50))
    with pytest.raises(JobNotFound):
        cancel_rows("job", uow=uow, organization_id=organization_id)
    assert not database.is_cancelled()
    if database.name == SQLITE:
        return  # The file has one lock for all.
    with SqlAlchemyUnitOfWork(database.engine, TABLES).begin() as repositories:
        assert repositories.jobs.lock(JobKey("job", "a"))
        with pytest.raises(JobNotFound):
            cancel_rows("job", uow=uow, organization_id=organization_id)
        with pytest.raises(CancelFailed, match="lock timeout"):
            cancel_rows("job", uow=uow, organization_id="a")


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_contacts_that_come_in_while_a_cancel_waits_are_cancelled(database: Database) -> None:
    """An append holds the job's lock; the cancel sees what it committed."""
    answers: list[int] = []
    uow = SqlAlchemyUnitOfWork(database.engine, TABLES)

    def cancel() -> None:
        done = cancel_rows("job", uow=uow, organization_id="a")
        answers.append(done.record.contacts_cancelled)

    with psycopg.connect(database.place) as appender:
        appender.execute("SELECT FROM batch_jobs FOR UPDATE")
        thread = threading.Thread(target=cancel)
        thread.start()
        with psycopg.connect(database.place, autocommit=True) as looker:
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM "
            waits += "pg_locks WHERE relation = 'batch_jobs'::regclass)"
            while looker.execute(waits.encode()).fetchone() == (0,):
                pass
        appender.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) VALUES ('job', 'pending')"
        )
    thread.join()
    assert answers == [2]


def terminate(dsn: str) -> None:
    """End every other connection that is at work on these tables, as a failover does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks "
            "WHERE relation = 'batch_jobs'::regclass AND pid <> pg_backend_pid()"
        )


def check_interrupted(failure: StoreFailed) -> None:
    """Find that the transaction is gone, a new one may do, and nothing is told of the old one."""
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.INTERRUPTED)
    assert "127.0.0.1" not in str(failure)


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_a_connection_that_breaks_is_reported_as_such(database: Database) -> None:
    """Over psycopg and over asyncpg; the next attempt is not harmed."""
    uow = SqlAlchemyUnitOfWork(database.engine, TABLES)
    with pytest.raises(StoreFailed) as failure, uow.begin() as repositories:  # noqa: PT012
        assert repositories.jobs.lock(JobKey("job", "a"))
        terminate(database.place)
        repositories.contacts.cancel(JobKey("job", "a"), {ContactStatus.PENDING})
    check_interrupted(failure.value)

    async def main() -> None:
        engine = database.asyncio_engine()
        uow = AsyncSqlAlchemyUnitOfWork(engine, TABLES)
        with pytest.raises(StoreFailed) as failure:  # noqa: PT012
            async with uow.begin() as repositories:
                assert await repositories.jobs.lock(JobKey("job", "a"))
                terminate(database.place)
                await repositories.contacts.cancel(JobKey("job", "a"), {ContactStatus.PENDING})
        check_interrupted(failure.value)
        cancellation = await cancel_rows_async("job", uow=uow, organization_id="a")
        assert cancellation.record.contacts_cancelled == 1
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled()


@pytest.mark.parametrize("database", [POSTGRES], indirect=True)
def test_a_server_out_of_reach_is_reported_as_such(database: Database) -> None:
    """Nobody listens; psycopg and asyncpg say so in their own ways."""
    nowhere = "host=127.0.0.1 port=1 user=ann dbname=app connect_timeout=5"
    with pytest.raises(CancelFailed) as failure:
        cancel_rows("job", uow=data_layers.postgres_uow(nowhere, is_async=False))
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert "can't be reached" in str(failure.value)
    assert "ann" not in str(failure.value)
    with pytest.raises(CancelFailed) as failure:
        asyncio.run(cancel_rows_async("job", uow=data_layers.postgres_uow(nowhere, is_async=True)))
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert "can't be reached" in str(failure.value)
    assert "ann" not in str(failure.value)
