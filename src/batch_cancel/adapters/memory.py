"""
A store and a scheduler in memory: for your tests, and for trying things out.

They are a product, not a stub: they keep the same promises as the real adapters and pass the same
tests. A transaction works on a draft that is written down on a clean exit only; a transaction
inside a transaction is a savepoint. One transaction runs at a time, which is stricter than a
database: a race that a database would show does not happen here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import ChainMap
from collections.abc import (
    AsyncGenerator,
    Generator,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from operator import attrgetter, itemgetter
from types import MappingProxyType, TracebackType
from typing import Final
from uuid import uuid4

import attrs

from batch_cancel.domain import deferred_start
from batch_cancel.domain.cancellation import is_same_cancellation, owes, settled
from batch_cancel.domain.deferred_start import Claimed, Deferred, DeferredState
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.errors import Fault, StoreFailed, shown
from batch_cancel.domain.model import (
    CANCELLABLE_CONTACTS,
    CancellationRecord,
    ContactStatus,
    Job,
    JobKey,
    JobStatus,
    Removal,
)
from batch_cancel.domain.worker_rules import (
    CONTACT_ID_REFUSED,
    Settlement,
    new_contact_due_at,
    new_contact_id,
)

_NO_CONTACTS: Final[Mapping[str, str | None]] = MappingProxyType({})
_NO_TIMES: Final[Mapping[str, datetime]] = MappingProxyType({})

_TWO_LOOPS: Final = (
    "another event loop is at work in this AsyncMemoryStore, and can't be waited for: "
    "use it from one loop at a time, or a MemoryStore, whose threads take turns"
)

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_MOMENT: Final = timedelta.resolution


@attrs.frozen
class _Row:
    """One job and all that belongs to it; replaced whole, never changed."""

    status: str | None
    deferred_id: str | None
    contacts: Mapping[str, str | None] = _NO_CONTACTS
    next_attempts: Mapping[str, datetime] = _NO_TIMES
    """When a contact may be dialled, by its id; one that has no time is due at once."""
    dialing_since: Mapping[str, datetime] = _NO_TIMES
    """Since when a contact that is dialing has been, by its id."""
    cancellation: CancellationRecord | None = None
    taken_at: datetime = _LONG_AGO
    """When somebody last set out to finish the cancellation."""


_Rows = MutableMapping[JobKey, _Row]


def _job(key: JobKey, row: _Row) -> Job:
    return Job(key, row.status, row.deferred_id, datetime.now(UTC), row.cancellation)


def _take(
    rows: _Rows, limit: int, lease: timedelta, *, announcements: bool
) -> list[CancellationRecord]:
    now = datetime.now(UTC)
    owing = [
        (row.taken_at, record)
        for row in rows.values()
        if (record := row.cancellation) is not None
        and owes(record, announcements=announcements)
        and row.taken_at <= now - lease
    ]
    taken = [record for _, record in sorted(owing, key=itemgetter(0))[:limit]]
    return [_touched(rows, record) for record in taken]


def _claim_record(rows: _Rows, record: CancellationRecord) -> CancellationRecord | None:
    current = _find(rows, record.key)
    if current is None or current.taken_at != record.taken_at:
        return None
    return _touched(rows, current) if is_same_cancellation(current, record) else None


def _touched(rows: _Rows, record: CancellationRecord) -> CancellationRecord:
    """Take a record: later than before, even if the clock has not moved on."""
    row = rows[record.key]
    taken_at = max(datetime.now(UTC), row.taken_at + _MOMENT)
    rows[record.key] = attrs.evolve(row, taken_at=taken_at)
    is_undone = row.status != JobStatus.CANCELLED
    return attrs.evolve(record, taken_at=taken_at, is_undone=is_undone)


def _find(rows: _Rows, key: JobKey) -> CancellationRecord | None:
    row = rows.get(key)
    if row is None or row.cancellation is None:
        return None
    is_undone = row.status != JobStatus.CANCELLED
    return attrs.evolve(row.cancellation, taken_at=row.taken_at, is_undone=is_undone)


def _look(
    rows: _Rows, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
) -> Inventory:
    # Newer jobs come later, and none is moved.
    listed = [(key, rows[key]) for key in rows]
    records = [row.cancellation for _, row in listed if row.cancellation is not None]
    pending = [record for record in records if record.removal is Removal.PENDING]
    cancelled = [(key, row) for key, row in listed if row.status == JobStatus.CANCELLED]
    return Inventory(
        removals_pending=tuple(sorted(pending, key=attrgetter("cancelled_at"))[:limit]),
        scheduled=tuple(
            DeferredStart(key, row.deferred_id)
            for key, row in listed
            if row.status == JobStatus.SCHEDULED
        )[:limit],
        cancelled=tuple(
            CancelledJob(
                key,
                row.deferred_id,
                sum(status in statuses for status in row.contacts.values()),
            )
            for key, row in sorted(cancelled, key=_cancelled_at, reverse=True)[:limit]
        ),
        calls_overdue=tuple(sorted(_overdue_calls(rows, older_than), key=_fewest)[:limit]),
    )


def _overdue_calls(rows: _Rows, older_than: timedelta) -> Iterator[OverdueCalls]:
    before = datetime.now(UTC) - older_than
    for key in rows:
        overdue = _overdue(rows[key], before)
        if overdue:
            yield OverdueCalls(key, len(overdue))


def _overdue(row: _Row, before: datetime) -> list[str]:
    """Return the ids of the contacts that have been dialing since before then."""
    return [
        contact_id
        for contact_id, status in row.contacts.items()
        if status == ContactStatus.DIALING and row.dialing_since[contact_id] < before
    ]


def _fewest(calls: OverdueCalls) -> int:
    return -calls.contacts


def _cancelled_at(entry: tuple[JobKey, _Row]) -> datetime:
    _, row = entry
    return _LONG_AGO if row.cancellation is None else row.cancellation.cancelled_at


def _cancel_contacts(rows: _Rows, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
    row = rows[key]
    due = [contact_id for contact_id, status in row.contacts.items() if status in statuses]
    changed = dict.fromkeys(due, ContactStatus.CANCELLED.value)
    rows[key] = attrs.evolve(row, contacts={**row.contacts, **changed})
    _look_for_open_contacts(rows, key, statuses)
    _look_at_contacts(rows, key, due, ContactStatus.CANCELLED)
    return len(due)


def _mark_cancelled(rows: _Rows, key: JobKey, record: CancellationRecord) -> None:
    rows[key] = attrs.evolve(
        rows[key],
        status=JobStatus.CANCELLED.value,
        cancellation=record,
        taken_at=record.cancelled_at,
    )
    _look_at_outcome(rows, key, record)


def _look_at_outcome(rows: _Rows, key: JobKey, record: CancellationRecord) -> None:
    # No trigger undoes what is written here, but a subclass may, and so does who marks the job
    # before its contacts. The port asks this of every store.
    row = rows[key]
    _look_for_open_contacts(rows, key, CANCELLABLE_CONTACTS)
    cancelled = sum(status == ContactStatus.CANCELLED for status in row.contacts.values())
    if cancelled < record.contacts_cancelled:
        what = f"contacts cancelled: {record.contacts_cancelled}, that are cancelled: {cancelled}"
        raise _otherwise(what)
    _look_at_job(rows, key, JobStatus.CANCELLED)
    if row.cancellation != record:
        what = "the record of the cancellation is not there as it was written"
        raise _otherwise(what)


def _look_for_open_contacts(
    rows: _Rows, key: JobKey, statuses: AbstractSet[ContactStatus]
) -> None:
    left = sum(status in statuses for status in rows[key].contacts.values())
    if left:
        what = f"contacts of the job that are open after all were cancelled: {left}"
        raise _otherwise(what, Fault.INCOMPLETE)


def _look_at_job(rows: _Rows, key: JobKey, due: JobStatus) -> None:
    if rows[key].status != due:
        what = (
            f"the job has the status {shown(rows[key].status)} after it was set to {due.value!r}"
        )
        raise _otherwise(what)


def _look_at_contacts(
    rows: _Rows, key: JobKey, contact_ids: Sequence[str], due: ContactStatus
) -> None:
    statuses = rows[key].contacts
    are = sum(statuses.get(contact_id) == due for contact_id in contact_ids)
    if are != len(contact_ids):
        what = f"contacts set to {due.value!r}: {len(contact_ids)}, that have this status: {are}"
        raise _otherwise(what)


def _otherwise(what: str, fault: Fault = Fault.REFUSED) -> StoreFailed:
    """Return the error for rows that are not as they were written."""
    reason = f"{what}; something between the store and its rows undoes what is written, as a "
    return StoreFailed(f"{reason}trigger would: remove it", fault=fault)


def _start(
    rows: _Rows, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
) -> bool:
    row = rows.get(key)
    if row is None or row.status not in statuses:
        return False
    if deferred_id is not None and row.deferred_id != deferred_id:
        return False
    rows[key] = attrs.evolve(row, status=JobStatus.RUNNING.value)
    _look_at_job(rows, key, JobStatus.RUNNING)
    return True


def _claim(
    rows: _Rows, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
) -> list[str]:
    row = rows.get(key)
    if row is None or row.status != JobStatus.RUNNING:
        return []
    now = datetime.now(UTC)
    due = sorted(
        (at, contact_id)
        for contact_id, status in row.contacts.items()
        if status in statuses and (at := row.next_attempts.get(contact_id, _LONG_AGO)) <= now
    )
    claimed = [contact_id for _, contact_id in due[:limit]]
    dialing = dict.fromkeys(claimed, ContactStatus.DIALING.value)
    rows[key] = attrs.evolve(
        row,
        contacts={**row.contacts, **dialing},
        dialing_since={**row.dialing_since, **dict.fromkeys(claimed, now)},
    )
    _look_at_contacts(rows, key, claimed, ContactStatus.DIALING)
    return claimed


def _settle(rows: _Rows, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
    row = rows.get(key)
    if row is None or row.contacts.get(contact_id) != ContactStatus.DIALING:
        return False
    _go_on(rows, key, [contact_id], settlement)
    return True


def _expire(rows: _Rows, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
    row = rows.get(key)
    if row is None:
        return 0
    overdue = _overdue(row, datetime.now(UTC) - older_than)
    _go_on(rows, key, overdue, settlement)
    return len(overdue)


def _go_on(rows: _Rows, key: JobKey, contact_ids: Sequence[str], settlement: Settlement) -> None:
    row = rows[key]
    statuses = dict.fromkeys(contact_ids, settlement.status.value)
    times = dict.fromkeys(contact_ids, settlement.retry_at or _LONG_AGO)
    rows[key] = attrs.evolve(
        row,
        contacts={**row.contacts, **statuses},
        next_attempts={**row.next_attempts, **times},
    )
    _look_at_contacts(rows, key, contact_ids, settlement.status)


def _append(rows: _Rows, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
    row = rows[job.key]
    statuses, next_attempts = dict(row.contacts), dict(row.next_attempts)
    added: list[str] = []
    for contact in contacts:
        contact_id = new_contact_id(contact, uuid4().hex)
        if contact_id in statuses:
            raise StoreFailed(CONTACT_ID_REFUSED)
        statuses[contact_id] = ContactStatus.PENDING.value
        next_attempts[contact_id] = new_contact_due_at(contact) or _LONG_AGO
        added.append(contact_id)
    rows[job.key] = attrs.evolve(row, contacts=statuses, next_attempts=next_attempts)
    _look_at_contacts(rows, job.key, added, ContactStatus.PENDING)
    return len(added)


def _finish(rows: _Rows, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
    row = rows.get(key)
    if row is None or row.status != JobStatus.RUNNING:
        return False
    if any(status in unfinished for status in row.contacts.values()):
        return False
    rows[key] = attrs.evolve(row, status=JobStatus.COMPLETED.value)
    _look_at_job(rows, key, JobStatus.COMPLETED)
    return True


class _Seeds:
    """The plain methods with which a test fills a store and looks into it."""

    def __init__(self) -> None:
        self._committed: dict[JobKey, _Row] = {}

    def add_job(
        self,
        id: str,  # noqa: A002  # The reference table's name for it.
        status: str | None = "scheduled",
        organization_id: str | None = None,
        deferred_id: str | None = None,
    ) -> None:
        """
        Add a job.

        Arguments:
            id: the job's id.
            status: any status, known or not.
            organization_id: whose job it is; None for a job of no organization.
            deferred_id: the id of its deferred start; None if it has none.

        Raises:
            ValueError: there is such a job already.
        """
        key = JobKey(id, organization_id)
        if key in self._committed:
            msg = f"there is a job {shown(id)} in this organization already"
            raise ValueError(msg)
        self._committed[key] = _Row(status, deferred_id)

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
            since: since when they have had it, an aware datetime; None for now.

        Raises:
            LookupError: there is no such job.
        """
        key = JobKey(job_id, organization_id)
        row = self._committed.get(key)
        if row is None:
            msg = f"there is no job {shown(job_id)} in this organization to add contacts to"
            raise LookupError(msg)
        times = dict.fromkeys(contacts, since or datetime.now(UTC))
        self._committed[key] = attrs.evolve(
            row,
            contacts={**row.contacts, **contacts},
            dialing_since={**row.dialing_since, **times},
        )

    def job(self, job_id: str, organization_id: str | None = None) -> Job | None:
        """Return the job as last committed; None if there is none."""
        key = JobKey(job_id, organization_id)
        row = self._committed.get(key)
        return None if row is None else _job(key, row)

    def contacts(self, job_id: str, organization_id: str | None = None) -> dict[str, str | None]:
        """Return the status by contact id of a job, as last committed; empty if there is none."""
        row = self._committed.get(JobKey(job_id, organization_id))
        return {} if row is None else dict(row.contacts)


