"""The types of what comes out: checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from batch_cancel import (
    Cancellation,
    CancelResult,
    ContactStatus,
    Drift,
    JobKey,
    JobStatus,
    Removal,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
    inspect,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.adapters.otel import Telemetry
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.domain.job import Job
from batch_cancel.ports import (
    AsyncScheduler,
    AsyncUnitOfWork,
    InspectionRepository,
    Outbox,
    Repositories,
    Scheduler,
    UnitOfWork,
)


def what_comes_out(uow: UnitOfWork, scheduler: Scheduler) -> None:
    """Name the types of the answers."""
    result = cancel_job("job", uow=uow, scheduler=scheduler, actor=None, reason="why")
    assert_type(result, CancelResult)
    assert_type(result.batch_job_id, str)
    assert_type(result.previous_status, JobStatus)
    assert_type(result.contacts_cancelled, int)
    assert_type(result.removal, Removal)
    assert_type(result.redis_job_cancelled, bool)
    assert_type(result.operation_id, str)
    assert_type(result.cancelled_at, datetime)
    assert_type(result.message, str)
    assert_type(result.replayed, bool)
    cancellation = cancel_rows("job", uow=uow)
    assert_type(cancellation, Cancellation)
    assert_type(remove_deferred(cancellation, scheduler), CancelResult)
    assert_type(remove_deferred(cancellation, scheduler, uow=uow), CancelResult)


def what_comes_out_of_telemetry(uow: PostgresUnitOfWork, scheduler: RedisScheduler) -> None:
    """Name the types of what is watched: they are what they were."""
    telemetry = Telemetry()
    assert_type(telemetry.uow(uow), PostgresUnitOfWork)
    assert_type(telemetry.scheduler(scheduler), RedisScheduler)
    cancel = telemetry.counted(cancel_job)
    assert_type(cancel("job", uow=uow, scheduler=scheduler, actor="ada"), CancelResult)
    assert_type(inspect(uow=uow, scheduler=scheduler), Drift)
    assert_type(uow.check(), list[str])


async def what_comes_out_of_asyncio(uow: AsyncUnitOfWork, scheduler: AsyncScheduler) -> None:
    """Name the types of the asyncio answers."""
    assert_type(await cancel_job_async("job", uow=uow, scheduler=scheduler), CancelResult)
    cancellation = await cancel_rows_async("job", uow=uow)
    assert_type(cancellation, Cancellation)
    assert_type(await remove_deferred_async(cancellation, scheduler, uow=uow), CancelResult)


def any_is_not_needed(repositories: Repositories) -> None:
    """Name the types of what a port gives."""
    assert_type(repositories.jobs.lock(JobKey("job")), Job | None)
    assert_type(
        repositories.contacts.cancel(JobKey("job"), frozenset[ContactStatus]()), int | None
    )
    assert_type(repositories.outbox, Outbox | None)
    assert_type(repositories.inspection, InspectionRepository | None)
