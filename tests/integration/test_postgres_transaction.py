"""What is held back, what is sent with COMMIT, and how a connection is left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from batch_cancel import (
    CancelFailed,
    CancellationRecord,
    JobNotFound,
    JobStatus,
    cancel_job,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresUnitOfWork,
    joining,
)
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import Removal
from tests.integration.own_tables import HALVES, Half, Tables, tables

JOB = JobKey("job")
RECORD = CancellationRecord(
    operation_id="operation",
    key=JOB,
    previous_status=JobStatus.SCHEDULED,
    contacts_cancelled=1,
    actor=None,
    reason=None,
    cancelled_at=datetime(2026, 1, 1, tzinfo=UTC),
    deferred_id="start",
    removal=Removal.PENDING,
    is_announced=True,
)


@pytest.fixture
def made(postgres_database: str) -> Iterator[Tables]:
    """Yield tables with a scheduled job of one contact."""
    with tables(postgres_database) as made:
        made.add_job("job", "scheduled", {"ann": "pending"}, deferred_id="start")
        yield made


def record_commits(made: Tables) -> None:
    """Have each write of a record write down whether its commit waits for the disk."""
    made.rows(
        "CREATE TABLE commits (removal text, is_announced boolean, waits text);"
        "CREATE FUNCTION record_commit() RETURNS trigger LANGUAGE plpgsql AS {};"
        "CREATE TRIGGER record_commit AFTER INSERT OR UPDATE ON batch_cancellations "
        "FOR EACH ROW EXECUTE FUNCTION record_commit()",
        "BEGIN INSERT INTO commits VALUES (new.removal, new.is_announced, "
        "current_setting('synchronous_commit')); RETURN NULL; END",
    )


@HALVES
def test_the_note_of_a_removal_waits_for_no_disk(made: Tables, half: Half) -> None:
    """The cancellation itself does; after a crash, reconcile makes the note again."""
    record_commits(made)
    assert half.cancel(half.uow(made.dsn), "job").contacts_cancelled == 1
    assert made.rows("SELECT * FROM commits") == [
        ("pending", True, "on"),
        ("removed", True, "off"),
    ]


def test_a_note_waits_for_the_disk_while_a_hook_is_owed(made: Tables) -> None:
    """A crash that loses the claim or the note would call the hook a second time."""
    record_commits(made)
    uow = PostgresUnitOfWork(lambda: psycopg.connect(made.dsn))
    cancel_job("job", uow=uow, scheduler=MemoryScheduler(), on_cancelled=lambda _: None)
    assert made.rows("SELECT * FROM commits") == [
        ("pending", False, "on"),
        ("absent", False, "on"),  # The note of the removal.
        ("absent", False, "on"),  # The claim.
        ("absent", True, "on"),
    ]


def test_a_note_in_the_callers_transaction_leaves_its_durability(made: Tables) -> None:
    """What the caller writes there must be on disk."""
    cancelled = cancel_rows("job", uow=PostgresUnitOfWork(lambda: psycopg.connect(made.dsn)))
    record_commits(made)
    with psycopg.connect(made.dsn) as connection, joining(connection).begin() as repositories:
        repositories.outbox.settle(cancelled.record)
    assert made.rows("SELECT waits FROM commits") == [("on",)]


def begin_and_fail(connection: Any, refuse: str, made: Tables) -> None:
    """Fail in a transaction of our own, by Postgres, its end, or an error of the caller's."""
    with PostgresUnitOfWork(lambda: nullcontext(connection)).begin() as repositories:
        repositories.jobs.lock(JOB)
        if refuse == "ours":
            raise StoreFailed(refuse)
        if refuse == "the server's end":
            made.rows("SELECT pg_terminate_backend({})", pid(connection))
        repositories.outbox.settle(RECORD)
        repositories.work.status(JOB)


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("refuse", ["ours", "Postgres'"])
def test_a_connection_is_left_as_it_was(made: Tables, refuse: str, *, autocommit: bool) -> None:
    """After a commit and after a rollback."""
    with closing(psycopg.connect(made.dsn, autocommit=autocommit)) as connection:
        uow = PostgresUnitOfWork(lambda: nullcontext(connection))
        cancel_rows("job", uow=uow)
        made.rows("ALTER TABLE batch_cancellations RENAME TO gone")
        with pytest.raises(StoreFailed):
            begin_and_fail(connection, refuse, made)
        assert connection.autocommit is autocommit
        assert connection.info.transaction_status == TransactionStatus.IDLE


