"""The decisions of a sweep, and the use case on stores that answer oddly."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobKey,
    JobStatus,
    Removal,
    cancel_job,
    cancel_jobs,
    cancel_rows,
    reconcile,
    remove_deferred,
)
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.sweep import EMPTY_MAX, Chunk, Sweep, check_sweep_above
from batch_cancel.testing.breakpoints import Hooked
from tests.unit.swept_stores import Odd, kill, store_of

RECORD = CancellationRecord(
    operation_id="op",
    key=JobKey("j"),
    previous_status=JobStatus.RUNNING,
    contacts_cancelled=7,
    actor=None,
    reason=None,
    cancelled_at=datetime(2026, 1, 1, tzinfo=UTC),
    deferred_id=None,
    removal=Removal.NOT_APPLICABLE,
    is_swept=False,
)


# Decisions ---------------------------------------------------------------------------------------


def test_a_chunk_that_found_as_many_as_it_may_was_not_the_last() -> None:
    """Even if a worker has claimed some of them; one that found fewer was."""
    assert not Chunk(found=2, cancelled=1, limit=2).is_last
    assert not Chunk(found=2, cancelled=0, limit=2).is_last
    assert Chunk(found=1, cancelled=1, limit=2).is_last
    assert Chunk(found=0, cancelled=0, limit=2).is_last


def test_a_chunk_adds_to_the_count() -> None:
    """Of the record; the last one ends the sweep."""
    after = Sweep(RECORD).after(Chunk(2, 1, 2))
    assert (after.record.contacts_cancelled, after.is_pending) == (8, True)
    after = after.after(Chunk(1, 1, 2))
    assert (after.record.contacts_cancelled, after.is_pending) == (9, False)


@pytest.mark.parametrize(
    ("now", "is_pending"),
    [({}, True), ({"is_swept": True}, False), ({"is_undone": True}, False)],
    ids=["goes on", "swept", "undone"],
)
def test_a_sweep_goes_on_from_the_record_as_it_is_now(
    now: dict[str, Any], *, is_pending: bool
) -> None:
    """Another one may have come further, or ended it."""
    current = attrs.evolve(RECORD, contacts_cancelled=9, **now)
    found = Sweep(RECORD).found(current)
    assert (found.record, found.is_pending) == (current, is_pending)


def test_too_many_chunks_that_cancel_nothing_are_an_error() -> None:
    """A hundred in a row; one that cancels a contact begins the count anew."""
    nothing, sweep = Chunk(2, 0, 2), Sweep(RECORD)
    for _ in range(EMPTY_MAX):
        sweep = sweep.after(nothing)
    assert sweep.after(Chunk(2, 1, 2)).after(nothing).empty == 1
    with pytest.raises(StoreFailed, match="look for a trigger"):
        sweep.after(nothing)


def test_the_sweep_of_a_job_that_was_set_back_is_not_pending() -> None:
    """Whatever its record says."""
    assert Sweep(RECORD).is_pending
    assert not Sweep(attrs.evolve(RECORD, is_undone=True)).is_pending
    assert not Sweep(attrs.evolve(RECORD, is_swept=True)).is_pending


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), ("9", TypeError), (True, TypeError)]
)
def test_how_many_contacts_fit_must_be_a_number(value: Any, error: type[Exception]) -> None:
    """Or None."""
    check_sweep_above(None)
    check_sweep_above(1)
    with pytest.raises(error, match=r"sweep_above must be .*, got (-?\d|str|bool)") as refusal:
        check_sweep_above(value)
    assert "NoneType" not in str(refusal.value)
    with pytest.raises(error, match="sweep_above must be"):
        MemoryStore(sweep_above=value)


# Odd stores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"lock": None}, "its record is gone"),
        ({"lock": 7}, "the store returned int instead of a CancellationRecord"),
        ({"cancel": None}, "the store returned NoneType instead of a Chunk"),
        ({"cancel": 3}, "the store returned int instead of a Chunk"),
    ],
)
def test_an_odd_answer_of_a_sweep_is_an_error(answers: dict[str, Any], sentence: str) -> None:
    """The job is cancelled, and the rest is left to reconcile."""
    store = Odd(**answers)
    store.add_job("j", "running")
    store.add_contacts("j", {str(number): "pending" for number in range(5)})
    with pytest.raises(CancelFailed) as failed:
        cancel_job("j", uow=store, scheduler=MemoryScheduler(), operation_id="op")
    assert failed.value.reason.startswith("not all of its contacts are cancelled yet: ")
    assert sentence in failed.value.reason
    assert (failed.value.outcome, failed.value.fault) == ("unknown", Fault.REFUSED)
    assert failed.value.key == JobKey("j")
    job = store.job("j")
    assert job is not None
    assert job.status == "cancelled"


def test_a_coroutine_is_no_chunk() -> None:
    """It is closed, so that Python does not warn that nobody has awaited it."""

    async def chunk() -> Chunk:
        return Chunk(0, 0, 2)

    coroutine = chunk()
    store = Odd(cancel=coroutine)
    store.add_job("j", "running")
    store.add_contacts("j", {str(number): "pending" for number in range(5)})
    with pytest.raises(CancelFailed, match="returned coroutine instead of a Chunk") as failed:
        cancel_job("j", uow=store, scheduler=MemoryScheduler())
    assert failed.value.key == JobKey("j")
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_a_store_that_counts_nothing_and_has_no_sweep_is_refused() -> None:
    """None means that there are too many, and nothing would ever cancel them."""
    store = Odd(sweep=None)
    store.add_job("j", "running")
    store.add_contacts("j", {str(number): "pending" for number in range(5)})
    with pytest.raises(CancelFailed, match="returned None instead of the number") as failed:
        cancel_job("j", uow=store, scheduler=MemoryScheduler())
    assert failed.value.outcome == "unchanged"


def test_reconcile_ends_a_sweep() -> None:
    """And answers with all contacts that were cancelled."""
    store = store_of(5)
    kill(store, 1)
    [done] = reconcile(uow=store, scheduler=MemoryScheduler(), lease=ZERO)
    assert done.contacts_cancelled == 5
    assert set(store.contacts("j").values()) == {"cancelled"}


@pytest.mark.parametrize("sweep", [None, Odd], ids=["none", "no attribute"])
def test_a_store_without_a_sweep_leaves_it_to_one_that_has_it(sweep: Any) -> None:
    """Its reconcile logs that, and neither asks the scheduler nor calls the hook."""
    store = store_of(5)
    kill(store, 1)
    lame = Odd(sweep=sweep)
    lame._committed = lame._top = store._committed
    told = list[object]()
    [done] = reconcile(uow=lame, scheduler=MemoryScheduler(), lease=ZERO, on_cancelled=told.append)
    assert (done.contacts_cancelled, told) == (0, [])
    with pytest.raises(CancelFailed, match="this store sweeps no contacts"):
        cancel_job("j", uow=lame, scheduler=MemoryScheduler(), operation_id="op")


def test_a_refused_cancel_tries_the_sweep_once(caplog: pytest.LogCaptureFixture) -> None:
    """A store that can't finish it is not asked again for the same answer."""
    store, chunks = store_of(5), list[str]()
    kill(store, 1)

    def fail(at: str) -> None:
        if at == "chunk":
            chunks.append(at)
            reason = "no disk"
            raise StoreFailed(reason)

    with pytest.raises(AlreadyTerminal):
        cancel_job("j", uow=Hooked(store, fail), scheduler=MemoryScheduler(), operation_id="other")
    assert len(chunks) == 1
    [left] = caplog.records
    assert left.getMessage() == (
        "batch job 'j' is cancelled, but not all of its contacts are cancelled yet "
        "(CancelFailed); reconcile will finish it"
    )


