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
from batch_cancel.domain.drift import DeferredStart, Drift, Inventory
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.guards import CALL_AGE_SUSPECT
from batch_cancel.domain.model import CANCELLABLE_CONTACTS

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
        """Give the next inventory."""
        assert statuses == CANCELLABLE_CONTACTS
        self.asked.append((limit, older_than))
        return self.inventories.pop(0)

    def waiting_among(self, deferred_ids: object) -> frozenset[str]:
        """Give the starts that wait."""
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
        """Give the next inventory."""
        return self.store.look(limit, statuses, older_than)

    async def waiting_among(self, deferred_ids: object) -> frozenset[str]:
        """Give the starts that wait."""
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
    with pytest.raises(StoreFailed, match="this store offers no inspection: its `repositories"):
        half(store)
    assert store.asked == []


@HALVES
def test_a_scheduler_that_cannot_tell_is_refused(half: Half) -> None:
    """By its name, and before the store is asked."""
    run: Any = inspect if half is blocking else lambda **it: asyncio.run(inspect_async(**it))
    store = Store([])
    with pytest.raises(TypeError, match=r"^object cannot tell what waits"):
        run(uow=store, scheduler=object())
    assert store.asked == []
