"""
What workers call before they act on a job, so that a cancelled job starts no more calls.

Each function is one short transaction (`worker_step.py`). The rules are in
`domain/worker_rules.py`; a worker that follows them, or calls these functions, can't undo a
cancel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from batch_cancel.domain.claimed_contacts import ClaimedContacts, check_columns
from batch_cancel.domain.errors import JobNotFound
from batch_cancel.domain.job import ID_BYTES_MAX, JobKey, check_text, is_storable
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.worker_rules import (
    STARTABLE_JOBS,
    UNFINISHED_CONTACTS,
    CallEnd,
    check_age,
    check_limit,
    is_running,
)
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.use_cases.run_blocking import BlockingStore, run
from batch_cancel.use_cases.worker_step import (
    append,
    attempted,
    claim,
    expire,
    may_be_named,
    offered,
    settle,
)


def start_job(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
    deferred_id: str | None = None,
) -> bool:
    """
    Start a scheduled or a pending job; call it when a deferred start fires.

    Arguments:
        batch_job_id: the job.
        uow: the store of the jobs.
        organization_id: whose job it is; None for a job of no organization.
        deferred_id: the id of the deferred start that fired. It is compared with the one in the
            job's row, which differs once the job is rescheduled; write that row before the start
            can fire. None starts the job early, whichever start it names.

    Returns:
        True if this call started the job. False if it is cancelled, has ended, is running already,
        names another deferred start, or does not exist; then stop.

    Raises:
        TypeError: an id is not a str.
        StoreFailed: the store failed; `.outcome` says whether the job may have been started.
    """
    return run(
        start_job_async(
            batch_job_id,
            uow=BlockingStore(uow),
            organization_id=organization_id,
            deferred_id=deferred_id,
        )
    )


async def start_job_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    deferred_id: str | None = None,
) -> bool:
    """As `start_job`, awaited."""
    key = JobKey(batch_job_id, organization_id)
    if not may_be_named(deferred_id):
        return False
    try:
        return await attempted(
            uow,
            key,
            lambda it: offered(it.work).start(key, STARTABLE_JOBS, deferred_id),
            autocommit=True,
        )
    except JobNotFound:
        return False


def claim_contacts(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    limit: int,
    organization_id: str | None = None,
    returning: Iterable[str] = (),
) -> ClaimedContacts:
    """
    Claim contacts of a running job: they are set to dialing, for the caller to call.

    Only contacts that are due, and that no other worker is claiming: those without a time first,
    then those due for longest. Once a cancel of the job has returned, no contact is claimed.

    Arguments:
        batch_job_id: the job.
        uow: the store of the jobs.
        limit: how many contacts at most, 0 to 1,000,000.
        organization_id: whose job it is; None for a job of no organization.
        returning: columns of your contacts table to read of each, such as the phone number.

    Returns:
        the ids of the contacts, empty if no contact is due or the job is not running; with the
        columns as `rows`, and whether an empty claim is the last one as `is_over`.

    Raises:
        StoreFailed: the store failed, or has no such column; if `.outcome` is "unknown", contacts
            may be dialing without a worker.
        TypeError, ValueError: `limit` is not 0 to 1,000,000, or `returning` not names of columns.
    """
    return run(
        claim_contacts_async(
            batch_job_id,
            uow=BlockingStore(uow),
            limit=limit,
            organization_id=organization_id,
            returning=returning,
        )
    )


async def claim_contacts_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    limit: int,
    organization_id: str | None = None,
    returning: Iterable[str] = (),
) -> ClaimedContacts:
    """As `claim_contacts`, awaited."""
    check_limit(limit)
    columns = check_columns(returning)
    key = JobKey(batch_job_id, organization_id)
    try:
        return await attempted(
            uow,
            key,
            lambda repositories: claim(repositories, key, limit, columns),
            autocommit=not columns,  # A value that can't be read must not be claimed.
        )
    except JobNotFound:
        return ClaimedContacts(is_over=True)


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
    Write the outcome of a live call, unless its contact is no longer dialing.

    If the job was cancelled meanwhile, an outcome that would be retried is not: the contact
    becomes cancelled. Every other outcome is kept.

    Arguments:
        batch_job_id: the job.
        contact_id: the contact, as `claim_contacts` returned it.
        outcome: how the call ended; queued, no_answer, busy and timeout are retried.
        uow: the store of the jobs.
        organization_id: whose job it is; None for a job of no organization.
        retry_at: when it may be dialled again, an aware datetime; None for at once. It is ignored
            for an outcome that is not retried.

    Returns:
        the status that was written; None if the contact is not dialing, or does not exist.

    Raises:
        StoreFailed: the store failed; `.outcome` says whether the status may have been written.
        ValueError: a call cannot end in this status, or `retry_at` is naive.
    """
    return run(
        settle_contact_async(
            batch_job_id,
            contact_id,
            outcome,
            uow=BlockingStore(uow),
            organization_id=organization_id,
            retry_at=retry_at,
        )
    )


