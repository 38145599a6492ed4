"""Cancelling within the caller's own transaction of psycopg, and what is refused there."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest

from batch_cancel import (
    CancelFailed,
    JobNotFound,
    cancel_rows,
    cancel_rows_async,
    remove_deferred,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    joining,
    joining_async,
)
from tests.integration.joined_database import Database, Undone, database

__all__ = ["database"]


@pytest.mark.parametrize("writes_first", [True, False], ids=["after a write", "first statement"])
@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_psycopg_block(database: Database, *, writes_first: bool, commits: bool) -> None:
    """A `with connection:` block: its end decides."""
    with suppress(Undone), psycopg.connect(database.dsn) as connection:
        if writes_first:
            connection.execute("INSERT INTO notes VALUES ('mine')")
        cancellation = cancel_rows("job", uow=joining(connection))
        assert cancellation.record.contacts_cancelled == 1
        assert not database.is_cancelled()
        if not commits:
            raise Undone
    assert database.is_cancelled() is commits
    assert database.notes == (["mine"] if writes_first and commits else [])


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_psycopg_transaction(database: Database, *, autocommit: bool, commits: bool) -> None:
    """A `connection.transaction()` block, whatever the connection does outside of it."""
    with psycopg.connect(database.dsn, autocommit=autocommit) as connection:
        with connection.transaction(force_rollback=not commits):
            cancel_rows("job", uow=joining(connection))
            assert not database.is_cancelled()
        assert database.is_cancelled() is commits


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_psycopg_asyncio(database: Database, *, commits: bool) -> None:
    """The same with an asyncio connection and the cancel as the first statement."""

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(database.dsn) as connection:
            await cancel_rows_async("job", uow=joining_async(connection))
            assert not database.is_cancelled()
            await (connection.commit() if commits else connection.rollback())

    asyncio.run(main())
    assert database.is_cancelled() is commits


def test_a_connection_that_commits_by_itself_is_refused(database: Database) -> None:
    """There is no transaction to join: the caller could not undo the cancel."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        with pytest.raises(CancelFailed) as failure:
            cancel_rows("job", uow=joining(connection))
        assert failure.value.outcome == "unchanged"
        assert str(failure.value.__cause__) == (
            "joining() needs a connection with an open transaction, and this one commits by "
            "itself: open one, or use PostgresUnitOfWork"
        )
    assert not database.is_cancelled()


@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
def test_a_transaction_that_would_leave_contacts_behind_is_refused(
    database: Database, level: str
) -> None:
    """Above READ COMMITTED, contacts that came in during the wait for the job are not seen."""
    with psycopg.connect(database.dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel[level]
        with pytest.raises(CancelFailed, match="READ COMMITTED") as failure:
            cancel_rows("job", uow=joining(connection))
        assert failure.value.outcome == "unchanged"
    assert not database.is_cancelled()


def test_a_transaction_that_asks_for_less_is_joined(database: Database) -> None:
    """READ UNCOMMITTED is READ COMMITTED to Postgres, which keeps the name."""
    with psycopg.connect(database.dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.READ_UNCOMMITTED
        cancel_rows("job", uow=joining(connection))
    assert database.is_cancelled()


def test_a_refused_cancel_leaves_the_callers_transaction_usable(database: Database) -> None:
    """The savepoint is rolled back, what the caller wrote stays."""
    with psycopg.connect(database.dsn) as connection:
        connection.execute("INSERT INTO notes VALUES ('mine')")
        for job_id in ("missing", "x" * 5000, "\0"):
            with pytest.raises(JobNotFound):
                cancel_rows(job_id, uow=joining(connection))
        connection.execute("INSERT INTO notes VALUES ('mine too')")
    assert database.notes == ["mine", "mine too"]


def test_a_failed_cancel_leaves_the_callers_transaction_usable(database: Database) -> None:
    """A missing table fails the savepoint alone."""
    database.connection.execute("ALTER TABLE batch_cancellations RENAME TO elsewhere")
    with psycopg.connect(database.dsn) as connection:
        connection.execute("INSERT INTO notes VALUES ('mine')")
        with pytest.raises(CancelFailed, match="batch-cancel schema"):
            cancel_rows("job", uow=joining(connection))
    database.connection.execute("ALTER TABLE elsewhere RENAME TO batch_cancellations")
    assert database.notes == ["mine"]
    assert not database.is_cancelled()


def test_a_transaction_that_has_failed_is_not_joined(database: Database) -> None:
    """Nothing can be done in it; the error says so and the cancel did not happen."""
    with psycopg.connect(database.dsn) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nowhere")
        with pytest.raises(CancelFailed) as failure:
            cancel_rows("job", uow=joining(connection))
        assert failure.value.outcome == "unchanged"
        connection.rollback()
    assert not database.is_cancelled()


def test_the_scheduler_is_asked_after_the_callers_commit(database: Database) -> None:
    """The two halves, with the commit between them."""
    database.connection.execute(
        "UPDATE batch_jobs SET status = 'scheduled', scheduled_job_id = 'start'"
    )
    scheduler = MemoryScheduler()
    scheduler.schedule("start", datetime.now(UTC))
    with psycopg.connect(database.dsn) as connection:
        cancellation = cancel_rows("job", uow=joining(connection))
        assert scheduler.waiting() == {"start"}
    assert remove_deferred(cancellation, scheduler).redis_job_cancelled
    assert scheduler.waiting() == set()
