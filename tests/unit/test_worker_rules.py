"""What a worker may still do: every rule as a table, written by hand from the contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from batch_cancel import ContactStatus, JobKey
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import Job
from batch_cancel.domain.retry import may_step_again
from batch_cancel.domain.worker_rules import (
    CLAIMABLE_CONTACTS,
    RETRYABLE_OUTCOMES,
    STARTABLE_JOBS,
    UNFINISHED_CONTACTS,
    CallEnd,
    Settlement,
    check_age,
    check_limit,
    is_running,
    new_contact_due_at,
    new_contact_id,
)

KEY = JobKey("j", "acme")
LATER = datetime(2031, 1, 2, 3, 4, tzinfo=UTC)


def job(status: str | None) -> Job:
    """Return a job of this status."""
    return Job(KEY, status, None, datetime(2030, 1, 1, tzinfo=UTC))


def test_a_job_is_started_from_these() -> None:
    """A pending job as well: nothing else has to start it."""
    assert {"scheduled", "pending"} == STARTABLE_JOBS


def test_these_contacts_are_dialled() -> None:
    """Those that a cancel takes away, no more and no less."""
    assert {"pending", "queued", "no_answer", "busy", "timeout"} == CLAIMABLE_CONTACTS


def test_a_job_with_one_of_these_is_not_finished() -> None:
    """A live call may have to be retried."""
    expected = {"pending", "queued", "no_answer", "busy", "timeout", "dialing"}
    assert expected == UNFINISHED_CONTACTS


def test_calls_that_end_like_this_are_retried() -> None:
    """Nobody has called a pending contact, so no call ends as pending."""
    assert {"queued", "no_answer", "busy", "timeout"} == RETRYABLE_OUTCOMES


# Settle: outcome, whether the job matters, what is written if it runs, what if it is cancelled.
ENDS = [
    ("queued", True, "queued", "cancelled"),
    ("no_answer", True, "no_answer", "cancelled"),
    ("busy", True, "busy", "cancelled"),
    ("timeout", True, "timeout", "cancelled"),
    ("completed", False, "completed", "completed"),
    ("failed", False, "failed", "failed"),
    ("blocked", False, "blocked", "blocked"),
    ("invalid_number", False, "invalid_number", "invalid_number"),
    ("carrier_error", False, "carrier_error", "carrier_error"),
]


@pytest.mark.parametrize(("outcome", "depends_on_job", "running", "cancelled"), ENDS)
def test_how_a_call_ends(
    outcome: str, depends_on_job: object, running: str, cancelled: str
) -> None:
    """A call that would be retried under a cancelled job is cancelled; all else is kept."""
    end = CallEnd(ContactStatus(outcome))
    assert end.depends_on_job is depends_on_job
    assert end.settlement(job("running")).status == running
    assert end.settlement(job("cancelled")).status == cancelled


@pytest.mark.parametrize(
    ("outcome", "status"),
    list(
        product(
            ["no_answer", "failed"], ["scheduled", "pending", "completed", "failed", "x", None]
        )
    ),
)
def test_only_a_cancellation_changes_how_a_call_ended(outcome: str, status: str | None) -> None:
    """What else may have become of the job is not this rule's."""
    assert CallEnd(ContactStatus(outcome)).settlement(job(status)).status == outcome


def test_an_end_that_does_not_depend_on_the_job_is_decided_without_it() -> None:
    """Nobody has to read it."""
    assert CallEnd(ContactStatus.FAILED).settlement(None).status == "failed"


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        ("busy", "running", LATER),
        ("busy", "cancelled", None),
        ("completed", "running", None),
        ("failed", "cancelled", None),
    ],
)
def test_only_who_is_called_again_has_a_time_for_it(
    outcome: str, status: str, expected: datetime | None
) -> None:
    """A time would be misleading everywhere else."""
    settlement = CallEnd(ContactStatus(outcome), LATER).settlement(job(status))
    assert settlement == Settlement(settlement.status, expected)


@pytest.mark.parametrize("outcome", ["pending", "dialing", "cancelled", "voicemail", ""])
def test_no_call_ends_like_this(outcome: str) -> None:
    """Pending and dialing come before an end, cancelled is not a worker's to say."""
    with pytest.raises(ValueError, match=outcome or "not a valid"):
        CallEnd(outcome)


def test_a_text_will_do_as_an_outcome() -> None:
    """It comes from a webhook, more often than not."""
    assert CallEnd("busy").outcome is ContactStatus.BUSY


