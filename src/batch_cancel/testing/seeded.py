"""
A store under test and its scheduler: what tests seed in them, and read back.

Jobs go by the labels that the tests give them; what their ids are is the adapter's declaration.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, cast
from uuid import NAMESPACE_OID, uuid5

from batch_cancel.domain.errors import shown
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork
from batch_cancel.testing.adapter import (
    ALL_GUARDS,
    AnyScheduler,
    IdKind,
    JobRow,
    Maybe,
    SchedulerAdapter,
    StoreAdapter,
)
from batch_cancel.testing.breakpoints import Hook
from batch_cancel.testing.invariants import PromiseBroken
from batch_cancel.testing.runner import Runner, expect
from batch_cancel.testing.scripted import AsyncScripted, Scripted, Starts


class Seeded(Runner):
    """A store and a scheduler, empty at first: jobs are seeded in them, and read."""

    def __init__(self, adapter: StoreAdapter) -> None:
        super().__init__(is_async=adapter.is_async)
        self.adapter: Final = adapter
        self._keys: dict[str, JobKey] = {}
        self.contact_ids: dict[str, Sequence[str]] = {}
        """The ids of the contacts that a job was seeded with, by its label."""
        self.clear()

    def clear(self) -> None:
        """Start from an empty store and scheduler, without a history."""
        self.run(self.adapter.fresh)
        self.history.clear()
        self._keys.clear()
        self.contact_ids.clear()
        self._starts = Starts()
        self.scheduler = self.scheduler_that(self._starts.cancel)
        if isinstance(self.adapter, SchedulerAdapter):
            scheduler = self.run(self.adapter.scheduler)
            # mypy takes it for an object.
            self.scheduler = cast("AnyScheduler", scheduler)  # pyright: ignore[reportUnnecessaryCast]

    def close(self) -> None:
        """Close the store, the scheduler and the event loop."""
        self.run(self.adapter.close)
        super().close()

    def missing(self, need: str) -> str | None:
        """Return the declaration that the adapter lacks this; None if it has it."""
        it = self.adapter
        has: dict[str, bool] = {
            "records": it.records,
            "inspection": it.inspection,
            "overview": it.overview,
            "history": it.history,
            "bulk": it.bulk,
            "reading": it.contact_id_column is not None,
            "sweep": it.sweep,
            "organizations": bool(it.organizations),
            "ids_per_organization": it.ids_per_organization,
            "row_locks": it.row_locks,
            "lock_timeout": it.lock_timeout,
            "retry_times": it.retry_times,
            "text_ids": it.ids is IdKind.TEXT,
            "strange_statuses": bool(it.strange_statuses),
        }
        has.update({guard: guard in it.guards for guard in ALL_GUARDS})
        return None if has[need] else f"{type(it).__name__} offers no {need.replace('_', ' ')}"

    # The store's rows --------------------------------------------------------------------------

    def key(self, label: str, organization_id: str | None = None) -> JobKey:
        """Return the name of a job."""
        known = self._keys.get(label)
        return JobKey(self.job_id(label), organization_id) if known is None else known

    def job_id(self, label: str) -> str:
        """Return the id of a job for its label."""
        match self.adapter.ids:
            case IdKind.TEXT:
                return label
            case IdKind.UUID:
                return str(uuid5(NAMESPACE_OID, label))
            case IdKind.INTEGER:
                return str(1 + zlib.crc32(label.encode()) % 2_000_000_000)

    def add_job(
        self,
        label: str = "job",
        status: str | None = "running",
        contacts: Sequence[str | None] = (),
        *,
        organization_id: str | None = None,
        deferred_id: str | None = None,
        id_of: str | None = None,
    ) -> None:
        """Seed a job; `id_of` is the label of another whose id it has."""
        key = JobKey(self.job_id(id_of or label), organization_id)
        owner = f" of {organization_id!r}" if organization_id is not None else ""
        start = f", its deferred start {shown(deferred_id)}" if deferred_id is not None else ""
        self.note(
            f"seeded job {shown(label)}{owner}: {status!r}, contacts {list(contacts)}{start}"
        )
        self._keys[label] = key
        self.contact_ids[label] = self.run(
            lambda: self.adapter.seed(key, status, contacts, deferred_id)
        )
        expect(len(self.contact_ids[label]), len(contacts), "`seed` gives an id for each contact.")

    def rows(self) -> dict[JobKey, JobRow]:
        """Return all that is committed."""
        return dict(self.run(self.adapter.dump))

    def row(self, label: str = "job") -> JobRow:
        """Return one job as committed."""
        rows = self.rows()
        if self._keys[label] not in rows:
            msg = f"`dump` shows no {self._keys[label]}, only {sorted(map(str, rows))}"
            raise PromiseBroken(msg)
        return rows[self._keys[label]]

    def statuses(self, label: str = "job") -> list[object]:
        """Return the statuses of a job's contacts: the seeded ones in their order, then others."""
        contacts = self.row(label).contacts
        seeded = self.contact_ids[label]
        return [
            *(contacts[contact_id][0] for contact_id in seeded),
            *sorted(str(row[0]) for it, row in contacts.items() if it not in seeded),
        ]

    def record(self, label: str = "job") -> CancellationRecord:
        """Return the record of the job's cancellation."""
        key = self._keys[label]

        def read() -> CancellationRecord | None:
            with cast("UnitOfWork", self.adapter.uow()).begin() as repositories:
                job = repositories.jobs.lock(key)
                return None if job is None else job.cancellation

        async def read_async() -> CancellationRecord | None:
            async with cast("AsyncUnitOfWork", self.adapter.uow()).begin() as repositories:
                job = await repositories.jobs.lock(key)
                return None if job is None else job.cancellation

        record = self.run(self.either(read, read_async))
        if record is None:
            msg = "`lock` gives a cancelled job without the record of its cancellation."
            raise PromiseBroken(msg)
        return record

    def finding(self, key: JobKey, hook: Hook) -> Callable[[], Maybe[CancellationRecord | None]]:
        """Return a search of a record; its hook is called at the point "found" before its end."""

        def find() -> CancellationRecord | None:
            with cast("UnitOfWork", self.adapter.uow()).begin() as repositories:
                record = None if repositories.outbox is None else repositories.outbox.find(key)
                hook("found")
                return record

        async def find_async() -> CancellationRecord | None:
            async with cast("AsyncUnitOfWork", self.adapter.uow()).begin() as repositories:
                outbox = repositories.outbox
                record = None if outbox is None else await outbox.find(key)
                await asyncio.to_thread(hook, "found")
                return record

        return self.either(find, find_async)

    # The scheduler -----------------------------------------------------------------------------

    def scheduler_that(self, behave: Callable[[str, str], bool]) -> AnyScheduler:
        """Return a scheduler whose `cancel` does what is given."""
        return AsyncScripted(behave) if self.is_async else Scripted(behave)

    def schedule(self, label: str = "job") -> str:
        """Schedule the deferred start that the job's row names; give its id."""
        deferred_id = self.row(label).deferred_id
        if deferred_id is None:
            msg = "`dump` shows no deferred id, though the job was seeded with one."
            raise PromiseBroken(msg)
        if isinstance(self.adapter, SchedulerAdapter):
            it = self.adapter
            self.run(lambda: it.schedule(self.scheduler, deferred_id))
        else:
            self._starts.waiting.add(deferred_id)
        self.note(f"scheduled the deferred start {shown(deferred_id)}")
        return deferred_id

    def waiting(self) -> AbstractSet[str]:
        """Return the deferred starts that wait."""
        if isinstance(self.adapter, SchedulerAdapter):
            it = self.adapter
            return set(self.run(lambda: it.waiting(self.scheduler)))
        return set(self._starts.waiting)