ZERO = datetime(2026, 1, 1, tzinfo=UTC) - datetime(2026, 1, 1, tzinfo=UTC)


def test_a_job_set_back_during_its_sweep_is_not_answered_200() -> None:
    """The rest of its contacts are those of a live job."""
    store = store_of(5)
    passed = [0]

    def set_back(at: str) -> None:
        passed[0] += at == "committed"
        if at == "committed" and passed[0] == 2:
            [(key, row)] = store._committed.items()
            store._committed[key] = attrs.evolve(row, status="running")

    with pytest.raises(CancelFailed, match="set its status back") as failed:
        cancel_job("j", uow=Hooked(store, set_back), scheduler=MemoryScheduler())
    assert (failed.value.key, failed.value.outcome) == (JobKey("j"), "unknown")
    assert list(store.contacts("j").values()).count("cancelled") == 2


def test_a_chunk_is_retried_as_a_cancel_is() -> None:
    """Even if its commit is unknown: its count is read under the lock before another chunk."""
    store, made = store_of(9), list[int]()
    # After how many contacts an answer is lost: twice in a row, and once more.
    failing = {2, 4, 8}

    def lose(at: str) -> None:
        cancelled = list(store.contacts("j").values()).count("cancelled")
        if at == "committed" and cancelled in failing:
            failing.remove(cancelled)
            reason = "lost"
            raise StoreFailed(reason, "unknown", Fault.CONFLICT)

    class Pausing(Hooked):
        def pause(self, attempts: int, /) -> None:
            made.append(attempts)

    result = cancel_job("j", uow=Pausing(store, lose), scheduler=MemoryScheduler())
    assert (result.contacts_cancelled, made) == (9, [1, 2, 1])


