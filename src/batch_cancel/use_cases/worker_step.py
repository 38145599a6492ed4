"""
One step of a worker, in one short transaction.

A failed step is retried only if it certainly did not happen. If that is not known
(`StoreFailed.outcome` is "unknown"), the worker gets the error, because a repeated step would
return False, or dial twice.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar, cast

from batch_cancel.domain.cancellation import live_job
from batch_cancel.domain.claimed_contacts import ClaimedContacts
from batch_cancel.domain.errors import JobNotFound, StoreFailed
from batch_cancel.domain.job import Job, JobKey, check_text, is_storable
from batch_cancel.domain.retry import may_step_again
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.worker_rules import (
    CLAIMABLE_CONTACTS,
    UNFINISHED_CONTACTS,
    CallEnd,
    depends_on_contacts,
    is_over,
)
from batch_cancel.ports import (
    AsyncReadingWorkRepository,
    AsyncRepeatableUnitOfWork,
    AsyncRepositories,
    AsyncUnitOfWork,
    AsyncWorkRepository,
)
from batch_cancel.use_cases.autocommit import Autocommit
from batch_cancel.use_cases.kinds import opened_async
from batch_cancel.use_cases.lock import lock
from batch_cancel.use_cases.run_blocking import check_store, own, repeatable

_T = TypeVar("_T")


async def attempted(
    uow: AsyncUnitOfWork,
    key: JobKey,
    step: Callable[[AsyncRepositories], Awaitable[_T]],
    *,
    autocommit: bool = False,
) -> _T:
    """
    Run a step in a transaction of its own, and return its answer.

    Arguments:
        uow: the store.
        key: the job.
        step: the step.
        autocommit: whether each of its calls may be committed by itself, see `autocommit.py`.

    Raises:
        TypeError: the store is of the wrong kind.
        JobNotFound: the key cannot be stored; or the step raises it.
        StoreFailed: the store failed, and the step is not retried.
    """
    check_store(uow)
    if not key.can_exist:
        raise JobNotFound(key)
    return await repeated(uow, step, autocommit=autocommit)


async def repeated(
    uow: AsyncUnitOfWork,
    step: Callable[[AsyncRepositories], Awaitable[_T]],
    *,
    autocommit: bool = False,
) -> _T:
    """
    Do a step in a transaction of its own, as `attempted`, again while that is worth it.

    Raises:
        StoreFailed: the store failed, and another attempt is not worth it.
    """
    made = 0
    while True:
        try:
            async with opened_async(Autocommit(uow) if autocommit else uow) as repositories:
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


def may_be_named(deferred_id: str | None) -> bool:
    """
    Check whether a job can name this deferred start.

    Raises:
        TypeError: the id is not a str.
    """
    if deferred_id is None:
        return True
    check_text("deferred_id", deferred_id)
    return is_storable(deferred_id, sys.maxsize)


async def claim(
    repositories: AsyncRepositories, key: JobKey, limit: int, returning: tuple[str, ...]
) -> ClaimedContacts:
    """Claim contacts, and find out of an empty claim whether it is the last one."""
    work = offered(repositories.work)
    if returning:
        found = await _reading(work).claim_returning(key, CLAIMABLE_CONTACTS, limit, returning)
        claimed = ClaimedContacts([it for it, _ in found], [row for _, row in found])
    else:
        ids = list(await work.claim(key, CLAIMABLE_CONTACTS, limit))
        claimed = ClaimedContacts(ids, [{} for _ in ids])
    return claimed or ClaimedContacts(is_over=await _is_over(work, key))


async def _is_over(work: AsyncWorkRepository, key: JobKey) -> bool:
    status = await work.status(key)
    has_unfinished = status is not None
    if depends_on_contacts(status) and _reads(work):
        has_unfinished = await _reading(work).has_contacts(key, UNFINISHED_CONTACTS)
    return is_over(status, has_unfinished=has_unfinished)


def _reading(work: AsyncWorkRepository) -> AsyncReadingWorkRepository:
    """
    Return the workers' steps of a store that reads contacts for them.

    Raises:
        StoreFailed: it does not.
    """
    if _reads(work):
        return cast("AsyncReadingWorkRepository", work)
    reason = (
        "this store returns no columns of contacts: implement `ReadingWorkRepository` of "
        "batch_cancel.ports in its `work`, or claim without `returning`"
    )
    raise StoreFailed(reason)


def _reads(work: AsyncWorkRepository) -> bool:
    return callable(getattr(own(work), "claim_returning", None))


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
