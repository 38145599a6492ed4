"""Removals, hooks and the rate of cancelling many jobs; both halves."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from batch_cancel import (
    AlreadyTerminal,
    BulkResult,
    CancelResult,
    JobStatus,
    Removal,
    SchedulerUnavailable,
    cancel_job,
    cancel_jobs,
    cancel_jobs_async,
    cancel_rows,
    reconcile,
)
from tests.unit.bulk_shop import (
    EVERY,
    Bulk,
    Clock,
    Shop,
    Unplugged,
    _no_coroutine_is_forgotten,
    _small_slices,
    bulk,
    ids,
)
from tests.unit.scripted_ports import Awaitable, awaitable_store, finished

__all__ = ["_no_coroutine_is_forgotten", "_small_slices", "bulk"]


# The scheduler -----------------------------------------------------------------------------------


def test_a_removal_that_is_not_confirmed_is_pending(bulk: Bulk) -> None:
    """And left to reconcile; a job without a start asks nobody."""
    shop = Shop(3)
    shop.add_job("running", "running")
    clock = Clock({1: False, 2: SchedulerUnavailable("down")})
    result = bulk(EVERY, shop, scheduler=clock)
    assert result.removals == {
        Removal.REMOVED: 1,
        Removal.ABSENT: 1,
        Removal.PENDING: 1,
        Removal.NOT_APPLICABLE: 1,
    }
    assert clock.calls == [f"start-{it}" for it in ids(3)]
    assert (result.cancelled, result.removals_pending) == (4, 1)
    [left] = reconcile(uow=shop, scheduler=shop.scheduler, lease=timedelta(0))
    assert left.batch_job_id == "job-001"


def test_removals_are_noted_in_the_order_of_the_ids(bulk: Bulk) -> None:
    """Whatever order they were passed in: two that note the same records wait in no circle."""
    shop = Shop(3)
    assert bulk(ids(3)[::-1], shop).removals[Removal.REMOVED] == 3
    assert shop.noted == ids(3)


def test_a_scheduler_that_is_silent_is_asked_less(bulk: Bulk) -> None:
    """Every job is cancelled all the same; the skipped removals are pending."""
    shop = Shop(41)
    clock = Clock(dict.fromkeys(range(1, 999), SchedulerUnavailable("down")))
    result = bulk(EVERY, shop, scheduler=clock)
    assert (result.cancelled, result.removals_pending) == (41, 41)
    assert len(clock.calls) == 14
    assert len(reconcile(uow=shop, scheduler=shop.scheduler, lease=timedelta(0))) == 41


def test_a_scheduler_that_answers_again_is_asked_again(bulk: Bulk) -> None:
    """For every removal from then on."""
    shop = Shop(30)
    clock = Clock(dict.fromkeys(range(1, 12), SchedulerUnavailable("down")))
    result = bulk(EVERY, shop, scheduler=clock)
    # 10 silences, one skipped, the 11th, three skipped, then the answers.
    assert (len(clock.calls), result.removals_pending) == (26, 15)


def told(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    """Return what was logged at a level, and forget it."""
    seen = [it.getMessage() for it in caplog.records if it.levelname == level]
    caplog.clear()
    return seen


def test_what_is_skipped_is_logged_once(bulk: Bulk, caplog: pytest.LogCaptureFixture) -> None:
    """For each slice, with how many; nothing is where nothing was skipped."""
    down = SchedulerUnavailable("down")
    bulk(EVERY, Shop(20), scheduler=Clock(dict.fromkeys(range(1, 99), down)))
    skipped = [it for it in told(caplog, "WARNING") if "more removals were skipped" in it]
    assert [it.partition("so ")[2].split()[0] for it in skipped] == ["8"]
    bulk(EVERY, Shop(3), scheduler=Clock({1: down}))
    assert len(told(caplog, "WARNING")) == 1


def test_each_job_that_is_cancelled_is_logged(
    bulk: Bulk, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a replay, nor one that is refused, even if its removal is tried again."""
    caplog.set_level("INFO")
    shop = Shop(3)
    cancel_job("job-000", uow=shop, scheduler=shop.scheduler, operation_id="op")
    silent = Clock({1: SchedulerUnavailable("down")})
    cancel_job("job-001", uow=shop, scheduler=silent, operation_id="other")
    caplog.clear()
    bulk(ids(3), shop)
    [line] = told(caplog, "INFO")
    assert line == (
        "batch job 'job-002' was cancelled: from scheduled, 1 contacts, removal removed, "
        "operation 'op'"
    )


