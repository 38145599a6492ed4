"""
Cancel a batch job: rows, commit, deferred start, in this order.

The database comes first, in one transaction; its commit is the moment of cancellation. Only then
is the scheduler asked to take the deferred start back, and whatever it answers, the job is
cancelled. The other order loses jobs: killed between the two, a job would say "scheduled" with
nothing left to start it.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

import attrs

from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelRequest,
    CancelResult,
    conclude,
    plan_cancellation,
    removal_of,
)
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    JobNotFound,
    Outcome,
    StoreFailed,
    shown,
)
from batch_cancel.domain.model import CancellationRecord, JobKey, Removal
from batch_cancel.ports import (
    AsyncRepositories,
    AsyncScheduler,
    AsyncUnitOfWork,
    Repositories,
    Scheduler,
    UnitOfWork,
)

_logger: Final = logging.getLogger("batch_cancel")


def cancel_job(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    scheduler: Scheduler,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> CancelResult:
    """
    Cancel the job in a transaction of its own, then take back its deferred start.

    Arguments:
        batch_job_id: the job to cancel, for ever.
        uow: where the jobs are.
        scheduler: where the deferred starts wait.
        organization_id: whose job it is; None for a job of no organization.
        operation_id: names this cancellation; ask again with the same one after a lost answer.
            Generated when None. At most 1024 bytes.
        actor: who cancels, kept for the audit. At most 4096 bytes.
        reason: why, kept for the audit. At most 4096 bytes.

    Raises:
        JobNotFound: this organization has no such job.
        AlreadyTerminal: the job has ended, or another operation has cancelled it; a removal which
            that one still owed was asked for again first.
        UnknownJobStatus: the job's status is not one that this library knows.
        CancelFailed: the store failed; `.outcome` says whether anything changed.
        TypeError, ValueError: an argument that no store can hold.
    """
    request = _request(batch_job_id, organization_id, operation_id, actor, reason)
    try:
        cancellation = _cancel_in_transaction(request, uow)
    except AlreadyTerminal as refusal:
        if refusal.cancellation is not None:
            remove_deferred(Cancellation(refusal.cancellation, replayed=True), scheduler, uow=uow)
        raise
    return remove_deferred(cancellation, scheduler, uow=uow)


async def cancel_job_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    scheduler: AsyncScheduler,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> CancelResult:
    """
    Cancel the job in a transaction of its own, then take back its deferred start.

    Arguments:
        batch_job_id: the job to cancel, for ever.
        uow: where the jobs are.
        scheduler: where the deferred starts wait.
        organization_id: whose job it is; None for a job of no organization.
        operation_id: names this cancellation; ask again with the same one after a lost answer.
            Generated when None. At most 1024 bytes.
        actor: who cancels, kept for the audit. At most 4096 bytes.
        reason: why, kept for the audit. At most 4096 bytes.

    Raises:
        JobNotFound: this organization has no such job.
        AlreadyTerminal: the job has ended, or another operation has cancelled it; a removal which
            that one still owed was asked for again first.
        UnknownJobStatus: the job's status is not one that this library knows.
        CancelFailed: the store failed; `.outcome` says whether anything changed.
        TypeError, ValueError: an argument that no store can hold.
    """
    request = _request(batch_job_id, organization_id, operation_id, actor, reason)
    try:
        cancellation = await _cancel_in_transaction_async(request, uow)
    except AlreadyTerminal as refusal:
        if refusal.cancellation is not None:
            await remove_deferred_async(
                Cancellation(refusal.cancellation, replayed=True), scheduler, uow=uow
            )
        raise
    return await remove_deferred_async(cancellation, scheduler, uow=uow)


def cancel_rows(
    batch_job_id: str,
    *,
    uow: UnitOfWork,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Cancellation:
    """
    Cancel the job in the database only: the half that belongs in the caller's own transaction.

    With a unit of work that joins the caller's open transaction, the caller's commit is the moment
    of cancellation, and his rollback undoes it. Give what this returns to `remove_deferred` after
    that commit, never before.

    The arguments and the errors are those of `cancel_job`.
    """
    request = _request(batch_job_id, organization_id, operation_id, actor, reason)
    return _cancel_in_transaction(request, uow)


async def cancel_rows_async(
    batch_job_id: str,
    *,
    uow: AsyncUnitOfWork,
    organization_id: str | None = None,
    operation_id: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Cancellation:
    """
    Cancel the job in the database only: the half that belongs in the caller's own transaction.

    With a unit of work that joins the caller's open transaction, the caller's commit is the moment
    of cancellation, and his rollback undoes it. Give what this returns to `remove_deferred` after
    that commit, never before.

    The arguments and the errors are those of `cancel_job`.
    """
    request = _request(batch_job_id, organization_id, operation_id, actor, reason)
    return await _cancel_in_transaction_async(request, uow)


def remove_deferred(
    cancellation: Cancellation, scheduler: Scheduler, *, uow: UnitOfWork | None = None
) -> CancelResult:
    """
    Take back the deferred start of a job whose cancellation is committed.

    The job stays cancelled whatever the scheduler answers, so nothing that goes wrong here is
    raised: the result then says PENDING, and the removal is finished later.

    Arguments:
        cancellation: what `cancel_rows` returned; its transaction must be committed.
        scheduler: where the deferred starts wait.
        uow: where to note the outcome, in a transaction of its own; None leaves that to reconcile.
    """
    record = cancellation.record
    deferred_id = record.deferred_id_owed
    if deferred_id is None:
        return conclude(cancellation, record.removal)
    try:
        removal = removal_of(scheduler.cancel(deferred_id, record.operation_id))
    except Exception as error:  # noqa: BLE001  # After the commit no fault may become a failure.
        _warn(record, "the scheduler did not confirm the removal", error)
        removal = Removal.PENDING
    if removal is not Removal.PENDING and uow is not None:
        _settle(record, removal, uow)
    return conclude(cancellation, removal)


async def remove_deferred_async(
    cancellation: Cancellation, scheduler: AsyncScheduler, *, uow: AsyncUnitOfWork | None = None
) -> CancelResult:
    """
    Take back the deferred start of a job whose cancellation is committed.

    The job stays cancelled whatever the scheduler answers, so nothing that goes wrong here is
    raised: the result then says PENDING, and the removal is finished later.

    Arguments:
        cancellation: what `cancel_rows` returned; its transaction must be committed.
        scheduler: where the deferred starts wait.
        uow: where to note the outcome, in a transaction of its own; None leaves that to reconcile.
    """
    record = cancellation.record
    deferred_id = record.deferred_id_owed
    if deferred_id is None:
        return conclude(cancellation, record.removal)
    try:
        removal = removal_of(await scheduler.cancel(deferred_id, record.operation_id))
    except Exception as error:  # noqa: BLE001  # After the commit no fault may become a failure.
        _warn(record, "the scheduler did not confirm the removal", error)
        removal = Removal.PENDING
    if removal is not Removal.PENDING and uow is not None:
        await _settle_async(record, removal, uow)
    return conclude(cancellation, removal)


def _request(
    batch_job_id: str,
    organization_id: str | None,
    operation_id: str | None,
    actor: str | None,
    reason: str | None,
) -> CancelRequest:
    key = JobKey(batch_job_id, organization_id)
    return CancelRequest(
        key, uuid4().hex if operation_id is None else operation_id, actor=actor, reason=reason
    )


def _cancel_in_transaction(request: CancelRequest, uow: UnitOfWork) -> Cancellation:
    if not request.key.can_exist:
        raise JobNotFound(request.key)
    with _faults_named(request.key) as progress:
        with uow.begin() as repositories:
            cancellation = _carry_out(request, repositories)
            progress.outcome = "unknown"
        return cancellation


async def _cancel_in_transaction_async(
    request: CancelRequest, uow: AsyncUnitOfWork
) -> Cancellation:
    if not request.key.can_exist:
        raise JobNotFound(request.key)
    with _faults_named(request.key) as progress:
        async with uow.begin() as repositories:
            cancellation = await _carry_out_async(request, repositories)
            progress.outcome = "unknown"
        return cancellation


def _carry_out(request: CancelRequest, repositories: Repositories) -> Cancellation:
    job = repositories.jobs.lock(request.key)
    plan = plan_cancellation(request, job)
    if isinstance(plan, CancellationRecord):
        return Cancellation(plan, replayed=True)
    contacts_cancelled = repositories.contacts.cancel(plan.job.key, plan.contact_statuses)
    record = plan.record(contacts_cancelled)
    repositories.jobs.mark_cancelled(plan.job, record)
    return Cancellation(record, replayed=False)


async def _carry_out_async(
    request: CancelRequest, repositories: AsyncRepositories
) -> Cancellation:
    job = await repositories.jobs.lock(request.key)
    plan = plan_cancellation(request, job)
    if isinstance(plan, CancellationRecord):
        return Cancellation(plan, replayed=True)
    contacts_cancelled = await repositories.contacts.cancel(plan.job.key, plan.contact_statuses)
    record = plan.record(contacts_cancelled)
    await repositories.jobs.mark_cancelled(plan.job, record)
    return Cancellation(record, replayed=False)


def _settle(record: CancellationRecord, removal: Removal, uow: UnitOfWork) -> None:
    try:
        with uow.begin() as repositories:
            if repositories.removals is not None:
                repositories.removals.settle(record, removal)
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile asks again.
        _warn(record, "the removal is done but could not be noted", error)


async def _settle_async(
    record: CancellationRecord, removal: Removal, uow: AsyncUnitOfWork
) -> None:
    try:
        async with uow.begin() as repositories:
            if repositories.removals is not None:
                await repositories.removals.settle(record, removal)
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile asks again.
        _warn(record, "the removal is done but could not be noted", error)


def _warn(record: CancellationRecord, what: str, error: Exception) -> None:
    # The error's type alone: a driver's message may hold a host, a user or a password.
    _logger.warning(
        "batch job %s is cancelled, but %s (%s); reconcile will finish it",
        shown(record.key.batch_job_id),
        what,
        type(error).__name__,
    )


@attrs.define
class _Progress:
    outcome: Outcome = "unchanged"


@contextmanager
def _faults_named(key: JobKey) -> Generator[_Progress]:
    """Turn every fault of a store into `CancelFailed` for this job, with what is known of it."""
    progress = _Progress()
    try:
        yield progress
    except StoreFailed as error:
        raise CancelFailed(key, error.reason, error.outcome, error.retryable) from error
    except BatchCancelError:
        raise
    except Exception as error:
        reason = f"the store raised {type(error).__name__}"
        raise CancelFailed(key, reason, progress.outcome) from error
