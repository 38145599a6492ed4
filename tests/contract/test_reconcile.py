"""Reconcile finishes the removals that a crash left behind, on every store."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    CancelResult,
    Drift,
    JobKey,
    Removal,
    reconcile,
    reconcile_async,
)
from batch_cancel.domain.errors import SchedulerUnavailable, StoreFailed
from tests.pairs import LATER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from tests.pairs import World
from tests.contract.unfinished import down, removal, unfinished

# Removals ----------------------------------------------------------------------------------------


def test_a_removal_still_pending_is_finished(world: World) -> None:
    """By the same operation, so that the answer is that of the cancellation itself."""
    unfinished(world, "job")
    cancelled_at = world.record("job")

    [result] = world.reconcile()

    assert cancelled_at is not None
    assert result == CancelResult(
        batch_job_id="job",
        previous_status=result.previous_status,
        contacts_cancelled=1,
        removal=Removal.REMOVED,
        operation_id="op of job",
        cancelled_at=cancelled_at.cancelled_at,
        replayed=False,
    )
    assert removal(world, "job") is Removal.REMOVED
    assert world.waiting() == set()
    assert world.inspect() == Drift(calls_overdue=())


def test_a_hook_is_told_whose_job_it_was_who_cancelled_it_and_why(world: World) -> None:
    """By the cancel itself, and by reconcile as it is in the record."""
    told: list[CancelResult] = []
    hook = world.hook_that(told.append)

    def fail(*_: Any) -> Any:
        raise RuntimeError

    who: dict[str, Any] = {"organization_id": "acme", "actor": "ann", "reason": "wrong list"}
    for name, heard in (("now", hook), ("later", world.hook_that(fail))):
        world.add_job(name, "scheduled", organization_id="acme", deferred_id=f"start-{name}")
        world.schedule(f"start-{name}")
        world.cancel(name, on_cancelled=heard, **who)
    world.reconcile(on_cancelled=hook)
    assert [(it.batch_job_id, it.organization_id, it.actor, it.reason) for it in told] == [
        ("now", "acme", "ann", "wrong list"),
        ("later", "acme", "ann", "wrong list"),
    ]


def test_a_second_pass_finds_nothing(world: World) -> None:
    """It is idempotent, and changes no row that it does not have to."""
    unfinished(world, "job")
    world.reconcile()
    before, record = world.rows(), world.record("job")
    assert world.reconcile() == []
    assert (world.rows(), world.record("job")) == (before, record)


def test_nothing_pending_is_nothing_done(world: World) -> None:
    """A cancel that finished by itself, a job without a start, live and ended jobs."""
    world.add_job("done", "scheduled", deferred_id="start")
    world.schedule("start")
    world.cancel("done")
    for status in ("pending", "running"):
        world.add_job(status, status)
        world.cancel(status)
    world.add_job("live", "scheduled", deferred_id="other")
    world.schedule("other")
    world.add_job("ended", "completed")

    assert world.reconcile() == []

    assert world.waiting() == {"other"}


def test_a_start_that_fired_before_reconcile_came_is_absent(world: World) -> None:
    """Nobody claims to have removed it; the start guard refuses the job."""
    world.add_job("job", "scheduled", deferred_id="start")
    world.cancel_rows("job")
    world.fire("start")
    [result] = world.reconcile()
    assert result.removal is Removal.ABSENT
    assert removal(world, "job") is Removal.ABSENT
    assert world.reconcile() == []


def test_a_removal_done_but_not_noted_is_still_told_as_done(world: World) -> None:
    """Its process died after the scheduler's answer; the same operation is told the same."""
    unfinished(world, "job")
    cancellation = world.cancel_rows("job", operation_id="op of job")
    assert world.remove_deferred(cancellation).removal is Removal.REMOVED

    [result] = world.reconcile()

    assert result.removal is Removal.REMOVED
    assert removal(world, "job") is Removal.REMOVED


def test_every_organization_is_served(world: World) -> None:
    """It is the operator's, not a customer's."""
    unfinished(world, "a")
    unfinished(world, "b", organization_id="one")
    unfinished(world, "c", organization_id="two")

    assert {it.batch_job_id for it in world.reconcile()} == {"a", "b", "c"}

    found = [removal(world, "a"), removal(world, "b", "one"), removal(world, "c", "two")]
    assert found == [Removal.REMOVED] * 3
    assert world.waiting() == set()


def test_a_long_lease_takes_nothing(world: World) -> None:
    """Whoever cancelled a moment ago may still be at it."""
    unfinished(world, "job")
    assert world.reconcile(lease=LATER) == []
    assert removal(world, "job") is Removal.PENDING
    assert len(world.reconcile(lease=timedelta(0))) == 1


