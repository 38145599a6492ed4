"""
What follows a commit on real Postgres: jobs that are set back, long transactions, lost answers.

The scheduler is asked, and the hook is told, only of a job that is cancelled in its row.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
import sqlalchemy

from batch_cancel import (
    CancelFailed,
    CancelResult,
    Fault,
    JobKey,
    Removal,
    StoreFailed,
    cancel_job,
    cancel_rows,
    cancel_rows_async,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.adapters import sqlalchemy as layer
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
    joining_async,
    table_ddl,
)
from batch_cancel.domain.cancellation import untaken
from tests.data_layers import TABLES
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.servers import PostgresServer

NONE = timedelta(0)

# A deferred trigger of a table that is none of ours: it runs at the caller's commit, after the
# cancel has looked at everything.
SETS_BACK = """
CREATE TABLE notes (note text);
CREATE FUNCTION set_back() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN UPDATE batch_jobs SET status = 'scheduled' WHERE status = 'cancelled'; RETURN NULL; END
$$;
CREATE CONSTRAINT TRIGGER set_back AFTER INSERT ON notes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION set_back();
"""


class Place:
    """A database with jobs that wait for their starts."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
        self.uow_async = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn))
        self.scheduler, self.scheduler_async = MemoryScheduler(), AsyncMemoryScheduler()
        with psycopg.connect(dsn) as connection:
            create_reference_tables(connection)

    def send(self, statement: str) -> list[Any]:
        """Execute a statement, and commit it."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def add(self, *job_ids: str, status: str = "scheduled") -> None:
        """Put in jobs, each with a start of its name."""
        for job_id in job_ids:
            self.send(
                "INSERT INTO batch_jobs (id, status, scheduled_job_id) "
                f"VALUES ('{job_id}', '{status}', '{job_id}')"
            )
            for scheduler in (self.scheduler, self.scheduler_async):
                scheduler.schedule(job_id, datetime.now(UTC) + timedelta(hours=1))

    @property
    def removals(self) -> list[tuple[str, bool]]:
        """What the records say."""
        return self.send(
            "SELECT removal, is_announced FROM batch_cancellations ORDER BY batch_job_id"
        )


@pytest.fixture
def place(postgres_server: PostgresServer) -> Iterator[Place]:
    """Yield a database."""
    with postgres_server.schema() as dsn:
        yield Place(dsn)


# A job that its commit has set back --------------------------------------------------------------


@pytest.mark.parametrize("driver", ["psycopg", "sqlalchemy"])
def test_a_job_that_its_commit_sets_back_keeps_its_start(place: Place, driver: str) -> None:
    """Half a cancel: nobody removes the start of a job that is scheduled, or says that it is."""
    place.send(SETS_BACK)
    place.add("job")
    told: list[CancelResult] = []
    insert = "INSERT INTO notes VALUES ('a note')"
    if driver == "psycopg":
        with psycopg.connect(place.dsn) as connection:
            cancellation = cancel_rows("job", uow=joining(connection), announce=True)
            connection.execute(insert)
    else:
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(place.dsn)
        )
        with engine.begin() as connection_:
            cancellation = cancel_rows(
                "job", uow=layer.joining(connection_, TABLES), announce=True
            )
            connection_.exec_driver_sql(insert)
        engine.dispose()
    assert place.send("SELECT status FROM batch_jobs") == [("scheduled",)]

    with pytest.raises(CancelFailed, match="set its status back") as failure:
        remove_deferred(cancellation, place.scheduler, uow=place.uow, on_cancelled=told.append)
    assert (failure.value.outcome, failure.value.retryable) == ("unknown", False)
    [result] = reconcile(
        uow=place.uow, scheduler=place.scheduler, lease=NONE, on_cancelled=told.append
    )

    assert result.removal is Removal.PENDING
    assert (place.scheduler.waiting(), told) == ({"job"}, [])
    assert place.removals == [("pending", False)]
    # Once the cause is gone, a cancel does it all.
    place.send("DROP TRIGGER set_back ON notes")
    assert cancel_job(
        "job", uow=place.uow, scheduler=place.scheduler, on_cancelled=told.append
    ).redis_job_cancelled
    assert len(told) == 1


def test_a_job_that_its_commit_sets_back_keeps_its_start_in_asyncio(place: Place) -> None:
    """The same."""
    place.send(SETS_BACK)
    place.add("job")

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(place.dsn) as connection:
            cancellation = await cancel_rows_async("job", uow=joining_async(connection))
            await connection.execute("INSERT INTO notes VALUES ('a note')")
        with pytest.raises(CancelFailed, match="set its status back"):
            await remove_deferred_async(cancellation, place.scheduler_async, uow=place.uow_async)
        [result] = await reconcile_async(
            uow=place.uow_async, scheduler=place.scheduler_async, lease=NONE
        )
        assert result.removal is Removal.PENDING

    asyncio.run(run())
    assert place.scheduler_async.waiting() == {"job"}


@pytest.mark.parametrize("layer_", ["psycopg", "sqlalchemy"])
def test_a_job_without_a_status_is_not_cancelled(place: Place, layer_: str) -> None:
    """NULL is no status that is known."""
    place.add("job")
    place.send("ALTER TABLE batch_jobs ALTER status DROP NOT NULL")
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(place.dsn)
    )
    uow: Any = place.uow if layer_ == "psycopg" else layer.SqlAlchemyUnitOfWork(engine, TABLES)
    cancel_rows("job", uow=uow)
    place.send("UPDATE batch_jobs SET status = NULL")
    with uow.begin() as repositories:
        assert repositories.outbox.find(JobKey("job")).is_undone
    [result] = reconcile(uow=uow, scheduler=place.scheduler, lease=NONE)
    assert result.removal is Removal.PENDING
    engine.dispose()


def test_a_job_that_is_gone_loses_its_start(place: Place) -> None:
    """Who deletes cancelled jobs, or hides them, does not want them back."""
    place.add("job", "other")
    for job_id in ("job", "other"):
        cancel_rows(job_id, uow=place.uow)
    place.send("DELETE FROM batch_jobs WHERE id = 'job'")
    results = reconcile(uow=place.uow, scheduler=place.scheduler, lease=NONE)
    assert [it.removal for it in results] == [Removal.REMOVED] * 2


def test_a_set_back_job_of_another_organization_is_another_job(place: Place) -> None:
    """Of two jobs of one id, each is looked at by itself."""
    place.send("ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_batch_job_id_fkey")
    place.send(
        "ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey, "
        "ADD PRIMARY KEY (organization_id, id); "
        "ALTER TABLE batch_contacts ADD organization_id text"
    )
    schema = PostgresSchema(contact_organization_id="organization_id")
    uow = PostgresUnitOfWork(lambda: psycopg.connect(place.dsn), schema)
    for organization in ("one", "two"):
        place.send(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            f"VALUES ('job', '{organization}', 'scheduled', '{organization}')"
        )
        place.scheduler.schedule(organization, datetime.now(UTC))
        cancel_rows("job", organization_id=organization, uow=uow)
    place.send("UPDATE batch_jobs SET status = 'scheduled' WHERE organization_id = 'one'")

    results = reconcile(uow=uow, scheduler=place.scheduler, lease=NONE)

    assert {it.removal for it in results} == {Removal.PENDING, Removal.REMOVED}
    assert place.scheduler.waiting() == {"one"}
    with uow.begin() as repositories:
        found = [repositories.outbox.find(JobKey("job", it)) for it in ("one", "two")]
    assert [it and it.is_undone for it in found] == [True, False]


def test_an_id_that_the_column_cannot_hold_any_more_holds_up_nothing(
    postgres_server: PostgresServer,
) -> None:
    """A record from before a migration of the ids; its job is not there any more."""
    with postgres_server.schema() as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "CREATE TABLE batch_jobs (id bigint PRIMARY KEY, organization_id text, "
                "status text NOT NULL, scheduled_job_id text, updated_at timestamptz);"
                "CREATE TABLE batch_contacts (id bigserial PRIMARY KEY, batch_job_id bigint, "
                "status text NOT NULL, next_attempt_at timestamptz, updated_at timestamptz);"
                "CREATE INDEX ON batch_contacts (batch_job_id, status);"
                "INSERT INTO batch_jobs VALUES (1, NULL, 'scheduled', '1'), "
                "(2, NULL, 'scheduled', '2')"
            )
            connection.execute(table_ddl(PostgresSchema()).encode())
        uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
        scheduler = MemoryScheduler()
        for job_id in ("1", "2"):
            scheduler.schedule(job_id, datetime.now(UTC))
            cancel_rows(job_id, uow=uow)
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "INSERT INTO batch_cancellations SELECT organization_id, 'of old', operation_id, "
                "previous_status, 0, NULL, NULL, cancelled_at, 'of old', 'pending', true, "
                "taken_at FROM batch_cancellations WHERE batch_job_id = '1'"
            )
            connection.execute("UPDATE batch_jobs SET status = 'scheduled' WHERE id = 2")

        results = reconcile(uow=uow, scheduler=scheduler, lease=NONE)

        assert {it.batch_job_id: it.removal for it in results} == {
            "1": Removal.REMOVED,
            "2": Removal.PENDING,
            "of old": Removal.ABSENT,
        }
        with uow.begin() as repositories:
            assert repositories.outbox.find(JobKey("of old")) is None


# A transaction longer than the lease -------------------------------------------------------------


def test_a_transaction_longer_than_the_lease_is_announced_once(place: Place) -> None:
    """Its record is as old as its lock: reconcile takes it up as soon as it is committed."""
    place.add("job")
    told: list[str] = []
    lease = timedelta(seconds=0.4)
    with psycopg.connect(place.dsn) as connection:
        cancellation = cancel_rows("job", uow=joining(connection), announce=True)
        sleep(0.5)

    def slow(_: CancelResult) -> None:
        told.append("caller")
        sleep(0.2)

    thread = threading.Thread(
        target=remove_deferred,
        args=(cancellation, place.scheduler),
        kwargs={"uow": place.uow, "on_cancelled": slow},
    )
    thread.start()
    while not told:
        sleep(0.01)
    taken = reconcile(
        uow=place.uow,
        scheduler=place.scheduler,
        lease=lease,
        on_cancelled=lambda _: told.append("reconcile"),
    )
    thread.join()

    assert (taken, told) == ([], ["caller"])
    assert place.removals == [("removed", True)]


# A retry whose COMMIT broke ----------------------------------------------------------------------


class LostAtCommit(PostgresUnitOfWork):
    """The answer to its first commit is lost."""

    begun = 0

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction; of the first, it is unknown whether it was committed."""
        with super().begin() as repositories:
            yield repositories
        self.begun += 1
        if self.begun == 1:
            reason = "the answer is lost"
            raise StoreFailed(reason, "unknown", Fault.INTERRUPTED)


