"""
The kit's tests of transactions: all or nothing, locks given back, and the caller's own.

Part of `StoreConformance`.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import cast

import pytest

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.errors import CancelFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import (
    JobRow,
    StoreAdapter,
)
from batch_cancel.testing.answers import given_up, refused, said, succeeded, unchanged
from batch_cancel.testing.breakpoints import AsyncHooked, Hooked, failing_at
from batch_cancel.testing.invariants import PromiseBroken, promise
from batch_cancel.testing.runner import Pause, ended, expect, watch
from batch_cancel.testing.scripted import AsyncScripted, Scripted
from batch_cancel.testing.world import World
from batch_cancel.use_cases.cancel import (
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
)


class Stop(BaseException):
    """What ends a program, and is no business of an adapter."""


class TransactionConformance(StoreAdapter):
    """The tests of transactions; `StoreConformance` has them."""

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
        error = refused(world.cancel(hook=failing_at(point)), "cancel_failed")
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
            # A store that blocks readers beside a writer shows nothing, too.
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
            refused(world.cancel(hook=failing_at(point)), "cancel_failed")
        succeeded(ended(world.beside(world.cancelling())))

    @promise(
        "I18",
        cause="nothing bounds the wait for the job: set a lock timeout, within the transaction; "
        "or the driver's error comes out as it is: raise StoreFailed with a `fault` that passes, "
        "such as Fault.LATE.",
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
                given_up(answer)
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
            refused(world.cancel("job-1", hook=failing_at("locked")), "cancel_failed")
        expect(self.connections(), before, "Open connections after nine more transactions:")

    @promise(
        "I17",
        cause="`begin` commits the caller's transaction, or opens one of its own, instead of a "
        "savepoint.",
    )
    def test_i17_the_callers_rollback_undoes_a_joined_cancel(self, world: World) -> None:
        """The caller's transaction is the one that counts."""
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
        """The caller goes on, and the commit keeps the rest."""
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
        """The caller's rollback would leave a scheduled job that nothing starts."""
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
                    hook = failing_at("marked") if label == failing else _nothing
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
                    hook = failing_at("marked") if label == failing else _nothing
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


def _nothing(_point: str) -> None:
    """Let everything pass."""


def _meant(error: CancelFailed, *, is_meant: bool) -> None:
    if not is_meant:
        msg = f"within the caller's transaction, cancel_rows gave {said(error)}"
        raise PromiseBroken(msg)
