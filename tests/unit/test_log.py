"""Each line of the library's log, word by word, and that no handler's trouble becomes ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from batch_cancel import CancelFailed, CancelResult, JobKey, JobStatus, Removal
from batch_cancel.domain.deferred_start import Claimed
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.use_cases import log
from batch_cancel.use_cases.kinds import WrongKind

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
    organization_id="acme",
    actor="ann",
    reason="wrong list",
)
FAILURE = CancelFailed(KEY, "it is not committed")
START = Claimed("s\nt", b"secret payload", "secret token")
SECRET = ValueError("secret value")


class KeyedError(Exception):
    """Another library's: its key is no job's."""

    key = "secret key"


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
        lambda: log.left_pending(RECORD, "the hook failed", SECRET),
        logging.WARNING,
        (
            r"batch job 'a\nb' is cancelled, but the hook failed (ValueError); reconcile will "
            "finish it"
        ),
    ),
    "not given back": (
        lambda: log.not_given_back(SECRET),
        logging.WARNING,
        "committed, but the connection was not given back (ValueError)",
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
        lambda: log.not_committed(RECORD, FAILURE),
        logging.WARNING,
        r"batch job 'a\nb': it is not committed; nothing was changed",
    ),
    "not committed, with a percent sign": (
        lambda: log.not_committed(RECORD, CancelFailed(KEY, "it is 100 %s")),
        logging.WARNING,
        r"batch job 'a\nb': it is 100 %s; nothing was changed",
    ),
    "not delivered, of the wrong kind": (
        lambda: log.not_delivered(START, "was refused", WrongKind("it returned a generator")),
        logging.WARNING,
        (
            r"deferred start 's\nt' was refused (it returned a generator); it is handed out again "
            "when its lease ends"
        ),
    ),
    "not delivered": (
        lambda: log.not_delivered(START, "was refused", SECRET),
        logging.WARNING,
        (
            r"deferred start 's\nt' was refused (ValueError); it is handed out again when its "
            "lease ends"
        ),
    ),
    "undone": (
        lambda: log.undone(RECORD),
        logging.WARNING,
        (
            r"batch job 'a\nb' was cancelled by operation 'op', and is not cancelled now, so its "
            "deferred start and its on_cancelled hook were left alone: find what has set its "
            "status back, and cancel it again"
        ),
    ),
    "skipped": (
        lambda: log.skipped(7),
        logging.WARNING,
        (
            "the scheduler did not answer for other deferred starts, so 7 more removals were "
            "skipped; they come first in the next pass"
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


NAMES = (
    *("batch_job_id", "organization_id", "operation_id"),
    *("previous_status", "contacts_cancelled", "removal"),
)
KNOWN = ["a\nb", "acme", "op", "scheduled", 3, "pending"]
FIELDS: dict[str, tuple[Callable[[], None], Sequence[object]]] = {
    "done": (LINES["done"][0], ["a\nb", "acme", "o\np", "scheduled", 3, "pending"]),
    "owed": (LINES["owed"][0], KNOWN),
    "owed by a result": (
        lambda: log.left_pending(RESULT, "the hook failed", SECRET),
        ["a\nb", "acme", "o\np", "scheduled", 3, "pending"],
    ),
    "not looked up": (LINES["not looked up"][0], KNOWN),
    "not committed": (LINES["not committed"][0], KNOWN),
    "undone": (LINES["undone"][0], KNOWN),
    "request failed": (LINES["request failed"][0], [None] * 6),
    "request failed with a key of another kind": (
        lambda: log.request_failed(500, KeyedError()),
        [None] * 6,
    ),
    "request failed for a job": (
        lambda: log.request_failed(500, FAILURE),
        ["a\nb", "acme", None, None, None, None],
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_every_record_about_a_job_has_the_same_fields(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For handlers that write more than the line; bare values, and who or why is none of them."""
    write, expected = FIELDS[name]
    plain = set(vars(logging.makeLogRecord({}))) | {"message", "taskName"}
    caplog.set_level(logging.INFO)
    write()
    fields = {it: value for it, value in vars(caplog.records[0]).items() if it not in plain}
    assert sorted(fields) == sorted(NAMES)
    assert [fields[it] for it in NAMES] == [*expected]
    assert {type(it) for it in fields.values()} <= {str, int, type(None)}


def test_a_record_about_a_deferred_start_has_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """Bare; which job it starts is not known."""
    log.not_delivered(START, "was refused", SECRET)
    fields = vars(caplog.records[0])
    assert (fields["deferred_id"], "batch_job_id" in fields) == ("s\nt", False)


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
