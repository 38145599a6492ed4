"""
Finish what cancellations left behind: removals that Redis did not confirm, hooks not yet told.

A process can die after the commit and before the deferred start is taken back, or Redis can be
down. The job is cancelled all the same and its stale alarm harmless; this clears it away. Run it
from anywhere, at any time, as often as you like, beside live cancels and beside itself.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from batch_cancel.domain.attempts import Patience
from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.deferred import check_lease
from batch_cancel.domain.errors import SchedulerUnavailable
from batch_cancel.domain.model import CancellationRecord
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.removal import (
    AsyncOnCancelled,
    OnCancelled,
    finish,
    finish_async,
)

_LIMIT: Final = 1000
_LEASE: Final = timedelta(seconds=30)
_SPARED: Final = "the scheduler gave no answer about others, and was not asked about this one"


def reconcile(
    *,
    uow: UnitOfWork,
    scheduler: Scheduler,
    on_cancelled: OnCancelled | None = None,
    limit: int = _LIMIT,
    lease: timedelta = _LEASE,
) -> list[CancelResult]:
    """
    Finish the removals, and the announcements, that committed cancellations still owe.

    A scheduler that gives no answer is asked about ever fewer of them; the rest stay PENDING.

    Arguments:
        uow: where the cancellation records are.
        scheduler: where the deferred starts wait.
        on_cancelled: is told of the cancellations that owe it; None leaves those alone. It is
            told twice only if the process that told it died before it could note that.
        limit: how many cancellations to take up at most.
        lease: how long whoever cancelled, or another reconcile, may still be at work on one;
            longer than any cancel takes.

    Returns:
        the cancellations that were taken up, each with what became of its deferred start; where
        the removal is PENDING still, a later pass takes it up again.

    Raises:
        StoreFailed: the store failed; nothing is lost, and the next pass takes it up.
        TypeError: a store, a scheduler or a hook of the wrong kind; nothing was asked of them.
        ValueError: `lease` is negative, or longer than a century.
    """
    kinds.check_store(uow)
    kinds.check_scheduler(scheduler)
    kinds.check_hook(on_cancelled)
    check_lease(lease)
    owed = _take(uow, limit, lease, announcements=on_cancelled is not None)
    spared = _Spared(scheduler)
    return [_finished(record, spared, uow, on_cancelled) for record in owed]


async def reconcile_async(
    *,
    uow: AsyncUnitOfWork,
    scheduler: AsyncScheduler,
    on_cancelled: AsyncOnCancelled | None = None,
    limit: int = _LIMIT,
    lease: timedelta = _LEASE,
) -> list[CancelResult]:
    """
    Finish the removals, and the announcements, that committed cancellations still owe.

    A scheduler that gives no answer is asked about ever fewer of them; the rest stay PENDING.

    Arguments:
        uow: where the cancellation records are.
        scheduler: where the deferred starts wait.
        on_cancelled: is told of the cancellations that owe it; None leaves those alone. It is
            told twice only if the process that told it died before it could note that.
        limit: how many cancellations to take up at most.
        lease: how long whoever cancelled, or another reconcile, may still be at work on one;
            longer than any cancel takes.

    Returns:
        the cancellations that were taken up, each with what became of its deferred start; where
        the removal is PENDING still, a later pass takes it up again.

    Raises:
        StoreFailed: the store failed; nothing is lost, and the next pass takes it up.
        TypeError: a store, a scheduler or a hook of the wrong kind; nothing was asked of them.
        ValueError: `lease` is negative, or longer than a century.
    """
    kinds.check_store_async(uow)
    kinds.check_scheduler_async(scheduler)
    kinds.check_hook_async(on_cancelled)
    check_lease(lease)
    owed = await _take_async(uow, limit, lease, announcements=on_cancelled is not None)
    spared = _AsyncSpared(scheduler)
    return [await _finished_async(record, spared, uow, on_cancelled) for record in owed]


@attrs.define
class _Spared:
    """A scheduler that is asked the less, the longer it gives no answer."""

    scheduler: Scheduler
    patience: Patience = attrs.field(factory=Patience)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        if self.patience.spared:
            self.patience = self.patience.after_sparing()
            raise SchedulerUnavailable(_SPARED)
        try:
            answer = kinds.returned(self.scheduler.cancel(deferred_id, operation_id))
        except Exception:
            self.patience = self.patience.after_silence()
            raise
        self.patience = Patience()
        return answer


@attrs.define
class _AsyncSpared:
    """A scheduler that is asked the less, the longer it gives no answer."""

    scheduler: AsyncScheduler
    patience: Patience = attrs.field(factory=Patience)

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        if self.patience.spared:
            self.patience = self.patience.after_sparing()
            raise SchedulerUnavailable(_SPARED)
        try:
            answer = await kinds.returned_async(self.scheduler.cancel(deferred_id, operation_id))
        except Exception:
            self.patience = self.patience.after_silence()
            raise
        self.patience = Patience()
        return answer


def _finished(
    record: CancellationRecord,
    scheduler: Scheduler,
    uow: UnitOfWork,
    on_cancelled: OnCancelled | None,
) -> CancelResult:
    result = finish(Cancellation(record, replayed=False), scheduler, uow, on_cancelled)
    log.done("was cancelled before, and reconcile took it up", result)
    return result


async def _finished_async(
    record: CancellationRecord,
    scheduler: AsyncScheduler,
    uow: AsyncUnitOfWork,
    on_cancelled: AsyncOnCancelled | None,
) -> CancelResult:
    result = await finish_async(Cancellation(record, replayed=False), scheduler, uow, on_cancelled)
    log.done("was cancelled before, and reconcile took it up", result)
    return result


def _take(
    uow: UnitOfWork, limit: int, lease: timedelta, *, announcements: bool
) -> list[CancellationRecord]:
    with kinds.opened(uow) as repositories:
        if repositories.outbox is None:
            return []
        return repositories.outbox.take(limit, lease, announcements=announcements)


async def _take_async(
    uow: AsyncUnitOfWork, limit: int, lease: timedelta, *, announcements: bool
) -> list[CancellationRecord]:
    async with kinds.opened_async(uow) as repositories:
        if repositories.outbox is None:
            return []
        return await repositories.outbox.take(limit, lease, announcements=announcements)
