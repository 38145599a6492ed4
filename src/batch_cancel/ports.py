"""
The ports of the library: small Protocols in the words of the domain.

An adapter need not import this module: it is enough to have the methods. Every port has an asyncio
twin, `Async...`, with the same methods as coroutines.

The minimum is `JobRepository`, `ContactRepository`, `Repositories` with everything else None, and
`UnitOfWork`. A store that keeps no cancellation records loses replay and reconcile, never safety.
One that offers no `work` leaves the workers' steps to the adopter. What a `work` may do beside
is in `ReadingWorkRepository`. What only reports, `overview`
and `history`, a store may leave out altogether: see `ReportingRepositories`. The same holds for
`bulk`, with which many jobs are cancelled in one transaction: see `BulkRepositories`; and for
`sweep`, with which a very large job is cancelled in several: see `SweepRepositories`.

Adapters raise `StoreFailed` and `SchedulerUnavailable` for the faults that they know; any other
exception is handled as an unexpected fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.drift import Inventory
from batch_cancel.domain.errors import SchedulerUnavailable, StoreFailed
from batch_cancel.domain.history import Wanted
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.sweep import Chunk
from batch_cancel.domain.worker_rules import Settlement

__all__ = [
    "AsyncBulkRepositories",
    "AsyncBulkRepository",
    "AsyncBulkScheduler",
    "AsyncCheckable",
    "AsyncContactRepository",
    "AsyncHistoryRepository",
    "AsyncInspectableScheduler",
    "AsyncInspectionRepository",
    "AsyncJobRepository",
    "AsyncOutbox",
    "AsyncOverviewRepository",
    "AsyncReadingWorkRepository",
    "AsyncRepeatableUnitOfWork",
    "AsyncReportingRepositories",
    "AsyncRepositories",
    "AsyncScheduler",
    "AsyncSweepRepositories",
    "AsyncSweepRepository",
    "AsyncUnitOfWork",
    "AsyncWorkRepository",
    "BulkRepositories",
    "BulkRepository",
    "BulkScheduler",
    "Checkable",
    "ContactRepository",
    "HistoryRepository",
    "InspectableScheduler",
    "InspectionRepository",
    "JobRepository",
    "Outbox",
    "OverviewRepository",
    "ReadingWorkRepository",
    "RepeatableUnitOfWork",
    "ReportingRepositories",
    "Repositories",
    "Scheduler",
    "SchedulerUnavailable",
    "StoreFailed",
    "SweepRepositories",
    "SweepRepository",
    "UnitOfWork",
    "WorkRepository",
]


class JobRepository(Protocol):
    """The jobs, within one transaction."""

    def lock(self, key: JobKey, /) -> Job | None:
        """
        Lock the job until the transaction ends, and read it as it is then.

        The lock is scoped by organization: another organization's job is not found and not locked.
        A transaction that waits for the lock reads what its holder committed, not an older state.

        Returns:
            the job; None if this organization has no such job, or the store cannot hold such an
            id.
        """
        ...

    def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        """
        Set the locked job's status to cancelled, and keep the record if records are kept.

        Then check the outcome, in the same transaction: the job is cancelled, no contact of it
        is in one of the five open statuses, and the record is there. If the record says that
        contacts are still to be swept (`is_swept` is False), contacts may be open.

        Raises:
            StoreFailed: the outcome differs; `INCOMPLETE` if open contacts are left, else
                `REFUSED`.
        """
        ...


class AsyncJobRepository(Protocol):
    """As `JobRepository`, awaited."""

    async def lock(self, key: JobKey, /) -> Job | None:
        """As `JobRepository.lock`, awaited."""
        ...

    async def mark_cancelled(self, job: Job, record: CancellationRecord, /) -> None:
        """As `JobRepository.mark_cancelled`, awaited."""
        ...


class ContactRepository(Protocol):
    """The contacts, within one transaction."""

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int | None:
        """
        Set to cancelled those contacts of the locked job whose status is in `statuses`.

        Every other contact stays as it is, byte for byte, and so does every contact of another job
        or organization. The statement sees everything committed before the job's lock was granted.

        Returns:
            the number of contacts changed; None if the store sweeps them, because they are more
            than it changes in one transaction: then none was changed.

        Raises:
            StoreFailed: the job's key is not known to be unique, or a contact that was written is
                not cancelled.
        """
        ...


class AsyncContactRepository(Protocol):
    """As `ContactRepository`, awaited."""

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> int | None:
        """As `ContactRepository.cancel`, awaited."""
        ...


class SweepRepository(Protocol):
    """
    The contacts of a very large job, cancelled after it in chunks, each within one transaction.

    A transaction calls `lock`, `cancel` and `note`, in this order.
    """

    def lock(self, record: CancellationRecord, /) -> CancellationRecord | None:
        """
        Lock the record of the same cancellation until the transaction ends, and read it.

        Returns:
            the record as it is now, with `is_undone`; None if there is none of the same
            `operation_id` and `cancelled_at`.
        """
        ...

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> Chunk:
        """
        Set to cancelled up to a limit of the contacts of a cancelled job in these statuses.

        It waits for contacts that another transaction has locked, and never skips them: they may
        be open again when that transaction ends. A contact whose status has changed since it was
        found is left as it is.
        """
        ...

    def note(self, record: CancellationRecord, /) -> None:
        """
        Write the count of the locked record, and whether it is swept; then check the outcome.

        Raises:
            StoreFailed: the record is not as written; or it is swept, and a contact of its job is
                in one of the five open statuses (`INCOMPLETE`).
        """
        ...


class AsyncSweepRepository(Protocol):
    """As `SweepRepository`, awaited."""

    async def lock(self, record: CancellationRecord, /) -> CancellationRecord | None:
        """As `SweepRepository.lock`, awaited."""
        ...

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> Chunk:
        """As `SweepRepository.cancel`, awaited."""
        ...

    async def note(self, record: CancellationRecord, /) -> None:
        """As `SweepRepository.note`, awaited."""
        ...


class Outbox(Protocol):
    """The records of cancellations, and what is pending of them, within one transaction."""

    def settle(self, record: CancellationRecord, /) -> None:
        """
        Mark what was done: the removal and the announcement as they are in `record`.

        Write only to the record of the same cancellation: the one with the same `operation_id` and
        `cancelled_at`. Never undo progress: a removal that is no longer pending and an
        announcement that was made stay so, whatever a late writer passes.
        """
        ...

    def claim(self, record: CancellationRecord, /) -> CancellationRecord | None:
        """
        Claim the record, unless it was taken or claimed since `record` was read.

        Two claims with the same `record` never both succeed: its `taken_at` must equal the stored
        one, which is then set to a later time of the store's clock. The cancellation must be the
        same, as in `settle`.

        Returns:
            the record as it is now, with `taken_at` and `is_undone`; None if another process has
            claimed it, or there is none.
        """
        ...

    def find(self, key: JobKey, /) -> CancellationRecord | None:
        """
        Return the record of the job's cancellation, without a lock; None if there is none.

        The job's row may be gone. If it exists and is not cancelled, `is_undone` is True.
        """
        ...

    def take(
        self, limit: int, lease: timedelta, /, *, announcements: bool
    ) -> list[CancellationRecord]:
        """
        Take cancellations with something pending, those untouched for longest first.

        Contacts still to be swept are pending, and so is a removal.

        Leave out cancellations taken, claimed or made less than `lease` ago. In the returned
        records, `taken_at` is the time of this call, and `is_undone` is True if the job's row
        exists and is not cancelled.

        Arguments:
            limit: how many at most.
            lease: how long a cancellation is left to the process that made or took it.
            announcements: whether a pending announcement counts as well.
        """
        ...


class AsyncOutbox(Protocol):
    """As `Outbox`, awaited."""

    async def settle(self, record: CancellationRecord, /) -> None:
        """As `Outbox.settle`, awaited."""
        ...

    async def claim(self, record: CancellationRecord, /) -> CancellationRecord | None:
        """As `Outbox.claim`, awaited."""
        ...

    async def find(self, key: JobKey, /) -> CancellationRecord | None:
        """As `Outbox.find`, awaited."""
        ...

    async def take(
        self, limit: int, lease: timedelta, /, *, announcements: bool
    ) -> list[CancellationRecord]:
        """As `Outbox.take`, awaited."""
        ...


class InspectionRepository(Protocol):
    """A read of the committed state, within one transaction, without a lock or a change."""

    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta, /
    ) -> Inventory:
        """
        Return the pending sweeps and removals, scheduled and cancelled jobs, at one moment.

        Arguments:
            limit: how many of each kind at most.
            statuses: the statuses in which a contact counts as open.
            older_than: the age after which a live call counts as overdue.
        """
        ...


class OverviewRepository(Protocol):
    """One job and its contacts as committed, within one transaction; it locks and changes none."""

    def look(self, key: JobKey, /) -> Overview | None:
        """
        Return the job, and how many contacts it has in each status, at one moment.

        The job is as `JobRepository.lock` returns it, but nothing is locked and nothing waits for
        a lock.

        Returns:
            the job; None if this organization has no such job, or the store could hold no such id.
        """
        ...


class AsyncOverviewRepository(Protocol):
    """As `OverviewRepository`, awaited."""

    async def look(self, key: JobKey, /) -> Overview | None:
        """As `OverviewRepository.look`, awaited."""
        ...


class HistoryRepository(Protocol):
    """
    The records of all cancellations, within one transaction.

    If `mark_cancelled` replaces the record of an earlier cancellation of the job, that record
    stays in the history, as it was when it was replaced. `take` and `claim` ignore it.
    """

    def page(self, wanted: Wanted, limit: int, /) -> list[CancellationRecord]:
        """
        Return the records for which `wanted.holds`, the newest first; nothing is locked.

        The order is that of `Place`, with the store's own order of texts. It must be total, so
        that the next page begins after the last record of this one.

        Arguments:
            wanted: which records.
            limit: how many at most.
        """
        ...

    def forget(self, before: datetime, retry_window: timedelta, limit: int, /) -> int:
        """
        Delete records with nothing pending, of all organizations, the oldest first.

        A record whose sweep, removal or announcement is pending stays; an earlier record that was
        replaced has nothing pending.

        Arguments:
            before: only cancellations before this time.
            retry_window: only those longer ago than this, by the store's clock.
            limit: how many at most.

        Returns:
            how many were deleted; fewer than `limit` if no more are left to be deleted now.
        """
        ...


class AsyncHistoryRepository(Protocol):
    """As `HistoryRepository`, awaited."""

    async def page(self, wanted: Wanted, limit: int, /) -> list[CancellationRecord]:
        """As `HistoryRepository.page`, awaited."""
        ...

    async def forget(self, before: datetime, retry_window: timedelta, limit: int, /) -> int:
        """As `HistoryRepository.forget`, awaited."""
        ...


class BulkRepository(Protocol):
    """
    Many jobs of one organization, within one transaction.

    Each job gets what `JobRepository` and `ContactRepository` promise for one.
    """

    def find(self, wanted: JobFilter, after: JobKey | None, limit: int, /) -> list[JobKey]:
        """
        Return the keys of the jobs for which `wanted.holds`, ordered by id; nothing is locked.

        The order of ids is the store's own, and total: the next page begins after the last key of
        this one.

        Arguments:
            wanted: which jobs.
            after: the last key of the page before; None for the first page.
            limit: how many at most.

        Raises:
            StoreFailed: the filter asks for a time that the store does not know.
        """
        ...

    def lock(self, keys: Sequence[JobKey], /) -> Mapping[JobKey, Job]:
        """
        Lock the jobs until the transaction ends, and read each as it is then.

        It is the first call of its transaction. The locks are taken in the order of the jobs' ids,
        so that two such calls never wait for each other. All keys have the same organization.

        Returns:
            the jobs by the keys that they were asked for by; a key without a job is left out, and
            so is one that the store cannot hold. Two keys may lead to one job.
        """
        ...

    def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus], /
    ) -> Mapping[JobKey, int] | None:
        """
        Set to cancelled those contacts of locked jobs whose status is in `statuses`.

        Arguments:
            keys: the keys of the jobs as `lock` returned them, each once.
            statuses: the statuses.

        Returns:
            the number of contacts changed, by job; a job without any may be left out. None if
            they are more together than the store changes in one transaction: then none was
            changed.

        Raises:
            StoreFailed: as `ContactRepository.cancel`.
        """
        ...

    def mark_cancelled(self, records: Sequence[CancellationRecord], /) -> None:
        """
        Set locked jobs to cancelled, and keep their records; then check each outcome.

        Arguments:
            records: one for each job.

        Raises:
            StoreFailed: as `JobRepository.mark_cancelled`.
        """
        ...


class AsyncBulkRepository(Protocol):
    """As `BulkRepository`, awaited."""

    async def find(self, wanted: JobFilter, after: JobKey | None, limit: int, /) -> list[JobKey]:
        """As `BulkRepository.find`, awaited."""
        ...

    async def lock(self, keys: Sequence[JobKey], /) -> Mapping[JobKey, Job]:
        """As `BulkRepository.lock`, awaited."""
        ...

    async def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus], /
    ) -> Mapping[JobKey, int] | None:
        """As `BulkRepository.cancel`, awaited."""
        ...

    async def mark_cancelled(self, records: Sequence[CancellationRecord], /) -> None:
        """As `BulkRepository.mark_cancelled`, awaited."""
        ...


class WorkRepository(Protocol):
    """
    The steps of workers on a job and its contacts, within one transaction.

    Each step reads and writes atomically: what it read can't have changed when it writes. A key or
    an id that the store cannot hold is `JobNotFound`. A step checks the rows that it wrote, and
    raises `StoreFailed` if a trigger or a rule has changed them.
    """

    def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None, /
    ) -> bool:
        """
        Set the job to running if its status is in `statuses` and it names this deferred start.

        Status and deferred start are compared in the write, or under the job's lock.

        Arguments:
            key: the job.
            statuses: the statuses that it may be started from.
            deferred_id: the deferred start that fired; None to start the job whichever start it
                names.

        Returns:
            whether this call started the job.
        """
        ...

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int, /) -> list[str]:
        """
        Set to dialing up to `limit` contacts of a running job that are due and in `statuses`.

        Those without a time come first, then those due for longest. Contacts locked by another
        transaction are skipped, and the job is not locked. A contact that a cancel has changed
        since the statement began is not claimed.

        Returns:
            the ids of the contacts; empty if the job is not running.
        """
        ...

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement, /) -> bool:
        """
        Write the new state of a contact whose call has ended, only if its status is dialing.

        Returns:
            whether it was written.
        """
        ...

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta, /) -> int:
        """
        Write `settlement` to the job's contacts that have been dialing for too long.

        The age is measured by the store's clock from the time of the claim; if only the time of
        the last change is known, from that.

        Arguments:
            key: the job.
            settlement: what to write.
            older_than: how long a contact must have been dialing.

        Returns:
            how many were written.

        Raises:
            StoreFailed: the store knows neither time.
        """
        ...

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]], /) -> int:
        """
        Add contacts to the locked job, each as values by column; their status is pending.

        Returns:
            how many were added.
        """
        ...

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus], /) -> bool:
        """
        Set a running job to completed if none of its contacts has a status in `unfinished`.

        It waits for a transaction that adds contacts under the job's lock, and sees them.

        Returns:
            whether this call completed the job.
        """
        ...

    def status(self, key: JobKey, /) -> str | None:
        """Read the job's status, without a lock; None if there is no such job."""
        ...