@pytest.mark.parametrize("has_hook", [False, True], ids=["no hook", "hook"])
def test_a_replay_notes_its_removal(bulk: Bulk, *, has_hook: bool) -> None:
    """A retry does not call the hook, which is left to reconcile."""
    shop, called = Shop(1), list[CancelResult]()
    down = Clock({1: SchedulerUnavailable("down")})

    def unplugged(_: CancelResult) -> None:
        raise Unplugged

    bulk(ids(1), shop, scheduler=down, on_cancelled=unplugged)
    again = bulk(ids(1), shop, on_cancelled=called.append if has_hook else None)
    assert (again.replayed, called) == (1, [])
    record = shop.record("job-000")
    assert (record.removal, record.is_announced) == (Removal.REMOVED, False)


def test_a_replay_leaves_a_hook_that_nobody_has_called_to_reconcile(bulk: Bulk) -> None:
    """The process that cancelled the job may be about to call it."""
    shop, called = Shop(1), list[CancelResult]()
    cancel_rows("job-000", uow=shop, operation_id="op", announce=True)
    assert bulk(ids(1), shop, on_cancelled=called.append).replayed == 1
    assert called == []


def test_a_removal_is_noted_with_its_hook(bulk: Bulk) -> None:
    """In the transaction that claims the hook, and never by itself."""
    shop = Shop(2)
    bulk(ids(2), shop, on_cancelled=lambda _: None)
    assert shop.noted == ["job-000", "job-000", "job-001", "job-001"]  # Before and after it.
    record = shop.record("job-001")
    assert (record.removal, record.is_announced) == (Removal.REMOVED, True)


def test_a_refused_job_s_pending_removal_is_tried_again(bulk: Bulk) -> None:
    """As by a single cancel; the job stays refused."""
    shop = Shop(1)
    silent = Clock({1: SchedulerUnavailable("down")})
    cancel_job("job-000", uow=shop, scheduler=silent, operation_id="other")
    result = bulk(ids(1), shop)
    assert (result.refused, result.cancelled) == ({JobStatus.CANCELLED: 1}, 0)
    assert result.removals_pending == 0
    assert shop.scheduler.waiting() == set()
    with pytest.raises(AlreadyTerminal) as refusal:
        cancel_job("job-000", uow=shop, scheduler=shop.scheduler)
    assert refusal.value.cancellation is not None
    assert refusal.value.cancellation.removal is Removal.REMOVED


def test_the_hook_is_called_once_for_each_job(bulk: Bulk) -> None:
    """After the commit, with its result; a failing one is left to reconcile."""
    shop = Shop(3)
    seen = list[CancelResult]()

    def hook(result: CancelResult) -> None:
        assert shop.statuses() == ["cancelled"] * 3
        seen.append(result)
        if result.batch_job_id == "job-001":
            raise Unplugged

    result = bulk(EVERY, shop, on_cancelled=hook)
    assert (result.cancelled, [it.batch_job_id for it in seen]) == (3, ids(3))
    assert {it.removal for it in seen} == {Removal.REMOVED}
    again = list[str]()
    reconcile(
        uow=shop,
        scheduler=shop.scheduler,
        lease=timedelta(0),
        on_cancelled=lambda it: again.append(it.batch_job_id),
    )
    assert again == ["job-001"]


# The rate ----------------------------------------------------------------------------------------


def test_a_rate_is_kept_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits before the next slice, never after the last."""
    now = [100.0]
    waits, kinds = list[float](), set[str]()

    def sleep(seconds: float, kind: str = "blocking") -> None:
        waits.append(seconds)
        kinds.add(kind)
        now[0] += seconds

    async def wait(seconds: float) -> None:
        if seconds:  # The twin of the store waits as well, for nothing.
            sleep(seconds, "asyncio")

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(asyncio, "sleep", wait)

    def work(so_far: BulkResult) -> None:
        now[0] += 0.25 if so_far.done < 6 else 3.0

    shop = Shop(9)
    more: dict[str, Any] = {"rate": 2, "progress": work}
    assert cancel_jobs(EVERY, uow=shop, scheduler=shop.scheduler, **more).cancelled == 9
    assert waits == [0.75, 0.75]  # The third slice takes so long that the rest is late.
    assert kinds == {"blocking"}
    waits.clear()
    kinds.clear()
    shop = Shop(3)
    store: Any = awaitable_store(shop)
    scheduler: Any = Awaitable(shop.scheduler)
    result = finished(cancel_jobs_async(EVERY, uow=store, scheduler=scheduler, **more))
    assert (result.cancelled, waits[-1], kinds) == (3, 0.75, {"asyncio"})
