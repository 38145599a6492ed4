"""The memory store: a unit of work, with plain methods for tests."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import attrs

from batch_cancel.adapters.memory.contacts import LONG_AGO, Contact
from batch_cancel.adapters.memory.repositories import AsyncMemoryRepositories, MemoryRepositories
from batch_cancel.adapters.memory.rows import Row, Rows, job_of
from batch_cancel.adapters.memory.turns import AsyncTurn, Turn
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.outcomes import added_to_none, added_twice
from batch_cancel.domain.sweep import check_sweep_above


class _Seeds:
    """The methods with which a test fills a store and reads it."""

    def __init__(self, sweep_above: int | None) -> None:
        check_sweep_above(sweep_above)
        self._committed: dict[JobKey, Row] = {}
        self._sweep_above = sweep_above

    def add_job(
        self,
        id: str,  # noqa: A002  # The reference table's name for it.
        status: str | None = "scheduled",
        organization_id: str | None = None,
        deferred_id: str | None = None,
        *,
        created_at: datetime | None = None,
        scheduled_at: datetime | None = None,
    ) -> None:
        """
        Add a job.

        Arguments:
            id: the job's id.
            status: any status, known or not.
            organization_id: whose job it is; None for a job of no organization.
            deferred_id: the id of its deferred start; None if it has none.
            created_at: when it was created, an aware datetime; None for now.
            scheduled_at: when it is to start, an aware datetime; None for no time.

        Raises:
            ValueError: there is such a job already.
        """
        key = JobKey(id, organization_id)
        if key in self._committed:
            raise added_twice(id)
        self._committed[key] = Row(
            status,
            deferred_id,
            created_at=created_at or datetime.now(UTC),
            scheduled_at=scheduled_at,
        )

    def add_contacts(
        self,
        job_id: str,
        contacts: Mapping[str, str | None],
        organization_id: str | None = None,
        *,
        since: datetime | None = None,
    ) -> None:
        """
        Add contacts to a job, or set the statuses of those that it has.

        Arguments:
            job_id: the job's id.
            contacts: the status, known or not, by contact id.
            organization_id: whose job it is.
            since: when they got the status, an aware datetime; None for now.

        Raises:
            LookupError: there is no such job.
        """
        key = JobKey(job_id, organization_id)
        row = self._committed.get(key)
        if row is None:
            raise added_to_none(job_id)
        before, now = row.contacts.of(contacts), datetime.now(UTC)
        seeded = {
            contact_id: Contact(
                status,
                before[contact_id].due_at if contact_id in before else LONG_AGO,
                since or now,
            )
            for contact_id, status in contacts.items()
        }
        self._committed[key] = attrs.evolve(row, contacts=row.contacts | seeded)

    def job(self, job_id: str, organization_id: str | None = None) -> Job | None:
        """Return the job as last committed; None if there is none."""
        key = JobKey(job_id, organization_id)
        row = self._committed.get(key)
        return None if row is None else job_of(key, row)

    def contacts(self, job_id: str, organization_id: str | None = None) -> dict[str, str | None]:
        """Return the status by contact id of a job, as last committed; empty if there is none."""
        row = self._committed.get(JobKey(job_id, organization_id))
        return (
            {}
            if row is None
            else {contact_id: contact.status for contact_id, contact in row.contacts.items()}
        )


class MemoryStore(_Seeds):
    """
    Jobs, contacts and cancellation records in memory: a unit of work.

    Transactions of several threads run one at a time; for tasks use `AsyncMemoryStore`. A `begin`
    within a `begin` is a savepoint. Fill the store before its transactions start: `add_job` and
    `add_contacts` do not wait.

    Arguments:
        sweep_above: if a job has more open contacts, it is cancelled before them, and they in
            chunks of that many, as `PostgresUnitOfWork` does it; None for one transaction always.

    Raises:
        TypeError, ValueError: `sweep_above` is no number, or less than 1.
    """

    def __init__(self, *, sweep_above: int | None = None) -> None:
        super().__init__(sweep_above)
        self._turn = Turn()
        self._top: Rows = self._committed

    @property
    def is_joined(self) -> bool:
        """Whether `begin()` would open a savepoint."""
        return self._turn.is_mine

    @contextmanager
    def begin(self) -> Generator[MemoryRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with self._turn:
            below, above = self._top, self._sweep_above
            written: dict[JobKey, Row] = {}
            self._top = draft = ChainMap(written, below)
            try:
                yield MemoryRepositories.of(draft, above, is_joined=below is not self._committed)
                below.update(written)
            finally:
                self._top = below


class AsyncMemoryStore(_Seeds):
    """As `MemoryStore`, awaited."""

    def __init__(self, *, sweep_above: int | None = None) -> None:
        super().__init__(sweep_above)
        self._turn = AsyncTurn()
        self._top: Rows = self._committed

    @property
    def is_joined(self) -> bool:
        """As `MemoryStore.is_joined`."""
        return self._turn.is_mine

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncMemoryRepositories]:
        """As `MemoryStore.begin`, awaited."""
        async with self._turn:
            below, above = self._top, self._sweep_above
            written: dict[JobKey, Row] = {}
            self._top = draft = ChainMap(written, below)
            try:
                yield AsyncMemoryRepositories.of(
                    draft, above, is_joined=below is not self._committed
                )
                below.update(written)
            finally:
                self._top = below