@attrs.frozen
class _Jobs:
    rows: _Rows

    def lock(self, key: JobKey) -> Job | None:
        row = self.rows.get(key)
        return None if row is None else _job(key, row)

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        _mark_cancelled(self.rows, job.key, record)


@attrs.frozen
class _AsyncJobs:
    rows: _Rows

    async def lock(self, key: JobKey) -> Job | None:
        row = self.rows.get(key)
        return None if row is None else _job(key, row)

    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        _mark_cancelled(self.rows, job.key, record)


@attrs.frozen
class _Contacts:
    rows: _Rows

    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return _cancel_contacts(self.rows, key, statuses)


@attrs.frozen
class _AsyncContacts:
    rows: _Rows

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return _cancel_contacts(self.rows, key, statuses)


@attrs.frozen
class _Outbox:
    rows: _Rows

    def settle(self, record: CancellationRecord) -> None:
        row = self.rows[record.key]
        if row.cancellation is not None:
            done = settled(row.cancellation, record)
            self.rows[record.key] = attrs.evolve(row, cancellation=done)

    def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        return _claim_record(self.rows, record)

    def find(self, key: JobKey) -> CancellationRecord | None:
        return _find(self.rows, key)

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        return _take(self.rows, limit, lease, announcements=announcements)


@attrs.frozen
class _AsyncOutbox:
    rows: _Rows

    async def settle(self, record: CancellationRecord) -> None:
        row = self.rows[record.key]
        if row.cancellation is not None:
            done = settled(row.cancellation, record)
            self.rows[record.key] = attrs.evolve(row, cancellation=done)

    async def claim(self, record: CancellationRecord) -> CancellationRecord | None:
        return _claim_record(self.rows, record)

    async def find(self, key: JobKey) -> CancellationRecord | None:
        return _find(self.rows, key)

    async def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        return _take(self.rows, limit, lease, announcements=announcements)


