"""
The kit's tests of the inspection: what it reports is what there is.

Part of `StoreConformance`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, cast

from batch_cancel.domain.drift import Inventory
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import StoreAdapter
from batch_cancel.testing.answers import unchanged
from batch_cancel.testing.invariants import PromiseBroken, promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.world import World

HOUR: Final = timedelta(hours=1)


class InspectionConformance(StoreAdapter):
    """The tests of the inspection; `StoreConformance` has them."""

    @promise(
        "I20",
        cause="the inspection's `look` leaves out jobs, or counts the wrong contacts: what has "
        "drifted apart would never be reported.",
        needs=["inspection"],
    )
    def test_i20_what_could_be_wrong_is_seen(self, world: World) -> None:
        """Scheduled jobs with their starts, cancelled ones with their open contacts."""
        world.add_job("waits", "scheduled", ["pending"], deferred_id="start")
        world.add_job("none", "scheduled", ["pending"])
        world.add_job("half", "cancelled", ["pending", "busy", "dialing", "completed"])
        world.add_job("whole", "cancelled", ["cancelled", "dialing"])
        for status in ("pending", "running", "completed", "failed"):
            world.add_job(status, status, ["pending", "dialing"])
        before = world.rows()
        seen = _look(world)
        unchanged(before, world.rows())
        scheduled = {it.key: it.deferred_id for it in seen.scheduled}
        due = {world.key(it): world.row(it).deferred_id for it in ("waits", "none")}
        expect(scheduled, due, "The scheduled jobs, and their deferred starts:")
        cancelled = {it.key: it.contacts_open for it in seen.cancelled}
        due_open = {world.key("half"): 2, world.key("whole"): 0}
        expect(cancelled, due_open, "The cancelled jobs, and how many contacts are open:")
        expect(list(seen.removals_pending), [], "The pending removals:")
        expect(len(seen.calls_overdue or ()), 0, "The jobs with overdue calls:")
        few = _look(world, limit=1)
        numbers = (len(few.scheduled), len(few.cancelled))
        expect(numbers, (1, 1), "How many of each it reads with the limit 1:")

    @promise(
        "I7",
        cause="the inspection's `look` does not read the records whose removal is pending, or not "
        "the oldest first.",
        needs=["inspection", "records"],
    )
    def test_i7_a_pending_removal_is_seen(self, world: World) -> None:
        """Until reconcile has finished it."""
        for label in ("first", "second"):
            world.add_job(label, "scheduled", ["pending"], deferred_id=f"start of {label}")
            world.schedule(label)
            world.cancel_rows(label, f"operation of {label}")
        keys = [world.key("first"), world.key("second")]
        expect([it.key for it in _look(world).removals_pending], keys, "The pending removals:")
        few = _look(world, limit=1).removals_pending
        expect([it.key for it in few], keys[:1], "With the limit 1:")
        world.reconcile()
        expect(list(_look(world).removals_pending), [], "After a pass of reconcile:")

    @promise(
        "I20",
        cause="the inspection's `look` does not find the calls that have been live for too long, "
        "though `expire` does.",
        needs=["inspection", "expire"],
    )
    def test_i20_an_overdue_call_is_seen(self, world: World) -> None:
        """The job, and how many there are."""
        world.add_job("job", "running", ["dialing", "dialing", "dialing", "pending"])
        world.add_job("young", "running", ["dialing"])
        for contact_id in world.contact_ids["job"][:2]:
            world.make_old(contact_id, 24 * HOUR)
        seen = {it.key: it.contacts for it in _look(world).calls_overdue or ()}
        expect(seen, {world.key("job"): 2}, "The jobs with overdue calls, and how many:")


def _look(world: World, limit: int = 100) -> Inventory:
    def look() -> Inventory | None:
        with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
            inspection = repositories.inspection
            return (
                None if inspection is None else inspection.look(limit, CANCELLABLE_CONTACTS, HOUR)
            )

    async def look_async() -> Inventory | None:
        async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
            inspection = repositories.inspection
            if inspection is None:
                return None
            return await inspection.look(limit, CANCELLABLE_CONTACTS, HOUR)

    seen = world.run(world.either(look, look_async))
    world.note(f"look, at most {limit} of each kind -> {seen}")
    if seen is None:
        msg = "`inspection` is None, though it is declared."
        raise PromiseBroken(msg)
    return seen
