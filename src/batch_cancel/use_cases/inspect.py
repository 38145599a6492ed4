"""
Tell how far the database and the scheduler have drifted apart. Nothing is locked, nothing changed.

The database is looked at in one moment, then the scheduler, and where something is found amiss the
database once more: a cancel, a start or a reconcile that was at work meanwhile is no drift. What
is under way at both looks is told as it is: a removal that a live cancel is just about to confirm
is pending, and a job whose deferred start was handed out a moment ago, but that its worker has not
started yet, has no start that waits. Ask again: drift stays.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.domain.drift import Drift, Inventory
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.guards import CALL_AGE_SUSPECT, check_age
from batch_cancel.domain.model import CANCELLABLE_CONTACTS
from batch_cancel.ports import (
    AsyncInspectableScheduler,
    AsyncUnitOfWork,
    InspectableScheduler,
    UnitOfWork,
)

_LIMIT: Final = 1000


def inspect(
    *,
    uow: UnitOfWork,
    scheduler: InspectableScheduler,
    limit: int = _LIMIT,
    calls_older_than: timedelta = CALL_AGE_SUSPECT,
) -> Drift:
    """
    Tell what the database and the scheduler do not agree on.

    Arguments:
        uow: where the jobs are.
        scheduler: where the deferred starts wait.
        limit: how many pending removals, scheduled jobs and cancelled jobs, of each the most
            likely ones, to look at; the answer says whether there may be more.
        calls_older_than: how long a contact is dialing before its call counts as overdue.

    Raises:
        StoreFailed: the store failed, or offers no inspection.
        SchedulerUnavailable: the scheduler did not answer.
        TypeError: the scheduler cannot tell what waits.
        ValueError: `calls_older_than` is not positive.
    """
    _check_can_tell(scheduler)
    check_age(calls_older_than)
    inventory = _look(uow, limit, calls_older_than)
    drift = inventory.drift(scheduler.waiting_among(inventory.deferred_ids), limit)
    return drift.confirmed_by(_look(uow, limit, calls_older_than)) if drift.is_found else drift


async def inspect_async(
    *,
    uow: AsyncUnitOfWork,
    scheduler: AsyncInspectableScheduler,
    limit: int = _LIMIT,
    calls_older_than: timedelta = CALL_AGE_SUSPECT,
) -> Drift:
    """
    Tell what the database and the scheduler do not agree on.

    Arguments:
        uow: where the jobs are.
        scheduler: where the deferred starts wait.
        limit: how many pending removals, scheduled jobs and cancelled jobs, of each the most
            likely ones, to look at; the answer says whether there may be more.
        calls_older_than: how long a contact is dialing before its call counts as overdue.

    Raises:
        StoreFailed: the store failed, or offers no inspection.
        SchedulerUnavailable: the scheduler did not answer.
        TypeError: the scheduler cannot tell what waits.
        ValueError: `calls_older_than` is not positive.
    """
    _check_can_tell(scheduler)
    check_age(calls_older_than)
    inventory = await _look_async(uow, limit, calls_older_than)
    drift = inventory.drift(await scheduler.waiting_among(inventory.deferred_ids), limit)
    return (
        drift.confirmed_by(await _look_async(uow, limit, calls_older_than))
        if drift.is_found
        else drift
    )


def _look(uow: UnitOfWork, limit: int, older_than: timedelta) -> Inventory:
    with uow.begin() as repositories:
        if repositories.inspection is None:
            raise StoreFailed(_NO_INSPECTION)
        return repositories.inspection.look(limit, CANCELLABLE_CONTACTS, older_than)


async def _look_async(uow: AsyncUnitOfWork, limit: int, older_than: timedelta) -> Inventory:
    async with uow.begin() as repositories:
        if repositories.inspection is None:
            raise StoreFailed(_NO_INSPECTION)
        return await repositories.inspection.look(limit, CANCELLABLE_CONTACTS, older_than)


_NO_INSPECTION: Final = "this store offers no inspection: its `repositories.inspection` is None"


def _check_can_tell(scheduler: object) -> None:
    if not isinstance(scheduler, InspectableScheduler):  # The asyncio one has the same method.
        msg = f"{type(scheduler).__name__} cannot tell what waits: it has no waiting_among"
        raise TypeError(msg)
