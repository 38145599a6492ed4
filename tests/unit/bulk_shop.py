"""A shop of jobs to cancel by the dozen, by either half of the use case."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from batch_cancel import (
    BulkResult,
    CancellationRecord,
    JobFilter,
    JobKey,
    cancel_jobs,
    cancel_jobs_async,
)
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from tests.unit.scripted_ports import Awaitable, awaitable_store, finished

TOMORROW = datetime.now(UTC) + timedelta(days=1)


class Unplugged(Exception):
    """What a store raises that nobody has foreseen."""


class Shop(MemoryStore):
    """
    A store of jobs, each with a deferred start and two contacts, that notes what it is asked.

    Arguments:
        jobs: how many.
        faults: what to raise at the end of which transaction that has locked jobs, from 1: before
            its commit, or after it if the outcome is unknown.
        poison: jobs that no transaction can lock, and how they fail.
        has_bulk: whether it has the bulk port.
    """

    def __init__(
        self,
        jobs: int = 0,
        *,
        faults: Mapping[int, Exception] | None = None,
        poison: Mapping[str, Exception] | None = None,
        has_bulk: bool = True,
    ) -> None:
        super().__init__()
        self.scheduler = MemoryScheduler()
        self.faults, self.poison, self.has_bulk = faults or {}, poison or {}, has_bulk
        self.locked: list[tuple[str, ...]] = []
        self.found: list[tuple[JobKey | None, int]] = []
        self.notes: list[int] = []
        self.noted: list[str] = []
        self.pauses: list[int] = []
        for number in range(jobs):
            self.put(f"job-{number:03}")

    def put(self, job_id: str, status: str | None = "scheduled", **more: Any) -> None:
        """Add a job."""
        self.add_job(job_id, status, deferred_id=f"start-{job_id}", **more)
        organization_id = more.get("organization_id")
        self.add_contacts(job_id, {"1": "pending", "2": "dialing"}, organization_id)
        self.scheduler.schedule(f"start-{job_id}", TOMORROW)

    def pause(self, attempts: int) -> None:
        """Wait for nothing."""
        self.pauses.append(attempts)

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction."""
        before, fault, notes = len(self.locked), None, [0]
        with super().begin() as repositories:
            yield Seen(self, repositories, notes)
            if len(self.locked) > before:
                fault = self.faults.get(len(self.locked))
            if fault is not None and getattr(fault, "outcome", "unchanged") == "unchanged":
                raise fault
        self.notes += [it for it in notes if it]
        if fault is not None:
            raise fault

    def lock(self, keys: tuple[JobKey, ...]) -> None:
        """Note that jobs are locked, and fail if one is poison."""
        self.locked.append(tuple(key.batch_job_id for key in keys))
        for key in keys:
            if key.batch_job_id in self.poison:
                raise self.poison[key.batch_job_id]

    def record(self, job_id: str) -> CancellationRecord:
        """Return the record of a job that is cancelled."""
        job = self.job(job_id)
        assert job is not None
        assert job.cancellation is not None
        return job.cancellation

    def statuses(self) -> list[str | None]:
        """Return the status of each job."""
        return [row.status for row in self._committed.values()]


@attrs.frozen
class Seen:
    """The repositories of one transaction; what locks and notes is seen."""

    shop: Shop
    port: Any
    notes: list[int]

    def __getattr__(self, name: str) -> Any:
        if name == "bulk" and not self.shop.has_bulk:
            raise AttributeError(name)
        found = getattr(self.port, name)
        return Locks(self, found) if name in {"bulk", "jobs", "outbox"} else found


@attrs.frozen
class Locks:
    """A repository whose locks and notes are seen."""

    seen: Seen
    port: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)

    def lock(self, keys: Any) -> Any:
        """Lock jobs, or one."""
        self.seen.shop.lock((keys,) if isinstance(keys, JobKey) else tuple(keys))
        return self.port.lock(keys)

    def find(self, *asked: Any) -> Any:
        """Find jobs, or a record."""
        if len(asked) > 1:
            self.seen.shop.found.append(asked[1:])
        return self.port.find(*asked)

    def settle(self, record: Any) -> None:
        """Note what was done."""
        self.seen.notes[0] += 1
        self.seen.shop.noted.append(record.key.batch_job_id)
        self.port.settle(record)


def awaited(jobs: Any, *, uow: Any, scheduler: Any, **more: Any) -> BulkResult:
    """Cancel by the asyncio half."""
    ports: dict[str, Any] = {"uow": awaitable_store(uow), "scheduler": Awaitable(scheduler)}
    result: BulkResult = finished(cancel_jobs_async(jobs, **ports, **more))
    return result


Bulk = Callable[..., BulkResult]


@pytest.fixture(params=[cancel_jobs, awaited], ids=["blocking", "asyncio"])
def bulk(request: pytest.FixtureRequest) -> Bulk:
    """Return one half of the use case; it takes a shop with its scheduler."""

    def call(jobs: Any, shop: Shop, **more: Any) -> BulkResult:
        ports: dict[str, Any] = {"uow": shop, "scheduler": shop.scheduler, "operation_id": "op"}
        result: BulkResult = request.param(jobs, **(ports | more))
        return result

    return call


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut by 20 instead of 200, and note by 10 instead of 100."""
    monkeypatch.setattr("batch_cancel.domain.bulk.BULK_SLICE", 20)
    monkeypatch.setattr("batch_cancel.use_cases.bulk_finish.NOTED_TOGETHER", 10)


@pytest.fixture(autouse=True)
def _no_coroutine_is_forgotten(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert not [it for it in recwarn if "never awaited" in str(it.message)]


def ids(number: int) -> list[str]:
    """Return the ids of so many jobs of a shop."""
    return [f"job-{it:03}" for it in range(number)]


EVERY = JobFilter(statuses=["scheduled", "pending", "running"])


@attrs.define(slots=False)
class Clock:
    """A scheduler that answers as it is told, by the number of the call, from 1; else True."""

    answers: dict[int, Any] = attrs.field(factory=dict)
    calls: list[str] = attrs.field(factory=list)

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        """Answer."""
        assert operation_id in {"op", "other"}
        return self.answer(deferred_id, usual=True)

    def answer(self, call: str, *, usual: Any) -> Any:
        """Note a call, and answer it; what can be called is called for the answer."""
        self.calls.append(call)
        answer = self.answers.get(len(self.calls), usual)
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer
