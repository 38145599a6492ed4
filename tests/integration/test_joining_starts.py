"""
The deferred start of a job that is cancelled within the caller's own transaction on Postgres.

Only a cancel that is committed loses its start, however the transaction ends.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.orm

from batch_cancel import (
    CancelFailed,
    CancelResult,
    Removal,
    cancel_job,
    cancel_rows,
    cancel_rows_async,
    reconcile,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.adapters import sqlalchemy as layer
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresUnitOfWork,
    joining,
    joining_async,
)
from tests.data_layers import TABLES
from tests.integration.joined_database import Database, database, engine_of

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["database"]

ENDINGS = {
    "commit": True,
    # A statement failed and was shrugged off: Postgres answers COMMIT with ROLLBACK, and no driver
    # raises anything.
    "silent rollback": False,
    "rollback": False,
}


class Scheduled:
    """A job that waits for its start, and transactions to look it up in."""

    def __init__(self, database: Database) -> None:
        database.connection.execute(
            "UPDATE batch_jobs SET status = 'scheduled', scheduled_job_id = 'start'"
        )
        self.database = database
        self.uow = PostgresUnitOfWork(lambda: psycopg.connect(database.dsn))
        self.uow_async = AsyncPostgresUnitOfWork(
            lambda: psycopg.AsyncConnection.connect(database.dsn)
        )
        self.scheduler = MemoryScheduler()
        self.scheduler_async = AsyncMemoryScheduler()
        for scheduler in (self.scheduler, self.scheduler_async):
            scheduler.schedule("start", datetime.now(UTC))
        self.told: list[CancelResult] = []

    def is_cancelled(self) -> bool:
        """Check whether the job is; asserts that its contacts and its record are as it is."""
        self.database.connection.execute(
            "UPDATE batch_jobs SET status = 'running' WHERE status = 'scheduled'"
        )
        return self.database.is_cancelled()

    def check(self, ending: str, remove: Callable[[], CancelResult]) -> None:
        """Expect the start to be removed after a commit alone, and the hook to be told."""
        if ENDINGS[ending]:
            assert remove().redis_job_cancelled
        else:
            with pytest.raises(CancelFailed, match="not committed") as failure:
                remove()
            assert (failure.value.outcome, failure.value.retryable) == ("unknown", False)
        waiting = self.scheduler.waiting() & self.scheduler_async.waiting()
        assert waiting == (set() if ENDINGS[ending] else {"start"})
        assert len(self.told) == ENDINGS[ending]
        assert self.is_cancelled() is ENDINGS[ending]


@pytest.fixture
def scheduled(database: Database) -> Scheduled:
    """Yield a job that waits for its start."""
    return Scheduled(database)


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_a_committed_cancel_loses_its_start_by_psycopg(
    scheduled: Scheduled, ending: str
) -> None:
    """The snippet of docs/transactions.md, however it ends."""
    with psycopg.connect(scheduled.database.dsn) as connection:
        cancellation = cancel_rows("job", uow=joining(connection), announce=True)
        assert cancellation.joined
        if ending == "silent rollback":
            with suppress(psycopg.Error):
                connection.execute("INSERT INTO nowhere VALUES (1)")
        if ending == "rollback":
            connection.rollback()
    scheduled.check(
        ending,
        lambda: remove_deferred(
            cancellation,
            scheduled.scheduler,
            uow=scheduled.uow,
            on_cancelled=scheduled.told.append,
        ),
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_a_committed_cancel_loses_its_start_by_asyncio(
    scheduled: Scheduled, ending: str
) -> None:
    """The same with an asyncio connection, and `force_rollback` for a rollback."""

    async def tell(result: CancelResult) -> None:
        scheduled.told.append(result)

    async def main() -> CancelResult:
        async with (
            await psycopg.AsyncConnection.connect(scheduled.database.dsn) as connection,
            connection.transaction(force_rollback=ending == "rollback"),
        ):
            cancellation = await cancel_rows_async(
                "job", uow=joining_async(connection), announce=True
            )
            if ending == "silent rollback":
                with suppress(psycopg.Error):
                    await connection.execute("INSERT INTO nowhere VALUES (1)")
        return await remove_deferred_async(
            cancellation, scheduled.scheduler_async, uow=scheduled.uow_async, on_cancelled=tell
        )

    scheduled.check(ending, lambda: asyncio.run(main()))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_only_a_committed_cancel_loses_its_start_by_sqlalchemy(
    scheduled: Scheduled, kind: str, ending: str
) -> None:
    """A session's `commit()` raises nothing either."""
    engine = engine_of(scheduled.database.dsn)
    with sqlalchemy.orm.Session(engine) if kind == "session" else engine.connect() as caller:
        cancellation = cancel_rows("job", uow=layer.joining(caller, TABLES), announce=True)
        if ending == "silent rollback":
            with suppress(sqlalchemy.exc.DBAPIError):
                caller.execute(sqlalchemy.text("INSERT INTO nowhere VALUES (1)"))
        (caller.rollback if ending == "rollback" else caller.commit)()
    scheduled.check(
        ending,
        lambda: remove_deferred(
            cancellation,
            scheduled.scheduler,
            uow=layer.SqlAlchemyUnitOfWork(engine, TABLES),
            on_cancelled=scheduled.told.append,
        ),
    )


def test_before_the_callers_commit_the_start_is_left_alone(scheduled: Scheduled) -> None:
    """From within, it can't be known; from outside, there is no record yet."""
    with psycopg.connect(scheduled.database.dsn) as connection:
        cancellation = cancel_rows("job", uow=joining(connection))
        for uow, told in (
            (joining(connection), "call it after your commit"),
            (scheduled.uow, "still open"),
        ):
            with pytest.raises(CancelFailed, match=told):
                remove_deferred(cancellation, scheduled.scheduler, uow=uow)
        assert scheduled.scheduler.waiting() == {"start"}
    result = remove_deferred(cancellation, scheduled.scheduler, uow=scheduled.uow)
    assert result.redis_job_cancelled


def test_a_store_out_of_reach_leaves_the_start_to_reconcile(
    scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be committed, so nothing is raised; it may not be, so nothing is removed."""
    with psycopg.connect(scheduled.database.dsn) as connection:
        cancellation = cancel_rows("job", uow=joining(connection))
    away = PostgresUnitOfWork(lambda: psycopg.connect("host=127.0.0.1 port=1 user=ann"))
    result = remove_deferred(cancellation, scheduled.scheduler, uow=away)
    assert result.removal is Removal.PENDING
    assert scheduled.scheduler.waiting() == {"start"}
    assert "could not be read (StoreFailed)" in caplog.text
    assert "127.0.0.1" not in caplog.text
    [finished] = reconcile(uow=scheduled.uow, scheduler=scheduled.scheduler, lease=timedelta(0))
    assert finished.redis_job_cancelled


def test_a_whole_cancel_within_a_transaction_of_the_callers_is_refused(database: Database) -> None:
    """Its start would be gone before the caller's commit; the error names what to call instead."""
    with psycopg.connect(database.dsn) as connection:
        with pytest.raises(CancelFailed, match="call cancel_rows there") as failure:
            cancel_job("job", uow=joining(connection), scheduler=MemoryScheduler())
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", False)
    assert not database.is_cancelled()
