"""
The kit's tests of outcomes: what was written is looked at, and not assumed.

Something between a store and its rows may skip a write, undo it or add to it: a trigger, a rule, a
policy, a view. `StoreAdapter.sabotage` brings that about; then nothing may count as done that is
not. Part of `StoreConformance`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar, cast

import pytest

from batch_cancel.domain.errors import CancelFailed, Fault, StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import Sabotage, StoreAdapter
from batch_cancel.testing.answers import refused, succeeded, unchanged
from batch_cancel.testing.invariants import PromiseBroken, promise
from batch_cancel.testing.runner import Pause, ended, expect
from batch_cancel.testing.strategies import OPEN_CONTACTS
from batch_cancel.testing.world import World

_T = TypeVar("_T")

ANY_CONTACTS: Final = ("pending", "busy", "completed", "dialing")


class OutcomeConformance(StoreAdapter):
    """The tests of outcomes; `StoreConformance` has them."""

    @pytest.mark.parametrize("what", ["job skipped", "job restored"])
    @promise(
        "I6",
        cause="`mark_cancelled` trusts the number of rows that its UPDATE reports: read the "
        "job's status after it, in the same transaction.",
    )
    def test_i6_a_job_that_did_not_become_cancelled_is_no_success(
        self, world: World, what: Sabotage
    ) -> None:
        """Everything is rolled back, and its deferred start still waits."""
        self._fails(world, what, Fault.REFUSED)

    @pytest.mark.parametrize("what", ["contacts skipped", "contacts restored", "contact added"])
    @promise(
        "I4",
        cause="open contacts are not looked for after all were cancelled: do it in "
        "`mark_cancelled`, after its own statement.",
    )
    def test_i4_contacts_that_stay_open_are_no_success(self, world: World, what: Sabotage) -> None:
        """Whether they were kept, set back or added."""
        # A store that sees it where it cancels the contacts need not know that they are all.
        also = () if what == "contact added" else (Fault.REFUSED,)
        self._fails(world, what, Fault.INCOMPLETE, *also)

    @promise(
        "I9",
        cause="`contacts.cancel` trusts the number of rows that its UPDATE reports: count the "
        "contacts that are cancelled.",
    )
    def test_i9_a_count_that_is_not_true_is_no_success(self, world: World) -> None:
        """The contacts are no longer open, but they are not cancelled."""
        self._fails(world, "contacts diverted", Fault.REFUSED)

    @promise(
        "I12",
        cause="the record is not read back: read it after it was written.",
        needs=["records"],
    )
    def test_i12_a_record_that_is_not_kept_is_no_success(self, world: World) -> None:
        """A retry would report that another operation has cancelled the job."""
        self._fails(world, "record skipped", Fault.REFUSED)

    @promise(
        "I4",
        cause="`mark_cancelled` does not look for open contacts of the job: a trigger may add "
        "one, or keep one open.",
    )
    def test_i4_a_job_with_open_contacts_is_not_marked(self, world: World) -> None:
        """Also where the contacts were forgotten altogether."""
        world.add_job("job", "running", ["completed", "pending"])
        before = world.rows()
        world.note("mark_cancelled, without contacts.cancel before it")
        error = _mark_alone(world, world.key("job"))
        expect(getattr(error, "fault", error), Fault.INCOMPLETE, "The fault in the StoreFailed:")
        unchanged(before, world.rows())

    def _fails(self, world: World, what: Sabotage, *faults: Fault) -> None:
        world.add_job("job", "scheduled", ANY_CONTACTS, deferred_id="start")
        start = world.schedule()
        before = world.rows()
        sabotage(world, what)
        error = cast("CancelFailed", refused(world.cancel(), "cancel_failed"))
        unchanged(before, world.rows())
        expect(error.outcome, "unchanged", "The outcome in the error:")
        if error.fault not in faults:
            expect(error.fault, faults[0], "The fault in the error:")
        expect(error.retryable, False, "Whether the error is called retryable:")
        expect(world.waiting(), {start}, "The starts that still wait:")

    # Workers -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("what", ["contacts skipped", "contacts restored"])
    @promise(
        "I1",
        cause="claim hands out what it meant to write: hand out what is dialing, or raise.",
        needs=["claim"],
    )
    def test_i1_a_contact_that_is_not_dialing_is_not_handed_out(
        self, world: World, what: Sabotage
    ) -> None:
        """It would be handed out again, and called twice."""
        world.add_job("job", "running", OPEN_CONTACTS)
        sabotage(world, what)
        expect(attempt(world, world.claim) or set[str](), set[str](), "The contacts given out:")
        expect(world.statuses(), list(OPEN_CONTACTS), "The contacts:")

    @pytest.mark.parametrize("what", ["job skipped", "job restored"])
    @promise(
        "I20",
        cause="start trusts the number of rows: read the job's status after it.",
        needs=["start"],
    )
    def test_i20_a_start_that_was_undone_is_no_success(self, world: World, what: Sabotage) -> None:
        """The job still waits to be started."""
        world.add_job("job", "scheduled", ["pending"])
        sabotage(world, what)
        expect(bool(attempt(world, world.start)), False, "What start answered:")
        expect(world.row().status, "scheduled", "The job's status:")

    @pytest.mark.parametrize("what", ["contacts skipped", "contacts restored"])
    @promise(
        "I20",
        cause="settle trusts the number of rows: read the contact's status after it.",
        needs=["settle"],
    )
    def test_i20_a_settlement_that_was_undone_is_no_success(
        self, world: World, what: Sabotage
    ) -> None:
        """The contact is still on the phone."""
        world.add_job("job", "running", ["dialing"])
        [live] = world.contact_ids["job"]
        sabotage(world, what)
        for outcome in ("busy", "failed"):
            answer = attempt(world, partial(world.settle, live, outcome))
            expect(bool(answer), False, f"What settle as {outcome!r} answered:")
        expect(world.statuses(), ["dialing"], "The contact:")

    @promise(
        "I9",
        cause="append trusts the number of rows that it sent: count the contacts that are there.",
        needs=["append"],
    )
    def test_i9_an_append_that_was_skipped_is_no_success(self, world: World) -> None:
        """The contact would never be called."""
        world.add_job("job", "running", ["completed"])
        sabotage(world, "contacts skipped")
        expect(world.append(), False, "Whether it was added:")
        expect(world.statuses(), ["completed"], "The contacts:")

    @pytest.mark.parametrize("what", ["job skipped", "job restored"])
    @promise(
        "I20",
        cause="finish trusts the number of rows: read the job's status after it.",
        needs=["finish"],
    )
    def test_i20_a_finish_that_was_undone_is_no_success(
        self, world: World, what: Sabotage
    ) -> None:
        """The job still runs."""
        world.add_job("job", "running", ["completed"])
        sabotage(world, what)
        expect(bool(attempt(world, world.finish)), False, "What finish answered:")
        expect(world.row().status, "running", "The job's status:")

    # Keys --------------------------------------------------------------------------------------

    @promise(
        "I22",
        cause="a statement finds the contacts by the job's id alone: name the job's organization "
        "too, or the number that only one job has.",
        needs=["organizations", "ids_per_organization"],
    )
    def test_i22_a_job_of_the_same_id_is_left_alone(self, world: World) -> None:
        """Another organization's, and that of none: by a cancel, and by every worker's step."""
        one, other = self.organizations
        contacts = [*OPEN_CONTACTS, "dialing", "dialing", "completed"]
        for label, organization_id in (("job", one), ("other", other), ("nobody's", None)):
            world.add_job(
                label,
                "running",
                contacts,
                organization_id=organization_id,
                deferred_id=f"start of {label}",
                id_of="job",
            )
        mine = world.key("job")
        before = world.rows()
        self._work(world)
        after = world.rows()
        unchanged({**before, mine: after[mine]}, after)
        expect(world.cancelled().previous_status, JobStatus.RUNNING, "The previous status:")
        after = world.rows()
        unchanged({**before, mine: after[mine]}, after)
        expect(world.row().status, "cancelled", "The job's status:")

    def _work(self, world: World) -> None:
        live, other = world.contact_ids["job"][5:7]
        if "claim" in self.guards:
            world.claim(limit=2)
        if "settle" in self.guards:
            world.settle(live, "busy")
            world.settle(other, "failed")
        if "append" in self.guards:
            world.append()
        if "finish" in self.guards:
            world.finish()

    # The record --------------------------------------------------------------------------------

    @promise(
        "I12",
        cause="the outbox's `find` looks by the job's id alone, or by another column.",
        needs=["records"],
    )
    def test_i12_the_record_found_is_that_of_the_job(self, world: World) -> None:
        """And none where there is none."""
        for label in ("job", "other", "live"):
            world.add_job(label, "running", ["pending"])
        record = world.cancel_rows("job", "op of job").record
        others = world.cancel_rows("other", "op of other").record
        for key, due, what in (
            (world.key("job"), record, "the job"),
            (world.key("other"), others, "the other job"),
            (world.key("live"), None, "the job that is not cancelled"),
            (JobKey(world.job_id("missing")), None, "the missing job"),
        ):
            expect(_found(world, key), due, f"The record of {what}:")

    @promise(
        "I16",
        cause="the outbox's `find` leaves out the organization, or takes None for a wildcard.",
        needs=["records", "organizations"],
    )
    def test_i16_a_strangers_record_is_not_found(self, world: World) -> None:
        """No organization is one of its own, and no key to all."""
        one, other = self.organizations
        world.add_job("theirs", "running", ["pending"], organization_id=one)
        world.add_job("nobody's", "running", ["pending"])
        for label in ("theirs", "nobody's"):
            record = world.cancel_rows(label, "op").record
            for stranger in {one, other, None} - {record.key.organization_id}:
                key = JobKey(record.key.batch_job_id, stranger)
                expect(_found(world, key), None, f"The record that {stranger!r} finds:")
            expect(_found(world, record.key), record, "The record that its owner finds:")

    @promise(
        "I16",
        cause="the outbox's `find` locks the record or the job; read without FOR UPDATE.",
        needs=["records", "row_locks"],
    )
    def test_i16_finding_a_record_locks_nothing(self, world: World) -> None:
        """It is settled while the transaction that found it is still open."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="start")
        world.schedule()
        record = world.cancel_rows("job", "op").record
        pause = Pause("found")
        party = world.beside(world.finding(world.key("job"), pause))
        with pause.holding(party):
            world.note("holding who found the record in a transaction")
            again = ended(world.beside(world.cancelling(operation_id="op")))
            expect(succeeded(again).replayed, True, "Whether a cancel beside it was a replay:")
        expect(ended(party), record, "The record that was found:")
        expect(world.record().removal, Removal.REMOVED, "The removal in the record:")


