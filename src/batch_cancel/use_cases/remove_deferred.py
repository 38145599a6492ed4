"""
After the commit of a cancellation: remove the deferred start, call the hook, note both.

The job stays cancelled, so a failure here is not raised: the record still says what is pending,
and reconcile finishes it. After the caller's own commit the record is read first; without a record
there was no commit.
"""

from __future__ import annotations

from typing import Final

import attrs

from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelResult,
    committed,
    conclude,
    untaken,
)
from batch_cancel.domain.errors import CancelFailed
from batch_cancel.ports import (
    AsyncScheduler,
    AsyncUnitOfWork,
    Scheduler,
    UnitOfWork,
)
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.announcement import (
    AsyncOnCancelled,
    OnCancelled,
    announce,
    call_hook,
    note,
)
from batch_cancel.use_cases.joining import find, is_joined
from batch_cancel.use_cases.removals import ask
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

_NOT_COMMITTED: Final = (
    "its cancellation is not committed, so its deferred start was left alone: your transaction "
    "was rolled back, as COMMIT does without an error after a statement in it has failed (find "
    "what failed, and cancel again in a new one), or is still open (call remove_deferred after "
    "your commit)"
)
_UNDONE: Final = (
    "its cancellation is committed, but the job is not cancelled: something has set its status "
    "back, such as a deferred trigger that ran at your commit; its deferred start was left "
    "alone: look for the cause and cancel the job again"
)
_STILL_OPEN: Final = (
    "remove_deferred was called within your own transaction, which may still be rolled back; the "
    "deferred start was left alone: call it after your commit, with a unit of work that opens "
    "its own transactions"
)


def remove_deferred(
    cancellation: Cancellation,
    scheduler: Scheduler,
    *,
    uow: UnitOfWork | None = None,
    on_cancelled: OnCancelled | None = None,
) -> CancelResult:
    """
    Remove the deferred start of a job whose cancellation is committed.

    A cancellation that `cancel_rows` made in your own transaction is first looked up in `uow`,
    because many drivers raise no error when a COMMIT turns into a rollback. Without its record the
    scheduler is not asked. If the store fails, the scheduler is not asked either: the result says
    PENDING, and reconcile finishes what was committed.

    A committed cancellation stands whatever the scheduler answers, so its failure is not raised:
    the result says PENDING, and reconcile finishes the removal.

    Arguments:
        cancellation: what `cancel_rows` returned.
        scheduler: the scheduler of the deferred starts.
        uow: where to look up the cancellation and to note the outcome, each in a transaction of
            its own. With None neither is done: reconcile asks the scheduler and calls the hook
            again, and you must know that your commit succeeded. If it was rolled back, a scheduled
            job has lost its start.
        on_cancelled: called with the result, if `cancel_rows` was called with `announce=True`.

    Raises:
        CancelFailed: the transaction of `cancel_rows` was rolled back or is still open, or the job
            is not cancelled although it was committed; the scheduler was not asked.
        TypeError: a store, a scheduler or a hook is of the wrong kind; none of them was called.
    """
    return run(
        remove_deferred_async(
            cancellation,
            BlockingScheduler(scheduler),
            uow=None if uow is None else BlockingStore(uow),
            on_cancelled=None if on_cancelled is None else BlockingHook(on_cancelled),
        )
    )


async def remove_deferred_async(
    cancellation: Cancellation,
    scheduler: AsyncScheduler,
    *,
    uow: AsyncUnitOfWork | None = None,
    on_cancelled: AsyncOnCancelled | None = None,
) -> CancelResult:
    """As `remove_deferred`, awaited."""
    check_scheduler(scheduler)
    if uow is not None:
        check_store(uow)
    check_hook(on_cancelled)
    if cancellation.joined and uow is not None:
        found = await _as_committed(cancellation, uow)
        if found is None:
            return conclude(cancellation, cancellation.record.removal)
        cancellation = found
    if uow is not None and not cancellation.record.is_swept:
        record = await swept_if_possible(cancellation.record, uow)
        cancellation = attrs.evolve(cancellation, record=record)
    result = await finish(cancellation, scheduler, uow, on_cancelled)
    if not result.replayed:
        log.done("was cancelled", result)
    return result


async def finish(
    cancellation: Cancellation,
    scheduler: AsyncScheduler,
    uow: AsyncUnitOfWork | None,
    on_cancelled: AsyncOnCancelled | None,
) -> CancelResult:
    """Finish what is pending of a committed cancellation, and note the progress."""
    record = cancellation.record
    removal = await ask(record, scheduler)
    result = conclude(cancellation, removal)
    done = None if removal is record.removal else attrs.evolve(record, removal=removal)
    if on_cancelled is None or not cancellation.announcement_owed:
        if done is not None and uow is not None:
            await note(done, uow)
    elif uow is None:
        await call_hook(record, result, on_cancelled)
    else:
        await announce(untaken(record), result, uow, on_cancelled, done=done)
    return result


async def _as_committed(cancellation: Cancellation, uow: AsyncUnitOfWork) -> Cancellation | None:
    """
    Return the committed cancellation; None if the store failed.

    Raises:
        CancelFailed: it is not committed.
    """
    record = cancellation.record
    try:
        is_open = is_joined(uow)
        found = None if is_open else await find(uow, record.key)
    except kinds.WrongKind:
        raise
    except Exception as error:  # noqa: BLE001  # It may be committed, and a committed cancellation must not raise.
        log.not_looked_up(record, error)
        return None
    if is_open:
        raise CancelFailed(record.key, _STILL_OPEN, "unknown")
    current = committed(cancellation, found)
    if current is None:
        raise CancelFailed(record.key, _NOT_COMMITTED, "unknown")
    if current.record.is_undone:
        raise CancelFailed(record.key, _UNDONE, "unknown")
    return current
