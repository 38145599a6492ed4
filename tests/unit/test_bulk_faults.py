"""What cancelling many jobs does when the store fails; both halves."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from batch_cancel import (
    CancelFailed,
    Fault,
    JobKey,
    StoreFailed,
    cancel_job,
)
from tests.unit.bulk_shop import (
    EVERY,
    Bulk,
    Shop,
    Unplugged,
    _no_coroutine_is_forgotten,
    _small_slices,
    bulk,
    ids,
)

__all__ = ["_no_coroutine_is_forgotten", "_small_slices", "bulk"]


def conflict(**more: Any) -> StoreFailed:
    """Return a conflict with another transaction."""
    return StoreFailed("deadlock", fault=Fault.CONFLICT, **more)


def test_a_slice_in_conflict_is_tried_again(bulk: Bulk) -> None:
    """As a single cancel is."""
    shop = Shop(3, faults={1: conflict(), 2: conflict()})
    result = bulk(EVERY, shop)
    assert (result.cancelled, result.contacts_cancelled) == (3, 3)
    assert [len(it) for it in shop.locked] == [3, 3, 3]
    assert shop.pauses == [1, 2]


def test_a_store_that_cannot_pause_goes_on_job_by_job(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say when to try again."""
    monkeypatch.delattr(Shop, "pause")
    shop = Shop(2, faults={1: conflict()})
    assert bulk(EVERY, shop).cancelled == 2
    assert [len(it) for it in shop.locked] == [2, 1, 1]


@pytest.mark.parametrize("fault", [StoreFailed("poison"), Unplugged("poison"), conflict()])
def test_a_job_that_fails_does_not_stop_the_others(bulk: Bulk, fault: Exception) -> None:
    """Its slice goes on job by job, and the next slice as one."""
    shop = Shop(23, poison={"job-001": fault})
    result = bulk(EVERY, shop)
    assert (result.cancelled, result.failed, result.left) == (22, 1, 0)
    [failure] = result.failures
    assert isinstance(failure, CancelFailed)
    assert (failure.key, failure.outcome) == (JobKey("job-001"), "unchanged")
    assert shop.statuses().count("scheduled") == 1
    assert len(shop.locked[-1]) == 3


def test_a_commit_whose_answer_is_lost_is_found_again(bulk: Bulk) -> None:
    """By the next attempt, which is no replay; the hook is called once."""
    lost = StoreFailed("gone", "unknown", Fault.INTERRUPTED)
    shop = Shop(3, faults={1: lost})
    cancel_job("job-000", uow=shop, scheduler=shop.scheduler, operation_id="op")
    shop.locked.clear()
    hooked = list[str]()
    result = bulk(EVERY, shop, on_cancelled=lambda it: hooked.append(it.batch_job_id))
    assert (result.cancelled, result.replayed) == (2, 0)
    assert hooked == ["job-001", "job-002"]
    shop = Shop(2, faults={1: lost})
    cancel_job("job-000", uow=shop, scheduler=shop.scheduler, operation_id="op")
    shop.locked.clear()
    result = bulk(ids(2), shop)
    assert (result.cancelled, result.replayed, result.contacts_cancelled) == (1, 1, 1)


@pytest.mark.parametrize("jobs", [2, 20])
def test_a_commit_that_stays_unknown_is_reported_so(bulk: Bulk, jobs: int) -> None:
    """Neither as unchanged nor as cancelled by another; of twenty jobs the last are skipped."""
    lost = StoreFailed("gone", "unknown", Fault.REFUSED)
    down = StoreFailed("down", fault=Fault.BUSY)
    shop = Shop(jobs, faults=dict.fromkeys(range(2, 99), down) | {1: lost})
    result = bulk(ids(jobs), shop)
    assert result.failed == jobs
    assert {it.outcome for it in result.failures if isinstance(it, CancelFailed)} == {"unknown"}
    assert len(set(shop.locked[1:])) <= 12


class Vanished(Exception):
    """What a driver raises that has committed, and that no store translates."""

    outcome = "unknown"


def test_a_commit_that_ends_in_an_unknown_error_may_be_done(bulk: Bulk) -> None:
    """It is found again, as one whose answer is lost."""
    result = bulk(EVERY, Shop(3, faults={1: Vanished()}))
    assert (result.cancelled, result.replayed, result.failed) == (3, 0, 0)


def test_a_store_that_answered_once_is_not_given_up(bulk: Bulk) -> None:
    """Of the same slice: the next one is tried."""
    down = StoreFailed("down", fault=Fault.BUSY)
    shop = Shop(22, poison=dict.fromkeys(ids(20)[1:], down))
    result = bulk(EVERY, shop)
    assert (result.cancelled, result.failed, result.left) == (3, 19, 0)


def test_a_store_without_records_cannot_tell_who_cancelled(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lost answer the job is cancelled, but by whom is not known."""
    from batch_cancel.adapters.memory import rows  # To be replaced.

    job_of = rows.job_of
    monkeypatch.setattr(
        "batch_cancel.adapters.memory.bulk.job_of",
        lambda its, key: attrs.evolve(job_of(its, key), cancellation=None),
    )
    shop = Shop(1, faults={1: StoreFailed("gone", "unknown", Fault.INTERRUPTED)})
    [failure] = bulk(ids(1), shop).failures
    assert isinstance(failure, CancelFailed)
    assert failure.outcome == "unknown"


def test_a_store_that_is_silent_ends_it(bulk: Bulk) -> None:
    """After a while; what was not tried is left, and said to be unchanged."""
    down = StoreFailed("down", fault=Fault.BUSY)
    shop = Shop(50, faults=dict.fromkeys(range(2, 999), down))
    result = bulk(EVERY, shop)
    assert (result.cancelled, result.failed, result.left) == (20, 20, 10)
    assert {it.outcome for it in result.failures if isinstance(it, CancelFailed)} == {"unchanged"}
    assert {it.key.batch_job_id for it in result.failures} == set(ids(40)[20:])
    # One slice, the next together, then ten jobs, and ever fewer of the rest.
    assert len(shop.locked) == 2 + 12


def test_a_silent_store_that_answers_again_loses_no_job(bulk: Bulk) -> None:
    """Those skipped meanwhile are tried after all."""
    late = StoreFailed("late", fault=Fault.LATE)
    shop = Shop(20, poison=dict.fromkeys(ids(20)[1:13], late))
    result = bulk(EVERY, shop)
    assert (result.cancelled, result.failed, result.left) == (8, 12, 0)


def test_single_jobs_fail_ten_in_a_row_before_it_ends(bulk: Bulk) -> None:
    """Where each is a slice of its own."""
    down = StoreFailed("down", fault=Fault.BUSY)
    shop = Shop(30, faults=dict.fromkeys(range(1, 99), down), has_bulk=False)
    result = bulk(ids(30), shop)
    assert (result.failed, result.left) == (10, 20)
    poison = StoreFailed("poison")
    shop = Shop(30, poison=dict.fromkeys(ids(30)[:20], poison), has_bulk=False)
    result = bulk(ids(30), shop)
    assert (result.failed, result.cancelled, result.left) == (20, 10, 0)


def test_a_store_that_fails_at_the_start_says_so(bulk: Bulk) -> None:
    """Nothing is changed yet."""
    shop = Shop(1)

    @contextmanager
    def begin() -> Generator[Any]:
        reason = "down"
        raise StoreFailed(reason, fault=Fault.REFUSED)
        yield

    down: Any = SimpleNamespace(begin=begin, is_joined=False, scheduler=shop.scheduler)
    with pytest.raises(StoreFailed, match=r"^down$"):
        bulk(ids(1), down)