def test_a_time_without_a_zone_is_refused() -> None:
    """Every database would take it for another time."""
    with pytest.raises(ValueError, match="aware"):
        CallEnd(ContactStatus.BUSY, datetime(2031, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("scheduled", False),
        ("pending", False),
        ("running", True),
        ("completed", False),
        ("failed", False),
        ("cancelled", False),
        ("paused", False),
        (None, False),
    ],
)
def test_only_a_running_job_is_called(status: str | None, expected: object) -> None:
    """The last look before a phone rings."""
    assert is_running(status) is expected


@pytest.mark.parametrize("limit", [0, 1, 1_000_000])
def test_a_claim_of_a_number_that_makes_sense(limit: int) -> None:
    """None at all is one: all lines are busy."""
    check_limit(limit)


@pytest.mark.parametrize(("limit", "kind"), [("1", "str"), (1.0, "float"), (True, "bool")])
def test_a_claim_of_what_is_no_number(limit: object, kind: str) -> None:
    """The message names its type."""
    with pytest.raises(TypeError, match=f"^limit must be an int, got {kind}$"):
        check_limit(limit)


@pytest.mark.parametrize("limit", [-1, 1_000_001])
def test_a_claim_of_a_number_that_makes_no_sense(limit: int) -> None:
    """It would be an error of the store, or none."""
    with pytest.raises(ValueError, match="limit"):
        check_limit(limit)


@pytest.mark.parametrize(
    "age", [timedelta(microseconds=1), timedelta(hours=4), timedelta(days=36_500)]
)
def test_an_age_of_calls_that_makes_sense(age: timedelta) -> None:
    """From a moment to a century."""
    check_age(age)


@pytest.mark.parametrize(
    "age", [timedelta(0), -timedelta(hours=4), timedelta(days=36_500, microseconds=1)]
)
def test_an_age_of_calls_that_makes_no_sense(age: timedelta) -> None:
    """Calls that live now would be ended, or none ever."""
    with pytest.raises(ValueError, match="older_than must be positive and at most 36500 days"):
        check_age(age)


@pytest.mark.parametrize(
    ("age", "kind"), [(3600, "int"), (4.0, "float"), ("4h", "str"), (None, "NoneType")]
)
def test_an_age_of_calls_is_a_timedelta(age: Any, kind: str) -> None:
    """A number says nothing of its unit."""
    with pytest.raises(TypeError, match=f"older_than must be a timedelta, got {kind}$"):
        check_age(age)


@pytest.mark.parametrize(
    ("fault", "outcome", "attempts"),
    [
        (Fault.CONFLICT, "unchanged", 4),
        (Fault.INTERRUPTED, "unchanged", 2),
        (Fault.INTERRUPTED, "unknown", 1),
        (Fault.BUSY, "unchanged", 1),
        (Fault.REFUSED, "unchanged", 1),
        (Fault.INCOMPLETE, "unchanged", 4),
    ],
)
def test_how_often_a_step_is_tried(fault: Fault, outcome: str, attempts: int) -> None:
    """Again only if it certainly did not happen, and may succeed at once."""
    failure = StoreFailed("", outcome, fault)  # type: ignore[arg-type]
    worth = [may_step_again(failure, made) for made in range(1, 6)]
    assert worth.index(False) + 1 == attempts


def test_a_new_contact_keeps_its_id_or_gets_one() -> None:
    """The longest that a store keeps has 1024 bytes."""
    assert new_contact_id({"id": "c"}, "made") == "c"
    assert new_contact_id({"id": "c" * 1024}, "made") == "c" * 1024
    assert new_contact_id({"phone": "+49"}, "made") == "made"


@pytest.mark.parametrize("contact_id", [7, None, "", "a\0b", "\ud800", "c" * 1025])
def test_no_contact_gets_an_id_that_no_store_keeps(contact_id: object) -> None:
    """Whatever store it is to be added to."""
    with pytest.raises(StoreFailed) as refusal:
        new_contact_id({"id": contact_id}, "made")
    expected = "a contact's id must be a str that no other contact of the job has"
    assert refusal.value.reason == expected


def test_a_new_contact_is_due_at_its_time_or_at_once() -> None:
    """A time has a zone."""
    assert new_contact_due_at({"next_attempt_at": LATER}) is LATER
    assert new_contact_due_at({"next_attempt_at": None}) is None
    assert new_contact_due_at({}) is None
    for at in (LATER.replace(tzinfo=None), "2031-01-02", 0):
        with pytest.raises(StoreFailed) as refusal:
            new_contact_due_at({"next_attempt_at": at})
        expected = "a contact's next_attempt_at must be an aware datetime"
        assert refusal.value.reason == expected
