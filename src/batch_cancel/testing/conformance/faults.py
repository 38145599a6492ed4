"""
The kit's tests of faults: deadlocks, locks that are held too long, lost answers, cancelled tasks.

They are brought about by the ports alone: a transaction that cancels the contacts of a job without
its lock is in the way of a cancel. Part of `StoreConformance`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import cast

import pytest

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, JobStatus, Removal
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import Maybe, StoreAdapter
from batch_cancel.testing.answers import given_up, refused, said, succeeded, unchanged
from batch_cancel.testing.breakpoints import Hook
from batch_cancel.testing.invariants import PromiseBroken, promise
from batch_cancel.testing.runner import Pause, ended, expect, watch
from batch_cancel.testing.strategies import OPEN_CONTACTS
from batch_cancel.testing.world import World


class _LetGo(Exception):
    """Ends a transaction that was in the way."""


class FaultConformance(StoreAdapter):
    """The tests of faults; `StoreConformance` has them."""

    @promise(
        "I4",
        cause="`contacts.cancel` passes over the contacts that another transaction has locked "
        "(SKIP LOCKED): wait for them. Only claim may skip.",
        needs=["row_locks"],
    )
    def test_i4_a_contact_in_use_is_waited_for(self, world: World) -> None:
        """Whoever has it in hand leaves it as it is, so it is open still."""
        world.add_job("job", "running", OPEN_CONTACTS)
        pause = Pause("contacts")
        other = world.beside(_in_the_way(world, pause))
        with pause.holding(other):
            cancel = world.beside(world.cancelling(hook=_nothing))
            watch(cancel, self.patience_seconds)
        _let_go(other)
        count = succeeded(ended(cancel)).contacts_cancelled
        expect(count, len(OPEN_CONTACTS), "contacts_cancelled:")
        expect(set(world.statuses()), {"cancelled"}, "The statuses of the contacts:")

    @promise(
        "I18",
        cause="if the cancel does not end, nothing bounds its wait for a contact: set a lock "
        "timeout, within the transaction. Or `contacts.cancel` swallows a lock timeout, and "
        "counts no contact instead (where it rolls back that statement alone, the rest would be "
        "committed): let it out, as a StoreFailed with a fault that passes.",
        needs=["row_locks", "lock_timeout"],
    )
    def test_i18_a_contact_that_is_kept_in_use_is_a_failure(self, world: World) -> None:
        """A busy row is no row less: the cancel fails, nothing is changed, it may be retried."""
        world.add_job("job", "running", OPEN_CONTACTS)
        before = world.rows()
        pause = Pause("contacts")
        other = world.beside(_in_the_way(world, pause))
        with pause.holding(other):
            given_up(ended(world.beside(world.cancelling())))
            unchanged(before, world.rows())
        _let_go(other)
        expect(world.cancelled().contacts_cancelled, len(OPEN_CONTACTS), "contacts_cancelled:")

    @promise(
        "I14",
        cause="a deadlock comes out as the driver raised it, or as a fault that does not pass: "
        "raise StoreFailed with Fault.CONFLICT (a lock timeout: Fault.LATE), and the cancel is "
        "tried again.",
        needs=["row_locks"],
    )
    def test_i14_a_deadlock_is_a_fault_that_passes(self, world: World) -> None:
        """Two transactions lock two jobs crosswise; at least one fails, and may try again."""
        for label in ("one", "two"):
            world.add_job(label, "running", ["pending"])
        one, two = world.key("one"), world.key("two")
        pauses = Pause("first"), Pause("first")
        parties = [
            world.beside(_locking(world, keys, pause))
            for keys, pause in zip(((one, two), (two, one)), pauses, strict=True)
        ]
        world.note("two transactions lock the jobs 'one' and 'two', each in its own order")
        with pauses[0].holding(parties[0]), pauses[1].holding(parties[1]):
            pass
        errors = [error for error in map(ended, parties) if error is not None]
        expect(bool(errors), True, "Whether one of them failed:")
        for error in errors:
            world.note(f"one of them got {error!r}")
            is_known = isinstance(error, StoreFailed)
            expect(is_known, True, "Whether the error is a StoreFailed:")
            seen = cast("StoreFailed", error)
            expect((seen.outcome, seen.retryable), ("unchanged", True), "outcome, retryable:")

    @promise(
        "I5",
        cause="after a deadlock a statement is repeated within the transaction: the server has "
        "rolled the whole transaction back, so its lock on the job is gone. Let the error out, as "
        "a StoreFailed with Fault.CONFLICT; the cancel begins again.",
        needs=["row_locks"],
    )
    def test_i5_a_deadlock_ends_the_transaction(self, world: World) -> None:
        """Of a cancel and one that locks contacts first and then the job, one succeeds."""
        world.add_job("job", "running", OPEN_CONTACTS)
        pause = Pause("contacts")
        crosswise = world.beside(_cancelling_backwards(world, pause))
        with pause.holding(crosswise):
            cancel = world.beside(world.cancelling(operation_id="cancel"))
            watch(cancel, self.patience_seconds)
            world.note("now it wants the job, which the cancel has locked")
        failure, answer = ended(crosswise), ended(cancel)
        world.note(f"it ended with {'success' if failure is None else repr(failure)}")
        if isinstance(answer, CancelResult):
            expect(failure is not None, True, "Whether the other one failed:")
        elif getattr(answer, "code", None) != "already_terminal":
            given_up(answer)
        expect(len(set(world.statuses())), 1, "How many statuses the contacts have:")
        is_cancelled = failure is None or isinstance(answer, CancelResult)
        status = "cancelled" if is_cancelled else "running"
        expect(world.row().status, status, "The job's status:")

    @pytest.mark.parametrize("point", ["contacts", "marked"])
    @promise(
        "I17",
        cause="`begin` commits on an error of the driver's (OperationalError): roll back on every "
        "exception.",
    )
    def test_i17_an_error_of_the_driver_undoes_everything(self, world: World, point: str) -> None:
        """Every driver that is imported: what it raises in the middle is raised by the test."""
        world.add_job("job", "running", ["pending", "busy", "completed"])
        before = world.rows()
        for error in _driver_errors():
            name = f"{error.__module__}.{error.__qualname__}"

            def fail(at: str, error: type[Exception] = error, name: str = name) -> None:
                if at == point:
                    world.note(f"raising {name} at {point!r}")
                    raise error(name)

            failure = refused(world.cancel(hook=fail), "cancel_failed")
            expect(getattr(failure, "outcome", None), "unchanged", "The outcome in the error:")
            unchanged(before, world.rows())
        expect(world.cancelled().contacts_cancelled, 2, "contacts_cancelled by the next cancel:")

    @promise(
        "I12",
        cause="an error at COMMIT is raised with the outcome 'unchanged': if the connection broke "
        "there, the commit may have happened. Raise StoreFailed(reason, 'unknown', "
        "Fault.INTERRUPTED).",
    )
    def test_i12_a_commit_without_an_answer_is_not_called_unchanged(self, world: World) -> None:
        """It happened: the error does not deny it, or the retry finds it."""
        losing = self.losing_commit()
        if losing is None:
            pytest.skip("declared: `losing_commit` is None")
        world.add_job("job", "running", ["pending", "busy"])
        world.note("the answer to the next COMMIT will be lost")
        answer = world.cancel(operation_id="op", uow=lambda: losing)
        expect(world.row().status, "cancelled", "The job's status:")
        if isinstance(answer, CancelResult):
            expect(answer.contacts_cancelled, 2, "contacts_cancelled:")
        else:
            error = refused(answer, "cancel_failed")
            expect(getattr(error, "outcome", None), "unknown", "The outcome in the error:")

    @promise(
        "I19",
        cause="the rollback, or the closing of the connection, raises over the CancelledError: "
        "within a statement the connection may be unfit for another. Suppress the driver's errors "
        "there, and raise what came first.",
    )
    def test_i19_a_task_cancelled_within_a_statement_is_cancelled(self, world: World) -> None:
        """It waits for the job; its connection is closed, and nothing of it is left."""
        if not self.is_async:
            pytest.skip("declared: no asyncio adapter")
        world.add_job("job", "running", ["pending"])
        before = self.connections()
        begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[object]]] = Future()

        async def cancelled() -> object:
            task = asyncio.current_task()
            begun.set_result((asyncio.get_running_loop(), cast("asyncio.Task[object]", task)))
            try:
                return await cast("asyncio.Future[object]", waiting())
            except BaseException as error:  # noqa: BLE001  # What came out is what is looked at.
                return error

        with world.cancel_at("locked"):
            waiting = world.cancelling(operation_id="cancelled")
            party: Future[object] = world.beside(cancelled)
            loop, task = ended(begun)
            watch(party, self.patience_seconds)
            world.note("its task is cancelled, while it waits")
            loop.call_soon_threadsafe(task.cancel)
            seen = ended(party)
            is_cancelled = isinstance(seen, asyncio.CancelledError)
            expect(is_cancelled or said(seen), True, "Whether a CancelledError came out:")
        expect(self.connections(), before, "Open connections:")
        expect(world.row().status, "cancelled", "The job's status, by the one that held it:")


def _nothing(_point: str) -> None:
    """Let everything pass; with a hook, another attempt comes at once."""


def _driver_errors() -> list[type[Exception]]:
    """Return `OperationalError` of every imported driver that follows PEP 249."""
    drivers = [vars(it) for it in list(sys.modules.values()) if hasattr(it, "__dict__")]
    errors = [it.get("OperationalError") for it in drivers if "apilevel" in it]
    return sorted(
        {it for it in errors if isinstance(it, type) and issubclass(it, Exception)},
        key=lambda it: it.__module__,
    )


def _let_go(other: Future[object]) -> None:
    try:
        ended(other)
    except _LetGo:
        return
    msg = "`begin` lets nothing of an exception be seen."
    raise PromiseBroken(msg)


def _in_the_way(world: World, hook: Hook) -> Callable[[], Maybe[object]]:
    """Return a transaction that has contacts in its hands, and then leaves them as they were."""
    key = world.key("job")

    def hold() -> object:
        with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
            repositories.contacts.cancel(key, CANCELLABLE_CONTACTS)
            hook("contacts")
            raise _LetGo

    async def hold_async() -> object:
        async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
            await repositories.contacts.cancel(key, CANCELLABLE_CONTACTS)
            await asyncio.to_thread(hook, "contacts")
            raise _LetGo

    world.note("another transaction writes the contacts of 'job', and will roll back")
    return world.either(hold, hold_async)


def _locking(
    world: World, keys: tuple[JobKey, JobKey], hook: Hook
) -> Callable[[], Maybe[Exception | None]]:
    def lock() -> Exception | None:
        try:
            with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
                repositories.jobs.lock(keys[0])
                hook("first")
                repositories.jobs.lock(keys[1])
        except Exception as error:  # noqa: BLE001  # It is looked at.
            return error
        return None

    async def lock_async() -> Exception | None:
        try:
            async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
                await repositories.jobs.lock(keys[0])
                await asyncio.to_thread(hook, "first")
                await repositories.jobs.lock(keys[1])
        except Exception as error:  # noqa: BLE001  # It is looked at.
            return error
        return None

    return world.either(lock, lock_async)


def _cancelling_backwards(world: World, hook: Hook) -> Callable[[], Maybe[Exception | None]]:
    """Return a cancel that locks in the wrong order: the contacts first, and then the job."""
    key = world.key("job")

    def cancel() -> Exception | None:
        try:
            with cast("UnitOfWork", world.adapter.uow()).begin() as repositories:
                count = repositories.contacts.cancel(key, CANCELLABLE_CONTACTS)
                hook("contacts")
                repositories.jobs.mark_cancelled(*_marked(repositories.jobs.lock(key), count))
        except Exception as error:  # noqa: BLE001  # It is looked at.
            return error
        return None

    async def cancel_async() -> Exception | None:
        try:
            async with cast("AsyncUnitOfWork", world.adapter.uow()).begin() as repositories:
                count = await repositories.contacts.cancel(key, CANCELLABLE_CONTACTS)
                await asyncio.to_thread(hook, "contacts")
                job = await repositories.jobs.lock(key)
                await repositories.jobs.mark_cancelled(*_marked(job, count))
        except Exception as error:  # noqa: BLE001  # It is looked at.
            return error
        return None

    world.note("another transaction cancels the contacts of 'job' first")
    return world.either(cancel, cancel_async)


def _marked(job: Job | None, count: int | None) -> tuple[Job, CancellationRecord]:
    if job is None or job.status != JobStatus.RUNNING:
        msg = "the job is cancelled already"
        raise _LetGo(msg)
    return job, CancellationRecord(
        operation_id="backwards",
        key=job.key,
        previous_status=JobStatus.RUNNING,
        contacts_cancelled=count or 0,  # None is for jobs that are too large.
        actor=None,
        reason=None,
        cancelled_at=job.locked_at,
        deferred_id=None,
        removal=Removal.NOT_APPLICABLE,
    )
