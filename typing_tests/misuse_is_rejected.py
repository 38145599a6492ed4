"""
What must not type-check does not: checked by mypy and pyright, never run.

Each wrong line expects its error, of mypy by the error's code, of pyright any. Both report an
expectation that is not met, so a type that became too loose shows up here.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import psycopg
import redis
import redis.asyncio

from batch_cancel import (
    Cancellation,
    JobKey,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    remove_deferred,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
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
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.domain.job import CancellationRecord, Job
from batch_cancel.domain.status_names import job_status_names
from batch_cancel.domain.statuses import JobStatus
from batch_cancel.ports import AsyncUnitOfWork, JobRepository, Repositories, Scheduler, UnitOfWork

DSN = "host=localhost"

# The wrong half ----------------------------------------------------------------------------------

store, clock = MemoryStore(), MemoryScheduler()
async_store, async_clock = AsyncMemoryStore(), AsyncMemoryScheduler()

cancel_job("job", uow=async_store, scheduler=clock)  # type: ignore[arg-type]
cancel_job("job", uow=store, scheduler=async_clock)  # type: ignore[arg-type]


async def wrong_half(cancellation: Cancellation) -> None:
    """Give a blocking port to an asyncio use case, and the reverse."""
    await cancel_job_async("job", uow=store, scheduler=async_clock)  # type: ignore[arg-type]
    await cancel_job_async("job", uow=async_store, scheduler=clock)  # type: ignore[arg-type]
    remove_deferred(cancellation, async_clock)  # type: ignore[arg-type]
    remove_deferred(cancellation, clock, uow=async_store)  # type: ignore[arg-type]
    cancel_job_async("job", uow=async_store, scheduler=async_clock)  # type: ignore[unused-coroutine]


sqlite_is_blocking: AsyncUnitOfWork = SqliteStore("jobs.db")  # type: ignore[assignment]
async_postgres_is_not: UnitOfWork = AsyncPostgresUnitOfWork(  # type: ignore[assignment]
    lambda: psycopg.AsyncConnection.connect(DSN)
)
async_redis_is_not: Scheduler = AsyncRedisScheduler(redis.asyncio.Redis())  # type: ignore[assignment]

PostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(DSN))  # type: ignore[arg-type,return-value]
AsyncPostgresUnitOfWork(lambda: psycopg.connect(DSN))  # type: ignore[arg-type,return-value]
RedisScheduler(redis.asyncio.Redis())  # type: ignore[arg-type]
AsyncRedisScheduler(redis.Redis())  # type: ignore[arg-type]


def wrong_connection(
    connection: psycopg.Connection, async_connection: psycopg.AsyncConnection
) -> None:
    """Join what cannot be joined in this half."""
    joining(async_connection)  # type: ignore[arg-type]
    joining_async(connection)  # type: ignore[arg-type]
    PostgresUnitOfWork(connection)  # type: ignore[arg-type]


# The wrong port ----------------------------------------------------------------------------------

a_scheduler_is_no_store: UnitOfWork = SqliteScheduler("jobs.db")  # type: ignore[assignment]
a_store_is_no_scheduler: Scheduler = MemoryStore()  # type: ignore[assignment]

# The wrong call ----------------------------------------------------------------------------------

cancel_job("job", store, clock)  # type: ignore[call-arg]
cancel_job("job", uow=store)  # type: ignore[call-arg]
cancel_job(42, uow=store, scheduler=clock)  # type: ignore[arg-type]
cancel_job(None, uow=store, scheduler=clock)  # type: ignore[arg-type]
cancel_job("job", uow=store, scheduler=clock, organization_id=7)  # type: ignore[arg-type]
cancel_job("job", uow=store, scheduler=clock, deferred_id="start")  # type: ignore[call-arg]
cancel_rows("job", uow=store, scheduler=clock)  # type: ignore[call-arg]
PostgresSchema("batch_jobs")  # type: ignore[call-arg]
PostgresSchema(jobs=("a", "b", "c"))  # type: ignore[arg-type]
PostgresSchema(job_id=None)  # type: ignore[arg-type]

job_status_names({"running": 1.5})  # type: ignore[arg-type]
job_status_names({JobStatus.RUNNING: None})  # type: ignore[arg-type]
job_status_names({1: "running"})  # type: ignore[arg-type]

# Values do not change ----------------------------------------------------------------------------

key = JobKey("job")
key.batch_job_id = "other"  # type: ignore[misc]

# An adopter's store that does not fit ------------------------------------------------------------


class JobsByText:
    """It takes an id where a key is given: the organization would be lost."""

    def lock(self, batch_job_id: str) -> Job | None:
        """Find a job."""
        return None

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        """Mark it."""


class ForgetfulTransaction:
    """It has no contacts."""

    jobs = JobsByText()
    outbox = None


class ForgetfulStore:
    """It opens such transactions."""

    def begin(self) -> AbstractContextManager[ForgetfulTransaction]:
        """Open a transaction."""
        return nullcontext(ForgetfulTransaction())


class UnsureClock:
    """It may not answer, and does not say so by raising."""

    def cancel(self, deferred_id: str, operation_id: str) -> bool | None:
        """Take a start back."""
        return None


an_id_is_no_key: JobRepository = JobsByText()  # type: ignore[assignment]
contacts_are_needed: Repositories = ForgetfulTransaction()  # type: ignore[assignment]
a_store_needs_them_too: UnitOfWork = ForgetfulStore()  # type: ignore[assignment]
an_answer_is_a_bool: Scheduler = UnsureClock()  # type: ignore[assignment]
