"""What cancels many jobs fits its ports; checked by type checkers, not run."""

from __future__ import annotations

from typing import assert_type

from batch_cancel import BulkResult, JobFilter, cancel_jobs, cancel_jobs_async
from batch_cancel.adapters.memory import AsyncMemoryRepositories, MemoryRepositories
from batch_cancel.adapters.postgres.repositories import (
    AsyncPostgresRepositories,
    PostgresRepositories,
)
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlalchemy.repositories import (
    AsyncSqlAlchemyRepositories,
    SqlAlchemyRepositories,
)
from batch_cancel.adapters.sqlite.repositories import SqliteRepositories
from batch_cancel.ports import (
    AsyncBulkRepositories,
    AsyncBulkScheduler,
    AsyncScheduler,
    AsyncUnitOfWork,
    BulkRepositories,
    BulkScheduler,
    Repositories,
    Scheduler,
    UnitOfWork,
)


def ours_cancel_many(
    memory: MemoryRepositories,
    sqlite: SqliteRepositories,
    postgres: PostgresRepositories,
    sqlalchemy: SqlAlchemyRepositories,
) -> list[BulkRepositories]:
    """Name those that have the bulk port, blocking."""
    return [memory, sqlite, postgres, sqlalchemy]


def ours_cancel_many_async(
    memory: AsyncMemoryRepositories,
    postgres: AsyncPostgresRepositories,
    sqlalchemy: AsyncSqlAlchemyRepositories,
) -> list[AsyncBulkRepositories]:
    """Name those that have the bulk port, awaited."""
    return [memory, postgres, sqlalchemy]


def redis_removes_many(it: RedisScheduler) -> BulkScheduler:
    """Fit the port."""
    return it


def redis_removes_many_async(it: AsyncRedisScheduler) -> AsyncBulkScheduler:
    """Fit the port."""
    return it


def who_removes_many_is_a_scheduler_as_any_other(
    it: BulkScheduler, other: AsyncBulkScheduler
) -> tuple[Scheduler, AsyncScheduler]:
    """Need no more than the port."""
    return it, other


def who_has_it_is_a_store_as_any_other(it: BulkRepositories) -> Repositories:
    """Need no more than the port."""
    return it


def what_comes_out(uow: UnitOfWork, scheduler: Scheduler) -> None:
    """Name the types of the answers."""
    wanted = JobFilter(organization_id="acme", statuses=["running"])
    assert_type(cancel_jobs(wanted, uow=uow, scheduler=scheduler), BulkResult)
    assert_type(cancel_jobs(["a", "b"], uow=uow, scheduler=scheduler), BulkResult)


async def what_comes_out_awaited(uow: AsyncUnitOfWork, scheduler: AsyncScheduler) -> None:
    """Name the types of the asyncio answers."""

    async def progress(so_far: BulkResult) -> int:
        return so_far.done

    result = await cancel_jobs_async(["a"], uow=uow, scheduler=scheduler, progress=progress)
    assert_type(result, BulkResult)
