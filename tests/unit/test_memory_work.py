"""What a worker's step costs a memory store: what it changes, not what the job has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import (
    ContactStatus,
    JobKey,
    append_contacts,
    claim_contacts,
    finish_job,
    settle_contact,
)
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.adapters.memory.contacts import Contacts


@attrs.define
class Work:
    """Work, counted: no clock is asked."""

    calls: int = 0
    """How often a function was called, or a generator asked for one more."""
    copies: int = 0
    """How many contacts and entries of the index were copied."""

    @contextmanager
    def of(self, store: MemoryStore) -> Generator[None]:
        """Count the work of a step."""
        before = kept(store)
        outer = sys.getprofile()
        sys.setprofile(self._count)
        try:
            yield
        finally:
            sys.setprofile(outer)
        known = {id(part) for part in parts(before)}
        self.copies += sum(len(part) for part in parts(kept(store)) if id(part) not in known)

    def _count(self, _frame: object, event: str, _argument: object) -> None:
        self.calls += event in {"call", "c_call"}


def kept(store: MemoryStore) -> Contacts:
    """Return the contacts of the job as last committed."""
    return store._committed[JobKey("job")].contacts


def parts(contacts: Contacts) -> list[Any]:
    """Return what two versions of a job's contacts may share."""
    return [*contacts._layers, *contacts._index._chunks]


def running_job(size: int) -> MemoryStore:
    """Return a store with a running job of so many contacts to call."""
    store = MemoryStore()
    store.add_job("job", "running")
    store.add_contacts("job", {f"{number:05}": "pending" for number in range(size)})
    return store


def drained(size: int, limit: int) -> Work:
    """Return the work of calling every contact of a job."""
    store, work, called = running_job(size), Work(), 0
    while True:
        with work.of(store):
            claimed = claim_contacts("job", limit=limit, uow=store)
        for contact_id in claimed:
            with work.of(store):
                settle_contact("job", contact_id, ContactStatus.COMPLETED, uow=store)
        called += len(claimed)
        with work.of(store):
            if finish_job("job", uow=store):
                break
    assert called == size
    return work


@pytest.mark.parametrize("limit", [1, 10])
def test_twice_as_many_contacts_are_called_with_twice_the_work(limit: int) -> None:
    """A step that read or copied the whole job would make it four times the work."""
    once, twice = drained(500, limit), drained(1_000, limit)
    assert 1.8 < twice.calls / once.calls < 2.2
    assert 1.8 < twice.copies / once.copies < 2.4


STEPS: dict[str, Callable[[MemoryStore, str], object]] = {
    "claim": lambda store, _: claim_contacts("job", limit=10, uow=store),
    "settle": lambda store, it: settle_contact("job", it, ContactStatus.BUSY, uow=store),
    "append": lambda store, _: append_contacts("job", [{"id": "x"}], uow=store),
    "finish": lambda store, _: finish_job("job", uow=store),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_no_more_work_in_a_large_job(step: str) -> None:
    """Sixteen times as many contacts, half of them called, and about as much to do."""
    works: list[Work] = []
    for size in (500, 8_000):
        store = running_job(size)
        store.add_contacts("job", {f"{number:05}": "completed" for number in range(size // 2)})
        [claimed] = claim_contacts("job", limit=1, uow=store)
        work = Work()
        with work.of(store):
            STEPS[step](store, claimed)
        works.append(work)
    small, large = works
    assert large.calls < 1.1 * small.calls
    assert large.copies < 2 * small.copies + 100


def test_a_contact_that_is_added_again_keeps_when_it_is_due() -> None:
    """Its status alone is seeded."""
    store = MemoryStore()
    store.add_job("job", "running")
    store.add_contacts("job", {"ann": "pending"})
    assert claim_contacts("job", uow=store, limit=1) == ["ann"]
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    settle_contact("job", "ann", ContactStatus.BUSY, uow=store, retry_at=in_an_hour)
    store.add_contacts("job", {"ann": "no_answer"})
    assert claim_contacts("job", uow=store, limit=1) == []
