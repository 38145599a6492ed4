"""The memory adapters: transactions that are drafts, turns that are taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
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
    Answer,
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.domain.cancellation import CancelRequest, plan_cancellation
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.model import CancellationRecord, ContactStatus, Job
from batch_cancel.domain.worker_rules import CALL_AGE_SUSPECT
from tests.sabotage import UndoneStore

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SOME_DAY = datetime(2999, 1, 1, tzinfo=UTC)
AT_ONCE = timedelta(0)
FOR_LONG = timedelta(days=1)


# Halves: a transaction is written once, as a coroutine, and run against either store -------------


@attrs.frozen
class Waited:
    """The blocking ports with methods that can be awaited."""

    port: Any

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.port, name)
        if not callable(found):
            return Waited(found)

        async def call(*arguments: Any) -> Any:
            return found(*arguments)

        return call


class BlockingStore(MemoryStore):
    """A memory store, and its transactions as if they were asyncio's."""

    @asynccontextmanager
    async def awaited(self) -> AsyncGenerator[Any]:
        """Open a transaction."""
        with self.begin() as repositories:
            yield Waited(repositories)


class AsyncioStore(AsyncMemoryStore):
    """An asyncio memory store."""

    @asynccontextmanager
    async def awaited(self) -> AsyncGenerator[Any]:
        """Open a transaction."""
        async with self.begin() as repositories:
            yield repositories


Store = BlockingStore | AsyncioStore


@pytest.fixture(params=[BlockingStore, AsyncioStore])
def store(request: pytest.FixtureRequest) -> Store:
    """Give a store with one running job of three contacts."""
    made: Store = request.param()
    made.add_job("job", "running")
    made.add_contacts("job", {"ann": "pending", "bob": "dialing", "eve": "busy"})
    return made


async def cancelled(repositories: Any, batch_job_id: str = "job") -> CancellationRecord:
    """Cancel the rows of a job within an open transaction."""
    job = await repositories.jobs.lock(JobKey(batch_job_id))
    plan: Any = plan_cancellation(CancelRequest(JobKey(batch_job_id), "op-1"), job)
    contacts = await repositories.contacts.cancel(plan.job.key, plan.contact_statuses)
    record: CancellationRecord = plan.record(contacts)
    await repositories.jobs.mark_cancelled(job, record)
    return record


def status_of(store: Store) -> str | None:
    """Give the committed status of the job."""
    job = store.job("job")
    assert job is not None
    return job.status


class Undo(Exception):
    """What a test raises to roll a transaction back."""


@contextmanager
def undone() -> Generator[None]:
    """Expect `Undo`."""
    with pytest.raises(Undo):
        yield


# Seeding and looking -----------------------------------------------------------------------------


def test_a_store_shows_what_it_was_seeded_with(store: Store) -> None:
    """Any status, known or not, or none at all; each organization has its own jobs."""
    store.add_job("job", None, "acme", "arq_job_abc123")
    store.add_contacts("job", {"ann": "vip", "bob": None}, "acme")
    job = store.job("job", "acme")
    assert job is not None
    assert job.key == JobKey("job", "acme")
    assert (job.status, job.deferred_id, job.cancellation) == (None, "arq_job_abc123", None)
    assert job.locked_at.utcoffset() == timedelta(0)
    assert store.contacts("job", "acme") == {"ann": "vip", "bob": None}
    assert store.contacts("job") == {"ann": "pending", "bob": "dialing", "eve": "busy"}


def test_a_job_is_scheduled_unless_told_otherwise(store: Store) -> None:
    """As the default says."""
    store.add_job("other")
    other = store.job("other")
    assert other is not None
    assert (other.status, other.deferred_id) == ("scheduled", None)
    assert store.contacts("other") == {}


def test_what_is_not_there_is_not_shown(store: Store) -> None:
    """No job is None, and has no contacts; another organization's is not there."""
    assert store.job("nobody's") is None
    assert store.contacts("nobody's") == {}
    assert store.job("job", "acme") is None
    assert store.contacts("job", "acme") == {}


def test_contacts_are_added_to_those_that_are_there(store: Store) -> None:
    """The same id again is the same contact, with a new status."""
    store.add_contacts("job", {"ann": "queued", "zoe": "timeout"})
    assert store.contacts("job") == {
        "ann": "queued",
        "bob": "dialing",
        "eve": "busy",
        "zoe": "timeout",
    }


