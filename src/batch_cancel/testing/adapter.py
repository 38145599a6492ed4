"""
What the kit needs to know about an adapter: how to fill its store, read it, and reach it.

An adapter declares what it can't do by class attributes, and those tests are skipped; no test is
skipped by an adapter's name. A method may be a coroutine function in an asyncio adapter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final, Literal, TypeAlias, TypeVar, cast, get_args

import attrs

from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork
from batch_cancel.use_cases.worker import (
    append_contacts,
    append_contacts_async,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    expire_calls_async,
    finish_job,
    finish_job_async,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
    still_running,
    still_running_async,
)

_T = TypeVar("_T")

Maybe: TypeAlias = _T | Awaitable[_T]
"""An answer, or one to await."""

AnyUnitOfWork: TypeAlias = UnitOfWork | AsyncUnitOfWork
AnyScheduler: TypeAlias = Scheduler | AsyncScheduler

Guard = Literal["start", "claim", "settle", "expire", "append", "finish", "still_running"]
"""A step of a worker that must ask before it acts."""

ALL_GUARDS: Final[frozenset[Guard]] = frozenset(get_args(Guard))


Sabotage = Literal[
    "job skipped",
    "job restored",
    "contacts skipped",
    "contacts restored",
    "contacts diverted",
    "contact added",
    "record skipped",
    "job set back",
]
"""
The kinds of damage that a trigger may do to what a store writes.

