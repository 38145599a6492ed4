"""
Call the `on_cancelled` hook of a cancellation once, and note what was done since its commit.

Rule 1: the record is claimed right before the hook is called, and of several claims one succeeds.
        So a hook is called twice only if the process ended, or could not reach the store, between
        the call and its note; or if the call took longer than reconcile's lease.
Rule 2: a claim moves the record to the end of the queue, so the cancellation comes last in the
        next pass: a hook that always crashes its process does not block the others.
Rule 3: once an asyncio hook has returned, its call is noted even if its task is cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.retry import Patience
from batch_cancel.ports import AsyncUnitOfWork
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.joining import read_record
from batch_cancel.use_cases.run_blocking import is_blocking

OnCancelled = Callable[[CancelResult], object]
"""Called with the result of a cancellation after its commit."""

AsyncOnCancelled = Callable[[CancelResult], Awaitable[object] | object]
"""Called with the result of a cancellation after its commit; an awaitable answer is awaited."""

_NOT_NOTED: Final = "what was done after the commit could not be noted"


async def announce(
    record: CancellationRecord,
    result: CancelResult,
    uow: AsyncUnitOfWork,
    on_cancelled: AsyncOnCancelled,
    *,
    done: CancellationRecord | None = None,
) -> None:
    """
    Call the hook of a cancellation, unless another process has claimed it, and note the call.

    Arguments:
        record: the record as it was last read.
        result: passed to the hook.
        uow: where to claim the record, and to note that the hook was called.
        on_cancelled: the hook.
        done: the record with other progress, noted in the transaction of the claim.
    """
    claimed = await _claimed(record, uow, done)
    if claimed is not None and await call_hook(claimed, result, on_cancelled):
        await _note_surely(attrs.evolve(claimed, is_announced=True), uow)


async def call_hook(
    record: CancellationRecord, result: CancelResult, on_cancelled: AsyncOnCancelled
) -> bool:
    """Call the hook; return whether it succeeded."""
    try:
        await kinds.call_hook(on_cancelled, result)
    except Exception as error:  # noqa: BLE001  # The caller's hook can't undo a cancellation.
        log.left_pending(record, "the on_cancelled hook failed", error)
        return False
    return True


async def claim(record: CancellationRecord, uow: AsyncUnitOfWork) -> CancellationRecord | None:
    """
    Claim a record, in a transaction of its own.

    Returns:
        the record as it is now; None if another process has claimed it, or the store failed.
    """
    try:
        async with kinds.opened_async(uow) as repositories:
            outbox = repositories.outbox
            return None if outbox is None else read_record(await outbox.claim(record))
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile tries again.
        log.left_pending(record, "its record could not be claimed", error)
        return None


async def note(record: CancellationRecord, uow: AsyncUnitOfWork) -> bool:
    """Note the progress in the record; return whether it is noted."""
    try:
        await _settle([record], uow)
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile asks again.
        log.left_pending(record, _NOT_NOTED, error)
        return False
    return True


async def note_together(records: Sequence[CancellationRecord], uow: AsyncUnitOfWork) -> None:
    """Note the progress in records, in one transaction, or one by one if that fails."""
    try:
        await _settle(records, uow)
    except Exception as error:  # noqa: BLE001  # Each failure is logged with its own record.
        patience = Patience()
        for record in records:
            if patience.skips:
                log.left_pending(record, _NOT_NOTED, error)
                patience = patience.after_skipping()
            else:
                is_noted = await note(record, uow)
                patience = Patience() if is_noted else patience.after_silence()


async def _settle(records: Sequence[CancellationRecord], uow: AsyncUnitOfWork) -> None:
    """Note in the order of the jobs' ids: two that note the same records wait in no circle."""
    async with kinds.opened_async(uow) as repositories:
        if repositories.outbox is not None:
            for record in sorted(records, key=_place):
                await repositories.outbox.settle(record)


def _place(record: CancellationRecord) -> tuple[str, str]:
    return record.key.organization_id or "", record.key.batch_job_id


async def _claimed(
    record: CancellationRecord, uow: AsyncUnitOfWork, done: CancellationRecord | None
) -> CancellationRecord | None:
    """Note other progress, and return the record if its hook is ours to call."""
    try:
        async with kinds.opened_async(uow) as repositories:
            outbox = repositories.outbox
            if outbox is None:  # No other process can read it.
                return record
            if done is not None:
                await outbox.settle(done)
            claimed = read_record(await outbox.claim(record))
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile calls the hook.
        log.left_pending(record, "the store did not answer before its on_cancelled hook", error)
        return None
    return _unannounced(claimed)


def _unannounced(claimed: CancellationRecord | None) -> CancellationRecord | None:
    if claimed is None or claimed.is_announced:
        return None
    if claimed.is_undone:
        log.undone(claimed)
        return None
    return claimed


async def _note_surely(record: CancellationRecord, uow: AsyncUnitOfWork) -> None:
    """Note the progress; note it again if the task is cancelled meanwhile."""
    try:
        await note(record, uow)
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # CancelledError of any event loop. Noting it twice changes nothing.
        if not is_blocking(uow):  # A blocking call has no task to cancel.
            await note(record, uow)
        raise
