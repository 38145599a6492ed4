"""
Ask the scheduler for pending removals: for one, or for many.

Rule 1: a removal is done only if the scheduler says so of this very start.
Rule 2: an exception of the scheduler is never raised, because the cancellation is committed. A
        removal that is not confirmed stays pending, and reconcile asks again.
Rule 3: a start for which the scheduler fails holds up no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import attrs

from batch_cancel.domain.cancellation import removal_of
from batch_cancel.domain.defaults import REMOVED_TOGETHER
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.retry import Patience
from batch_cancel.domain.statuses import Removal
from batch_cancel.ports import AsyncBulkScheduler, AsyncScheduler
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.run_blocking import removes_many

_NOT_CONFIRMED: Final = "the scheduler did not confirm the removal of its deferred start"


async def ask(record: CancellationRecord, scheduler: AsyncScheduler) -> Removal:
    """Ask the scheduler for a pending removal, and return what became of it."""
    deferred_id = record.deferred_id_owed
    if deferred_id is None:
        return record.removal
    try:
        answer: object = await kinds.returned_async(
            scheduler.cancel(deferred_id, record.operation_id)
        )
    except Exception as error:  # noqa: BLE001  # A committed cancellation must not raise.
        answer = error
    removal = removal_of(answer)
    if removal is Removal.PENDING:
        log.left_pending(record, _NOT_CONFIRMED, answer)
    return removal


@attrs.define
class Removals:
    """
    Asks a scheduler for many pending removals, ever more rarely while it does not answer.

    A scheduler with `cancel_many` is asked for many at once, and then alone for each start that
    it did not answer.
    """

    scheduler: AsyncScheduler
    _many: AsyncBulkScheduler | None = attrs.field(init=False)
    _patience: Patience = attrs.field(factory=Patience, init=False)
    _patience_with_many: Patience = attrs.field(factory=Patience, init=False)

    def __attrs_post_init__(self) -> None:
        """Look once whether it can be asked for many."""
        self._many = removes_many(self.scheduler)

    async def ask(
        self, records: Sequence[CancellationRecord], removals: dict[JobKey, Removal]
    ) -> None:
        """
        Ask for removals.

        Arguments:
            records: the cancellations, each with a pending removal.
            removals: receives what became of each as soon as it is known, so that it is kept even
                if the call is ended. Those that were skipped are left out.
        """
        for first in range(0, len(records), REMOVED_TOGETHER):
            page = records[first : first + REMOVED_TOGETHER]
            if self._many is not None and len(page) > 1 and not self._patience.silences:
                removals |= await self._together(page, self._many)
            for record in page:
                if record.key not in removals:
                    removals |= await self._alone(record)

    async def _alone(self, record: CancellationRecord) -> dict[JobKey, Removal]:
        if self._patience.skips:
            self._patience = self._patience.after_skipping()
            return {}
        removal = await ask(record, self.scheduler)
        is_silent = removal is Removal.PENDING
        self._patience = self._patience.after_silence() if is_silent else Patience()
        return {record.key: removal}

    async def _together(
        self, records: Sequence[CancellationRecord], scheduler: AsyncBulkScheduler
    ) -> dict[JobKey, Removal]:
        """Ask for many at once, and return what became of those of which something is known."""
        if self._patience_with_many.skips:
            self._patience_with_many = self._patience_with_many.after_skipping()
            return {}
        starts = [(str(record.deferred_id), record.operation_id) for record in records]
        try:
            found: object = await kinds.returned_async(scheduler.cancel_many(starts))
            answers = _in_order(found)
        except Exception as error:  # noqa: BLE001  # A committed cancellation must not raise.
            found, answers = error, []
        if len(answers) != len(records):  # Which answer is of which start is not known.
            answers = [None] * len(records)
        known = dict(zip((it.key for it in records), map(removal_of, answers), strict=True))
        known = {key: it for key, it in known.items() if it is not Removal.PENDING}
        if known:
            self._patience_with_many = Patience()
        else:
            self._patience_with_many = self._patience_with_many.after_silence()
            log.not_together(len(records), found)
        return known


def _in_order(found: object) -> list[object]:
    """Return the answers to many questions; none if they are in no order."""
    if not isinstance(found, Sequence):
        return []
    answers = [*cast("Sequence[object]", found)]
    for answer in answers:
        kinds.discard(answer)
    return answers
