"""
The kit's tests of one cancel: which jobs and contacts it changes, and which it leaves alone.

Part of `StoreConformance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import pytest

from batch_cancel.domain.errors import AlreadyTerminal
from batch_cancel.domain.statuses import JobStatus, Removal
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import (
    StoreAdapter,
)
from batch_cancel.testing.answers import refused, succeeded, unchanged
from batch_cancel.testing.declarations import mistakes
from batch_cancel.testing.invariants import PromiseBroken, promise
from batch_cancel.testing.runner import expect
from batch_cancel.testing.strategies import (
    ENDED_CONTACTS,
    ENDED_JOBS,
    LIVE_JOBS,
    OPEN_CONTACTS,
)
from batch_cancel.testing.world import World


class CancelConformance(StoreAdapter):
    """The tests of one cancel; `StoreConformance` has them."""

    @promise(
        "I20",
        cause="your class does not declare what your store may lack, or declares that it lacks "
        "what it has.",
    )
    def test_i20_what_is_declared_is_what_there_is(self, world: World) -> None:
        """The optional ports, and whether failed cancels are tried again."""

        def read() -> Sequence[str]:
            uow = cast("UnitOfWork", self.uow())
            with uow.begin() as repositories:
                return mistakes(self, uow, repositories)

        async def read_async() -> Sequence[str]:
            uow = cast("AsyncUnitOfWork", self.uow())
            async with uow.begin() as repositories:
                return mistakes(self, uow, repositories)

        if found := world.run(world.either(read, read_async)):
            raise PromiseBroken("\n".join(found))

    @pytest.mark.parametrize("status", LIVE_JOBS)
    @promise(
        "I6", cause="`mark_cancelled` does not write the status, or the commit does not happen."
    )
    def test_i6_a_live_job_is_cancelled(self, world: World, status: str) -> None:
        """And answered with the status that it had."""
        world.add_job("job", status, ["pending"])
        result = world.cancelled()
        expect(world.row().status, "cancelled", "The job's status after a cancel:")
        expect(result.previous_status, JobStatus(status), "The previous status in the answer:")
        expect(result.replayed, False, "Whether this was a replay:")

    @pytest.mark.parametrize("status", LIVE_JOBS)
    @promise(
        "I4",
        cause="`contacts.cancel` names statuses of its own, instead of those it is given; or it "
        "looks for the job by another column.",
    )
    def test_i4_every_open_contact_is_cancelled(self, world: World, status: str) -> None:
        """All five statuses, whatever the job was."""
        world.add_job("job", status, OPEN_CONTACTS)
        world.cancelled()
        expect(
            dict(zip(OPEN_CONTACTS, world.statuses(), strict=True)),
            dict.fromkeys(OPEN_CONTACTS, "cancelled"),
            "The contacts, by the status that they had:",
        )

    @promise(
        "I3",
        cause="`contacts.cancel` updates every contact of the job, or sets updated_at on all of "
        "them; the statuses it is given are an allow-list.",
    )
    def test_i3_an_ended_contact_is_never_changed(self, world: World) -> None:
        """Byte for byte: not the time of its last change either."""
        world.add_job("job", "running", [*ENDED_CONTACTS, "pending"])
        before = world.row().contacts
        world.cancelled()
        after = world.row().contacts
        for status, it in zip(ENDED_CONTACTS, world.contact_ids["job"], strict=False):
            expect(after.get(it), before[it], f"The row of a contact that was {status!r}:")

    @promise(
        "I15",
        cause="the contacts are chosen by what they are not (NOT IN), instead of by the statuses "
        "given: a live call is in none of your lists.",
    )
    def test_i15_a_live_call_is_left_alone(self, world: World) -> None:
        """Dialing is not open: calls in progress end normally."""
        world.add_job("job", "running", ["dialing", "pending"])
        before = world.row().contacts
        world.cancelled()
        it = world.contact_ids["job"][0]
        expect(world.row().contacts.get(it), before[it], "The row of a contact being dialled:")

    @promise(
        "I15",
        cause="the contacts are chosen by what they are not (NOT IN), or their statuses are "
        "compared without regard to case or to trailing blanks (a collation with PAD SPACE).",
        needs=["strange_statuses"],
    )
    def test_i15_a_contact_in_a_status_nobody_knows_is_left_alone(self, world: World) -> None:
        """The rule is an allow-list of five."""
        world.add_job("job", "running", [*self.strange_statuses, "pending"])
        before = world.row().contacts
        world.cancelled()
        after = world.row().contacts
        for status, it in zip(self.strange_statuses, world.contact_ids["job"], strict=False):
            expect(after.get(it), before[it], f"The row of a contact that was {status!r}:")

    @promise(
        "I9",
        cause="the count is taken before the UPDATE, or counts all contacts; give the number of "
        "rows that the UPDATE changed.",
    )
    def test_i9_the_count_is_of_the_rows_changed(self, world: World) -> None:
        """Open ones only, of this job only; nought is a number."""
        world.add_job("other", "running", ["pending", "busy"])
        world.add_job("job", "running", [*OPEN_CONTACTS, *ENDED_CONTACTS, "dialing", "pending"])
        world.add_job("empty", "running")
        expect(world.cancelled().contacts_cancelled, 6, "contacts_cancelled of six open contacts:")
        if self.records:
            expect(world.record().contacts_cancelled, 6, "contacts_cancelled in the record:")
        expect(world.cancelled("empty").contacts_cancelled, 0, "contacts_cancelled of none:")

    @pytest.mark.parametrize("status", ENDED_JOBS)
    @promise(
        "I11",
        cause="`lock` gives another status than the row's, or something is written before the "
        "decision.",
    )
    def test_i11_an_ended_job_is_refused_and_unchanged(self, world: World, status: str) -> None:
        """400, with its own status."""
        world.add_job("job", status, [*OPEN_CONTACTS, "completed"])
        before = world.rows()
        error = cast("AlreadyTerminal", refused(world.cancel(), "already_terminal"))
        expect(error.status, JobStatus(status), "The status in the refusal:")
        unchanged(before, world.rows())

    @promise("I11", cause="`lock` raises for a job that is not there, instead of giving None.")
    def test_i11_a_missing_job_is_not_found(self, world: World) -> None:
        """404."""
        world.add_job("job", "running", ["pending"])
        before = world.rows()
        refused(world.cancel("missing"), "job_not_found")
        unchanged(before, world.rows())

    @promise(
        "I11",
        cause="`lock` translates a status that it does not know into one that it does, or strips "
        "its blanks.",
        needs=["strange_statuses"],
    )
    def test_i11_a_job_in_a_status_nobody_knows_is_left_alone(self, world: World) -> None:
        """It fails closed, with an error of its own."""
        for number, status in enumerate(self.strange_statuses):
            world.add_job(f"job-{number}", status, ["pending"])
        before = world.rows()
        for number, _ in enumerate(self.strange_statuses):
            refused(world.cancel(f"job-{number}"), "unknown_job_status")
        unchanged(before, world.rows())

    @promise(
        "I16",
        cause="a statement leaves out the job: `contacts.cancel` or `mark_cancelled` has no "
        "WHERE on the job's id.",
    )
    def test_i16_other_jobs_stay_as_they_are(self, world: World) -> None:
        """Their rows, and those of their contacts."""
        world.add_job("before", "running", [*OPEN_CONTACTS, "dialing"])
        world.add_job("job", "scheduled", OPEN_CONTACTS)
        world.add_job("after", "scheduled", OPEN_CONTACTS)
        mine = world.key("job")
        before = world.rows()
        world.cancelled()
        after = world.rows()
        unchanged({**before, mine: after[mine]}, after)

    @promise(
        "I10",
        cause="`lock` gives no deferred id, or the job's id instead of the one in its column.",
    )
    def test_i10_the_scheduler_is_asked_for_the_jobs_own_start(self, world: World) -> None:
        """By the id in the job's row, once the job is cancelled for all to see."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="start of job")
        due = world.row().deferred_id
        asked: list[object] = []

        def look(deferred_id: str, operation_id: str) -> bool:
            asked.append((deferred_id, operation_id))
            return True

        answer = world.cancel(operation_id="op", scheduler=world.scheduler_that(look))
        expect(succeeded(answer).removal, Removal.REMOVED, "The removal in the answer:")
        expect(asked, [(due, "op")], "What the scheduler was asked for:")

    @promise("I10", cause="`lock` makes up a deferred id where the column is NULL.")
    def test_i10_no_start_is_no_removal(self, world: World) -> None:
        """NULL in the column means that there is none."""
        for status, removal in (
            ("scheduled", Removal.ABSENT),
            ("running", Removal.NOT_APPLICABLE),
        ):
            world.add_job(status, status, ["pending"])
            if world.row(status).deferred_id is None:
                asked: list[str] = []
                answer = world.cancel(status, scheduler=world.scheduler_that(_noting(asked)))
                expect(succeeded(answer).removal, removal, f"The removal for a {status} job:")
                expect(asked, [], "What the scheduler was asked for:")

    @pytest.mark.parametrize("status", ["pending", "running"])
    @promise("I7", cause="`lock` gives no deferred id of a job that is not scheduled.")
    def test_i7_a_job_started_early_has_no_deferred_start_either(
        self, world: World, status: str
    ) -> None:
        """The start that it names still waits; the answer is that of a job of its status."""
        world.add_job("job", status, ["pending"], deferred_id="early")
        world.schedule()
        result = world.cancelled()
        expect(result.removal, Removal.REMOVED, "The removal:")
        expect(result.redis_job_cancelled, False, "redis_job_cancelled:")
        expect(world.waiting(), set[str](), "The deferred starts that wait:")

    @promise("I7", cause="`lock` gives another deferred id than the row's.")
    def test_i7_a_cancelled_job_has_no_deferred_start(self, world: World) -> None:
        """It is taken back, and no other."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="mine")
        world.add_job("other", "scheduled", ["pending"], deferred_id="theirs")
        world.schedule("job")
        theirs = world.schedule("other")
        expect(world.cancelled().redis_job_cancelled, True, "redis_job_cancelled:")
        expect(world.waiting(), {theirs}, "The starts that still wait:")


def _noting(asked: list[str]) -> Callable[[str, str], bool]:
    def note(deferred_id: str, _operation_id: str) -> bool:
        asked.append(deferred_id)
        return False

    return note
