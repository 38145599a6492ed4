"""
Tell of a cancellation, once, and note what was done since its commit.

Rule 1: whoever tells has claimed the record right before, and of several claims one succeeds. So
        a hook is called twice only if the process that called it ended, or could not reach the
        store, between the call and its note; or if the call took longer than reconcile's lease.
Rule 2: the claim is the newest of all when the hook is called, so the cancellation comes last in
        the next pass: a hook that ends its process every time keeps no other from its turn.
Rule 3: once an asyncio hook has returned, cancelling its task does not keep the note from being
        made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.ports import AsyncUnitOfWork
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.joining import read_record
from batch_cancel.use_cases.run_blocking import is_blocking

OnCancelled = Callable[[CancelResult], object]
"""Is told of a cancellation once it is done."""

AsyncOnCancelled = Callable[[CancelResult], Awaitable[object] | object]
"""Is told of a cancellation once it is done; what it returns is awaited, if it is awaitable."""


async def announce(
    record: CancellationRecord,
    result: CancelResult,
    uow: AsyncUnitOfWork,
    on_cancelled: AsyncOnCancelled,
    *,
    done: CancellationRecord | None = None,
) -> None:
    """
    Call the hook for a cancellation, unless another process has or is about to, and note it.

    Arguments:
        record: as it was last read; it names the turn.
        result: what the hook is told.
        uow: where to claim the record, and to note that the hook was called.
        on_cancelled: the hook.
        done: what else is to be noted, in the same transaction as the claim.
    """
    claimed = await _claimed(record, uow, done)
    if claimed is not None and await tell(claimed, result, on_cancelled):
        await _note_surely(attrs.evolve(claimed, is_announced=True), uow)


async def tell(
    record: CancellationRecord, result: CancelResult, on_cancelled: AsyncOnCancelled
) -> bool:
    """Call the hook; return whether it has done its work."""
    try:
        await kinds.tell(on_cancelled, result)
    except Exception as error:  # noqa: BLE001  # The caller's hook can't undo a cancellation.
        log.owed(record, "the on_cancelled hook failed", error)
        return False
    return True


async def claim(record: CancellationRecord, uow: AsyncUnitOfWork) -> CancellationRecord | None:
    """
    Take a record once more, in a transaction of its own.

    Returns:
        the record as it is now; None if another has taken it, or the store did not answer.
    """
    try:
        async with kinds.opened_async(uow) as repositories:
            outbox = repositories.outbox
            return None if outbox is None else read_record(await outbox.claim(record))
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile comes again.
        log.owed(record, "its record could not be taken", error)
        return None


async def note(record: CancellationRecord, uow: AsyncUnitOfWork) -> None:
    """Note what was done, as it is in the record."""
    try:
        async with kinds.opened_async(uow) as repositories:
            if repositories.outbox is not None:
                await repositories.outbox.settle(record)
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile asks again.
        log.owed(record, "what was done after the commit could not be noted", error)


async def _claimed(
    record: CancellationRecord, uow: AsyncUnitOfWork, done: CancellationRecord | None
) -> CancellationRecord | None:
    """Return the record if it is ours to tell of; note what was done before, in any case."""
    try:
        async with kinds.opened_async(uow) as repositories:
            outbox = repositories.outbox
            if outbox is None:  # Nobody else can know of it.
                return record
            if done is not None:
                await outbox.settle(done)
            claimed = read_record(await outbox.claim(record))
    except Exception as error:  # noqa: BLE001  # The job is cancelled; reconcile tells of it.
        log.owed(record, "the store did not answer before its on_cancelled hook", error)
        return None
    return _to_be_told(claimed)


def _to_be_told(claimed: CancellationRecord | None) -> CancellationRecord | None:
    if claimed is None or claimed.is_announced:
        return None
    if claimed.is_undone:
        log.undone(claimed)
        return None
    return claimed


async def _note_surely(record: CancellationRecord, uow: AsyncUnitOfWork) -> None:
    """Note what was done; once more if the task is cancelled meanwhile, which happens once."""
    try:
        await note(record, uow)
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # Of any event loop's kind. Noted twice is as noted once.
        if not is_blocking(uow):  # There, no task is cancelled.
            await note(record, uow)
        raise
