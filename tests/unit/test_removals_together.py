"""Removals of a scheduler that is asked for many at once; both halves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import (
    CancelResult,
    Removal,
    SchedulerUnavailable,
    cancel_jobs,
    reconcile,
    reconcile_async,
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

pytestmark = pytest.mark.usefixtures("_small_pages")

DOWN = SchedulerUnavailable("down")
Reconcile = Callable[..., list[CancelResult]]


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove by 8 instead of 100."""
    monkeypatch.setattr("batch_cancel.use_cases.removals.REMOVED_TOGETHER", 8)


@attrs.define(slots=False)
class Together(Clock):
    """A scheduler that can be asked for many starts at once."""

    starts: list[str] = attrs.field(factory=list)

    def cancel_many(self, starts: Any) -> Any:
        """Answer for all of them."""
        assert {operation_id for _, operation_id in starts} == {"op"}
        self.starts += [deferred_id for deferred_id, _ in starts]
        return self.answer(f"{len(starts)}", usual=[True] * len(starts))


@pytest.fixture(params=["blocking", "asyncio"])
def reconciled(request: pytest.FixtureRequest) -> Reconcile:
    """Return a pass of reconcile over a shop, by either half."""

    def blocking(shop: Shop, scheduler: Any) -> list[CancelResult]:
        return reconcile(uow=shop, scheduler=scheduler, lease=timedelta(0))

    def of_asyncio(shop: Shop, scheduler: Any) -> list[CancelResult]:
        store: Any = awaitable_store(shop)
        awaited: Any = Awaitable(scheduler)
        done: list[CancelResult] = finished(
            reconcile_async(uow=store, scheduler=awaited, lease=timedelta(0))
        )
        return done

    return of_asyncio if request.param == "asyncio" else blocking


def backlog(number: int) -> Shop:
    """Return a shop with so many pending removals."""
    shop = Shop(number)
    silent = Clock(dict.fromkeys(range(1, 999), DOWN))
    cancel_jobs(EVERY, uow=shop, scheduler=silent, operation_id="op")
    shop.noted.clear()
    return shop


def starts(number: int, first: int = 0) -> list[str]:
    """Return the ids of the starts from the first one up to a number."""
    return [f"start-{it}" for it in ids(number)[first:]]


# Many jobs ---------------------------------------------------------------------------------------


def test_many_starts_are_removed_at_once(bulk: Bulk) -> None:
    """In pages; a job without a start is in none of them."""
    shop = Shop(21)
    shop.add_job("running", "running")
    together = Together()
    result = bulk(EVERY, shop, scheduler=together)
    assert together.calls == ["8", "8", "4", "start-job-020"]
    assert together.starts == starts(20)
    assert (result.removals[Removal.REMOVED], result.removals_pending) == (21, 0)


def test_each_start_has_its_own_answer(bulk: Bulk) -> None:
    """Those without one are asked for alone, and only what is then unknown stays pending."""
    shop = Shop(12)
    answers = [True, False, None, "yes", 1, True, True, True]
    together = Together({1: answers, 2: False, 3: DOWN, 5: [None, True, True, True], 6: None})
    result = bulk(EVERY, shop, scheduler=together)
    alone = [f"start-{ids(12)[it]}" for it in (2, 3, 4, 8)]
    assert together.calls == ["8", *alone[:3], "4", alone[3]]
    assert (result.removals[Removal.REMOVED], result.removals[Removal.ABSENT]) == (8, 2)
    left = reconcile(uow=shop, scheduler=shop.scheduler, lease=timedelta(0))
    assert sorted(it.batch_job_id for it in left) == [ids(12)[it] for it in (3, 8)]


async def _never_awaited() -> bool:
    return True


