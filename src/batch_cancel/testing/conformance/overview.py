"""
The kit's tests of the reports on one job: they are true, and change nothing.

Part of `StoreConformance`.
"""

from __future__ import annotations

from typing import Final

import pytest

from batch_cancel.domain.overview import Preview
from batch_cancel.testing.adapter import StoreAdapter
from batch_cancel.testing.answers import Answer, unchanged
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import Pause, ended, expect
from batch_cancel.testing.strategies import ENDED_CONTACTS, ENDED_JOBS, OPEN_CONTACTS
from batch_cancel.testing.world import World

LIVE_JOBS: Final = ("scheduled", "pending", "running")


class OverviewConformance(StoreAdapter):
    """The tests of previews and progress; `StoreConformance` has them."""

    @pytest.mark.parametrize("status", [*LIVE_JOBS, *ENDED_JOBS])
    @promise(
        "I20",
        cause="the overview's `look` reads another status, deferred start or record than "
        "`jobs.lock` does, or counts other contacts than a cancel changes.",
        needs=["overview"],
    )
    def test_i20_a_preview_is_what_the_cancel_then_does(self, world: World, status: str) -> None:
        """Refused or not; the preview itself changes nothing."""
        contacts = [*OPEN_CONTACTS, "dialing", *ENDED_CONTACTS]
        world.add_job("job", status, contacts, deferred_id="start")
        world.add_job("other", "running", contacts)
        world.schedule("job")
        before = world.rows()
        preview = world.preview()
        unchanged(before, world.rows())
        expect(_decided(preview), _answered(world.cancel()), "The preview, and the cancel:")

    @promise(
        "I20",
        cause="the overview's `look` leaves contacts out, or counts those of other jobs.",
        needs=["overview"],
    )
    def test_i20_each_contact_is_counted_once(self, world: World) -> None:
        """By its status; before the cancel and after it."""
        contacts = [*OPEN_CONTACTS, *OPEN_CONTACTS, "dialing", *ENDED_CONTACTS]
        world.add_job("job", "running", contacts)
        world.add_job("other", "running", contacts)
        counts = {status: contacts.count(status) for status in {*contacts}}
        expect(dict(world.preview().contacts), counts, "The contacts by status:")
        world.cancelled()
        progress = world.progress()
        numbers = (progress.contacts_open, progress.contacts_live, progress.contacts_ended)
        due = (0, 1, 2 * len(OPEN_CONTACTS) + len(ENDED_CONTACTS))
        expect(numbers, due, "Open, live and ended contacts of the cancelled job:")
        expect(progress.is_drained, False, "Drained with a live call:")

    @promise(
        "I12",
        cause="the overview's `look` does not read the record of the cancellation.",
        needs=["overview", "records"],
    )
    def test_i12_a_preview_knows_the_operation(self, world: World) -> None:
        """The one that has cancelled the job; any other would be refused."""
        world.add_job("job", "running", ["pending"])
        world.cancelled(operation_id="first")
        expect(world.preview(operation_id="first").is_replay, True, "The same operation again:")
        expect(world.preview(operation_id="second").is_replay, False, "Another operation:")

    @promise(
        "I16",
        cause="the overview's `look` locks what it reads, or waits for a lock: it must be a plain "
        "SELECT.",
        needs=["overview", "row_locks"],
    )
    def test_i16_a_preview_waits_for_no_cancel(self, world: World) -> None:
        """It reads what is committed; nor does a cancel wait for it."""
        world.add_job("job", "running", ["pending", "dialing"])
        with world.cancel_at("marked"):
            seen = world.preview()
        expect(seen.would_cancel, True, "The preview beside a cancel that is not committed:")
        expect(seen.contacts_to_cancel, 1, "The contacts to cancel:")
        world.add_job("next", "running", ["pending"])
        pause = Pause("done")
        party = world.beside(world.previewing("next", pause))
        with pause.holding(party):
            world.cancelled("next")
        ended(party)

    @promise(
        "I16",
        cause="the overview's `look` does not compare the organization.",
        needs=["overview", "organizations"],
    )
    def test_i16_another_organizations_job_is_not_there(self, world: World) -> None:
        """Nor is a job of none."""
        mine, theirs = self.organizations[:2]
        world.add_job("job", "running", ["pending"], organization_id=mine)
        expect(world.sees("job", mine), True, "Its own organization sees the job:")
        for owner in (theirs, None):
            expect(world.sees("job", owner), False, f"Organization {owner!r} sees the job:")


def _decided(preview: Preview) -> tuple[str | None, int]:
    refusal = preview.refusal
    return (None if refusal is None else refusal.code, preview.contacts_to_cancel)


def _answered(answer: Answer) -> tuple[str | None, int]:
    if isinstance(answer, BaseException):
        return answer.code, 0
    return None, answer.contacts_cancelled
