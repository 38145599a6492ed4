"""Removals, hooks and the rate of cancelling many jobs; both halves."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import attrs
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


@attrs.define
class Clock:
    """A scheduler that answers as it is told, by the number of the call, from 1; else True."""

    answers: dict[int, Any] = attrs.field(factory=dict)
    calls: list[str] = attrs.field(factory=list)
    starts: list[str] = attrs.field(factory=list)

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        """Answer."""
        assert operation_id in {"op", "other"}
        self.calls.append(deferred_id)
        answer = self.answers.get(len(self.calls), True)
        if isinstance(answer, Exception):
            raise answer
        return answer


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


# A scheduler that removes many at once -----------------------------------------------------------


class Together(Clock):
    """A scheduler that is asked for many starts at once; it answers as a whole."""

    def cancel_many(self, starts: Any) -> Any:
        """Answer for all of them."""
        self.calls.append(f"{len(starts)}")
        self.starts += [deferred_id for deferred_id, _ in starts]
        assert {operation_id for _, operation_id in starts} <= {"op", "other"}
        answer = self.answers.get(len(self.calls), [True] * len(starts))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove by 8 instead of 100."""
    monkeypatch.setattr("batch_cancel.use_cases.remove_deferred.REMOVED_TOGETHER", 8)


@pytest.mark.usefixtures("_small_pages")
def test_many_starts_are_removed_at_once(bulk: Bulk) -> None:
    """In pages; a job without a start is in none of them."""
    shop = Shop(22)
    shop.add_job("running", "running")
    together = Together()
    result = bulk(EVERY, shop, scheduler=together)
    assert together.calls == ["8", "8", "4", "2"]
    assert together.starts == [f"start-{it}" for it in ids(22)]
    assert (result.removals[Removal.REMOVED], result.removals_pending) == (22, 0)


@pytest.mark.usefixtures("_small_pages")
def test_each_start_has_its_own_answer(bulk: Bulk) -> None:
    """None confirms nothing."""
    shop = Shop(12)
    answers = [True, False, None, "yes", True, True, True, True]
    together = Together({1: answers, 2: [None, True, True, True]})
    result = bulk(EVERY, shop, scheduler=together)
    assert (result.cancelled, together.calls) == (12, ["8", "4"])
    assert result.removals == {
        Removal.REMOVED: 8,
        Removal.ABSENT: 1,
        Removal.PENDING: 3,
        Removal.NOT_APPLICABLE: 0,
    }
    left = reconcile(uow=shop, scheduler=shop.scheduler, lease=timedelta(0))
    assert sorted(it.batch_job_id for it in left) == [ids(12)[it] for it in (2, 3, 8)]


@pytest.mark.usefixtures("_small_pages")
@pytest.mark.parametrize(
    "answer",
    [SchedulerUnavailable("down"), Unplugged(), [True], [True] * 9, [None] * 8, True],
    ids=["unavailable", "raises", "fewer", "more", "none", "no answers"],
)
def test_where_nothing_is_known_of_many_each_is_asked_for_alone(bulk: Bulk, answer: Any) -> None:
    """One that spoils it for all holds up no other; where it is answered, many are asked again."""
    shop = Shop(18)
    alone = {4: Unplugged(), 1: answer}
    together = Together(alone)
    result = bulk(EVERY, shop, scheduler=together)
    assert together.calls == ["8", *(f"start-{it}" for it in ids(8)), "8", "2"]
    assert (result.removals[Removal.REMOVED], result.removals_pending) == (17, 1)
    [left] = reconcile(uow=shop, scheduler=shop.scheduler, lease=timedelta(0))
    assert left.batch_job_id == "job-002"


@pytest.mark.usefixtures("_small_pages")
@pytest.mark.parametrize("silent", [1, 2, 10])
def test_reconcile_removes_many_at_once(silent: int) -> None:
    """Those of which nothing is known are asked for alone, and noted like the others."""
    shop = Shop(22)
    down = dict.fromkeys(range(1, 999), SchedulerUnavailable("down"))
    cancel_jobs(EVERY, uow=shop, scheduler=Clock(down), operation_id="op")
    shop.noted.clear()
    together = Together({silent: SchedulerUnavailable("down")})
    every = {"uow": shop, "scheduler": together, "lease": timedelta(0)}
    assert {it.removal for it in reconcile(**every)} == {Removal.REMOVED}  # type: ignore[arg-type]
    alone = {
        1: [*(f"start-{it}" for it in ids(8)), "8", "6"],
        2: ["8", *(f"start-{it}" for it in ids(16)[8:]), "6"],
        10: ["8", "6"],
    }
    assert together.calls == ["8", *alone[silent]]
    assert shop.noted == ids(22)
    assert reconcile(**every) == []  # type: ignore[arg-type]


@pytest.mark.usefixtures("_small_pages")
def test_each_start_that_is_not_removed_is_logged(
    bulk: Bulk, caplog: pytest.LogCaptureFixture
) -> None:
    """With its job, and with the kind of the scheduler's error if there is one."""
    down = SchedulerUnavailable("down")
    result = bulk(EVERY, Shop(2), scheduler=Together({1: [True, None]}))
    assert result.removals_pending == 1
    assert bulk(EVERY, Shop(1), scheduler=Together({1: down})).removals_pending == 1
    warned = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
    assert warned == [
        f"batch job '{job}' is cancelled, but the scheduler did not confirm the removal of its "
        f"deferred start ({kind}); reconcile will finish it"
        for job, kind in (("job-001", "NoneType"), ("job-000", "SchedulerUnavailable"))
    ]


@pytest.mark.usefixtures("_small_pages")
def test_a_silent_scheduler_is_asked_for_many_once(bulk: Bulk) -> None:
    """Every removal stays pending, and ever fewer are asked for."""
    shop = Shop(120)
    down = SchedulerUnavailable("down")
    together = Together(dict.fromkeys(range(1, 99), down))
    result = bulk(EVERY, shop, scheduler=together)
    assert (result.cancelled, result.removals_pending) == (120, 120)
    # A page, then each alone: ten, one skipped, one, three skipped, one, seven skipped, ...
    assert len(together.calls) == 1 + 10 + 5
