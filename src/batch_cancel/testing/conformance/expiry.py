"""
The kit's tests of calls that have been live for too long, as those of dead workers.

Part of `StoreConformance`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Final, cast

import pytest

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import Sabotage, StoreAdapter
from batch_cancel.testing.answers import unchanged
from batch_cancel.testing.conformance.outcomes import attempt, sabotage
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import ended, expect
from batch_cancel.testing.strategies import ENDED_CONTACTS, OPEN_CONTACTS
from batch_cancel.testing.world import World

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


class ExpiryConformance(StoreAdapter):
    """The tests of `expire`; `StoreConformance` has them."""

    @promise(
        "I1",
        cause="expire looks at another time than that at which the contact was claimed, or does "
        "not set `timeout`, or sets a time for the next attempt.",
        needs=["expire", "claim"],
    )
    def test_i1_an_old_call_is_made_again(self, world: World) -> None:
        """Its contact is `timeout`, and is given out at once; a young one is let be."""
        world.add_job("job", "running", ["pending", "dialing", "completed"])
        young, old, _ = world.contact_ids["job"]
        expect(world.claim(), {young}, "The contacts given out at first:")
        world.make_old(old, DAY)
        before = world.row().contacts
        expect(world.expire(HOUR), 1, "The calls that were ended:")
        after = world.row().contacts
        expect(world.statuses(), ["dialing", "timeout", "completed"], "The contacts:")
        expect({**after, old: before[old]}, dict(before), "The rows of the other contacts:")
        expect(world.expire(HOUR), 0, "The calls that were ended by the same again:")
        expect(world.claim(), {old}, "The contacts given out:")
        expect(world.expire(HOUR), 0, "The calls that were ended after that:")

    @promise(
        "I4",
        cause="expire writes `timeout` without looking at the job: under a cancelled one the "
        "contact must become cancelled.",
        needs=["expire"],
    )
    def test_i4_an_old_call_of_a_cancelled_job_is_not_made_again(self, world: World) -> None:
        """It was live when the job was cancelled."""
        world.add_job("job", "running", ["dialing", "dialing"])
        old, _ = world.contact_ids["job"]
        world.make_old(old, DAY)
        world.cancelled()
        expect(world.expire(HOUR), 1, "The calls that were ended:")
        expect(world.statuses(), ["cancelled", "dialing"], "The contacts at rest:")

    @promise(
        "I15",
        cause="expire looks at the time alone; put the status `dialing` in its WHERE.",
        needs=["expire"],
    )
    def test_i15_only_a_live_call_expires(self, world: World) -> None:
        """Every other contact stays as it is, however old."""
        world.add_job("job", "running", [*OPEN_CONTACTS, *ENDED_CONTACTS])
        for contact_id in world.contact_ids["job"]:
            world.make_old(contact_id, DAY)
        before = world.rows()
        expect(world.expire(HOUR), 0, "The calls that were ended:")
        unchanged(before, world.rows())

    @promise("I16", cause="expire leaves out the job in its WHERE.", needs=["expire"])
    def test_i16_old_calls_of_other_jobs_are_left_alone(self, world: World) -> None:
        """For each job it is asked by itself."""
        for label in ("before", "job", "after"):
            world.add_job(label, "running", ["dialing"])
            world.make_old(world.contact_ids[label][0], DAY, label)
        mine = world.key("job")
        before = world.rows()
        expect(world.expire(HOUR), 1, "The calls that were ended:")
        after = world.rows()
        unchanged({**before, mine: after[mine]}, after)

    @promise(
        "I16",
        cause="expire leaves out the organization, or takes None for a wildcard.",
        needs=["expire", "organizations"],
    )
    def test_i16_a_stranger_ends_no_calls(self, world: World) -> None:
        """No organization is one of its own, and no key to all."""
        one, other = self.organizations
        world.add_job("job", "running", ["dialing"], organization_id=one)
        world.make_old(world.contact_ids["job"][0], DAY)
        before = world.rows()
        for stranger in (other, None):
            expect(world.expire(HOUR, owner=stranger), 0, "The calls that a stranger ended:")
        unchanged(before, world.rows())

    @promise(
        "I22",
        cause="expire finds the contacts by the job's id alone.",
        needs=["expire", "organizations", "ids_per_organization"],
    )
    def test_i22_old_calls_of_a_job_of_the_same_id_are_left_alone(self, world: World) -> None:
        """Another organization's, and that of none."""
        one, other = self.organizations
        for label, organization_id in (("job", one), ("other", other), ("nobody's", None)):
            world.add_job(
                label, "running", ["dialing"], organization_id=organization_id, id_of="job"
            )
            world.make_old(world.contact_ids[label][0], DAY, label)
        mine = world.key("job")
        before = world.rows()
        expect(world.expire(HOUR), 1, "The calls that were ended:")
        after = world.rows()
        unchanged({**before, mine: after[mine]}, after)

    @promise(
        "I3",
        cause="expire writes what it has read before, without looking at the status again; or "
        "settle does.",
        needs=["expire", "settle"],
    )
    def test_i3_a_call_that_ends_while_it_expires_ends_once(self, world: World) -> None:
        """Of the two, one wins, and the count says which."""
        for number in range(8):
            label = f"job-{number}"
            world.add_job(label, "running", ["dialing"])
            [live] = world.contact_ids[label]
            world.make_old(live, DAY, label)
            key = world.key(label)
            world.note(f"begin: settle as 'failed' beside expire, of {label!r}")
            settling = world.beside(partial(self.settle, key, live, ContactStatus.FAILED))
            expiring = world.beside(partial(self.expire, key, HOUR))
            expired, outcome = ended(expiring), ended(settling)
            due = "timeout" if expired else "failed"
            expect(world.statuses(label), [due], f"The contact, where {expired} calls were ended:")
            if isinstance(outcome, str):  # `settle` of an adapter may return something else.
                expect(outcome, due, f"The answer to settle, where {expired} calls were ended:")

    @promise(
        "I4",
        cause="expire reads the job's status without its lock, or in the statement that waits for "
        "the lock; lock the job first, then read it in a new statement.",
        needs=["expire"],
    )
    def test_i4_calls_that_expire_beside_a_cancel_leave_nothing_open(self, world: World) -> None:
        """The cancel is held before its commit."""
        world.add_job("job", "running", ["dialing", "pending"])
        world.make_old(world.contact_ids["job"][0], DAY)
        key = world.key("job")
        with world.cancel_at("marked"):
            wait = world.watch(lambda: self.expire(key, HOUR), "expire")
        wait()
        expect(world.statuses(), ["cancelled", "cancelled"], "The contacts at rest:")

    @pytest.mark.parametrize("what", ["contacts skipped", "contacts restored"])
    @promise(
        "I20",
        cause="expire trusts the number of rows: read the contacts' statuses after it.",
        needs=["expire"],
    )
    def test_i20_an_expiry_that_was_undone_is_no_success(
        self, world: World, what: Sabotage
    ) -> None:
        """The contact is still on the phone."""
        world.add_job("job", "running", ["dialing"])
        world.make_old(world.contact_ids["job"][0], DAY)
        sabotage(world, what)
        expired = attempt(world, partial(world.expire, HOUR))
        expect(expired or 0, 0, "The calls that were ended:")
        expect(world.statuses(), ["dialing"], "The contact:")

    @promise(
        "I20",
        cause="`work.expire` guesses since when a contact is dialing: where the store does not "
        "know, it must raise StoreFailed.",
    )
    def test_i20_a_store_that_does_not_know_the_time_ends_no_calls(self, world: World) -> None:
        """It is refused, and nothing changes."""
        if "expire" in self.guards:
            pytest.skip("declared: it knows since when a contact is dialing")
        world.add_job("job", "running", ["dialing"])
        before = world.rows()
        world.note("expire, in a store that is declared to have none")
        expect(_is_refused(world), True, "Whether it was refused with StoreFailed:")
        unchanged(before, world.rows())


def _is_refused(world: World) -> bool:
    key, end = world.key("job"), Settlement(ContactStatus.TIMEOUT, None)

    def expire() -> bool:
        with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
            if repositories.work is None:
                pytest.skip("declared: its `work` is None")
            repositories.work.expire(key, end, HOUR)
        return False

    async def expire_async() -> bool:
        async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
            if repositories.work is None:
                pytest.skip("declared: its `work` is None")
            await repositories.work.expire(key, end, HOUR)
        return False

    try:
        return world.run(world.either(expire, expire_async))
    except StoreFailed:
        return True
