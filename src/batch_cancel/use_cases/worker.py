"""
What workers call before they act on a job, so that a cancelled job starts no more calls.

Each is one short transaction. The rules are in `domain/worker_rules.py`; a worker that keeps to
them, or that calls these, can't undo a cancel, whatever it had read before.

A step that failed is tried again only where it certainly did not happen. Where that is not known
(`StoreFailed.outcome` is "unknown") the worker is told, because repeating it would answer False,
or dial twice.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from batch_cancel.domain.errors import JobNotFound, StoreFailed
from batch_cancel.domain.model import (
    ID_BYTES_MAX,
    ContactStatus,
    Job,
    JobKey,
    check_text,
    is_storable,
)
from batch_cancel.domain.retry import may_step_again
from batch_cancel.domain.worker_rules import (
    CLAIMABLE_CONTACTS,
    STARTABLE_JOBS,
    UNFINISHED_CONTACTS,
    CallEnd,
    check_age,
    check_limit,
    is_running,
    live_job,
)
from batch_cancel.ports import (
    AsyncRepeatableUnitOfWork,
    AsyncRepositories,
    AsyncUnitOfWork,
    RepeatableUnitOfWork,
    Repositories,
    UnitOfWork,
)
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.lock import lock, lock_async

_T = TypeVar("_T")


def start_job(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
    deferred_id: str | None = None,
) -> bool:
    """
    Start a scheduled or a pending job: what a deferred start does when it fires.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.
        deferred_id: the id of the deferred start that fired, to be compared with the one that the
            job names, which differs once the job is rescheduled. Let the row name a start before
            that can fire. None starts the job early, whatever it names.

    Returns:
        True if the job is running now and was started by this call. False: it is cancelled, has
        ended, runs already, names another deferred start, or is not there; then stop.

    Raises:
        TypeError: an id is no text.
        StoreFailed: the store failed; `.outcome` says whether the job may have been started.
    """
    key = JobKey(batch_job_id, organization_id)
    if not _may_be_named(deferred_id):
        return False
    try:
        return _attempted(
            uow,
            key,
            lambda repositories: _offered(repositories.work).start(
                key, STARTABLE_JOBS, deferred_id
            ),
        )
    except JobNotFound:
        return False


async def start_job_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    deferred_id: str | None = None,
) -> bool:
    """
    Start a scheduled or a pending job: what a deferred start does when it fires.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.
        deferred_id: the id of the deferred start that fired, to be compared with the one that the
            job names, which differs once the job is rescheduled. Let the row name a start before
            that can fire. None starts the job early, whatever it names.

    Returns:
        True if the job is running now and was started by this call. False: it is cancelled, has
        ended, runs already, names another deferred start, or is not there; then stop.

    Raises:
        TypeError: an id is no text.
        StoreFailed: the store failed; `.outcome` says whether the job may have been started.
    """
    key = JobKey(batch_job_id, organization_id)
    if not _may_be_named(deferred_id):
        return False
    try:
        return await _attempted_async(
            uow,
            key,
            lambda repositories: _offered(repositories.work).start(
                key, STARTABLE_JOBS, deferred_id
            ),
        )
    except JobNotFound:
        return False


def claim_contacts(
    batch_job_id: str, *, uow: UnitOfWork, limit: int, organization_id: str | None = None
) -> list[str]:
    """
    Take contacts of a running job to dial: they are set to dialing, and are the caller's.

    Only those that are due, and that no other worker is taking: first the ones without a time,
    then the longest due. Once a cancel of the job has answered, nothing is given out any more.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        limit: how many contacts at most, 0 to 1,000,000.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        the ids of the contacts; empty if there is nothing to dial now, or ever again.

    Raises:
        StoreFailed: the store failed; if `.outcome` is "unknown", contacts may be dialing that
            nobody dials.
        ValueError: a limit out of its bounds.
    """
    check_limit(limit)
    key = JobKey(batch_job_id, organization_id)
    try:
        return _attempted(
            uow,
            key,
            lambda repositories: _offered(repositories.work).claim(key, CLAIMABLE_CONTACTS, limit),
        )
    except JobNotFound:
        return []


async def claim_contacts_async(
    batch_job_id: str, *, uow: AsyncUnitOfWork, limit: int, organization_id: str | None = None
) -> list[str]:
    """
    Take contacts of a running job to dial: they are set to dialing, and are the caller's.

    Only those that are due, and that no other worker is taking: first the ones without a time,
    then the longest due. Once a cancel of the job has answered, nothing is given out any more.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        limit: how many contacts at most, 0 to 1,000,000.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        the ids of the contacts; empty if there is nothing to dial now, or ever again.

    Raises:
        StoreFailed: the store failed; if `.outcome` is "unknown", contacts may be dialing that
            nobody dials.
        ValueError: a limit out of its bounds.
    """
    check_limit(limit)
    key = JobKey(batch_job_id, organization_id)
    try:
        return await _attempted_async(
            uow,
            key,
            lambda repositories: _offered(repositories.work).claim(key, CLAIMABLE_CONTACTS, limit),
        )
    except JobNotFound:
        return []


def settle_contact(
    batch_job_id: str,
    contact_id: str,
    outcome: ContactStatus,
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
    retry_at: datetime | None = None,
) -> ContactStatus | None:
    """
    Write how a live call ended, unless its contact is no longer dialing.

    A call that would be retried is not, if its job was cancelled meanwhile: its contact becomes
    cancelled. Every other end is kept.

    Arguments:
        batch_job_id: the job.
        contact_id: the contact, as `claim_contacts` gave it.
        outcome: how the call ended; queued, no_answer, busy and timeout are to be retried.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.
        retry_at: when it may be dialled again, an aware datetime; None for at once. It does not
            matter for an end that is not retried.

    Returns:
        the status that was written; None if the contact was not dialing, or is not there.

    Raises:
        StoreFailed: the store failed; `.outcome` says whether it may have been written.
        ValueError: no call ends like this, or a time without a zone.
    """
    end = CallEnd(outcome, retry_at)
    key = JobKey(batch_job_id, organization_id)
    check_text("contact_id", contact_id)
    if not is_storable(contact_id, ID_BYTES_MAX):
        return None
    try:
        return _attempted(
            uow, key, lambda repositories: _settle(repositories, key, contact_id, end)
        )
    except JobNotFound:
        return None


async def settle_contact_async(
    batch_job_id: str,
    contact_id: str,
    outcome: ContactStatus,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    retry_at: datetime | None = None,
) -> ContactStatus | None:
    """
    Write how a live call ended, unless its contact is no longer dialing.

    A call that would be retried is not, if its job was cancelled meanwhile: its contact becomes
    cancelled. Every other end is kept.

    Arguments:
        batch_job_id: the job.
        contact_id: the contact, as `claim_contacts` gave it.
        outcome: how the call ended; queued, no_answer, busy and timeout are to be retried.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.
        retry_at: when it may be dialled again, an aware datetime; None for at once. It does not
            matter for an end that is not retried.

    Returns:
        the status that was written; None if the contact was not dialing, or is not there.

    Raises:
        StoreFailed: the store failed; `.outcome` says whether it may have been written.
        ValueError: no call ends like this, or a time without a zone.
    """
    end = CallEnd(outcome, retry_at)
    key = JobKey(batch_job_id, organization_id)
    check_text("contact_id", contact_id)
    if not is_storable(contact_id, ID_BYTES_MAX):
        return None
    try:
        return await _attempted_async(
            uow, key, lambda repositories: _settle_async(repositories, key, contact_id, end)
        )
    except JobNotFound:
        return None


def expire_calls(
    batch_job_id: str,
    older_than: timedelta,
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
) -> int:
    """
    End the calls of a job that have been live for too long: those of dead workers.

    Their contacts become `timeout`, and are dialled again; in a cancelled job they become
    cancelled. A worker that is alive after all, and settles such a call later, finds that its
    contact is no longer dialing.

    Arguments:
        batch_job_id: the job.
        older_than: how long a contact has been dialing, by the store's clock; longer than any call
            lasts.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        how many calls were ended.

    Raises:
        StoreFailed: the store failed, or does not know since when a contact is dialing.
        TypeError, ValueError: `older_than` is not a positive timedelta.
    """
    check_age(older_than)
    key = JobKey(batch_job_id, organization_id)
    try:
        return _attempted(uow, key, lambda repositories: _expire(repositories, key, older_than))
    except JobNotFound:
        return 0


async def expire_calls_async(
    batch_job_id: str,
    older_than: timedelta,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
) -> int:
    """
    End the calls of a job that have been live for too long: those of dead workers.

    Their contacts become `timeout`, and are dialled again; in a cancelled job they become
    cancelled. A worker that is alive after all, and settles such a call later, finds that its
    contact is no longer dialing.

    Arguments:
        batch_job_id: the job.
        older_than: how long a contact has been dialing, by the store's clock; longer than any call
            lasts.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        how many calls were ended.

    Raises:
        StoreFailed: the store failed, or does not know since when a contact is dialing.
        TypeError, ValueError: `older_than` is not a positive timedelta.
    """
    check_age(older_than)
    key = JobKey(batch_job_id, organization_id)
    try:
        return await _attempted_async(
            uow, key, lambda repositories: _expire_async(repositories, key, older_than)
        )
    except JobNotFound:
        return 0


def append_contacts(
    batch_job_id: str,
    contacts: Sequence[Mapping[str, object]],
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
) -> int:
    """
    Add contacts to a job that is scheduled, pending or running; their status is pending.

    Arguments:
        batch_job_id: the job.
        contacts: the values by column of your table of contacts, without the job and the status,
            which are set here. A store without columns knows "id" and "next_attempt_at" alone, and
            makes an id where there is none.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        how many were added.

    Raises:
        JobNotFound: this organization has no such job.
        AlreadyTerminal: the job has ended; nothing was added.
        UnknownJobStatus: the job's status is not one that this library knows.
        StoreFailed: the store failed, or refused a contact; `.outcome` says whether they may have
            been added.
    """
    key = JobKey(batch_job_id, organization_id)
    return _attempted(uow, key, lambda repositories: _append(repositories, key, contacts))


async def append_contacts_async(
    batch_job_id: str,
    contacts: Sequence[Mapping[str, object]],
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
) -> int:
    """
    Add contacts to a job that is scheduled, pending or running; their status is pending.

    Arguments:
        batch_job_id: the job.
        contacts: the values by column of your table of contacts, without the job and the status,
            which are set here. A store without columns knows "id" and "next_attempt_at" alone, and
            makes an id where there is none.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        how many were added.

    Raises:
        JobNotFound: this organization has no such job.
        AlreadyTerminal: the job has ended; nothing was added.
        UnknownJobStatus: the job's status is not one that this library knows.
        StoreFailed: the store failed, or refused a contact; `.outcome` says whether they may have
            been added.
    """
    key = JobKey(batch_job_id, organization_id)
    return await _attempted_async(
        uow, key, lambda repositories: _append_async(repositories, key, contacts)
    )


def finish_job(batch_job_id: str, *, uow: UnitOfWork, organization_id: str | None = None) -> bool:
    """
    Complete a running job if nothing is left to do: no contact waits, none is on the phone.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        True if the job is completed now, by this call.

    Raises:
        StoreFailed: the store failed; `.outcome` says whether the job may have been completed.
    """
    key = JobKey(batch_job_id, organization_id)
    try:
        return _attempted(
            uow,
            key,
            lambda repositories: _offered(repositories.work).finish(key, UNFINISHED_CONTACTS),
        )
    except JobNotFound:
        return False


async def finish_job_async(
    batch_job_id: str, *, uow: AsyncUnitOfWork, organization_id: str | None = None
) -> bool:
    """
    Complete a running job if nothing is left to do: no contact waits, none is on the phone.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        True if the job is completed now, by this call.

    Raises:
        StoreFailed: the store failed; `.outcome` says whether the job may have been completed.
    """
    key = JobKey(batch_job_id, organization_id)
    try:
        return await _attempted_async(
            uow,
            key,
            lambda repositories: _offered(repositories.work).finish(key, UNFINISHED_CONTACTS),
        )
    except JobNotFound:
        return False


def still_running(
    batch_job_id: str, *, uow: UnitOfWork, organization_id: str | None = None
) -> bool:
    """
    Check whether the job is running: the last look of a worker right before it dials.

    A contact that was claimed before a cancel is a live call, even if its phone has not rung yet.
    Whoever asks this in between stops that one too. It locks nothing.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Raises:
        StoreFailed: the store failed.
    """
    key = JobKey(batch_job_id, organization_id)
    try:
        return is_running(
            _attempted(uow, key, lambda repositories: _offered(repositories.work).status(key))
        )
    except JobNotFound:
        return False


async def still_running_async(
    batch_job_id: str, *, uow: AsyncUnitOfWork, organization_id: str | None = None
) -> bool:
    """
    Check whether the job is running: the last look of a worker right before it dials.

    A contact that was claimed before a cancel is a live call, even if its phone has not rung yet.
    Whoever asks this in between stops that one too. It locks nothing.

    Arguments:
        batch_job_id: the job.
        uow: where the jobs are.
        organization_id: whose job it is; None for a job of no organization.

    Raises:
        StoreFailed: the store failed.
    """
    key = JobKey(batch_job_id, organization_id)
    try:
        return is_running(
            await _attempted_async(
                uow, key, lambda repositories: _offered(repositories.work).status(key)
            )
        )
    except JobNotFound:
        return False


def _settle(
    repositories: Repositories, key: JobKey, contact_id: str, end: CallEnd
) -> ContactStatus | None:
    job = _existing(repositories, key) if end.depends_on_job else None
    settlement = end.settlement(job)
    if _offered(repositories.work).settle(key, contact_id, settlement):
        return settlement.status
    return None


async def _settle_async(
    repositories: AsyncRepositories, key: JobKey, contact_id: str, end: CallEnd
) -> ContactStatus | None:
    job = await _existing_async(repositories, key) if end.depends_on_job else None
    settlement = end.settlement(job)
    if await _offered(repositories.work).settle(key, contact_id, settlement):
        return settlement.status
    return None


def _expire(repositories: Repositories, key: JobKey, older_than: timedelta) -> int:
    settlement = CallEnd(ContactStatus.TIMEOUT).settlement(_existing(repositories, key))
    return _offered(repositories.work).expire(key, settlement, older_than)


def _existing(repositories: Repositories, key: JobKey) -> Job:
    job = lock(repositories, key)
    if job is None:
        raise JobNotFound(key)
    return job


async def _expire_async(
    repositories: AsyncRepositories, key: JobKey, older_than: timedelta
) -> int:
    settlement = CallEnd(ContactStatus.TIMEOUT).settlement(
        await _existing_async(repositories, key)
    )
    return await _offered(repositories.work).expire(key, settlement, older_than)


async def _existing_async(repositories: AsyncRepositories, key: JobKey) -> Job:
    job = await lock_async(repositories, key)
    if job is None:
        raise JobNotFound(key)
    return job


def _append(
    repositories: Repositories, key: JobKey, contacts: Sequence[Mapping[str, object]]
) -> int:
    job = live_job(key, lock(repositories, key))
    return _offered(repositories.work).append(job, contacts)


async def _append_async(
    repositories: AsyncRepositories, key: JobKey, contacts: Sequence[Mapping[str, object]]
) -> int:
    job = live_job(key, await lock_async(repositories, key))
    return await _offered(repositories.work).append(job, contacts)


def _attempted(uow: UnitOfWork, key: JobKey, step: Callable[[Repositories], _T]) -> _T:
    kinds.check_store(uow)
    if not key.can_exist:
        raise JobNotFound(key)
    made = 0
    while True:
        try:
            with kinds.opened(uow) as repositories:
                return step(repositories)
        except StoreFailed as failure:
            made += 1
            if not isinstance(uow, RepeatableUnitOfWork) or not may_step_again(failure, made):
                raise
        uow.pause(made)


async def _attempted_async(
    uow: AsyncUnitOfWork, key: JobKey, step: Callable[[AsyncRepositories], Awaitable[_T]]
) -> _T:
    kinds.check_store_async(uow)
    if not key.can_exist:
        raise JobNotFound(key)
    made = 0
    while True:
        try:
            async with kinds.opened_async(uow) as repositories:
                return await step(repositories)
        except StoreFailed as failure:
            made += 1
            if not isinstance(uow, AsyncRepeatableUnitOfWork) or not may_step_again(failure, made):
                raise
        await uow.pause(made)


def _may_be_named(deferred_id: str | None) -> bool:
    """
    Check whether a job could name this deferred start, however long its id is.

    Raises:
        TypeError: the id is no text.
    """
    if deferred_id is None:
        return True
    check_text("deferred_id", deferred_id)
    return is_storable(deferred_id, sys.maxsize)


def _offered(work: _T | None) -> _T:
    if work is None:
        reason = "this store does not offer the workers' steps: its `work` is None"
        raise StoreFailed(reason)
    return work
