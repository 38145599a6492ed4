"""
Report how far the database and the scheduler have drifted apart, without a lock or a change.

The database is read at one moment, then the scheduler, and if they disagree the database once
more: a cancel, a start or a reconcile that ran meanwhile is no drift. Work in progress during both
reads can appear as drift: a removal that a live cancel is about to confirm, or a job whose start
was just handed out but that its worker has not started yet. Real drift persists: run it again.

Some schedulers cannot report which deferred starts wait, and others may not answer. Then the rest
is still reported, and the answer says what was not seen.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.domain.defaults import CALL_AGE_SUSPECT, LOOK_LIMIT
from batch_cancel.domain.drift import Drift, Inventory
from batch_cancel.domain.errors import SchedulerUnavailable, StoreFailed
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from batch_cancel.domain.worker_rules import check_age, check_limit
from batch_cancel.ports import (
    AsyncInspectableScheduler,
    AsyncScheduler,
    AsyncUnitOfWork,
    InspectableScheduler,
    Scheduler,
    UnitOfWork,
)
from batch_cancel.use_cases import kinds
from batch_cancel.use_cases.run_blocking import (
    BlockingInspectable,
    BlockingScheduler,
    BlockingStore,
    check_inspectable,
    check_store,
    run,
)
from batch_cancel.use_cases.unexpected import described

_NOBODY: Final = frozenset({"batch-cancel inspect"})
"""Asked about if there is no start to ask about, to see whether the scheduler answers."""


def inspect(
    *,
    uow: UnitOfWork,
    scheduler: InspectableScheduler | Scheduler,
    limit: int = LOOK_LIMIT,
    calls_older_than: timedelta = CALL_AGE_SUSPECT,
) -> Drift:
    """
    Report where the database and the scheduler disagree.

    Arguments:
        uow: the store of the jobs.
        scheduler: the scheduler of the deferred starts. If it has no `waiting_among`, or does not
            answer, the result says so, and has what the store alone knows.
        limit: how many pending removals, scheduled jobs and cancelled jobs to read: the oldest
            removals, the scheduled jobs unchanged for longest, the cancelled jobs changed last;
            the result says whether there may be more.
        calls_older_than: the age after which a live call counts as overdue.

    Raises:
        StoreFailed: the store failed, or offers no inspection.
        TypeError: a store or a scheduler is of the wrong kind; none of them was called.
        ValueError: `calls_older_than` is not positive, or `limit` is not 0 to 1,000,000.
    """
    return run(
        inspect_async(
            uow=BlockingStore(uow),
            scheduler=(
                BlockingInspectable(scheduler)
                if isinstance(scheduler, InspectableScheduler)
                else BlockingScheduler(scheduler)
            ),
            limit=limit,
            calls_older_than=calls_older_than,
        )
    )


async def inspect_async(
    *,
    uow: AsyncUnitOfWork,
    scheduler: AsyncInspectableScheduler | AsyncScheduler,
    limit: int = LOOK_LIMIT,
    calls_older_than: timedelta = CALL_AGE_SUSPECT,
) -> Drift:
    """As `inspect`, awaited."""
    check_store(uow)
    check_inspectable(scheduler)
    check_limit(limit)
    check_age(calls_older_than)
    inventory = await _look(uow, limit, calls_older_than)
    drift = await _compared(inventory, scheduler, limit)
    return (
        drift.confirmed_by(await _look(uow, limit, calls_older_than)) if drift.is_found else drift
    )


async def _look(uow: AsyncUnitOfWork, limit: int, older_than: timedelta) -> Inventory:
    async with kinds.opened_async(uow) as repositories:
        if repositories.inspection is None:
            raise StoreFailed(_NO_INSPECTION)
        return await repositories.inspection.look(limit, CANCELLABLE_CONTACTS, older_than)


_NO_INSPECTION: Final = "this store offers no inspection: its `inspection` is None"


async def _compared(
    inventory: Inventory, scheduler: AsyncInspectableScheduler | AsyncScheduler, limit: int
) -> Drift:
    if not isinstance(scheduler, AsyncInspectableScheduler):
        return inventory.drift(None, limit)
    try:
        # An answer that is no collection is a failure of the scheduler's.
        waiting = frozenset(
            await kinds.returned_async(scheduler.waiting_among(inventory.deferred_ids or _NOBODY))
        )
    except kinds.WrongKind:
        raise
    except Exception as error:  # noqa: BLE001  # The failure is part of the report.
        return inventory.drift(None, limit, _fault(error))
    return inventory.drift(waiting, limit)


def _fault(error: Exception) -> str:
    if isinstance(error, SchedulerUnavailable):
        return error.reason
    return f"it raised {described(error)}"
