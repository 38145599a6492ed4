"""The memory stores of the tests: a transaction is written once, and run against either."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import (
    JobKey,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryStore,
    MemoryStore,
)
from batch_cancel.domain.cancellation import CancelRequest, plan_cancellation
from batch_cancel.domain.job import CancellationRecord

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SOME_DAY = datetime(2999, 1, 1, tzinfo=UTC)
AT_ONCE = timedelta(0)
FOR_LONG = timedelta(days=1)


# Halves: a transaction is written once, as a coroutine, and run against either store -------------


@attrs.frozen
class Waited:
    """The blocking ports with methods that can be awaited."""

    port: Any

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.port, name)
        if not callable(found):
            return Waited(found)

        async def call(*arguments: Any) -> Any:
            return found(*arguments)

        return call


class BlockingStore(MemoryStore):
    """A memory store, and its transactions as if they were asyncio's."""

    @asynccontextmanager
    async def awaited(self) -> AsyncGenerator[Any]:
        """Open a transaction."""
        with self.begin() as repositories:
            yield Waited(repositories)


class AsyncioStore(AsyncMemoryStore):
    """An asyncio memory store."""

    @asynccontextmanager
    async def awaited(self) -> AsyncGenerator[Any]:
        """Open a transaction."""
        async with self.begin() as repositories:
            yield repositories


Store = BlockingStore | AsyncioStore


@pytest.fixture(params=[BlockingStore, AsyncioStore])
def store(request: pytest.FixtureRequest) -> Store:
    """Return a store with one running job of three contacts."""
    made: Store = request.param()
    made.add_job("job", "running")
    made.add_contacts("job", {"ann": "pending", "bob": "dialing", "eve": "busy"})
    return made


async def cancelled(repositories: Any, batch_job_id: str = "job") -> CancellationRecord:
    """Cancel the rows of a job within an open transaction."""
    job = await repositories.jobs.lock(JobKey(batch_job_id))
    plan: Any = plan_cancellation(CancelRequest(JobKey(batch_job_id), "op-1"), job)
    contacts = await repositories.contacts.cancel(plan.job.key, plan.contact_statuses)
    record: CancellationRecord = plan.record(contacts)
    await repositories.jobs.mark_cancelled(job, record)
    return record


def status_of(store: Store) -> str | None:
    """Return the committed status of the job."""
    job = store.job("job")
    assert job is not None
    return job.status


class Undo(Exception):
    """What a test raises to roll a transaction back."""


@contextmanager
def undone() -> Generator[None]:
    """Expect `Undo`."""
    with pytest.raises(Undo):
        yield
