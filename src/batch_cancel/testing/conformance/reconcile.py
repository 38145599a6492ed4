"""
The kit's tests of reconcile: what is left behind is finished, and by one.

Part of `StoreConformance`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from batch_cancel.domain.cancellation import Cancellation
from batch_cancel.domain.statuses import Removal
from batch_cancel.testing.adapter import (
    StoreAdapter,
)
from batch_cancel.testing.answers import unchanged
from batch_cancel.testing.conformance.turns import mark_done
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import ended, expect, watch
from batch_cancel.testing.scripted import unreachable
from batch_cancel.testing.world import World

LATER: Final = timedelta(hours=1)


class ReconcileConformance(StoreAdapter):
    """The tests of reconcile; `StoreConformance` has them."""

    @promise(
        "I7",
        cause="`mark_cancelled` writes no record, or the outbox's `take` does not find it.",
        needs=["records"],
    )
    def test_i7_reconcile_finishes_what_a_dead_process_left(self, world: World) -> None:
        """Its removal was pending; a second pass finds nothing to do."""
        _leave_behind(world, "job")
        [result] = world.reconcile()
        expect(result.removal, Removal.REMOVED, "The removal:")
        expect(world.record().removal, Removal.REMOVED, "The removal in the record:")
        expect(world.waiting(), set[str](), "The starts that still wait:")
        after = world.rows()
        expect(world.reconcile(), [], "What a second pass did:")
        unchanged(after, world.rows())

    @promise(
        "I21",
        cause="`take` does not look at the lease, or does not note that the record was taken.",
        needs=["records"],
    )
    def test_i21_what_another_is_at_is_left_to_it(self, world: World) -> None:
        """For as long as its lease: after the commit, and after it was taken."""
        _leave_behind(world, "job")
        expect(world.reconcile(lease=LATER), [], "Taken within the lease of the cancel:")
        down = world.scheduler_that(unreachable)
        expect(len(world.reconcile(scheduler=down)), 1, "Taken after its lease:")
        expect(world.reconcile(lease=LATER), [], "Taken within the lease of reconcile:")
        expect(len(world.reconcile()), 1, "Taken after that:")

    @promise(
        "I21",
        cause="`take` does not order by the time of the last try, or passes over its limit.",
        needs=["records"],
    )
    def test_i21_the_longest_untouched_comes_first(self, world: World) -> None:
        """So one that keeps failing starves no other."""
        for label in ("a", "b", "c"):
            _leave_behind(world, label)
        down = world.scheduler_that(unreachable)
        turns = [world.reconcile(limit=1, scheduler=down) for _ in range(4)]
        expect(
            [[result.batch_job_id for result in turn] for turn in turns],
            [[world.job_id(label)] for label in ("a", "b", "c", "a")],
            "Taken one by one:",
        )

    @promise(
        "I21",
        cause="the outbox's `settle` writes whatever it is given: only a pending removal may be "
        "settled, and only by its own operation.",
        needs=["records"],
    )
    def test_i21_a_late_word_does_not_undo_what_is_settled(self, world: World) -> None:
        """Whoever was slow, or speaks for another operation, changes nothing."""
        late = _leave_behind(world, "job")
        world.reconcile()
        record = world.record()
        for word in (
            attrs.evolve(late.record, removal=Removal.PENDING),
            attrs.evolve(late.record, removal=Removal.ABSENT),
            attrs.evolve(late.record, operation_id="another", removal=Removal.ABSENT),
        ):
            world.note(f"settle: operation {word.operation_id!r}, {word.removal}")
            mark_done(world, word)
            expect(world.record(), record, "The record:")

    @promise(
        "I21", cause="the outbox's `settle` does not look at the operation.", needs=["records"]
    )
    def test_i21_another_operations_word_settles_nothing(self, world: World) -> None:
        """The removal of the other operation stays pending."""
        left = _leave_behind(world, "job")
        record = world.record()
        word = attrs.evolve(left.record, operation_id="another", removal=Removal.ABSENT)
        world.note("settle: operation 'another', absent")
        mark_done(world, word)
        expect(world.record(), record, "The record:")

    @promise(
        "I21", cause="`take` and a cancel lock each other out, or hold locks.", needs=["records"]
    )
    def test_i21_reconcile_runs_beside_live_cancels(self, world: World) -> None:
        """What they have not committed is not there yet."""
        world.add_job("live", "scheduled", ["pending"])
        _leave_behind(world, "job")
        with world.cancel_at("marked", "live"):
            party = world.beside(world.reconciling())
            watch(party, self.patience_seconds)
        ended(party)
        expect(world.record("job").removal, Removal.REMOVED, "The removal in the record:")


def _leave_behind(world: World, label: str) -> Cancellation:
    world.add_job(label, "scheduled", ["pending"], deferred_id=f"start of {label}")
    world.schedule(label)
    return world.cancel_rows(label, f"operation of {label}")
