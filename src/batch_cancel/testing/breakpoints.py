"""
A unit of work with a hook at every step, to stop a transaction there, or to let it fail.

The hook is called at the points "locked", "contacts", "marked" (before the commit), "chunk"
(before the count of a sweep's chunk is noted), "done" (all is done, and the transaction is open)
and "committed".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager

import attrs

from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.sweep import Chunk
from batch_cancel.ports import (
    AsyncContactRepository,
    AsyncInspectionRepository,
    AsyncJobRepository,
    AsyncJoiningUnitOfWork,
    AsyncOutbox,
    AsyncOverviewRepository,
    AsyncSweepRepository,
    AsyncUnitOfWork,
    AsyncWorkRepository,
    ContactRepository,
    InspectionRepository,
    JobRepository,
    JoiningUnitOfWork,
    Outbox,
    OverviewRepository,
    SweepRepository,
    UnitOfWork,
    WorkRepository,
)

Hook = Callable[[str], None]
"""Called with each point; it may wait there, or raise."""


def failing_at(at: str) -> Hook:
    """Return a hook that raises at this point."""

    def fail(point: str) -> None:
        if point == at:
            msg = f"a fault of the test at {point!r}"
            raise RuntimeError(msg)

    return fail


def _passed(hook: Hook, point: str) -> None:
    hook(point)


async def _passed_async(hook: Hook, point: str) -> None:
    await asyncio.to_thread(hook, point)


@attrs.frozen
class _Jobs:
    inner: JobRepository
    hook: Hook

    def lock(self, key: JobKey, /) -> Job | None:
        job = self.inner.lock(key)
        _passed(self.hook, "locked")
        return job

    def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        self.inner.mark_cancelled(job, record)
        self.inner.lock(job.key)  # It has an answer: a store that sends late has sent the mark.
        _passed(self.hook, "marked")


@attrs.frozen
class _AsyncJobs:
    inner: AsyncJobRepository
    hook: Hook

    async def lock(self, key: JobKey, /) -> Job | None:
        job = await self.inner.lock(key)
        await _passed_async(self.hook, "locked")
        return job

    async def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        await self.inner.mark_cancelled(job, record)
        await self.inner.lock(job.key)
        await _passed_async(self.hook, "marked")


@attrs.frozen
class _Contacts:
    inner: ContactRepository
    hook: Hook

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int | None:
        contacts_cancelled = self.inner.cancel(key, statuses)
        _passed(self.hook, "contacts")
        return contacts_cancelled


@attrs.frozen
class _Sweep:
    inner: SweepRepository
    hook: Hook

    def lock(self, record: CancellationRecord, /) -> CancellationRecord | None:
        return self.inner.lock(record)

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> Chunk:
        chunk = self.inner.cancel(key, statuses)
        _passed(self.hook, "chunk")
        return chunk

    def note(self, record: CancellationRecord, /) -> None:
        self.inner.note(record)


@attrs.frozen
class _AsyncContacts:
    inner: AsyncContactRepository
    hook: Hook

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int | None:
        contacts_cancelled = await self.inner.cancel(key, statuses)
        await _passed_async(self.hook, "contacts")
        return contacts_cancelled


@attrs.frozen
class _AsyncSweep:
    inner: AsyncSweepRepository
    hook: Hook

    async def lock(self, record: CancellationRecord, /) -> CancellationRecord | None:
        return await self.inner.lock(record)

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> Chunk:
        chunk = await self.inner.cancel(key, statuses)
        await _passed_async(self.hook, "chunk")
        return chunk

    async def note(self, record: CancellationRecord, /) -> None:
        await self.inner.note(record)


@attrs.frozen
class _Repositories:
    jobs: _Jobs
    contacts: _Contacts
    outbox: Outbox | None
    inspection: InspectionRepository | None
    work: WorkRepository | None
    sweep: _Sweep | None
    overview: OverviewRepository | None


@attrs.frozen
class _AsyncRepositories:
    jobs: _AsyncJobs
    contacts: _AsyncContacts
    outbox: AsyncOutbox | None
    inspection: AsyncInspectionRepository | None
    work: AsyncWorkRepository | None
    sweep: _AsyncSweep | None
    overview: AsyncOverviewRepository | None


@attrs.frozen
class Hooked:
    """Calls a hook at every step of a transaction."""

    inner: UnitOfWork
    hook: Hook

    @property
    def is_joined(self) -> bool:
        """Whether the inner unit of work is."""
        return isinstance(self.inner, JoiningUnitOfWork) and self.inner.is_joined

    @contextmanager
    def begin(self) -> Generator[_Repositories]:
        """Open a transaction of the inner unit of work."""
        with self.inner.begin() as repositories:
            sweep: SweepRepository | None = getattr(repositories, "sweep", None)
            yield _Repositories(
                _Jobs(repositories.jobs, self.hook),
                _Contacts(repositories.contacts, self.hook),
                repositories.outbox,
                repositories.inspection,
                repositories.work,
                None if sweep is None else _Sweep(sweep, self.hook),
                getattr(repositories, "overview", None),
            )
            _passed(self.hook, "done")
        _passed(self.hook, "committed")

    def pause(self, attempts: int, /) -> None:
        """Do not wait: a failed transaction is retried at once."""


@attrs.frozen
class AsyncHooked:
    """As `Hooked`, awaited."""

    inner: AsyncUnitOfWork
    hook: Hook

    @property
    def is_joined(self) -> bool:
        """As `Hooked.is_joined`."""
        return isinstance(self.inner, AsyncJoiningUnitOfWork) and self.inner.is_joined

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[_AsyncRepositories]:
        """As `Hooked.begin`, awaited."""
        async with self.inner.begin() as repositories:
            sweep: AsyncSweepRepository | None = getattr(repositories, "sweep", None)
            yield _AsyncRepositories(
                _AsyncJobs(repositories.jobs, self.hook),
                _AsyncContacts(repositories.contacts, self.hook),
                repositories.outbox,
                repositories.inspection,
                repositories.work,
                None if sweep is None else _AsyncSweep(sweep, self.hook),
                getattr(repositories, "overview", None),
            )
            await _passed_async(self.hook, "done")
        await _passed_async(self.hook, "committed")

    async def pause(self, attempts: int, /) -> None:
        """As `Hooked.pause`, awaited."""
