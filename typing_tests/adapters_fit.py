"""
Every adapter fits its port, by its shape alone: checked by mypy and pyright, never run.

Nothing here inherits from a port; an assignment to a variable of the port's type is the test.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_type

import psycopg
import redis
import redis.asyncio
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from batch_cancel import (
    ClaimedContacts,
    ContactStatus,
    JobKey,
    JobStatus,
    append_contacts,
    append_contacts_async,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    expire_calls_async,
    finish_job,
    finish_job_async,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
    still_running,
    still_running_async,
)
from batch_cancel.adapters import postgres as postgres_adapter
from batch_cancel.adapters.apscheduler import ApschedulerScheduler, AsyncApschedulerScheduler
from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.docket import AsyncDocketScheduler, DocketScheduler
from batch_cancel.adapters.huey import AsyncHueyScheduler, HueyScheduler
from batch_cancel.adapters.memory import (
    AsyncMemoryRepositories,
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryRepositories,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
    joining_async,
)
from batch_cancel.adapters.postgres.repositories import (
    AsyncPostgresRepositories,
    PostgresRepositories,
)
from batch_cancel.adapters.procrastinate import (
    AsyncProcrastinateScheduler,
    ProcrastinateScheduler,
)
from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    AsyncStartGate,
    RedisScheduler,
    StartGate,
)
from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler, guarded
from batch_cancel.adapters.saq import AsyncSaqScheduler, SaqScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.adapters.sqlite.repositories import SqliteRepositories
from batch_cancel.adapters.taskiq import AsyncTaskiqStarts, TaskiqStarts
from batch_cancel.domain.job import CancellationRecord, Job
from batch_cancel.domain.status_names import contact_status_names, job_status_names
from batch_cancel.ports import (
    AsyncAutocommitUnitOfWork,
    AsyncCheckable,
    AsyncInspectableScheduler,
    AsyncScheduler,
    AsyncUnitOfWork,
    AsyncWorkRepository,
    AutocommitUnitOfWork,
    Checkable,
    ContactRepository,
    InspectableScheduler,
    InspectionRepository,
    JobRepository,
    Outbox,
    Repositories,
    Scheduler,
    UnitOfWork,
    WorkRepository,
)

DSN = "host=localhost"


# Ours --------------------------------------------------------------------------------------------

memory_store: UnitOfWork = MemoryStore()
async_memory_store: AsyncUnitOfWork = AsyncMemoryStore()
memory_scheduler: Scheduler = MemoryScheduler()
async_memory_scheduler: AsyncScheduler = AsyncMemoryScheduler()

sqlite_store: UnitOfWork = SqliteStore("jobs.db")
sqlite_store_by_path: UnitOfWork = SqliteStore(Path("jobs.db"))
sqlite_scheduler: Scheduler = SqliteScheduler("jobs.db")

redis_scheduler: Scheduler = RedisScheduler(redis.Redis())
redis_cluster_scheduler: Scheduler = RedisScheduler(redis.RedisCluster(host="localhost"))
async_redis_scheduler: AsyncScheduler = AsyncRedisScheduler(redis.asyncio.Redis())
async_redis_cluster_scheduler: AsyncScheduler = AsyncRedisScheduler(
    redis.asyncio.RedisCluster(host="localhost")
)

library_schedulers: list[Scheduler] = [
    ArqScheduler(redis.Redis(), queue="arq:queue"),
    HueyScheduler(redis.Redis(), name="huey"),
    DocketScheduler(redis.Redis(), name="docket"),
    RqScheduler(redis.Redis(), queue="default", scheduled="rq:scheduler:scheduled_jobs"),
    SaqScheduler(redis.Redis(), queue="default"),
    StartGate(redis.RedisCluster(host="localhost")),
    postgres_adapter.SqlStartGate(PostgresUnitOfWork(lambda: psycopg.connect(DSN))),
    ApschedulerScheduler(StartGate(redis.Redis()), redis.Redis()),
    TaskiqStarts(redis.Redis(), prefix="schedule"),
    ProcrastinateScheduler(PostgresUnitOfWork(lambda: psycopg.connect(DSN))),
    ProcrastinateScheduler(joining(psycopg.connect(DSN))),
]
async_library_schedulers: list[AsyncScheduler] = [
    AsyncArqScheduler(redis.asyncio.Redis()),
    AsyncHueyScheduler(redis.asyncio.Redis()),
    AsyncDocketScheduler(redis.asyncio.Redis()),
    AsyncRqScheduler(redis.asyncio.Redis()),
    AsyncSaqScheduler(redis.asyncio.Redis()),
    AsyncStartGate(redis.asyncio.RedisCluster(host="localhost")),
    postgres_adapter.AsyncSqlStartGate(
        AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(DSN))
    ),
    AsyncApschedulerScheduler(AsyncStartGate(redis.asyncio.Redis()), redis.asyncio.Redis()),
    AsyncTaskiqStarts(redis.asyncio.Redis()),
    AsyncProcrastinateScheduler(
        AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(DSN))
    ),
]


@guarded(RqScheduler(redis.Redis()))
def guarded_start(batch_job_id: str, *, attempts: int = 1) -> int:
    """Start a campaign."""
    return attempts


def what_comes_out_of_a_guarded_job() -> None:
    """Keep the parameters; what was taken back gives nothing."""
    assert_type(guarded_start("job", attempts=2), int | None)


postgres: AutocommitUnitOfWork = PostgresUnitOfWork(
    lambda: psycopg.connect(DSN), PostgresSchema(), lock_timeout=timedelta(seconds=1)
)
async_postgres: AsyncAutocommitUnitOfWork = AsyncPostgresUnitOfWork(
    lambda: psycopg.AsyncConnection.connect(DSN)
)


inspectable: list[InspectableScheduler] = [
    postgres_adapter.SqlStartGate(PostgresUnitOfWork(lambda: psycopg.connect(DSN))),
    MemoryScheduler(),
    SqliteScheduler("jobs.db"),
    RedisScheduler(redis.Redis()),
    ArqScheduler(redis.Redis()),
    RqScheduler(redis.Redis(), prefix="mine"),
    HueyScheduler(redis.Redis()),
    DocketScheduler(redis.Redis()),
    SaqScheduler(redis.Redis()),
    TaskiqStarts(redis.Redis()),
    ApschedulerScheduler(StartGate(redis.Redis()), redis.Redis()),
    ProcrastinateScheduler(PostgresUnitOfWork(lambda: psycopg.connect(DSN))),
]
async_inspectable: list[AsyncInspectableScheduler] = [
    AsyncMemoryScheduler(),
    AsyncRedisScheduler(redis.asyncio.Redis()),
    AsyncArqScheduler(redis.asyncio.Redis()),
    AsyncRqScheduler(redis.asyncio.Redis()),
    AsyncHueyScheduler(redis.asyncio.Redis()),
    AsyncDocketScheduler(redis.asyncio.Redis()),
    AsyncSaqScheduler(redis.asyncio.Redis()),
    AsyncTaskiqStarts(redis.asyncio.Redis()),
    AsyncApschedulerScheduler(AsyncStartGate(redis.asyncio.Redis()), redis.asyncio.Redis()),
    AsyncProcrastinateScheduler(
        AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(DSN))
    ),
]
checkable: list[Checkable] = [
    PostgresUnitOfWork(lambda: psycopg.connect(DSN)),
    SqliteStore("jobs.db"),
    RedisScheduler(redis.Redis()),
    ArqScheduler(redis.Redis()),
    ApschedulerScheduler(StartGate(redis.Redis()), redis.Redis()),
    ProcrastinateScheduler(joining(psycopg.connect(DSN))),
]
async_checkable: list[AsyncCheckable] = [
    AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(DSN)),
    AsyncRedisScheduler(redis.asyncio.Redis()),
    AsyncRqScheduler(redis.asyncio.Redis()),
    AsyncApschedulerScheduler(AsyncStartGate(redis.asyncio.Redis()), redis.asyncio.Redis()),
]


def postgres_on_connections_of_any_kind(
    pool: ConnectionPool[psycopg.Connection[DictRow]],
    async_pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]],
    connection: psycopg.Connection[DictRow],
    async_connection: psycopg.AsyncConnection[DictRow],
) -> None:
    """Use pools, factories of rows, connections of the caller's own."""
    units_of_work: list[UnitOfWork] = [
        PostgresUnitOfWork(pool.connection),
        PostgresUnitOfWork(lambda: psycopg.Connection[DictRow].connect(DSN, row_factory=dict_row)),
        PostgresUnitOfWork(lambda: nullcontext(connection)),
        joining(connection),
        joining(connection, PostgresSchema(jobs=("my schema", "Jobs"), job_updated_at=None)),
    ]
    async_units_of_work: list[AsyncUnitOfWork] = [
        AsyncPostgresUnitOfWork(async_pool.connection),
        AsyncPostgresUnitOfWork(lambda: nullcontext(async_connection)),
        joining_async(async_connection),
    ]
    assert units_of_work
    assert async_units_of_work