def test_the_lease_is_two_minutes_unless_said(world: World) -> None:
    """Longer than a cancel takes, and than a hook that waits a minute for an answer."""
    assert inspect.signature(reconcile).parameters["lease"].default == timedelta(minutes=2)
    assert inspect.signature(reconcile_async).parameters["lease"].default == timedelta(minutes=2)
    unfinished(world, "job")
    assert world.reconcile(lease=timedelta(minutes=2)) == []


def test_what_another_reconcile_took_is_left_to_it(world: World) -> None:
    """Until its lease ends."""
    unfinished(world, "job")
    world.reconcile(scheduler=world.scheduler_that(down))
    assert world.reconcile(lease=LATER) == []
    assert len(world.reconcile()) == 1


def test_no_more_is_taken_than_the_limit(world: World) -> None:
    """The rest is left for the next pass."""
    unfinished(world, *"abcde")
    assert len(world.reconcile(limit=2)) == 2
    assert len(world.waiting()) == 3
    assert len(world.reconcile(limit=2)) == 2
    assert len(world.reconcile(limit=2)) == 1
    assert world.reconcile(limit=2) == []
    assert world.waiting() == set()


def test_the_longest_untouched_comes_first(world: World) -> None:
    """So one that keeps failing is at the end of the line, and starves no other."""
    unfinished(world, "a", "b", "c")
    broken = world.scheduler_that(down)

    turns = [world.reconcile(limit=1, scheduler=broken) for _ in range(4)]

    assert [it.batch_job_id for [it] in turns] == ["a", "b", "c", "a"]
    assert {it.removal for [it] in turns} == {Removal.PENDING}


def test_one_that_fails_does_not_keep_the_others_from_being_finished(world: World) -> None:
    """It stays owed, and is told as such."""
    unfinished(world, "a", "b", "c")
    fails_for_b = world.scheduler_that(lambda start, _: down() if start.endswith("b") else True)

    results = world.reconcile(scheduler=fails_for_b)

    assert {it.batch_job_id: it.removal for it in results} == {
        "a": Removal.REMOVED,
        "b": Removal.PENDING,
        "c": Removal.REMOVED,
    }
    assert [removal(world, it) for it in "abc"] == [
        Removal.REMOVED,
        Removal.PENDING,
        Removal.REMOVED,
    ]
    assert [it.batch_job_id for it in world.reconcile()] == ["b"]


def test_a_scheduler_that_is_still_down_leaves_everything_pending(world: World) -> None:
    """Nothing is raised, and the next pass finishes it."""
    unfinished(world, "a", "b")
    results = world.reconcile(scheduler=world.scheduler_that(down))
    assert [it.removal for it in results] == [Removal.PENDING, Removal.PENDING]
    assert removal(world, "a") is removal(world, "b") is Removal.PENDING
    assert {it.removal for it in world.reconcile()} == {Removal.REMOVED}


