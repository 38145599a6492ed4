"""
Sweep the contacts of a very large job after its cancellation, chunk by chunk.

Each chunk is a transaction of its own, with its count. It may be repeated after any fault, even if
its commit is unknown: the record is read under its lock first, and has the counts of all that was
committed. Whoever meets a cancellation with contacts to sweep does the rest: the cancel itself, a
retry of its operation, another cancel, or reconcile.
"""

from __future__ import annotations

from typing import Final

import attrs

from batch_cancel.domain.errors import AlreadyTerminal, CancelFailed, StoreFailed
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.retry import may_sweep_again
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from batch_cancel.domain.sweep import Chunk, Sweep
from batch_cancel.ports import AsyncRepositories, AsyncSweepRepository, AsyncUnitOfWork
from batch_cancel.use_cases import log
from batch_cancel.use_cases.joining import read_record
from batch_cancel.use_cases.kinds import discard, opened_async
from batch_cancel.use_cases.run_blocking import repeatable
from batch_cancel.use_cases.store_faults import Progress, faults_named, pause

_LEFT: Final = "not all of its contacts are cancelled yet"
_NO_SWEEP: Final = (
    "this store sweeps no contacts: its `repositories.sweep` is missing or None, so run reconcile "
    "with the store that has cancelled the job"
)
_UNDONE: Final = (
    "something has set its status back before all of its contacts were cancelled: look for the "
    "cause and cancel the job again"
)


def sweep_of(repositories: AsyncRepositories) -> AsyncSweepRepository | None:
    """Return the sweep of a store; None if it has none."""
    sweep: AsyncSweepRepository | None = getattr(repositories, "sweep", None)
    return sweep


async def swept(record: CancellationRecord, uow: AsyncUnitOfWork) -> CancellationRecord:
    """
    Cancel the contacts that a committed cancellation has still to sweep.

    Returns:
        the record with the exact count; `is_undone` if the job is not cancelled any more, and then
        the rest of its contacts was left alone.

    Raises:
        CancelFailed: the store failed. The job is cancelled; the rest is still to be swept.
    """
    sweep, made = Sweep(record), 0
    while sweep.is_pending:
        try:
            await pause(record.key, made, uow)
            with faults_named(record.key, Progress("unknown")):
                sweep = await _after_chunk(sweep, uow)
        except CancelFailed as failure:
            made += 1
            if repeatable(uow) is None or not may_sweep_again(failure, made):
                reason = f"{_LEFT}: {failure.reason}"
                raise attrs.evolve(failure, reason=reason, outcome="unknown") from failure
        else:
            made = 0
    return sweep.record


async def swept_surely(record: CancellationRecord, uow: AsyncUnitOfWork) -> CancellationRecord:
    """
    Do the same, and raise if the job is not cancelled any more.

    Raises:
        CancelFailed: the store failed, or something has set the job's status back.
    """
    record = await swept(record, uow)
    if record.is_swept:
        return record
    raise CancelFailed(record.key, _UNDONE, "unknown")


async def swept_if_possible(
    record: CancellationRecord, uow: AsyncUnitOfWork
) -> CancellationRecord:
    """Do the same for a cancellation that is reported otherwise: a failure is only logged."""
    try:
        return await swept(record, uow)
    except CancelFailed as failure:
        log.left_pending(record, _LEFT, failure)
        return record


async def refusal_after_sweep(refusal: AlreadyTerminal, uow: AsyncUnitOfWork) -> AlreadyTerminal:
    """Return the error for a job that is cancelled already, once its contacts are swept."""
    before = refusal.cancellation
    if before is None or before.is_swept:
        return refusal
    return attrs.evolve(refusal, cancellation=await swept_if_possible(before, uow))


async def _after_chunk(sweep: Sweep, uow: AsyncUnitOfWork) -> Sweep:
    async with opened_async(uow) as repositories:
        port = sweep_of(repositories)
        if port is None:
            raise StoreFailed(_NO_SWEEP)
        sweep = sweep.found(read_record(await port.lock(sweep.record)))
        if sweep.is_pending:
            sweep = sweep.after(_chunk(await port.cancel(sweep.record.key, CANCELLABLE_CONTACTS)))
            await port.note(sweep.record)
    return sweep


def _chunk(answer: object) -> Chunk:
    if isinstance(answer, Chunk):
        return answer
    discard(answer)
    reason = f"the store returned {type(answer).__name__} instead of a Chunk"
    raise StoreFailed(reason)
