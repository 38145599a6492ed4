"""What the clock hides of the memory store's rows, since it hardly ever stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from batch_cancel.adapters.memory.rows import Row, Rows, take
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def cancelled(key: JobKey) -> Row:
    """Return the row of a job whose removal is pending since then."""
    record = CancellationRecord(
        operation_id=f"op-{key.batch_job_id}",
        key=key,
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=0,
        actor=None,
        reason=None,
        cancelled_at=LONG_AGO,
        deferred_id="start",
        removal=Removal.PENDING,
    )
    return Row("cancelled", "start", cancellation=record, taken_at=LONG_AGO)


def test_cancellations_of_one_moment_are_taken_in_the_order_of_their_jobs() -> None:
    """The time alone is compared, never the records."""
    second, first = JobKey("b"), JobKey("a")
    rows: Rows = {second: cancelled(second), first: cancelled(first)}
    for key in (second, first):
        [taken] = take(rows, 1, timedelta(minutes=1), announcements=False)
        assert taken.key == key
    assert take(rows, 1, timedelta(minutes=1), announcements=False) == []
