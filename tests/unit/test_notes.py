"""The notes of a reconcile pass: many in one transaction, and each by itself if that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from batch_cancel import (
    Removal,
    SchedulerUnavailable,
    StoreFailed,
    cancel_job,
    cancel_job_async,
    cancellations,
    cancellations_async,
    reconcile,
    reconcile_async,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.domain.defaults import NOTED_TOGETHER
from batch_cancel.domain.retry import SILENCES_MAX

NOW = timedelta(0)


class Down(MemoryScheduler):
    """A scheduler that does not answer."""

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Raise."""
        reason = "down"
        raise SchedulerUnavailable(reason)


class AsyncDown(AsyncMemoryScheduler):
    """As `Down`, awaited."""

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Raise."""
        reason = "down"
        raise SchedulerUnavailable(reason)


@attrs.define
class Outbox:
    """The outbox of a store, whose notes are counted."""

    outbox: Any
    store: Store
    noted: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.outbox, name)

    def settle(self, record: Any) -> None:
        """Note a record, unless it is not to be."""
        if self.store.refuses(record, self.noted):
            reason = "not noted"
            raise StoreFailed(reason)
        self.noted += 1
        self.outbox.settle(record)


class Store(MemoryStore):
    """A store that refuses some notes and counts those of each transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.attempts = 0
        self.refuses: Any = lambda _record, _noted: False

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction."""
        with super().begin() as repositories:
            outbox = Outbox(repositories.outbox, self)
            yield SimpleNamespace(
                jobs=repositories.jobs,
                contacts=repositories.contacts,
                outbox=outbox,
                history=repositories.history,
            )
            if outbox.noted:
                self.sizes.append(outbox.noted)

    def left(self) -> int:
        """Return how many removals are pending."""
        records = cancellations(uow=self, limit=200).records
        return sum(record.removal is Removal.PENDING for record in records)


def pending(number: int) -> Store:
    """Return a store with so many cancelled jobs whose removals are pending."""
    store = Store()
    for job in range(number):
        store.add_job(f"job-{job}", "scheduled", deferred_id=f"start-{job}")
        cancel_job(f"job-{job}", uow=store, scheduler=Down())
    store.sizes.clear()
    return store


def test_notes_are_written_together() -> None:
    """As many as one transaction takes, then the rest."""
    store = pending(NOTED_TOGETHER + 20)
    reconcile(uow=store, scheduler=MemoryScheduler(), lease=NOW)
    assert store.sizes == [NOTED_TOGETHER, 20]
    assert store.left() == 0


def test_a_note_that_fails_keeps_no_other_from_being_made() -> None:
    """Its transaction fails; then each is noted in one of its own, however many they are."""
    store = pending(30)
    store.refuses = lambda record, _: record.key.batch_job_id == "job-2"
    reconcile(uow=store, scheduler=MemoryScheduler(), lease=NOW)
    assert store.sizes == [1] * 29
    assert store.left() == 1


def test_notes_are_in_the_order_of_organizations_and_ids() -> None:
    """A job of no organization comes first; two that note the same wait in no circle."""
    store, noted = Store(), list[str]()
    for job_id, organization_id in (("a", "A"), ("b", None), ("c", "A")):
        more: dict[str, Any] = {"organization_id": organization_id}
        store.add_job(job_id, "scheduled", deferred_id=f"start-{job_id}", **more)
        cancel_job(job_id, uow=store, scheduler=Down(), **more)
    store.refuses = lambda record, _: noted.append(record.key.batch_job_id)
    reconcile(uow=store, scheduler=MemoryScheduler(), lease=NOW)
    assert noted == ["b", "a", "c"]


def test_a_store_that_notes_nothing_is_not_asked_for_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As a scheduler that is down; each record that is left is in the log."""
    store = pending(30)
    asked: list[Any] = []

    def refuses(record: Any, _: int) -> bool:
        asked.append(record)
        return True

    store.refuses = refuses
    caplog.clear()
    with caplog.at_level(logging.WARNING, "batch_cancel"):
        reconcile(uow=store, scheduler=MemoryScheduler(), lease=NOW)
    assert SILENCES_MAX < len(asked) < 15
    assert store.left() == 30
    assert [it.getMessage() for it in caplog.records] == [
        f"batch job 'job-{number}' is cancelled, but what was done after the commit could not be "
        "noted (StoreFailed); reconcile will finish it"
        for number in range(30)
    ]


def test_what_was_removed_before_an_interruption_is_noted() -> None:
    """The interruption then goes on."""

    class Interrupted(MemoryScheduler):
        asked = 0

        def cancel(self, deferred_id: str, operation_id: str) -> bool:
            self.asked += 1
            if self.asked == 4:
                raise KeyboardInterrupt
            return super().cancel(deferred_id, operation_id)

    store = pending(6)
    with pytest.raises(KeyboardInterrupt):
        reconcile(uow=store, scheduler=Interrupted(), lease=NOW)
    assert store.sizes == [3]
    assert store.left() == 3


def test_a_pass_that_is_closed_awaits_nothing_more() -> None:
    """As when its event loop is gone: its records stay pending."""

    class Forever:
        def __await__(self) -> Generator[None]:
            yield

    class Stuck(AsyncMemoryScheduler):
        async def cancel(self, deferred_id: str, operation_id: str) -> bool:
            if deferred_id == "start-1":
                await Forever()
            return await super().cancel(deferred_id, operation_id)

    async def closed() -> int:
        store = AsyncMemoryStore()
        for job in range(2):
            store.add_job(f"job-{job}", "scheduled", deferred_id=f"start-{job}")
            await cancel_job_async(f"job-{job}", uow=store, scheduler=AsyncDown())
        going = reconcile_async(uow=store, scheduler=Stuck(), lease=NOW)
        going.send(None)
        going.close()
        page = await cancellations_async(uow=store)
        return sum(record.removal is Removal.PENDING for record in page.records)

    assert asyncio.run(closed()) == 2
