"""
Every line that the library logs about a cancellation, and what it never logs.

Rule 1: no line contains the actor or the reason: both may name a person. For an error that is not
        the library's own only the type is logged: its message may contain a host or a password.
        For a request over HTTP the text of a programming error is logged as well, by the rules of
        `unexpected.py`: no caller sees it otherwise.
Rule 2: logging never raises. An application's handler or filter may fail, for example on a full
        disk; that must not turn a committed cancellation into an error.
Rule 3: every log record about a job has the same fields, None if unknown. A field holds the bare
        value; the line shows ids quoted, escaped and cut.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.deferred_start import Claimed
from batch_cancel.domain.errors import BatchCancelError, CancelFailed, shown
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.use_cases.kinds import WrongKind
from batch_cancel.use_cases.unexpected import described, original

if TYPE_CHECKING:
    import logging


@contextmanager
def never_raising() -> Generator[logging.Logger]:
    """Yield the library's logger, and suppress what its handlers and filters raise."""
    import logging  # noqa: PLC0415  # A tenth of the time that importing the library takes.

    with suppress(Exception):
        yield logging.getLogger("batch_cancel")


def done(what: str, result: CancelResult) -> None:
    """Log what was done to a job."""
    with never_raising() as logger:
        logger.info(
            "batch job %s %s: from %s, %d contacts, removal %s, operation %s",
            shown(result.batch_job_id),
            what,
            result.previous_status.value,
            result.contacts_cancelled,
            result.removal.value,
            shown(result.operation_id),
            extra=_fields(result),
        )


def left_pending(cancelled: CancellationRecord | CancelResult, what: str, culprit: object) -> None:
    """Log what stays pending after the commit, and why."""
    with never_raising() as logger:
        fields = _fields(cancelled)
        logger.warning(
            "batch job %s is cancelled, but %s (%s); reconcile will finish it",
            shown(fields["batch_job_id"]),
            what,
            _named(culprit),
            extra=fields,
        )


def not_given_back(error: Exception) -> None:
    """Log that a connection was not given back after the commit; its type alone is shown."""
    with never_raising() as logger:
        kind = type(error).__name__
        logger.warning("committed, but the connection was not given back (%s)", kind)


def undone(record: CancellationRecord) -> None:
    """Log that a job is not cancelled although its cancellation is committed."""
    with never_raising() as logger:
        logger.warning(
            "batch job %s was cancelled by operation %s, and is not cancelled now, so its "
            "deferred start and its on_cancelled hook were left alone: find what has set its "
            "status back, and cancel it again",
            shown(record.key.batch_job_id),
            shown(record.operation_id),
            extra=_fields(record),
        )


def not_together(removals: int, culprit: object) -> None:
    """Log that nothing is known of removals that were asked for at once, and why."""
    with never_raising() as logger:
        named = _named(culprit)
        if isinstance(culprit, list | tuple):
            named = f"{named} of {len(cast('Sequence[object]', culprit))}"
        logger.warning(
            "the scheduler's cancel_many gave no answer for any of %d deferred starts (%s), so "
            "each is asked for alone",
            removals,
            named,
        )


def skipped(removals: int) -> None:
    """Log that a pass skipped some removals."""
    with never_raising() as logger:
        logger.warning(
            "the scheduler did not answer for other deferred starts, so %d more removals were "
            "skipped; they come first in the next pass",
            removals,
        )


def not_looked_up(record: CancellationRecord, error: Exception) -> None:
    """Log that the store could not say whether the caller's transaction was committed."""
    with never_raising() as logger:
        logger.warning(
            "batch job %s: whether its cancellation was committed could not be read (%s), so its "
            "deferred start was left alone; if it was committed, reconcile will finish it",
            shown(record.key.batch_job_id),
            _type_of(error),
            extra=_fields(record),
        )


def not_committed(record: CancellationRecord, failure: CancelFailed) -> None:
    """Log that a cancellation in the caller's transaction was not committed."""
    with never_raising() as logger:
        logger.warning("%s", failure, extra=_fields(record))


def not_delivered(start: Claimed, what: str, error: Exception) -> None:
    """Log that a due deferred start was not delivered or not acknowledged."""
    with never_raising() as logger:
        logger.warning(
            "deferred start %s %s (%s); it is handed out again when its lease ends",
            shown(start.deferred_id),
            what,
            _named(error),
            extra={"deferred_id": start.deferred_id},
        )


def request_failed(status: int, error: BaseException) -> None:
    """Log a request over HTTP that failed by no fault of the client."""
    with never_raising() as logger:
        what = str(error) if isinstance(error, BatchCancelError) else described(error)
        line = "a request to cancel was answered with %d: %s"
        logger.error(line, status, what, extra=_fields_of_failure(error))


def _named(culprit: object) -> object:
    """Return what is logged of a cause: its type, or the whole message of a wiring error."""
    return culprit if isinstance(culprit, WrongKind) else _type_of(culprit)


def _type_of(culprit: object) -> str:
    it = original(culprit) if isinstance(culprit, BaseException) else culprit
    return type(it).__name__


def _fields(cancelled: CancellationRecord | CancelResult) -> dict[str, object]:
    """Return the fields of a log record about a cancelled job."""
    job = cancelled.key if isinstance(cancelled, CancellationRecord) else cancelled
    return {
        "batch_job_id": job.batch_job_id,
        "organization_id": job.organization_id,
        "operation_id": cancelled.operation_id,
        "previous_status": cancelled.previous_status.value,
        "contacts_cancelled": cancelled.contacts_cancelled,
        "removal": cancelled.removal.value,
    }


def _fields_of_failure(error: BaseException) -> dict[str, object]:
    """Return the same fields for a job that was not cancelled: most are unknown."""
    key: object = getattr(error, "key", None)
    job = key if isinstance(key, JobKey) else None
    return {
        "batch_job_id": None if job is None else job.batch_job_id,
        "organization_id": None if job is None else job.organization_id,
        **dict.fromkeys(("operation_id", "previous_status", "contacts_cancelled", "removal")),
    }