def test_a_replay_whose_commit_broke_is_a_replay(place: Place) -> None:
    """It only read: there is nothing that may have happened, and nothing to tell."""
    place.add("job")
    told: list[CancelResult] = []
    retries: list[CancelResult] = []
    uow = LostAtCommit(lambda: psycopg.connect(place.dsn))

    def tell(result: CancelResult) -> None:
        told.append(result)
        retries.append(
            cancel_job(
                "job",
                uow=uow,
                scheduler=place.scheduler,
                operation_id="op",
                on_cancelled=told.append,
            )
        )

    first = cancel_job(
        "job", uow=place.uow, scheduler=place.scheduler, operation_id="op", on_cancelled=tell
    )

    assert told == [first]
    assert ([it.replayed for it in retries], uow.begun) == ([True], 2)


# Two at once -------------------------------------------------------------------------------------


def test_of_many_claims_at_once_one_succeeds(place: Place) -> None:
    """Each has read the same turn; whoever waits for the row finds another one."""
    place.add("job")
    record = cancel_rows("job", uow=place.uow).record
    barrier, claimed = threading.Barrier(8), list[object]()

    def claim() -> None:
        with place.uow.begin() as repositories:
            found = repositories.outbox.find(record.key)
            assert found is not None
            barrier.wait()
            claimed.append(repositories.outbox.claim(found))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([it for it in claimed if it is not None]) == 1
    assert len(claimed) == 8


def test_a_claim_is_of_one_cancellation(place: Place) -> None:
    """Neither another operation nor an earlier life of the job gets this one's turn."""
    place.add("job")
    record = untaken(cancel_rows("job", uow=place.uow).record)
    earlier = attrs.evolve(record, cancelled_at=record.cancelled_at - timedelta(hours=1))
    another = attrs.evolve(record, operation_id="another")
    with place.uow.begin() as repositories:
        claims = [repositories.outbox.claim(it) for it in (earlier, another, record)]
    assert claims == [None, None, record]
