"""
Why a cancellation was not carried out.

Rule 1: every error says whether anything changed. Only `CancelFailed` and `StoreFailed` with the
        outcome "unknown" leave that open; after all others nothing has changed.
Rule 2: `detail` is for a client of the API, in the contract's exact words. The message
        (`str(error)`) is for the operator: what happened, on which id, what to do.
Rule 3: no message contains a secret, a connection string or a phone number. Ids are shown by
        `repr` and cut.
Rule 4: an error can always be printed. Serializers that keep only texts, such as Celery's JSON
        results, restore it with the texts of its arguments.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Literal

import attrs

from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import JobStatus

_SHOWN_CHARACTERS_MAX: Final = 80

FAILED_DETAIL: Final = "Failed to cancel batch job"
"""All that a client sees of a failure that it did not cause."""

Outcome = Literal["unchanged", "unknown"]


class Fault(StrEnum):
    """The kind of trouble that a store had; it decides what to do next."""

    CONFLICT = "conflict"
    """Another transaction was in the way; a retry may succeed at once."""

    INTERRUPTED = "interrupted"
    """The connection broke; a new one may work."""

    BUSY = "busy"
    """The store can't take the request now, and says so at once; the caller may try later."""

    LATE = "late"
    """The store took too long, and an immediate retry would too; the caller may try later."""

    REFUSED = "refused"
    """The store refuses until something is repaired."""

    INCOMPLETE = "incomplete"
    """
    Open contacts were left after the cancel of all contacts, so everything was rolled back. A
    retry takes a contact that was added meanwhile; a trigger, a rule or a policy that keeps
    contacts open must be repaired.
    """


_TO_REPAIR: Final = frozenset({Fault.REFUSED, Fault.INCOMPLETE})
"""The faults that do not go away by themselves."""


def shown(text: object) -> str:
    """Return `text` as it is shown to an operator: quoted, escaped, and cut if it is long."""
    if isinstance(text, str) and len(text) > _SHOWN_CHARACTERS_MAX:
        return f"{text[:_SHOWN_CHARACTERS_MAX]!r}... ({len(text)} characters)"
    return repr(text)


def _id_shown(key: object) -> str:
    """Return a job's id as it is shown to an operator; the text of the key in a restored error."""
    return shown(key.batch_job_id if isinstance(key, JobKey) else str(key))


class BatchCancelError(Exception):
    """The cancellation was not carried out."""

    code: ClassVar[str]
    """A stable name for programs."""

    http_status: ClassVar[int]
    """The HTTP status of the answer."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without a repair."""
        return False

    @property
    def detail(self) -> str:
        """The sentence for a client of the API."""
        return FAILED_DETAIL


@attrs.define(eq=False)
class JobNotFound(BatchCancelError):
    """There is no such job in this organization."""

    key: JobKey

    code: ClassVar[str] = "job_not_found"
    http_status: ClassVar[int] = 404

    @property
    def detail(self) -> str:
        """The sentence for a client of the API."""
        return "Batch job not found"

    def __str__(self) -> str:
        return f"there is no batch job {_id_shown(self.key)} in this organization"


@attrs.define(eq=False)
class AlreadyTerminal(BatchCancelError):
    """The job has already ended, so there is nothing to cancel."""

    key: JobKey
    status: JobStatus
    cancellation: CancellationRecord | None = None
    """The record of the cancellation, if this library cancelled the job and the store kept it."""

    code: ClassVar[str] = "already_terminal"
    http_status: ClassVar[int] = 400

    @property
    def cancelled_at(self) -> datetime | None:
        """When the job was cancelled (UTC); None unless this library cancelled it."""
        return None if self._record is None else self._record.cancelled_at

    @property
    def contacts_cancelled(self) -> int | None:
        """How many contacts it changed; None unless this library cancelled the job."""
        return None if self._record is None else self._record.contacts_cancelled

    @property
    def previous_status(self) -> JobStatus | None:
        """The status that it was cancelled from; None unless this library cancelled it."""
        return None if self._record is None else self._record.previous_status

    @property
    def detail(self) -> str:
        """The sentence for a client of the API."""
        return f"Cannot cancel job in '{self.status}' status"

    def __str__(self) -> str:
        what = f"batch job {_id_shown(self.key)} is already {self.status}"
        record = self._record
        if record is None:
            return what
        count = record.contacts_cancelled
        contacts = "1 contact" if count == 1 else f"{count} contacts"
        return (
            f"{what}: cancelled at {record.cancelled_at.isoformat()} "
            f"from {record.previous_status}, {contacts}"
        )

    @property
    def _record(self) -> CancellationRecord | None:
        record: object = self.cancellation  # A str, if the error was restored.
        return record if isinstance(record, CancellationRecord) else None


@attrs.define(eq=False)
class UnknownJobStatus(BatchCancelError):
    """The job has a status that this library does not know; nothing was changed."""

    key: JobKey
    status: str | None

    code: ClassVar[str] = "unknown_job_status"
    http_status: ClassVar[int] = 500

    def __str__(self) -> str:
        return (
            f"batch job {_id_shown(self.key)} has the status {shown(self.status)}, which "
            f"is mapped to none of {', '.join(JobStatus)}; nothing was changed"
        )


class _OfAStore(BatchCancelError):
    fault: Fault

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without a repair."""
        return self.fault not in _TO_REPAIR


@attrs.define(eq=False)
class CancelFailed(_OfAStore):
    """
    The cancellation failed.

    `outcome` is "unchanged" if nothing was changed, "unknown" if the job may have been cancelled:
    then retry with the same operation id. Without one, cancel again: an `AlreadyTerminal` with
    the status "cancelled" is then a success.
    """

    key: JobKey
    reason: str
    outcome: Outcome = "unchanged"
    fault: Fault = Fault.REFUSED

    code: ClassVar[str] = "cancel_failed"
    http_status: ClassVar[int] = 500

    def __str__(self) -> str:
        state = (
            "nothing was changed"
            if self.outcome == "unchanged"
            else "it may have been cancelled: retry with the same operation id"
        )
        return f"batch job {_id_shown(self.key)}: {self.reason}; {state}"


@attrs.define(eq=False)
class StoreFailed(_OfAStore):
    """
    A store could not carry out a call of its port.

    Adapters raise it from their driver's errors; a cancel turns it into `CancelFailed`, which
    names the job.
    """

    reason: str
    outcome: Outcome = "unchanged"
    fault: Fault = Fault.REFUSED

    code: ClassVar[str] = "store_failed"
    http_status: ClassVar[int] = 500

    def __str__(self) -> str:
        return str(self.reason)


@attrs.define(eq=False)
class SchedulerUnavailable(BatchCancelError):
    """The scheduler did not answer within its budget; whether it removed the start is unknown."""

    reason: str

    code: ClassVar[str] = "scheduler_unavailable"
    http_status: ClassVar[int] = 500

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without a repair."""
        return True

    def __str__(self) -> str:
        return str(self.reason)
