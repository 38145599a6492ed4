"""
The smallest ports that an adopter could write, blocking and asyncio.

Every port writes down that it was called, and does there what the test tells it to do: answer, or
raise. Each test runs the blocking half and the asyncio half of the use case.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs
import pytest

from batch_cancel import (
    Cancellation,
    CancelResult,
    JobKey,
    JobStatus,
    Removal,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.domain.job import CancellationRecord, Job

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDRESS = "redis://admin:hunter2@10.0.0.7:6379"


# Ports -------------------------------------------------------------------------------------------


@attrs.define
class Script:
    """
    What the ports do when they are called, and what was called.

    Arguments:
        job: what `lock` finds.
        contacts: what `contacts.cancel` answers.
        removed: what the scheduler answers.
        found: what `outbox.find` finds.
        faults: what to raise instead, by the number of the call, from 1.
        calls: what was called, in order.
        arguments: with which arguments.
    """

    job: Any = None
    contacts: Any = 58
    removed: Any = True
    found: Any = None
    faults: Mapping[int, BaseException] = attrs.field(factory=dict[int, BaseException])
    calls: list[str] = attrs.field(factory=list[str])
    arguments: list[tuple[Any, ...]] = attrs.field(factory=list[tuple[Any, ...]])

    def call(self, name: str, *arguments: Any) -> None:
        """Note a call, and raise if this one is to fail."""
        self.calls.append(name)
        self.arguments.append(arguments)
        fault = self.faults.get(len(self.calls))
        if fault is not None:
            raise fault

    def given(self, name: str) -> tuple[Any, ...]:
        """Return the arguments of the only call of this name."""
        [index] = [index for index, call in enumerate(self.calls) if call == name]
        return self.arguments[index]


@attrs.frozen
class Repositories:
    """One transaction, all of it; without records where `outbox` is None."""

    script: Script
    keeps_records: bool = True

    @property
    def outbox(self) -> Repositories | None:
        """What is still owed."""
        return self if self.keeps_records else None

    @property
    def jobs(self) -> Jobs:
        """The jobs."""
        return Jobs(self.script)

    @property
    def contacts(self) -> Contacts:
        """The contacts."""
        return Contacts(self.script)

    def settle(self, record: CancellationRecord) -> None:
        """Note what was done."""
        self.script.call("settle", record)

    def find(self, key: JobKey) -> CancellationRecord | None:
        """Find the record of the script."""
        self.script.call("find", key)
        found: CancellationRecord | None = self.script.found
        return found


@attrs.frozen
class Jobs:
    """The jobs."""

    script: Script

    def lock(self, key: JobKey) -> Job | None:
        """Find the job of the script."""
        self.script.call("lock", key)
        job: Job | None = self.script.job
        return job

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        """Do nothing but note the call."""
        self.script.call("mark_cancelled", job, record)


@attrs.frozen
class Contacts:
    """The contacts."""

    script: Script

    def cancel(self, key: JobKey, statuses: AbstractSet[str]) -> int:
        """Count what the script says."""
        self.script.call("cancel_contacts", key, statuses)
        contacts: int = self.script.contacts
        return contacts


@attrs.frozen
class Store:
    """A unit of work."""

    script: Script
    repositories: Any = None

    @contextlib.contextmanager
    def begin(self) -> Generator[Any]:
        """Note begin, and commit or rollback."""
        self.script.call("begin")
        try:
            yield self.repositories or Repositories(self.script)
        except BaseException:
            self.script.calls.append("rollback")
            self.script.arguments.append(())
            raise
        self.script.call("commit")


class JoinedStore(Store):
    """A unit of work that says whether it is within a transaction of the caller's."""

    @property
    def is_joined(self) -> Any:
        """Return what the test has said."""
        return self.repositories