class AsyncWorkRepository(Protocol):
    """As `WorkRepository`, awaited."""

    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None, /
    ) -> bool:
        """As `WorkRepository.start`, awaited."""
        ...

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int, /
    ) -> list[str]:
        """As `WorkRepository.claim`, awaited."""
        ...

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement, /) -> bool:
        """As `WorkRepository.settle`, awaited."""
        ...

    async def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta, /) -> int:
        """As `WorkRepository.expire`, awaited."""
        ...

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]], /) -> int:
        """As `WorkRepository.append`, awaited."""
        ...

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus], /) -> bool:
        """As `WorkRepository.finish`, awaited."""
        ...

    async def status(self, key: JobKey, /) -> str | None:
        """As `WorkRepository.status`, awaited."""
        ...


class ReadingWorkRepository(WorkRepository, Protocol):
    """
    The steps of workers in a store that also reads contacts for them.

    In a store whose `work` lacks these methods, `claim_contacts` refuses `returning`, and reports
    that a job is over only once it has ended.
    """

    def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
        /,
    ) -> Sequence[tuple[str, Mapping[str, object]]]:
        """
        Claim contacts as `claim` does, and read columns of them as they are after that.

        No value is logged or put in an error: it may be a phone number.

        Arguments:
            key: the job.
            statuses: the statuses that a contact may be claimed from.
            limit: how many at most.
            columns: the columns to read.

        Returns:
            the id of each contact, with its values by column.

        Raises:
            StoreFailed: contacts have no such column; nothing is claimed.
        """
        ...

    def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> bool:
        """Check whether there is such a job with a contact in `statuses`, without a lock."""
        ...


