"""How tables spell the statuses: both ways, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from batch_cancel.domain.status_names import (
    all_status_names,
    contact_status_names,
    job_status_names,
    read_contact_status,
    read_job_status,
)
from batch_cancel.domain.statuses import ContactStatus, JobStatus

JOBS: dict[Any, Any] = {
    JobStatus.SCHEDULED: "planned",
    JobStatus.PENDING: "new",
    JobStatus.RUNNING: ["it's on", "PAUSED"],
    JobStatus.COMPLETED: "done",
    JobStatus.FAILED: ("ko", "gone", "ko"),
    JobStatus.CANCELLED: "canceled",
}
SPELLED: dict[Any, Any] = {
    JobStatus.SCHEDULED: ("planned",),
    JobStatus.PENDING: ("new",),
    JobStatus.RUNNING: ("it's on", "PAUSED"),
    JobStatus.COMPLETED: ("done",),
    JobStatus.FAILED: ("ko", "gone"),
    JobStatus.CANCELLED: ("canceled",),
}
NUMBERS: dict[Any, Any] = {
    "scheduled": 0,
    "pending": 1,
    "running": [2, 20],
    "completed": 3,
    "failed": 4,
    "cancelled": -5,
}


def test_where_none_is_given_the_contracts_are_meant() -> None:
    """All six of a job, all twelve of a contact."""
    assert dict[Any, Any](job_status_names({})) == {
        "scheduled": ("scheduled",),
        "pending": ("pending",),
        "running": ("running",),
        "completed": ("completed",),
        "failed": ("failed",),
        "cancelled": ("cancelled",),
    }
    assert dict[Any, Any](contact_status_names({})) == {
        "pending": ("pending",),
        "queued": ("queued",),
        "dialing": ("dialing",),
        "no_answer": ("no_answer",),
        "busy": ("busy",),
        "timeout": ("timeout",),
        "completed": ("completed",),
        "failed": ("failed",),
        "blocked": ("blocked",),
        "carrier_error": ("carrier_error",),
        "invalid_number": ("invalid_number",),
        "cancelled": ("cancelled",),
    }


def test_what_is_given_is_kept() -> None:
    """One or several, each once and in order, by the status or by the contract's word for it."""
    assert job_status_names(JOBS) == SPELLED
    by_word: Any = {str(status): text for status, text in JOBS.items()}
    assert job_status_names(by_word) == SPELLED
    contacts = {status: status.upper() for status in ContactStatus}
    status_names: dict[Any, Any] = {status: (status.value.upper(),) for status in ContactStatus}
    assert contact_status_names(contacts) == status_names


def test_the_keys_are_statuses_and_the_names_plain() -> None:
    """Whatever subclass of text or number was given: a driver may not know it."""
    status_names = contact_status_names({status: status for status in ContactStatus})
    assert [type(status) for status in status_names] == [ContactStatus] * 12
    assert [type(text) for [text] in status_names.values()] == [str] * 12


def test_numbers_are_status_names() -> None:
    """Where the column is one of integers; and they stay numbers."""
    status_names = job_status_names(NUMBERS)
    assert status_names[JobStatus.RUNNING] == (2, 20)
    assert [type(it) for it in status_names[JobStatus.RUNNING]] == [int, int]
    assert status_names[JobStatus.CANCELLED] == (-5,)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("planned", "scheduled"),
        ("it's on", "running"),
        ("PAUSED", "running"),
        ("gone", "failed"),
        ("canceled", "cancelled"),
        ("paused", "paused"),
        ("PLANNED", "PLANNED"),
        ("running", "running (not among job_statuses)"),
        ("cancelled", "cancelled (not among job_statuses)"),
        (None, None),
    ],
)
def test_a_tables_word_is_read(text: str | None, status: str | None) -> None:
    """Any of its spellings; the contract's own means nothing where it is spelled otherwise."""
    assert read_job_status(job_status_names(JOBS), text) == status


@pytest.mark.parametrize(
    ("text", "status"), [("2", "running"), ("20", "running"), ("-5", "cancelled"), ("7", "7")]
)
def test_a_tables_number_is_read(text: str, status: str) -> None:
    """As the text that it is read as."""
    assert read_job_status(job_status_names(NUMBERS), text) == status


def test_all_names_of_some_statuses_are_listed_in_one_order() -> None:
    """Numbers before texts, whatever the order of the statuses."""
    status_names = job_status_names({**JOBS, JobStatus.PENDING: ["new", 7, 12]})
    chosen = [JobStatus.RUNNING, JobStatus.PENDING]
    assert all_status_names(status_names, chosen) == [12, 7, "PAUSED", "it's on", "new"]
    assert all_status_names(status_names, reversed(chosen)) == [12, 7, "PAUSED", "it's on", "new"]
    assert all_status_names(status_names, []) == []
    mixed = job_status_names({**JOBS, JobStatus.PENDING: ["12", "new", 7], JobStatus.RUNNING: 2})
    assert all_status_names(mixed, chosen) == [2, 7, "12", "new"]


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
            {**JOBS, JobStatus.PENDING: 7.5},
            "a name of pending must be a text or an integer, got 7.5",
        ),
        (
            {**JOBS, JobStatus.PENDING: True},
            "a name of pending must be a text or an integer, got True",
        ),
        (
            {**JOBS, JobStatus.PENDING: None},
            "a name of pending must be a text or an integer, got None",
        ),
        (
            {**JOBS, JobStatus.PENDING: ["new", None]},
            "a name of pending must be a text or an integer, got None",
        ),
        (
            {**JOBS, JobStatus.PENDING: b"new"},
            "a name of pending must be a text or an integer, got",
        ),
        (
            {**JOBS, JobStatus.PENDING: "a\0b"},
            r"a name of pending must be a text or an integer, got 'a\x00b'",
        ),
        (
            {**JOBS, JobStatus.FAILED: "done"},
            "completed and failed have one name, 'done': give each status its own",
        ),
        (
            {**JOBS, JobStatus.FAILED: ["ko", "PAUSED"]},
            "running and failed have one name, 'PAUSED': give each status its own",
        ),
        (
            {**NUMBERS, "failed": "1"},
            "pending and failed have one name, '1': give each status its own",
        ),
        (
            {JobStatus.SCHEDULED: "planned", JobStatus.FAILED: "ko"},
            (
                "no name is given for pending, running, completed, cancelled: give one for every "
                "status, also for those that your table never has"
            ),
        ),
        (
            {**JOBS, JobStatus.PENDING: []},
            (
                "no name is given for pending: give one for every status, also for those that "
                "your table never has"
            ),
        ),
    ],
)
def test_a_status_name_that_would_mislead_is_refused(given: Any, message: str) -> None:
    """With the name of the status, and what to do."""
    with pytest.raises(ValueError, match=r"name|status") as refusal:
        job_status_names(given)
    assert str(refusal.value).startswith(message)


def test_a_contact_s_status_is_read() -> None:
    """None for a name of no status, or for none at all."""
    given: dict[Any, Any] = {status: status.value for status in ContactStatus}
    names = contact_status_names(given | {ContactStatus.NO_ANSWER: ("rang out", "away")})
    assert read_contact_status(names, "away") is ContactStatus.NO_ANSWER
    assert read_contact_status(names, "busy") is ContactStatus.BUSY
    assert read_contact_status(names, "no_answer") is None
    assert read_contact_status(names, None) is None
