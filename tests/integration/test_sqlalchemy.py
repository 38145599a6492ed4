"""Cancelling in a transaction of SQLAlchemy's: sessions and connections, blocking and asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import (
    Session,
    scoped_session,
    sessionmaker,
)

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobNotFound,
    cancel_rows,
    cancel_rows_async,
    remove_deferred,
)
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyUnitOfWork,
    joining,
    joining_async,
)
from tests import data_layers
from tests.data_layers import CONTACTS, JOBS, TABLES
from tests.integration.sqlalchemy_databases import (
    COMMITS,
    SQLITE,
    Database,
    database,
    waiting_start,
)

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["database"]


@COMMITS
@pytest.mark.parametrize("reads_first", [True, False], ids=["after a read", "first statement"])
def test_session(database: Database, *, reads_first: bool, commits: bool) -> None:
    """A session of the ORM; the start waits until after the commit."""
    scheduler = waiting_start()
    with Session(database.engine) as session:
        if reads_first:
            session.execute(sa.select(JOBS)).all()
        cancellation = cancel_rows("job", uow=joining(session, TABLES), organization_id="a")
        assert cancellation.record.contacts_cancelled == 1
        assert not database.is_cancelled()
        assert scheduler.waiting() == {"start"}
        (session.commit if commits else session.rollback)()
    assert database.is_cancelled() is commits
    assert scheduler.waiting() == {"start"}
    if commits:
        uow = SqlAlchemyUnitOfWork(database.engine, TABLES)
        assert remove_deferred(cancellation, scheduler, uow=uow).redis_job_cancelled
        assert scheduler.waiting() == set()


@COMMITS
def test_connection(database: Database, *, commits: bool) -> None:
    """Core; what the caller writes beside it shares its fate."""
    with database.engine.connect() as connection:
        cancel_rows("job", uow=joining(connection, TABLES), organization_id="a")
        connection.execute(sa.insert(CONTACTS).values(batch_job_id="job", status="failed"))
        (connection.commit if commits else connection.rollback)()
    with database.engine.connect() as connection:
        statuses = sorted(connection.execute(sa.select(CONTACTS.c.status)).scalars())
    assert statuses == (
        ["cancelled", "completed", "failed"] if commits else ["completed", "pending"]
    )


@COMMITS
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_asyncio(database: Database, kind: str, *, commits: bool) -> None:
    """The same over asyncpg and aiosqlite, with the cancel as the first statement."""

    async def main() -> None:
        engine = database.asyncio_engine()
        async with AsyncSession(engine) if kind == "session" else engine.connect() as caller:
            await cancel_rows_async("job", uow=joining_async(caller, TABLES), organization_id="a")
            assert not database.is_cancelled()
            await (caller.commit() if commits else caller.rollback())
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled() is commits


def test_a_refused_cancel_leaves_the_callers_transaction_usable(database: Database) -> None:
    """The savepoint alone is undone; a lazily begun transaction is not committed by it."""
    with Session(database.engine) as session:
        for job_id in ("missing", "\0", "x" * 5000):
            with pytest.raises(JobNotFound):
                cancel_rows(job_id, uow=joining(session, TABLES), organization_id="a")
        session.execute(sa.insert(CONTACTS).values(batch_job_id="job", status="failed"))
        session.rollback()
    assert not database.is_cancelled()


def test_a_connection_that_commits_by_itself_is_refused(database: Database) -> None:
    """There is no transaction to join: the caller could not undo the cancel."""
    engine = database.engine_with(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        with pytest.raises(CancelFailed, match="commits after each statement") as failure:
            cancel_rows("job", uow=joining(connection, TABLES), organization_id="a")
        assert failure.value.outcome == "unchanged"
    assert not database.is_cancelled()

    async def main() -> None:
        engine = database.asyncio_engine(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(CancelFailed, match="commits after each statement"):
                await cancel_rows_async(
                    "job", uow=joining_async(connection, TABLES), organization_id="a"
                )
        await engine.dispose()

    asyncio.run(main())
    assert not database.is_cancelled()


def test_an_engine_that_commits_by_itself_is_refused(database: Database) -> None:
    """Nothing would be undone, and nobody kept from the job."""
    engine = database.engine_with(isolation_level="AUTOCOMMIT")
    with pytest.raises(CancelFailed, match="commits after each statement"):
        cancel_rows("job", uow=SqlAlchemyUnitOfWork(engine, TABLES), organization_id="a")
    asyncio_engine = database.asyncio_engine(isolation_level="AUTOCOMMIT")
    uow = AsyncSqlAlchemyUnitOfWork(asyncio_engine, TABLES)
    with pytest.raises(CancelFailed, match="commits after each statement"):
        asyncio.run(cancel_rows_async("job", uow=uow, organization_id="a"))
    assert not database.is_cancelled()


@pytest.mark.parametrize("database", [SQLITE], indirect=True)
def test_a_file_that_another_has_changed_meanwhile_is_busy(database: Database) -> None:
    """SQLite's longer names for it, such as SQLITE_BUSY_SNAPSHOT, are not taken for refusals."""
    with database.engine.connect() as reader:
        reader.exec_driver_sql("PRAGMA journal_mode = wal")
        reader.exec_driver_sql("BEGIN")
        reader.execute(sa.select(JOBS)).all()
        with database.engine.begin() as writer:
            writer.execute(sa.update(CONTACTS).values(label="seen"))
        with pytest.raises(CancelFailed, match="locked by another transaction") as failure:
            cancel_rows("job", uow=joining(reader, TABLES), organization_id="a")
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)


def test_a_database_that_nobody_has_tested_is_refused(database: Database) -> None:
    """By its name, before anything is asked of it."""
    with database.engine.connect() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.dialect, "name", "oracle")
        with pytest.raises(CancelFailed, match="oracle is none of Postgres, SQLite, MariaDB"):
            cancel_rows("job", uow=joining(connection, TABLES), organization_id="a")
        uow = SqlAlchemyUnitOfWork(database.engine, TABLES)
        with pytest.raises(CancelFailed, match="oracle is none of Postgres, SQLite, MariaDB"):
            cancel_rows("job", uow=uow, organization_id="a")


def test_a_session_of_several_databases_is_asked_for_that_of_the_jobs(
    database: Database, tmp_path: Path
) -> None:
    """Not for its default, where a job of the same name may be."""
    elsewhere = data_layers.sqlite_engine(tmp_path / "elsewhere.sqlite")
    binds: dict[Any, Any] = {TABLES.jobs: database.engine}
    with Session(elsewhere, binds=binds) as session:
        cancel_rows("job", uow=joining(session, TABLES), organization_id="a")
        session.commit()
    assert database.is_cancelled()
    with Session(binds=binds) as session, pytest.raises(AlreadyTerminal):
        cancel_rows("job", uow=joining(session, TABLES), organization_id="a")


def test_scoped_sessions(database: Database) -> None:
    """As web applications have them: the session of this thread, or of this task."""
    scoped = scoped_session(sessionmaker(database.engine))
    cancel_rows("job", uow=joining(scoped, TABLES), organization_id="a")
    scoped.remove()
    assert not database.is_cancelled()

    async def main() -> None:
        engine = database.asyncio_engine()
        scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        await cancel_rows_async("job", uow=joining_async(scoped, TABLES), organization_id="a")
        await scoped.commit()
        await scoped.remove()
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled()
