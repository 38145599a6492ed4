"""What a pass of reconcile does when its transaction is in the way of another pass."""

from __future__ import annotations

import pytest

from batch_cancel import StoreFailed, cancel_job, reconcile
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.domain.defaults import RECONCILE_LEASE
from batch_cancel.domain.errors import Fault
from batch_cancel.domain.retry import ATTEMPTS_MAX


class Repeating(MemoryStore):
    """A memory store whose failures are retried, as those of a server are."""

    pauses = 0

    def pause(self, attempts: int) -> None:
        """Count the attempts."""
        self.pauses = attempts


@pytest.fixture
def store() -> Repeating:
    """Return a store with a removal that is pending for longer than the lease."""
    store, scheduler = Repeating(), MemoryScheduler()
    store.add_job("job", status="scheduled", deferred_id="start")
    scheduler.stop_answering()
    cancel_job("job", uow=store, scheduler=scheduler)
    now = store.clock()
    store.clock = lambda: now + 2 * RECONCILE_LEASE
    return store


def test_a_pass_that_meets_another_tries_again(store: Repeating) -> None:
    """On nodes of a cluster no pass skips what another has locked: one of two commits fails."""
    store.fail_next(Fault.CONFLICT, "at_commit")
    [result] = reconcile(uow=store, scheduler=MemoryScheduler())
    assert result.batch_job_id == "job"
    assert store.pauses == 1


def test_a_pass_that_always_fails_says_so(store: Repeating) -> None:
    """The next one finishes the rest."""
    for _ in range(ATTEMPTS_MAX[Fault.CONFLICT]):
        store.fail_next(Fault.CONFLICT)
    with pytest.raises(StoreFailed, match="deadlock"):
        reconcile(uow=store, scheduler=MemoryScheduler())


def test_a_pass_whose_commit_may_have_been_made_is_not_repeated(store: Repeating) -> None:
    """What it took is left to its lease."""
    store.fail_next(Fault.INTERRUPTED, "after_commit")
    with pytest.raises(StoreFailed) as caught:
        reconcile(uow=store, scheduler=MemoryScheduler())
    assert caught.value.outcome == "unknown"
    assert store.pauses == 0