@attrs.frozen
class Clock:
    """A scheduler."""

    script: Script

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Answer what the script says."""
        self.script.call("scheduler", deferred_id, operation_id)
        removed: bool = self.script.removed
        return removed


@attrs.frozen
class Awaitable:
    """The asyncio twin of any port: the same, its methods as coroutines."""

    port: Any

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.port, name)
        if not callable(found):
            return found if found is None else Awaitable(found)

        async def call(*arguments: Any, **named: Any) -> Any:
            return found(*arguments, **named)

        return call


@attrs.frozen
class AwaitableStore:
    """The asyncio twin of a store."""

    store: Any

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncGenerator[Any]:
        """Hand on what the store does."""
        with self.store.begin() as repositories:
            await asyncio.sleep(0)
            yield Awaitable(repositories)


class AwaitablePatientStore(AwaitableStore):
    """The asyncio twin of a store that can be begun again."""

    async def pause(self, attempts: int) -> None:
        """Hand on the wait."""
        self.store.pause(attempts)


class AwaitableJoinedStore(AwaitableStore):
    """The asyncio twin of a store that may be within a transaction of the caller's."""

    @property
    def is_joined(self) -> Any:
        """Hand on what the store says."""
        return self.store.is_joined


def awaitable_store(store: Any) -> AwaitableStore:
    """Return the asyncio twin of a store, of its own capabilities."""
    if isinstance(store, JoinedStore):
        return AwaitableJoinedStore(store)
    return (AwaitablePatientStore if hasattr(store, "pause") else AwaitableStore)(store)


# Halves ------------------------------------------------------------------------------------------


@attrs.frozen
class Half:
    """The use cases, blocking or asyncio, called alike."""

    cancel_job: Callable[..., CancelResult]
    cancel_rows: Callable[..., Cancellation]
    remove_deferred: Callable[..., CancelResult]


def finished(coroutine: Coroutine[None, None, Any]) -> Any:
    """
    Run a coroutine to its end without an event loop, so that what it raises comes as it is.

    `asyncio.run` would make a new CancelledError, and has ways of its own with KeyboardInterrupt.
    """
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value


def in_asyncio(function: Callable[..., Any], *arguments: Any, **ports: Any) -> Any:
    """Call an asyncio half with the twins of these ports."""
    twins = {"uow": awaitable_store, "scheduler": Awaitable}
    given = [Awaitable(it) if isinstance(it, Clock) else it for it in arguments]
    named = {
        name: twins[name](it) if name in twins and it is not None else it
        for name, it in ports.items()
    }
    return finished(function(*given, **named))


HALVES = {
    "blocking": Half(cancel_job, cancel_rows, remove_deferred),
    "asyncio": Half(
        partial(in_asyncio, cancel_job_async),
        partial(in_asyncio, cancel_rows_async),
        partial(in_asyncio, remove_deferred_async),
    ),
}


@pytest.fixture(params=sorted(HALVES))
def half(request: pytest.FixtureRequest) -> Half:
    """Return one half of the use cases."""
    return HALVES[request.param]


def cancel(half: Half, script: Script, batch_job_id: str = "job", **more: Any) -> CancelResult:
    """Cancel the job of a script."""
    ports: dict[str, Any] = {"uow": Store(script), "scheduler": Clock(script)}
    return half.cancel_job(batch_job_id, **(ports | more))


def job(status: Any = "scheduled", **more: Any) -> Job:
    """Return a job as a store would."""
    values: dict[str, Any] = {
        "key": JobKey("job"),
        "status": status,
        "deferred_id": "arq_job_abc123",
        "locked_at": NOON,
    }
    return Job(**(values | more))


def record(removal: Removal = Removal.PENDING, operation_id: str = "op-1") -> CancellationRecord:
    """Return what an earlier cancellation left."""
    return CancellationRecord(
        operation_id=operation_id,
        key=JobKey("job"),
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=7,
        actor=None,
        reason=None,
        cancelled_at=NOON,
        deferred_id="arq_job_abc123",
        removal=removal,
    )


ROWS = ["begin", "lock", "cancel_contacts", "mark_cancelled", "commit"]
ALL = [*ROWS, "scheduler", "begin", "settle", "commit"]


@pytest.fixture(autouse=True)
def _no_coroutine_is_forgotten(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """Look for coroutines that nobody awaited: promises that nobody kept."""
    yield
    assert not [it for it in recwarn if "never awaited" in str(it.message)]