def test_a_look_is_a_copy(store: Store) -> None:
    """Neither what was given nor what was got is the store's own."""
    seed: dict[str, str | None] = {"zoe": "busy"}
    store.add_contacts("job", seed)
    seed["zoe"] = "changed"
    store.contacts("job")["ann"] = "changed"
    assert store.contacts("job") == {
        "ann": "pending",
        "bob": "dialing",
        "eve": "busy",
        "zoe": "busy",
    }


def test_a_seed_must_fit(store: Store) -> None:
    """The same job twice, and contacts of no job, are mistakes of the test."""
    with pytest.raises(ValueError, match="there is a job 'job' in this organization already"):
        store.add_job("job")
    with pytest.raises(LookupError, match="there is no job 'nope' in this organization"):
        store.add_contacts("nope", {})
    with pytest.raises(LookupError, match="there is no job 'job' in this organization"):
        store.add_contacts("job", {}, "acme")
    key: Any = 42
    with pytest.raises(TypeError):
        store.add_job(key)


# Transactions ------------------------------------------------------------------------------------


def test_a_clean_exit_commits(store: Store) -> None:
    """Job, record and contacts together; the contact on the phone is left alone."""

    async def transaction() -> CancellationRecord:
        async with store.awaited() as repositories:
            return await cancelled(repositories)

    record = asyncio.run(transaction())
    job = store.job("job")
    assert job is not None
    assert (job.status, job.cancellation) == ("cancelled", record)
    assert record.contacts_cancelled == 2
    assert store.contacts("job") == {"ann": "cancelled", "bob": "dialing", "eve": "cancelled"}


@pytest.mark.parametrize("error", [Undo, KeyboardInterrupt, asyncio.CancelledError])
def test_any_exception_rolls_back(store: Store, error: type[BaseException]) -> None:
    """Also one that is no error; and it comes out as it went in."""
    fault = error()
    caught: list[BaseException] = []

    async def transaction() -> None:
        try:
            async with store.awaited() as repositories:
                await cancelled(repositories)
                raise fault  # noqa: TRY301  # Through the transaction.
        except BaseException as it:  # noqa: BLE001  # Before asyncio makes another one of it.
            caught.append(it)

    asyncio.run(transaction())
    assert caught == [fault]
    assert status_of(store) == "running"
    assert store.contacts("job") == {"ann": "pending", "bob": "dialing", "eve": "busy"}
    asyncio.run(transaction())  # And the next one has its turn.


def test_a_draft_is_seen_within_its_transaction_alone(store: Store) -> None:
    """Whoever looks sees what was last committed."""

    async def transaction() -> None:
        async with store.awaited() as repositories:
            await cancelled(repositories)
            job = await repositories.jobs.lock(JobKey("job"))
            assert job.status == "cancelled"
            assert status_of(store) == "running"

    asyncio.run(transaction())
    assert status_of(store) == "cancelled"


def test_a_store_is_joined_where_it_is_in_a_transaction(store: Store) -> None:
    """Of this thread, of this task: what another is at says nothing."""

    async def transaction() -> None:
        other = ThreadPoolExecutor(1) if isinstance(store, BlockingStore) else None
        loop = asyncio.get_running_loop()

        async def is_joined_elsewhere() -> bool:
            if other is not None:
                return await loop.run_in_executor(other, lambda: store.is_joined)
            return await asyncio.create_task(_is_joined(store))

        assert not store.is_joined
        async with store.awaited():
            assert store.is_joined
            async with store.awaited():
                assert store.is_joined
            assert store.is_joined
            assert not await is_joined_elsewhere()
        assert not store.is_joined
        if other is not None:
            other.shutdown()

    asyncio.run(transaction())


async def _is_joined(store: Store) -> bool:
    return store.is_joined


def test_a_transaction_within_is_a_savepoint(store: Store) -> None:
    """Rolled back alone, it leaves what was before it and after it."""
    store.add_job("other", "running")

    async def transaction() -> None:
        async with store.awaited() as outer:
            await cancelled(outer, "other")
            with undone():
                async with store.awaited() as inner:
                    await cancelled(inner)
                    raise Undo
            job = await outer.jobs.lock(JobKey("job"))
            assert job.status == "running"

    asyncio.run(transaction())
    assert status_of(store) == "running"
    other = store.job("other")
    assert other is not None
    assert other.status == "cancelled"


def test_a_savepoint_is_undone_with_the_transaction_around_it(store: Store) -> None:
    """Its clean exit commits nothing by itself."""

    async def transaction() -> None:
        with undone():
            async with store.awaited() as outer:
                async with store.awaited() as inner:
                    await cancelled(inner)
                job = await outer.jobs.lock(JobKey("job"))
                assert job.status == "cancelled"
                assert status_of(store) == "running"
                raise Undo

    asyncio.run(transaction())
    assert status_of(store) == "running"