def workers_steps(store: UnitOfWork) -> None:
    """Give the answers that a worker goes by."""
    assert_type(start_job("j", uow=store), bool)
    contact_ids: list[str] = claim_contacts("j", uow=store, limit=10)
    claimed = claim_contacts("j", uow=store, limit=len(contact_ids), returning=("phone",))
    assert_type(claimed, ClaimedContacts)
    assert_type(claimed[0], str)
    assert_type(claimed.rows, tuple[Mapping[str, object], ...])
    assert_type(claimed.is_over, bool)
    assert_type(
        settle_contact("j", "c", ContactStatus.BUSY, uow=store, retry_at=datetime.now(UTC)),
        ContactStatus | None,
    )
    contacts: list[dict[str, object]] = [{"phone": "+1"}]
    assert_type(append_contacts("j", contacts, uow=store), int)
    assert_type(append_contacts("j", ({"phone": "+1"}, {"name": None}), uow=store), int)
    assert_type(finish_job("j", uow=store), bool)
    assert_type(still_running("j", uow=store, organization_id=None), bool)
    assert_type(expire_calls("j", timedelta(hours=4), uow=store), int)


async def workers_steps_async(store: AsyncUnitOfWork) -> None:
    """Give the answers that a worker goes by."""
    assert_type(await start_job_async("j", uow=store), bool)
    assert_type(await claim_contacts_async("j", uow=store, limit=10), ClaimedContacts)
    assert_type(
        await settle_contact_async("j", "c", ContactStatus.BUSY, uow=store), ContactStatus | None
    )
    assert_type(await append_contacts_async("j", [{"phone": "+1"}], uow=store), int)
    assert_type(await finish_job_async("j", uow=store), bool)
    assert_type(await still_running_async("j", uow=store), bool)
    assert_type(await expire_calls_async("j", timedelta(hours=4), uow=store), int)


