"""
Cancel a batch job: rows, commit, deferred start, in this order.

The database comes first, in one transaction; its commit is the moment of cancellation. Then the
scheduler is asked to remove the deferred start; whatever it answers, the job is cancelled. The
other order loses jobs: after a crash between the two, a job would stay "scheduled" without a
deferred start.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import attrs

from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelRequest,
    CancelResult,
    plan_cancellation,
)
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    CancelFailed,
    JobNotFound,
    StoreFailed,
)
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.retry import Attempts
from batch_cancel.ports import (
    AsyncRepositories,
    AsyncScheduler,
    AsyncUnitOfWork,
    Scheduler,
    UnitOfWork,
)
from batch_cancel.use_cases.announcement import AsyncOnCancelled, OnCancelled
from batch_cancel.use_cases.joining import is_joined
from batch_cancel.use_cases.kinds import opened_async
from batch_cancel.use_cases.lock import lock
from batch_cancel.use_cases.remove_deferred import finish, remove_deferred_async
from batch_cancel.use_cases.run_blocking import (
    BlockingHook,
    BlockingScheduler,
    BlockingStore,
    check_hook,
    check_scheduler,
    check_store,
    repeatable,
    run,
)
from batch_cancel.use_cases.store_faults import Progress, faults_named, pause
from batch_cancel.use_cases.sweep import refusal_after_sweep, sweep_of, swept_surely

_NOT_COUNTED: Final = "the store returned None instead of the number of contacts"


def cancel_job(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    scheduler: Scheduler,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    on_cancelled: OnCancelled | None = None,
) -> CancelResult:
    """
    Cancel the job in a transaction of its own, then remove its deferred start.

    It is refused within your own transaction, whose rollback would leave a scheduled job without a
    deferred start. There, use `cancel_rows`, and `remove_deferred` after your commit.

    Arguments:
        batch_job_id: the job to cancel.
        uow: the store of the jobs.
        scheduler: the scheduler of the deferred starts.
        organization_id: whose job it is; None for a job of no organization.
        operation_id: the name of this cancellation; retry with the same one after a lost answer.
            Generated if None. At most 1024 bytes.
        actor: who cancels, kept for the audit. At most 4096 bytes.
        reason: why, kept for the audit. At most 4096 bytes.
        on_cancelled: called with the result after the commit, once for each operation; not called
            for a retry. If it fails, or this process dies before it, reconcile calls it.

    Raises:
        JobNotFound: this organization has no such job.
        AlreadyTerminal: the job has ended, or another operation has cancelled it. If that
            operation's removal is pending, it was tried again first.
        UnknownJobStatus: the job's status is unknown to this library.
        CancelFailed: the store failed, or `uow` is within your own transaction; `.outcome` says
            whether anything changed.
        TypeError: a store, a scheduler or a hook is of the wrong kind; none of them was called.
        TypeError, ValueError: an argument cannot be stored.
    """
    return run(
        cancel_job_async(
            batch_job_id,
            uow=BlockingStore(uow),
            scheduler=BlockingScheduler(scheduler),
            organization_id=organization_id,
            operation_id=operation_id,
            actor=actor,
            reason=reason,
            on_cancelled=None if on_cancelled is None else BlockingHook(on_cancelled),
        )
    )


async def cancel_job_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    scheduler: AsyncScheduler,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    on_cancelled: AsyncOnCancelled | None = None,
) -> CancelResult:
    """As `cancel_job`, awaited."""
    check_store(uow)
    check_scheduler(scheduler)
    check_hook(on_cancelled)
    key = JobKey(batch_job_id, organization_id)
    request = _request(key, operation_id, actor, reason, announce=on_cancelled is not None)
    _check_own(key, uow)
    try:
        cancellation = await cancel_in_store(request, uow)
    except AlreadyTerminal as error:
        refusal = await refusal_after_sweep(error, uow)
        if refusal.cancellation is not None:
            pending = Cancellation(refusal.cancellation, replayed=True)
            await finish(pending, scheduler, uow, None)
        if refusal is error:
            raise
        raise refusal from error.__cause__
    return await remove_deferred_async(cancellation, scheduler, uow=uow, on_cancelled=on_cancelled)


def cancel_rows(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    announce: bool = False,
) -> Cancellation:
    """
    Cancel the job in the database only: the half that belongs in your own transaction.

    With a unit of work that joins your open transaction, your commit is the moment of
    cancellation, and a rollback undoes it. After that commit, pass the returned value to
    `remove_deferred`, together with a unit of work: some drivers raise no error when a commit
    turns into a rollback, so `remove_deferred` reads the record before it asks the scheduler.

    The arguments and the errors are those of `cancel_job`. With `announce`, `remove_deferred` or
    reconcile calls its hook.
    """
    return run(
        cancel_rows_async(
            batch_job_id,
            uow=BlockingStore(uow),
            organization_id=organization_id,
            operation_id=operation_id,
            actor=actor,
            reason=reason,
            announce=announce,
        )
    )


async def cancel_rows_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
    announce: bool = False,
) -> Cancellation:
    """As `cancel_rows`, awaited."""
    check_store(uow)
    key = JobKey(batch_job_id, organization_id)
    request = _request(key, operation_id, actor, reason, announce=announce)
    joined = _is_joined(key, uow)
    return attrs.evolve(await cancel_in_store(request, uow), joined=joined)


def _request(
    key: JobKey,
    operation_id: str | None,
    actor: str | None,
    reason: str | None,
    *,
    announce: bool,
) -> CancelRequest:
    name = uuid4().hex if operation_id is None else operation_id
    return CancelRequest(key, name, actor=actor, reason=reason, announce=announce)


def _check_own(key: JobKey, uow: AsyncUnitOfWork) -> None:
    """Refuse to run inside the caller's transaction: a rollback would lose the job's start."""
    if _is_joined(key, uow):
        reason = (
            "cancel_job was called within your own transaction, whose rollback would leave a "
            "scheduled job without a deferred start: call cancel_rows there, and remove_deferred "
            "after your commit"
        )
        raise CancelFailed(key, reason)


def _is_joined(key: JobKey, uow: AsyncUnitOfWork) -> bool:
    with faults_named(key, Progress()):
        return is_joined(uow)


async def cancel_in_store(
    request: CancelRequest, uow: AsyncUnitOfWork, attempts: Attempts | None = None
) -> Cancellation:
    """
    Cancel a job in transactions of its own until one succeeds or no other is worth it.

    Arguments:
        request: the request.
        uow: the store.
        attempts: the earlier attempts at this job, such as those at several jobs together.

    Raises:
        JobNotFound, AlreadyTerminal, UnknownJobStatus: the job is not cancelled.
        CancelFailed: the store failed.
    """
    attempts = Attempts() if attempts is None else attempts
    while True:
        progress = Progress()
        try:
            await pause(request.key, attempts.made, uow)
            found = attempts.succeeded(await _cancel_in_transaction(request, uow, progress))
        except AlreadyTerminal as refusal:
            raise attempts.refused(refusal) from refusal.__cause__
        except CancelFailed as failure:
            if repeatable(uow) is None:
                raise
            attempts = attempts.failed(failure, is_replay=progress.is_replay)
        else:
            return await _after_sweep(found, uow)


async def _after_sweep(cancellation: Cancellation, uow: AsyncUnitOfWork) -> Cancellation:
    """Return the cancellation once its contacts are swept; not within the caller's transaction."""
    record = cancellation.record
    if record.is_swept or _is_joined(record.key, uow):
        return cancellation
    return attrs.evolve(cancellation, record=await swept_surely(record, uow))


async def _cancel_in_transaction(
    request: CancelRequest, uow: AsyncUnitOfWork, progress: Progress
) -> Cancellation:
    if not request.key.can_exist:
        raise JobNotFound(request.key)
    with faults_named(request.key, progress):
        async with opened_async(uow) as repositories:
            cancellation = await _carry_out(request, repositories)
            progress.is_replay = cancellation.replayed
            progress.outcome = "unknown"
        return cancellation


async def _carry_out(request: CancelRequest, repositories: AsyncRepositories) -> Cancellation:
    job = await lock(repositories, request.key)
    plan = plan_cancellation(request, job)
    if isinstance(plan, CancellationRecord):
        return Cancellation(plan, replayed=True)
    contacts_cancelled = await repositories.contacts.cancel(plan.job.key, plan.contact_statuses)
    if contacts_cancelled is None and sweep_of(repositories) is None:
        raise StoreFailed(_NOT_COUNTED)
    record = plan.record(contacts_cancelled)
    await repositories.jobs.mark_cancelled(plan.job, record)
    return Cancellation(record, replayed=False)
