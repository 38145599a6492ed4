"""The contract's answers, byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    CancelFailed,
    Fault,
    JobNotFound,
    SchedulerUnavailable,
    StoreFailed,
    UnknownJobStatus,
)
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal
from batch_cancel.presenter import present, present_error

KEY = JobKey("batch_xyz789")


def result(
    previous_status: JobStatus,
    removal: Removal,
    batch_job_id: str = "batch_xyz789",
    *,
    replayed: bool = False,
) -> CancelResult:
    """Return the result of a cancel that changed 58 contacts."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return CancelResult(batch_job_id, previous_status, 58, removal, "op-1", now, replayed)


@pytest.mark.parametrize(
    ("status", "removal", "content"),
    [
        (
            JobStatus.SCHEDULED,
            Removal.REMOVED,
            (
                b'{"success": true, "message": "Scheduled job cancelled successfully", '
                b'"batchJobId": "batch_xyz789", '
                b'"redisJobCancelled": true, "contactsCancelled": 58}'
            ),
        ),
        (
            JobStatus.SCHEDULED,
            Removal.ABSENT,
            (
                b'{"success": true, "message": "Scheduled job cancelled successfully", '
                b'"batchJobId": "batch_xyz789", '
                b'"redisJobCancelled": false, "contactsCancelled": 58}'
            ),
        ),
        (
            JobStatus.SCHEDULED,
            Removal.PENDING,
            (
                b'{"success": true, "message": "Scheduled job cancelled successfully", '
                b'"batchJobId": "batch_xyz789", '
                b'"redisJobCancelled": false, "contactsCancelled": 58}'
            ),
        ),
        (
            JobStatus.PENDING,
            Removal.NOT_APPLICABLE,
            (
                b'{"success": true, "message": "Pending job cancelled successfully", '
                b'"batchJobId": "batch_xyz789", '
                b'"redisJobCancelled": false, "contactsCancelled": 58}'
            ),
        ),
        (
            JobStatus.RUNNING,
            Removal.NOT_APPLICABLE,
            (
                b'{"success": true, '
                b'"message": "Job was already running - cancelled remaining contacts", '
                b'"batchJobId": "batch_xyz789", '
                b'"redisJobCancelled": false, "contactsCancelled": 58}'
            ),
        ),
    ],
)
def test_a_cancel_that_succeeded_is_a_200(
    status: JobStatus, removal: Removal, content: bytes
) -> None:
    """Five fields, in the contract's order, and no others."""
    response = present(result(status, removal))
    assert response.status == 200
    assert response.headers == {"content-type": "application/json"}
    assert response.content == content


def test_a_replayed_cancel_has_the_same_body() -> None:
    """Who asks again after a lost answer cannot tell the answers apart."""
    first = present(result(JobStatus.SCHEDULED, Removal.REMOVED))
    again = present(result(JobStatus.SCHEDULED, Removal.REMOVED, replayed=True))
    assert again == first


@pytest.mark.parametrize(
    ("status", "removal", "is_removed"),
    [
        (JobStatus.SCHEDULED, Removal.PENDING, "false"),
        (JobStatus.SCHEDULED, Removal.REMOVED, "true"),  # By an earlier request: a replay.
        (JobStatus.SCHEDULED, Removal.ABSENT, "false"),
        (JobStatus.RUNNING, Removal.NOT_APPLICABLE, "false"),
    ],
)
def test_before_the_callers_commit_the_answer_is_what_is_known(
    status: JobStatus, removal: Removal, is_removed: str
) -> None:
    """Five fields as ever: a framework's view may have to answer within its transaction."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    record = CancellationRecord("op-1", KEY, status, 58, None, None, now, "start", removal)
    response = present(Cancellation(record, replayed=False, joined=True))
    message = result(status, removal).message
    assert response.status == 200
    assert response.content.decode() == (
        f'{{"success": true, "message": "{message}", "batchJobId": "batch_xyz789", '
        f'"redisJobCancelled": {is_removed}, "contactsCancelled": 58}}'
    )


def test_any_id_is_valid_json() -> None:
    """Quotes, line breaks and letters of any script are escaped."""
    response = present(result(JobStatus.PENDING, Removal.ABSENT, 'a"b\n\u00e9\u2028'))
    assert b'"batchJobId": "a\\"b\\n\\u00e9\\u2028"' in response.content


@pytest.mark.parametrize(
    ("error", "status", "content"),
    [
        (JobNotFound(KEY), 404, b'{"detail": "Batch job not found"}'),
        (
            AlreadyTerminal(KEY, JobStatus.COMPLETED),
            400,
            b'{"detail": "Cannot cancel job in \'completed\' status"}',
        ),
        (
            AlreadyTerminal(KEY, JobStatus.FAILED),
            400,
            b'{"detail": "Cannot cancel job in \'failed\' status"}',
        ),
        (
            AlreadyTerminal(KEY, JobStatus.CANCELLED),
            400,
            b'{"detail": "Cannot cancel job in \'cancelled\' status"}',
        ),
        (UnknownJobStatus(KEY, "paused"), 500, b'{"detail": "Failed to cancel batch job"}'),
        (CancelFailed(KEY, "no disk"), 500, b'{"detail": "Failed to cancel batch job"}'),
        (
            CancelFailed(KEY, "lost", "unknown", Fault.INTERRUPTED),
            500,
            b'{"detail": "Failed to cancel batch job"}',
        ),
        (StoreFailed("no disk"), 500, b'{"detail": "Failed to cancel batch job"}'),
        (SchedulerUnavailable("slow"), 500, b'{"detail": "Failed to cancel batch job"}'),
        (ValueError("dsn=secret"), 500, b'{"detail": "Failed to cancel batch job"}'),
        (KeyError("secret"), 500, b'{"detail": "Failed to cancel batch job"}'),
    ],
)
def test_a_cancel_that_was_not_carried_out_says_so(
    error: Exception, status: int, content: bytes
) -> None:
    """One field, and of what went wrong inside not a word."""
    response = present_error(error)
    assert response.status == status
    assert response.headers == {"content-type": "application/json"}
    assert response.content == content


def test_answers_do_not_share_their_parts() -> None:
    """A framework may add a header to one answer without adding it to all."""
    present_error(JobNotFound(KEY)).headers["x-request-id"] = "1"
    assert present_error(JobNotFound(KEY)).headers == {"content-type": "application/json"}
