"""What each error tells a program, a client and an operator."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from batch_cancel.domain.errors import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    Fault,
    JobNotFound,
    SchedulerUnavailable,
    StoreFailed,
    UnknownJobStatus,
    shown,
)
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal

KEY = JobKey("batch_xyz789", "acme")
RECORD = CancellationRecord(
    operation_id="op-1",
    key=KEY,
    previous_status=JobStatus.RUNNING,
    contacts_cancelled=42,
    actor="ann@example.com",
    reason="call +49 30 1234567 back",
    cancelled_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    deferred_id=None,
    removal=Removal.NOT_APPLICABLE,
)
FAILED = "Failed to cancel batch job"

EVERY: list[tuple[BatchCancelError, str, int, str, bool, str]] = [
    (
        JobNotFound(KEY),
        "job_not_found",
        404,
        "Batch job not found",
        False,
        "there is no batch job 'batch_xyz789' in this organization",
    ),
    (
        AlreadyTerminal(KEY, JobStatus.COMPLETED),
        "already_terminal",
        400,
        "Cannot cancel job in 'completed' status",
        False,
        "batch job 'batch_xyz789' is already completed",
    ),
    (
        AlreadyTerminal(KEY, JobStatus.FAILED),
        "already_terminal",
        400,
        "Cannot cancel job in 'failed' status",
        False,
        "batch job 'batch_xyz789' is already failed",
    ),
    (
        AlreadyTerminal(KEY, JobStatus.CANCELLED, RECORD),
        "already_terminal",
        400,
        "Cannot cancel job in 'cancelled' status",
        False,
        (
            "batch job 'batch_xyz789' is already cancelled: cancelled at "
            "2026-03-01T12:30:00+00:00 from running, 42 contacts"
        ),
    ),
    (
        UnknownJobStatus(KEY, "paused"),
        "unknown_job_status",
        500,
        FAILED,
        False,
        (
            "batch job 'batch_xyz789' has the status 'paused', which is mapped to none of "
            "scheduled, pending, running, completed, failed, cancelled; nothing was changed"
        ),
    ),
    (
        UnknownJobStatus(KEY, None),
        "unknown_job_status",
        500,
        FAILED,
        False,
        (
            "batch job 'batch_xyz789' has the status None, which is mapped to none of "
            "scheduled, pending, running, completed, failed, cancelled; nothing was changed"
        ),
    ),
    (
        CancelFailed(KEY, "the disk is full"),
        "cancel_failed",
        500,
        FAILED,
        False,
        "batch job 'batch_xyz789': the disk is full; nothing was changed",
    ),
    (
        CancelFailed(KEY, "the line went dead", "unknown", Fault.INTERRUPTED),
        "cancel_failed",
        500,
        FAILED,
        True,
        (
            "batch job 'batch_xyz789': the line went dead; it may have been cancelled: retry "
            "with the same operation id"
        ),
    ),
    (
        StoreFailed("the disk is full"),
        "store_failed",
        500,
        FAILED,
        False,
        "the disk is full",
    ),
    (
        StoreFailed("locked", "unchanged", Fault.BUSY),
        "store_failed",
        500,
        FAILED,
        True,
        "locked",
    ),
    (
        SchedulerUnavailable("no answer within 250 ms"),
        "scheduler_unavailable",
        500,
        FAILED,
        True,
        "no answer within 250 ms",
    ),
]

ERRORS = [error for error, *_ in EVERY]


@pytest.mark.parametrize(
    ("error", "code", "http_status", "detail", "is_retryable", "message"), EVERY
)
def test_an_error_tells_each_what_he_needs(
    error: BatchCancelError,
    *,
    code: str,
    http_status: int,
    detail: str,
    is_retryable: bool,
    message: str,
) -> None:
    """A code for programs, a status and a detail for clients, a message for operators."""
    assert isinstance(error, BatchCancelError)
    assert (error.code, error.http_status) == (code, http_status)
    assert error.detail == detail
    assert error.retryable is is_retryable
    assert str(error) == message


def test_a_refusal_knows_the_cancellation_before_it() -> None:
    """When, how many, and from what; the record itself beside them."""
    error = AlreadyTerminal(KEY, JobStatus.CANCELLED, RECORD)
    assert error.cancelled_at == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert error.contacts_cancelled == 42
    assert error.previous_status == "running"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 contacts"), (1, "1 contact"), (2, "2 contacts")]
)
def test_a_refusal_counts_the_contacts_in_english(count: int, words: str) -> None:
    """One is not several."""
    record = attrs.evolve(RECORD, contacts_cancelled=count)
    assert str(AlreadyTerminal(KEY, JobStatus.CANCELLED, record)).endswith(f"running, {words}")


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_refusal_without_a_record_knows_none(status: JobStatus) -> None:
    """It was not this library that ended the job."""
    error = AlreadyTerminal(KEY, status)
    assert (error.cancelled_at, error.contacts_cancelled, error.previous_status) == (
        None,
        None,
        None,
    )


def pickled(error: BatchCancelError) -> BatchCancelError:
    """Send the error to another process and back."""
    again: BatchCancelError = pickle.loads(pickle.dumps(error))  # noqa: S301  # It is ours.
    return again


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_an_error_survives_a_trip_between_processes(
    error: BatchCancelError, again: Callable[[BatchCancelError], BatchCancelError]
) -> None:
    """Pickled or copied, it is the same error with the same values."""
    twin = again(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert (twin.detail, twin.retryable, twin.args) == (
        error.detail,
        error.retryable,
        error.args,
    )
    assert getattr(twin, "outcome", None) == getattr(error, "outcome", None)


def as_json_restores(error: BatchCancelError) -> BatchCancelError:
    """Restore an error as Celery's JSON results do: what JSON has no word for is its repr."""
    texts = [it if it is None or isinstance(it, str) else repr(it) for it in error.args]
    again: BatchCancelError = type(error)(*json.loads(json.dumps(texts)))
    return again


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_restored_from_texts_prints(error: BatchCancelError) -> None:
    """It has no key and no record any more, but the same type, and the id in its message."""
    twin = as_json_restores(error)
    assert repr(twin).startswith(type(error).__name__)
    assert ("batch_xyz789" in str(twin)) is ("batch_xyz789" in str(error))
    assert (twin.code, twin.detail, twin.retryable) == (error.code, error.detail, error.retryable)
    for name in ("cancelled_at", "contacts_cancelled", "previous_status"):
        assert getattr(twin, name, None) is None
    for private in ("ann@", "1234567"):
        assert private not in f"{twin} {twin!r}"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (JobNotFound("key"), "there is no batch job 'key' in this organization"),  # type: ignore[arg-type]
        (
            AlreadyTerminal("key", "cancelled", "a record"),  # type: ignore[arg-type]
            "batch job 'key' is already cancelled",
        ),
        (
            CancelFailed("key", "it broke", "unknown", "late"),  # type: ignore[arg-type]
            (
                "batch job 'key': it broke; it may have been cancelled: retry with the same "
                "operation id"
            ),
        ),
        (StoreFailed(OSError("it broke")), "it broke"),  # type: ignore[arg-type]
        (SchedulerUnavailable(OSError("it broke")), "it broke"),  # type: ignore[arg-type]
    ],
)
def test_the_message_of_a_restored_error(error: BatchCancelError, message: str) -> None:
    """Of the text that stands where a value was."""
    assert str(error) == message


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_can_be_raised_chained_and_noted(error: BatchCancelError) -> None:
    """It is an exception like any other, although it is made of fields."""
    fresh = copy.copy(error)
    cause = ValueError("cause")
    with pytest.raises(type(error)) as caught:
        raise fresh from cause
    fresh.add_note("a note")
    assert caught.value is fresh
    assert fresh.__cause__ is cause
    assert fresh.__traceback__ is not None
    assert hash(fresh) != hash(error)  # Two occurrences are two errors.
    assert fresh != error