def test_an_asyncio_connection_is_left_as_it_was(made: Tables) -> None:
    """The same for the asyncio half."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(made.dsn) as connection:
            uow = AsyncPostgresUnitOfWork(lambda: nullcontext(connection))
            await cancel_rows_async("job", uow=uow)
            with pytest.raises(JobNotFound):
                await cancel_rows_async("missing", uow=uow)
            assert connection.autocommit is False
            assert connection.info.transaction_status == TransactionStatus.IDLE

    asyncio.run(run())


def test_the_end_of_a_connection_changes_nothing(made: Tables) -> None:
    """Before COMMIT is sent, the outcome is known."""
    with closing(psycopg.connect(made.dsn)) as connection:
        with pytest.raises(StoreFailed) as failure:
            begin_and_fail(connection, "the server's end", made)
        assert failure.value.outcome == "unchanged"
        assert connection.closed


class Stuck(psycopg.Connection[Any]):
    """A connection whose rollback fails."""

    def rollback(self) -> None:
        """Fail."""
        raise psycopg.OperationalError


def test_a_connection_that_cannot_be_rolled_back_is_closed(made: Tables) -> None:
    """It would be handed out again by a pool, within the transaction and in autocommit mode."""
    with closing(Stuck.connect(made.dsn)) as connection:
        with pytest.raises(StoreFailed, match="ours"):
            begin_and_fail(connection, "ours", made)
        assert connection.closed
    cancel_rows("job", uow=PostgresUnitOfWork(lambda: psycopg.connect(made.dsn)))


def test_a_transaction_without_a_question_sends_nothing(made: Tables) -> None:
    """Neither a BEGIN nor a COMMIT."""
    with closing(psycopg.connect(made.dsn)) as connection:
        before = made.rows("SELECT query FROM pg_stat_activity WHERE pid = {}", pid(connection))
        for uow in (PostgresUnitOfWork(lambda: nullcontext(connection)), joining(connection)):
            with uow.begin():
                pass
        after = made.rows("SELECT query FROM pg_stat_activity WHERE pid = {}", pid(connection))
        assert after == before


def pid(connection: psycopg.Connection[Any]) -> int:
    """Return the process that serves a connection."""
    return connection.info.backend_pid


@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
def test_the_isolation_is_named_although_another_writer_was_there(
    made: Tables, level: str
) -> None:
    """The lock is sent with the question for the isolation, and fails first."""
    with closing(psycopg.connect(made.dsn)) as connection:
        connection.isolation_level = psycopg.IsolationLevel[level]
        connection.execute("SELECT 1")
        made.rows("UPDATE batch_jobs SET status = 'running'")
        with pytest.raises(CancelFailed, match="READ COMMITTED"):
            cancel_rows("job", uow=joining(connection))
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert made.records() == []


def test_a_demand_that_is_not_met_is_not_committed(made: Tables) -> None:
    """The statement that demands the outcome fails, so that COMMIT is not executed."""
    made.rows(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS {};"
        "CREATE TRIGGER keep BEFORE UPDATE ON batch_jobs FOR EACH ROW EXECUTE FUNCTION keep()",
        "BEGIN new.status := old.status; RETURN new; END",
    )
    with pytest.raises(CancelFailed, match="set to cancelled, but is not") as failure:
        cancel_rows("job", uow=PostgresUnitOfWork(lambda: psycopg.connect(made.dsn)))
    assert failure.value.outcome == "unchanged"
    assert (made.status("job"), made.contacts("job")) == ("scheduled", {"ann": "pending"})
    assert made.records() == []


def test_an_error_of_a_users_trigger_is_no_demand(made: Tables) -> None:
    """It has the SQLSTATE of one, and another text."""
    made.rows(
        "CREATE FUNCTION read() RETURNS trigger LANGUAGE plpgsql AS {};"
        "CREATE TRIGGER read BEFORE UPDATE ON batch_jobs FOR EACH ROW EXECUTE FUNCTION read()",
        "BEGIN new.updated_at := 'yes'::integer; RETURN new; END",
    )
    with pytest.raises(CancelFailed, match="invalid input syntax") as failure:
        cancel_rows("job", uow=PostgresUnitOfWork(lambda: psycopg.connect(made.dsn)))
    assert failure.value.outcome == "unchanged"
    assert made.status("job") == "scheduled"
