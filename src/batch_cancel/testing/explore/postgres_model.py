"""
The database ports as Postgres keeps them, in the steps in which it really does its work.

Each method is one statement of `adapters/postgres/queries.sql`: first its snapshot, then row by
row the locks, each with a second look at the newest version of that row alone (READ COMMITTED, the
re-check after a wait that Postgres calls EvalPlanQual).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus, Removal
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.testing.explore.rows import (
    CONTACTS,
    DEFERRED_ID,
    NOW,
    RECORD,
    STATUS_OF_CONTACT,
    STATUS_OF_JOB,
    ContactRow,
    RecordRow,
    Row,
    Rows,
    index_of,
    open_contacts,
    record_of,
    recorded,
    there,
)
from batch_cancel.testing.explore.steps import (
    Begin,
    Commit,
    Lock,
    LockOrPass,
    Look,
    Passed,
    Rollback,
    Send,
    Write,
)

T = TypeVar("T")


class Transaction:
    """
    A transaction; what it wrote is seen by others at its commit.

    Its `look` and `lock` are for functions of your own: a statement of yours is one `look`, and a
    `lock` for each row that it locks or writes. What they pass to your function has names: all
    rows are `Rows`, the one with the index `JOB` is a `JobRow`.
    """

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.jobs = Jobs(self)
        self.contacts = Contacts(self)
        self.outbox = Outbox(self)
        self.inspection = None
        self.work = Work(self)

    async def __aenter__(self) -> Self:
        await Begin("begins")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await Commit(tuple(self.writes))
        elif kind is not GeneratorExit and kind is not StoreFailed:
            # A fault has ended it already; and whom the explorer lets go does nothing more.
            await Rollback("rolls back")

    def look(self, says: str, project: Callable[[Rows], T]) -> Look[T]:
        """Take a statement's snapshot."""
        return Look(says, project, tuple(self.writes))

    def lock(self, says: str, index: int, project: Callable[[Any], T]) -> Lock[T]:
        """Lock a row, wait for it if need be, and look at it again."""
        return Lock(says, index, project, tuple(self.writes))

    def lock_or_pass(self, says: str, index: int, project: Callable[[Any], T]) -> LockOrPass[T]:
        """Lock a row and look at it again, or pass it over."""
        return LockOrPass(says, index, project, tuple(self.writes))

    def write_job(self, index: int, status: JobStatus) -> None:
        """Set the status of a job that is locked."""
        self.writes.append((index, STATUS_OF_JOB, status.value))

    def write_deferred_id(self, index: int, deferred_id: str) -> None:
        """Set the deferred start of a job that is locked."""
        self.writes.append((index, DEFERRED_ID, deferred_id))

    def write_contact(self, index: int, status: ContactStatus) -> None:
        """Set the status of a contact that is locked."""
        self.writes.append((index, STATUS_OF_CONTACT, status.value))

    def write_record(self, job: int, record: CancellationRecord) -> None:
        """Write the record of a job that is locked."""
        self.writes.append((RECORD + job, None, recorded(record)))

    def insert_contact(self, job: int, contact_id: str) -> None:
        """Add a contact."""
        row = ContactRow(contact_id, job, ContactStatus.PENDING.value)
        self.writes.append((None, None, row))


@attrs.frozen
class Part:
    """What one transaction can reach of one thing."""

    transaction: Transaction


class Jobs(Part):
    """The jobs, see `AsyncJobRepository`."""

    async def lock(self, key: JobKey) -> Job | None:
        """Lock the job, then read its record in a statement of its own."""
        job_index = index_of(key)
        if job_index is None:
            await self.transaction.look("finds no such job", lambda _: None)
            return None
        status, deferred_id = await self.transaction.lock(
            "locks the job", job_index, lambda row: (row[0], row[1])
        )
        job = Job(key, status, deferred_id, NOW)
        if status != JobStatus.CANCELLED:
            return job
        row = await self.transaction.look(
            "reads the record", lambda rows: rows[RECORD + job_index]
        )
        return attrs.evolve(job, cancellation=record_of(row, job_index)) if row else job

    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        """Write the job and its record in one statement."""
        await Send("marks the job and writes the record")
        job_index = there(job.key)
        self.transaction.write_job(job_index, JobStatus.CANCELLED)
        self.transaction.write_record(job_index, record)


class Contacts(Part):
    """The contacts, see `AsyncContactRepository`."""

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        """Update row by row what the snapshot found, if it still is so."""
        job_index, changed = there(key), 0
        found = await self.transaction.look(
            "looks for contacts to cancel", lambda rows: open_contacts(rows, job_index, statuses)
        )
        for index in found:
            if await self.transaction.lock(
                f"locks contact {index - CONTACTS}", index, lambda row: row[2] in statuses
            ):
                self.transaction.write_contact(index, ContactStatus.CANCELLED)
                changed += 1
        return changed


