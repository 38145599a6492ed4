"""What the telling of a cancellation does when its store, its job or its task is in the way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    CancelFailed,
    CancelResult,
    JobKey,
    Removal,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.use_cases import announcement
from batch_cancel.use_cases.run_blocking import BlockingStore, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

NONE = timedelta(0)


class Silent:
    """A scheduler without an answer."""

    def cancel(self, *_: object) -> bool:
        """Do not answer."""
        raise ConnectionError


class AsyncSilent:
    """Its twin."""

    async def cancel(self, *_: object) -> bool:
        """Do not answer."""
        raise ConnectionError


@attrs.frozen
class Changed:
    """A store of which a part is another's."""

    store: Any
    change: Callable[[Any], Any]

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction."""
        with self.store.begin() as it:
            yield self.change(it)


@attrs.frozen
class AsyncChanged:
    """Its twin."""

    store: Any
    change: Callable[[Any], Any]

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Open a transaction."""
        async with self.store.begin() as it:
            yield self.change(it)


def without_records(it: Any) -> Any:
    """Return repositories that keep no records."""
    return SimpleNamespace(jobs=it.jobs, contacts=it.contacts, outbox=None)


def without_claims(it: Any) -> Any:
    """Return repositories whose claims fail."""

    def fail(_: object) -> Any:
        raise OSError

    outbox = SimpleNamespace(
        claim=fail, settle=it.outbox.settle, take=it.outbox.take, find=it.outbox.find
    )
    return SimpleNamespace(jobs=it.jobs, contacts=it.contacts, outbox=outbox)


@pytest.fixture
def store() -> MemoryStore:
    """Yield jobs that run and that wait."""
    store = MemoryStore()
    fill(store)
    return store


@pytest.fixture
def store_async() -> AsyncMemoryStore:
    """Yield the same."""
    store = AsyncMemoryStore()
    fill(store)
    return store


def fill(store: Any) -> None:
    """Put in the jobs."""
    store.add_job("job", "running")
    for number in range(12):
        store.add_job(f"job-{number}", "scheduled", deferred_id=f"start-{number}")


def test_a_store_without_records_has_the_hook_called(
    store: MemoryStore, store_async: AsyncMemoryStore
) -> None:
    """Nobody else can know of it."""
    told: list[CancelResult] = []

    async def tell(result: CancelResult) -> None:
        told.append(result)

    bare = Changed(store, without_records)
    cancel_job("job", uow=bare, scheduler=MemoryScheduler(), on_cancelled=told.append)
    bare_async = AsyncChanged(store_async, without_records)
    asyncio.run(
        cancel_job_async(
            "job", uow=bare_async, scheduler=AsyncMemoryScheduler(), on_cancelled=tell
        )
    )
    assert len(told) == 2


def test_without_a_claim_no_hook_is_called(
    store: MemoryStore, store_async: AsyncMemoryStore
) -> None:
    """It is left to reconcile, and the answer is the same."""
    told: list[CancelResult] = []

    async def tell(result: CancelResult) -> None:
        told.append(result)

    failing, failing_async = (
        Changed(store, without_claims),
        AsyncChanged(store_async, without_claims),
    )
    cancel_job("job", uow=failing, scheduler=MemoryScheduler(), on_cancelled=told.append)

    async def run() -> None:
        await cancel_job_async(
            "job", uow=failing_async, scheduler=AsyncMemoryScheduler(), on_cancelled=tell
        )
        assert told == []
        await reconcile_async(
            uow=store_async, scheduler=AsyncMemoryScheduler(), lease=NONE, on_cancelled=tell
        )

    asyncio.run(run())
    reconcile(uow=store, scheduler=MemoryScheduler(), lease=NONE, on_cancelled=told.append)
    assert len(told) == 2


def test_a_pass_whose_claims_fail_goes_on(
    store: MemoryStore, store_async: AsyncMemoryStore
) -> None:
    """What was skipped does not come first next time; nothing else is lost."""
    for number in range(12):
        cancel_rows(f"job-{number}", uow=store)
    results = reconcile(uow=Changed(store, without_claims), scheduler=Silent(), lease=NONE)
    assert {it.removal for it in results} == {Removal.PENDING}

    async def run() -> list[CancelResult]:
        for number in range(12):
            await cancel_rows_async(f"job-{number}", uow=store_async)
        changed = AsyncChanged(store_async, without_claims)
        return await reconcile_async(uow=changed, scheduler=AsyncSilent(), lease=NONE)

    assert {it.removal for it in asyncio.run(run())} == {Removal.PENDING}


