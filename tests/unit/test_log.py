"""Each line of the library's log, word by word, and that no handler's trouble becomes ours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from batch_cancel import CancelFailed, CancelResult, JobKey, JobStatus, Removal
from batch_cancel.domain.deferred import Claimed
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.model import CancellationRecord
from batch_cancel.use_cases import log

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
KEY = JobKey("a\nb", "acme")
RECORD = CancellationRecord(
    operation_id="op",
    key=KEY,
    previous_status=JobStatus.SCHEDULED,
    contacts_cancelled=3,
    actor="ann",
    reason="wrong list",
    cancelled_at=NOON,
    deferred_id="start",
    removal=Removal.PENDING,
)
RESULT = CancelResult(
    batch_job_id="a\nb",
    previous_status=JobStatus.SCHEDULED,
    contacts_cancelled=3,
    removal=Removal.PENDING,
    operation_id="o\np",
    cancelled_at=NOON,
    replayed=False,
)
FAILURE = CancelFailed(KEY, "it is not committed")
START = Claimed("s\nt", b"secret payload", "secret token")
SECRET = ValueError("secret value")

LINES: dict[str, tuple[Callable[[], None], int, str]] = {
    "done": (
        lambda: log.done("was cancelled", RESULT),
        logging.INFO,
        (
            r"batch job 'a\nb' was cancelled: from scheduled, 3 contacts, removal pending, "
            r"operation 'o\np'"
        ),
    ),
    "owed": (
        lambda: log.owed(RECORD, "the hook failed", SECRET),
        logging.WARNING,
        (
            r"batch job 'a\nb' is cancelled, but the hook failed (ValueError); reconcile will "
            "finish it"
        ),
    ),
    "not looked up": (
        lambda: log.not_looked_up(RECORD, SECRET),
        logging.WARNING,
        (
            r"batch job 'a\nb': whether its cancellation was committed could not be read "
            "(ValueError), so its deferred start was left alone; if it was committed, reconcile "
            "will finish it"
        ),
    ),
    "not committed": (
        lambda: log.not_committed(FAILURE),
        logging.WARNING,
        r"batch job 'a\nb': it is not committed; nothing was changed",
    ),
    "not delivered": (
        lambda: log.not_delivered(START, "was refused", SECRET),
        logging.WARNING,
        (
            r"deferred start 's\nt' was refused (ValueError); it is handed out again when its "
            "lease ends"
        ),
    ),
    "request failed": (
        lambda: log.request_failed(500, SECRET),
        logging.ERROR,
        "a request to cancel was answered with 500: ValueError",
    ),
    "request failed by us": (
        lambda: log.request_failed(503, StoreFailed("no connection left")),
        logging.ERROR,
        "a request to cancel was answered with 503: no connection left",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What happened, to which id, and what to do; ids are quoted, and no value is told."""
    write, level, line = LINES[name]
    caplog.set_level(logging.INFO)
    write()
    [record] = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("batch_cancel", level, line)


def test_what_was_done_has_fields(caplog: pytest.LogCaptureFixture) -> None:
    """For handlers that write more than the line."""
    caplog.set_level(logging.INFO)
    log.done("was cancelled", RESULT)
    fields = vars(caplog.records[0])
    names = ("batch_job_id", "previous_status", "contacts_cancelled", "removal", "operation_id")
    assert [fields[name] for name in names] == [r"'a\nb'", "scheduled", 3, "pending", r"'o\np'"]


@pytest.mark.parametrize("name", LINES)
def test_a_handler_that_raises_is_suppressed(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What was done is done, whoever can't be told."""

    def refuse(_: logging.LogRecord) -> bool:
        message = "no more lines"
        raise OSError(message)

    caplog.set_level(logging.INFO)
    logger = logging.getLogger("batch_cancel")
    logger.addFilter(refuse)
    try:
        LINES[name][0]()
    finally:
        logger.removeFilter(refuse)
    assert caplog.records == []