class Outbox(Part):
    """The records of cancellations, see `AsyncOutbox`."""

    async def settle(self, record: CancellationRecord) -> None:
        """Update the record, never backwards."""
        index, done = RECORD + there(record.key), recorded(record)
        if not await self.transaction.look(
            "looks for its record", lambda rows: rows[index][:1] == (done.operation,)
        ):
            return
        row = await self.transaction.lock("locks the record", index, lambda row: row)
        if row[0] == done.operation:
            now = RecordRow(*row)
            removal = done.removal if now.removal == Removal.PENDING else now.removal
            is_announced = now.is_announced or done.is_announced
            settled = now._replace(removal=removal, is_announced=is_announced)
            self.transaction.writes.append((index, None, settled))

    async def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        """Compare and set the turn."""
        job_index, mine = there(record.key), recorded(record)

        def is_mine(row: Row) -> bool:
            return bool(row) and (row[0], row[6]) == (mine.operation, mine.turn)

        if not await self.transaction.look(
            "reads whether its record was not taken",
            lambda rows: is_mine(rows[RECORD + job_index]),
        ):
            return None
        row = await self.transaction.lock(
            "takes its record", RECORD + job_index, lambda row: row if is_mine(row) else None
        )
        if row is None:
            return None
        taken = self._take(RECORD + job_index, row)
        return record_of(taken, job_index)

    def _take(self, index: int, row: Row) -> RecordRow:
        taken = RecordRow(*row)
        taken = taken._replace(turn=taken.turn + 1)
        self.transaction.writes.append((index, None, taken))
        return taken

    async def find(self, key: JobKey) -> CancellationRecord | None:
        """Read the record without a lock, and whether the job is cancelled still."""
        job_index = there(key)
        row, status = await self.transaction.look(
            "looks for the record", lambda rows: (rows[RECORD + job_index], rows[job_index][0])
        )
        if not row:
            return None
        return attrs.evolve(record_of(row, job_index), is_undone=status != JobStatus.CANCELLED)

    async def take(
        self, limit: int, _lease: timedelta, /, *, announcements: bool
    ) -> list[CancellationRecord]:
        """Lock the pending records, and skip those that another transaction has locked."""

        def owes(row: Row) -> bool:
            return bool(row) and (row[4] == Removal.PENDING or (announcements and not row[5]))

        found = await self.transaction.look(
            "looks for pending removals",
            lambda rows: tuple(at for at in range(RECORD, CONTACTS) if owes(rows[at])),
        )
        taken: list[CancellationRecord] = []
        for index in found[:limit]:
            row = await self.transaction.lock_or_pass(
                "takes a record", index, lambda row: row if owes(row) else None
            )
            if row is not None and not isinstance(row, Passed):
                taken.append(record_of(self._take(index, row), index - RECORD))
        return taken


class Work(Part):
    """The workers' steps, see `AsyncWorkRepository`."""

    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        """Compare and set."""
        job_index = there(key)

        def waits(row: Row) -> bool:
            return row[0] in statuses and deferred_id in {None, row[DEFERRED_ID]}

        if not await self.transaction.look(
            "looks whether the job waits", lambda rows: waits(rows[job_index])
        ):
            return False
        if not await self.transaction.lock("locks the job and looks again", job_index, waits):
            return False
        self.transaction.write_job(job_index, JobStatus.RUNNING)
        return True

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        """Look at job and contacts, then lock contact by contact."""
        job_index, claimed = there(key), list[str]()
        found = await self.transaction.look(
            "looks for contacts of a running job",
            lambda rows: (
                open_contacts(rows, job_index, statuses)
                if rows[job_index][0] == JobStatus.RUNNING
                else ()
            ),
        )
        for index in found:
            if len(claimed) == limit:
                break
            contact_id = await self.transaction.lock_or_pass(
                f"takes contact {index - CONTACTS}",
                index,
                lambda row: row[0] if row[2] in statuses else None,
            )
            if isinstance(contact_id, str):
                self.transaction.write_contact(index, ContactStatus.DIALING)
                claimed.append(contact_id)
        return claimed

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        """Update the contact if it is on the phone."""
        job_index, named = there(key), (contact_id, there(key), ContactStatus.DIALING.value)
        found = await self.transaction.look(
            "looks for the contact on the phone",
            lambda rows: tuple(at for at in range(CONTACTS, len(rows)) if rows[at][:3] == named),
        )
        for index in found:
            if await self.transaction.lock(
                "locks the contact",
                index,
                lambda row: row[1:3] == (job_index, ContactStatus.DIALING),
            ):
                self.transaction.write_contact(index, settlement.status)
                return True
        return False

    async def expire(self, key: JobKey, settlement: Settlement, _older_than: timedelta, /) -> int:
        """Update contact by contact what is on the phone; any call may have lasted too long."""
        job_index, expired = there(key), 0
        found = await self.transaction.look(
            "looks for calls that have lasted too long",
            lambda rows: open_contacts(rows, job_index, {ContactStatus.DIALING}),
        )
        for index in found:
            if await self.transaction.lock(
                f"ends call {index - CONTACTS}",
                index,
                lambda row: row[2] == ContactStatus.DIALING,
            ):
                self.transaction.write_contact(index, settlement.status)
                expired += 1
        return expired

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        """Insert under the lock."""
        await Send("adds contacts")
        for contact in contacts:
            self.transaction.insert_contact(there(job.key), str(contact["id"]))
        return len(contacts)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        """Look, lock the job, and look again in a statement of its own."""
        job_index = there(key)

        def is_done(rows: Rows) -> bool:
            return rows[job_index][0] == JobStatus.RUNNING and not open_contacts(
                rows, job_index, unfinished
            )

        if not await self.transaction.look("looks whether anything is left", is_done):
            return False
        if not await self.transaction.lock(
            "locks the job", job_index, lambda row: row[0] == JobStatus.RUNNING
        ):
            return False
        if not await self.transaction.look("looks again, in a new statement", is_done):
            return False
        self.transaction.write_job(job_index, JobStatus.COMPLETED)
        return True

    async def status(self, key: JobKey) -> str | None:
        """Read without a lock."""
        job_index = there(key)
        status: str | None = await self.transaction.look(
            "reads the job's status", lambda rows: rows[job_index][0]
        )
        return status


class _Done:
    """Is awaited without waiting."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


class ExploredUnitOfWork:
    """A factory of transactions that can be begun again after a fault."""

    def begin(self) -> Transaction:
        """Open a transaction."""
        return Transaction()

    async def pause(self, _attempts: int, /) -> None:
        """Wait no time: whoever may act meanwhile, may act at any other step."""
        await _Done()
