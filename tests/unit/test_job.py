"""The words of the contract, and the values they make: bytes matter here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import (
    CANCELLABLE_CONTACTS,
    LIVE_JOBS,
    TERMINAL_CONTACTS,
    TERMINAL_JOBS,
    ContactStatus,
    JobStatus,
    Removal,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_job_has_the_six_statuses_of_the_contract() -> None:
    """Their bytes are the wire's, and `str` gives them."""
    assert [str(status) for status in JobStatus] == [
        "scheduled",
        "pending",
        "running",
        "completed",
        "failed",
        "cancelled",
    ]


def test_a_contact_has_the_twelve_statuses_of_the_contract() -> None:
    """Their bytes are the wire's."""
    assert sorted(str(status) for status in ContactStatus) == [
        "blocked",
        "busy",
        "cancelled",
        "carrier_error",
        "completed",
        "dialing",
        "failed",
        "invalid_number",
        "no_answer",
        "pending",
        "queued",
        "timeout",
    ]


def test_a_job_is_live_or_has_ended() -> None:
    """No status of the contract is both, and none is neither."""
    assert LIVE_JOBS == ("scheduled", "pending", "running")
    assert TERMINAL_JOBS == ("completed", "failed", "cancelled")


def test_exactly_five_contact_statuses_are_cancelled() -> None:
    """Not yet called, waiting for a retry, or to be retried."""
    assert sorted(CANCELLABLE_CONTACTS) == ["busy", "no_answer", "pending", "queued", "timeout"]


def test_exactly_six_contact_statuses_are_terminal() -> None:
    """They never change again."""
    assert sorted(TERMINAL_CONTACTS) == [
        "blocked",
        "cancelled",
        "carrier_error",
        "completed",
        "failed",
        "invalid_number",
    ]


def test_a_call_in_progress_is_in_neither_list() -> None:
    """A cancel neither hangs it up nor takes it for finished."""
    assert "dialing" not in CANCELLABLE_CONTACTS
    assert "dialing" not in TERMINAL_CONTACTS


def test_a_removal_is_one_of_four() -> None:
    """Adapters write these words."""
    assert [str(removal) for removal in Removal] == [
        "removed",
        "absent",
        "pending",
        "not_applicable",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "batch_xyz789",
        " ",
        "%",
        "*",
        "{}",
        "'; DROP TABLE batch_jobs; --",
        '"',
        "../../etc/passwd",
        "a\nb\r\tc",
        "\x01",
        "\x7f",
        "\ufeff",
        "\N{PILE OF POO}",
        "a" * 1024,
        "\N{EURO SIGN}" * 341,
    ],
)
def test_these_are_just_ids(text: str) -> None:
    """Special characters are bytes of an id like any others, up to 1024 of them."""
    assert JobKey(text).can_exist
    assert JobKey("job", text).can_exist


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "a\0b",
        "\ud800",
        "ok\udfff",
        "a" * 1025,
        "\N{EURO SIGN}" * 342,
        "a" * 1_000_000,
    ],
)
def test_no_job_can_have_such_an_id(text: str) -> None:
    """Empty, with NUL, no UTF-8, or too long: an id of a job or of an organization."""
    assert not JobKey(text).can_exist
    assert not JobKey("job", text).can_exist


@pytest.mark.parametrize("value", [None, 42, b"job", ["job"], 4.2])
def test_an_id_is_text(value: Any) -> None:
    """Anything else is the caller's mistake, told at once."""
    with pytest.raises(TypeError):
        JobKey(value)


@pytest.mark.parametrize("value", [42, b"acme", False])
def test_an_organization_is_text_or_none(value: Any) -> None:
    """Anything else is the caller's mistake, told at once."""
    with pytest.raises(TypeError):
        JobKey("job", value)


def test_no_organization_is_a_value_of_its_own() -> None:
    """The key of a job of no organization equals no organization's, the empty one's least."""
    assert len({JobKey("job"), JobKey("job", "acme"), JobKey("job", "")}) == 3
    assert JobKey("job", None) == JobKey("job")


def test_a_key_does_not_change() -> None:
    """It may be the key of a dict."""
    key: Any = JobKey("job")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        key.batch_job_id = "other"


def record(**changes: Any) -> CancellationRecord:
    """Return the record of a cancellation."""
    values: dict[str, Any] = {
        "operation_id": "op-1",
        "key": JobKey("job"),
        "previous_status": JobStatus.SCHEDULED,
        "contacts_cancelled": 58,
        "actor": "ann@example.com",
        "reason": "called +49 30 1234567 by mistake",
        "cancelled_at": NOON,
        "deferred_id": "arq_job_abc123",
        "removal": Removal.PENDING,
    }
    return CancellationRecord(**(values | changes))


@pytest.mark.parametrize(
    ("removal", "owed"),
    [
        (Removal.PENDING, "arq_job_abc123"),
        (Removal.REMOVED, None),
        (Removal.ABSENT, None),
        (Removal.NOT_APPLICABLE, None),
    ],
)
def test_only_a_pending_removal_names_its_start(removal: Removal, owed: str | None) -> None:
    """What is settled is not asked for again."""
    assert record(removal=removal).deferred_id_owed == owed


def test_nothing_is_pending_without_a_deferred_start() -> None:
    """A record without the id of a deferred start owes no removal."""
    assert record(deferred_id=None).deferred_id_owed is None


@pytest.mark.parametrize("count", [None, "58", 58.0, b"9"])
def test_a_number_of_contacts_is_an_int(count: Any) -> None:
    """A store that counts in anything else is not believed."""
    with pytest.raises(TypeError):
        record(contacts_cancelled=count)


def test_a_number_of_contacts_is_not_negative() -> None:
    """-1 is what drivers say when they do not know."""
    with pytest.raises(ValueError, match="-1"):
        record(contacts_cancelled=-1)


def test_a_time_is_aware() -> None:
    """A time without its zone is no time."""
    with pytest.raises(ValueError, match="cancelled_at must be an aware datetime"):
        record(cancelled_at=datetime(2026, 3, 1, 12))  # noqa: DTZ001  # That is the point.
    with pytest.raises(TypeError):
        record(cancelled_at="2026-03-01T12:00:00Z")


def test_who_and_why_stay_out_of_logs() -> None:
    """They may name a person: the record's `repr` leaves them out."""
    assert "'ann'" not in repr(record())
    assert "1234567" not in repr(record())


def test_a_jobs_key_is_a_key() -> None:
    """A store that gives the id alone is not believed."""
    key: Any = "job"
    with pytest.raises(TypeError):
        Job(key, "running", None, NOON)
