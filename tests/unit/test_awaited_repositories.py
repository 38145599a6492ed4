"""The repositories of a blocking store in wrappers that look awaited."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from batch_cancel import ContactStatus, cancel_job, settle_contact, start_job
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.adapters.memory.repositories import MemoryRepositories
from batch_cancel.use_cases.awaited_repositories import AwaitedRepositories

PARTS = (
    "jobs",
    "contacts",
    "outbox",
    "inspection",
    "work",
    "overview",
    "history",
    "bulk",
    "sweep",
)


@pytest.mark.parametrize("part", PARTS)
def test_each_repository_is_called_as_its_store_says(part: str) -> None:
    """Such as by SQLAlchemy on the connection of an engine of asyncio."""
    rows: Any = {}
    told: Any = object()
    blocking = MemoryRepositories.of(rows, 1, is_joined=False)
    wrapper = getattr(AwaitedRepositories(blocking, told), part)
    assert (wrapper.port, wrapper.call) == (getattr(blocking, part), told)


class Part:
    """Part of a store, of which one method is a coroutine function."""

    def __init__(self, part: Any, method: str) -> None:
        self._part = part
        self._method = method

    def __getattr__(self, name: str) -> Any:
        """Return another part, or a method."""
        found = getattr(self._part, name)
        if name != self._method:
            return found if callable(found) or found is None else Part(found, self._method)

        async def awaited(*arguments: object) -> Any:
            return found(*arguments)

        return awaited


class Mistaken:
    """A blocking store, of which one method is `async def` by mistake."""

    def __init__(self, store: MemoryStore, method: str) -> None:
        self._store = store
        self._method = method

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Begin."""
        with self._store.begin() as repositories:
            yield Part(repositories, self._method)


@pytest.mark.parametrize(
    ("method", "step"),
    [
        ("mark_cancelled", lambda uow: cancel_job("job", uow=uow, scheduler=MemoryScheduler())),
        ("settle", lambda uow: settle_contact("job", "live", ContactStatus.BUSY, uow=uow)),
        ("start", lambda uow: start_job("job", uow=uow)),
    ],
)
def test_a_method_of_a_store_that_is_awaited_by_mistake_is_named_as_one(
    method: str, step: Callable[[Any], object]
) -> None:
    """Nothing is changed: what it would have done was not done."""
    store = MemoryStore()
    store.add_job("job", "pending", contacts={"live": "dialing", "open": "pending"})
    with pytest.raises(TypeError, match=r"returned an awaitable \(coroutine\), and this function"):
        step(Mistaken(store, method))
    job = store.job("job")
    assert job is not None
    assert job.status == "pending"
    assert store.contacts("job") == {"live": "dialing", "open": "pending"}
    gc.collect()