async def settle_contact_async(
    batch_job_id: str,
    contact_id: str,
    outcome: ContactStatus,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    retry_at: datetime | None = None,
) -> ContactStatus | None:
    """As `settle_contact`, awaited."""
    end = CallEnd(outcome, retry_at)
    key = JobKey(batch_job_id, organization_id)
    check_text("contact_id", contact_id)
    if not is_storable(contact_id, ID_BYTES_MAX):
        return None
    try:
        return await attempted(
            uow,
            key,
            lambda repositories: settle(repositories, key, contact_id, end),
            autocommit=not end.depends_on_job,
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
    End the calls of a job that have been live for too long, as those of dead workers are.

    Their contacts become `timeout`, and are dialled again; in a cancelled job they become
    cancelled. A worker that is still alive, and settles such a call later, gets None.

    Arguments:
        batch_job_id: the job.
        older_than: the age of a call by the store's clock; longer than any real call.
        uow: the store of the jobs.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        how many calls were ended.

    Raises:
        StoreFailed: the store failed, or does not know how long a contact has been dialing.
        TypeError, ValueError: `older_than` is not a positive timedelta.
    """
    return run(
        expire_calls_async(
            batch_job_id, older_than, uow=BlockingStore(uow), organization_id=organization_id
        )
    )


async def expire_calls_async(
    batch_job_id: str,
    older_than: timedelta,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
) -> int:
    """As `expire_calls`, awaited."""
    check_age(older_than)
    key = JobKey(batch_job_id, organization_id)
    try:
        return await attempted(
            uow, key, lambda repositories: expire(repositories, key, older_than)
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
        contacts: the values by column of your contacts table; job and status are set here. In
            memory any column is kept, and in a SQLite file those that its table has: there "id"
            and "next_attempt_at", and a missing id is generated.
        uow: the store of the jobs.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        how many were added.

    Raises:
        JobNotFound: this organization has no such job.
        AlreadyTerminal: the job has ended; nothing was added.
        UnknownJobStatus: the job's status is unknown to this library.
        StoreFailed: the store failed, or refused a contact; `.outcome` says whether they may have
            been added.
    """
    return run(
        append_contacts_async(
            batch_job_id, contacts, uow=BlockingStore(uow), organization_id=organization_id
        )
    )


async def append_contacts_async(
    batch_job_id: str,
    contacts: Sequence[Mapping[str, object]],
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
) -> int:
    """As `append_contacts`, awaited."""
    key = JobKey(batch_job_id, organization_id)
    return await attempted(uow, key, lambda repositories: append(repositories, key, contacts))


def finish_job(batch_job_id: str, *, uow: UnitOfWork, organization_id: str | None = None) -> bool:
    """
    Complete a running job if none of its contacts is open or live.

    Arguments:
        batch_job_id: the job.
        uow: the store of the jobs.
        organization_id: whose job it is; None for a job of no organization.

    Returns:
        True if this call completed the job.

    Raises:
        StoreFailed: the store failed; `.outcome` says whether the job may have been completed.
    """
    return run(
        finish_job_async(batch_job_id, uow=BlockingStore(uow), organization_id=organization_id)
    )


async def finish_job_async(
    batch_job_id: str, *, uow: AsyncUnitOfWork, organization_id: str | None = None
) -> bool:
    """As `finish_job`, awaited."""
    key = JobKey(batch_job_id, organization_id)
    try:
        return await attempted(
            uow,
            key,
            lambda repositories: offered(repositories.work).finish(key, UNFINISHED_CONTACTS),
            autocommit=True,
        )
    except JobNotFound:
        return False


def still_running(
    batch_job_id: str, *, uow: UnitOfWork, organization_id: str | None = None
) -> bool:
    """
    Check whether the job is running; call it right before you dial.

    A contact that was claimed before a cancel counts as a live call even if it was not dialled
    yet. A worker that checks right before it dials stops that call too. It takes no lock.

    Arguments:
        batch_job_id: the job.
        uow: the store of the jobs.
        organization_id: whose job it is; None for a job of no organization.

    Raises:
        StoreFailed: the store failed.
    """
    return run(
        still_running_async(batch_job_id, uow=BlockingStore(uow), organization_id=organization_id)
    )


async def still_running_async(
    batch_job_id: str, *, uow: AsyncUnitOfWork, organization_id: str | None = None
) -> bool:
    """As `still_running`, awaited."""
    key = JobKey(batch_job_id, organization_id)
    try:
        return is_running(
            await attempted(uow, key, lambda it: offered(it.work).status(key), autocommit=True)
        )
    except JobNotFound:
        return False
