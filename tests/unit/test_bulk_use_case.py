"""Cancelling many jobs: which, in what order, and what is refused; both halves."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest

from batch_cancel import (
    BulkResult,
    JobFilter,
    JobKey,
    JobStatus,
    Removal,
    StoreFailed,
    UnknownJobStatus,
    cancel_job,
    cancel_jobs,
    reconcile,
)
from batch_cancel.adapters.memory import MemoryStore
from tests.unit.bulk_shop import (
    EVERY,
    Bulk,
    Shop,
    Unplugged,
    _no_coroutine_is_forgotten,
    _small_slices,
    awaited,
    bulk,
    ids,
)

__all__ = ["_no_coroutine_is_forgotten", "_small_slices", "bulk"]


# What it does ------------------------------------------------------------------------------------


def test_jobs_are_cancelled_slice_by_slice(bulk: Bulk) -> None:
    """Each with its contacts and its start; each slice in one transaction, its notes in two."""
    shop = Shop(41)
    seen = list[BulkResult]()
    result = bulk(EVERY, shop, actor="ann", reason="why", progress=seen.append)
    assert result == BulkResult(
        operation_id="op",
        jobs=41,
        left=0,
        cancelled=41,
        contacts_cancelled=41,
        removals={
            Removal.REMOVED: 41,
            Removal.ABSENT: 0,
            Removal.PENDING: 0,
            Removal.NOT_APPLICABLE: 0,
        },
    )
    assert set(shop.statuses()) == {"cancelled"}
    assert shop.contacts("job-040") == {"1": "cancelled", "2": "dialing"}
    assert shop.scheduler.waiting() == set()
    assert [len(it) for it in shop.locked] == [20, 20, 1]
    assert shop.notes == [10, 10, 10, 10, 1]
    assert [(it.done, it.left) for it in seen] == [(20, 21), (40, 1), (41, 0)]
    assert seen[-1] == result
    record = shop.record("job-007")
    assert (record.operation_id, record.actor, record.reason) == ("op", "ann", "why")
    assert (record.removal, record.is_announced) == (Removal.REMOVED, True)
    assert reconcile(uow=shop, scheduler=shop.scheduler, lease=timedelta(0)) == []


def test_a_filter_finds_its_organization_s_live_jobs(bulk: Bulk) -> None:
    """Every other job stays as it is."""
    shop = Shop(2)
    shop.put("theirs", "running", organization_id="acme")
    shop.put("ended", "completed", organization_id="acme")
    result = bulk(JobFilter(organization_id="acme"), shop)
    assert (result.jobs, result.cancelled) == (1, 1)
    assert shop.statuses() == ["scheduled", "scheduled", "cancelled", "completed"]


def test_a_filter_of_an_organization_that_cannot_be_finds_nothing(bulk: Bulk) -> None:
    """As an id that no store can hold; the store is not asked."""
    shop = Shop(1)
    assert bulk(JobFilter(organization_id="\0"), shop).jobs == 0
    assert (shop.locked, shop.found) == ([], [])


def test_each_job_has_its_own_outcome(bulk: Bulk) -> None:
    """Ended, of another operation, of this one, unknown, not there."""
    shop = Shop(4)
    shop.put("ended", "failed")
    shop.put("odd", "paused")
    shop.put("theirs", organization_id="acme")
    cancel_job("job-001", uow=shop, scheduler=shop.scheduler, operation_id="op")
    cancel_job("job-002", uow=shop, scheduler=shop.scheduler, operation_id="other")
    result = bulk([*ids(4), "ended", "odd", "theirs", "no", "\0", ""], shop)
    assert (result.jobs, result.left, result.cancelled, result.replayed) == (10, 0, 2, 1)
    assert result.refused == {JobStatus.CANCELLED: 1, JobStatus.FAILED: 1}
    assert result.not_found == 4
    [failure] = result.failures
    assert isinstance(failure, UnknownJobStatus)
    assert failure.key == JobKey("odd")
    assert (result.contacts_cancelled, result.removals[Removal.REMOVED]) == (2, 3)
    assert len(shop.locked) == 3  # The two cancels before, and one slice: no job went on alone.


def test_nothing_is_asked_for_nothing(bulk: Bulk) -> None:
    """No job, no transaction, no progress."""
    shop = Shop(1)
    result = bulk([], shop, progress=pytest.fail)
    assert (result.jobs, result.done, shop.locked) == (0, 0, [])


def test_ids_that_no_store_can_hold_lock_nothing(bulk: Bulk) -> None:
    """They are not there."""
    shop = Shop(1)
    assert bulk(["\0", "\ud800"], shop).not_found == 2
    assert shop.locked == []


def test_an_operation_without_a_name_gets_one(bulk: Bulk) -> None:
    """The same one for all of its jobs."""
    shop = Shop(2)
    result = bulk(EVERY, shop, operation_id=None)
    assert len(result.operation_id) >= 32
    jobs = [shop.job(it) for it in ids(2)]
    assert {it.cancellation.operation_id for it in jobs if it and it.cancellation} == {
        result.operation_id
    }
    assert bulk(EVERY, Shop(1), operation_id=None).operation_id != result.operation_id


def test_which_jobs_is_decided_at_the_start(bulk: Bulk) -> None:
    """One that appears meanwhile is left alone."""
    shop = Shop(21)
    result = bulk(EVERY, shop, progress=lambda so_far: shop.put(f"new-{so_far.done}"))
    assert (result.jobs, result.cancelled) == (21, 21)
    assert shop.statuses()[21:] == ["scheduled", "scheduled"]


def test_jobs_are_found_in_pages(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last page is the one that is not full, or empty; each begins after the one before."""
    monkeypatch.setattr("batch_cancel.use_cases.bulk.FIND_SLICE", 3)
    for jobs, after in ((5, [2]), (6, [2, 5])):
        shop = Shop(jobs)
        assert bulk(EVERY, shop).cancelled == jobs
        assert shop.found == [(None, 3), *((JobKey(ids(9)[it]), 3) for it in after)]