class AsyncReadingWorkRepository(AsyncWorkRepository, Protocol):
    """As `ReadingWorkRepository`, awaited."""

    async def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
        /,
    ) -> Sequence[tuple[str, Mapping[str, object]]]:
        """As `ReadingWorkRepository.claim_returning`, awaited."""
        ...

    async def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus], /) -> bool:
        """As `ReadingWorkRepository.has_contacts`, awaited."""
        ...


class AsyncInspectionRepository(Protocol):
    """As `InspectionRepository`, awaited."""

    async def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta, /
    ) -> Inventory:
        """As `InspectionRepository.look`, awaited."""
        ...


class Repositories(Protocol):
    """The repositories of one transaction."""

    @property
    def jobs(self) -> JobRepository:
        """The jobs."""
        ...

    @property
    def contacts(self) -> ContactRepository:
        """The contacts."""
        ...

    @property
    def outbox(self) -> Outbox | None:
        """The records of cancellations; None declares that the store keeps none."""
        ...

    @property
    def inspection(self) -> InspectionRepository | None:
        """The inspection; None declares that the store offers none."""
        ...

    @property
    def work(self) -> WorkRepository | None:
        """The workers' steps; None declares that the store does not offer them."""
        ...


class AsyncRepositories(Protocol):
    """As `Repositories`, awaited."""

    @property
    def jobs(self) -> AsyncJobRepository:
        """As `Repositories.jobs`."""
        ...

    @property
    def contacts(self) -> AsyncContactRepository:
        """As `Repositories.contacts`."""
        ...

    @property
    def outbox(self) -> AsyncOutbox | None:
        """As `Repositories.outbox`."""
        ...

    @property
    def inspection(self) -> AsyncInspectionRepository | None:
        """As `Repositories.inspection`."""
        ...

    @property
    def work(self) -> AsyncWorkRepository | None:
        """As `Repositories.work`."""
        ...


