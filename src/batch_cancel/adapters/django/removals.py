"""The removal of a deferred start, which waits for Django's commit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs
from django import db

from batch_cancel.adapters.django.unit_of_work import DjangoUnitOfWork
from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.errors import CancelFailed, Fault, shown
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.ports import Scheduler
from batch_cancel.use_cases import kinds, log
from batch_cancel.use_cases.announcement import OnCancelled
from batch_cancel.use_cases.remove_deferred import remove_deferred

_django: Any = db  # It brings no types along.
_NOT_YET: Final = (
    "batch job {}: the result of its cancellation is not known before Django's commit: read it "
    "once the outermost atomic() has ended, or answer with present(cancellation) before (in a "
    "TestCase use captureOnCommitCallbacks(execute=True))"
)
_DROPPED: Final = (
    "Django has not run the hook that removes the deferred start, because the atomic() block of "
    "the cancellation was rolled back, or because another on_commit hook failed before it"
)


class DeferredRemoval:
    """
    The removal of a deferred start, which Django runs after its commit.

    Arguments:
        record: the record of the cancellation.
        remove: removes its deferred start, if the cancellation is committed.
        using: the alias of the database.
    """

    def __init__(
        self, record: CancellationRecord, remove: Callable[[], CancelResult], using: str
    ) -> None:
        self._record = record
        self._remove = remove
        self._outcome: CancelResult | CancelFailed | None = None
        self._connection = _django.connections[using]
        _django.transaction.on_commit(self._run, using=using, robust=True)

    @property
    def result(self) -> CancelResult:
        """
        Return the result of the cancellation, whose transaction is committed.

        Raises:
            RuntimeError: the transaction is still open: ask once its outermost `atomic()` has
                ended.
            CancelFailed: the cancellation was rolled back, or Django has not run the hook that
                removes the deferred start.
        """
        match self._outcome:
            case CancelResult():
                return self._outcome
            case CancelFailed():
                raise self._outcome
            case None:
                raise self._without_outcome()

    def _run(self) -> None:
        try:
            self._outcome = self._remove()
        except CancelFailed as failure:
            log.not_committed(self._record, failure)
            self._outcome = failure

    def _without_outcome(self) -> Exception:
        # Django drops a hook together with the block that it was registered in.
        if any(hook == self._run for _, hook, *_ in self._connection.run_on_commit):
            return RuntimeError(_NOT_YET.format(shown(self._record.key.batch_job_id)))
        return CancelFailed(self._record.key, _DROPPED, "unknown", Fault.INTERRUPTED)


def remove_deferred_on_commit(
    cancellation: Cancellation,
    scheduler: Scheduler,
    *,
    uow: DjangoUnitOfWork,
    on_cancelled: OnCancelled | None = None,
) -> DeferredRemoval:
    """
    Remove the deferred start once Django has committed; not at all if it rolls back.

    A failure does not stop the other hooks of the commit: the record says what is pending, and
    reconcile finishes it. The record is read before the scheduler is asked, because Django runs
    its hooks even after a COMMIT that Postgres turned into a rollback, and the block of the
    cancellation may have been rolled back alone. Without a record the deferred start is left
    alone, and a warning is logged. Django drops the hook, without a warning, if the block in which
    it was registered is rolled back.

    Arguments:
        cancellation: what `cancel_rows` returned in this transaction.
        scheduler: the scheduler of the deferred starts.
        uow: the store of the jobs.
        on_cancelled: called with the result; `cancel_rows` must have been called with
            `announce=True`.

    Returns:
        a handle, whose `result` is available once Django has committed.

    Raises:
        TypeError: a store, a scheduler or a hook is of the wrong kind.
    """
    kinds.check_scheduler(scheduler)
    kinds.check_hook(on_cancelled)
    kinds.check_store(uow)
    if not isinstance(getattr(uow, "using", None), str):
        msg = f"the store (uow) must be a DjangoUnitOfWork, got {type(uow).__name__}"
        raise TypeError(msg)
    # Also for a cancellation on the plain connection: the transaction is Django's.
    joined = attrs.evolve(cancellation, joined=True)
    remove = partial(remove_deferred, joined, scheduler, uow=uow, on_cancelled=on_cancelled)
    return DeferredRemoval(cancellation.record, remove, uow.using)
