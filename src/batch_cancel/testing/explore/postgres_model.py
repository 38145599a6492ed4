"""
The database ports as Postgres keeps them, in the steps in which it really does its work.

Each method is one statement of `adapters/postgres/queries.sql`: first its snapshot, then row by
row the locks, each with a second look at the newest version of that row alone (READ COMMITTED, the
re-check after a wait that Postgres calls EvalPlanQual).
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Set as AbstractSet
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import attrs

from batch_cancel.domain.defaults import SWEEP_ABOVE
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus, Removal
from batch_cancel.domain.sweep import Chunk
from batch_cancel.testing.explore.bulk_model import Bulk
from batch_cancel.testing.explore.rows import (
    CONTACTS,
    IS_SWEPT,
    NOW,
    RECORD,
    RecordRow,
    Row,
    index_of,
    open_contacts,
    record_of,
    recorded,
    there,
)
from batch_cancel.testing.explore.statements_model import Cancelling, Part, Statements
from batch_cancel.testing.explore.steps import (
    Begin,
    Commit,
    Passed,
    Rollback,
    Send,
)
from batch_cancel.testing.explore.workers_model import GuardedWork, Work


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


class Contacts(Cancelling):
    """The contacts, see `AsyncContactRepository`."""

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int | None:
        """Update row by row what the snapshot found, if it still is so; nothing if it is much."""
        job_index, above = there(key), self.transaction.sweep_above
        found = await self.transaction.look(
            "looks for contacts to cancel", lambda rows: open_contacts(rows, job_index, statuses)
        )
        if above is not None and len(found) > above:
            return None
        return await self.cancel_found(found, statuses)


class Sweep(Cancelling):
    """The contacts of very large jobs, see `AsyncSweepRepository`."""

    async def lock(self, record: CancellationRecord) -> CancellationRecord | None:
        """Lock the record of the same operation; whether it is undone is from the snapshot."""
        job_index, operation = there(record.key), record.operation_id
        status = await self.transaction.look(
            "looks for its record, to sweep",
            lambda rows: (
                rows[job_index][0] if rows[RECORD + job_index][:1] == (operation,) else ()
            ),
        )
        if status == ():
            return None
        row = await self.transaction.lock(
            "locks its record, to sweep", RECORD + job_index, lambda row: row
        )
        if row[:1] != (operation,):
            return None
        found = record_of(row, job_index)
        return attrs.evolve(found, is_undone=status != JobStatus.CANCELLED)

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        """Update row by row what the snapshot found up to the limit, if it still is so."""
        job_index, limit = there(key), self.transaction.sweep_above or SWEEP_ABOVE
        found = await self.transaction.look(
            "looks for a chunk of contacts",
            lambda rows: open_contacts(rows, job_index, statuses)[:limit],
        )
        changed = await self.cancel_found(found, statuses)
        return Chunk(len(found), changed, limit)

    async def note(self, record: CancellationRecord) -> None:
        """Update two columns of the locked record."""
        index = RECORD + there(record.key)
        row = await self.transaction.look("notes the count of the chunk", lambda rows: rows[index])
        noted = RecordRow(*row)._replace(
            contacts_cancelled=record.contacts_cancelled, is_swept=record.is_swept
        )
        self.transaction.writes.append((index, None, noted))


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
            if not row:
                return False
            return row[4] == Removal.PENDING or (announcements and not row[5]) or not row[IS_SWEPT]

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


class Transaction(Statements):
    """
    A transaction; what it wrote is seen by others at its commit.

    Its `look` and `lock` are for functions of your own: a statement of yours is one `look`, and a
    `lock` for each row that it locks or writes. What they pass to your function has names: all
    rows are `Rows`, the one with the index `JOB` is a `JobRow`.
    """

    def __init__(
        self,
        sweep_above: int | None = None,
        *,
        has_bulk: bool = True,
        writes_job: bool = False,
    ) -> None:
        super().__init__(sweep_above)
        self.bulk: Bulk | None = Bulk(self) if has_bulk else None
        self.sweep: Sweep = Sweep(self)
        self.jobs: Jobs = Jobs(self)
        self.contacts: Contacts = Contacts(self)
        self.outbox: Outbox = Outbox(self)
        self.inspection: None = None
        self.work: Work = GuardedWork(self) if writes_job else Work(self)

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


class _Done:
    """Is awaited without waiting."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


class ExploredUnitOfWork:
    """
    A factory of transactions that can be begun again after a fault.

    Arguments:
        sweep_above: how many contacts a transaction cancels at most; None for all.
        has_bulk: whether a transaction cancels several jobs.
        writes_job: whether a worker's step that relies on the job's lock writes the job as well.
    """

    def __init__(
        self,
        sweep_above: int | None = None,
        *,
        has_bulk: bool = True,
        writes_job: bool = False,
    ) -> None:
        self._sweep_above = sweep_above
        self._has_bulk = has_bulk
        self._writes_job = writes_job

    def begin(self) -> Transaction:
        """Open a transaction."""
        return Transaction(self._sweep_above, has_bulk=self._has_bulk, writes_job=self._writes_job)

    async def pause(self, _attempts: int, /) -> None:
        """Wait no time: whoever may act meanwhile, may act at any other step."""
        await _Done()