def test_of_a_job_that_is_set_back_before_its_claim_no_hook_is_called(
    store: MemoryStore, store_async: AsyncMemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It was not the caller's commit that set it back, but somebody who came right after."""
    told: list[CancelResult] = []

    async def tell(result: CancelResult) -> None:
        told.append(result)

    def set_back(where: Any) -> None:
        key = JobKey("job")
        where._committed[key] = attrs.evolve(where._committed[key], status="running")

    cancellation = cancel_rows("job", uow=store, announce=True)
    set_back(store)
    remove_deferred(cancellation, MemoryScheduler(), uow=store, on_cancelled=told.append)

    async def run() -> None:
        cancellation = await cancel_rows_async("job", uow=store_async, announce=True)
        set_back(store_async)
        await remove_deferred_async(
            cancellation, AsyncMemoryScheduler(), uow=store_async, on_cancelled=tell
        )

    asyncio.run(run())
    assert told == []
    assert [it.split(" was ")[0] for it in caplog.messages] == ["batch job 'job'"] * 2


def test_a_note_that_hangs_ends_with_the_second_cancellation(
    store_async: AsyncMemoryStore,
) -> None:
    """The first has it made once more; whoever insists is not kept waiting."""
    hangs: list[str] = []

    def hanging(it: Any) -> Any:
        async def hang(_: object) -> None:
            hangs.append("hangs")
            asyncio.get_running_loop().call_soon(task_of[0].cancel)
            await asyncio.Event().wait()

        outbox = SimpleNamespace(claim=it.outbox.claim, settle=hang)
        return SimpleNamespace(jobs=it.jobs, contacts=it.contacts, outbox=outbox)

    async def tell(_: CancelResult) -> None:
        """Be told."""

    task_of: list[asyncio.Task[Any]] = []

    async def run() -> None:
        uow = AsyncChanged(store_async, hanging)
        cancelling = cancel_job_async(
            "job", uow=uow, scheduler=AsyncMemoryScheduler(), on_cancelled=tell
        )
        task_of.append(asyncio.ensure_future(cancelling))
        with pytest.raises(asyncio.CancelledError):
            await task_of[0]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert hangs == ["hangs", "hangs"]


def test_what_ends_the_program_within_a_note_comes_out_of_it(
    store_async: AsyncMemoryStore,
) -> None:
    """Out of the task that waits for it, and as itself."""
    end = SystemExit(3)

    def ending(it: Any) -> Any:
        async def raise_end(_: object) -> None:
            raise end

        outbox = SimpleNamespace(claim=it.outbox.claim, settle=raise_end)
        return SimpleNamespace(jobs=it.jobs, contacts=it.contacts, outbox=outbox)

    async def tell(_: CancelResult) -> None:
        """Be told."""

    async def run() -> BaseException | None:
        uow = AsyncChanged(store_async, ending)
        try:
            await cancel_job_async(
                "job", uow=uow, scheduler=AsyncMemoryScheduler(), on_cancelled=tell
            )
        except SystemExit as error:
            return error
        return None

    assert asyncio.run(run()) is end


def test_a_job_that_its_commit_has_set_back_keeps_its_start(store: MemoryStore) -> None:
    """The record is there, the status is not: whoever asked gets the error."""
    joined = attrs.evolve(cancel_rows("job-0", uow=store), joined=True)
    undone = attrs.evolve(joined.record, is_undone=True)
    other = Changed(
        store, lambda _: SimpleNamespace(outbox=SimpleNamespace(find=lambda _: undone))
    )
    with pytest.raises(CancelFailed) as failure:
        remove_deferred(joined, MemoryScheduler(), uow=other)
    assert failure.value.key == JobKey("job-0")
    assert failure.value.outcome == "unknown"
    assert failure.value.reason == (
        "its cancellation is committed, but the job is not cancelled: something has set its "
        "status back, such as a deferred trigger that ran at your commit; its deferred start was "
        "left alone: look for the cause and cancel the job again"
    )


def test_a_claim_that_fails_is_logged(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a removal that stays pending: which job, what failed, and who goes on."""
    record = cancel_rows("job-0", uow=store).record
    assert run(announcement.claim(record, BlockingStore(Changed(store, without_claims)))) is None
    assert caplog.messages == [
        (
            "batch job 'job-0' is cancelled, but its record could not be claimed (OSError); "
            "reconcile will finish it"
        )
    ]


def test_a_store_without_records_has_nothing_to_claim(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no failure, and nothing is logged."""
    record = cancel_rows("job-0", uow=store).record
    other = Changed(store, lambda _: SimpleNamespace(outbox=None))
    assert run(announcement.claim(record, BlockingStore(other))) is None
    assert caplog.messages == []


def test_a_hook_whose_turn_cannot_be_claimed_is_left_to_reconcile(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says of which job, and why."""
    cancellation = cancel_rows("job-0", uow=store, announce=True)
    told: list[CancelResult] = []
    remove_deferred(
        cancellation,
        MemoryScheduler(),
        uow=Changed(store, without_claims),
        on_cancelled=told.append,
    )
    assert told == []
    assert caplog.messages == [
        (
            "batch job 'job-0' is cancelled, but the store did not answer before its on_cancelled "
            "hook (OSError); reconcile will finish it"
        )
    ]


def test_a_removal_without_a_store_tells_the_hook_all_the_same(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """With the result; if the hook fails, the log names the job. Without a hook nothing fails."""
    cancellation = cancel_rows("job-0", uow=store, announce=True)
    told: list[CancelResult] = []
    result = remove_deferred(cancellation, MemoryScheduler(), on_cancelled=told.append)
    assert told == [result]
    remove_deferred(cancellation, MemoryScheduler())
    assert caplog.messages == []

    def fail(_: CancelResult) -> None:
        raise OSError

    remove_deferred(cancellation, MemoryScheduler(), on_cancelled=fail)
    assert caplog.messages == [
        (
            "batch job 'job-0' is cancelled, but the on_cancelled hook failed (OSError); "
            "reconcile will finish it"
        )
    ]


def test_a_note_that_a_task_loses_is_made_once_more(store_async: AsyncMemoryStore) -> None:
    """Of the same record."""
    noted: list[str] = []

    def losing(it: Any) -> Any:
        async def lose(record: Any) -> None:
            noted.append(record.operation_id)
            if len(noted) == 1:
                raise asyncio.CancelledError

        outbox = SimpleNamespace(claim=it.outbox.claim, settle=lose)
        return SimpleNamespace(jobs=it.jobs, contacts=it.contacts, outbox=outbox)

    async def tell(_: CancelResult) -> None:
        """Be told."""

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await cancel_job_async(
                "job",
                uow=AsyncChanged(store_async, losing),
                scheduler=AsyncMemoryScheduler(),
                operation_id="op",
                on_cancelled=tell,
            )

    asyncio.run(main())
    assert noted == ["op", "op"]
