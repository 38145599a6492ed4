"""Deferred starts in memory, and what a store looks at first."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import (
    CancelFailed,
    JobKey,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.memory import (
    Answer,
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.domain.cancellation import CancelRequest, plan_cancellation
from batch_cancel.domain.defaults import CALL_AGE_SUSPECT
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import CancellationRecord
from tests.sabotage import UndoneStore
from tests.unit.memory_stores import AT_ONCE, FOR_LONG, LONG_AGO, SOME_DAY, store

__all__ = ["store"]


# Deferred starts ---------------------------------------------------------------------------------


@attrs.frozen
class Clock:
    """A scheduler, blocking or asyncio, called as if it were blocking."""

    scheduler: Any

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.scheduler, name)

        def call(*arguments: Any) -> Any:
            answer = found(*arguments)
            return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer

        return call


@pytest.fixture(params=[MemoryScheduler, AsyncMemoryScheduler])
def clock(request: pytest.FixtureRequest) -> Clock:
    """Return an empty scheduler."""
    return Clock(request.param())


def test_a_start_waits_until_it_is_taken_back(clock: Clock) -> None:
    """By one operation, which is told so again and again; another is told False."""
    assert clock.schedule("start", SOME_DAY)
    assert clock.waiting() == {"start"}
    assert clock.cancel("start", "op-1") is True
    assert clock.cancel("start", "op-1") is True
    assert clock.cancel("start", "op-2") is False
    assert clock.waiting() == set()
    assert not clock.schedule("start", SOME_DAY)


def test_a_start_that_was_never_scheduled_never_is(clock: Clock) -> None:
    """Whoever cancels first, wins: rescheduling comes too late."""
    assert clock.cancel("start", "op-1") is False
    assert not clock.schedule("start", SOME_DAY)
    assert clock.waiting() == set()


def test_starts_are_handed_out_when_due_in_the_order_of_their_times(clock: Clock) -> None:
    """As many as were asked for, with what was scheduled with them."""
    clock.schedule("third", LONG_AGO + timedelta(days=2), b"3")
    clock.schedule("first", LONG_AGO, b"1")
    clock.schedule("later", SOME_DAY)
    clock.schedule("second", LONG_AGO + timedelta(days=1), b"2")
    assert [it.deferred_id for it in clock.claim(2, FOR_LONG)] == ["first", "second"]
    [third] = clock.claim(9, FOR_LONG)
    assert (third.deferred_id, third.payload) == ("third", b"3")
    assert clock.claim(9, FOR_LONG) == []
    assert clock.waiting() == {"later"}


def test_a_start_that_was_handed_out_is_not_taken_back(clock: Clock) -> None:
    """It has fired; but its owner cannot finish it, and it is not handed out again."""
    clock.schedule("start", LONG_AGO)
    [start] = clock.claim(1, AT_ONCE)
    assert clock.cancel("start", "op-1") is False
    assert clock.claim(1, AT_ONCE) == []
    assert clock.ack("start", start.token) is False


def test_a_start_whose_lease_has_ended_is_handed_out_again(clock: Clock) -> None:
    """Under a new token; the old one is worth nothing any more."""
    clock.schedule("start", LONG_AGO)
    [first] = clock.claim(1, AT_ONCE)
    [second] = clock.claim(1, FOR_LONG)
    assert first.token != second.token
    assert clock.ack("start", first.token) is False
    assert clock.ack("start", second.token) is True
    assert clock.ack("start", second.token) is False
    assert clock.ack("nobody's", "token") is False


@pytest.mark.parametrize(
    ("deferred_id", "at"),
    [("", SOME_DAY), ("a\0b", SOME_DAY), ("start", SOME_DAY.replace(tzinfo=None))],
)
def test_what_cannot_be_kept_is_not_scheduled(
    clock: Clock, deferred_id: str, at: datetime
) -> None:
    """The caller's mistake, told at once; nothing waits."""
    with pytest.raises(ValueError, match="must be"):
        clock.schedule(deferred_id, at)
    assert clock.waiting() == set()


def test_an_asyncio_start_is_scheduled_at_once_awaited_or_not() -> None:
    """So that a test can seed it, and code for a network can await it."""
    scheduler = AsyncMemoryScheduler()
    assert scheduler.schedule("start", SOME_DAY)
    assert scheduler.waiting() == {"start"}

    async def schedule() -> bool:
        return await scheduler.schedule("another", SOME_DAY)

    assert asyncio.run(schedule()) is True
    assert scheduler.waiting() == {"start", "another"}


