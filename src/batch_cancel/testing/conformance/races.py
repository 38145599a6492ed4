"""
The kit's tests of several at once: cancels, strangers and workers beside each other.

Part of `StoreConformance`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.errors import BatchCancelError
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.testing.adapter import (
    StoreAdapter,
)
from batch_cancel.testing.answers import refused, succeeded
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import Pause, ended, expect, watch
from batch_cancel.testing.strategies import (
    OPEN_CONTACTS,
)
from batch_cancel.testing.world import World


class RaceConformance(StoreAdapter):
    """The tests of races; `StoreConformance` has them."""

    @promise(
        "I5",
        cause="`lock` does not lock (SELECT without FOR UPDATE), or whoever waited for the lock "
        "reads the status from before the wait.",
    )
    def test_i5_of_two_cancels_at_once_one_succeeds(self, world: World) -> None:
        """The first is held with the lock; the second must wait, and then be refused."""
        world.add_job("job", "running", ["pending", "busy", "dialing"])
        pause = Pause("locked")
        first = world.beside(world.cancelling(operation_id="first", hook=pause))
        with pause.holding(first):
            world.note("holding it in its transaction, at 'locked'")
            second = world.beside(world.cancelling(operation_id="second"))
            watch(second, self.patience_seconds)
        answers = [ended(first), ended(second)]
        successes = [answer for answer in answers if isinstance(answer, CancelResult)]
        expect(len(successes), 1, "How many of the two cancels succeeded:")
        expect(successes[0].contacts_cancelled, 2, "contacts_cancelled by that one:")
        for answer in answers:
            if isinstance(answer, BatchCancelError):
                refused(answer, "already_terminal")

    @promise(
        "I12",
        cause="`lock` reads the record in the statement that waits for the lock, so from before "
        "the wait; read it in a statement of its own, after it.",
        needs=["records"],
    )
    def test_i12_the_same_operation_twice_at_once_is_one_cancellation(self, world: World) -> None:
        """Both are answered 200, the same; it happened once."""
        world.add_job("job", "running", ["pending", "busy", "dialing"])
        pause = Pause("marked")
        first = world.beside(world.cancelling(operation_id="op", hook=pause))
        with pause.holding(first):
            world.note("holding it in its transaction, at 'marked'")
            second = world.beside(world.cancelling(operation_id="op"))
            watch(second, self.patience_seconds)
        one, other = succeeded(ended(first)), succeeded(ended(second))
        expect((one.replayed, other.replayed), (False, True), "Which of the two was a replay:")
        expect(other.contacts_cancelled, one.contacts_cancelled, "contacts_cancelled of both:")
        expect(other.cancelled_at, one.cancelled_at, "cancelled_at of both:")

    @promise(
        "I16",
        cause="the lock is wider than the job's row: a table lock, an advisory lock of all jobs, "
        "no index on the job's id, or an isolation level with gap locks (in MySQL and MariaDB "
        "REPEATABLE READ, the default: set READ COMMITTED).",
        needs=["row_locks"],
    )
    def test_i16_other_jobs_are_not_locked(self, world: World) -> None:
        """While one job is being cancelled, another is."""
        world.add_job("job", "running", ["pending"])
        world.add_job("other", "running", ["pending"])
        with world.cancel_at("marked"):
            succeeded(ended(world.beside(world.cancelling("other"))))

    @promise(
        "I16",
        cause="`lock` locks the row by its id and looks at the organization afterwards: put both "
        "in the WHERE of the locking statement. If they are: InnoDB keeps the lock of a row that "
        "it found by the primary key, whatever else the WHERE says, and gap locks (REPEATABLE "
        "READ) lock neighbours; look without a lock first, or find the row by an index on "
        "(organization, id). Or the collation takes the two organizations for one.",
        needs=["organizations", "row_locks"],
    )
    def test_i16_a_stranger_can_not_lock_the_job(self, world: World) -> None:
        """A stranger gets nothing to hold, so the owner's cancel goes through."""
        owner, stranger = self.organizations
        world.add_job("job", "running", ["pending"], organization_id=owner)
        pause = Pause("locked")
        foreign = JobKey(world.job_id("job"), stranger)
        party = world.beside(world.cancelling(key=foreign, hook=pause))
        with pause.holding(party):
            world.note(f"holding it, which is {stranger!r}'s, at 'locked'")
            succeeded(ended(world.beside(world.cancelling())))
        refused(ended(party), "job_not_found")

    @promise(
        "I14",
        cause="the locks are not taken in one order: the job first, then its contacts.",
        needs=["claim", "settle", "append"],
    )
    def test_i14_cancels_and_workers_together_come_to_an_end(self, world: World) -> None:
        """All at once, several times; afterwards no contact is open and no call was refused."""
        for label in ("one", "two", "three"):
            world.add_job(label, "running", ["pending", "busy", "dialing", "dialing"])
            key, (*_, live, other) = world.key(label), world.contact_ids[label]
            calls: list[Callable[[], object]] = [
                partial(self.claim, key, 1),
                partial(self.settle, key, live, ContactStatus.BUSY),
                partial(self.settle, key, other, ContactStatus.FAILED),
                world.cancelling(label),
                partial(self.claim, key, 1),
            ]
            parties = [world.beside(call) for call in calls]
            world.note(f"begin: two claims and two settlements of {label!r}")
            for party in parties:
                ended(party)
            open_left = set(world.statuses(label)) & set(OPEN_CONTACTS)
            expect(open_left, set[object](), "The open statuses left:")
