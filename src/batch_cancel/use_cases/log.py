"""
Every line that the library writes about a cancellation, and what it never writes.

Rule 1: no line contains the actor or the reason: both may name a person. Of an error that is not
        the library's own only the type is written: its message may hold a host or a password.
Rule 2: writing a line never raises. An application's handler or filter may fail, for example on a
        full disk; a cancellation that is committed must not turn into an error because of it.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.deferred import Claimed
from batch_cancel.domain.errors import BatchCancelError, CancelFailed, shown
from batch_cancel.domain.model import CancellationRecord
from batch_cancel.use_cases.kinds import WrongKind

_logger: Final = logging.getLogger("batch_cancel")


@contextmanager
def never_raising() -> Generator[logging.Logger]:
    """Lend the library's logger, and suppress what its handlers and filters raise."""
    with suppress(Exception):
        yield _logger


def done(what: str, result: CancelResult) -> None:
    """Log what was done to a job."""
    with never_raising() as logger:
        fields = {
            "batch_job_id": shown(result.batch_job_id),
            "previous_status": result.previous_status.value,
            "contacts_cancelled": result.contacts_cancelled,
            "removal": result.removal.value,
            "operation_id": shown(result.operation_id),
        }
        logger.info(
            "batch job %(batch_job_id)s %(what)s: from %(previous_status)s, "
            "%(contacts_cancelled)d contacts, removal %(removal)s, operation %(operation_id)s",
            {"what": what, **fields},
            extra=fields,
        )


def owed(record: CancellationRecord, what: str, culprit: object) -> None:
    """Log what could not be done after the commit, and what was in the way."""
    with never_raising() as logger:
        logger.warning(
            "batch job %s is cancelled, but %s (%s); reconcile will finish it",
            shown(record.key.batch_job_id),
            what,
            culprit if isinstance(culprit, WrongKind) else type(culprit).__name__,
        )


def not_looked_up(record: CancellationRecord, error: Exception) -> None:
    """Log that the store did not answer whether the caller's transaction was committed."""
    with never_raising() as logger:
        logger.warning(
            "batch job %s: whether its cancellation was committed could not be read (%s), so its "
            "deferred start was left alone; if it was committed, reconcile will finish it",
            shown(record.key.batch_job_id),
            type(error).__name__,
        )


def not_committed(failure: CancelFailed) -> None:
    """Log that a cancellation in the caller's transaction came to nothing."""
    with never_raising() as logger:
        logger.warning("%s", failure)


def not_delivered(start: Claimed, what: str, error: Exception) -> None:
    """Log what went wrong with a deferred start that was due."""
    with never_raising() as logger:
        logger.warning(
            "deferred start %s %s (%s); it is handed out again when its lease ends",
            shown(start.deferred_id),
            what,
            error if isinstance(error, WrongKind) else type(error).__name__,
        )


def request_failed(status: int, error: BaseException) -> None:
    """Log a request over HTTP that was answered with an error that is not the client's."""
    with never_raising() as logger:
        what = str(error) if isinstance(error, BatchCancelError) else type(error).__name__
        logger.error("a request to cancel was answered with %d: %s", status, what)