@pytest.mark.parametrize("value", [True, False])
def test_an_answer_is_a_bool_or_can_be_awaited(*, value: bool) -> None:
    """Either way it says the same."""

    async def awaited() -> bool:
        return await Answer(value)

    assert bool(Answer(value)) is value
    assert asyncio.run(awaited()) is value


# What is looked at first -------------------------------------------------------------------------


def test_of_the_cancelled_jobs_the_last_one_is_looked_at_first() -> None:
    """A limit keeps those that are likeliest to be in disorder."""
    store = MemoryStore()
    for name in ("a", "b", "c"):
        store.add_job(name, "pending")
    for name in ("b", "c", "a"):
        cancel_job(name, uow=store, scheduler=MemoryScheduler())
    with store.begin() as repositories:
        looked = repositories.inspection.look(2, frozenset(), CALL_AGE_SUSPECT)
    assert [it.key.batch_job_id for it in looked.cancelled] == ["a", "c"]


def test_a_turn_within_a_turn_does_not_end_the_outer_one() -> None:
    """Whoever waits goes on waiting until the outer transaction is over."""

    async def play() -> None:
        store = AsyncMemoryStore()
        store.add_job("job", "pending")
        cancelling = cancel_job_async("job", uow=store, scheduler=AsyncMemoryScheduler())
        async with store.begin():
            for _ in range(2):
                async with store.begin():
                    pass
            task = asyncio.create_task(cancelling)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done()
        assert (await task).batch_job_id == "job"

    asyncio.run(play())


def test_a_deferred_start_needs_no_payload() -> None:
    """Whoever claims it is given none."""
    scheduler = MemoryScheduler()
    scheduler.schedule("a", LONG_AGO)
    assert [start.payload for start in scheduler.claim(1, FOR_LONG)] == [b""]

    async def play() -> None:
        scheduler = AsyncMemoryScheduler()
        await scheduler.schedule("a", LONG_AGO)
        assert [start.payload for start in await scheduler.claim(1, FOR_LONG)] == [b""]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("what", "fault", "sentence"),
    [
        (
            "job skipped",
            Fault.REFUSED,
            "the job has the status 'running' after it was set to 'cancelled'",
        ),
        (
            "contacts skipped",
            Fault.INCOMPLETE,
            "contacts of the job are still open after all were cancelled: 1",
        ),
        (
            "contact added",
            Fault.INCOMPLETE,
            "contacts of the job are still open after all were cancelled: 1",
        ),
        (
            "contacts diverted",
            Fault.REFUSED,
            "1 contacts were set to 'cancelled', and 0 have this status",
        ),
        (
            "record skipped",
            Fault.REFUSED,
            "the record of the cancellation is not as it was written",
        ),
    ],
)
def test_what_is_undone_is_no_success(what: Any, fault: Fault, sentence: str) -> None:
    """Where something between the store and its rows undoes what is written, nothing is kept."""
    store = UndoneStore()
    store.add_job("j", "running")
    store.add_contacts("j", {"a": "pending", "b": "completed"})
    store.undone = what
    with pytest.raises(CancelFailed) as caught:
        cancel_job("j", uow=store, scheduler=MemoryScheduler())
    assert str(caught.value.__cause__) == (
        f"{sentence}; something between the store and its rows undoes what is written, as a "
        "trigger would: remove it"
    )
    assert (caught.value.fault, caught.value.outcome) == (fault, "unchanged")
    job = store.job("j")
    assert job is not None
    assert (job.status, job.cancellation) == ("running", None)
    assert store.contacts("j") == {"a": "pending", "b": "completed"}


def test_a_count_that_is_too_high_is_no_success() -> None:
    """It is looked at once more when the job is marked."""
    store = MemoryStore()
    store.add_job("j", "running")
    store.add_contacts("j", {"a": "cancelled"})
    before = store.contacts("j")
    with pytest.raises(StoreFailed, match="2 contacts were set to cancelled, and 1 are"):
        _mark(store, contacts_cancelled=2)
    assert store.contacts("j") == before
    _mark(store, contacts_cancelled=1)
    job = store.job("j")
    assert job is not None
    assert job.status == "cancelled"


def _mark(store: MemoryStore, contacts_cancelled: int) -> None:
    """Mark the job, whatever became of its contacts."""
    with store.begin() as repositories:
        job = repositories.jobs.lock(JobKey("j"))
        plan = plan_cancellation(CancelRequest(JobKey("j"), "op"), job)
        assert not isinstance(plan, CancellationRecord)
        repositories.jobs.mark_cancelled(plan.job, plan.record(contacts_cancelled))
