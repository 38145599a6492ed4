"""
A very large job is cancelled before its contacts, and they in chunks, exactly.

The stores of these worlds sweep above two contacts, so that a job of five has a flip and three
chunks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    CancelResult,
    JobKey,
    Removal,
    StoreFailed,
)
from batch_cancel.testing.breakpoints import AsyncHooked, Hooked
from tests.pairs import SWEEPING, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.pairs import World

FIVE = {"p": "pending", "q": "queued", "n": "no_answer", "b": "busy", "t": "timeout"}
REST = {"d": "dialing", "c": "completed", "x": "blocked", "k": "cancelled", "u": "strange"}
SWEPT = dict.fromkeys(FIVE, "cancelled")
FAR_OFF = datetime.now(UTC) + timedelta(days=1)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(params=SWEEPING, ids="+".join)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Yield a world whose store sweeps above two contacts."""
    store, scheduler = request.param
    with opened(store, scheduler, request) as world:
        yield world


def hooked(world: World, hook: Callable[[str], None]) -> Any:
    """Return the world's store with a hook at every step of a transaction."""
    return (AsyncHooked if world.runner else Hooked)(world.store.uow, hook)


def nth(point: str, number: int, then: Callable[[], None]) -> Callable[[str], None]:
    """Return a hook that does something when a point is passed for this many times."""
    passed = 0

    def hook(at: str) -> None:
        nonlocal passed
        passed += at == point
        if at == point and passed == number:
            then()

    return hook


def die() -> None:
    """Die."""
    raise Killed


def kill(world: World, commits: int, **options: Any) -> None:
    """Cancel job j, in a process that is killed after so many commits: the flip is the first."""
    uow = hooked(world, nth("committed", commits, die))
    with pytest.raises(Killed):
        world.cancel("j", **{"uow": uow, "operation_id": "op", **options})


def count(world: World) -> tuple[int, bool]:
    """Return what the record says of the contacts: how many, and whether those were all."""
    record = world.found("j")
    assert record is not None
    return record.contacts_cancelled, record.is_swept


# The answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("contacts", [0, 2, 3, 4, 5])
def test_the_count_is_exact_however_many_chunks_it_takes(world: World, contacts: int) -> None:
    """None, as many as fit in one transaction, one more, a whole chunk more; the rest stays."""
    open_ones = dict(list(FIVE.items())[:contacts])
    world.add_job("j", "running", open_ones | REST)
    result = world.cancel("j", operation_id="op")
    assert (result.contacts_cancelled, result.replayed) == (contacts, False)
    assert count(world) == (contacts, True)
    assert world.row("j").status == "cancelled"
    assert world.row("j").statuses == dict.fromkeys(open_ones, "cancelled") | REST
    again = world.cancel("j", operation_id="op")
    assert (again.contacts_cancelled, again.replayed) == (contacts, True)


def test_the_job_is_cancelled_before_its_contacts(world: World) -> None:
    """The first commit is the point of no return; each chunk is a commit of its own."""
    world.add_job("j", "running", FIVE)
    seen = list[tuple[str | None, int]]()

    def look(at: str) -> None:
        if at == "committed":
            row = world.row("j")
            seen.append((row.status, list(row.statuses.values()).count("cancelled")))

    world.cancel("j", uow=hooked(world, look))
    assert seen == [("cancelled", it) for it in (0, 2, 4, 5)]


def test_a_job_that_fits_is_cancelled_in_one_transaction(world: World) -> None:
    """As if there were no sweep."""
    world.add_job("j", "running", {"p": "pending", "q": "queued"} | REST)
    seen = list[list[str | None]]()

    def look(at: str) -> None:
        if at == "committed":
            seen.append(list(world.row("j").statuses.values()))

    world.cancel("j", uow=hooked(world, look))
    assert seen[0].count("cancelled") == 3


def test_cancel_rows_sweeps_in_transactions_of_its_own(world: World) -> None:
    """What it returns is exact."""
    world.add_job("j", "running", FIVE)
    cancellation = world.cancel_rows("j")
    assert (cancellation.record.contacts_cancelled, cancellation.record.is_swept) == (5, True)


