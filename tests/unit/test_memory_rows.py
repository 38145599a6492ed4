"""What the clock hides of the memory store's rows, since it hardly ever stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs

from batch_cancel.adapters.memory import rows as memory
from batch_cancel.adapters.memory.contacts import Contact, Contacts
from batch_cancel.adapters.memory.rows import Row, Rows, claim_record, take
from batch_cancel.adapters.memory.work import expire
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus, Removal
from batch_cancel.domain.worker_rules import Settlement

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
    rows = Rows({second: cancelled(second), first: cancelled(first)})
    for key in (second, first):
        [taken] = take(rows, 1, timedelta(minutes=1), announcements=False)
        assert taken.key == key
    assert take(rows, 1, timedelta(minutes=1), announcements=False) == []


def test_a_record_of_another_cancellation_is_not_claimed() -> None:
    """Though it was taken at the same moment."""
    key = JobKey("a")
    row = cancelled(key)
    rows = Rows({key: row})
    assert row.cancellation is not None
    record = attrs.evolve(row.cancellation, taken_at=LONG_AGO)
    assert claim_record(rows, attrs.evolve(record, operation_id="another")) is None
    claimed = claim_record(rows, record)
    assert claimed is not None
    assert claimed.operation_id == "op-a"


def test_a_turn_is_later_than_the_one_before_even_if_the_clock_is_behind() -> None:
    """By one moment."""
    key, tomorrow = JobKey("a"), datetime.now(UTC) + timedelta(days=1)
    row = attrs.evolve(cancelled(key), taken_at=tomorrow)
    assert row.cancellation is not None
    claimed = claim_record(Rows({key: row}), attrs.evolve(row.cancellation, taken_at=tomorrow))
    assert claimed is not None
    assert claimed.taken_at == tomorrow + timedelta(microseconds=1)


def test_a_call_of_exactly_the_age_is_not_overdue_yet() -> None:
    """It must have been live for longer."""
    dialing = Contact("dialing", dialing_since=LONG_AGO)
    row = Row("running", None, contacts=Contacts() | {"c": dialing})
    assert memory.overdue_in(row, LONG_AGO) == []
    assert memory.overdue_in(row, LONG_AGO + timedelta(microseconds=1)) == ["c"]


def test_a_job_that_is_not_there_has_no_calls_to_end() -> None:
    """None is counted."""
    settlement = Settlement(ContactStatus.FAILED, None)
    assert expire(Rows(), JobKey("a"), settlement, timedelta(0)) == 0
