"""
Report on one job: what a cancel would do to it, and its progress.

Nothing is locked or changed, so both may run at any time, beside cancels and workers. A report is
true for one moment.
"""

from __future__ import annotations

from uuid import uuid4

from batch_cancel.domain.cancellation import CancelRequest
from batch_cancel.domain.errors import JobNotFound, StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.overview import Overview, Preview, Progress, preview, progress
from batch_cancel.ports import (
    AsyncOverviewRepository,
    AsyncRepositories,
    AsyncUnitOfWork,
    UnitOfWork,
)
from batch_cancel.use_cases.kinds import discard
from batch_cancel.use_cases.run_blocking import BlockingStore, run
from batch_cancel.use_cases.worker_step import attempted


def preview_job(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
    operation_id: str | None = None,
) -> Preview:
    """
    Return what `cancel_job` would do to the job, decided by the same code; nothing is changed.

    Nothing is locked: the job may have changed by the time of the cancel.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job without an organization.
        operation_id: that of the cancel; None for a new one. At most 1024 bytes.

    Returns:
        what would be done; the error of a cancel that would be refused is in it, and not raised.

    Raises:
        JobNotFound: this organization has no such job.
        StoreFailed: the store failed, or has no overview.
        TypeError: the store is of the wrong kind; it was not used.
        TypeError, ValueError: an argument cannot be stored.
    """
    return run(
        preview_job_async(
            batch_job_id,
            uow=BlockingStore(uow),
            organization_id=organization_id,
            operation_id=operation_id,
        )
    )


async def preview_job_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    operation_id: str | None = None,
) -> Preview:
    """As `preview_job`, awaited."""
    key = JobKey(batch_job_id, organization_id)
    request = CancelRequest(key, uuid4().hex if operation_id is None else operation_id)
    return preview(request, await attempted(uow, key, lambda it: _look(it, key)))


def job_progress(
    batch_job_id: str, *, uow: UnitOfWork, organization_id: str | None = None
) -> Progress:
    """
    Return how many contacts of the job are open, live and ended, and whether it is drained.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job without an organization.

    Raises:
        JobNotFound: this organization has no such job.
        StoreFailed: the store failed, or has no overview.
        TypeError: the store is of the wrong kind; it was not used.
    """
    return run(
        job_progress_async(batch_job_id, uow=BlockingStore(uow), organization_id=organization_id)
    )


async def job_progress_async(
    batch_job_id: str, *, uow: AsyncUnitOfWork, organization_id: str | None = None
) -> Progress:
    """As `job_progress`, awaited."""
    key = JobKey(batch_job_id, organization_id)
    found = await attempted(uow, key, lambda it: _look(it, key))
    if found is None:
        raise JobNotFound(key)
    return progress(found)


async def _look(repositories: AsyncRepositories, key: JobKey) -> Overview | None:
    overview: AsyncOverviewRepository | None = getattr(repositories, "overview", None)
    if overview is None:
        reason = (
            "this store has no overview of a job: its `repositories.overview` is missing or "
            "None, so implement `OverviewRepository` of batch_cancel.ports in it"
        )
        raise StoreFailed(reason)
    return _checked(await overview.look(key))


def _checked(answer: object) -> Overview | None:
    if answer is None or isinstance(answer, Overview):
        return answer
    discard(answer)
    reason = f"the store returned {type(answer).__name__} instead of an Overview"
    raise StoreFailed(reason)