# Killed in between -------------------------------------------------------------------------------


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_what_a_killed_process_has_left_is_finished_by_reconcile(
    world: World, commits: int
) -> None:
    """After the flip, and after each chunk but the last; the hook is called then, not before."""
    world.schedule("start")
    world.add_job("j", "scheduled", FIVE | REST, deferred_id="start")
    told = list[CancelResult]()
    hook = world.hook_that(told.append)
    kill(world, commits, on_cancelled=hook)
    assert world.row("j").status == "cancelled"
    assert count(world) == (2 * (commits - 1), False)
    assert list(world.row("j").statuses.values()).count("cancelled") == 2 * (commits - 1) + 1
    assert told == []

    [result] = world.reconcile(on_cancelled=hook)
    assert (result.contacts_cancelled, result.removal) == (5, Removal.REMOVED)
    assert count(world) == (5, True)
    assert world.row("j").statuses == SWEPT | REST
    assert [it.contacts_cancelled for it in told] == [5]
    assert world.waiting() == set()
    assert world.reconcile(on_cancelled=hook) == []


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_a_retry_of_the_operation_finishes_the_sweep_and_gets_the_exact_count(
    world: World, commits: int
) -> None:
    """It is a replay, and its answer is the one that the killed process would have given."""
    world.add_job("j", "running", FIVE | REST)
    kill(world, commits)
    result = world.cancel("j", operation_id="op")
    assert (result.contacts_cancelled, result.replayed) == (5, True)
    assert count(world) == (5, True)
    assert world.row("j").statuses == SWEPT | REST


def test_another_cancel_finishes_the_sweep_and_is_refused(world: World) -> None:
    """The refusal has the exact count."""
    world.add_job("j", "running", FIVE)
    kill(world, 2)
    with pytest.raises(AlreadyTerminal) as refused:
        world.cancel("j", operation_id="other")
    record = refused.value.cancellation
    assert record is not None
    assert (record.operation_id, record.contacts_cancelled) == ("op", 5)
    assert world.row("j").statuses == SWEPT


def test_before_the_sweep_has_ended_it_is_seen_to_be_pending(world: World) -> None:
    """By inspect, by the progress, by a preview, in the record and the history."""
    world.add_job("j", "running", FIVE)
    kill(world, 2)
    drift = world.inspect()
    assert [it.key for it in drift.sweeps_pending] == [JobKey("j")]
    assert drift.contacts_open == ()
    assert drift.is_found
    progress = world.progress("j")
    assert (progress.contacts_open, progress.is_drained) == (3, False)
    preview = world.preview("j", operation_id="op")
    assert (preview.is_replay, preview.contacts_to_cancel) == (True, 3)
    record = world.cancellation("j")
    assert record is not None
    assert not record.is_swept
    assert [it.is_swept for it in world.history().records] == [False]
    world.reconcile()
    assert not world.inspect().is_found
    assert [it.is_swept for it in world.history().records] == [True]


def test_a_record_whose_sweep_is_pending_is_not_forgotten(world: World) -> None:
    """Nothing would finish it."""
    world.add_job("j", "running", FIVE)
    kill(world, 1)
    assert world.forget(FAR_OFF, retry_window=timedelta(0)) == 0
    world.reconcile()
    assert world.forget(FAR_OFF, retry_window=timedelta(0)) == 1


def test_a_sweep_is_left_to_its_own_process_for_the_lease(world: World) -> None:
    """As a removal is."""
    world.add_job("j", "running", FIVE)
    kill(world, 1)
    assert world.reconcile(lease=timedelta(hours=1)) == []
    assert count(world) == (0, False)


def test_a_job_that_was_set_back_is_not_swept(world: World) -> None:
    """Its contacts are those of a live job; the next cancel takes them all."""
    world.add_job("j", "running", FIVE)
    kill(world, 2)
    world.revive("j")
    world.reconcile()
    assert list(world.row("j").statuses.values()).count("cancelled") == 2
    result = world.cancel("j", operation_id="other")
    assert result.contacts_cancelled == 3
    assert world.reconcile() == []


# A store that fails ------------------------------------------------------------------------------


def failing(point: str, number: int, times: int) -> Callable[[str], None]:
    """Return a hook that fails for so many times from the nth time on."""
    passed = 0

    def hook(at: str) -> None:
        nonlocal passed
        passed += at == point
        if at == point and number <= passed < number + times:
            reason = "the test's disk is full"
            raise StoreFailed(reason)

    return hook


