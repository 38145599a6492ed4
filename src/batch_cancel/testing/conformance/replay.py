"""
The kit's tests of lost answers: faults, the same operation again, and the record.

Part of `StoreConformance`.
"""

from __future__ import annotations

from typing import cast

import pytest

from batch_cancel.domain.errors import AlreadyTerminal, CancelFailed
from batch_cancel.domain.statuses import JobStatus, Removal
from batch_cancel.testing.adapter import (
    StoreAdapter,
)
from batch_cancel.testing.answers import refused, succeeded, unchanged
from batch_cancel.testing.breakpoints import failing_at
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.scripted import unreachable
from batch_cancel.testing.strategies import (
    LIVE_JOBS,
)
from batch_cancel.testing.world import World


class ReplayConformance(StoreAdapter):
    """The tests of lost answers; `StoreConformance` has them."""

    @promise(
        "I8",
        cause="`begin` lets nothing of a failure be seen: the exception must come out of it.",
    )
    def test_i8_a_cancel_that_fails_leaves_the_deferred_start(self, world: World) -> None:
        """Nothing is cancelled, so the scheduler is not asked."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="start")
        start = world.schedule()
        refused(world.cancel(hook=failing_at("marked")), "cancel_failed")
        expect(world.waiting(), {start}, "The starts that still wait:")
        expect(world.row().status, "scheduled", "The job's status:")

    @promise(
        "I13",
        cause="what follows the commit raises: `settle` of the outbox, or the second `begin`.",
    )
    def test_i13_trouble_with_the_scheduler_is_no_failure(self, world: World) -> None:
        """200, its removal still pending; with records, reconcile finishes it."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="start")
        world.schedule()
        world.note("the scheduler can't be reached")
        answer = world.cancel(scheduler=world.scheduler_that(unreachable))
        expect(succeeded(answer).removal, Removal.PENDING, "The removal in the answer:")
        expect(world.row().status, "cancelled", "The job's status:")
        if self.records:
            world.reconcile()
            expect(world.waiting(), set[str](), "The starts that still wait:")

    @promise(
        "I12",
        cause="the record of the cancellation is not written in its transaction, or `lock` does "
        "not give it back.",
    )
    def test_i12_a_commit_whose_answer_was_lost_is_asked_for_again(self, world: World) -> None:
        """With records it is found done; without, the answer does not say that it was not."""
        world.add_job("job", "running", ["pending", "busy"])
        lost: list[str] = []

        def hook(point: str) -> None:
            if point == "committed" and not lost:
                lost.append(point)
                world.note("committed, but the answer is lost")
                raise ConnectionError

        answer = world.cancel(operation_id="op", hook=hook)
        expect(world.row().status, "cancelled", "The job's status:")
        if self.records:
            result = succeeded(answer)
            seen = (result.contacts_cancelled, result.replayed)
            expect(seen, (2, False), "contacts_cancelled, and whether it was a replay:")
        else:
            error = cast("CancelFailed", refused(answer, "cancel_failed"))
            expect(error.outcome, "unknown", "The outcome in the error:")

    @pytest.mark.parametrize("status", LIVE_JOBS)
    @promise(
        "I12",
        cause="`mark_cancelled` does not keep the record, or `lock` does not give it back as it "
        "was.",
        needs=["records"],
    )
    def test_i12_the_same_operation_again_gets_the_same_answer(
        self, world: World, status: str
    ) -> None:
        """And nothing changes."""
        world.add_job("job", status, ["pending", "busy"], deferred_id="start")
        world.schedule()
        first = world.cancelled(operation_id="op")
        after = world.rows()
        again = world.cancelled(operation_id="op", actor="other")
        for field in ("message", "contacts_cancelled", "redis_job_cancelled", "cancelled_at"):
            expect(getattr(again, field), getattr(first, field), f"{field} of the replay:")
        expect((first.replayed, again.replayed), (False, True), "Which of the two was a replay:")
        unchanged(after, world.rows())

    @promise(
        "I2",
        cause="`lock` gives back another operation's record, or another job's.",
        needs=["records"],
    )
    def test_i2_another_operation_is_told_when_and_how_much(self, world: World) -> None:
        """400, and the error knows more; an operation's name is the job's own."""
        world.add_job("job", "running", ["pending", "busy"])
        world.add_job("other", "running", ["pending"])
        first = world.cancelled(operation_id="op")
        after = world.rows()
        error = cast(
            "AlreadyTerminal", refused(world.cancel(operation_id="op2"), "already_terminal")
        )
        expect(error.cancelled_at, first.cancelled_at, "cancelled_at in the refusal:")
        expect(error.contacts_cancelled, 2, "contacts_cancelled in the refusal:")
        unchanged(after, world.rows())
        expect(world.cancelled("other", operation_id="op").replayed, False, "Another job's:")

    @promise(
        "I9",
        cause="a column of the record is missing, cut, or of another type; times are UTC.",
        needs=["records"],
    )
    def test_i9_the_record_says_who_why_when_and_how_much(self, world: World) -> None:
        """As it was given, text of any kind included."""
        world.add_job("job", "scheduled", ["pending", "dialing"], deferred_id="start")
        start = world.schedule()
        result = world.cancelled(operation_id="op; --", actor="عربي 💣", reason="r" * 4096)
        record = world.record()
        for seen, wanted, what in (
            (record.key, world.key("job"), "key"),
            (record.operation_id, "op; --", "operation_id"),
            (record.previous_status, JobStatus.SCHEDULED, "previous_status"),
            (record.contacts_cancelled, 1, "contacts_cancelled"),
            (record.actor, "عربي 💣", "actor"),
            (record.reason, "r" * 4096, "reason"),
            (record.cancelled_at, result.cancelled_at, "cancelled_at"),
            (record.deferred_id, start, "deferred_id"),
            (record.removal, Removal.REMOVED, "removal"),
            (record.is_announced, True, "is_announced"),
        ):
            expect(seen, wanted, f"{what} in the record:")
