"""Turns at a memory store: one transaction at a time, whoever waits, stops or dies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    CancelResult,
    JobKey,
    JobNotFound,
    Removal,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.domain.cancellation import CancelRequest, plan_cancellation
from tests.unit.memory_stores import SOME_DAY, BlockingStore, store

__all__ = ["store"]


# Turns -------------------------------------------------------------------------------------------


def test_threads_take_turns() -> None:
    """A transaction begins when the one before it has ended, and sees what it committed."""
    store = BlockingStore()
    store.add_job("job", "running")
    knocked, entered = threading.Event(), threading.Event()
    seen: list[str | None] = []

    def second() -> None:
        knocked.set()
        with store.begin() as repositories:
            entered.set()
            job = repositories.jobs.lock(JobKey("job"))
            seen.append(job.status if job else None)

    thread = threading.Thread(target=second)
    with store.begin() as repositories:
        thread.start()
        knocked.wait()
        # Were the door open, this would be time enough to come in.
        assert not entered.wait(0.05)
        job = repositories.jobs.lock(JobKey("job"))
        plan: Any = plan_cancellation(CancelRequest(JobKey("job"), "op-1"), job)
        repositories.jobs.mark_cancelled(plan.job, plan.record(0))
    thread.join()
    assert seen == ["cancelled"]


def test_of_many_threads_one_cancels() -> None:
    """The others are told that the job is cancelled already."""
    store, scheduler = MemoryStore(), MemoryScheduler()
    store.add_job("job", deferred_id="start")
    scheduler.schedule("start", SOME_DAY)
    barrier = threading.Barrier(8)
    answers: list[CancelResult | AlreadyTerminal] = []

    def cancel() -> None:
        barrier.wait()
        try:
            answers.append(cancel_job("job", uow=store, scheduler=scheduler))
        except AlreadyTerminal as error:
            answers.append(error)

    threads = [threading.Thread(target=cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [it for it in answers if isinstance(it, CancelResult)]
    assert len(answers) == 8
    assert len(results) == 1
    assert results[0].removal is Removal.REMOVED
    assert scheduler.waiting() == set()


async def settled() -> None:
    """Let every other task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@attrs.define
class Visitor:
    """A task that has a transaction open until it is let go."""

    store: AsyncMemoryStore
    is_inside: bool = False
    leave: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def visit(self) -> None:
        """Enter, stay, leave."""
        async with self.store.begin():
            self.is_inside = True
            await self.leave.wait()


@pytest.fixture
def visited() -> AsyncMemoryStore:
    """Return an empty asyncio store."""
    return AsyncMemoryStore()


def visiting(
    store: AsyncMemoryStore, story: Callable[[list[Visitor], list[asyncio.Task[None]]], Any]
) -> None:
    """Run a story of three visitors, the first of whom is inside while the others wait."""

    async def run() -> None:
        visitors = [Visitor(store) for _ in range(3)]
        tasks: list[asyncio.Task[None]] = []
        for visitor in visitors:
            tasks.append(asyncio.create_task(visitor.visit()))
            await settled()
        assert [it.is_inside for it in visitors] == [True, False, False]
        telling: Coroutine[Any, Any, None] = story(visitors, tasks)
        await telling
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_tasks_take_turns(visited: AsyncMemoryStore) -> None:
    """One after the other, in the order of their coming."""

    async def story(visitors: list[Visitor], _: list[asyncio.Task[None]]) -> None:
        visitors[0].leave.set()
        await settled()
        assert [it.is_inside for it in visitors] == [True, True, False]
        visitors[1].leave.set()
        await settled()
        assert visitors[2].is_inside
        visitors[2].leave.set()

    visiting(visited, story)


def test_a_task_that_gives_up_waiting_is_passed_over(visited: AsyncMemoryStore) -> None:
    """The turn goes to the one behind it."""

    async def story(visitors: list[Visitor], tasks: list[asyncio.Task[None]]) -> None:
        tasks[1].cancel()
        await settled()
        assert tasks[1].cancelled()
        visitors[0].leave.set()
        await settled()
        assert visitors[2].is_inside
        visitors[2].leave.set()

    visiting(visited, story)


