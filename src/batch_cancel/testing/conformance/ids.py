"""
The kit's tests of ids: any text, and whose job it is.

Part of `StoreConformance`.
"""

from __future__ import annotations

import pytest

from batch_cancel.domain.job import JobKey
from batch_cancel.testing.adapter import (
    StoreAdapter,
)
from batch_cancel.testing.answers import refused, unchanged
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.strategies import (
    HOSTILE_IDS,
    IMPOSSIBLE_IDS,
)
from batch_cancel.testing.world import World


class IdConformance(StoreAdapter):
    """The tests of ids; `StoreConformance` has them."""

    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
    @promise(
        "I11",
        cause="an id is put into the text of a statement, or what the driver raises for an id "
        "that its column can't hold comes out: `lock` gives None for it.",
    )
    def test_i11_any_id_may_be_asked_for(self, world: World, hostile: str) -> None:
        """It is not there: 404, and no harm done."""
        world.add_job("job", "running", ["pending"])
        before = world.rows()
        refused(world.cancel(key=JobKey(hostile)), "job_not_found")
        if self.organizations:
            refused(world.cancel(key=JobKey(world.job_id("job"), hostile)), "job_not_found")
        unchanged(before, world.rows())

    @pytest.mark.parametrize("impossible", IMPOSSIBLE_IDS, ids=range(len(IMPOSSIBLE_IDS)))
    @promise("I11", cause="an id is changed on its way: trimmed, cut, or its NUL left out.")
    def test_i11_an_id_that_no_store_can_hold_names_no_job(
        self, world: World, impossible: str
    ) -> None:
        """404 as well."""
        world.add_job("job", "running", ["pending"])
        before = world.rows()
        refused(world.cancel(key=JobKey(impossible)), "job_not_found")
        unchanged(before, world.rows())

    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
    @promise(
        "I16",
        cause="an id is put into the text of a statement, or compared as a pattern, without its "
        "blanks, or without its case.",
        needs=["text_ids"],
    )
    def test_i16_an_id_is_just_its_bytes(self, world: World, hostile: str) -> None:
        """The job of that name is cancelled, its neighbours are not."""
        neighbours = ["job", f"{hostile}!", f" {hostile}"]
        if self.id_characters_max is not None and len(neighbours[1]) > self.id_characters_max:
            pytest.skip(f"declared: ids have up to {self.id_characters_max} characters")
        for label in dict.fromkeys(neighbours):
            world.add_job(label, "running", ["pending"])
        world.add_job(hostile, "running", ["pending"])
        mine = world.key(hostile)
        before = world.rows()
        expect(world.cancelled(hostile).batch_job_id, hostile, "batch_job_id in the answer:")
        after = world.rows()
        expect(after[mine].status, "cancelled", "The job's status:")
        unchanged({**before, mine: after[mine]}, after)

    @promise(
        "I16",
        cause="a statement leaves out the organization, or takes None for a wildcard; in SQL "
        "compare with IS NOT DISTINCT FROM, since NULL = NULL is not true.",
        needs=["organizations"],
    )
    def test_i16_a_strangers_job_is_not_there(self, world: World) -> None:
        """No organization is one of its own, and no key to all."""
        one, other = self.organizations
        world.add_job("theirs", "running", ["pending"], organization_id=one)
        world.add_job("nobodys", "running", ["pending"])
        before = world.rows()
        for label, stranger in (
            ("theirs", other),
            ("theirs", None),
            ("nobodys", one),
            ("nobodys", other),
        ):
            key = JobKey(world.job_id(label), stranger)
            refused(world.cancel(key=key), "job_not_found")
        unchanged(before, world.rows())

    @promise(
        "I6",
        cause="the organization is compared wrongly: a column of another type, or NULL compared "
        "with an equals sign.",
        needs=["organizations"],
    )
    def test_i6_an_organization_cancels_its_own_job(self, world: World) -> None:
        """And so does none."""
        for label, organization_id in zip(
            ("one", "other", "none"), (*self.organizations, None), strict=True
        ):
            world.add_job(label, "running", ["pending"], organization_id=organization_id)
            expect(world.cancelled(label).contacts_cancelled, 1, "contacts_cancelled:")
            expect(world.row(label).status, "cancelled", "The job's status:")

    @promise(
        "I16",
        cause="a worker's step leaves out the organization, or takes None for a wildcard.",
        needs=["organizations", "start", "claim"],
    )
    def test_i16_a_strangers_worker_does_nothing(self, world: World) -> None:
        """Neither start nor claim."""
        one, other = self.organizations
        world.add_job("waits", "scheduled", ["pending"], organization_id=one)
        world.add_job("runs", "running", ["pending"], organization_id=one)
        before = world.rows()
        for stranger in (other, None):
            start = world.start(key=JobKey(world.job_id("waits"), stranger))
            expect(start, False, "What a stranger's start answered:")
            claimed = world.claim(key=JobKey(world.job_id("runs"), stranger))
            expect(len(claimed), 0, "Contacts given out to a stranger:")
        unchanged(before, world.rows())
