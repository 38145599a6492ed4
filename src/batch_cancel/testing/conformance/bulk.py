"""
The kit's tests of many jobs at once: each keeps what a single cancel promises.

Part of `StoreConformance`.
"""

from __future__ import annotations

from batch_cancel.domain.bulk import JobFilter
from batch_cancel.testing.adapter import StoreAdapter
from batch_cancel.testing.answers import unchanged
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.strategies import ENDED_CONTACTS, ENDED_JOBS, LIVE_JOBS, OPEN_CONTACTS
from batch_cancel.testing.world import World

_CONTACTS = [*OPEN_CONTACTS, "dialing", *ENDED_CONTACTS]


class BulkConformance(StoreAdapter):
    """The tests of many jobs at once; `StoreConformance` has them."""

    @promise(
        "I20",
        cause="`bulk.lock`, `bulk.cancel` or `bulk.mark_cancelled` does for one of several jobs "
        "something else than the method for one job does.",
        needs=["bulk"],
    )
    def test_i20_many_jobs_are_cancelled_as_each_alone_would_be(self, world: World) -> None:
        """The same rows, the same counts; ended jobs are refused."""
        statuses = [*LIVE_JOBS, *ENDED_JOBS]
        for status in statuses:
            world.add_job(f"alone {status}", status, _CONTACTS, deferred_id=f"a {status}")
            world.add_job(f"of many {status}", status, _CONTACTS, deferred_id=f"m {status}")
        for status in statuses:
            world.cancel(f"alone {status}")
        result = world.cancel_many(*(f"of many {status}" for status in statuses))
        counts = (result.cancelled, sum(result.refused.values()), result.contacts_cancelled)
        expect(counts, (3, 3, 3 * len(OPEN_CONTACTS)), "Cancelled, refused, contacts:")
        for status in statuses:
            alone, many = world.row(f"alone {status}"), world.row(f"of many {status}")
            expect(many.status, alone.status, f"The job that was {status}:")
            seen, wanted = (world.statuses(f"{it} {status}") for it in ("of many", "alone"))
            expect(seen, wanted, f"The contacts of the job that was {status}:")

    @promise(
        "I9",
        cause="`bulk.cancel` counts the contacts of one job for another, or those of all jobs.",
        needs=["bulk", "records"],
    )
    def test_i9_each_of_many_jobs_has_its_own_count(self, world: World) -> None:
        """In its record, with the operation."""
        for number in range(4):
            world.add_job(f"job {number}", "running", ["pending"] * number)
        world.cancel_many(*(f"job {number}" for number in range(4)), operation_id="many")
        for number in range(4):
            record = world.record(f"job {number}")
            seen = (record.operation_id, record.contacts_cancelled)
            expect(seen, ("many", number), f"The record of the job with {number} contacts:")

    @promise(
        "I12",
        cause="`bulk.lock` does not read the records of cancelled jobs.",
        needs=["bulk", "records"],
    )
    def test_i12_the_same_operation_again_changes_nothing(self, world: World) -> None:
        """All is replayed; another operation is refused."""
        for number in range(3):
            world.add_job(f"job {number}", "scheduled", _CONTACTS)
        labels = [f"job {number}" for number in range(3)]
        expect(world.cancel_many(*labels[:2], operation_id="many").cancelled, 2, "Cancelled:")
        before = world.rows()
        again = world.cancel_many(*labels[:2], operation_id="many")
        expect((again.replayed, again.cancelled), (2, 0), "Replayed and cancelled again:")
        other = world.cancel_many(*labels[:2], operation_id="other")
        expect(sum(other.refused.values()), 2, "Refused to another operation:")
        unchanged(before, world.rows())
        rest = world.cancel_many(*labels, operation_id="many")
        expect((rest.replayed, rest.cancelled), (2, 1), "Replayed, and cancelled as the rest:")

    @promise(
        "I16",
        cause="`bulk.find` or `bulk.lock` does not compare the organization, or `bulk.find` the "
        "status.",
        needs=["bulk", "organizations"],
    )
    def test_i16_many_jobs_are_those_of_one_organization(self, world: World) -> None:
        """By their ids or by a filter; None is an organization like any other."""
        mine, theirs = self.organizations[:2]
        world.add_job("mine", "running", _CONTACTS, organization_id=mine)
        world.add_job("ended", "completed", _CONTACTS, organization_id=mine)
        world.add_job("theirs", "running", _CONTACTS, organization_id=theirs)
        world.add_job("of none", "running", _CONTACTS)
        before = world.rows()
        result = world.cancel_many("theirs", "of none", "ended", owner=mine)
        expect((result.cancelled, result.not_found), (0, 2), "Cancelled, and not found:")
        unchanged(before, world.rows())
        result = world.cancel_found(JobFilter(organization_id=mine))
        expect((result.jobs, result.cancelled), (1, 1), "Found and cancelled:")
        result = world.cancel_found(JobFilter(statuses=["running"]))
        expect((result.jobs, result.cancelled), (1, 1), "Found and cancelled of no organization:")
        expect(world.row("theirs").status, before[world.key("theirs")].status, "The other's job:")
