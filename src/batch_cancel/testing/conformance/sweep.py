"""
The kit's tests of a store that cancels a very large job before its contacts.

Part of `StoreConformance`.
"""

from __future__ import annotations

from batch_cancel.domain.errors import CancelFailed
from batch_cancel.testing.adapter import StoreAdapter
from batch_cancel.testing.answers import succeeded
from batch_cancel.testing.breakpoints import Hook
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.strategies import ENDED_CONTACTS, OPEN_CONTACTS
from batch_cancel.testing.world import World

_OTHERS = ["dialing", *ENDED_CONTACTS]
_OPEN = len(OPEN_CONTACTS)


def _failing_from(chunk: int) -> Hook:
    """Return a hook that fails at this chunk and at all later ones, before their counts."""
    passed = 0

    def fail(point: str) -> None:
        nonlocal passed
        passed += point == "chunk"
        if point == "chunk" and passed >= chunk:
            msg = f"a fault of the test at chunk {passed}"
            raise RuntimeError(msg)

    return fail


class SweepConformance(StoreAdapter):
    """The tests of a sweep; `StoreConformance` has them."""

    @promise(
        "I9",
        cause="`sweep.cancel` counts what it found instead of what it changed, `sweep.note` adds "
        "to the count instead of writing it, or the last chunk is not recognised.",
        needs=["sweep", "records"],
    )
    def test_i9_a_sweep_counts_each_contact_once(self, world: World) -> None:
        """With as many as fit, one more, and all; a retry gets the same."""
        for number in (2, 3, 4, _OPEN):
            label = f"job with {number}"
            world.add_job(label, "running", [*OPEN_CONTACTS[:number], *_OTHERS])
            for replayed in (False, True):
                result = succeeded(world.cancel(label, operation_id=label, uow=self.sweeping_uow))
                seen = (result.contacts_cancelled, result.replayed)
                expect(seen, (number, replayed), "contacts_cancelled, and whether a replay:")
            record = world.record(label)
            seen_there = (record.contacts_cancelled, record.is_swept)
            expect(seen_there, (number, True), "The count in the record, and whether all:")
            wanted = [*["cancelled"] * number, *_OTHERS]
            expect(world.statuses(label), wanted, "The contacts:")

    @promise(
        "I4",
        cause="a chunk and its count are not one transaction, `outbox.take` leaves out records "
        "whose `is_swept` is False, or `jobs.mark_cancelled` does not keep it.",
        needs=["sweep", "records"],
    )
    def test_i4_what_a_sweep_has_left_is_finished_by_reconcile(self, world: World) -> None:
        """Whichever chunk fails: the count in the record is exact then, and in the end."""
        for chunk in (1, 2, 3):
            label = f"job of chunk {chunk}"
            world.add_job(label, "running", OPEN_CONTACTS)
            answer = world.cancel(
                label, operation_id="op", hook=_failing_from(chunk), uow=self.sweeping_uow
            )
            expect(isinstance(answer, CancelFailed), True, "Whether the cancel failed:")
            done = 2 * (chunk - 1)
            record = world.record(label)
            seen = (record.contacts_cancelled, record.is_swept)
            expect(seen, (done, False), "The count in the record, and whether all:")
            cancelled = world.statuses(label).count("cancelled")
            expect(cancelled, done, "The contacts that are cancelled:")
            world.reconcile()
            record = world.record(label)
            seen = (record.contacts_cancelled, record.is_swept)
            expect(seen, (_OPEN, True), "After reconcile, the count, and whether all:")
            expect(world.statuses(label), ["cancelled"] * _OPEN, "The contacts:")

    @promise(
        "I12",
        cause="`jobs.lock` reads a record without `is_swept`, so a retry gets the count so far.",
        needs=["sweep", "records"],
    )
    def test_i12_a_retry_ends_the_sweep_of_its_operation(self, world: World) -> None:
        """It gets the count that the first attempt would have got."""
        world.add_job("job", "running", OPEN_CONTACTS)
        world.cancel(operation_id="op", hook=_failing_from(2), uow=self.sweeping_uow)
        result = succeeded(world.cancel(operation_id="op", uow=self.sweeping_uow))
        expect(result.contacts_cancelled, _OPEN, "contacts_cancelled:")
        expect(world.statuses(), ["cancelled"] * _OPEN, "The contacts:")