def sabotage(world: World, what: Sabotage) -> None:
    """Let something undo what the store writes; skip the test where nothing can."""
    if what not in world.adapter.sabotages:
        pytest.skip(f"declared: {type(world.adapter).__name__} offers no sabotage {what!r}")
    world.note(f"from now on, something undoes what is written: {what}")
    world.run(lambda: world.adapter.sabotage(what))


def attempt(world: World, step: Callable[[], _T]) -> _T | None:
    """Take a worker's step; None if it raised, which is a way to say that it failed."""
    try:
        return step()
    except PromiseBroken:
        raise
    except Exception as error:  # noqa: BLE001  # Of a worker's own kind.
        world.note(f"it raised {type(error).__name__}")
        return None


def _found(world: World, key: JobKey) -> CancellationRecord | None:
    def nothing(_point: str) -> None:
        """Go on."""

    record = world.run(world.finding(key, nothing))
    world.note(f"find {key} -> {record and record.operation_id!r}")
    return record


def _mark_alone(world: World, key: JobKey) -> object:
    def marked(job: Job | None) -> tuple[Job, CancellationRecord]:
        if job is None:
            msg = "`lock` gives None for a job that is there."
            raise PromiseBroken(msg)
        return job, CancellationRecord(
            operation_id="op",
            key=key,
            previous_status=JobStatus.RUNNING,
            contacts_cancelled=0,
            actor=None,
            reason=None,
            cancelled_at=job.locked_at,
            deferred_id=None,
            removal=Removal.NOT_APPLICABLE,
            is_announced=True,
        )

    def mark() -> None:
        with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
            repositories.jobs.mark_cancelled(*marked(repositories.jobs.lock(key)))

    async def mark_async() -> None:
        async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
            job = await repositories.jobs.lock(key)
            await repositories.jobs.mark_cancelled(*marked(job))

    try:
        world.run(world.either(mark, mark_async))
    except StoreFailed as error:
        return error
    return "no error"
