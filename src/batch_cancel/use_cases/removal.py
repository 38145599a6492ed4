"""
What follows the commit of a cancellation: take back the deferred start, tell of it, note both.

The job is cancelled for ever by now, so nothing that goes wrong here is raised: what is still owed
stays noted in the cancellation's record, and reconcile finishes it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from batch_cancel.domain.cancellation import Cancellation, CancelResult, conclude, removal_of
from batch_cancel.domain.errors import shown
from batch_cancel.domain.model import CancellationRecord, Removal
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork

_logger: Final = logging.getLogger("batch_cancel")

OnCancelled = Callable[[CancelResult], object]
"""Is told of a cancellation once it is done."""

AsyncOnCancelled = Callable[[CancelResult], Awaitable[object]]
"""Is told of a cancellation once it is done."""


def remove_deferred(
    cancellation: Cancellation,
    scheduler: Scheduler,
    *,
    uow: UnitOfWork | None = None,
    on_cancelled: OnCancelled | None = None,
) -> CancelResult:
    """
    Take back the deferred start of a job whose cancellation is committed.

    The job stays cancelled whatever the scheduler answers, so nothing that goes wrong here is
    raised: the result then says PENDING, and the removal is finished later.

    Arguments:
        cancellation: what `cancel_rows` returned; its transaction must be committed.
        scheduler: where the deferred starts wait.
        uow: where to note the outcome, in a transaction of its own; None leaves that to reconcile.
        on_cancelled: is told of the cancellation, if `cancel_rows` was asked to announce it.
    """
    result = finish(cancellation, scheduler, uow, on_cancelled)
    if not result.replayed:
        log_done("was cancelled", result)
    return result


def finish(
    cancellation: Cancellation,
    scheduler: Scheduler,
    uow: UnitOfWork | None,
    on_cancelled: OnCancelled | None,
) -> CancelResult:
    """Do what a committed cancellation still owes, and note what was done."""
    record = cancellation.record
    removal = _removal(record, scheduler)
    result = conclude(cancellation, removal)
    is_announced = record.is_announced
    if on_cancelled is not None and cancellation.announcement_owed:
        is_announced = _announced(record, result, on_cancelled)
    done = attrs.evolve(record, removal=removal, is_announced=is_announced)
    if done != record and uow is not None:
        _settle(done, uow)
    return result


async def remove_deferred_async(
    cancellation: Cancellation,
    scheduler: AsyncScheduler,
    *,
    uow: AsyncUnitOfWork | None = None,
    on_cancelled: AsyncOnCancelled | None = None,
) -> CancelResult:
    """
    Take back the deferred start of a job whose cancellation is committed.

    The job stays cancelled whatever the scheduler answers, so nothing that goes wrong here is
    raised: the result then says PENDING, and the removal is finished later.

    Arguments:
        cancellation: what `cancel_rows` returned; its transaction must be committed.
        scheduler: where the deferred starts wait.
        uow: where to note the outcome, in a transaction of its own; None leaves that to reconcile.
        on_cancelled: is told of the cancellation, if `cancel_rows` was asked to announce it.
    """
    result = await finish_async(cancellation, scheduler, uow, on_cancelled)
    if not result.replayed:
        log_done("was cancelled", result)
    return result


async def finish_async(
    cancellation: Cancellation,
    scheduler: AsyncScheduler,
    uow: AsyncUnitOfWork | None,
    on_cancelled: AsyncOnCancelled | None,
) -> CancelResult:
    """Do what a committed cancellation still owes, and note what was done."""
    record = cancellation.record
    removal = await _removal_async(record, scheduler)
    result = conclude(cancellation, removal)
    is_announced = record.is_announced
    if on_cancelled is not None and cancellation.announcement_owed:
        is_announced = await _announced_async(record, result, on_cancelled)
    done = attrs.evolve(record, removal=removal, is_announced=is_announced)
    if done != record and uow is not None:
        await _settle_async(done, uow)
    return result


def _removal(record: CancellationRecord, scheduler: Scheduler) -> Removal:
    deferred_id = record.deferred_id_owed
    if deferred_id is None:
        return record.removal
    try:
        answer: object = scheduler.cancel(deferred_id, record.operation_id)
    except Exception as error:  # noqa: BLE001  # After the commit no fault may become a failure.
        answer = error
    removal = removal_of(answer)
    if removal is Removal.PENDING:
        _warn(record, "the scheduler did not confirm the removal of its deferred start", answer)
    return removal


async def _removal_async(record: CancellationRecord, scheduler: AsyncScheduler) -> Removal:
    deferred_id = record.deferred_id_owed
    if deferred_id is None:
        return record.removal
    try:
        answer: object = await scheduler.cancel(deferred_id, record.operation_id)
    except Exception as error:  # noqa: BLE001  # After the commit no fault may become a failure.
        answer = error
    removal = removal_of(answer)
    if removal is Removal.PENDING:
        _warn(record, "the scheduler did not confirm the removal of its deferred start", answer)
    return removal


def _announced(
    record: CancellationRecord, result: CancelResult, on_cancelled: OnCancelled
) -> bool:
    try:
        on_cancelled(result)
    except Exception as error:  # noqa: BLE001  # The caller's hook can't undo a cancellation.
        _warn(record, "the on_cancelled hook failed", error)
        return False
    return True


async def _announced_async(
    record: CancellationRecord, result: CancelResult, on_cancelled: AsyncOnCancelled
) -> bool:
    try:
        await on_cancelled(result)
    except Exception as error:  # noqa: BLE001  # The caller's hook can't undo a cancellation.
        _warn(record, "the on_cancelled hook failed", error)
        return False
    return True


def _settle(record: CancellationRecord, uow: UnitOfWork) -> None:
    try:
        with uow.begin() as repositories:
            if repositories.outbox is not None:
                repositories.outbox.settle(record)
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile asks again.
        _warn(record, "what was done after the commit could not be noted", error)


async def _settle_async(record: CancellationRecord, uow: AsyncUnitOfWork) -> None:
    try:
        async with uow.begin() as repositories:
            if repositories.outbox is not None:
                await repositories.outbox.settle(record)
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile asks again.
        _warn(record, "what was done after the commit could not be noted", error)


def _warn(record: CancellationRecord, what: str, culprit: object) -> None:
    # Its type alone: a driver's message may hold a host, a user or a password.
    _logger.warning(
        "batch job %s is cancelled, but %s (%s); reconcile will finish it",
        shown(record.key.batch_job_id),
        what,
        type(culprit).__name__,
    )


def log_done(what: str, result: CancelResult) -> None:
    """Log what was done to a job: neither who did it nor why, for both may name a person."""
    fields = {
        "batch_job_id": shown(result.batch_job_id),
        "previous_status": result.previous_status.value,
        "contacts_cancelled": result.contacts_cancelled,
        "removal": result.removal.value,
        "operation_id": shown(result.operation_id),
    }
    _logger.info(
        "batch job %(batch_job_id)s %(what)s: from %(previous_status)s, %(contacts_cancelled)d "
        "contacts, removal %(removal)s, operation %(operation_id)s",
        {"what": what, **fields},
        extra=fields,
    )