@pytest.mark.parametrize("error", [it for it in ERRORS if hasattr(it, "key")])
def test_a_message_shows_a_long_id_cut_and_escaped(error: BatchCancelError) -> None:
    """A megabyte of id, or a line break in it, does not spoil a log."""
    for hostile in ("x" * 1_000_000, "job\nERROR forged line", "\ud800"):
        other: Any = copy.copy(error)
        other.key = JobKey(hostile)
        message = str(other)
        assert len(message) < 400
        assert "\n" not in message
        message.encode()


def test_a_message_shows_a_long_status_cut() -> None:
    """A store may hold anything in a status column."""
    assert len(str(UnknownJobStatus(KEY, "x" * 1_000_000))) < 400


@pytest.mark.parametrize("error", ERRORS)
def test_no_message_tells_who_why_or_whose(error: BatchCancelError) -> None:
    """Neither actor nor reason nor organization is in a message."""
    for private in ("ann", "1234567", "acme"):
        assert private not in str(error)


@pytest.mark.parametrize(
    ("text", "as_shown"),
    [
        ("job", "'job'"),
        ("a\nb", "'a\\nb'"),
        ("x" * 80, "'" + "x" * 80 + "'"),
        ("x" * 81, "'" + "x" * 80 + "'... (81 characters)"),
        (None, "None"),
        (42, "42"),
    ],
)
def test_what_is_shown_is_quoted_and_cut(text: object, as_shown: str) -> None:
    """Eighty characters of it, and how many there were."""
    assert shown(text) == as_shown


def test_an_error_nobody_refined_is_a_failure() -> None:
    """The root's own defaults: not retryable, and the client is told the one sentence."""
    error = BatchCancelError("anything")
    assert error.detail == "Failed to cancel batch job"
    assert error.retryable is False


@pytest.mark.parametrize("fault", Fault)
def test_what_somebody_must_repair_is_not_retryable(fault: Fault) -> None:
    """Also where open contacts were left: the attempts that this is worth were made already."""
    is_retryable = fault not in {Fault.REFUSED, Fault.INCOMPLETE}
    assert StoreFailed("", fault=fault).retryable is is_retryable
    assert CancelFailed(JobKey("j"), "", fault=fault).retryable is is_retryable
