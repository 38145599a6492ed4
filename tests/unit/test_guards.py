"""What a worker may still do, against tables written by hand from the contract."""

from __future__ import annotations

import pytest

from batch_cancel import ContactStatus, JobStatus
from batch_cancel.domain import guards

JOBS = ["scheduled", "pending", "running", "completed", "failed", "cancelled"]


def test_only_a_job_that_waits_is_started() -> None:
    """A cancelled one least of all: its deferred start may fire all the same."""
    startable = {str(status) for status in JobStatus if status in guards.STARTABLE_JOBS}
    assert startable == {"scheduled", "pending"}


def test_only_open_contacts_are_dialled() -> None:
    """The five that a cancel takes away."""
    assert sorted(guards.CLAIMABLE_CONTACTS) == [
        "busy",
        "no_answer",
        "pending",
        "queued",
        "timeout",
    ]


def test_a_job_is_not_finished_while_a_contact_is_open_or_on_the_phone() -> None:
    """The five, and dialing."""
    assert sorted(guards.UNFINISHED_CONTACTS) == [
        "busy",
        "dialing",
        "no_answer",
        "pending",
        "queued",
        "timeout",
    ]


@pytest.mark.parametrize(
    ("outcome", "settled"),
    [
        ("queued", "cancelled"),
        ("no_answer", "cancelled"),
        ("busy", "cancelled"),
        ("timeout", "cancelled"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("blocked", "blocked"),
        ("invalid_number", "invalid_number"),
        ("carrier_error", "carrier_error"),
    ],
)
def test_a_live_call_of_a_cancelled_job_is_not_retried(outcome: str, settled: str) -> None:
    """It keeps how it ended, unless it would be dialled again."""
    assert guards.settled_status("cancelled", ContactStatus(outcome)) == settled


@pytest.mark.parametrize("job", [*JOBS[:5], None, "paused", "CANCELLED", ""])
def test_a_live_call_of_any_other_job_keeps_how_it_ended(job: str | None) -> None:
    """Whether it is retried is not for a cancel to say."""
    for outcome in ("queued", "no_answer", "busy", "timeout", "completed", "failed"):
        assert guards.settled_status(job, ContactStatus(outcome)) == outcome


@pytest.mark.parametrize(
    ("job", "may"),
    [
        ("scheduled", True),
        ("pending", True),
        ("running", True),
        ("completed", False),
        ("failed", False),
        ("cancelled", False),
        (None, False),
        ("paused", False),
        ("RUNNING", False),
    ],
)
def test_only_a_live_job_gets_new_contacts(job: str | None, *, may: bool) -> None:
    """What is unknown fails closed."""
    assert guards.may_append(job) is may


@pytest.mark.parametrize("outcome", ["pending", "dialing", "cancelled"])
def test_a_call_does_not_end_like_this(outcome: str) -> None:
    """A contact that was never called, is being called, or was taken away."""
    with pytest.raises(ValueError, match=f"a call does not end as '{outcome}'"):
        guards.check_outcome(ContactStatus(outcome))


@pytest.mark.parametrize(
    "outcome",
    [
        "queued",
        "no_answer",
        "busy",
        "timeout",
        "completed",
        "failed",
        "blocked",
        "invalid_number",
        "carrier_error",
    ],
)
def test_a_call_ends_like_this(outcome: str) -> None:
    """All else is an end."""
    guards.check_outcome(ContactStatus(outcome))
