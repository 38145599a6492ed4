"""
One step of a worker, in one short transaction.

A failed step is retried only if it certainly did not happen. If that is not known
(`StoreFailed.outcome` is "unknown"), the worker gets the error, because a repeated step would
return False, or dial twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar, cast

from batch_cancel.domain.cancellation import live_job
from batch_cancel.domain.errors import JobNotFound, StoreFailed
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.retry import may_step_again
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.worker_rules import CallEnd
from batch_cancel.ports import AsyncRepeatableUnitOfWork, AsyncRepositories, AsyncUnitOfWork
from batch_cancel.use_cases.kinds import opened_async
from batch_cancel.use_cases.lock import lock
from batch_cancel.use_cases.once import Once
from batch_cancel.use_cases.run_blocking import check_store, repeatable

_T = TypeVar("_T")


async def attempted(
    uow: AsyncUnitOfWork,
    key: JobKey,
    step: Callable[[AsyncRepositories], Awaitable[_T]],
    *,
    once: bool = False,
) -> _T:
    """
    Run a step in a transaction of its own, and return its answer.

    Arguments:
        uow: the store.
        key: the job.
        step: the step.
        once: whether it is one call of a repository, whose answer it returns as it is. Then the
            store may commit the transaction with that call.

    Raises:
        TypeError: the store is of the wrong kind.
        JobNotFound: the key cannot be stored; or the step raises it.
        StoreFailed: the store failed, and the step is not retried.
    """
    check_store(uow)
    if not key.can_exist:
        raise JobNotFound(key)
    return await repeated(uow, step, once=once)


async def repeated(
    uow: AsyncUnitOfWork,
    step: Callable[[AsyncRepositories], Awaitable[_T]],
    *,
    once: bool = False,
) -> _T:
    """
    Do a step in a transaction of its own, again while that is worth it; `once` as in `attempted`.

    Raises:
        StoreFailed: the store failed, and another attempt is not worth it.
    """
    made = 0
    while True:
        try:
            async with opened_async(Once(uow) if once else uow) as repositories:
                return await step(repositories)
        except StoreFailed as failure:
            made += 1
            if repeatable(uow) is None or not may_step_again(failure, made):
                raise
        await cast("AsyncRepeatableUnitOfWork", uow).pause(made)


def offered(work: _T | None) -> _T:
    """
    Return the workers' steps of a store.

    Raises:
        StoreFailed: the store does not offer them.
    """
    if work is None:
        reason = "this store does not offer the workers' steps: its `work` is None"
        raise StoreFailed(reason)
    return work


async def settle(
    repositories: AsyncRepositories, key: JobKey, contact_id: str, end: CallEnd
) -> ContactStatus | None:
    """Write the outcome of a call; return the new status, None if the contact is not dialing."""
    job = await _existing(repositories, key) if end.depends_on_job else None
    settlement = end.settlement(job)
    if await offered(repositories.work).settle(key, contact_id, settlement):
        return settlement.status
    return None


async def expire(repositories: AsyncRepositories, key: JobKey, older_than: timedelta) -> int:
    """End the calls that have been live for too long; return how many."""
    settlement = CallEnd(ContactStatus.TIMEOUT).settlement(await _existing(repositories, key))
    return await offered(repositories.work).expire(key, settlement, older_than)


async def append(
    repositories: AsyncRepositories, key: JobKey, contacts: Sequence[Mapping[str, object]]
) -> int:
    """Add contacts to a live job; return how many."""
    job, _ = live_job(key, await lock(repositories, key))
    return await offered(repositories.work).append(job, contacts)


async def _existing(repositories: AsyncRepositories, key: JobKey) -> Job:
    job = await lock(repositories, key)
    if job is None:
        raise JobNotFound(key)
    return job