@attrs.frozen
class _Inspection:
    rows: _Rows

    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        return _look(self.rows, limit, statuses, older_than)


@attrs.frozen
class _AsyncInspection:
    rows: _Rows

    async def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        return _look(self.rows, limit, statuses, older_than)


@attrs.frozen
class _Work:
    rows: _Rows

    def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        return _start(self.rows, key, statuses, deferred_id)

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        return _claim(self.rows, key, statuses, limit)

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        return _settle(self.rows, key, contact_id, settlement)

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        return _expire(self.rows, key, settlement, older_than)

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        return _append(self.rows, job, contacts)

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        return _finish(self.rows, key, unfinished)

    def status(self, key: JobKey) -> str | None:
        row = self.rows.get(key)
        return None if row is None else row.status


@attrs.frozen
class _AsyncWork:
    rows: _Rows

    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        return _start(self.rows, key, statuses, deferred_id)

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        return _claim(self.rows, key, statuses, limit)

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        return _settle(self.rows, key, contact_id, settlement)

    async def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        return _expire(self.rows, key, settlement, older_than)

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        return _append(self.rows, job, contacts)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        return _finish(self.rows, key, unfinished)

    async def status(self, key: JobKey) -> str | None:
        row = self.rows.get(key)
        return None if row is None else row.status


