"""The workers' steps on a store that fails: what is tried again, and what is not offered."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import start_job, start_job_async
from batch_cancel.adapters.memory import AsyncMemoryStore, MemoryStore
from batch_cancel.domain.errors import Fault, StoreFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


@attrs.define
class Failing:
    """A store whose first transactions fail as said."""

    store: Any
    faults: list[StoreFailed]
    pauses: list[int] = attrs.field(factory=list[int])

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Fail, or lend the store."""
        if self.faults:
            raise self.faults.pop(0)
        with self.store.begin() as repositories:
            yield repositories

    def pause(self, attempts: int) -> None:
        """Note the wait."""
        self.pauses.append(attempts)


@attrs.define
class AsyncFailing:
    """A store whose first transactions fail as said."""

    store: Any
    faults: list[StoreFailed]
    pauses: list[int] = attrs.field(factory=list[int])

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Fail, or lend the store."""
        if self.faults:
            raise self.faults.pop(0)
        async with self.store.begin() as repositories:
            yield repositories

    async def pause(self, attempts: int) -> None:
        """Note the wait."""
        self.pauses.append(attempts)


def start(kind: str, faults: list[StoreFailed]) -> tuple[bool, list[int]]:
    """Start a scheduled job on a store that fails like this; give the answer and the waits."""
    if kind == "blocking":
        store = MemoryStore()
        store.add_job("job")
        failing = Failing(store, faults)
        return start_job("job", uow=failing), failing.pauses
    async_store = AsyncMemoryStore()
    async_store.add_job("job")
    async_failing = AsyncFailing(async_store, faults)
    return asyncio.run(start_job_async("job", uow=async_failing)), async_failing.pauses


KINDS = pytest.mark.parametrize("kind", ["blocking", "asyncio"])


@KINDS
def test_a_conflict_is_tried_again(kind: str) -> None:
    """It certainly did not happen."""
    conflict = StoreFailed("deadlock", "unchanged", Fault.CONFLICT)
    assert start(kind, [conflict, conflict]) == (True, [1, 2])


@KINDS
@pytest.mark.parametrize(
    "fault",
    [
        StoreFailed("lost", "unknown", Fault.INTERRUPTED),
        StoreFailed("locked", "unchanged", Fault.BUSY),
        StoreFailed("no such table"),
    ],
    ids=["unknown", "busy", "refused"],
)
def test_what_may_have_happened_or_will_not_help_is_the_callers(
    kind: str, fault: StoreFailed
) -> None:
    """Repeated, a step that happened would answer False."""
    with pytest.raises(StoreFailed) as failure:
        start(kind, [fault])
    assert failure.value is fault


class Nothing:
    """A transaction of a store that leaves the workers' steps to the adopter."""

    work = None


class Bare:
    """A store that leaves the workers' steps to the adopter."""

    @contextmanager
    def begin(self) -> Generator[Nothing]:
        """Lend nothing."""
        yield Nothing()


def test_a_store_may_not_offer_the_steps() -> None:
    """One sentence says so."""
    store: Any = Bare()
    with pytest.raises(StoreFailed, match="its `work` is None"):
        start_job("job", uow=store)