def test_a_pause_that_fails_is_an_error_of_the_sweep() -> None:
    """It names the job."""
    store = store_of(5)

    def fail(at: str) -> None:
        if at == "chunk":
            reason = "deadlock"
            raise StoreFailed(reason, fault=Fault.CONFLICT)

    class Restless(Hooked):
        def pause(self, attempts: int, /) -> None:
            raise LookupError

    with pytest.raises(CancelFailed, match="LookupError") as failed:
        cancel_job("j", uow=Restless(store, fail), scheduler=MemoryScheduler())
    assert failed.value.key == JobKey("j")


def test_an_error_that_nobody_has_foreseen_is_one_of_the_store() -> None:
    """In a chunk as in a cancel; its text may hold secrets, and is not shown."""
    store = store_of(5)

    def fail(at: str) -> None:
        if at == "chunk":
            reason = "secret"
            raise LookupError(reason)

    with pytest.raises(CancelFailed, match="LookupError") as failed:
        cancel_job("j", uow=Hooked(store, fail), scheduler=MemoryScheduler())
    assert failed.value.outcome == "unknown"
    assert "secret" not in str(failed.value)


def test_within_the_callers_transaction_a_replay_leaves_the_sweep_to_remove_deferred() -> None:
    """It needs transactions of its own."""
    store = store_of(5)
    kill(store, 2)
    with store.begin():
        cancellation = cancel_rows("j", uow=store, operation_id="op")
    assert (cancellation.record.contacts_cancelled, cancellation.record.is_swept) == (2, False)
    result = remove_deferred(cancellation, MemoryScheduler(), uow=store)
    assert (result.contacts_cancelled, result.replayed) == (5, True)
    assert set(store.contacts("j").values()) == {"cancelled"}


# Many jobs ---------------------------------------------------------------------------------------


def test_only_the_large_job_of_a_slice_is_cancelled_alone() -> None:
    """The others go on together, in ever smaller slices."""
    store = MemoryStore(sweep_above=4)
    for number in range(8):
        store.add_job(f"j{number}", "running")
        contacts = 9 if number == 2 else 1
        store.add_contacts(f"j{number}", {f"{number}.{it}": "pending" for it in range(contacts)})
    committed = [0]

    class Counted(MemoryStore):
        def begin(self) -> Any:
            committed[0] += 1
            return store.begin()

    result = cancel_jobs(
        [f"j{number}" for number in range(8)], uow=Counted(), scheduler=MemoryScheduler()
    )
    assert (result.cancelled, result.contacts_cancelled) == (8, 16)
    # The question for the port; 8 and 4 of them, in vain; the first 2; the next 2 and 1, in vain;
    # its flip and three chunks; the one beside it; the last 4.
    assert committed[0] == 1 + 2 + 1 + 2 + 4 + 1 + 1


@pytest.mark.parametrize(
    ("operation_id", "answer"), [("op", (0, 1, {}, 0)), ("other", (0, 0, {"cancelled": 1}, 0))]
)
def test_a_slice_ends_the_sweep_of_an_earlier_cancel(operation_id: str, answer: Any) -> None:
    """Whether it is a replay of the same operation or refused."""
    store = store_of(5)
    kill(store, 1)
    result = cancel_jobs(["j"], uow=store, scheduler=MemoryScheduler(), operation_id=operation_id)
    assert (result.cancelled, result.replayed, result.refused, result.contacts_cancelled) == answer
    assert set(store.contacts("j").values()) == {"cancelled"}


def test_a_replay_in_a_slice_whose_sweep_fails_is_a_failure() -> None:
    """And the other jobs of the slice are cancelled together."""
    store = Odd()
    store.add_job("j", "running")
    store.add_contacts("j", {str(number): "pending" for number in range(5)})
    kill(store, 1)
    for other in "kl":
        store.add_job(other, "running")
    store.answers["cancel"] = 3
    result = cancel_jobs(
        ["j", "k", "l"], uow=store, scheduler=MemoryScheduler(), operation_id="op"
    )
    assert (result.cancelled, result.failed) == (2, 1)
    [failure] = result.failures
    assert "the store returned int instead of a Chunk" in str(failure)


def test_a_replay_among_many_whose_sweep_fails_is_a_failure() -> None:
    """And the others are not held up."""
    store = store_of(5)
    kill(store, 1)
    store.add_job("k", "running")

    def fail(at: str) -> None:
        if at == "chunk":
            reason = "no disk"
            raise StoreFailed(reason)

    result = cancel_jobs(
        ["j", "k"], uow=Hooked(store, fail), scheduler=MemoryScheduler(), operation_id="op"
    )
    assert (result.cancelled, result.failed) == (1, 1)
    [failure] = result.failures
    assert "not all of its contacts" in str(failure)
