"""
The kit's tests of ids: any text, and whose job it is.

Part of `StoreConformance`.
"""

from __future__ import annotations

from functools import partial

import pytest

from batch_cancel.domain.job import JobKey
from batch_cancel.testing.adapter import (
    StoreAdapter,
)
from batch_cancel.testing.answers import refused, unchanged
from batch_cancel.testing.conformance.outcomes import attempt
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
        cause="an id is put into the text of a statement, or compared without its trailing blanks "
        "(a collation with PAD SPACE) or its case; or what the driver raises for an id that its "
        "column can't hold comes out: `lock` gives None for it.",
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
        "blanks (a collation with PAD SPACE), or without its case: compare its bytes.",
        needs=["text_ids"],
    )
    def test_i16_an_id_is_just_its_bytes(self, world: World, hostile: str) -> None:
        """The job of that name is cancelled, its neighbours are not."""
        hostile = hostile[: self.id_characters_max - 1]
        neighbours = ["job", f"{hostile}!", f" {hostile}"]
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
        "I11",
        cause="an id that is too long for its column is cut, and names another job; or the column "
        "holds no id of 1024 characters: declare `id_characters_max`.",
        needs=["text_ids"],
    )
    def test_i11_an_id_is_not_cut(self, world: World) -> None:
        """One that is a character longer than the column is 404, or a job of its own."""
        world.add_job("x" * self.id_characters_max, "running", ["pending"])
        before = world.rows()
        refused(world.cancel(key=JobKey("x" * (self.id_characters_max + 1))), "job_not_found")
        unchanged(before, world.rows())

    @promise(
        "I16",
        cause="a statement leaves out the organization, or takes None for a wildcard, or compares "
        "it without its blanks or its case; in SQL compare with IS NOT DISTINCT FROM, since "
        "NULL = NULL is not true.",
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
            ("theirs", f"{one} "),
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

    @promise(
        "I16",
        cause="settle leaves out the organization, or takes None for a wildcard: a contact is "
        "found by its id alone.",
        needs=["organizations", "settle"],
    )
    def test_i16_a_stranger_settles_no_call(self, world: World) -> None:
        """Neither an outcome that is final nor one that is retried."""
        one, other = self.organizations
        world.add_job("job", "running", ["dialing"], organization_id=one)
        before = world.rows()
        for stranger in (other, None):
            for outcome in ("completed", "busy"):
                key = JobKey(world.job_id("job"), stranger)
                attempt(
                    world, partial(world.settle, world.contact_ids["job"][0], outcome, key=key)
                )
        unchanged(before, world.rows())

    @promise(
        "I22",
        cause="`ids_per_organization = False` is declared, but two organizations may have jobs of "
        "one id, as where the key is (organization, id): the tests of what happens to the other "
        "one's contacts are skipped. Take the declaration out.",
        needs=["organizations"],
    )
    def test_i22_ids_are_as_unique_as_declared(self, world: World) -> None:
        """The store refuses a second job of one id, or is tested with two."""
        one, other = self.organizations
        world.add_job("job", "running", ["pending"], organization_id=one)
        second = partial(world.add_job, "other", organization_id=other, id_of="job")
        is_refused = attempt(world, lambda: second() is None) is None
        expect(is_refused, not self.ids_per_organization, "Whether a second job is refused:")