def test_a_savepoint_of_a_savepoint(store: Store) -> None:
    """Each level undoes what is within it, and no more."""
    for name in ("first", "second", "third"):
        store.add_job(name, "running")

    async def transaction() -> None:
        async with store.awaited() as outermost:
            await cancelled(outermost, "first")
            with undone():
                async with store.awaited() as middle:
                    await cancelled(middle, "second")
                    async with store.awaited() as innermost:
                        await cancelled(innermost, "third")
                    job = await middle.jobs.lock(JobKey("third"))
                    assert job.status == "cancelled"
                    raise Undo

    asyncio.run(transaction())
    jobs = [store.job(name) for name in ("first", "second", "third")]
    assert [job and job.status for job in jobs] == ["cancelled", "running", "running"]


def test_a_job_that_is_not_there_is_not_locked(store: Store) -> None:
    """Another organization's is not there."""

    async def transaction() -> list[Job | None]:
        async with store.awaited() as repositories:
            keys = [JobKey("nope"), JobKey("job", "acme"), JobKey("job", "")]
            return [await repositories.jobs.lock(key) for key in keys]

    assert asyncio.run(transaction()) == [None, None, None]


def test_only_the_statuses_given_are_cancelled(store: Store) -> None:
    """The rule is the caller's; unknown statuses and NULL are never in it."""
    store.add_contacts("job", {"odd": "vip", "none": None, "old": "completed"})

    async def transaction() -> int:
        async with store.awaited() as repositories:
            statuses = frozenset({ContactStatus.BUSY})
            changed: int = await repositories.contacts.cancel(JobKey("job"), statuses)
            return changed

    assert asyncio.run(transaction()) == 1
    assert store.contacts("job") == {
        "ann": "pending",
        "bob": "dialing",
        "eve": "cancelled",
        "odd": "vip",
        "none": None,
        "old": "completed",
    }


def test_a_removal_is_settled_on_its_own_record_only(store: Store) -> None:
    """What another operation has left meanwhile is not touched."""

    async def transaction() -> CancellationRecord:
        async with store.awaited() as repositories:
            record = attrs.evolve(await cancelled(repositories), removal=Removal.PENDING)
            job = await repositories.jobs.lock(JobKey("job"))
            await repositories.jobs.mark_cancelled(job, record)
            another = attrs.evolve(record, operation_id="op-2")
            await repositories.outbox.settle(attrs.evolve(another, removal=Removal.ABSENT))
            await repositories.outbox.settle(attrs.evolve(record, removal=Removal.REMOVED))
            # The second answer to one question changes nothing any more.
            await repositories.outbox.settle(attrs.evolve(record, removal=Removal.ABSENT))
            return record

    record = asyncio.run(transaction())
    job = store.job("job")
    assert job is not None
    assert job.cancellation == attrs.evolve(record, removal=Removal.REMOVED)


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
    """Give an empty asyncio store."""
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
    """Whoever is inside stays inside: a task that knocks does not take his place."""

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
        with pytest.raises(CancelFailed, match="another event loop is at work") as refused:
            asyncio.run(cancel_job_async("job", uow=visited, scheduler=scheduler))
        assert (refused.value.outcome, refused.value.retryable) == ("unchanged", True)
    finally:
        may_leave.set()
        first.join(timeout=60)
    result = asyncio.run(cancel_job_async("job", uow=visited, scheduler=scheduler))
    assert result.previous_status == "running"


def test_a_task_called_off_while_it_waits_is_not_counted(visited: AsyncMemoryStore) -> None:
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
    """Give an empty scheduler."""
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
    ("what", "fault"),
    [
        ("job skipped", Fault.REFUSED),
        ("contacts skipped", Fault.INCOMPLETE),
        ("contact added", Fault.INCOMPLETE),
        ("contacts diverted", Fault.REFUSED),
        ("record skipped", Fault.REFUSED),
    ],
)
def test_what_is_undone_is_no_success(what: Any, fault: Fault) -> None:
    """Where something between the store and its rows undoes what is written, nothing is kept."""
    store = UndoneStore()
    store.add_job("j", "running")
    store.add_contacts("j", {"a": "pending", "b": "completed"})
    store.undone = what
    with pytest.raises(CancelFailed, match="as a trigger would") as caught:
        cancel_job("j", uow=store, scheduler=MemoryScheduler())
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
    with pytest.raises(StoreFailed, match="contacts cancelled: 2, that are cancelled: 1"):
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
