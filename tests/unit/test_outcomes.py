"""The sentences about rows, word for word: operators search for them."""

from __future__ import annotations

from batch_cancel.domain import outcomes
from batch_cancel.domain.statuses import ContactStatus, JobStatus


def test_what_a_cancel_has_left_is_told() -> None:
    """How many, and how many there should be."""
    assert outcomes.left_open(2) == (
        "contacts of the job are still open after all were cancelled: 2"
    )
    assert outcomes.not_cancelled(3, 1) == "3 contacts were set to cancelled, and 1 are"
    assert outcomes.RECORD_CHANGED == ("the record of the cancellation is not as it was written")


def test_what_was_written_otherwise_is_told() -> None:
    """The status that is found is shown as an operator may see it."""
    assert outcomes.job_differs(JobStatus.RUNNING, "x" * 81) == (
        f"the job has the status '{'x' * 80}'... (81 characters) after it was set to 'running'"
    )
    assert outcomes.job_differs(JobStatus.CANCELLED, None) == (
        "the job has the status None after it was set to 'cancelled'"
    )
    assert outcomes.contacts_differ(ContactStatus.DIALING, 3, 1) == (
        "3 contacts were set to 'dialing', and 1 have this status"
    )


def test_what_can_not_be_added_is_told() -> None:
    """A job that is there, and contacts of one that is not."""
    assert str(outcomes.added_twice("j")) == "there is already a job 'j' in this organization"
    assert str(outcomes.added_to_none("j")) == (
        "there is no job 'j' in this organization: add it first"
    )
