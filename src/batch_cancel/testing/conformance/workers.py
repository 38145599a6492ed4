"""
The kit's tests of workers: what their steps do beside a cancel, and after it.

Part of `StoreConformance`.
"""

from __future__ import annotations

from typing import Final

import pytest

from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.testing.adapter import (
    StoreAdapter,
)
from batch_cancel.testing.answers import unchanged
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.runner import DEADLINE_SECONDS, ended, expect, watch
from batch_cancel.testing.strategies import (
    ENDED_CONTACTS,
    ENDED_JOBS,
    OPEN_CONTACTS,
    RETRYABLE,
)
from batch_cancel.testing.world import World

FINAL: Final = ("completed", "failed", "blocked", "invalid_number", "carrier_error")


class WorkerConformance(StoreAdapter):
    """The tests of workers; `StoreConformance` has them."""

    @pytest.mark.parametrize("status", ENDED_JOBS)
    @promise(
        "I2",
        cause="start is an UPDATE by id alone; put the status in its WHERE, and look at the "
        "number of rows.",
        needs=["start"],
    )
    def test_i2_an_ended_job_is_not_started(self, world: World, status: str) -> None:
        """A deferred start may fire after the cancel."""
        world.add_job("job", status, ["pending"])
        before = world.rows()
        expect(world.start(), False, "What start answered:")
        unchanged(before, world.rows())

    @promise("I8", cause="start refuses a job that waits to be started.", needs=["start"])
    def test_i8_a_live_job_is_started_once(self, world: World) -> None:
        """From scheduled and from pending."""
        for status in ("scheduled", "pending"):
            world.add_job(status, status, ["pending"])
            expect([world.start(status), world.start(status)], [True, False], "Two starts:")
            expect(world.row(status).status, "running", "The job's status:")

    @promise(
        "I2",
        cause="start looks at the status and writes later, in another statement: whoever waited "
        "for the cancel in between overwrites it.",
        needs=["start"],
    )
    def test_i2_a_start_beside_a_cancel_does_not_undo_it(self, world: World) -> None:
        """The cancel is held before its commit; the start must find it done."""
        world.add_job("job", "scheduled", ["pending"])
        with world.cancel_at("marked"):
            wait = world.watch(lambda: self.start(world.key("job")), "start")
        wait()
        expect(world.row().status, "cancelled", "The job's status at rest:")

    @pytest.mark.parametrize("status", ["scheduled", "pending", *ENDED_JOBS])
    @promise(
        "I1",
        cause="claim does not look at the job; put its status in the predicate of the contacts.",
        needs=["claim"],
    )
    def test_i1_only_a_running_job_is_called(self, world: World, status: str) -> None:
        """Whatever its contacts say."""
        world.add_job("job", status, OPEN_CONTACTS)
        before = world.rows()
        expect(len(world.claim()), 0, "Contacts given out:")
        unchanged(before, world.rows())

    @promise(
        "I15", cause="claim takes contacts that are not open, or of other jobs.", needs=["claim"]
    )
    def test_i15_open_contacts_alone_are_called(self, world: World) -> None:
        """Of this job; and each is given out once."""
        world.add_job("job", "running", [*OPEN_CONTACTS, *ENDED_CONTACTS, "dialing"])
        world.add_job("other", "running", OPEN_CONTACTS)
        before = world.row("other")
        due = set(world.contact_ids["job"][: len(OPEN_CONTACTS)])
        claimed = world.claim()
        expect(claimed, due, "The contacts given out:")
        expect(world.claim(), set[str](), "Given out a second time:")
        expect(world.statuses()[: len(due)], ["dialing"] * len(due), "Their statuses:")
        expect(world.statuses()[len(due) : -1], list(ENDED_CONTACTS), "The ended ones:")
        expect(world.row("other"), before, "The other job:")

    @promise(
        "I1",
        cause="claim waits for the contacts that the cancel has in hand, and then takes them "
        "without looking at their status again.",
        needs=["claim"],
    )
    def test_i1_a_claim_beside_a_cancel_takes_nothing_back(self, world: World) -> None:
        """The cancel is held before its commit."""
        world.add_job("job", "running", OPEN_CONTACTS)
        with world.cancel_at("marked"):
            wait = world.watch(lambda: self.claim(world.key("job"), 9), "claim")
        wait()
        expect(world.statuses(), ["cancelled"] * 5, "The contacts at rest:")
        expect(len(world.claim()), 0, "Contacts given out afterwards:")

    @pytest.mark.parametrize("outcome", RETRYABLE)
    @promise(
        "I4",
        cause="settle writes the outcome without looking at the job; one to be retried, of a "
        "cancelled job, must become cancelled.",
        needs=["settle"],
    )
    def test_i4_a_call_of_a_cancelled_job_is_not_retried(self, world: World, outcome: str) -> None:
        """It was live when the job was cancelled."""
        world.add_job("job", "running", ["dialing", "dialing"])
        one, other = world.contact_ids["job"]
        world.settle(one, outcome)
        expect(world.statuses(), [outcome, "dialing"], "The contacts of the running job:")
        world.cancelled()
        world.settle(other, outcome)
        expect(world.statuses(), ["cancelled", "cancelled"], "The contacts at rest:")

    @pytest.mark.parametrize("outcome", FINAL)
    @promise(
        "I15",
        cause="settle cancels every contact of a cancelled job; a call that came to its end "
        "keeps it.",
        needs=["settle"],
    )
    def test_i15_a_call_that_came_to_its_end_keeps_it(self, world: World, outcome: str) -> None:
        """Though the job was cancelled meanwhile."""
        world.add_job("job", "running", ["dialing"])
        world.cancelled()
        world.settle(world.contact_ids["job"][0], outcome)
        expect(world.statuses(), [outcome], "The contact at rest:")

    @promise(
        "I3",
        cause="settle writes by id alone; put the status `dialing` in its WHERE.",
        needs=["settle"],
    )
    def test_i3_only_a_live_call_ends(self, world: World) -> None:
        """A webhook may come twice, or late."""
        world.add_job("job", "running", [*ENDED_CONTACTS, *OPEN_CONTACTS])
        before = world.rows()
        for contact_id in world.contact_ids["job"]:
            for outcome in ("busy", "failed"):
                world.settle(contact_id, outcome)
        unchanged(before, world.rows())

    @promise(
        "I4",
        cause="settle reads the job's status without its lock, or in the statement that waits "
        "for the lock; lock the job first, then read it in a new statement.",
        needs=["settle"],
    )
    def test_i4_a_settlement_beside_a_cancel_leaves_nothing_open(self, world: World) -> None:
        """The cancel is held before its commit; the call ends busy."""
        world.add_job("job", "running", ["dialing", "pending"])
        key, (live, _) = world.key("job"), world.contact_ids["job"]
        with world.cancel_at("marked"):
            wait = world.watch(
                lambda: self.settle(key, live, ContactStatus.BUSY), "settle as 'busy'"
            )
        wait()
        expect(world.statuses(), ["cancelled", "cancelled"], "The contacts at rest:")

    @pytest.mark.parametrize("status", ENDED_JOBS)
    @promise(
        "I4", cause="append does not look at the job's status before it inserts.", needs=["append"]
    )
    def test_i4_an_ended_job_gets_no_contacts(self, world: World, status: str) -> None:
        """It is refused."""
        world.add_job("job", status, ["completed"])
        before = world.rows()
        expect(world.append(), False, "Whether it was added:")
        unchanged(before, world.rows())

    @promise("I9", cause="append adds no contact, or not as pending.", needs=["append"])
    def test_i9_what_was_added_is_cancelled_along(self, world: World) -> None:
        """A live job gets contacts, and they count."""
        world.add_job("job", "running", ["completed"])
        expect(world.append(), True, "Whether it was added:")
        expect(world.statuses(), ["completed", "pending"], "The contacts before the cancel:")
        expect(world.cancelled().contacts_cancelled, 1, "contacts_cancelled:")
        expect(world.statuses(), ["completed", "cancelled"], "The contacts at rest:")

    @promise(
        "I4",
        cause="append reads the job's status without its lock: the contact comes in after the "
        "cancel has looked.",
        needs=["append"],
    )
    def test_i4_an_append_beside_a_cancel_leaves_nothing_open(self, world: World) -> None:
        """The cancel is held before its commit."""
        world.add_job("job", "running", ["pending"])
        with world.cancel_at("marked"):
            wait = world.watch(lambda: self.append(world.key("job")), "append")
        wait()
        expect(set(world.statuses()), {"cancelled"}, "The statuses of the contacts at rest:")

    @promise(
        "I2",
        cause="finish is an UPDATE by id alone, or does not look for contacts that are open or "
        "on the phone.",
        needs=["finish"],
    )
    def test_i2_a_running_job_without_work_alone_is_finished(self, world: World) -> None:
        """Not one that has ended, and none with open contacts or live calls."""
        for status in ("scheduled", "pending", *ENDED_JOBS):
            world.add_job(status, status, ["completed"])
            expect(world.finish(status), False, f"finish of a job that is {status!r}:")
            expect(world.row(status).status, status, "The job's status:")
        for contact in (*OPEN_CONTACTS, "dialing"):
            world.add_job(f"with {contact}", "running", ["completed", contact])
            expect(world.finish(f"with {contact}"), False, f"finish of a job with a {contact}:")
        world.add_job("done", "running", ["completed", "failed"])
        expect(world.finish("done"), True, "finish of a job without work:")
        expect(world.row("done").status, "completed", "The job's status:")

    @promise(
        "I2",
        cause="finish looks and writes in two statements without the lock: it overwrites the "
        "cancel that it waited for.",
        needs=["finish"],
    )
    def test_i2_a_finish_beside_a_cancel_does_not_undo_it(self, world: World) -> None:
        """The cancel is held before its commit."""
        world.add_job("job", "running", ["completed"])
        with world.cancel_at("marked"):
            wait = world.watch(lambda: self.finish(world.key("job")), "finish")
        wait()
        expect(world.row().status, "cancelled", "The job's status at rest:")

    @promise(
        "I1",
        cause="`status` returns something else than the job's status as it is committed, such as "
        "always running: a worker that asks right before it dials would call. Without a `work` "
        "define `still_running` in your class, or declare `guards` without it: who has claimed a "
        "contact then calls it, even after the cancel has succeeded.",
        needs=["still_running"],
    )
    def test_i1_a_worker_that_asks_hears_of_the_cancel(self, world: World) -> None:
        """Only a running job still runs; not one that is not there."""
        for status in ("scheduled", "pending", "running", *ENDED_JOBS):
            world.add_job(status, status, ["dialing"])
            due = status == "running"
            expect(world.still_running(status), due, f"Whether a {status} job still runs:")
        missing = world.still_running(key=JobKey(world.job_id("missing")))
        expect(missing, False, "Whether a job that is not there still runs:")
        if self.organizations:
            stranger = JobKey(world.job_id("running"), self.organizations[0])
            expect(world.still_running(key=stranger), False, "Whether a stranger's job runs:")
        world.cancelled("running")
        expect(world.still_running("running"), False, "Whether it runs after the cancel:")

    @promise(
        "I14",
        cause="claim locks the job, or waits for its lock: many workers would keep a cancel "
        "waiting. Lock the contacts alone (FOR UPDATE OF contact SKIP LOCKED), with the job's "
        "status in the predicate.",
        needs=["row_locks", "claim"],
    )
    def test_i14_a_claim_does_not_wait_for_the_job(self, world: World) -> None:
        """A cancel has the job locked, and no contact yet: the claim comes first."""
        world.add_job("job", "running", ["pending", "pending"])
        with world.cancel_at("locked"):
            party = world.beside(lambda: self.claim(world.key("job"), 1))
            has_ended = watch(party, DEADLINE_SECONDS / 4)
            expect(has_ended, True, "Whether the claim ended while the job was locked:")
            expect(len(ended(party)), 1, "How many contacts were given out:")
        expect(sorted(map(str, world.statuses())), ["cancelled", "dialing"], "The contacts:")
