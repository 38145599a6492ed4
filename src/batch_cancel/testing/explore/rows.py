"""
The rows of the explored database: jobs, their records, and their contacts.

Rows go by name: `rows.job.status`, `rows.contacts[0].status`.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from batch_cancel.domain.errors import JobNotFound
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal

KEY: Final = JobKey("job", "ours")
"""The job that everything is about."""

NEIGHBOUR: Final = JobKey("job", "theirs")
"""Another organization's job of the same id: nothing may touch it."""

SECOND: Final = JobKey("job-2", "ours")
"""Another job of ours, for those who cancel many; most scenarios have none."""

START: Final = "start-1"
"""The deferred start that the job has at first, due now."""

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""There is no clock in here: a lease has always run out, and what is due is due from the start."""

LATER: Final = NOW + timedelta(days=1)

KEYS: Final = (KEY, NEIGHBOUR, SECOND)

# The rows: the jobs, their records, the contacts. What stands in which column:
JOB: Final = 0
RECORD: Final = len(KEYS)
CONTACTS: Final = 2 * len(KEYS)


class JobRow(NamedTuple):
    """A row of the jobs."""

    status: str | None
    deferred_id: str | None
    version: int = 0


class First(NamedTuple):
    """A job as it is at first, with the statuses of its contacts."""

    status: str
    contacts: Sequence[str]
    deferred_id: str | None


class RecordRow(NamedTuple):
    """
    A row of the cancellation records; where a job has none stands an empty row.

    Its `turn` counts how often it was taken; it stands for the time. Its contacts are `is_swept`
    unless they are cancelled after the job.
    """

    operation: str
    previous: str
    contacts_cancelled: int
    deferred_id: str | None
    removal: str
    is_announced: bool
    turn: int = 0
    is_swept: bool = True


class ContactRow(NamedTuple):
    """A row of the contacts; `job` is the job_index of its job's row."""

    contact_id: str
    job: int
    status: str
    version: int = 0


Row = tuple[Any, ...]


class Rows(tuple[Row, ...]):
    """All rows at one moment."""

    __slots__ = ()

    @property
    def job(self) -> JobRow:
        """The job that everything is about."""
        return JobRow(*self[JOB])

    @property
    def record(self) -> RecordRow | None:
        """The record of its cancellation; None if there is none."""
        row = self[RECORD + JOB]
        return RecordRow(*row) if row else None

    @property
    def contacts(self) -> tuple[ContactRow, ...]:
        """Its contacts, in the order in which they were added."""
        return tuple(ContactRow(*row) for row in self[CONTACTS:] if row[1] == JOB)


STATUS_OF_JOB: Final = JobRow._fields.index("status")
STATUS_OF_CONTACT: Final = ContactRow._fields.index("status")
DEFERRED_ID: Final = JobRow._fields.index("deferred_id")
IS_SWEPT: Final = RecordRow._fields.index("is_swept")


def first_rows(job: First, second: First | None = None) -> Rows:
    """Return the rows at the beginning: our jobs and their contacts, the neighbour with one."""
    others = () if second is None else second.contacts
    return Rows(
        (
            JobRow(job.status, job.deferred_id),
            JobRow("scheduled", "start-of-theirs"),
            () if second is None else JobRow(second.status, second.deferred_id),
            *((),) * len(KEYS),
            ContactRow("t0", KEYS.index(NEIGHBOUR), "pending"),
            *(ContactRow(f"c{n}", JOB, status) for n, status in enumerate(job.contacts)),
            *(ContactRow(f"s{n}", KEYS.index(SECOND), it) for n, it in enumerate(others)),
        )
    )


def open_contacts(rows: Rows, job: int, statuses: AbstractSet[str]) -> tuple[int, ...]:
    """Return the places of a job's contacts in these statuses."""
    return tuple(
        index
        for index, row in enumerate(rows[CONTACTS:], CONTACTS)
        if row[1] == job and row[2] in statuses
    )


def index_of(key: JobKey) -> int | None:
    """Return the job_index of a job's row; None if there is no such job."""
    return KEYS.index(key) if key in KEYS else None


def there(key: JobKey) -> int:
    """
    Return the job_index of a job's row.

    Raises:
        JobNotFound: there is no such job.
    """
    job_index = index_of(key)
    if job_index is None:
        raise JobNotFound(key)
    return job_index


def recorded(record: CancellationRecord) -> RecordRow:
    """Return the row of a record."""
    return RecordRow(
        record.operation_id,
        record.previous_status.value,
        record.contacts_cancelled,
        record.deferred_id,
        record.removal.value,
        record.is_announced,
        0 if record.taken_at is None else (record.taken_at - NOW) // timedelta.resolution,
        record.is_swept,
    )


def record_of(row: Row, job: int) -> CancellationRecord:
    """Return the record of a row."""
    it = RecordRow(*row)
    return CancellationRecord(
        it.operation,
        KEYS[job],
        JobStatus(it.previous),
        it.contacts_cancelled,
        actor=None,
        reason=None,
        cancelled_at=NOW,
        deferred_id=it.deferred_id,
        removal=Removal(it.removal),
        is_announced=it.is_announced,
        is_swept=it.is_swept,
        taken_at=NOW + it.turn * timedelta.resolution,
    )
