"""
The ports as Postgres and Redis keep them, in the steps in which they really do their work.

Each method is one statement of `adapters/postgres/queries.sql`: first its snapshot, then row by
row the locks, each with a second look at the newest version of that row alone (READ COMMITTED, the
re-check after a wait that Postgres calls EvalPlanQual). The scheduler follows the rules of
`domain/deferred_start.py`, each operation in one step, as a script in Redis runs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

import attrs

from batch_cancel.domain import deferred_start
from batch_cancel.domain.deferred_start import Claimed, Deferred, DeferredState
from batch_cancel.domain.errors import JobNotFound, StoreFailed
from batch_cancel.domain.model import (
    CancellationRecord,
    ContactStatus,
    Job,
    JobKey,
    JobStatus,
    Removal,
)
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.testing.explore.steps import (
    Ask,
    Begin,
    Commit,
    Lock,
    LockOrPass,
    Look,
    Passed,
    Rollback,
    Row,
    Rows,
    Send,
    Starts,
    Write,
)

T = TypeVar("T")

KEY: Final = JobKey("job", "ours")
"""The job that everything is about."""

NEIGHBOUR: Final = JobKey("job", "theirs")
"""Another organization's job of the same id: nothing may touch it."""

START: Final = "start-1"
"""The deferred start that the job has at first, due now."""

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""There is no clock in here: a lease has always run out, and what is due is due from the start."""

LATER: Final = NOW + timedelta(days=1)

_KEYS: Final = (KEY, NEIGHBOUR)

# The rows: the two jobs, their records, the contacts. What stands in which column:
JOB: Final = 0
RECORD: Final = len(_KEYS)
CONTACTS: Final = 2 * len(_KEYS)


class JobRow(NamedTuple):
    """A row of the jobs."""

    status: str | None
    deferred_id: str | None
    version: int = 0


class RecordRow(NamedTuple):
    """
    A row of the cancellation records; where a job has none stands an empty row.

    Its `turn` counts how often it was taken; it stands for the time.
    """

    operation: str
    previous: str
    contacts_cancelled: int
    deferred_id: str | None
    removal: str
    is_announced: bool
    turn: int = 0


class ContactRow(NamedTuple):
    """A row of the contacts; `job` is the place of its job's row."""

    contact_id: str
    job: int
    status: str
    version: int = 0


_STATUS_OF_JOB: Final = JobRow._fields.index("status")
_STATUS_OF_CONTACT: Final = ContactRow._fields.index("status")
DEFERRED_ID: Final = JobRow._fields.index("deferred_id")


def first_rows(status: str, contacts: Sequence[str], deferred_id: str | None) -> Rows:
    """Give the rows at the beginning: the job and its contacts, and the neighbour with one."""
    return (
        JobRow(status, deferred_id),
        JobRow("scheduled", "start-of-theirs"),
        (),
        (),
        ContactRow("t0", 1, "pending"),
        *(ContactRow(f"c{n}", 0, status) for n, status in enumerate(contacts)),
    )


def open_contacts(rows: Rows, job: int, statuses: AbstractSet[str]) -> tuple[int, ...]:
    """Give the places of a job's contacts in these statuses."""
    return tuple(
        index
        for index, row in enumerate(rows[CONTACTS:], CONTACTS)
        if row[1] == job and row[2] in statuses
    )


class Transaction:
    """
    A transaction; what it wrote is seen by others at its commit.

    Its `look` and `lock` are for functions of your own: a statement of yours is one `look`, and a
    `lock` for each row that it locks or writes.
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

    def lock(self, says: str, index: int, project: Callable[[Row], T]) -> Lock[T]:
        """Lock a row, wait for it if need be, and look at it again."""
        return Lock(says, index, project, tuple(self.writes))

    def lock_or_pass(self, says: str, index: int, project: Callable[[Row], T]) -> LockOrPass[T]:
        """Lock a row and look at it again, or pass it over."""
        return LockOrPass(says, index, project, tuple(self.writes))

    def write_job(self, index: int, status: JobStatus) -> None:
        """Set the status of a job that is locked."""
        self.writes.append((index, _STATUS_OF_JOB, status.value))

    def write_deferred_id(self, index: int, deferred_id: str) -> None:
        """Set the deferred start of a job that is locked."""
        self.writes.append((index, DEFERRED_ID, deferred_id))

    def write_contact(self, index: int, status: ContactStatus) -> None:
        """Set the status of a contact that is locked."""
        self.writes.append((index, _STATUS_OF_CONTACT, status.value))

    def write_record(self, job: int, record: CancellationRecord) -> None:
        """Write the record of a job that is locked."""
        self.writes.append((RECORD + job, None, recorded(record)))

    def insert_contact(self, job: int, contact_id: str) -> None:
        """Add a contact."""
        row = ContactRow(contact_id, job, ContactStatus.PENDING.value)
        self.writes.append((None, None, row))


def place_of(key: JobKey) -> int | None:
    """Give the place of a job's row; None if there is no such job."""
    return _KEYS.index(key) if key in _KEYS else None