def test_a_scheduler_that_gives_no_answer_is_asked_ever_more_seldom(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """About the first ten, the 12th, 16th ...: each may cost the whole budget. All stay owed."""
    job_ids = [f"job-{number}" for number in range(1, 21)]
    unfinished(world, *job_ids, announce=True)
    asked: list[str] = []
    told: list[CancelResult] = []

    def note(start: str, _: str) -> bool:
        asked.append(start)
        reason = "down"
        raise SchedulerUnavailable(reason)

    results = world.reconcile(
        scheduler=world.scheduler_that(note), on_cancelled=world.hook_that(told.append)
    )

    assert [it.batch_job_id for it in results] == job_ids
    assert "so 8 more removals were skipped" in caplog.messages[-1]
    assert asked == [f"start of job-{number}" for number in (*range(1, 11), 12, 16)]
    assert {it.removal for it in results} == {Removal.PENDING}
    assert [it.batch_job_id for it in told] == job_ids
    assert {it.removal for it in world.reconcile()} == {Removal.REMOVED}
    assert world.waiting() == set()


def test_a_scheduler_that_answers_again_is_asked_about_the_rest(world: World) -> None:
    """In the same pass: first about those that follow, then about those that were skipped."""
    unfinished(world, *"abcdefghijklmnopqrst")
    asked: list[str] = []

    def answers_some(start: str, _: str) -> bool:
        asked.append(start[-1])
        return True if asked[-1] in "mpqrs" else down()

    results = world.reconcile(scheduler=world.scheduler_that(answers_some))

    # Ten without an answer, one skipped; then l, three skipped; p answers. In a second round all
    # that were skipped are asked about, and m answers: so there is a third, for none is left.
    assert "".join(asked) == "abcdefghijlpqrst" + "kmno"
    removed = [it.batch_job_id for it in results if it.removal is Removal.REMOVED]
    assert removed == list("mpqrs")


def test_a_garbled_answer_settles_nothing(world: World) -> None:
    """Only True and False are answers."""
    unfinished(world, "job")
    for answer in (None, 1, "true"):
        [result] = world.reconcile(scheduler=world.scheduler_that(lambda *_, it=answer: it))
        assert result.removal is Removal.PENDING
    assert removal(world, "job") is Removal.PENDING


def test_a_late_answer_does_not_undo_what_is_settled(world: World) -> None:
    """Whoever was slow finds it done, and leaves it so."""
    unfinished(world, "job")
    slow = world.cancel_rows("job", operation_id="op of job")
    world.reconcile()
    late = world.remove_deferred(slow, uow=world.store.uow)
    assert late.removal is Removal.REMOVED
    assert removal(world, "job") is Removal.REMOVED


def test_a_job_cancelled_anew_owes_what_its_new_record_says(world: World) -> None:
    """It came back to life in between; the old operation's late word does not count."""
    world.add_job("job", "scheduled", deferred_id="start")
    world.schedule("start")
    old = world.cancel_rows("job", operation_id="old")
    world.revive("job")
    world.cancel("job", operation_id="new")

    assert world.remove_deferred(old, uow=world.store.uow).removal is Removal.ABSENT

    record = world.record("job")
    assert record is not None
    assert (record.operation_id, record.removal) == ("new", Removal.REMOVED)
    assert world.reconcile() == []


def test_a_job_cancelled_anew_owes_its_removal_anew(world: World) -> None:
    """What its earlier life owed is settled; its new start waits."""
    world.add_job("job", "scheduled", deferred_id="start")
    world.schedule("start")
    assert world.cancel("job", operation_id="old").removal is Removal.REMOVED
    world.store.set_status(JobKey("job"), "scheduled")

    world.cancel_rows("job", operation_id="new")

    assert removal(world, "job") is Removal.PENDING


def test_a_late_answer_of_another_kind_does_not_either(world: World) -> None:
    """A removal that is known to have happened is not turned into one that did not."""
    unfinished(world, "job")
    slow = world.cancel_rows("job", operation_id="op of job")
    world.reconcile()
    world.scheduler = world.scheduler_that(lambda *_: False)
    assert world.remove_deferred(slow, uow=world.store.uow).removal is Removal.ABSENT
    assert removal(world, "job") is Removal.REMOVED


def test_an_operation_settles_what_it_owes_alone(world: World) -> None:
    """The job came back to life and was cancelled anew, which owes a removal of its own."""
    unfinished(world, "job")
    old = world.cancel_rows("job", operation_id="op of job")
    world.store.set_status(JobKey("job"), "scheduled")
    world.cancel_rows("job", operation_id="new")

    assert world.remove_deferred(old, uow=world.store.uow).removal is Removal.REMOVED

    assert removal(world, "job") is Removal.PENDING


def test_one_operation_id_for_two_jobs_settles_each_by_itself(world: World) -> None:
    """An operation's id counts within its job: callers may number what they ask each job."""
    for job_id in ("job", "other"):
        world.add_job(job_id, "scheduled", deferred_id=f"start of {job_id}")
        world.schedule(f"start of {job_id}")
        world.cancel_rows(job_id, operation_id="1")
    [result] = world.reconcile(limit=1)
    [left] = {"job", "other"} - {result.batch_job_id}
    assert removal(world, result.batch_job_id) is Removal.REMOVED
    assert removal(world, left) is Removal.PENDING
    assert world.waiting() == {f"start of {left}"}


def test_a_store_without_records_owes_nothing(world: World) -> None:
    """It declares so, and is believed."""
    unfinished(world, "job")

    class Bare:
        """The least that a unit of work may be."""

        @contextmanager
        def begin(self) -> Generator[Any]:
            with world.store.uow.begin() as repositories:
                yield Least(repositories.jobs, repositories.contacts)

    class AsyncBare:
        """The least that a unit of work may be."""

        @asynccontextmanager
        async def begin(self) -> AsyncGenerator[Any]:
            async with world.store.uow.begin() as repositories:
                yield Least(repositories.jobs, repositories.contacts)

    bare = AsyncBare() if world.runner else Bare()

    assert world.reconcile(uow=bare) == []
    with pytest.raises(StoreFailed, match="offers no inspection"):
        world.inspect(uow=bare)


@attrs.frozen
class Least:
    """The repositories that there must be."""

    jobs: Any
    contacts: Any
    outbox: None = None
    inspection: None = None
