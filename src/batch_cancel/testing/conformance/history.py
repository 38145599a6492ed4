"""
The kit's tests of the history of cancellations: whole, in order, and of one organization alone.

Part of `StoreConformance`.
"""

from __future__ import annotations

from batch_cancel.testing.adapter import StoreAdapter
from batch_cancel.testing.conformance.outcomes import sabotage
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.world import World


class HistoryConformance(StoreAdapter):
    """The tests of the history; `StoreConformance` has them."""

    @promise(
        "I20",
        cause="the history's `page` does not order by `Place`, or skips rows (OFFSET) instead "
        "of comparing with `wanted.after`.",
        needs=["history"],
    )
    def test_i20_the_pages_together_are_the_history(self, world: World) -> None:
        """The newest first; a cancel between two pages does not shift them."""
        labels = [f"job {number}" for number in range(5)]
        for label in labels:
            world.add_job(label, "running", ["pending"])
            world.cancelled(label)
        world.add_job("late", "running")
        first = world.cancellations(limit=2)
        world.cancelled("late")
        second = world.cancellations(limit=2, after=first.next)
        third = world.cancellations(limit=2, after=second.next)
        listed = [it.key for page in (first, second, third) for it in page.records]
        expect(listed, [world.key(it) for it in reversed(labels)], "The jobs, page by page:")
        expect(third.next, None, "The token after the last page:")
        expect(world.cancellations().records[0], world.record("late"), "The newest record:")

    @promise(
        "I16",
        cause="the history's `page` does not compare the organization, or takes None for all.",
        needs=["history", "organizations"],
    )
    def test_i16_another_organization_has_a_history_of_its_own(self, world: World) -> None:
        """Jobs without an organization are in none of theirs."""
        mine, theirs = self.organizations[:2]
        for owner in (mine, theirs, None):
            world.add_job(str(owner), "running", organization_id=owner)
            world.cancelled(str(owner))
        for owner in (mine, theirs, None):
            listed = [it.key for it in world.cancellations(owner=owner).records]
            expect(listed, [world.key(str(owner))], f"The history of {owner!r}:")

    @promise(
        "I12",
        cause="`mark_cancelled` replaces the record of an earlier cancellation of the job "
        "without keeping it.",
        needs=["history"],
    )
    def test_i12_a_job_cancelled_again_keeps_its_earlier_record(self, world: World) -> None:
        """Both are in the history; the record of the job is the later one."""
        world.add_job("job", "running", ["pending"])
        world.cancelled(operation_id="first")
        first = world.record()
        sabotage(world, "job set back")
        world.cancelled(operation_id="second")
        expect(world.record().operation_id, "second", "The operation in the job's record:")
        listed = list(world.cancellations().records)
        expect(listed, [world.record(), first], "The history:")

    @promise(
        "I7",
        cause="the history's `forget` deletes a record whose removal is pending, so that "
        "`reconcile` never finishes it.",
        needs=["history"],
    )
    def test_i7_what_is_pending_is_not_forgotten(self, world: World) -> None:
        """Reconcile still finishes it; then it is forgotten."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="start")
        world.schedule()
        world.cancel_rows("job", "operation")
        expect(world.forget(), 0, "Forgotten while its removal was pending:")
        expect(len(world.reconcile()), 1, "Taken by reconcile:")
        expect(world.waiting(), set[str](), "The starts that still wait:")
        expect(world.forget(), 1, "Forgotten after that:")
        expect(world.cancellations().records, (), "The history:")