Skipped: the write does nothing; "contacts skipped" also drops contacts that are added. Restored:
the row keeps its old status. Diverted: a contact that is set to cancelled becomes failed instead.
Added: when a job's status changes, the job gets another pending contact. Set back: all jobs that
are cancelled become scheduled, once, as by a trigger that ran after everything else.
"""

ALL_SABOTAGES: Final[frozenset[Sabotage]] = frozenset(get_args(Sabotage))


class IdKind(StrEnum):
    """What the ids of jobs are made of."""

    TEXT = "text"
    UUID = "uuid"
    INTEGER = "integer"


@attrs.frozen
class JobRow:
    """
    All that a store holds of a job, for comparison as a whole.

    Arguments:
        status: as the library names it, where you store other names; one that is mapped to
            nothing as it is stored.
        deferred_id: as stored, or the job's id where the store has no column for it.
        contacts: by contact id, its row: the status first, then every column that must not change
            by itself, such as the time of its last change.
        rest: the other columns of the job that must not change by themselves.
    """

    status: str | None
    deferred_id: str | None
    contacts: Mapping[str, Sequence[object]]
    rest: object = None


class Adapter(ABC):  # noqa: B024  # Its children have the abstract methods.
    """The common part of stores and schedulers."""

    is_async: ClassVar[bool] = False
    """Whether its ports are those of asyncio."""

    def close(self) -> Maybe[object]:
        """Close what the test has opened; an asyncio adapter is called in its event loop."""
        return None


class StoreAdapter(Adapter):
    """Your store under test: `fresh`, `uow`, `seed` and `dump`, and what it can't do."""

    records: ClassVar[bool] = True
    """Whether it keeps cancellation records (its `outbox` is not None)."""

    retries: ClassVar[bool] = True
    """Whether its unit of work has a `pause`, so that failed cancels are tried again."""

    inspection: ClassVar[bool] = True
    """Whether its `inspection` is not None."""

    overview: ClassVar[bool] = False
    """Whether its repositories have an `overview`."""

    history: ClassVar[bool] = False
    """Whether its repositories have a `history`."""

    bulk: ClassVar[bool] = False
    """Whether its repositories have a `bulk`."""

    contact_id_column: ClassVar[str | None] = None
    """The column with the id of a contact, if its `work` reads contacts; None if it does not."""

    sweep: ClassVar[bool] = False
    """Whether it can sweep: see `sweeping_uow`."""

    organizations: ClassVar[Sequence[str]] = ("acme", "evil")
    """Two organizations that may own jobs in it; none, if its jobs have no organization."""

    ids_per_organization: ClassVar[bool] = True
    """Whether two organizations may each have a job of the same id."""

    sabotages: ClassVar[AbstractSet[Sabotage]] = frozenset()
    """The kinds of damage that `sabotage` can do to what the store writes; none by default."""

    guards: ClassVar[AbstractSet[Guard]] = ALL_GUARDS
    """The workers' steps there are: its own `work`, or functions of yours."""

    retry_times: ClassVar[bool] = True
    """Whether it keeps when a contact may be called again, and `claim` goes by that time."""

    ids: ClassVar[IdKind] = IdKind.TEXT
    """What the ids of its jobs are."""

    id_characters_max: ClassVar[int] = 1024
    """The longest id of a job that its column holds, in characters: 255 in a VARCHAR(255)."""

    row_locks: ClassVar[bool] = True
    """Whether a transaction locks its job's row, and not the whole store."""

    lock_timeout: ClassVar[bool] = True
    """Whether a wait for a lock ends by itself, within 20 seconds."""

    strange_statuses: ClassVar[Sequence[str | None]] = ("paused", "Pending", "pending ", "", None)
    """What the status columns hold beside the statuses we know; none, if their type forbids it."""

    patience_seconds: ClassVar[float] = 0.1
    """How long a step may take until it counts as waiting; a distant database wants more."""

    @abstractmethod
    def fresh(self) -> Maybe[object]:
        """Empty the store: no job is left."""

    @abstractmethod
    def uow(self) -> AnyUnitOfWork:
        """Return a unit of work to the store; what it opens is independent of every other's."""

    def sweeping_uow(self) -> AnyUnitOfWork:
        """Return such a unit of work that sweeps a job with more than two open contacts."""
        msg = "implement `sweeping_uow`, or declare no `sweep`"
        raise NotImplementedError(msg)

    @abstractmethod
    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> Maybe[Sequence[str]]:
        """
        Put in a job and its contacts, given as statuses, and commit.

        Returns:
            the ids of the contacts, in the same order.
        """

    @abstractmethod
    def dump(self) -> Maybe[Mapping[JobKey, JobRow]]:
        """Return all that is committed, read on a connection of its own."""

    def make_old(self, key: JobKey, contact_id: str, age: timedelta) -> Maybe[object]:
        """
        Move a contact's times back by `age`, with its status unchanged, and commit.

        The contact has then been dialing for that long. Only a store with the step "expire" needs
        it.
        """
        msg = "implement `make_old`, or declare `guards` without 'expire'"
        raise NotImplementedError(msg)

    def sabotage(self, what: Sabotage) -> Maybe[object]:
        """Install something that undoes what the store writes, until `fresh` or `close`."""
        msg = "implement `sabotage`, or declare no `sabotages`"
        raise NotImplementedError(msg)

    def connections(self) -> int | None:
        """Return how many connections of its units of work are open; None if it can't."""
        return None

    def joined(
        self,
    ) -> AbstractContextManager[UnitOfWork] | AbstractAsyncContextManager[AsyncUnitOfWork] | None:
        """Open a caller's transaction, and yield a unit of work that joins it, or None."""
        return None

    def losing_commit(self) -> AnyUnitOfWork | None:
        """
        Return a unit of work whose first COMMIT is carried out, and whose answer is lost; or None.

        It is enough that its connection raises what your driver raises when the server is gone,
        after it has committed.
        """
        return None

    # The workers' steps: yours instead of ours, if you override them.

    def start(self, key: JobKey) -> Maybe[bool]:
        """Start the job; return whether this call started it."""
        if self.is_async:
            return start_job_async(
                key.batch_job_id, uow=self._async_uow(), organization_id=key.organization_id
            )
        return start_job(key.batch_job_id, uow=self._uow(), organization_id=key.organization_id)

    def claim(self, key: JobKey, limit: int) -> Maybe[Sequence[str]]:
        """Claim contacts; return their ids."""
        if self.is_async:
            return claim_contacts_async(
                key.batch_job_id,
                uow=self._async_uow(),
                limit=limit,
                organization_id=key.organization_id,
            )
        return claim_contacts(
            key.batch_job_id, uow=self._uow(), limit=limit, organization_id=key.organization_id
        )

    def settle(self, key: JobKey, contact_id: str, outcome: ContactStatus) -> Maybe[object]:
        """Write how a live call ended."""
        if self.is_async:
            return settle_contact_async(
                key.batch_job_id,
                contact_id,
                outcome,
                uow=self._async_uow(),
                organization_id=key.organization_id,
            )
        return settle_contact(
            key.batch_job_id,
            contact_id,
            outcome,
            uow=self._uow(),
            organization_id=key.organization_id,
        )

    def retry_later(self, key: JobKey, contact_id: str, at: datetime) -> Maybe[object]:
        """End a live call as busy, to be made again at this time."""
        if self.is_async:
            return settle_contact_async(
                key.batch_job_id,
                contact_id,
                ContactStatus.BUSY,
                uow=self._async_uow(),
                organization_id=key.organization_id,
                retry_at=at,
            )
        return settle_contact(
            key.batch_job_id,
            contact_id,
            ContactStatus.BUSY,
            uow=self._uow(),
            organization_id=key.organization_id,
            retry_at=at,
        )

    def expire(self, key: JobKey, older_than: timedelta) -> Maybe[int]:
        """End the calls that have been live for longer; return how many."""
        if self.is_async:
            return expire_calls_async(
                key.batch_job_id,
                older_than,
                uow=self._async_uow(),
                organization_id=key.organization_id,
            )
        return expire_calls(
            key.batch_job_id,
            older_than,
            uow=self._uow(),
            organization_id=key.organization_id,
        )

    def append(self, key: JobKey) -> Maybe[object]:
        """Add one contact, pending; raise any error if the job has ended."""
        if self.is_async:
            return append_contacts_async(
                key.batch_job_id,
                [self.new_contact()],
                uow=self._async_uow(),
                organization_id=key.organization_id,
            )
        return append_contacts(
            key.batch_job_id,
            [self.new_contact()],
            uow=self._uow(),
            organization_id=key.organization_id,
        )

    def new_contact(self) -> Mapping[str, object]:
        """Return the columns of a new contact, as `append_contacts` takes them."""
        return {}

    def finish(self, key: JobKey) -> Maybe[bool]:
        """Complete the job if no contact is open or live; return whether this call did."""
        if self.is_async:
            return finish_job_async(
                key.batch_job_id, uow=self._async_uow(), organization_id=key.organization_id
            )
        return finish_job(key.batch_job_id, uow=self._uow(), organization_id=key.organization_id)

    def still_running(self, key: JobKey) -> Maybe[bool]:
        """Return whether the job is running, as a worker asks right before it dials."""
        if self.is_async:
            return still_running_async(
                key.batch_job_id, uow=self._async_uow(), organization_id=key.organization_id
            )
        return still_running(
            key.batch_job_id, uow=self._uow(), organization_id=key.organization_id
        )

    def _uow(self) -> UnitOfWork:
        return cast("UnitOfWork", self.uow())

    def _async_uow(self) -> AsyncUnitOfWork:
        return cast("AsyncUnitOfWork", self.uow())


class SchedulerAdapter(Adapter):
    """Your scheduler under test, and how to make it wait and fire."""

    @abstractmethod
    def scheduler(self) -> AnyScheduler:
        """Return an empty scheduler."""

    @abstractmethod
    def schedule(self, scheduler: AnyScheduler, deferred_id: str) -> Maybe[object]:
        """Schedule a start that fires one day, but not during the test."""

    @abstractmethod
    def waiting(self, scheduler: AnyScheduler) -> Maybe[AbstractSet[str]]:
        """Return the ids of the starts that wait to fire."""

    @abstractmethod
    def fire(self, scheduler: AnyScheduler) -> Maybe[AbstractSet[str]]:
        """Fire all starts that wait, and return their ids."""
