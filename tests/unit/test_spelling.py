"""How tables spell the statuses: both ways, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from batch_cancel.domain.model import ContactStatus, JobStatus
from batch_cancel.domain.spelling import contact_spellings, job_spellings, read_job_status

JOBS: dict[Any, Any] = {
    JobStatus.SCHEDULED: "planned",
    JobStatus.PENDING: "new",
    JobStatus.RUNNING: "it's on",
    JobStatus.COMPLETED: "done",
    JobStatus.FAILED: "ko",
    JobStatus.CANCELLED: "canceled",
}


def test_where_none_is_given_the_contracts_are_meant() -> None:
    """All six of a job, all twelve of a contact."""
    assert job_spellings({}) == {
        "scheduled": "scheduled",
        "pending": "pending",
        "running": "running",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
    }
    assert contact_spellings({}) == {
        "pending": "pending",
        "queued": "queued",
        "dialing": "dialing",
        "no_answer": "no_answer",
        "busy": "busy",
        "timeout": "timeout",
        "completed": "completed",
        "failed": "failed",
        "blocked": "blocked",
        "carrier_error": "carrier_error",
        "invalid_number": "invalid_number",
        "cancelled": "cancelled",
    }


def test_what_is_given_is_kept() -> None:
    """As it is, by the status or by the contract's word for it."""
    assert job_spellings(JOBS) == JOBS
    by_word: Any = {str(status): text for status, text in JOBS.items()}
    assert job_spellings(by_word) == JOBS
    contacts = {status: status.upper() for status in ContactStatus}
    assert contact_spellings(contacts) == contacts
    assert [type(text) for text in contact_spellings(contacts).values()] == [str] * 12


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("planned", "scheduled"),
        ("it's on", "running"),
        ("canceled", "cancelled"),
        ("paused", "paused"),
        ("PLANNED", "PLANNED"),
        ("running", "running (not among job_statuses)"),
        ("cancelled", "cancelled (not among job_statuses)"),
        (None, None),
    ],
)
def test_a_tables_word_is_read(text: str | None, status: str | None) -> None:
    """The contract's own means nothing where it is spelled otherwise."""
    assert read_job_status(JOBS, text) == status


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {**JOBS, "paused": "paused"},
            (
                "'paused' is no status: the statuses are scheduled, pending, running, completed, "
                "failed, cancelled"
            ),
        ),
        (
            {**JOBS, JobStatus.PENDING: 7},
            "the spelling of pending must be a text, got 7",
        ),
        (
            {**JOBS, JobStatus.PENDING: "a\0b"},
            r"the spelling of pending must be a text, got 'a\x00b'",
        ),
        (
            {**JOBS, JobStatus.FAILED: "done"},
            "completed and failed have one spelling, 'done': each status needs its own",
        ),
        (
            {JobStatus.SCHEDULED: "planned", JobStatus.FAILED: "ko"},
            (
                "no spelling is given for pending, running, completed, cancelled: give one for "
                "every status, also for those that your table never has"
            ),
        ),
    ],
)
def test_a_spelling_that_would_mislead_is_refused(given: Any, message: str) -> None:
    """With the name of the status, and what to do."""
    with pytest.raises(ValueError, match=r"spelling|status") as refusal:
        job_spellings(given)
    assert str(refusal.value) == message