class ReportingRepositories(Repositories, Protocol):
    """
    What one transaction can reach in a store that reports on jobs and cancellations as well.

    A store that lacks one of these attributes does not offer it, just as with None.
    """

    @property
    def overview(self) -> OverviewRepository | None:
        """A look at one job, for `preview_job` and `job_progress`."""
        ...

    @property
    def history(self) -> HistoryRepository | None:
        """The records of all cancellations, for `cancellations` and `forget`."""
        ...


class AsyncReportingRepositories(AsyncRepositories, Protocol):
    """As `ReportingRepositories`, awaited."""

    @property
    def overview(self) -> AsyncOverviewRepository | None:
        """As `ReportingRepositories.overview`."""
        ...

    @property
    def history(self) -> AsyncHistoryRepository | None:
        """As `ReportingRepositories.history`."""
        ...


class BulkRepositories(Repositories, Protocol):
    """
    What one transaction can reach in a store that cancels many jobs in one as well.

    In a store that lacks the attribute, or has None there, `cancel_jobs` cancels the jobs one by
    one, and finds none by a filter.
    """

    @property
    def bulk(self) -> BulkRepository | None:
        """Many jobs, for `cancel_jobs`."""
        ...


class AsyncBulkRepositories(AsyncRepositories, Protocol):
    """As `BulkRepositories`, awaited."""

    @property
    def bulk(self) -> AsyncBulkRepository | None:
        """As `BulkRepositories.bulk`."""
        ...


