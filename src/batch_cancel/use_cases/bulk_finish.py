"""
After the commit of a slice: remove the deferred starts, note that, and call the hooks.

Rule 1: no lock is held while the scheduler is asked.
Rule 2: all removals of a slice are noted before its first hook is called.
Rule 3: what is not finished here is found by reconcile.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from batch_cancel.domain.cancellation import Cancellation, CancelResult, conclude, untaken
from batch_cancel.domain.defaults import NOTED_TOGETHER, REMOVED_TOGETHER
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.retry import Patience
from batch_cancel.domain.statuses import Removal
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork
from batch_cancel.use_cases import log
from batch_cancel.use_cases.announcement import AsyncOnCancelled, announce, note_together
from batch_cancel.use_cases.remove_deferred import ask, ask_together
from batch_cancel.use_cases.run_blocking import removes_many


@attrs.define
class Finish:
    """
    What finishes the cancellations of slices, and remembers how the scheduler answers.

    Arguments:
        uow: where to note what was done.
        scheduler: the scheduler of the deferred starts.
        on_cancelled: the hook; None for none.
    """

    uow: AsyncUnitOfWork
    scheduler: AsyncScheduler
    on_cancelled: AsyncOnCancelled | None
    _patience: Patience = attrs.field(factory=Patience, init=False)

    async def finish(self, cancellations: Sequence[Cancellation]) -> list[CancelResult]:
        """Finish what is pending of committed cancellations, and return the result of each."""
        removals = await self._removals([it.record for it in cancellations])
        results = list(map(conclude, cancellations, removals))
        done = [
            None if removal is it.record.removal else attrs.evolve(it.record, removal=removal)
            for it, removal in zip(cancellations, removals, strict=True)
        ]
        is_owed = [self.on_cancelled is not None and it.announcement_owed for it in cancellations]
        await self._note(
            [it for it, hooked in zip(done, is_owed, strict=True) if it is not None and not hooked]
        )
        for cancellation, result, progress in zip(cancellations, results, done, strict=True):
            if self.on_cancelled is not None and cancellation.announcement_owed:
                record = untaken(cancellation.record)
                await announce(record, result, self.uow, self.on_cancelled, done=progress)
            if not result.replayed:
                log.done("was cancelled", result)
        return results

    async def _removals(self, records: Sequence[CancellationRecord]) -> list[Removal]:
        """Ask for the pending removals, and return what became of each deferred start."""
        # Two ids may be texts of one job, whose start is asked for once.
        owed = [*{it.key: it for it in records if it.deferred_id_owed is not None}.values()]
        many, asked = removes_many(self.scheduler), dict[JobKey, Removal]()
        size = 1 if many is None else REMOVED_TOGETHER
        for first in range(0, len(owed), size):
            some = owed[first : first + size]
            if self._patience.skips:
                self._patience = self._patience.after_skipping()
                continue
            if many is None:
                answers = [await ask(some[0], self.scheduler)]
            else:
                answers = await ask_together(some, many)
            asked |= zip((record.key for record in some), answers, strict=True)
            is_silent = set(answers) == {Removal.PENDING}
            self._patience = self._patience.after_silence() if is_silent else Patience()
        if len(asked) < len(owed):
            log.skipped(len(owed) - len(asked))
        return [asked.get(record.key, record.removal) for record in records]

    async def _note(self, records: Sequence[CancellationRecord]) -> None:
        for first in range(0, len(records), NOTED_TOGETHER):
            await note_together(records[first : first + NOTED_TOGETHER], self.uow)