@attrs.frozen
class MemoryRepositories:
    """What one transaction of a memory store can reach."""

    jobs: _Jobs
    contacts: _Contacts
    outbox: _Outbox
    inspection: _Inspection
    work: _Work


@attrs.frozen
class AsyncMemoryRepositories:
    """As `MemoryRepositories`, awaited."""

    jobs: _AsyncJobs
    contacts: _AsyncContacts
    outbox: _AsyncOutbox
    inspection: _AsyncInspection
    work: _AsyncWork


class _Turn:
    """Whose turn it is; the thread that has it may take it again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owners: list[int] = []

    @property
    def is_mine(self) -> bool:
        """Whether it is this thread's turn."""
        return self._owners[:1] == [threading.get_ident()]

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owners.append(threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._owners.pop()
        self._lock.release()


class _AsyncTurn:
    """Whose turn it is; the task that has it may take it again. Tasks of one event loop only."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrivals = threading.Lock()
        self._present = 0
        self._owner: asyncio.Task[object] | None = None
        self._depth = 0

    @property
    def is_mine(self) -> bool:
        """Whether it is this task's turn."""
        return self._owner is not None and self._owner is asyncio.current_task()

    async def __aenter__(self) -> None:
        self._arrive(asyncio.get_running_loop())
        if self._owner is not asyncio.current_task():
            try:
                await self._lock.acquire()
            except BaseException:
                self._present -= 1
                raise
            self._owner = asyncio.current_task()
        self._depth += 1

    def _arrive(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count who has the turn or waits for it; turn away who could not wait: another loop."""
        with self._arrivals:
            if loop is not self._loop:  # A store outlives a test's event loop; its lock can't.
                if self._present and self._loop is not None and not self._loop.is_closed():
                    raise StoreFailed(_TWO_LOOPS, fault=Fault.BUSY)
                self._loop, self._lock = loop, asyncio.Lock()
                self._owner, self._depth, self._present = None, 0, 0
            self._present += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()
        self._present -= 1


class MemoryStore(_Seeds):
    """
    Jobs, contacts and cancellation records in memory: a unit of work.

    Threads take turns, tasks those of `AsyncMemoryStore`. A `begin` within a `begin` is a
    savepoint. Fill the store before its transactions start: `add_job` and `add_contacts` do not
    wait for their turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = _Turn()
        self._top: _Rows = self._committed

    @property
    def is_joined(self) -> bool:
        """Whether a `begin` now is a savepoint."""
        return self._turn.is_mine

    @contextmanager
    def begin(self) -> Generator[MemoryRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with self._turn:
            below = self._top
            written: dict[JobKey, _Row] = {}
            self._top = draft = ChainMap(written, below)
            try:
                yield MemoryRepositories(
                    _Jobs(draft),
                    _Contacts(draft),
                    _Outbox(draft),
                    _Inspection(draft),
                    _Work(draft),
                )
                below.update(written)
            finally:
                self._top = below


class AsyncMemoryStore(_Seeds):
    """As `MemoryStore`, awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = _AsyncTurn()
        self._top: _Rows = self._committed

    @property
    def is_joined(self) -> bool:
        """As `MemoryStore.is_joined`."""
        return self._turn.is_mine

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncMemoryRepositories]:
        """As `MemoryStore.begin`, awaited."""
        async with self._turn:
            below = self._top
            written: dict[JobKey, _Row] = {}
            self._top = draft = ChainMap(written, below)
            try:
                yield AsyncMemoryRepositories(
                    _AsyncJobs(draft),
                    _AsyncContacts(draft),
                    _AsyncOutbox(draft),
                    _AsyncInspection(draft),
                    _AsyncWork(draft),
                )
                below.update(written)
            finally:
                self._top = below


def _fires_at(entry: tuple[str, Deferred]) -> datetime:
    return entry[1].at or datetime.max.replace(tzinfo=UTC)


class _DeferredStarts:
    """The deferred starts of a scheduler in memory; every step is one step for all threads."""

    def __init__(self) -> None:
        self._by_id: dict[str, Deferred] = {}
        self._lock = threading.Lock()

    def waiting(self) -> set[str]:
        """Return the ids of the deferred starts that wait to fire."""
        with self._lock:
            return {
                deferred_id
                for deferred_id, start in self._by_id.items()
                if start.state is DeferredState.DUE
            }

    def _schedule(self, deferred_id: str, at: datetime, payload: bytes) -> bool:
        deferred_start.check_schedulable(deferred_id, at)
        with self._lock:
            return self._put(
                deferred_id, deferred_start.schedule(self._by_id.get(deferred_id), at, payload)
            )

    def _cancel(self, deferred_id: str, operation_id: str) -> bool:
        with self._lock:
            self._put(
                deferred_id, deferred_start.cancel(self._by_id.get(deferred_id), operation_id)
            )
            return deferred_start.was_removed_by(self._by_id[deferred_id], operation_id)

    def _claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        deferred_start.check_lease(lease)
        now, token = datetime.now(UTC), uuid4().hex
        with self._lock:
            due = [
                (deferred_id, start)
                for deferred_id, start in sorted(self._by_id.items(), key=_fires_at)
                if deferred_start.claim(start, now, token, now)
            ]
            starts = deferred_start.in_delivery_order(due[: max(limit, 0)])
            for starts_after, (deferred_id, start) in enumerate(reversed(starts)):
                ends_at = deferred_start.lease_end(now + lease, starts_after)
                self._put(deferred_id, deferred_start.claim(start, now, token, ends_at))
        return [Claimed(deferred_id, start.payload, token) for deferred_id, start in starts]

    def _ack(self, deferred_id: str, token: str) -> bool:
        with self._lock:
            return self._put(
                deferred_id, deferred_start.acknowledge(self._by_id.get(deferred_id), token)
            )

    def _put(self, deferred_id: str, start: Deferred | None) -> bool:
        if start is None:
            return False
        self._by_id[deferred_id] = start
        return True


class Answer:
    """
    A bool that may also be awaited.

    The asyncio scheduler answers `schedule` with it: code written for a scheduler on a network
    awaits the answer, a test that only seeds need not.
    """

    def __init__(self, value: bool) -> None:  # noqa: FBT001  # The value is the whole object.
        self._value = value

    def __bool__(self) -> bool:
        return self._value

    def __await__(self) -> Generator[None, None, bool]:
        yield from ()
        return self._value


class MemoryScheduler(_DeferredStarts):
    """Deferred starts in memory."""

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        """
        Schedule a start, or move one that still waits.

        Arguments:
            deferred_id: its id.
            at: when to fire, an aware datetime.
            payload: what whoever claims it is given.

        Returns:
            False if the id was ever cancelled, handed out or finished: then nothing changed.
        """
        return self._schedule(deferred_id, at, payload)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Take the deferred start back for good.

        Returns:
            True if this operation took it back before it fired; the same whenever it is repeated.
        """
        return self._cancel(deferred_id, operation_id)

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """Return those of the deferred starts that wait to fire."""
        return self.waiting() & deferred_ids

    def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """
        Take the starts that are due, each for the time of `lease`.

        A start that is not acknowledged within its lease is handed out again. Deliver them in
        the order in which they are returned: one that may have ended its last owner comes last.

        Raises:
            ValueError: `lease` is negative, or longer than a century.
        """
        return self._claim(limit, lease)

    def ack(self, deferred_id: str, token: str) -> bool:
        """Finish a start that was claimed; False if the lease is no longer the caller's."""
        return self._ack(deferred_id, token)


class AsyncMemoryScheduler(_DeferredStarts):
    """As `MemoryScheduler`, awaited."""

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> Answer:
        """As `MemoryScheduler.schedule`."""
        # Done at once, awaited or not.
        return Answer(self._schedule(deferred_id, at, payload))

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `MemoryScheduler.cancel`, awaited."""
        return self._cancel(deferred_id, operation_id)

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `MemoryScheduler.waiting_among`, awaited."""
        return self.waiting() & deferred_ids

    async def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """As `MemoryScheduler.claim`, awaited."""
        return self._claim(limit, lease)

    async def ack(self, deferred_id: str, token: str) -> bool:
        """As `MemoryScheduler.ack`, awaited."""
        return self._ack(deferred_id, token)