def _there(key: JobKey) -> int:
    place = place_of(key)
    if place is None:
        raise JobNotFound(key)
    return place


def recorded(record: CancellationRecord) -> RecordRow:
    """Give the row of a record."""
    return RecordRow(
        record.operation_id,
        record.previous_status.value,
        record.contacts_cancelled,
        record.deferred_id,
        record.removal.value,
        record.is_announced,
        0 if record.taken_at is None else (record.taken_at - NOW) // timedelta.resolution,
    )


def record_of(row: Row, job: int) -> CancellationRecord:
    """Give the record of a row."""
    operation, previous, contacts_cancelled, deferred_id, removal, is_announced, turn = row
    return CancellationRecord(
        operation,
        _KEYS[job],
        JobStatus(previous),
        contacts_cancelled,
        actor=None,
        reason=None,
        cancelled_at=NOW,
        deferred_id=deferred_id,
        removal=Removal(removal),
        is_announced=is_announced,
        taken_at=NOW + turn * timedelta.resolution,
    )


@attrs.frozen
class Part:
    """What one transaction can reach of one thing."""

    transaction: Transaction


class Jobs(Part):
    """The jobs, see `AsyncJobRepository`."""

    async def lock(self, key: JobKey) -> Job | None:
        """Lock the job, then read its record in a statement of its own."""
        place = place_of(key)
        if place is None:
            await self.transaction.look("finds no such job", lambda _: None)
            return None
        status, deferred_id = await self.transaction.lock(
            "locks the job", place, lambda row: (row[0], row[1])
        )
        job = Job(key, status, deferred_id, NOW)
        if status != JobStatus.CANCELLED:
            return job
        row = await self.transaction.look("reads the record", lambda rows: rows[RECORD + place])
        return attrs.evolve(job, cancellation=record_of(row, place)) if row else job

    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        """Write the job and its record in one statement."""
        await Send("marks the job and writes the record")
        place = _there(job.key)
        self.transaction.write_job(place, JobStatus.CANCELLED)
        self.transaction.write_record(place, record)


class Contacts(Part):
    """The contacts, see `AsyncContactRepository`."""

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        """Update row by row what the snapshot found, if it still is so."""
        place, changed = _there(key), 0
        found = await self.transaction.look(
            "looks for contacts to cancel", lambda rows: open_contacts(rows, place, statuses)
        )
        for index in found:
            if await self.transaction.lock(
                f"locks contact {index - CONTACTS}", index, lambda row: row[2] in statuses
            ):
                self.transaction.write_contact(index, ContactStatus.CANCELLED)
                changed += 1
        return changed


