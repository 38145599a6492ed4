"""
The conformance kit: subclass a class, give it your adapter, and pytest runs the whole suite on it.

    class TestOurStore(StoreConformance): ...
    class TestOurScheduler(SchedulerConformance): ...
    class TestOurs(StoreConformance, SchedulerConformance): ...  # both, and one with the other

Every test is named after the invariant of the protocol that it checks. Nothing is a matter of
luck: where two parties meet, one of them is held at the point that matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from datetime import timedelta
from functools import partial
from typing import Final, cast

import attrs
import pytest
from hypothesis.stateful import run_state_machine_as_test

from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.errors import AlreadyTerminal, BatchCancelError, CancelFailed, shown
from batch_cancel.domain.model import (
    ContactStatus,
    JobKey,
    JobStatus,
    Removal,
)
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import (
    AnyScheduler,
    IdKind,
    JobRow,
    Maybe,
    SchedulerAdapter,
)
from batch_cancel.testing.breakpoints import AsyncHooked, Hook, Hooked
from batch_cancel.testing.expiry import ExpiryConformance
from batch_cancel.testing.invariants import PromiseBroken, promise
from batch_cancel.testing.outcome import OutcomeConformance
from batch_cancel.testing.runner import Pause, Stage, ended, expect, watch
from batch_cancel.testing.state_machine import CancelMachine
from batch_cancel.testing.strategies import (
    ENDED_CONTACTS,
    ENDED_JOBS,
    HOSTILE_IDS,
    IMPOSSIBLE_IDS,
    LIVE_JOBS,
    OPEN_CONTACTS,
)
from batch_cancel.testing.turns import TurnConformance, settle_record
from batch_cancel.testing.world import (
    AsyncScripted,
    Scripted,
    World,
    refused,
    said,
    succeeded,
    unchanged,
    unreachable,
)
from batch_cancel.use_cases.cancel import (
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
)

__all__ = ["IdKind", "JobRow", "SchedulerConformance", "StoreConformance"]

LATER: Final = timedelta(hours=1)

RETRYABLE: Final = ("queued", "no_answer", "busy", "timeout")
FINAL: Final = ("completed", "failed", "blocked", "invalid_number", "carrier_error")


class Stop(BaseException):
    """What ends a program, and is no business of an adapter."""


class StoreConformance(OutcomeConformance, ExpiryConformance, TurnConformance):
    """The suite for a store: give `fresh`, `uow`, `seed` and `dump`."""

    @pytest.fixture
    def world(self) -> Iterator[World]:
        """Lend an empty store."""
        world = World(self)
        yield world
        world.close()

    # Rules -------------------------------------------------------------------------------------

    @promise(
        "I20",
        cause="a capability is switched off though the store has it: its tests would be skipped.",
    )
    def test_i20_what_is_declared_is_what_there_is(self, world: World) -> None:
        """Records are declared exactly if there is an outbox."""

        def read() -> bool:
            with cast("UnitOfWork", self.uow()).begin() as repositories:
                return repositories.outbox is not None

        async def read_async() -> bool:
            async with cast("AsyncUnitOfWork", self.uow()).begin() as repositories:
                return repositories.outbox is not None

        expect(self.records, world.run(world.either(read, read_async)), "Declared `records`:")

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
        "compared without regard to case or blanks.",
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
        cause="`lock` translates a status that it does not know into one that it does.",
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

    # Transactions ------------------------------------------------------------------------------

    @pytest.mark.parametrize("point", ["locked", "contacts", "marked"])
    @promise(
        "I17",
        cause="`begin` does not roll back on an exception (it commits in a `finally`, or the "
        "connection commits every statement by itself).",
    )
    def test_i17_an_exception_undoes_everything(self, world: World, point: str) -> None:
        """Wherever it comes from; and the next cancel does it all."""
        world.add_job("job", "running", ["pending", "busy", "completed"])
        before = world.rows()
        error = refused(world.cancel(hook=_failing(point)), "cancel_failed")
        expect(cast("CancelFailed", error).outcome, "unchanged", "The outcome in the error:")
        unchanged(before, world.rows())
        expect(world.cancelled().contacts_cancelled, 2, "contacts_cancelled by the next cancel:")

    @pytest.mark.parametrize("point", ["contacts", "marked"])
    @promise(
        "I17",
        cause="the statements are not one transaction: the connection commits each by itself, or "
        "the repositories use connections of their own.",
    )
    def test_i17_nothing_is_seen_before_the_commit(self, world: World, point: str) -> None:
        """Another connection sees all of it, or none."""
        world.add_job("job", "running", ["pending", "busy"])
        before = world.rows()
        with world.cancel_at(point):
            # A store that lets nobody read beside a writer shows nothing, too.
            look: Future[object] = world.beside(self.dump)
            if watch(look, self.patience_seconds):
                unchanged(before, cast("dict[JobKey, JobRow]", look.result()))
        expect(world.row().status, "cancelled", "The job's status after the commit:")
        expect(world.statuses(), ["cancelled", "cancelled"], "The contacts after the commit:")

    @pytest.mark.parametrize("point", ["locked", "contacts", "marked"])
    @promise(
        "I19",
        cause="`begin` catches only Exception, or swallows what it catches: KeyboardInterrupt "
        "and asyncio.CancelledError must roll back and pass.",
    )
    def test_i19_a_base_exception_passes_unchanged(self, world: World, point: str) -> None:
        """Nothing is committed, and nothing is left locked."""
        world.add_job("job", "running", ["pending"])
        before = world.rows()
        stop = Stop()

        def hook(at: str) -> None:
            if at == point:
                world.note(f"raising a BaseException at {point!r}")
                raise stop

        try:
            world.cancel(hook=hook)
        except Stop as seen:
            expect(seen is stop, True, "Whether the same BaseException came out:")
        else:
            msg = "the BaseException did not come out."
            raise PromiseBroken(msg)
        unchanged(before, world.rows())
        world.cancelled()

    @promise(
        "I18",
        cause="a connection is closed on a clean exit only, or its rollback fails and the lock "
        "stays.",
    )
    def test_i18_a_transaction_given_up_leaves_no_lock(self, world: World) -> None:
        """Whoever comes next goes through."""
        world.add_job("job", "running", ["pending"])
        for point in ("locked", "contacts", "marked"):
            refused(world.cancel(hook=_failing(point)), "cancel_failed")
        succeeded(ended(world.beside(world.cancelling())))

    @promise(
        "I18",
        cause="nothing bounds the wait for the job: set a lock timeout, within the transaction.",
        needs=["lock_timeout"],
    )
    def test_i18_whoever_waits_for_a_lock_gives_up(self, world: World) -> None:
        """One hangs with the job in its hands; another is answered, and may ask again later."""
        world.add_job("job", "running", ["pending"])
        pause = Pause("locked")
        hanging = world.beside(world.cancelling(operation_id="hangs", hook=pause))
        with pause.holding(hanging):
            world.note("letting it hang in its transaction, at 'locked'")
            answer = ended(world.beside(world.cancelling(operation_id="waits")))
            if not isinstance(answer, CancelResult):  # The one that hung may have been cut.
                refused(answer, "cancel_failed")
        ended(hanging)
        world.cancel()
        expect(world.row().status, "cancelled", "The job's status when it has been let go:")

    @promise(
        "I18",
        cause="`begin` ends its transaction after its block is left, as a generator does whose "
        "commit waits to be collected.",
    )
    def test_i18_a_scheduler_that_hangs_keeps_nobody_waiting(self, world: World) -> None:
        """The job is let go before it is asked: whoever comes next is answered."""
        world.add_job("job", "scheduled", ["pending"])
        pause = Pause("committed")
        hanging = world.beside(world.cancelling(operation_id="hangs", hook=pause))
        with pause.holding(hanging):
            world.note("letting it hang before it asks the scheduler")
            refused(ended(world.beside(world.cancelling(operation_id="next"))), "already_terminal")
        succeeded(ended(hanging))

    @promise(
        "I18",
        cause="a connection is not closed, or not given back to its pool, when its transaction "
        "fails.",
    )
    def test_i18_no_connection_is_leaked(self, world: World) -> None:
        """After success, refusal and failure there are as many as before."""
        if self.connections() is None:
            pytest.skip("declared: `connections` is None")
        for number in range(2):
            world.add_job(f"job-{number}", "running", ["pending"])
        world.cancelled("job-0")
        before = self.connections()
        world.cancelled("job-1")
        for _ in range(3):
            refused(world.cancel("job-1"), "already_terminal")
            refused(world.cancel("missing"), "job_not_found")
            refused(world.cancel("job-1", hook=_failing("locked")), "cancel_failed")
        expect(self.connections(), before, "Open connections after nine more transactions:")

    @promise(
        "I17",
        cause="`begin` commits the caller's transaction, or opens one of its own, instead of a "
        "savepoint.",
    )
    def test_i17_the_callers_rollback_undoes_a_joined_cancel(self, world: World) -> None:
        """His transaction is the one that counts."""
        world.add_job("job", "running", ["pending"])
        before = world.rows()
        with pytest.raises(Stop):
            self._join(world, ["job"], stop=True)
        unchanged(before, world.rows())
        self._join(world, ["job"])
        expect(world.row().status, "cancelled", "The job's status after the caller's commit:")

    @promise(
        "I17",
        cause="`begin` makes no savepoint: what failed within it is not undone, or takes the "
        "caller's own work along.",
    )
    def test_i17_a_joined_cancel_that_fails_is_undone_alone(self, world: World) -> None:
        """The caller goes on, and his commit keeps the rest."""
        world.add_job("job", "running", ["pending"])
        world.add_job("fails", "running", ["pending"])
        before = world.row("fails")
        self._join(world, ["job", "fails"], failing="fails")
        expect(world.row("job").status, "cancelled", "The job that was cancelled before:")
        expect(world.row("fails"), before, "The job whose cancel failed:")

    @promise(
        "I8",
        cause="the unit of work that `joined` gives has no `is_joined`, or it is not True: so "
        "`cancel_job` asks the scheduler before the caller's commit.",
    )
    def test_i8_a_whole_cancel_in_a_callers_transaction_is_refused(self, world: World) -> None:
        """His rollback would leave a scheduled job that nothing starts."""
        opened = self.joined()
        if opened is None:
            pytest.skip("declared: `joined` is None")
        world.add_job("job", "scheduled", ["pending"])
        world.note("in the caller's transaction: cancel_job job")
        before, asked = world.rows(), list[str]()
        key = world.key("job")

        def ask(deferred_id: str, _operation_id: str) -> bool:
            asked.append(deferred_id)
            return True

        def join() -> None:
            with cast("AbstractContextManager[UnitOfWork]", opened) as uow:
                cancel_job(
                    key.batch_job_id,
                    organization_id=key.organization_id,
                    uow=uow,
                    scheduler=Scripted(ask),
                )

        async def join_async() -> None:
            async with cast("AbstractAsyncContextManager[AsyncUnitOfWork]", opened) as uow:
                await cancel_job_async(
                    key.batch_job_id,
                    organization_id=key.organization_id,
                    uow=uow,
                    scheduler=AsyncScripted(ask),
                )

        with suppress(CancelFailed):
            world.run(world.either(join, join_async))
        expect(asked, [], "What the scheduler was asked for before the caller's commit:")
        unchanged(before, world.rows())

    def _join(
        self, world: World, labels: list[str], *, failing: str | None = None, stop: bool = False
    ) -> None:
        opened = self.joined()
        if opened is None:
            pytest.skip("declared: `joined` is None")
        keys = {label: world.key(label) for label in labels}
        world.note(f"in the caller's transaction: cancel_rows {', '.join(labels)}")

        def join() -> None:
            with cast("AbstractContextManager[UnitOfWork]", opened) as uow:
                for label, key in keys.items():
                    hook = _failing("marked") if label == failing else _nothing
                    try:
                        cancel_rows(
                            key.batch_job_id,
                            organization_id=key.organization_id,
                            uow=Hooked(uow, hook),
                        )
                    except CancelFailed as error:
                        _meant(error, is_meant=label == failing)
                if stop:
                    raise Stop

        async def join_async() -> None:
            async with cast("AbstractAsyncContextManager[AsyncUnitOfWork]", opened) as uow:
                for label, key in keys.items():
                    hook = _failing("marked") if label == failing else _nothing
                    try:
                        await cancel_rows_async(
                            key.batch_job_id,
                            organization_id=key.organization_id,
                            uow=AsyncHooked(uow, hook),
                        )
                    except CancelFailed as error:
                        _meant(error, is_meant=label == failing)
                if stop:
                    raise Stop

        world.run(world.either(join, join_async))

    # Concurrency -------------------------------------------------------------------------------

    @promise(
        "I5",
        cause="`lock` does not lock (SELECT without FOR UPDATE), or whoever waited for the lock "
        "reads the status from before the wait.",
    )
    def test_i5_of_two_cancels_at_once_one_succeeds(self, world: World) -> None:
        """The first is held with the lock; the second must wait, and then be refused."""
        world.add_job("job", "running", ["pending", "busy", "dialing"])
        pause = Pause("locked")
        first = world.beside(world.cancelling(operation_id="first", hook=pause))
        with pause.holding(first):
            world.note("holding it in its transaction, at 'locked'")
            second = world.beside(world.cancelling(operation_id="second"))
            watch(second, self.patience_seconds)
        answers = [ended(first), ended(second)]
        successes = [answer for answer in answers if isinstance(answer, CancelResult)]
        expect(len(successes), 1, "How many of the two cancels succeeded:")
        expect(successes[0].contacts_cancelled, 2, "contacts_cancelled by that one:")
        for answer in answers:
            if isinstance(answer, BatchCancelError):
                refused(answer, "already_terminal")

    @promise(
        "I12",
        cause="`lock` reads the record in the statement that waits for the lock, so from before "
        "the wait; read it in a statement of its own, after it.",
        needs=["records"],
    )
    def test_i12_the_same_operation_twice_at_once_is_one_cancellation(self, world: World) -> None:
        """Both are answered 200, the same; it happened once."""
        world.add_job("job", "running", ["pending", "busy", "dialing"])
        pause = Pause("marked")
        first = world.beside(world.cancelling(operation_id="op", hook=pause))
        with pause.holding(first):
            world.note("holding it in its transaction, at 'marked'")
            second = world.beside(world.cancelling(operation_id="op"))
            watch(second, self.patience_seconds)
        one, other = succeeded(ended(first)), succeeded(ended(second))
        expect((one.replayed, other.replayed), (False, True), "Which of the two was a replay:")
        expect(other.contacts_cancelled, one.contacts_cancelled, "contacts_cancelled of both:")
        expect(other.cancelled_at, one.cancelled_at, "cancelled_at of both:")

    @promise(
        "I16",
        cause="the lock is wider than the job's row: a table lock, an advisory lock of all jobs, "
        "or no index on the job's id.",
        needs=["row_locks"],
    )
    def test_i16_other_jobs_are_not_locked(self, world: World) -> None:
        """While one job is being cancelled, another is."""
        world.add_job("job", "running", ["pending"])
        world.add_job("other", "running", ["pending"])
        with world.cancel_at("marked"):
            succeeded(ended(world.beside(world.cancelling("other"))))

    @promise(
        "I16",
        cause="`lock` locks the row by its id and looks at the organization afterwards; put both "
        "in the WHERE of the locking statement.",
        needs=["organizations", "row_locks"],
    )
    def test_i16_a_stranger_can_not_lock_the_job(self, world: World) -> None:
        """While he holds what he was given, which is nothing, the owner's cancel goes through."""
        owner, stranger = self.organizations
        world.add_job("job", "running", ["pending"], organization_id=owner)
        pause = Pause("locked")
        foreign = JobKey(world.job_id("job"), stranger)
        party = world.beside(world.cancelling(key=foreign, hook=pause))
        with pause.holding(party):
            world.note(f"holding it, which is {stranger!r}'s, at 'locked'")
            succeeded(ended(world.beside(world.cancelling())))
        refused(ended(party), "job_not_found")

    @promise(
        "I14",
        cause="the locks are not taken in one order: the job first, then its contacts.",
        needs=["claim", "settle", "append"],
    )
    def test_i14_cancels_and_workers_together_come_to_an_end(self, world: World) -> None:
        """All at once, several times; afterwards nothing is open and nobody was refused."""
        for label in ("one", "two", "three"):
            world.add_job(label, "running", ["pending", "busy", "dialing", "dialing"])
            key, (*_, live, other) = world.key(label), world.contact_ids[label]
            calls: list[Callable[[], object]] = [
                partial(self.claim, key, 1),
                partial(self.settle, key, live, ContactStatus.BUSY),
                partial(self.settle, key, other, ContactStatus.FAILED),
                world.cancelling(label),
                partial(self.claim, key, 1),
            ]
            parties = [world.beside(call) for call in calls]
            world.note(f"begin: two claims and two settlements of {label!r}")
            for party in parties:
                ended(party)
            open_left = set(world.statuses(label)) & set(OPEN_CONTACTS)
            expect(open_left, set[object](), "The open statuses left:")

    # Guards ------------------------------------------------------------------------------------

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
        """Not one that has ended, and none that has somebody to call or to wait for."""
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

    # Hostile ids -------------------------------------------------------------------------------

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
        for label in dict.fromkeys(neighbours):
            world.add_job(label, "running", ["pending"])
        world.add_job(hostile, "running", ["pending"])
        mine = world.key(hostile)
        before = world.rows()
        expect(world.cancelled(hostile).batch_job_id, hostile, "batch_job_id in the answer:")
        after = world.rows()
        expect(after[mine].status, "cancelled", "The job's status:")
        unchanged({**before, mine: after[mine]}, after)

    # Organizations -----------------------------------------------------------------------------

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

    # Faults ------------------------------------------------------------------------------------

    @promise(
        "I8",
        cause="`begin` lets nothing of a failure be seen: the exception must come out of it.",
    )
    def test_i8_a_cancel_that_fails_leaves_the_deferred_start(self, world: World) -> None:
        """Nothing is cancelled, so the scheduler is not asked."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="start")
        start = world.schedule()
        refused(world.cancel(hook=_failing("marked")), "cancel_failed")
        expect(world.waiting(), {start}, "The starts that still wait:")
        expect(world.row().status, "scheduled", "The job's status:")

    @promise(
        "I13",
        cause="what follows the commit raises: `settle` of the outbox, or the second `begin`.",
    )
    def test_i13_trouble_with_the_scheduler_is_no_failure(self, world: World) -> None:
        """200, its removal still owed; with records, reconcile finishes it."""
        world.add_job("job", "scheduled", ["pending"], deferred_id="start")
        world.schedule()
        world.note("the scheduler can't be reached")
        answer = world.cancel(scheduler=world.scheduler_that(unreachable))
        expect(succeeded(answer).removal, Removal.PENDING, "The removal in the answer:")
        expect(world.row().status, "cancelled", "The job's status:")
        if self.records:
            world.reconcile()
            expect(world.waiting(), set[str](), "The starts that still wait:")

    @promise(
        "I12",
        cause="the record of the cancellation is not written in its transaction, or `lock` does "
        "not give it back.",
    )
    def test_i12_a_commit_whose_answer_was_lost_is_asked_for_again(self, world: World) -> None:
        """With records it is found done; without, nobody says that it was not."""
        world.add_job("job", "running", ["pending", "busy"])
        lost: list[str] = []

        def hook(point: str) -> None:
            if point == "committed" and not lost:
                lost.append(point)
                world.note("committed, but the answer is lost")
                raise ConnectionError

        answer = world.cancel(operation_id="op", hook=hook)
        expect(world.row().status, "cancelled", "The job's status:")
        if self.records:
            result = succeeded(answer)
            seen = (result.contacts_cancelled, result.replayed)
            expect(seen, (2, False), "contacts_cancelled, and whether it was a replay:")
        else:
            error = cast("CancelFailed", refused(answer, "cancel_failed"))
            expect(error.outcome, "unknown", "The outcome in the error:")

    # Replay ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", LIVE_JOBS)
    @promise(
        "I12",
        cause="`mark_cancelled` does not keep the record, or `lock` does not give it back as it "
        "was.",
        needs=["records"],
    )
    def test_i12_the_same_operation_again_gets_the_same_answer(
        self, world: World, status: str
    ) -> None:
        """And nothing changes."""
        world.add_job("job", status, ["pending", "busy"], deferred_id="start")
        world.schedule()
        first = world.cancelled(operation_id="op")
        after = world.rows()
        again = world.cancelled(operation_id="op", actor="other")
        for field in ("message", "contacts_cancelled", "redis_job_cancelled", "cancelled_at"):
            expect(getattr(again, field), getattr(first, field), f"{field} of the replay:")
        expect((first.replayed, again.replayed), (False, True), "Which of the two was a replay:")
        unchanged(after, world.rows())

    @promise(
        "I2",
        cause="`lock` gives back another operation's record, or another job's.",
        needs=["records"],
    )
    def test_i2_another_operation_is_told_when_and_how_much(self, world: World) -> None:
        """400, and the error knows more; an operation's name is the job's own."""
        world.add_job("job", "running", ["pending", "busy"])
        world.add_job("other", "running", ["pending"])
        first = world.cancelled(operation_id="op")
        after = world.rows()
        error = cast(
            "AlreadyTerminal", refused(world.cancel(operation_id="op2"), "already_terminal")
        )
        expect(error.cancelled_at, first.cancelled_at, "cancelled_at in the refusal:")
        expect(error.contacts_cancelled, 2, "contacts_cancelled in the refusal:")
        unchanged(after, world.rows())
        expect(world.cancelled("other", operation_id="op").replayed, False, "Another job's:")

    @promise(
        "I9",
        cause="a column of the record is missing, cut, or of another type; times are UTC.",
        needs=["records"],
    )
    def test_i9_the_record_says_who_why_when_and_how_much(self, world: World) -> None:
        """As it was given, text of any kind included."""
        world.add_job("job", "scheduled", ["pending", "dialing"], deferred_id="start")
        start = world.schedule()
        result = world.cancelled(operation_id="op; --", actor="عربي 💣", reason="r" * 4096)
        record = world.record()
        for seen, wanted, what in (
            (record.key, world.key("job"), "key"),
            (record.operation_id, "op; --", "operation_id"),
            (record.previous_status, JobStatus.SCHEDULED, "previous_status"),
            (record.contacts_cancelled, 1, "contacts_cancelled"),
            (record.actor, "عربي 💣", "actor"),
            (record.reason, "r" * 4096, "reason"),
            (record.cancelled_at, result.cancelled_at, "cancelled_at"),
            (record.deferred_id, start, "deferred_id"),
            (record.removal, Removal.REMOVED, "removal"),
            (record.is_announced, True, "is_announced"),
        ):
            expect(seen, wanted, f"{what} in the record:")

    @promise(
        "I7",
        cause="`mark_cancelled` writes no record, or the outbox's `take` does not find it.",
        needs=["records"],
    )
    def test_i7_reconcile_finishes_what_a_dead_process_left(self, world: World) -> None:
        """Its removal was owed; a second pass finds nothing to do."""
        self._leave_behind(world, "job")
        [result] = world.reconcile()
        expect(result.removal, Removal.REMOVED, "The removal:")
        expect(world.record().removal, Removal.REMOVED, "The removal in the record:")
        expect(world.waiting(), set[str](), "The starts that still wait:")
        after = world.rows()
        expect(world.reconcile(), [], "What a second pass did:")
        unchanged(after, world.rows())

    @promise(
        "I21",
        cause="`take` does not look at the lease, or does not note that the record was taken.",
        needs=["records"],
    )
    def test_i21_what_another_is_at_is_left_to_it(self, world: World) -> None:
        """For as long as its lease: after the commit, and after it was taken."""
        self._leave_behind(world, "job")
        expect(world.reconcile(lease=LATER), [], "Taken within the lease of the cancel:")
        down = world.scheduler_that(unreachable)
        expect(len(world.reconcile(scheduler=down)), 1, "Taken after its lease:")
        expect(world.reconcile(lease=LATER), [], "Taken within the lease of reconcile:")
        expect(len(world.reconcile()), 1, "Taken after that:")

    @promise(
        "I21",
        cause="`take` does not order by the time of the last try, or passes over its limit.",
        needs=["records"],
    )
    def test_i21_the_longest_untouched_comes_first(self, world: World) -> None:
        """So one that keeps failing starves no other."""
        for label in ("a", "b", "c"):
            self._leave_behind(world, label)
        down = world.scheduler_that(unreachable)
        turns = [world.reconcile(limit=1, scheduler=down) for _ in range(4)]
        expect(
            [[result.batch_job_id for result in turn] for turn in turns],
            [[world.job_id(label)] for label in ("a", "b", "c", "a")],
            "Taken one by one:",
        )

    @promise(
        "I21",
        cause="the outbox's `settle` writes whatever it is given: only a pending removal may be "
        "settled, and only by the operation that owes it.",
        needs=["records"],
    )
    def test_i21_a_late_word_does_not_undo_what_is_settled(self, world: World) -> None:
        """Whoever was slow, or speaks for another operation, changes nothing."""
        late = self._leave_behind(world, "job")
        world.reconcile()
        record = world.record()
        for word in (
            attrs.evolve(late.record, removal=Removal.PENDING),
            attrs.evolve(late.record, removal=Removal.ABSENT),
            attrs.evolve(late.record, operation_id="another", removal=Removal.ABSENT),
        ):
            world.note(f"settle: operation {word.operation_id!r}, {word.removal}")
            settle_record(world, word)
            expect(world.record(), record, "The record:")

    @promise(
        "I21", cause="the outbox's `settle` does not look at the operation.", needs=["records"]
    )
    def test_i21_another_operations_word_settles_nothing(self, world: World) -> None:
        """The removal stays owed by the one that owes it."""
        left = self._leave_behind(world, "job")
        record = world.record()
        word = attrs.evolve(left.record, operation_id="another", removal=Removal.ABSENT)
        world.note("settle: operation 'another', absent")
        settle_record(world, word)
        expect(world.record(), record, "The record:")

    @promise(
        "I21", cause="`take` and a cancel lock each other out, or hold locks.", needs=["records"]
    )
    def test_i21_reconcile_runs_beside_live_cancels(self, world: World) -> None:
        """What they have not committed is not there yet."""
        world.add_job("live", "scheduled", ["pending"])
        self._leave_behind(world, "job")
        with world.cancel_at("marked", "live"):
            party = world.beside(world.reconciling())
            watch(party, self.patience_seconds)
        ended(party)
        expect(world.record("job").removal, Removal.REMOVED, "The removal in the record:")

    def _leave_behind(self, world: World, label: str) -> Cancellation:
        world.add_job(label, "scheduled", ["pending"], deferred_id=f"start of {label}")
        world.schedule(label)
        return world.cancel_rows(label, f"operation of {label}")

    # Any sequence ------------------------------------------------------------------------------

    @promise(
        "I20",
        cause="read the steps from the top: the last one is where your adapter and the contract "
        "part.",
    )
    def test_i20_whatever_is_done_the_contract_says_what_comes_of_it(self, world: World) -> None:
        """Random steps on a few jobs, each compared with a model of the contract."""
        run_state_machine_as_test(CancelMachine.on(world), settings=CancelMachine.STANDARD)


def _nothing(_point: str) -> None:
    """Let everything pass."""


def _meant(error: CancelFailed, *, is_meant: bool) -> None:
    if not is_meant:
        msg = f"within the caller's transaction, cancel_rows gave {said(error)}"
        raise PromiseBroken(msg)


def _noting(asked: list[str]) -> Callable[[str, str], bool]:
    def note(deferred_id: str, _operation_id: str) -> bool:
        asked.append(deferred_id)
        return False

    return note


def _failing(at: str) -> Hook:
    def fail(point: str) -> None:
        if point == at:
            msg = f"a fault of the test at {point!r}"
            raise RuntimeError(msg)

    return fail


class Timetable(Stage):
    """A scheduler under test, empty at first."""

    def __init__(self, adapter: SchedulerAdapter) -> None:
        super().__init__(is_async=adapter.is_async)
        self._adapter = adapter
        scheduler = self.run(adapter.scheduler)
        # mypy takes it for an object.
        self.scheduler = cast("AnyScheduler", scheduler)  # pyright: ignore[reportUnnecessaryCast]

    def close(self) -> None:
        """Let go of everything."""
        self.run(self._adapter.close)
        super().close()

    def missing(self, need: str) -> str | None:
        """Tell that a scheduler has no capabilities to declare."""
        return f"no scheduler offers {need}"

    def schedule(self, *deferred_ids: str) -> None:
        """Schedule starts."""
        for it in deferred_ids:
            self.note(f"scheduled {shown(it)}")
            self.run(partial(self._adapter.schedule, self.scheduler, it))

    def waiting(self) -> set[str]:
        """Return the starts that wait."""
        return set(self.run(lambda: self._adapter.waiting(self.scheduler)))

    def fire(self) -> set[str]:
        """Let fire what would, and give what did."""
        fired = set(self.run(lambda: self._adapter.fire(self.scheduler)))
        self.note(f"let the day come; fired: {sorted(fired)}")
        return fired

    def cancel(self, deferred_id: str, operation_id: str) -> object:
        """Take a start back."""
        answer = self.run(self.cancelling(deferred_id, operation_id))
        self.note(f"cancel {shown(deferred_id)}, operation {shown(operation_id)} -> {answer!r}")
        return answer

    def cancelling(self, deferred_id: str, operation_id: str) -> Callable[[], Maybe[bool]]:
        """Return a cancel to be done beside something else."""
        return lambda: self.scheduler.cancel(deferred_id, operation_id)


class SchedulerConformance(SchedulerAdapter):
    """The suite for a scheduler: give `scheduler`, `schedule`, `waiting` and `fire`."""

    @pytest.fixture
    def timetable(self) -> Iterator[Timetable]:
        """Lend an empty scheduler."""
        timetable = Timetable(self)
        yield timetable
        timetable.close()

    @promise(
        "I10",
        cause="the entry is only flagged, or started at once so as to be aborted (as arq's "
        "abort): delete it.",
    )
    def test_i10_what_was_taken_back_never_fires(self, timetable: Timetable) -> None:
        """True, and only the others fire."""
        timetable.schedule("mine", "theirs")
        expect(timetable.cancel("mine", "op"), True, "The answer:")
        expect(timetable.waiting(), {"theirs"}, "The starts that still wait:")
        expect(timetable.fire(), {"theirs"}, "The starts that fired:")

    @promise("I10", cause="the answer is that of asking, not of removing: give what DEL gives.")
    def test_i10_what_was_not_there_was_not_removed(self, timetable: Timetable) -> None:
        """False, and nothing else is harmed."""
        timetable.schedule("theirs")
        expect(timetable.cancel("mine", "op"), False, "The answer:")
        expect(timetable.waiting(), {"theirs"}, "The starts that still wait:")

    @promise("I10", cause="a start that was handed out is still found, in another key.")
    def test_i10_what_has_fired_was_not_removed(self, timetable: Timetable) -> None:
        """False: the start won."""
        timetable.schedule("mine")
        expect(timetable.fire(), {"mine"}, "The starts that fired:")
        expect(timetable.cancel("mine", "op"), False, "The answer:")

    @promise(
        "I12",
        cause="a second removal finds nothing and says False: remember the operation that "
        "removed it.",
    )
    def test_i12_the_same_removal_again_gets_the_same_answer(self, timetable: Timetable) -> None:
        """Whatever was lost on the way."""
        timetable.schedule("mine")
        answers = [timetable.cancel("mine", "op") for _ in range(3)]
        expect(answers, [True, True, True], "The answers:")
        absent = [timetable.cancel("absent", "op") for _ in range(2)]
        expect(absent, [False, False], "The answers for a start that was not there:")

    @promise("I10", cause="True is said of the entry's end, not of who ended it.")
    def test_i10_another_operation_removed_nothing(self, timetable: Timetable) -> None:
        """False, and the first one's answer stays."""
        timetable.schedule("mine")
        answers = [timetable.cancel("mine", it) for it in ("first", "second", "first")]
        expect(answers, [True, False, True], "The answers to first, second, first:")

    @promise("I5", cause="looking and removing are two steps: make them one (DEL, a script).")
    def test_i5_of_cancels_at_once_one_removed_it(self, timetable: Timetable) -> None:
        """Of four operations."""
        for number in range(10):
            start = f"start-{number}"
            timetable.schedule(start)
            parties = [timetable.beside(timetable.cancelling(start, f"op-{it}")) for it in "abcd"]
            answers = [ended(party) for party in parties]
            timetable.note(f"four cancels of {start!r} at once -> {answers}")
            expect(sorted(answers), [False, False, False, True], "The answers, sorted:")

    @pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
    @promise("I16", cause="an id is used as a pattern, or as a part of a key that is split again.")
    def test_i16_a_deferred_id_is_just_its_bytes(self, timetable: Timetable, hostile: str) -> None:
        """The start's and the operation's."""
        timetable.schedule(hostile, "theirs", f"{hostile[:1000]}!")
        expect(timetable.cancel(hostile, hostile), True, "The answer:")
        expect(
            timetable.waiting(), {"theirs", f"{hostile[:1000]}!"}, "The starts that still wait:"
        )
        expect(timetable.cancel(hostile, hostile), True, "The answer to the same again:")
        expect(timetable.cancel(hostile, f"{hostile}!"), False, "The answer to another:")