def test_a_chunk_whose_count_is_not_noted_is_not_cancelled_either(world: World) -> None:
    """The client is told to retry, and then gets the exact count."""
    world.add_job("j", "running", FIVE)
    uow = hooked(world, failing("chunk", 2, 1))
    with pytest.raises(CancelFailed) as failed:
        world.cancel("j", operation_id="op", uow=uow)
    assert (failed.value.outcome, str(failed.value).count("not all of its contacts")) == (
        "unknown",
        1,
    )
    assert count(world) == (2, False)
    assert list(world.row("j").statuses.values()).count("cancelled") == 2
    assert world.cancel("j", operation_id="op").contacts_cancelled == 5


def test_a_hook_is_not_called_before_the_sweep_has_ended(world: World) -> None:
    """Neither by a cancel whose sweep fails, nor by a reconcile whose sweep fails."""
    world.add_job("j", "running", FIVE)
    told = list[CancelResult]()
    hook = world.hook_that(told.append)
    for attempt in (world.cancel, world.cancel):
        uow = hooked(world, failing("chunk", 1, 1))
        with pytest.raises(CancelFailed):
            attempt("j", operation_id="op", uow=uow, on_cancelled=hook)
    [result] = world.reconcile(uow=hooked(world, failing("chunk", 1, 1)), on_cancelled=hook)
    assert result.contacts_cancelled == 0
    assert told == []
    world.reconcile(on_cancelled=hook)
    assert [it.contacts_cancelled for it in told] == [5]


# Workers meanwhile -------------------------------------------------------------------------------


def test_workers_meanwhile_get_nothing_and_open_nothing(world: World) -> None:
    """No claim, no new contact; a retryable outcome becomes cancelled, and is not counted."""
    world.add_job("j", "running", FIVE | {"d": "dialing", "e": "dialing"})
    got = list[Any]()

    def work() -> None:
        got.extend((world.claim("j"), world.start("j"), world.finish("j")))
        got.append(world.settle("j", "d", "busy"))
        got.append(world.settle("j", "e", "completed"))
        with pytest.raises(AlreadyTerminal):
            world.append("j", "new")

    kill(world, 2)
    work()
    assert got == [[], False, False, "cancelled", "completed"]
    assert world.cancel("j", operation_id="op").contacts_cancelled == 5
    assert world.row("j").statuses == SWEPT | {"d": "cancelled", "e": "completed"}


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_a_claim_of_a_job_that_is_not_swept_yet_is_empty_and_the_last(
    world: World, commits: int
) -> None:
    """With columns and without, though contacts are open and a call is live."""
    world.add_job("j", "running", FIVE | {"d": "dialing"})
    kill(world, commits)
    for returning in ((), ("id", "status")):
        claimed = world.claimed("j", limit=9, returning=returning)
        assert (claimed, claimed.rows, claimed.is_over) == ([], (), True)
    assert world.cancel("j", operation_id="op").contacts_cancelled == 5
    assert world.row("j").statuses == SWEPT | {"d": "dialing"}


# Many jobs ---------------------------------------------------------------------------------------


def test_large_jobs_among_many_are_swept_too(world: World) -> None:
    """Together, halved, or alone: the counts are exact, and small jobs are cancelled as ever."""
    world.add_job("large", "running", FIVE)
    world.add_job("small", "running", {"s": "pending"})
    world.add_job("other", "pending", {"o1": "pending", "o2": "queued", "o3": "completed"})
    result = world.cancel_jobs(["large", "small", "other", "none"], operation_id="many")
    assert (result.cancelled, result.not_found, result.contacts_cancelled) == (3, 1, 8)
    assert {row.status for row in world.rows().values()} == {"cancelled"}
    again = world.cancel_jobs(["large", "small", "other"], operation_id="many")
    assert (again.replayed, again.cancelled) == (3, 0)


def test_many_jobs_again_finish_the_sweep_of_one(world: World) -> None:
    """Under the same operation as a replay, under another as a refusal."""
    for job, operation in (("j", "many"), ("k", "another")):
        contacts = {f"{job}{label}": status for label, status in FIVE.items()}
        world.add_job(job, "running", contacts)
        uow = hooked(world, nth("committed", 2, die))
        with pytest.raises(Killed):
            world.cancel(job, operation_id=operation, uow=uow)
    result = world.cancel_jobs(["j", "k"], operation_id="many")
    assert (result.replayed, sum(result.refused.values())) == (1, 1)
    for row in world.rows().values():
        assert set(row.statuses.values()) == {"cancelled"}
    assert attrs.evolve(result, failures=()) == result
