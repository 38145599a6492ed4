"""What is drift between the database and the scheduler, and what a second look makes of it."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from batch_cancel.domain.drift import (
    CancelledJob,
    DeferredStart,
    Drift,
    Inventory,
    OverdueCalls,
)
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal

JOB, OTHER, THIRD = JobKey("job", "acme"), JobKey("other", "acme"), JobKey("job", "zeta")


def owed(key: JobKey, deferred_id: str, operation_id: str = "op") -> CancellationRecord:
    """Return the record of a cancellation that owes a removal."""
    return CancellationRecord(
        operation_id=operation_id,
        key=key,
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=0,
        actor=None,
        reason=None,
        cancelled_at=datetime(2030, 1, 1, tzinfo=UTC),
        deferred_id=deferred_id,
        removal=Removal.PENDING,
    )


FOUND = Inventory(
    removals_pending=(owed(JOB, "d1"), owed(OTHER, "d2")),
    scheduled=(
        DeferredStart(JOB, "d3"),
        DeferredStart(OTHER, "d4"),
        DeferredStart(THIRD, None),
    ),
    cancelled=(CancelledJob(JOB, "d1", 0), CancelledJob(OTHER, "d5", 2)),
)
"""Two cancelled jobs, of which one names another start than its record does."""


def test_a_scheduler_is_asked_about_every_start_once() -> None:
    """Those of records, of cancelled jobs and of scheduled ones."""
    assert FOUND.deferred_ids == {"d1", "d2", "d3", "d4", "d5"}


def test_drift_is_what_waits_and_should_not_and_what_should_and_does_not() -> None:
    """And what is owed, and what would be called."""
    assert FOUND.drift({"d1", "d3", "d5"}, 4) == Drift(
        removals_pending=FOUND.removals_pending,
        starts_waiting=(DeferredStart(JOB, "d1"), DeferredStart(OTHER, "d5")),
        starts_missing=(DeferredStart(OTHER, "d4"), DeferredStart(THIRD, None)),
        contacts_open=(CancelledJob(OTHER, "d5", 2),),
    )
    assert FOUND.drift({"d1", "d3", "d5"}, 3).is_partial


def test_a_start_that_its_scheduled_job_names_is_not_of_a_cancelled_job() -> None:
    """Something has set the job back after its cancellation: its start waits as it should."""
    back = Inventory(removals_pending=(owed(JOB, "d1"),), scheduled=(DeferredStart(JOB, "d1"),))
    assert back.drift({"d1"}, 4) == Drift(removals_pending=back.removals_pending)


def test_what_a_second_look_finds_settled_is_no_drift() -> None:
    """A removal that was confirmed, a job that was started; another operation's is another."""
    first = FOUND.drift({"d1", "d2"}, 9)
    anew = owed(OTHER, "d2", "another")
    later = attrs.evolve(
        FOUND,
        removals_pending=(owed(JOB, "d1"), anew),
        scheduled=(DeferredStart(JOB, "d3"), DeferredStart(OTHER, "moved")),
    )
    assert first.confirmed_by(later) == Drift(
        removals_pending=(owed(JOB, "d1"),),
        starts_waiting=(DeferredStart(JOB, "d1"),),
        starts_missing=(DeferredStart(JOB, "d3"),),
        contacts_open=(CancelledJob(OTHER, "d5", 2),),
    )
    assert first.confirmed_by(FOUND) == first


def test_open_contacts_that_the_second_look_did_not_reach_are_reported() -> None:
    """Its limit may have left the job out; that settles nothing."""
    drift = Drift(contacts_open=(CancelledJob(JOB, None, 3),))
    assert drift.confirmed_by(Inventory()) == drift


def test_open_contacts_are_reported_as_the_second_look_counts_them() -> None:
    """Some may have been called off meanwhile, or all."""
    drift = Drift(contacts_open=(CancelledJob(JOB, None, 3),))
    fewer, none = CancelledJob(JOB, None, 1), CancelledJob(JOB, None, 0)
    assert drift.confirmed_by(Inventory(cancelled=(fewer,))).contacts_open == (fewer,)
    assert drift.confirmed_by(Inventory(cancelled=(none,))).contacts_open == ()


OLD = OverdueCalls(JOB, 2)


def test_overdue_calls_are_drift() -> None:
    """And none are none, whether or not the store knows."""
    assert Inventory(calls_overdue=(OLD,)).drift(frozenset(), 9) == Drift(calls_overdue=(OLD,))
    assert Drift(calls_overdue=(OLD,)).is_found
    assert not Drift(calls_overdue=()).is_found
    assert not Drift(calls_overdue=None).is_found


@pytest.mark.parametrize("calls", [None, (), (OverdueCalls(JOB, 1),)])
def test_overdue_calls_are_reported_as_the_second_look_counts_them(
    calls: tuple[OverdueCalls, ...] | None,
) -> None:
    """They may have ended meanwhile."""
    drift = Drift(calls_overdue=(OLD,))
    assert drift.confirmed_by(Inventory(calls_overdue=calls)).calls_overdue == calls


@pytest.mark.parametrize(("limit", "is_partial"), [(1, True), (2, False)])
def test_a_limit_that_overdue_calls_met_is_said(limit: int, *, is_partial: bool) -> None:
    """There may be more jobs that have some."""
    inventory = Inventory(calls_overdue=(OLD,))
    assert inventory.drift(frozenset(), limit).is_partial is is_partial


def test_contacts_that_are_still_swept_are_drift_until_they_are() -> None:
    """Their jobs are told as sweeps, and not as jobs with open contacts as well."""
    one, other = owed(JOB, "d1"), owed(OTHER, "d2")
    cancelled = (CancelledJob(JOB, "d1", 3), CancelledJob(OTHER, "d5", 2))
    drift = Inventory(cancelled=cancelled, sweeps_pending=(one, other)).drift(None, 9)
    assert (drift.sweeps_pending, drift.contacts_open) == ((one, other), ())
    later = Inventory(cancelled=cancelled[:1], sweeps_pending=(one,))
    assert drift.confirmed_by(later).sweeps_pending == (one,)


def test_where_nobody_knows_what_waits_nothing_is_said_to_wait_or_to_be_missing() -> None:
    """Of starts that a job names; a job without one is missing its start in any case."""
    drift = FOUND.drift(None, 4, "no answer")
    assert drift.starts_waiting == ()
    assert drift.starts_missing == (DeferredStart(THIRD, None),)