def spellings_are_accepted(
    texts: dict[str, str],
    numbers: dict[str, int],
    several: dict[JobStatus, list[str]],
    mixed: dict[JobStatus, str | int | tuple[int, ...]],
    contacts: dict[ContactStatus, str],
) -> None:
    """Take the keys and the values that are at hand, without a cast."""
    assert_type(job_status_names(texts), dict[JobStatus, tuple[str | int, ...]])
    job_status_names(numbers)
    job_status_names(several)
    job_status_names(mixed)
    assert_type(contact_status_names(contacts), dict[ContactStatus, tuple[str | int, ...]])
    job_status_names({"scheduled": "planned", "running": ["on", "PAUSED"]})
    contact_status_names({ContactStatus.PENDING: [0], ContactStatus.QUEUED: [1, 2]})


def workers_steps_are_offered(
    memory: MemoryRepositories,
    sqlite: SqliteRepositories,
    postgres: PostgresRepositories,
    memory_async: AsyncMemoryRepositories,
    postgres_async: AsyncPostgresRepositories,
) -> None:
    """Fit the port in every store of ours."""
    blocking: list[WorkRepository] = [memory.work, sqlite.work, postgres.work]
    nonblocking: list[AsyncWorkRepository] = [memory_async.work, postgres_async.work]
    assert blocking
    assert nonblocking


# An adopter's: the minimum -----------------------------------------------------------------------


class Jobs:
    """An adopter's jobs, with names of parameters of his own."""

    def lock(self, job_key: JobKey) -> Job | None:
        """Find a job."""
        return Job(job_key, "running", None, datetime.now(UTC))

    def mark_cancelled(self, locked: Job, what: CancellationRecord) -> None:
        """Mark it."""


class Contacts:
    """An adopter's contacts."""

    def cancel(self, job_key: JobKey, which: AbstractSet[ContactStatus]) -> int:
        """Cancel them."""
        return 0


class Transaction:
    """An adopter's transaction, which keeps no records."""

    jobs = Jobs()
    contacts = Contacts()
    outbox = None
    inspection = None
    work = None


class Store:
    """An adopter's store."""

    def begin(self) -> AbstractContextManager[Transaction]:
        """Open a transaction."""
        return nullcontext(Transaction())


class Clock:
    """An adopter's scheduler."""

    def cancel(self, start: str, operation: str) -> bool:
        """Take a start back."""
        return True


class GeneratingStore:
    """An adopter's store whose transaction is a generator."""

    @contextmanager
    def begin(self) -> Generator[Transaction]:
        """Open a transaction."""
        yield Transaction()


adopters_jobs: JobRepository = Jobs()
adopters_contacts: ContactRepository = Contacts()
adopters_outbox: Outbox | None = Transaction.outbox
adopters_inspection: InspectionRepository | None = Transaction.inspection
adopters_transaction: Repositories = Transaction()
adopters_store: UnitOfWork = Store()
adopters_generating_store: UnitOfWork = GeneratingStore()
adopters_clock: Scheduler = Clock()
