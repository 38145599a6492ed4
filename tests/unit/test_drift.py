"""What a second look makes of the drift that the first one found."""

from __future__ import annotations

import pytest

from batch_cancel.domain.drift import CancelledJob, Drift, Inventory, OverdueCalls
from batch_cancel.domain.model import JobKey

JOB = JobKey("job", "acme")


def test_open_contacts_that_the_second_look_did_not_reach_are_told() -> None:
    """Its limit may have left the job out; that settles nothing."""
    drift = Drift(contacts_open=(CancelledJob(JOB, None, 3),))
    assert drift.confirmed_by(Inventory()) == drift


def test_open_contacts_are_told_as_the_second_look_counts_them() -> None:
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
def test_overdue_calls_are_told_as_the_second_look_counts_them(
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