class Outbox(Part):
    """What cancellations still owe, see `AsyncOutbox`."""

    async def settle(self, record: CancellationRecord) -> None:
        """Update the record, never backwards."""
        index, done = RECORD + _there(record.key), recorded(record)
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
        place, mine = _there(record.key), recorded(record)

        def is_mine(row: Row) -> bool:
            return bool(row) and (row[0], row[6]) == (mine.operation, mine.turn)

        if not await self.transaction.look(
            "looks whether nobody has taken its record", lambda rows: is_mine(rows[RECORD + place])
        ):
            return None
        row = await self.transaction.lock(
            "takes its record", RECORD + place, lambda row: row if is_mine(row) else None
        )
        if row is None:
            return None
        taken = self._take(RECORD + place, row)
        return record_of(taken, place)

    def _take(self, index: int, row: Row) -> RecordRow:
        taken = RecordRow(*row)
        taken = taken._replace(turn=taken.turn + 1)
        self.transaction.writes.append((index, None, taken))
        return taken

    async def find(self, key: JobKey) -> CancellationRecord | None:
        """Read the record without a lock, and whether the job is cancelled still."""
        place = _there(key)
        row, status = await self.transaction.look(
            "looks for the record", lambda rows: (rows[RECORD + place], rows[place][0])
        )
        if not row:
            return None
        return attrs.evolve(record_of(row, place), is_undone=status != JobStatus.CANCELLED)

    async def take(
        self, limit: int, _lease: timedelta, /, *, announcements: bool
    ) -> list[CancellationRecord]:
        """Lock what is owed, and pass over what another takes."""

        def owes(row: Row) -> bool:
            return bool(row) and (row[4] == Removal.PENDING or (announcements and not row[5]))

        found = await self.transaction.look(
            "looks for removals owed",
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
        place = _there(key)

        def waits(row: Row) -> bool:
            return row[0] in statuses and deferred_id in {None, row[DEFERRED_ID]}

        if not await self.transaction.look(
            "looks whether the job waits", lambda rows: waits(rows[place])
        ):
            return False
        if not await self.transaction.lock("locks the job and looks again", place, waits):
            return False
        self.transaction.write_job(place, JobStatus.RUNNING)
        return True

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        """Look at job and contacts, then lock contact by contact."""
        place, claimed = _there(key), list[str]()
        found = await self.transaction.look(
            "looks for contacts of a running job",
            lambda rows: (
                open_contacts(rows, place, statuses) if rows[place][0] == JobStatus.RUNNING else ()
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
        place, named = _there(key), (contact_id, _there(key), ContactStatus.DIALING.value)
        found = await self.transaction.look(
            "looks for the contact on the phone",
            lambda rows: tuple(at for at in range(CONTACTS, len(rows)) if rows[at][:3] == named),
        )
        for index in found:
            if await self.transaction.lock(
                "locks the contact", index, lambda row: row[1:3] == (place, ContactStatus.DIALING)
            ):
                self.transaction.write_contact(index, settlement.status)
                return True
        return False

    async def expire(self, key: JobKey, settlement: Settlement, _older_than: timedelta, /) -> int:
        """Update contact by contact what is on the phone; any call may have lasted too long."""
        place, expired = _there(key), 0
        found = await self.transaction.look(
            "looks for calls that have lasted too long",
            lambda rows: open_contacts(rows, place, {ContactStatus.DIALING}),
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
            self.transaction.insert_contact(_there(job.key), str(contact["id"]))
        return len(contacts)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        """Look, lock the job, and look again in a statement of its own."""
        place = _there(key)

        def is_done(rows: Rows) -> bool:
            return rows[place][0] == JobStatus.RUNNING and not open_contacts(
                rows, place, unfinished
            )

        if not await self.transaction.look("looks whether anything is left", is_done):
            return False
        if not await self.transaction.lock(
            "locks the job", place, lambda row: row[0] == JobStatus.RUNNING
        ):
            return False
        if not await self.transaction.look("looks again, in a new statement", is_done):
            return False
        self.transaction.write_job(place, JobStatus.COMPLETED)
        return True

    async def status(self, key: JobKey) -> str | None:
        """Read without a lock."""
        place = _there(key)
        status: str | None = await self.transaction.look(
            "reads the job's status", lambda rows: rows[place][0]
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


class ExploredScheduler:
    """
    Where deferred starts wait; also the store that a pump asks for what is due.

    Arguments:
        token: names the leases that this actor is given.
    """

    def __init__(self, token: str) -> None:
        self._token = token

    async def cancel(self, deferred_id: str, operation_id: str, /) -> bool:
        """Take the deferred start back, for ever."""

        def do(starts: Starts) -> tuple[Starts, bool]:
            states = dict(starts)
            state = deferred_start.cancel(states.get(deferred_id), operation_id)
            after = _with(states, deferred_id, state)
            return after, deferred_start.was_removed_by(dict(after)[deferred_id], operation_id)

        return await Ask(f"takes back {deferred_id}", do)

    async def schedule(self, deferred_id: str, at: datetime) -> bool:
        """Schedule a start, or move one that still waits."""

        def do(starts: Starts) -> tuple[Starts, bool]:
            states = dict(starts)
            state = deferred_start.schedule(states.get(deferred_id), at, b"")
            return _with(states, deferred_id, state), state is not None

        return await Ask(f"schedules {deferred_id}", do)

    async def claim(self, limit: int, _lease: timedelta, /) -> list[Claimed]:
        """Take the starts that are due; a lease may run out at any moment."""

        def do(starts: Starts) -> tuple[Starts, tuple[str, ...]]:
            states, claimed = dict(starts), list[str]()
            for deferred_id, state in starts:
                handed_out = deferred_start.claim(state, NOW, self._token, NOW)
                if handed_out and len(claimed) < limit:
                    states[deferred_id] = handed_out
                    claimed.append(deferred_id)
            return tuple(sorted(states.items(), key=_by_id)), tuple(claimed)

        return [Claimed(it, b"", self._token) for it in await Ask("takes what is due", do)]

    async def ack(self, deferred_id: str, token: str, /) -> bool:
        """Finish a start that was claimed."""

        def do(starts: Starts) -> tuple[Starts, bool]:
            states = dict(starts)
            state = deferred_start.acknowledge(states.get(deferred_id), token)
            return _with(states, deferred_id, state), state is not None

        return await Ask(f"acknowledges {deferred_id}", do)


def _by_id(start: tuple[str, Deferred]) -> str:
    return start[0]


def _with(states: dict[str, Deferred], deferred_id: str, state: Deferred | None) -> Starts:
    if state is not None:
        states[deferred_id] = state
    return tuple(sorted(states.items(), key=_by_id))


def first_starts(status: str, deferred_id: str | None) -> Starts:
    """Give what waits at the beginning; the neighbour's start is for later."""
    theirs = ("start-of-theirs", Deferred(DeferredState.DUE, LATER))
    if deferred_id is None:
        return (theirs,)
    is_waiting = status == JobStatus.SCHEDULED
    fired = Deferred(DeferredState.FINISHED)
    return ((deferred_id, Deferred(DeferredState.DUE, NOW) if is_waiting else fired), theirs)


@attrs.frozen
class Ports:
    """What an actor is given: the ports, as the world has them."""

    uow: ExploredUnitOfWork
    scheduler: ExploredScheduler
