"""
Finish what cancellations left pending: contacts to sweep, removals, and hooks not yet called.

A process can die between the commit and the removal of the deferred start, or the scheduler can be
down. The job is cancelled all the same, and its leftover start harmless; reconcile removes it. It
may run anywhere, at any time, beside live cancels and beside itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import attrs

from batch_cancel.domain.cancellation import Cancellation, CancelResult, conclude
from batch_cancel.domain.defaults import LOOK_LIMIT, NOTED_TOGETHER, RECONCILE_LEASE
from batch_cancel.domain.deferred_start import check_lease
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import Removal
from batch_cancel.domain.worker_rules import check_limit
from batch_cancel.ports import (
    AsyncRepositories,
    AsyncScheduler,
    AsyncUnitOfWork,
    Scheduler,
    UnitOfWork,
)
from batch_cancel.use_cases import log
from batch_cancel.use_cases.announcement import (
    AsyncOnCancelled,
    OnCancelled,
    announce,
    claim,
    note_together,
)
from batch_cancel.use_cases.removals import Removals
from batch_cancel.use_cases.run_blocking import (
    BlockingHook,
    BlockingScheduler,
    BlockingStore,
    check_hook,
    check_scheduler,
    check_store,
    run,
)
from batch_cancel.use_cases.sweep import swept_if_possible
from batch_cancel.use_cases.worker_step import repeated


def reconcile(
    *,
    uow: UnitOfWork,
    scheduler: Scheduler,
    on_cancelled: OnCancelled | None = None,
    limit: int = LOOK_LIMIT,
    lease: timedelta = RECONCILE_LEASE,
) -> list[CancelResult]:
    """
    Finish what is pending of committed cancellations: sweeps, removals and announcements.

    All sweeps come before any removal, and all removals before any hook. If the scheduler fails
    repeatedly, ever more removals are skipped; they stay PENDING, and come first in the next pass.

    Arguments:
        uow: the store of the cancellation records.
        scheduler: the scheduler of the deferred starts.
        on_cancelled: called for each cancellation whose announcement is pending; None leaves those
            alone. It is called twice only if the process that called it died, or could not reach
            the store, before it noted the call. An Exception from it is logged, and a later pass
            calls it again; anything else, such as KeyboardInterrupt, ends this pass.
        limit: how many cancellations to take at most.
        lease: how long a cancellation is left to its own process or to another reconcile; it must
            be longer than any cancel and any hook takes.

    Returns:
        the cancellations that were taken, each with what became of its deferred start; one whose
        removal is still PENDING is taken again by a later pass.

    Raises:
        StoreFailed: the store failed; the next pass finishes the rest.
        TypeError: a store, a scheduler or a hook is of the wrong kind; none of them was called.
        ValueError: `lease` is negative, or longer than a century; `limit` is not 0 to 1,000,000.
    """
    return run(
        reconcile_async(
            uow=BlockingStore(uow),
            scheduler=BlockingScheduler(scheduler),
            on_cancelled=None if on_cancelled is None else BlockingHook(on_cancelled),
            limit=limit,
            lease=lease,
        )
    )


async def reconcile_async(
    *,
    uow: AsyncUnitOfWork,
    scheduler: AsyncScheduler,
    on_cancelled: AsyncOnCancelled | None = None,
    limit: int = LOOK_LIMIT,
    lease: timedelta = RECONCILE_LEASE,
) -> list[CancelResult]:
    """As `reconcile`, awaited."""
    check_store(uow)
    check_scheduler(scheduler)
    check_hook(on_cancelled)
    check_limit(limit)
    check_lease(lease)
    taken = await _take(uow, limit, lease, announcements=on_cancelled is not None)
    works = [_Work(await swept_if_possible(record, uow)) for record in taken]
    await _remove(works, scheduler, uow)
    for work in works:
        work.log()
    if on_cancelled is not None:
        for work in works:
            if work.announcement_pending:
                await announce(work.record, work.result, uow, on_cancelled)
    return [work.result for work in works]


@attrs.define(eq=False)
class _Work:
    """
    One cancellation taken by a pass.

    Arguments:
        record: its record, with the progress of this pass.
        is_silent: whether the scheduler was asked, and did not answer.
    """

    record: CancellationRecord
    is_silent: bool = False

    @property
    def removal_pending(self) -> bool:
        return self.record.deferred_id_owed is not None and self._goes_on

    @property
    def announcement_pending(self) -> bool:
        return not self.record.is_announced and self._goes_on

    @property
    def _goes_on(self) -> bool:
        """Whether the job is cancelled, and no contact of it is left to sweep."""
        return self.record.is_swept and not self.record.is_undone

    @property
    def result(self) -> CancelResult:
        return conclude(Cancellation(self.record, replayed=False), self.record.removal)

    def log(self) -> None:
        if self.record.is_undone:
            log.undone(self.record)
        elif self.record.is_swept:
            log.done("was cancelled before, and reconcile finished it", self.result)


async def _remove(works: list[_Work], scheduler: AsyncScheduler, uow: AsyncUnitOfWork) -> None:
    """Try the pending removals; those skipped come first in the next pass."""
    left, is_answered = [work for work in works if work.removal_pending], True
    while left and is_answered:  # The scheduler answers again, so the skipped ones are tried too.
        left, is_answered = await _asked(left, scheduler, uow)
    if left:
        log.skipped(len(left))
        for work in works:
            if work.is_silent:  # Claimed later, they come after the skipped ones.
                work.record = await claim(work.record, uow) or work.record


async def _asked(
    works: list[_Work], scheduler: AsyncScheduler, uow: AsyncUnitOfWork
) -> tuple[list[_Work], bool]:
    """Try removals and note the answers; return those skipped, and whether any was answered."""
    skipped, is_answered, removals = list[_Work](), False, Removals(scheduler)
    for first in range(0, len(works), NOTED_TOGETHER):
        some, answers = works[first : first + NOTED_TOGETHER], dict[JobKey, Removal]()
        try:
            await removals.ask([work.record for work in some], answers)
        except GeneratorExit:  # Nothing can be awaited any more.
            raise
        except BaseException:
            await _note(some, answers, uow)
            raise
        await _note(some, answers, uow)
        skipped += [work for work in some if work.record.key not in answers]
        is_answered = is_answered or not set(answers.values()) <= {Removal.PENDING}
    return skipped, is_answered


async def _note(
    works: list[_Work], answers: Mapping[JobKey, Removal], uow: AsyncUnitOfWork
) -> None:
    """Note what became of removals, in one transaction."""
    done = list[CancellationRecord]()
    for work in works:
        removal = answers.get(work.record.key)
        work.is_silent = removal is Removal.PENDING
        if removal is not None and not work.is_silent:
            work.record = attrs.evolve(work.record, removal=removal)
            done.append(work.record)
    if done:
        await note_together(done, uow)


async def _take(
    uow: AsyncUnitOfWork, limit: int, lease: timedelta, *, announcements: bool
) -> list[CancellationRecord]:
    async def step(repositories: AsyncRepositories) -> list[CancellationRecord]:
        if repositories.outbox is None:
            return []
        return await repositories.outbox.take(limit, lease, announcements=announcements)

    # Again after a conflict: on nodes of a cluster no pass skips what another one takes.
    return await repeated(uow, step)