def test_a_task_that_gives_up_as_its_turn_comes_hands_it_on(visited: AsyncMemoryStore) -> None:
    """Cancelled between being called and entering, it does not lose the turn for all."""

    async def story(visitors: list[Visitor], tasks: list[asyncio.Task[None]]) -> None:
        visitors[0].leave.set()
        await asyncio.sleep(0)  # The first has left, the second is called.
        tasks[1].cancel()
        await settled()
        assert tasks[1].cancelled()
        assert visitors[2].is_inside
        visitors[2].leave.set()

    visiting(visited, story)


def test_a_task_that_is_cancelled_inside_leaves(visited: AsyncMemoryStore) -> None:
    """The next one enters."""

    async def story(visitors: list[Visitor], tasks: list[asyncio.Task[None]]) -> None:
        tasks[0].cancel()
        await settled()
        assert visitors[1].is_inside
        for visitor in visitors[1:]:
            visitor.leave.set()

    visiting(visited, story)


def test_a_task_of_a_transactions_own_waits_like_any_other(visited: AsyncMemoryStore) -> None:
    """It is not within the transaction of the task that made it."""

    async def run() -> None:
        visitor = Visitor(visited)
        visitor.leave.set()
        async with visited.begin(), visited.begin():
            task = asyncio.create_task(visitor.visit())
            await settled()
            assert not visitor.is_inside
        await task
        assert visitor.is_inside

    asyncio.run(run())


def test_a_savepoint_needs_no_turn_while_others_wait(visited: AsyncMemoryStore) -> None:
    """Whoever is inside stays inside: a task that waits does not get in."""

    async def run() -> None:
        visitor = Visitor(visited)
        visitor.leave.set()
        async with visited.begin():
            task = asyncio.create_task(visitor.visit())
            await settled()
            async with asyncio.timeout(10), visited.begin():
                assert not visitor.is_inside
        await task
        assert visitor.is_inside

    asyncio.run(run())


def test_a_store_outlives_its_event_loop(visited: AsyncMemoryStore) -> None:
    """Also when its last loop ended while tasks were waiting."""
    visited.add_job("job", "running")

    async def abandoned() -> None:
        visitors = [Visitor(visited) for _ in range(3)]
        tasks = [asyncio.create_task(visitor.visit()) for visitor in visitors]
        await settled()
        assert not any(task.done() for task in tasks)

    for _ in range(2):
        asyncio.run(abandoned())
    scheduler = AsyncMemoryScheduler()
    result = asyncio.run(cancel_job_async("job", uow=visited, scheduler=scheduler))
    assert result.previous_status == "running"
    with pytest.raises(JobNotFound):
        asyncio.run(cancel_job_async("nope", uow=visited, scheduler=scheduler))


def test_two_event_loops_at_once_never_share_a_turn(visited: AsyncMemoryStore) -> None:
    """The second is refused while the first is inside, and is served once it has left."""
    visited.add_job("job", "running")
    scheduler = AsyncMemoryScheduler()
    is_inside, may_leave = threading.Event(), threading.Event()

    async def stay() -> None:
        async with visited.begin():
            is_inside.set()
            may_leave.wait(timeout=60)

    first = threading.Thread(target=asyncio.run, args=(stay(),))
    first.start()
    assert is_inside.wait(timeout=60)
    try:
        with pytest.raises(CancelFailed, match="another event loop is using") as refused:
            asyncio.run(cancel_job_async("job", uow=visited, scheduler=scheduler))
        assert (refused.value.outcome, refused.value.retryable) == ("unchanged", True)
    finally:
        may_leave.set()
        first.join(timeout=60)
    result = asyncio.run(cancel_job_async("job", uow=visited, scheduler=scheduler))
    assert result.previous_status == "running"


def test_a_task_cancelled_while_it_waits_is_not_counted(visited: AsyncMemoryStore) -> None:
    """Another event loop has its turn afterwards, though the first lives on."""
    visited.add_job("job", "running")

    async def called_off() -> None:
        visitor = Visitor(visited)
        async with visited.begin():
            task = asyncio.create_task(visitor.visit())
            await settled()
            task.cancel()
            await settled()
        assert task.cancelled()

    with asyncio.Runner() as runner:
        runner.run(called_off())
        with asyncio.Runner() as other:
            result = other.run(
                cancel_job_async("job", uow=visited, scheduler=AsyncMemoryScheduler())
            )
    assert result.previous_status == "running"
