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
from batch_cancel.domain.defaults import NOTED_TOGETHER
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import Removal
from batch_cancel.ports import AsyncUnitOfWork
from batch_cancel.use_cases import log
from batch_cancel.use_cases.announcement import AsyncOnCancelled, announce, note_together
from batch_cancel.use_cases.removals import Removals


@attrs.define
class Finish:
    """
    What finishes the cancellations of slices.

    Arguments:
        uow: where to note what was done.
        removals: what asks the scheduler, and remembers how it answers.
        on_cancelled: the hook; None for none.
    """

    uow: AsyncUnitOfWork
    removals: Removals
    on_cancelled: AsyncOnCancelled | None

    async def finish(self, cancellations: Sequence[Cancellation]) -> list[CancelResult]:
        """Finish what is pending of committed cancellations, and return the result of each."""
        removals = await self._removed([it.record for it in cancellations])
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

    async def _removed(self, records: Sequence[CancellationRecord]) -> list[Removal]:
        """Ask for the pending removals, and return what became of each deferred start."""
        # Two ids may be texts of one job, whose start is asked for once.
        owed = [*{it.key: it for it in records if it.deferred_id_owed is not None}.values()]
        asked = dict[JobKey, Removal]()
        await self.removals.ask(owed, asked)
        if len(asked) < len(owed):
            log.skipped(len(owed) - len(asked))
        return [asked.get(record.key, record.removal) for record in records]

    async def _note(self, records: Sequence[CancellationRecord]) -> None:
        for first in range(0, len(records), NOTED_TOGETHER):
            await note_together(records[first : first + NOTED_TOGETHER], self.uow)
