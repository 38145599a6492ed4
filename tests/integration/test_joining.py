"""
Cancelling within the caller's own transaction on Postgres: psycopg, SQLAlchemy and Django.

The caller's commit is the moment of cancellation; his rollback undoes it, however lazily his
framework began the transaction; and what goes wrong in the cancel leaves his transaction usable.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.ext.asyncio
import sqlalchemy.orm

from batch_cancel import (
    CancelFailed,
    CancelResult,
    JobNotFound,
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
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers import PostgresServer


class Database:
    """A database with one running job of two contacts."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True)
        create_reference_tables(self.connection)
        self.connection.execute("CREATE TABLE notes (note text)")
        self.connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')")
        self.connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "VALUES ('job', 'pending'), ('job', 'completed')"
        )

    def is_cancelled(self) -> bool:
        """Tell whether job and open contact are cancelled; asserts that it is both or none."""
        statuses = self.connection.execute(
            "SELECT status FROM batch_jobs "
            "UNION ALL (SELECT status FROM batch_contacts ORDER BY id)"
        ).fetchall()
        recorded = self.connection.execute("SELECT count(*) FROM batch_cancellations").fetchone()
        if statuses == [("running",), ("pending",), ("completed",)]:
            assert recorded == (0,)
            return False
        assert statuses == [("cancelled",), ("cancelled",), ("completed",)]
        assert recorded == (1,)
        return True

    @property
    def notes(self) -> list[str]:
        """What the callers wrote in their own table."""
        return [note for (note,) in self.connection.execute("SELECT note FROM notes").fetchall()]


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Lend a schema of the test's own."""
    with postgres_server.schema() as dsn:
        database = Database(dsn)
        yield database
        database.connection.close()


class Undone(Exception):
    """What a caller raises to roll back."""


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
        with pytest.raises(CancelFailed, match=r"open one, or use PostgresUnitOfWork") as failure:
            cancel_rows("job", uow=joining(connection))
        assert failure.value.outcome == "unchanged"
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


# What the caller's commit came to ----------------------------------------------------------------

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
        """Tell whether the job is; asserts that its contacts and its record are as it is."""
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
    """Lend a job that waits for its start."""
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
    engine = _engine(scheduled.database.dsn)
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
    """Its start would be gone before his commit; he is told what to call instead."""
    with psycopg.connect(database.dsn) as connection:
        with pytest.raises(CancelFailed, match="call cancel_rows there") as failure:
            cancel_job("job", uow=joining(connection), scheduler=MemoryScheduler())
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", False)
    assert not database.is_cancelled()


def _engine(dsn: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn),
        poolclass=sqlalchemy.NullPool,
    )


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_sqlalchemy_core(database: Database, *, commits: bool) -> None:
    """SQLAlchemy sends no BEGIN until the first statement, and that is ours."""
    with _engine(database.dsn).connect() as connection:
        transaction = connection.begin()
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        cancel_rows("job", uow=joining(driver))
        assert not database.is_cancelled()
        (transaction.commit if commits else transaction.rollback)()
    assert database.is_cancelled() is commits


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_sqlalchemy_session(database: Database, *, commits: bool) -> None:
    """The ORM's session, with a write of the caller's own after the cancel."""
    with sqlalchemy.orm.Session(_engine(database.dsn)) as session:
        driver: Any = session.connection().connection.driver_connection
        cancel_rows("job", uow=joining(driver))
        session.execute(sqlalchemy.text("INSERT INTO notes VALUES ('mine')"))
        assert not database.is_cancelled()
        (session.commit if commits else session.rollback)()
    assert database.is_cancelled() is commits
    assert database.notes == (["mine"] if commits else [])


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_sqlalchemy_asyncio(database: Database, *, commits: bool) -> None:
    """The asyncio session."""

    async def main() -> None:
        engine = sqlalchemy.ext.asyncio.create_async_engine(
            "postgresql+psycopg://",
            async_creator=lambda: psycopg.AsyncConnection.connect(database.dsn),
            poolclass=sqlalchemy.NullPool,
        )
        async with sqlalchemy.ext.asyncio.AsyncSession(engine) as session:
            raw = await (await session.connection()).get_raw_connection()
            driver: Any = raw.driver_connection
            await cancel_rows_async("job", uow=joining_async(driver))
            assert not database.is_cancelled()
            await (session.commit() if commits else session.rollback())
        await engine.dispose()

    asyncio.run(main())
    assert database.is_cancelled() is commits


DJANGO = """
import sys
import django
from django.conf import settings
from django.db import connection, transaction
from psycopg.conninfo import conninfo_to_dict
from batch_cancel import cancel_rows
from batch_cancel.adapters.postgres import joining

dsn, commits = sys.argv[1], sys.argv[2] == "commit"
options = conninfo_to_dict(dsn)
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": options.pop("host"), "PORT": options.pop("port"), "USER": options.pop("user"),
    "NAME": options.pop("dbname"), "OPTIONS": options,
}})
django.setup()
try:
    with transaction.atomic():
        connection.ensure_connection()
        cancel_rows("job", uow=joining(connection.connection))
        if not commits:
            raise InterruptedError
except InterruptedError:
    pass
connection.close()
"""


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_django_atomic(database: Database, ending: str) -> None:
    """`atomic()` begins lazily as well; in a process of its own, since Django is set up once."""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", DJANGO, database.dsn, ending],
        check=True,
        timeout=60,
    )
    assert database.is_cancelled() is (ending == "commit")
