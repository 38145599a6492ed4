"""What a second look makes of the drift that the first one found."""

from __future__ import annotations

from batch_cancel.domain.drift import CancelledJob, Drift, Inventory
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