NO_ANSWERS = {
    "unavailable": DOWN,
    "raises": Unplugged(),
    "fewer": [True],
    "more": [True] * 9,
    "none": [None] * 8,
    "a truth": True,
    "a text": "12345678",
    "in no order": set(range(8)),
    "by name": dict.fromkeys(range(8), True),
    "a generator": lambda: iter([True] * 8),
    "coroutines": lambda: [_never_awaited() for _ in range(8)],
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_where_nothing_is_known_of_many_each_is_asked_for_alone(bulk: Bulk, answer: Any) -> None:
    """One that spoils it for all holds up no other; where it is answered, many are asked again."""
    shop = Shop(18)
    together = Together({1: answer, 4: Unplugged()})
    result = bulk(EVERY, shop, scheduler=together)
    assert together.calls == ["8", *starts(8), "8", "2"]
    assert (result.removals[Removal.REMOVED], result.removals_pending) == (17, 1)
    [left] = reconcile(uow=shop, scheduler=shop.scheduler, lease=timedelta(0))
    assert left.batch_job_id == "job-002"


def test_a_question_for_many_that_is_never_answered_is_asked_less(bulk: Bulk) -> None:
    """Ten times, then after one page, after three, and so on; each start is asked for alone."""
    shop = Shop(160)
    together = Together()
    together.cancel_many = lambda starts: together.answer("many", usual=None)  # type: ignore[method-assign]
    result = bulk(EVERY, shop, scheduler=together)
    assert (result.removals[Removal.REMOVED], result.removals_pending) == (160, 0)
    assert together.calls.count("many") == 10 + 3  # 24 pages: the 12th, the 16th and the 24th.


def test_what_is_not_answered_is_logged(bulk: Bulk, caplog: pytest.LogCaptureFixture) -> None:
    """The question for many with its kind of failure, then each start that is not removed."""
    bulk(EVERY, Shop(2), scheduler=Together({1: DOWN, 2: [None, True]}))
    bulk(EVERY, Shop(2), scheduler=Together({1: [True]}))
    bulk(EVERY, Shop(2), scheduler=Together({1: (None, None)}))
    warned = [it.getMessage() for it in caplog.records if it.levelname == "WARNING"]
    together = (
        "the scheduler's cancel_many gave no answer for any of 2 deferred starts ({}), so each is "
        "asked for alone"
    )
    alone = (
        "batch job 'job-000' is cancelled, but the scheduler did not confirm the removal of its "
        "deferred start (list); reconcile will finish it"
    )
    assert warned == [
        together.format("SchedulerUnavailable"),
        alone,
        together.format("list of 1"),
        together.format("tuple of 2"),
    ]


def test_a_silent_scheduler_is_asked_for_many_once(bulk: Bulk) -> None:
    """Every removal stays pending, and ever fewer are asked for."""
    shop = Shop(120)
    together = Together(dict.fromkeys(range(1, 999), DOWN))
    result = bulk(EVERY, shop, scheduler=together)
    assert (result.cancelled, result.removals_pending) == (120, 120)
    # A page, then each alone: ten, one skipped, one, three skipped, one, seven skipped, ...
    assert len(together.calls) == 1 + 10 + 5


@pytest.mark.parametrize("kind", ["raises", "a value"])
def test_a_scheduler_whose_cancel_many_is_none_is_asked_for_each_alone(
    bulk: Bulk, kind: str
) -> None:
    """A committed cancellation does not raise for it."""

    class Odd(Together):
        @property
        def cancel_many(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            if kind == "raises":
                raise KeyError(kind)
            return [True]

    odd: Any = Odd()
    result = bulk(EVERY, Shop(3), scheduler=odd)
    assert (odd.calls, result.removals_pending) == (starts(3), 0)


# Reconcile ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [1, 2, 10])
def test_reconcile_removes_many_at_once(reconciled: Reconcile, silent: int) -> None:
    """Those of which nothing is known are asked for alone, and noted like the others."""
    shop = backlog(22)
    together = Together({silent: DOWN})
    assert {it.removal for it in reconciled(shop, together)} == {Removal.REMOVED}
    alone = {
        1: ["8", *starts(8), "8", "6"],
        2: ["8", "8", *starts(16, 8), "6"],
        10: ["8", "8", "6"],
    }
    assert together.calls == alone[silent]
    assert shop.noted == ids(22)
    assert reconciled(shop, together) == []


@pytest.mark.parametrize("ends", [KeyboardInterrupt(), asyncio.CancelledError(), SystemExit()])
def test_what_is_known_is_noted_when_a_pass_is_ended(
    reconciled: Reconcile, ends: BaseException
) -> None:
    """So that the next pass goes on from there."""
    shop = backlog(22)
    with pytest.raises(type(ends)):
        reconciled(shop, Together({2: None, 8: ends}))
    assert shop.noted == ids(13)
    assert len(reconciled(shop, Together())) == 9


def test_a_start_that_is_never_answered_holds_up_no_other(reconciled: Reconcile) -> None:
    """Not in the same pass, and not in the next."""
    shop = backlog(12)

    class Poisoned(Together):
        def cancel(self, deferred_id: str, operation_id: str) -> Any:
            return None if deferred_id == "start-job-003" else super().cancel(deferred_id, "op")

        def cancel_many(self, starts: Any) -> Any:
            poisoned = any(it == "start-job-003" for it, _ in starts)
            return [None if poisoned else True for _ in starts]

    assert len(reconciled(shop, Poisoned())) == 12
    assert [it.batch_job_id for it in reconciled(shop, Poisoned())] == ["job-003"]


def test_whether_many_can_be_asked_for_is_looked_at_once(reconciled: Reconcile) -> None:
    """A scheduler that loses the method in the middle is asked for each alone."""
    shop = backlog(22)

    class Fickle(Together):
        def cancel_many(self, starts: Any) -> Any:
            self.cancel_many = None  # type: ignore[assignment,method-assign]
            self.calls.append("many")
            return None

    fickle = Fickle()
    assert {it.removal for it in reconciled(shop, fickle)} == {Removal.REMOVED}
    assert fickle.calls == ["many", *starts(22)]


def test_what_any_page_has_skipped_is_tried_in_the_same_pass(
    reconciled: Reconcile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the scheduler answers again."""
    monkeypatch.setattr("batch_cancel.use_cases.reconcile.NOTED_TOGETHER", 8)
    shop = backlog(40)
    silent = Together(dict.fromkeys(range(1, 12), DOWN))
    silent.cancel_many = None  # type: ignore[assignment,method-assign]
    done = reconciled(shop, silent)
    # Ten silences, one skipped, the eleventh, three skipped; then the answers.
    skipped = [*starts(11, 10), *starts(15, 12)]
    assert silent.calls == [*starts(10), *starts(12, 11), *starts(40, 15), *skipped]
    assert [it.removal for it in done].count(Removal.PENDING) == 11
