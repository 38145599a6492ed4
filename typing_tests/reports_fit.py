"""What reports on jobs and cancellations fits its ports; checked by type checkers, not run."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from batch_cancel import (
    CancellationPage,
    CancellationRecord,
    Preview,
    Progress,
    cancellation_of,
    cancellations,
    forget,
    forget_async,
    job_progress,
    preview_job,
    preview_job_async,
)
from batch_cancel.adapters.memory import AsyncMemoryRepositories, MemoryRepositories
from batch_cancel.adapters.postgres.repositories import (
    AsyncPostgresRepositories,
    PostgresRepositories,
)
from batch_cancel.adapters.sqlalchemy.repositories import (
    AsyncSqlAlchemyRepositories,
    SqlAlchemyRepositories,
)
from batch_cancel.adapters.sqlite.repositories import SqliteRepositories
from batch_cancel.ports import (
    AsyncReportingRepositories,
    AsyncUnitOfWork,
    ReportingRepositories,
    Repositories,
    UnitOfWork,
)


def ours_report(
    memory: MemoryRepositories,
    sqlite: SqliteRepositories,
    postgres: PostgresRepositories,
    sqlalchemy: SqlAlchemyRepositories,
) -> list[ReportingRepositories]:
    """Name those that report, blocking."""
    return [memory, sqlite, postgres, sqlalchemy]


def ours_report_async(
    memory: AsyncMemoryRepositories,
    postgres: AsyncPostgresRepositories,
    sqlalchemy: AsyncSqlAlchemyRepositories,
) -> list[AsyncReportingRepositories]:
    """Name those that report, awaited."""
    return [memory, postgres, sqlalchemy]


def who_reports_is_a_store_as_any_other(reporting: ReportingRepositories) -> Repositories:
    """Need no more than the port."""
    return reporting


def what_comes_out(uow: UnitOfWork, at: datetime) -> None:
    """Name the types of the answers."""
    assert_type(preview_job("job", uow=uow), Preview)
    assert_type(job_progress("job", uow=uow), Progress)
    assert_type(cancellation_of("job", uow=uow), CancellationRecord | None)
    assert_type(cancellations(uow=uow, since=at), CancellationPage)
    assert_type(forget(uow=uow, before=at), int)


async def what_comes_out_awaited(uow: AsyncUnitOfWork, at: datetime) -> None:
    """Name the types of the asyncio answers."""
    assert_type(await preview_job_async("job", uow=uow), Preview)
    assert_type(await forget_async(uow=uow, before=at), int)
