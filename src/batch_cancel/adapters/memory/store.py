"""The memory store: a unit of work, with plain methods for tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Final

import attrs

from batch_cancel.adapters.memory.clock import Clock, utc_now
from batch_cancel.adapters.memory.contacts import LONG_AGO, Contact
from batch_cancel.adapters.memory.failures import Failures, Phase
from batch_cancel.adapters.memory.repositories import AsyncMemoryRepositories, MemoryRepositories
from batch_cancel.adapters.memory.rows import Row, Rows, job_of
from batch_cancel.adapters.memory.turns import AsyncTurn, Turn
from batch_cancel.domain.errors import Fault
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.outcomes import added_to_none, added_twice
from batch_cancel.domain.sweep import check_sweep_above

_NO_CONTACTS: Final[Mapping[str, str | None]] = MappingProxyType({})


def _check_contacts(contacts: object) -> None:
    if not isinstance(contacts, Mapping):
        msg = (
            "contacts must be a mapping of statuses by contact id, such as "
            f'{{"c1": "pending"}}, got {type(contacts).__name__}'
        )
        raise TypeError(msg)


class _Store:
    """The rows of a store, with methods for tests to fill it, read it and make it fail."""

    def __init__(self, sweep_above: int | None, clock: Clock) -> None:
        check_sweep_above(sweep_above)
        self.clock = clock
        self._committed: dict[JobKey, Row] = {}
        self._top: MutableMapping[JobKey, Row] = self._committed
        self._sweep_above = sweep_above
        self._failures = Failures()

    def add_job(
        self,
        id: str,  # noqa: A002  # The reference table's name for it.
        status: str | None = "scheduled",
        organization_id: str | None = None,
        deferred_id: str | None = None,
        *,
        contacts: Mapping[str, str | None] = _NO_CONTACTS,
        created_at: datetime | None = None,
        scheduled_at: datetime | None = None,
    ) -> None:
        """
        Add a job, with contacts or without.

        Arguments:
            id: the job's id.
            status: any status, known or not.
            organization_id: whose job it is; None for a job of no organization.
            deferred_id: the id of its deferred start; None if it has none.
            contacts: its contacts: the status, known or not, by contact id.
            created_at: when it was created, an aware datetime; None for now.
            scheduled_at: when it is to start, an aware datetime; None for no time.

        Raises:
            ValueError: there is such a job already.
            TypeError: `contacts` are no mapping.
        """
        _check_contacts(contacts)
        key = JobKey(id, organization_id)
        if key in self._committed:
            raise added_twice(id)
        self._committed[key] = Row(
            status,
            deferred_id,
            created_at=created_at or self.clock(),
            scheduled_at=scheduled_at,
        )
        self.add_contacts(id, contacts, organization_id)

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
            TypeError: `contacts` are no mapping.
        """
        _check_contacts(contacts)
        key = JobKey(job_id, organization_id)
        row = self._committed.get(key)
        if row is None:
            raise added_to_none(job_id)
        before, now = row.contacts.of(contacts), self.clock()
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
        rows = Rows(self._committed, clock=self.clock)
        return job_of(rows, key) if key in rows else None

    def contacts(self, job_id: str, organization_id: str | None = None) -> dict[str, str | None]:
        """Return the status by contact id of a job, as last committed; empty if there is none."""
        row = self._committed.get(JobKey(job_id, organization_id))
        return (
            {}
            if row is None
            else {contact_id: contact.status for contact_id, contact in row.contacts.items()}
        )

    def fail_next(self, fault: Fault = Fault.INTERRUPTED, phase: Phase = "before_commit") -> None:
        """
        Let the next transaction that comes so far fail, as the Postgres store would.

        Once: call it again to let the one after it fail, too.

        Arguments:
            fault: the kind of fault: `CONFLICT` for a deadlock, `INTERRUPTED` for a broken
                connection, `LATE` for a timeout, of a lock for instance, `BUSY` for a server
                without a free connection, `REFUSED` for a missing table, `INCOMPLETE` for contacts
                that stay open.
            phase: "before_commit": it fails before it has read anything. "at_commit": it is rolled
                back; with `INTERRUPTED` and `LATE` the caller can't know, and gets the outcome
                "unknown". "after_commit": it is committed, and the answer is lost; only
                `INTERRUPTED` and `LATE` lose one.

        Raises:
            ValueError: there is no such fault or phase, or such a fault cannot follow a commit.
        """
        self._failures.add(fault, phase)

    @contextmanager
    def _drafted(self) -> Generator[MemoryRepositories]:
        """Work on a draft, which replaces the rows below on a clean exit."""
        self._failures.strike("before_commit")
        below, above = self._top, self._sweep_above
        written: dict[JobKey, Row] = {}
        self._top = draft = Rows(written, below, clock=self.clock)
        try:
            yield MemoryRepositories.of(draft, above, is_joined=below is not self._committed)
            self._failures.strike("at_commit")
            below.update(written)
            self._failures.strike("after_commit")
        finally:
            self._top = below


class MemoryStore(_Store):
    """
    Jobs, contacts and cancellation records in memory: a unit of work.

    Transactions of several threads run one at a time; for tasks use `AsyncMemoryStore`. A `begin`
    within a `begin` is a savepoint. Fill the store before its transactions start: `add_job` and
    `add_contacts` do not wait. A test lets it fail by `fail_next`.

    Arguments:
        sweep_above: if a job has more open contacts, it is cancelled before them, and they in
            chunks of that many, as `PostgresUnitOfWork` does it; None for one transaction always.
        clock: returns the time, as an aware datetime. It may be replaced later.

    Raises:
        TypeError, ValueError: `sweep_above` is no number, or less than 1.
    """

    def __init__(self, *, sweep_above: int | None = None, clock: Clock = utc_now) -> None:
        super().__init__(sweep_above, clock)
        self._turn = Turn()

    @property
    def is_joined(self) -> bool:
        """Whether `begin()` would open a savepoint."""
        return self._turn.is_mine

    @contextmanager
    def begin(self) -> Generator[MemoryRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with self._turn:  # noqa: SIM117  # Its async twin can't be one statement.
            with self._drafted() as repositories:
                yield repositories


class AsyncMemoryStore(_Store):
    """As `MemoryStore`, awaited."""

    def __init__(self, *, sweep_above: int | None = None, clock: Clock = utc_now) -> None:
        super().__init__(sweep_above, clock)
        self._turn = AsyncTurn()

    @property
    def is_joined(self) -> bool:
        """As `MemoryStore.is_joined`."""
        return self._turn.is_mine

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncMemoryRepositories]:
        """As `MemoryStore.begin`, awaited."""
        async with self._turn:
            with self._drafted() as repositories:
                yield AsyncMemoryRepositories(repositories)