def test_contacts_that_a_store_does_not_count_are_none(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may leave out the jobs that had no open one."""
    monkeypatch.setattr(
        "batch_cancel.adapters.memory.sweep.cancel_of_many_unless_many", lambda *_: {}
    )
    shop = Shop()
    shop.add_job("a", "running")
    shop.add_job("b", "running")
    result = bulk(["a", "b"], shop)
    assert (result.cancelled, result.contacts_cancelled, len(shop.locked)) == (2, 0, 1)


def test_two_keys_of_one_job_cancel_it_once(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may know a uuid in upper case by its lower case."""
    shop = Shop(2)
    lock = shop.lock

    def fold(rows: Any, keys: Any) -> Any:
        """Find jobs whatever the case."""
        lock(tuple(keys))
        folded = {key: JobKey(key.batch_job_id.lower()) for key in keys}
        with MemoryStore.begin(shop) as repositories:
            return {key: repositories.jobs.lock(it) for key, it in folded.items()}

    monkeypatch.setattr("batch_cancel.adapters.memory.bulk.lock", fold)
    result = bulk(["JOB-000", "job-000", "job-001"], shop)
    assert (result.cancelled, result.replayed, result.contacts_cancelled) == (2, 1, 2)


def test_the_same_operation_goes_on(bulk: Bulk) -> None:
    """Ids that it has cancelled are replayed; a filter finds the rest; no hook is called twice."""
    shop = Shop(41)

    def unplug(so_far: BulkResult) -> None:
        if so_far.done == 20:
            raise Unplugged

    hooked = list[str]()
    more: dict[str, Any] = {"on_cancelled": lambda result: hooked.append(result.batch_job_id)}
    with pytest.raises(Unplugged):
        bulk(EVERY, shop, progress=unplug, **more)
    assert shop.statuses().count("cancelled") == 20
    again = bulk(EVERY, shop, **more)
    assert (again.jobs, again.cancelled, again.contacts_cancelled) == (21, 21, 21)
    once_more = bulk(ids(41), shop, **more)
    assert (once_more.jobs, once_more.replayed, once_more.cancelled) == (41, 41, 0)
    assert hooked == ids(41)


def test_stop_is_asked_before_each_slice(bulk: Bulk) -> None:
    """What is left is counted."""
    answers = iter([False, False, True])
    result = bulk(EVERY, Shop(50), stop=lambda: next(answers))
    assert (result.jobs, result.done, result.left, result.cancelled) == (50, 40, 10, 40)


# What is of the wrong kind -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["on_cancelled", "progress", "stop"])
def test_what_cannot_be_called_is_refused(bulk: Bulk, name: str) -> None:
    """Before anything is changed."""
    shop = Shop(1)
    wrong: dict[str, Any] = {name: 7}
    with pytest.raises(TypeError, match="is not callable"):
        bulk(EVERY, shop, **wrong)
    assert shop.locked == []


def test_stop_is_no_coroutine_function(bulk: Bulk) -> None:
    """Its answer would be true without being awaited."""

    async def stop() -> bool:
        return False

    with pytest.raises(TypeError, match="is a coroutine function"):
        bulk(EVERY, Shop(1), stop=stop)


def test_progress_may_be_awaited() -> None:
    """Where the function is asyncio's; a blocking one refuses it."""
    seen = list[int]()

    async def progress(so_far: BulkResult) -> None:
        seen.append(so_far.done)

    shop = Shop(1)
    awaited(EVERY, uow=shop, scheduler=shop.scheduler, progress=progress)
    assert seen == [1]
    refused: Any = progress
    with pytest.raises(TypeError, match="is a coroutine function"):
        cancel_jobs(EVERY, uow=shop, scheduler=shop.scheduler, progress=refused)


@pytest.mark.parametrize(
    "wrong", [{"operation_id": ""}, {"actor": ""}, {"reason": "\0"}, {"rate": 0}]
)
def test_what_cannot_be_stored_is_refused(bulk: Bulk, wrong: dict[str, Any]) -> None:
    """Before anything is changed."""
    shop = Shop(1)
    with pytest.raises(ValueError, match="must be"):
        bulk(EVERY, shop, **wrong)
    assert shop.locked == []


def test_it_is_refused_within_a_transaction() -> None:
    """Whose rollback would lose starts."""
    shop = Shop(1)
    with shop.begin(), pytest.raises(StoreFailed, match=r"^cancel_jobs was called within your"):
        cancel_jobs(EVERY, uow=shop, scheduler=shop.scheduler)


def test_a_store_without_the_port_takes_ids(bulk: Bulk) -> None:
    """Each job in a transaction of its own; no filter, for it could not find the jobs."""
    shop = Shop(3, has_bulk=False)
    seen = list[int]()
    result = bulk(ids(3), shop, progress=lambda so_far: seen.append(so_far.done))
    assert (result.cancelled, result.contacts_cancelled, seen) == (3, 3, [1, 2, 3])
    assert shop.locked == [("job-000",), ("job-001",), ("job-002",)]
    with pytest.raises(StoreFailed, match="implement `BulkRepository` of "):
        bulk(EVERY, shop)


@pytest.mark.parametrize(
    ("method", "answer", "message"),
    [
        ("find", {}, "returned dict instead of a list of keys"),
        ("lock", [], "returned list instead of a dict of Jobs by their keys"),
        ("lock", {JobKey("job-000"): "job"}, "returned dict instead of a dict of Jobs"),
    ],
)
def test_an_answer_of_another_kind_is_refused(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch, method: str, answer: Any, message: str
) -> None:
    """A slice goes on job by job."""
    monkeypatch.setattr(f"batch_cancel.adapters.memory.bulk.{method}", lambda *_: answer)
    shop = Shop(1)
    if method == "find":
        with pytest.raises(StoreFailed, match=message):
            bulk(EVERY, shop)
    else:
        assert bulk(EVERY, shop).cancelled == 1
        assert shop.locked == [("job-000",), ("job-000",)]


@pytest.mark.parametrize("method", ["find", "lock"])
def test_a_coroutine_is_no_answer(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """It is closed, so that Python does not warn that nobody has awaited it."""

    async def answer() -> None:
        """Be awaited by nobody."""

    coroutine = answer()
    monkeypatch.setattr(f"batch_cancel.adapters.memory.bulk.{method}", lambda *_: coroutine)
    shop = Shop(1)
    if method == "find":
        with pytest.raises(StoreFailed, match="returned coroutine instead of a list of keys"):
            bulk(EVERY, shop)
    else:
        assert bulk(ids(1), shop).cancelled == 1
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
