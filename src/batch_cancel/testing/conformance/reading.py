"""
The kit's tests of what a claim reads: columns of its contacts, and whether the job is over.

Part of `StoreConformance`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, cast

import pytest

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.testing.adapter import StoreAdapter
from batch_cancel.testing.answers import unchanged
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.strategies import ENDED_CONTACTS, ENDED_JOBS, OPEN_CONTACTS
from batch_cancel.testing.world import World

NO_COLUMN: Final = 'no "such" %s column'


class ReadingConformance(StoreAdapter):
    """The tests of what a claim reads; `StoreConformance` has them."""

    @promise(
        "I20",
        cause="claim_returning reads the ids and the columns in two orders, or by two statements "
        "whose rows are not brought together by the id.",
        needs=["reading"],
    )
    def test_i20_a_contact_comes_with_its_own_columns(self, world: World) -> None:
        """Each row is of the contact whose id is at the same place; a limited claim as well."""
        column = cast("str", self.contact_id_column)
        world.add_job("job", "running", OPEN_CONTACTS)
        world.add_job("other", "running", OPEN_CONTACTS)
        due = set(world.contact_ids["job"])
        for limit in (2, 100):
            claimed = world.claim_returning((column,), limit=limit)
            expect([str(row[column]) for row in claimed.rows], list(claimed), "Ids in the rows:")
            expect(due >= {*claimed}, True, "All claimed contacts are due, and the job's:")
            due -= {*claimed}
        expect(due, set[str](), "Contacts that were not claimed:")
        expect(set(world.statuses()), {"dialing"}, "Their statuses:")

    @promise(
        "I11",
        cause="claim_returning ignores a column that it does not know, or claims before it looks.",
        needs=["reading"],
    )
    def test_i11_an_unknown_column_is_refused(self, world: World) -> None:
        """The error names it, and nothing is claimed; the claim without it works."""
        world.add_job("job", "running", ["pending"])
        before = world.rows()
        try:
            claimed = world.claim_returning((NO_COLUMN,))
        except StoreFailed as refusal:
            expect(repr(NO_COLUMN) in str(refusal), True, f"{refusal} names the column:")
        else:
            expect(list(claimed), None, "The answer, instead of a StoreFailed:")
        unchanged(before, world.rows())
        expect(len(world.claim_returning(())), 1, "Contacts claimed without the column:")

    @pytest.mark.parametrize("contact", [*OPEN_CONTACTS, "dialing"])
    @promise(
        "I8",
        cause="has_contacts leaves out an open or a live contact, or looks only for those that "
        "are due.",
        needs=["reading", "settle"],
    )
    def test_i8_a_job_with_work_left_is_not_over(self, world: World, contact: str) -> None:
        """A retry is due later, or another worker's call is live."""
        world.add_job("job", "running", ["completed", contact])
        expect(world.claim_returning(()).is_over, False, "Over, with a contact to call or live:")
        expect(world.claim_returning(()).is_over, False, "Over, with a live call:")
        if self.retry_times:
            world.retry_later(world.contact_ids["job"][1], datetime.now(UTC) + timedelta(hours=1))
            expect(world.claim_returning(()).is_over, False, "Over, with a retry in an hour:")

    @promise(
        "I8",
        cause="has_contacts finds contacts that have ended, or those of another job.",
        needs=["reading"],
    )
    def test_i8_a_job_without_work_left_is_over(self, world: World) -> None:
        """All its contacts have ended, or it has none; another job's do not count."""
        world.add_job("other", "running", [*OPEN_CONTACTS, "dialing"])
        for contacts in ((), ENDED_CONTACTS):
            label = f"with {len(contacts)}"
            world.add_job(label, "running", contacts)
            expect(world.claim_returning((), label).is_over, True, f"Over, {label} contacts:")

    @promise("I8", cause="the `status` of workers reads another word.", needs=["reading"])
    def test_i8_the_jobs_status_decides_whether_it_is_over(self, world: World) -> None:
        """Ended jobs are, whatever their contacts say; jobs that wait or are paused are not."""
        strange = [it for it in self.strange_statuses if it is not None]
        for status in ("scheduled", "pending", *ENDED_JOBS, *strange):
            label = f"{status!r}"
            world.add_job(label, status, ["pending"])
            claimed = world.claim_returning((), label)
            expect(list(claimed), list[str](), f"Claimed of a job that is {label}:")
            expect(claimed.is_over, status in ENDED_JOBS, f"A job that is {label} is over:")

    @promise(
        "I16",
        cause="has_contacts does not look whether the organization has the job.",
        needs=["reading"],
    )
    def test_i16_a_job_that_is_not_there_is_over(self, world: World) -> None:
        """Missing or another organization's: no difference is to be seen."""
        missing = world.job_id("missing")
        expect(world.claim_returning((), key=JobKey(missing)).is_over, True, "A missing job:")
        for owner in self.organizations:
            world.add_job(owner, "running", ["dialing"], organization_id=owner)
            foreign = JobKey(world.job_id(owner))
            expect(world.claim_returning((), key=foreign).is_over, True, "Another's job:")