class SweepRepositories(Repositories, Protocol):
    """
    What one transaction can reach in a store that cancels a very large job in several as well.

    Such a store keeps records, with `is_swept`. Within the caller's transaction it has None here.
    """

    @property
    def sweep(self) -> SweepRepository | None:
        """The contacts of very large jobs, cancelled after them."""
        ...


class AsyncSweepRepositories(AsyncRepositories, Protocol):
    """As `SweepRepositories`, awaited."""

    @property
    def sweep(self) -> AsyncSweepRepository | None:
        """As `SweepRepositories.sweep`."""
        ...


class UnitOfWork(Protocol):
    """A factory of transactions; it keeps no state of them."""

    def begin(self) -> AbstractContextManager[Repositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        ...


class AsyncUnitOfWork(Protocol):
    """As `UnitOfWork`, awaited."""

    def begin(self) -> AbstractAsyncContextManager[AsyncRepositories]:
        """As `UnitOfWork.begin`."""
        ...


class AutocommitUnitOfWork(UnitOfWork, Protocol):
    """
    A unit of work that can commit each call of a repository by itself.

    In a store that lacks the method, all workers' steps are in transactions by `begin`.
    """

    def begin_autocommit(self) -> AbstractContextManager[Repositories]:
        """
        Open a transaction in which each call may be committed by itself.

        As `begin`, but an exception after a call may roll nothing back. If the store fails once a
        call was sent, the outcome is "unknown", unless it is certain that nothing was changed.
        """
        ...


class AsyncAutocommitUnitOfWork(AsyncUnitOfWork, Protocol):
    """As `AutocommitUnitOfWork`, awaited."""

    def begin_autocommit(self) -> AbstractAsyncContextManager[AsyncRepositories]:
        """As `AutocommitUnitOfWork.begin_autocommit`."""
        ...


@runtime_checkable
class RepeatableUnitOfWork(Protocol):
    """A unit of work that opens its own transactions, so that a failed one can be retried."""

    def pause(self, attempts: int, /) -> None:
        """Wait before another attempt; the pause grows with the number of attempts."""
        ...


@runtime_checkable
class AsyncRepeatableUnitOfWork(Protocol):
    """As `RepeatableUnitOfWork`, awaited."""

    async def pause(self, attempts: int, /) -> None:
        """As `RepeatableUnitOfWork.pause`, awaited."""
        ...


@runtime_checkable
class JoiningUnitOfWork(Protocol):
    """A unit of work that may be within the caller's transaction."""

    @property
    def is_joined(self) -> bool:
        """Whether `begin()` would open a savepoint in the caller's transaction."""
        ...


@runtime_checkable
class AsyncJoiningUnitOfWork(Protocol):
    """As `JoiningUnitOfWork`, awaited."""

    @property
    def is_joined(self) -> bool:
        """As `JoiningUnitOfWork.is_joined`."""
        ...


class Scheduler(Protocol):
    """A scheduler of deferred starts."""

    def cancel(self, deferred_id: str, operation_id: str, /) -> bool:
        """
        Remove the deferred start for good.

        Safe to repeat: the same operation gets the same answer, even after a lost answer.

        Returns:
            True if this operation removed it before it fired; False if there was no start to
            remove.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        ...


class AsyncScheduler(Protocol):
    """As `Scheduler`, awaited."""

    async def cancel(self, deferred_id: str, operation_id: str, /) -> bool:
        """As `Scheduler.cancel`, awaited."""
        ...


class BulkScheduler(Scheduler, Protocol):
    """
    A scheduler that can remove many deferred starts at once.

    `cancel_jobs` and `reconcile` ask one that lacks the method for each start alone, as they do
    for each start that this method did not answer with True or False.
    """

    def cancel_many(self, starts: Sequence[tuple[str, str]], /) -> Sequence[bool | None]:
        """
        Remove the deferred starts for good, each as `cancel` does.

        Arguments:
            starts: the id of each start and the operation that removes it.

        Returns:
            the answer of `cancel` to each, in their order; None for no answer in time.

        Raises:
            SchedulerUnavailable: no answer in time for any.
        """
        ...


class AsyncBulkScheduler(AsyncScheduler, Protocol):
    """As `BulkScheduler`, awaited."""

    async def cancel_many(self, starts: Sequence[tuple[str, str]], /) -> Sequence[bool | None]:
        """As `BulkScheduler.cancel_many`, awaited."""
        ...


@runtime_checkable
class InspectableScheduler(Protocol):
    """A scheduler that can report which deferred starts wait."""

    def waiting_among(self, deferred_ids: AbstractSet[str], /) -> set[str]:
        """
        Return those of the deferred starts that wait to fire, without a change.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        ...


@runtime_checkable
class AsyncInspectableScheduler(Protocol):
    """As `InspectableScheduler`, awaited."""

    async def waiting_among(self, deferred_ids: AbstractSet[str], /) -> set[str]:
        """As `InspectableScheduler.waiting_among`, awaited."""
        ...


@runtime_checkable
class Checkable(Protocol):
    """A store or a scheduler that can check whether it is fit for the library."""

    def check(self) -> list[str]:
        """Return in sentences what is missing; an empty list means that it is fit."""
        ...


@runtime_checkable
class AsyncCheckable(Protocol):
    """As `Checkable`, awaited."""

    async def check(self) -> list[str]:
        """As `Checkable.check`, awaited."""
        ...
