"""Which job the errors of a cancel name, and whose cancel a retry finds."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from batch_cancel import CancelFailed, JobKey, JobNotFound, cancel_job, cancel_rows
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.adapters.memory.repositories import MemoryRepositories
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.use_cases.cancel import cancel_rows_async

OUT_OF_ORDER = "it is out of order"


class AskedInVain(MemoryStore):
    """It fails when it is asked whether it joins a transaction."""

    @property
    def is_joined(self) -> bool:
        """Fail."""
        raise RuntimeError(OUT_OF_ORDER)


class Interrupted(MemoryStore):
    """It is interrupted once, after the work, and then asks for a pause."""

    failure = StoreFailed("deadlock", fault=Fault.INTERRUPTED)

    def __init__(self) -> None:
        super().__init__()
        self.failures = [self.failure]

    @contextmanager
    def begin(self) -> Generator[MemoryRepositories]:
        """Begin, and fail at the end, once."""
        with super().begin() as repositories:
            yield repositories
        if self.failures:
            raise self.failures.pop()

    def pause(self, attempts: int) -> None:
        """Wait for nothing."""


class CannotPause(Interrupted):
    """It fails when it is asked to wait."""

    def pause(self, attempts: int) -> None:
        """Fail."""
        raise RuntimeError(OUT_OF_ORDER)


class LosesAnswers(Interrupted):
    """The answer to its first commit is lost."""

    failure = StoreFailed("cut", "unknown", Fault.INTERRUPTED)


@pytest.mark.parametrize("kind", [AskedInVain, CannotPause], ids=["joined", "pause"])
def test_whatever_a_store_raises_names_the_job(kind: type[MemoryStore]) -> None:
    """Before a transaction begins, and between two."""
    store = kind()
    store.add_job("job", "running")
    with pytest.raises(CancelFailed) as caught:
        cancel_rows("job", uow=store, organization_id=None)
    assert caught.value.key == JobKey("job")
    assert (caught.value.outcome, caught.value.fault) == ("unchanged", Fault.REFUSED)
    assert OUT_OF_ORDER in str(caught.value.__cause__)


def test_a_job_that_cannot_exist_is_named() -> None:
    """No text of a database holds its id."""
    with pytest.raises(JobNotFound) as caught:
        cancel_job("\0", uow=MemoryStore(), scheduler=MemoryScheduler())
    assert caught.value.key == JobKey("\0")


@pytest.mark.parametrize("was_cancelled_before", [True, False])
def test_a_retry_after_a_lost_answer_knows_whose_cancel_it_finds(
    *, was_cancelled_before: bool
) -> None:
    """That of this call is no replay; that of an earlier one is."""
    store, scheduler = LosesAnswers(), MemoryScheduler()
    store.add_job("job", "running")
    if was_cancelled_before:
        store.failures.clear()
        cancel_job("job", uow=store, scheduler=scheduler, operation_id="op")
        store.failures.append(store.failure)
    result = cancel_job("job", uow=store, scheduler=scheduler, operation_id="op")
    assert store.failures == []
    assert result.replayed is was_cancelled_before


def test_what_a_store_returns_instead_of_a_job_is_closed() -> None:
    """Else Python would warn of a coroutine that nobody awaited."""

    async def find() -> None:
        """Find nothing."""

    found: Coroutine[Any, Any, None] = find()

    class Jobs:
        async def lock(self, _key: JobKey) -> object:
            return found

    class Given:
        jobs = Jobs()

    class Store:
        def begin(self) -> Any:
            return self

        async def __aenter__(self) -> Given:
            return Given()

        async def __aexit__(self, *_: object) -> None:
            pass

    store: Any = Store()
    with pytest.raises(CancelFailed, match="returned coroutine instead of a Job"):
        asyncio.run(cancel_rows_async("job", uow=store))
    assert inspect.getcoroutinestate(found) == inspect.CORO_CLOSED
