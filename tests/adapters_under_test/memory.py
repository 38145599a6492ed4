"""The memory store, blocking and asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import attrs

from batch_cancel import JobKey
from batch_cancel.testing.adapter import (
    ALL_SABOTAGES,
    JobRow,
    Sabotage,
    StoreAdapter,
)
from tests.sabotage import (
    AsyncUndoneStore,
    UndoneStore,
)


class MemoryTables(StoreAdapter):
    """The memory store."""

    overview = history = bulk = sweep = True
    contact_id_column = "id"
    retries = False  # No transaction is in another's way.
    row_locks = False  # One transaction runs at a time.
    lock_timeout = False
    sabotages = ALL_SABOTAGES
    kind: ClassVar[Any] = UndoneStore

    def fresh(self) -> None:
        """Forget everything."""
        self._store = self.kind()
        self.keys: list[JobKey] = []

    def sabotage(self, what: Sabotage) -> None:
        """Let the store undo what it writes."""
        if what == "job set back":
            for key, row in list(self._store._committed.items()):
                if row.status == "cancelled":
                    self._store._committed[key] = attrs.evolve(row, status="scheduled")
            return
        self._store.undone = what

    def make_old(self, key: JobKey, contact_id: str, age: timedelta) -> None:
        """As `StoreAdapter.make_old`."""
        contacts = self.store.contacts(key.batch_job_id, key.organization_id)
        self.store.add_contacts(
            key.batch_job_id,
            {contact_id: contacts[contact_id]},
            key.organization_id,
            since=datetime.now(UTC) - age,
        )

    @property
    def store(self) -> Any:
        """The store."""
        return self._store

    def uow(self) -> Any:
        """Return the store itself: it shares nothing between transactions."""
        return self.store

    def sweeping_uow(self) -> Any:
        """Let the store sweep above two contacts."""
        self.store._sweep_above = 2
        return self.store

    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> list[str]:
        """Put in a job."""
        self.keys.append(key)
        ids = [f"{number:03}" for number in range(len(contacts))]
        self.store.add_job(key.batch_job_id, status, key.organization_id, deferred_id)
        self.store.add_contacts(
            key.batch_job_id, dict(zip(ids, contacts, strict=True)), key.organization_id
        )
        return ids

    def dump(self) -> dict[JobKey, JobRow]:
        """Return all that is committed."""
        return {key: self._row(key) for key in self.keys}

    def _row(self, key: JobKey) -> JobRow:
        job = self.store.job(key.batch_job_id, key.organization_id)
        contacts = self.store.contacts(key.batch_job_id, key.organization_id)
        return JobRow(job.status, job.deferred_id, {it: (contacts[it],) for it in contacts})

    def joined(self) -> Any:
        """Return a transaction of the caller's."""
        return self._joined()

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction; what begins within it is a savepoint."""
        with self.store.begin():
            yield self.store


class AsyncMemoryTables(MemoryTables):
    """The memory store's twin."""

    is_async = True
    kind = AsyncUndoneStore

    def joined(self) -> Any:
        """Return a transaction of the caller's."""
        return self._joined_async()

    @asynccontextmanager
    async def _joined_async(self) -> AsyncGenerator[Any]:
        """Open a transaction; what begins within it is a savepoint."""
        async with self.store.begin():
            yield self.store
