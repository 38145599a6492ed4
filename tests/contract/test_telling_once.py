"""
Everything pending is finished, and each hook is called once, whatever runs beside it.

"Another" is a second reconcile, or a cancel, that comes while a hook is being called.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    JobKey,
    Removal,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
)
from tests.contract.unfinished import down, removal, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_cancel import CancelResult
    from tests.pairs import World

NONE = timedelta(0)
MARGIN_SECONDS = 0.3
"""So long may it take from the choice of a lease to its use."""


class TimedOut(BaseException):
    """No Exception, as gevent.Timeout is none."""


def reconciling(world: World, then: Callable[[CancelResult], Any], **options: Any) -> Any:
    """Return a hook that runs a whole reconcile before it returns, and then does the rest."""
    given = {"uow": world.store.uow, "scheduler": world.scheduler, **options}

    async def behave_async(result: CancelResult) -> None:
        await reconcile_async(**given)
        then(result)

    def behave(result: CancelResult) -> None:
        reconcile(**given)
        then(result)

    return behave_async if world.runner else behave


# Removals are fair -------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [2, 12, 18])
def test_removals_that_cannot_be_answered_starve_no_other(world: World, silent: int) -> None:
    """However many come first: after the second pass the last one is removed."""
    unfinished(world, *(f"dead-{number}" for number in range(silent)), "job")

    def answer(start: str, _: str) -> Any:
        if "dead" in start:
            raise ConnectionError
        return True

    scheduler = world.scheduler_that(answer)
    for _ in range(2):
        world.reconcile(scheduler=scheduler)

    assert removal(world, "job") is Removal.REMOVED
    assert removal(world, "dead-0") is Removal.PENDING


def test_what_was_skipped_comes_first_in_the_next_pass(world: World) -> None:
    """Nobody has been asked about it for the longest time."""
    unfinished(world, *(f"job-{number:02}" for number in range(1, 15)))
    asked: list[str] = []

    def note(start: str, _: str) -> Any:
        asked.append(start[-2:])
        return down()

    scheduler = world.scheduler_that(note)
    world.reconcile(scheduler=scheduler)
    first, asked[:] = list(asked), []
    world.reconcile(scheduler=scheduler)

    assert first == [f"{number:02}" for number in (*range(1, 11), 12)]
    assert sorted(asked[:3]) == ["11", "13", "14"]  # Taken at one moment, in any order.
    assert asked[3] == "01"


def test_no_hook_holds_up_a_removal(world: World) -> None:
    """All removals come first: a hook that ends its process has nothing left to starve."""
    unfinished(world, "a", "b", "c", announce=True)

    asking = Asking(world.scheduler)
    hook = world.hook_that(lambda _: fail_once(asking.asked, 3))
    with pytest.raises(TimedOut):
        world.reconcile(scheduler=asking, on_cancelled=hook)
    assert [removal(world, it) for it in "abc"] == [Removal.REMOVED] * 3


def fail_once(asked: list[str], number: int) -> None:
    """Fail as a hook does that ends its process, once so many were removed."""
    assert len(asked) == number
    raise TimedOut


@attrs.frozen
class Asking:
    """A scheduler that notes what it was asked."""

    inner: Any
    asked: list[str] = attrs.field(factory=list)

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        """Ask the inner one."""
        self.asked.append(deferred_id)
        return self.inner.cancel(deferred_id, operation_id)


def test_a_hook_that_ends_its_process_keeps_no_other_from_its_turn(world: World) -> None:
    """It was claimed last of all, so it comes last in the next pass."""
    unfinished(world, "a", "b", "c", announce=True)
    told: list[str] = []

    def tell(result: CancelResult) -> None:
        if result.batch_job_id == "a":
            raise TimedOut
        told.append(result.batch_job_id)

    for _ in range(2):
        with pytest.raises(TimedOut):
            world.reconcile(on_cancelled=world.hook_that(tell))

    assert sorted(told) == ["b", "c"]  # Taken at one moment, in any order.


# A hook is told once -----------------------------------------------------------------------------


def test_two_reconciles_at_once_tell_each_hook_once(world: World) -> None:
    """The second one takes what the first one has not come to yet, and the first one sees that."""
    unfinished(world, "a", "b", "c", announce=True)
    told: Counter[str] = Counter()

    def tell(result: CancelResult) -> None:
        told[result.batch_job_id] += 1

    # Without a lease it may take anything: `a`, too, which is being told of at that moment.
    other = reconciling(world, tell, on_cancelled=world.hook_that(tell), lease=NONE)
    world.reconcile(on_cancelled=other)

    assert (told["b"], told["c"]) == (1, 1)


def test_what_is_being_told_is_left_to_who_tells_it(world: World) -> None:
    """For as long as the lease, counted from the call of the hook and not from the pass."""
    unfinished(world, "a", "b", announce=True)
    told: list[str] = []
    since: list[float] = []

    def tell(result: CancelResult) -> None:
        told.append(result.batch_job_id)

    def given() -> dict[str, Any]:
        # About as long as `a` is over: `b` is being told for less, and was taken before.
        lease = timedelta(seconds=monotonic() - since[0] + MARGIN_SECONDS)
        hook = world.hook_that(tell)
        return {
            "uow": world.store.uow,
            "scheduler": world.scheduler,
            "on_cancelled": hook,
            "lease": lease,
        }

    async def behave_async(result: CancelResult) -> None:
        tell(result)
        if since:
            await reconcile_async(**given())
        await asyncio.sleep(2 * MARGIN_SECONDS)
        since.append(monotonic())

    def behave(result: CancelResult) -> None:
        tell(result)
        if since:
            reconcile(**given())
        sleep(2 * MARGIN_SECONDS)
        since.append(monotonic())

    world.reconcile(on_cancelled=behave_async if world.runner else behave)

    assert told == ["a", "b"]


def test_a_cancel_that_tells_is_left_alone_however_long_its_transaction_was(world: World) -> None:
    """Its record carries the time of its lock, which may be long ago when it calls its hook."""
    world.add_job("job", "running")
    cancellation = world.cancel_rows("job", announce=True)
    told: list[CancelResult] = []
    sleep(2 * MARGIN_SECONDS)
    since = monotonic()

    def given() -> dict[str, Any]:
        lease = timedelta(seconds=monotonic() - since + MARGIN_SECONDS)
        hook = world.hook_that(told.append)
        return {
            "uow": world.store.uow,
            "scheduler": world.scheduler,
            "on_cancelled": hook,
            "lease": lease,
        }

    async def behave_async(result: CancelResult) -> None:
        await reconcile_async(**given())
        told.append(result)

    def behave(result: CancelResult) -> None:
        reconcile(**given())
        told.append(result)

    hook = behave_async if world.runner else behave
    world.remove_deferred(cancellation, uow=world.store.uow, on_cancelled=hook)

    assert len(told) == 1
    assert world.reconcile(on_cancelled=world.hook_that(told.append)) == []


def test_a_cancel_does_not_tell_what_reconcile_has_told(world: World) -> None:
    """It was slow; its removal is asked for all the same."""
    unfinished(world, "job", announce=True)
    slow = world.cancel_rows("job", operation_id="op of job")
    slow = attrs.evolve(slow, replayed=False)
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)
    world.reconcile(on_cancelled=hook)

    world.remove_deferred(slow, uow=world.store.uow, on_cancelled=hook)

    assert len(told) == 1


def test_a_cancel_does_not_tell_while_reconcile_tells(world: World) -> None:
    """Its turn is over, though nothing is noted yet."""
    unfinished(world, "job", announce=True)
    slow = attrs.evolve(world.cancel_rows("job", operation_id="op of job"), replayed=False)
    told: list[CancelResult] = []
    given: dict[str, Any] = {
        "uow": world.store.uow,
        "on_cancelled": world.hook_that(told.append),
    }

    async def behave_async(result: CancelResult) -> None:
        told.append(result)
        await remove_deferred_async(slow, world.scheduler, **given)

    def behave(result: CancelResult) -> None:
        told.append(result)
        remove_deferred(slow, world.scheduler, **given)

    world.reconcile(on_cancelled=behave_async if world.runner else behave)

    assert len(told) == 1


def test_without_a_store_to_note_it_in_a_hook_is_told_twice(world: World) -> None:
    """Who passes no unit of work to `remove_deferred` is told so by its description."""
    unfinished(world, "job", announce=True)
    cancellation = attrs.evolve(world.cancel_rows("job", operation_id="op of job"), replayed=False)
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)
    world.remove_deferred(cancellation, on_cancelled=hook)
    world.reconcile(on_cancelled=hook)
    assert len(told) == 2


def test_a_late_note_of_the_first_life_changes_nothing_of_the_second(world: World) -> None:
    """Brought back to life, and cancelled again by an operation of the same name."""
    unfinished(world, "job", announce=True)
    first = attrs.evolve(world.cancel_rows("job", operation_id="op of job"), replayed=False)
    world.store.set_status(JobKey("job"), "scheduled")
    second = world.cancel_rows("job", operation_id="op of job", announce=True)
    assert not second.replayed
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)

    world.remove_deferred(first, uow=world.store.uow, on_cancelled=hook)

    record = world.record("job")
    assert record is not None
    assert record == second.record
    assert (record.removal, record.is_announced) == (Removal.PENDING, False)
    assert told == []
    [result] = world.reconcile(on_cancelled=hook)
    assert told == [result]
    assert result.cancelled_at == second.record.cancelled_at


def test_a_task_cancelled_after_its_hook_has_noted_it(world: World) -> None:
    """The cancellation goes on, once the note is made."""
    if world.runner is None:
        pytest.skip("tasks are asyncio's")
    world.add_job("job", "running")
    told: list[CancelResult] = []

    async def hook(result: CancelResult) -> None:
        told.append(result)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # It arrives at the next await, which is the note.

    with pytest.raises(asyncio.CancelledError):
        world.cancel("job", on_cancelled=hook)

    assert asyncio.all_tasks(world.runner.get_loop()) == set()
    assert world.reconcile(on_cancelled=hook) == []
    assert len(told) == 1


def test_a_task_cancelled_within_its_hook_tells_it_again(world: World) -> None:
    """Nobody knows how far it came."""
    if world.runner is None:
        pytest.skip("tasks are asyncio's")
    world.add_job("job", "running")
    told: list[CancelResult] = []

    async def hook(_: CancelResult) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        world.cancel("job", on_cancelled=hook)

    [result] = world.reconcile(on_cancelled=world.hook_that(told.append))
    assert told == [result]


# A job that is not cancelled ---------------------------------------------------------------------


def test_a_job_that_was_set_back_is_left_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A live job without its start would be lost; it stays owed, and the log says so."""
    unfinished(world, "job", "other", announce=True)
    world.store.set_status(JobKey("job"), "scheduled")
    told: list[str] = []
    hook = world.hook_that(lambda it: told.append(it.batch_job_id))
    caplog.clear()

    results = world.reconcile(on_cancelled=hook)

    assert [(it.batch_job_id, it.removal) for it in results] == [
        ("job", Removal.PENDING),
        ("other", Removal.REMOVED),
    ]
    assert told == ["other"]
    assert world.waiting() == {"start of job"}
    [warning] = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
    assert warning == (
        "batch job 'job' was cancelled by operation 'op of job', and is not cancelled now, so "
        "its deferred start and its on_cancelled hook were left alone: find what has set its "
        "status back, and cancel it again"
    )
    found = world.found("job")
    assert found is not None
    assert (found.is_undone, found.removal) == (True, Removal.PENDING)


def test_a_status_that_nobody_knows_is_not_cancelled(world: World) -> None:
    """Nor is none at all."""
    unfinished(world, "job", "other")
    world.store.set_status(JobKey("job"), "Cancelled")
    world.store.set_status(JobKey("other"), "paused")
    assert {it.removal for it in world.reconcile()} == {Removal.PENDING}
    assert len(world.waiting()) == 2


def test_the_record_that_is_found_says_whose_turn_it_is(world: World) -> None:
    """The time of the cancellation at first; later with each that takes it."""
    unfinished(world, "job")
    record = world.found("job")
    assert record is not None
    assert (record.taken_at, record.is_undone) == (record.cancelled_at, False)
    world.reconcile(scheduler=world.scheduler_that(down))
    later = world.found("job")
    assert later is not None
    assert later.taken_at is not None
    assert later.taken_at > record.cancelled_at
