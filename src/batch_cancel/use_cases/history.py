"""
Read records of cancellations: that of one job, and the history of an organization, page by page.

Reading locks and changes nothing. A record exists from the commit of its cancellation until
`forget` deletes it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, cast

from batch_cancel.domain.defaults import FORGET_SLICE, PAGE_LIMIT, RETRY_WINDOW
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.history import CancellationPage, Place, Wanted, check_forgetting, page
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.worker_rules import check_limit
from batch_cancel.ports import (
    AsyncHistoryRepository,
    AsyncRepositories,
    AsyncUnitOfWork,
    UnitOfWork,
)
from batch_cancel.use_cases.joining import read_record
from batch_cancel.use_cases.kinds import discard
from batch_cancel.use_cases.run_blocking import BlockingStore, check_store, run
from batch_cancel.use_cases.worker_step import repeated

_NO_RECORDS: Final = "this store keeps no cancellation records: its `repositories.outbox` is None"
_NO_HISTORY: Final = (
    "this store has no history: its `repositories.history` is missing or None, so implement "
    "`HistoryRepository` of batch_cancel.ports in it"
)


def cancellation_of(
    batch_job_id: str, *, uow: UnitOfWork, organization_id: str | None = None
) -> CancellationRecord | None:
    """
    Return the record of the job's cancellation: who, why, when, and what is still pending.

    The job's row need not exist any more. For a job that was cancelled several times it is the
    last record; `cancellations` has the earlier ones as well.

    Arguments:
        batch_job_id: the job.
        uow: where the records are.
        organization_id: whose job it is; None for a job without an organization.

    Returns:
        the record, whose `is_undone` is True if the job exists and is not cancelled; None if there
        is no record.

    Raises:
        StoreFailed: the store failed, or keeps no records.
        TypeError: the store is of the wrong kind; it was not used.
    """
    return run(
        cancellation_of_async(
            batch_job_id, uow=BlockingStore(uow), organization_id=organization_id
        )
    )


async def cancellation_of_async(
    batch_job_id: str, *, uow: AsyncUnitOfWork, organization_id: str | None = None
) -> CancellationRecord | None:
    """As `cancellation_of`, awaited."""
    key = JobKey(batch_job_id, organization_id)
    check_store(uow)
    if not key.can_exist:
        return None
    return await repeated(uow, lambda repositories: _find(repositories, key))


def cancellations(
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = PAGE_LIMIT,
    after: str | None = None,
) -> CancellationPage:
    """
    Return the cancellations of an organization's jobs, the newest first, page by page.

    A job that was cancelled several times has a record of each cancellation. A cancel while the
    pages are read comes before the first page, and does not shift the others.

    Arguments:
        uow: where the records are.
        organization_id: whose jobs; None for jobs without an organization, never for all.
        since: only cancellations at this time or later, an aware datetime; None for all.
        until: only cancellations before this time, an aware datetime; None for all.
        limit: how many records a page holds at most.
        after: the `next` of the page before this one; None for the first page.

    Raises:
        StoreFailed: the store failed, or has no history.
        TypeError: the store is of the wrong kind; it was not used.
        ValueError: `after` is not the `next` of a page, `limit` is not 1 to 1,000,000, or a time
            has no time zone.
    """
    return run(
        cancellations_async(
            uow=BlockingStore(uow),
            organization_id=organization_id,
            since=since,
            until=until,
            limit=limit,
            after=after,
        )
    )


async def cancellations_async(
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = PAGE_LIMIT,
    after: str | None = None,
) -> CancellationPage:
    """As `cancellations`, awaited."""
    check_store(uow)
    check_limit(limit, least=1)
    wanted = Wanted(organization_id, since, until, None if after is None else Place.read(after))
    if not JobKey("any", organization_id).can_exist:
        return page((), limit)
    return page(await repeated(uow, lambda it: _page(it, wanted, limit + 1)), limit)


def forget(*, uow: UnitOfWork, before: datetime, retry_window: timedelta = RETRY_WINDOW) -> int:
    """
    Delete old records of cancellations, of all organizations, and return how many.

    A record with something pending stays, however old. So does one that is younger than
    `retry_window`, whatever `before` is: without it, a client that retries with its operation id
    would get the error that the job is cancelled already. Records are deleted in slices, each in a
    short transaction of its own; it may run beside anything, at any time.

    Arguments:
        uow: where the records are.
        before: only cancellations before this time, an aware datetime.
        retry_window: how long a client may retry with the same operation id.

    Raises:
        StoreFailed: the store failed, or has no history; what was deleted before stays deleted.
        TypeError: the store is of the wrong kind; it was not used.
        TypeError, ValueError: `before` is not an aware datetime, or `retry_window` not a timedelta
            of 0 to a century.
    """
    return run(forget_async(uow=BlockingStore(uow), before=before, retry_window=retry_window))


async def forget_async(
    *, uow: AsyncUnitOfWork, before: datetime, retry_window: timedelta = RETRY_WINDOW
) -> int:
    """As `forget`, awaited."""
    check_store(uow)
    check_forgetting(before, retry_window)
    forgotten = 0
    while True:
        number = await repeated(uow, lambda it: _forget(it, before, retry_window))
        forgotten += number
        if number < FORGET_SLICE:
            return forgotten


async def _forget(
    repositories: AsyncRepositories, before: datetime, retry_window: timedelta
) -> int:
    history = _history(repositories)
    answer = cast("object", await history.forget(before, retry_window, FORGET_SLICE))
    if isinstance(answer, int):
        return answer
    discard(answer)
    reason = f"the store returned {type(answer).__name__} instead of a number of records"
    raise StoreFailed(reason)


async def _find(repositories: AsyncRepositories, key: JobKey) -> CancellationRecord | None:
    if repositories.outbox is None:
        raise StoreFailed(_NO_RECORDS)
    return read_record(await repositories.outbox.find(key))


async def _page(
    repositories: AsyncRepositories, wanted: Wanted, limit: int
) -> list[CancellationRecord]:
    answer = cast("object", await _history(repositories).page(wanted, limit))
    if isinstance(answer, list):
        return cast("list[CancellationRecord]", answer)
    discard(answer)
    reason = f"the store returned {type(answer).__name__} instead of a list of records"
    raise StoreFailed(reason)


def _history(repositories: AsyncRepositories) -> AsyncHistoryRepository:
    history: AsyncHistoryRepository | None = getattr(repositories, "history", None)
    if history is None:
        raise StoreFailed(_NO_HISTORY)
    return history
