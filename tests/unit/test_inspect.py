"""How often a store and a scheduler are looked at, and what they are asked; both halves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import JobKey, inspect, inspect_async
from batch_cancel.domain.defaults import CALL_AGE_SUSPECT
from batch_cancel.domain.drift import DeferredStart, Drift, Inventory
from batch_cancel.domain.errors import SchedulerUnavailable, StoreFailed
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS

START = DeferredStart(JobKey("job"), "start")


@attrs.define
class Store:
    """
    A store that gives one inventory after the other, and its scheduler.

    Arguments:
        inventories: what it gives.
        waiting: the deferred starts that wait to fire.
        has_inspection: whether it offers one at all.
        asked: what it was asked for.
    """

    inventories: list[Inventory]
    waiting: frozenset[str] = frozenset()
    has_inspection: bool = True
    asked: list[Any] = attrs.field(factory=list)

    @property
    def inspection(self) -> Store | None:
        """What it offers."""
        return self if self.has_inspection else None

    @contextmanager
    def begin(self) -> Generator[Store]:
        """Open a transaction."""
        yield self

    def look(self, limit: int, statuses: object, older_than: timedelta) -> Inventory:
        """Return the next inventory."""
        assert statuses == CANCELLABLE_CONTACTS
        self.asked.append((limit, older_than))
        return self.inventories.pop(0)

    def waiting_among(self, deferred_ids: object) -> frozenset[str]:
        """Return the starts that wait."""
        self.asked.append(deferred_ids)
        return self.waiting


@attrs.define
class AsyncStore:
    """The same for asyncio."""

    store: Store

    @property
    def inspection(self) -> AsyncStore | None:
        """What it offers."""
        return self if self.store.has_inspection else None

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncStore]:
        """Open a transaction."""
        yield self

    async def look(self, limit: int, statuses: object, older_than: timedelta) -> Inventory:
        """Return the next inventory."""
        return self.store.look(limit, statuses, older_than)

    async def waiting_among(self, deferred_ids: object) -> frozenset[str]:
        """Return the starts that wait."""
        return self.store.waiting_among(deferred_ids)


def blocking(store: Store, **more: Any) -> Drift:
    """Inspect it."""
    both: Any = store
    return inspect(uow=both, scheduler=both, **more)


def nonblocking(store: Store, **more: Any) -> Drift:
    """Inspect it in an event loop."""
    both: Any = AsyncStore(store)
    return asyncio.run(inspect_async(uow=both, scheduler=both, **more))


Half = Callable[..., Drift]
HALVES = pytest.mark.parametrize("half", [blocking, nonblocking])


@HALVES
def test_without_drift_there_is_no_second_look(half: Half) -> None:
    """It would find nothing to confirm; what is asked for unless told otherwise."""
    store = Store([Inventory(scheduled=(START,))], frozenset({"start"}))
    assert half(store) == Drift()
    assert store.asked == [(1000, CALL_AGE_SUSPECT), {"start"}]


@HALVES
def test_drift_is_confirmed_by_a_second_look(half: Half) -> None:
    """At as much, and at calls as old."""
    found = Inventory(scheduled=(START,))
    again, later = Store([found, found]), Store([found, Inventory()])
    age = timedelta(hours=1)
    assert half(again, limit=7, calls_older_than=age) == Drift(starts_missing=(START,))
    assert half(later, limit=7, calls_older_than=age) == Drift()
    assert again.asked == later.asked == [(7, age), {"start"}, (7, age)]


@HALVES
def test_a_store_without_an_inspection_says_so(half: Half) -> None:
    """The scheduler is not asked."""
    store = Store([], has_inspection=False)
    with pytest.raises(
        StoreFailed, match="this store offers no inspection: its `inspection` is None"
    ):
        half(store)
    assert store.asked == []


class Blind:
    """A scheduler that can cancel, and cannot report what waits."""

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        """Never be called."""
        raise AssertionError


def inspected(half: Half, store: Store, scheduler: Any) -> Drift:
    """Inspect a store beside another scheduler."""
    if half is blocking:
        both: Any = store
        return inspect(uow=both, scheduler=scheduler)
    other: Any = AsyncStore(store)
    return asyncio.run(inspect_async(uow=other, scheduler=scheduler))


@HALVES
@pytest.mark.parametrize("nothing", [object(), None, "redis://localhost", Blind])
def test_what_is_no_scheduler_is_refused(half: Half, nothing: Any) -> None:
    """Before the store is asked."""
    store = Store([])
    with pytest.raises(TypeError, match=r"^the scheduler (has no method `cancel`|is the class)"):
        inspected(half, store, nothing)
    assert store.asked == []


@HALVES
def test_a_scheduler_that_cannot_see_what_waits_leaves_the_rest(half: Half) -> None:
    """What the store alone knows is reported, and that nothing was seen of the starts."""
    nameless = DeferredStart(JobKey("nameless"), None)
    store = Store([Inventory(scheduled=(START, nameless))] * 2)
    assert inspected(half, store, Blind()) == Drift(starts_missing=(nameless,), starts_seen=False)
    clean = inspected(half, Store([Inventory(scheduled=(START,))]), Blind())
    assert clean == Drift(starts_seen=False)
    assert not clean.is_found


@HALVES
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (SchedulerUnavailable("Redis did not answer within 250 ms"), "Redis did not answer"),
        (LookupError("hunter2"), "it raised LookupError"),
        (AttributeError("it has no pool"), "it raised AttributeError: it has no pool"),
    ],
)
def test_a_scheduler_that_does_not_answer_is_a_finding(
    half: Half, fault: Exception, sentence: str
) -> None:
    """Never "no drift"; what the store knows is reported with it."""

    class Silent(Store):
        def waiting_among(self, deferred_ids: object) -> frozenset[str]:
            raise fault

    found = half(Silent([Inventory(scheduled=(START,))] * 2))
    assert found.is_found
    assert (found.starts_missing, found.starts_seen) == ((), False)
    assert found.scheduler_fault is not None
    assert found.scheduler_fault.startswith(sentence)
    assert "hunter2" not in found.scheduler_fault


def test_a_scheduler_whose_answer_is_to_be_awaited_is_refused() -> None:
    """It shows only in what it returned."""

    async def answer() -> frozenset[str]:
        return frozenset()

    class Late(Store):
        def waiting_among(self, deferred_ids: object) -> Any:
            return answer()

    with pytest.raises(TypeError, match="returned an awaitable"):
        blocking(Late([Inventory(scheduled=(START,))] * 2))


@HALVES
def test_an_answer_that_is_no_set_is_a_finding(half: Half) -> None:
    """As any other answer that says nothing."""

    class Odd(Store):
        def waiting_among(self, deferred_ids: object) -> Any:
            return 5

    found = half(Odd([Inventory(scheduled=(START,))] * 2))
    assert found.scheduler_fault == "it raised TypeError: 'int' object is not iterable"
