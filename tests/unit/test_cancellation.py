"""The decisions of a cancel, against a table written by hand from the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelPlan,
    CancelRequest,
    CancelResult,
    committed,
    conclude,
    live_job,
    plan_cancellation,
    removal_of,
)
from batch_cancel.domain.deferred_start import Claimed, Deferred, DeferredState
from batch_cancel.domain.errors import AlreadyTerminal, JobNotFound, UnknownJobStatus
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = JobKey("batch_xyz789", "acme")
REQUEST = CancelRequest(KEY, "op-1", actor="ann", reason="wrong list")


def job(status: Any, *, deferred_id: str | None = "arq_job_abc123", **more: Any) -> Job:
    """Return a job as read under its lock."""
    return Job(KEY, status, deferred_id, NOON, **more)


def record(operation_id: str = "op-1", removal: Removal = Removal.REMOVED) -> CancellationRecord:
    """Return the record of an earlier cancellation."""
    return CancellationRecord(
        operation_id=operation_id,
        key=KEY,
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=58,
        actor=None,
        reason=None,
        cancelled_at=NOON,
        deferred_id="arq_job_abc123",
        removal=removal,
    )


@pytest.mark.parametrize(
    ("status", "deferred_id", "removal"),
    [
        ("scheduled", "arq_job_abc123", "pending"),
        ("scheduled", None, "absent"),
        ("pending", "arq_job_abc123", "pending"),
        ("pending", None, "not_applicable"),
        ("running", "arq_job_abc123", "pending"),
        ("running", None, "not_applicable"),
    ],
)
def test_a_live_job_is_cancelled(status: str, deferred_id: str | None, removal: str) -> None:
    """Its five kinds of open contacts with it, and whatever deferred start it names."""
    plan = plan_cancellation(REQUEST, job(status, deferred_id=deferred_id))
    assert isinstance(plan, CancelPlan)
    assert plan.previous_status == status
    assert plan.removal == removal
    assert sorted(plan.contact_statuses) == ["busy", "no_answer", "pending", "queued", "timeout"]


def test_a_plan_carried_out_is_recorded_whole() -> None:
    """Who, why, when, from which status, how many, and which start: as read under the lock."""
    plan = plan_cancellation(REQUEST, job("scheduled"))
    assert isinstance(plan, CancelPlan)
    assert plan.record(58) == CancellationRecord(
        operation_id="op-1",
        key=JobKey("batch_xyz789", "acme"),
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=58,
        actor="ann",
        reason="wrong list",
        cancelled_at=NOON,
        deferred_id="arq_job_abc123",
        removal=Removal.PENDING,
    )


def test_the_record_names_the_job_as_it_is_stored() -> None:
    """The request may have spelled a uuid in upper case."""
    asked = CancelRequest(JobKey("ABC"), "op-1")
    plan = plan_cancellation(asked, Job(JobKey("abc"), "running", None, NOON))
    assert isinstance(plan, CancelPlan)
    assert plan.record(0).key == JobKey("abc")


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_terminal_job_is_refused(status: str) -> None:
    """With its own status in the contract's sentence."""
    with pytest.raises(AlreadyTerminal) as refusal:
        plan_cancellation(REQUEST, job(status))
    assert refusal.value.detail == f"Cannot cancel job in '{status}' status"
    assert (refusal.value.key, refusal.value.status) == (KEY, status)
    assert refusal.value.cancellation is None


def test_a_job_that_another_operation_cancelled_is_refused_with_its_record() -> None:
    """The error then knows when it was cancelled, and how many contacts."""
    with pytest.raises(AlreadyTerminal) as refusal:
        plan_cancellation(REQUEST, job("cancelled", cancellation=record("op-2")))
    assert refusal.value.cancellation == record("op-2")


def test_the_operation_that_cancelled_the_job_is_given_its_record_again() -> None:
    """A retry is never told "already cancelled"."""
    found = plan_cancellation(REQUEST, job("cancelled", cancellation=record("op-1")))
    assert found == record("op-1")


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_record_makes_no_replay_of_a_job_that_is_not_cancelled(status: str) -> None:
    """Somebody changed the job since: its status counts, not its history."""
    with pytest.raises(AlreadyTerminal) as refusal:
        plan_cancellation(REQUEST, job(status, cancellation=record("op-1")))
    assert refusal.value.status == status


def test_a_job_brought_back_to_life_is_cancelled_again() -> None:
    """Even by the operation that cancelled it before: a live job is never called cancelled."""
    plan = plan_cancellation(REQUEST, job("running", cancellation=record("op-1")))
    assert isinstance(plan, CancelPlan)


def test_no_job_is_not_found() -> None:
    """The error names what was asked for."""
    with pytest.raises(JobNotFound) as error:
        plan_cancellation(REQUEST, None)
    assert error.value.key == KEY


@pytest.mark.parametrize(
    "status",
    [
        None,
        "",
        "paused",
        "SCHEDULED",
        "Scheduled",
        "scheduled ",
        " running",
        "canceled",
        3,
        b"x",
        [],
    ],
)
def test_an_unknown_status_fails_closed(status: Any) -> None:
    """It is never guessed at, not even when it looks like a known one."""
    with pytest.raises(UnknownJobStatus) as error:
        plan_cancellation(REQUEST, job(status))
    assert (error.value.key, error.value.status) == (KEY, status)


@pytest.mark.parametrize("status", ["scheduled", "pending", "running"])
def test_a_live_job_gets_new_contacts(status: str) -> None:
    """Whether it was started or not."""
    assert live_job(KEY, job(status)) == (job(status), status)


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_an_ended_job_gets_no_contacts(status: str) -> None:
    """The refusal says how it ended, and nothing of a cancellation before that."""
    with pytest.raises(AlreadyTerminal) as refused:
        live_job(KEY, job(status, cancellation=record()))
    assert (refused.value.key, refused.value.status) == (KEY, JobStatus(status))
    assert refused.value.cancellation is None


def test_a_cancelled_job_is_refused_with_its_record() -> None:
    """It says when, and how many contacts."""
    with pytest.raises(AlreadyTerminal) as refused:
        live_job(KEY, job("cancelled", cancellation=record()))
    assert (refused.value.status, refused.value.cancellation) == ("cancelled", record())


@pytest.mark.parametrize("status", ["paused", "", "RUNNING", None])
def test_an_unknown_job_gets_no_contacts(status: str | None) -> None:
    """What is not known is never guessed at."""
    with pytest.raises(UnknownJobStatus) as refused:
        live_job(KEY, job(status))
    assert (refused.value.key, refused.value.status) == (KEY, status)


def test_no_job_gets_no_contacts() -> None:
    """It is told by the name that it was asked for."""
    with pytest.raises(JobNotFound) as refused:
        live_job(KEY, None)
    assert refused.value.key == KEY


def test_the_same_question_gets_the_same_answer() -> None:
    """A decision depends on its arguments alone."""
    first = plan_cancellation(REQUEST, job("running"))
    assert plan_cancellation(REQUEST, job("running")) == first


@pytest.mark.parametrize(
    ("answer", "removal"),
    [
        (True, "removed"),
        (False, "absent"),
        (None, "pending"),
        (1, "pending"),
        (0, "pending"),
        (1.0, "pending"),
        ("True", "pending"),
        (b"yes", "pending"),
        ([], "pending"),
        (object(), "pending"),
        (NotImplemented, "pending"),
    ],
)
def test_only_true_and_false_are_answers_of_a_scheduler(answer: object, removal: str) -> None:
    """1 may be the count of a script that removed something else: it confirms nothing."""
    assert removal_of(answer) == removal


@pytest.mark.parametrize(
    ("removal", "is_cancelled"),
    [
        (Removal.REMOVED, True),
        (Removal.ABSENT, False),
        (Removal.PENDING, False),
        (Removal.NOT_APPLICABLE, False),
    ],
)
@pytest.mark.parametrize("replayed", [True, False])
def test_an_answer_is_the_record_and_the_removal_as_known_now(
    removal: Removal, *, is_cancelled: bool, replayed: bool
) -> None:
    """`redis_job_cancelled` means removed and confirmed, and nothing else."""
    result = conclude(Cancellation(record(), replayed=replayed), removal)
    assert result == CancelResult(
        batch_job_id="batch_xyz789",
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=58,
        removal=removal,
        operation_id="op-1",
        cancelled_at=NOON,
        replayed=replayed,
        organization_id="acme",
    )
    assert result.redis_job_cancelled is is_cancelled


def test_an_answer_names_whose_job_it_was_who_cancelled_it_and_why() -> None:
    """A hook has nothing else to find out whom to tell."""
    known = attrs.evolve(record(), actor="ann@example.com", reason="call +49 30 1234567")
    result = conclude(Cancellation(known, replayed=False), Removal.REMOVED)
    assert (result.organization_id, result.actor, result.reason) == (
        "acme",
        "ann@example.com",
        "call +49 30 1234567",
    )


@pytest.mark.parametrize(
    "value",
    [
        CancelRequest(KEY, "op-1", actor="ann@example.com", reason="call +49 30 1234567"),
        attrs.evolve(record(), actor="ann@example.com", reason="call +49 30 1234567"),
        conclude(
            Cancellation(
                attrs.evolve(record(), actor="ann@example.com", reason="call +49 30 1234567"),
                replayed=False,
            ),
            Removal.PENDING,
        ),
        plan_cancellation(
            CancelRequest(KEY, "op-1", actor="ann@example.com", reason="call +49 30 1234567"),
            job("running"),
        ),
        Claimed("start", b"ann@example.com, call +49 30 1234567", "token"),
        Deferred(DeferredState.DUE, NOON, b"ann@example.com, call +49 30 1234567"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_no_repr_shows_who_why_or_what_was_scheduled(value: object) -> None:
    """It may name a person, and a repr ends up in logs and error reports."""
    for private in ("ann@", "1234567"):
        assert private not in repr(value)


def result_from(status: JobStatus, removal: Removal = Removal.ABSENT) -> CancelResult:
    """Return the result of cancelling a job of this status."""
    return CancelResult("job", status, 0, removal, "op-1", NOON, replayed=False)


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.RUNNING])
def test_the_api_s_answer_speaks_of_the_start_of_a_scheduled_job_alone(status: JobStatus) -> None:
    """The contract's table: of a pending or running job it is false, whatever was taken back."""
    assert result_from(status, Removal.REMOVED).redis_job_cancelled is False


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (JobStatus.SCHEDULED, "Scheduled job cancelled successfully"),
        (JobStatus.PENDING, "Pending job cancelled successfully"),
        (JobStatus.RUNNING, "Job was already running - cancelled remaining contacts"),
    ],
)
def test_each_live_status_has_its_sentence(status: JobStatus, message: str) -> None:
    """The contract's, byte for byte."""
    assert result_from(status).message == message


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED])
def test_no_sentence_claims_that_a_terminal_job_was_cancelled(status: JobStatus) -> None:
    """No such result is ever made; were it, it would not be dressed up."""
    with pytest.raises(ValueError, match=f"a job cannot be cancelled from {status}"):
        _ = result_from(status).message


@pytest.mark.parametrize("name", ["operation_id", "actor", "reason"])
@pytest.mark.parametrize("text", ["", "a\0b", "\ud800"])
def test_a_request_holds_only_what_every_store_can_hold(name: str, text: str) -> None:
    """Found out before the first statement, and told by the argument's name."""
    arguments: dict[str, Any] = {"operation_id": "op-1", name: text}
    with pytest.raises(ValueError, match=f"^{name} must be 1 to"):
        CancelRequest(KEY, **arguments)


@pytest.mark.parametrize(
    ("name", "bytes_max"), [("operation_id", 1024), ("actor", 4096), ("reason", 4096)]
)
@pytest.mark.parametrize("character", ["a", "\N{SNOWMAN}"])
def test_a_request_is_bounded_in_bytes(name: str, bytes_max: int, character: str) -> None:
    """The longest text passes, one character more does not, and the error says the bound."""
    longest = character * (bytes_max // len(character.encode()))
    arguments: dict[str, Any] = {"operation_id": "op-1", name: longest}
    assert getattr(CancelRequest(KEY, **arguments), name) == longest
    arguments[name] = longest + character
    with pytest.raises(ValueError, match=str(bytes_max)) as error:
        CancelRequest(KEY, **arguments)
    assert len(str(error.value)) < 100


@pytest.mark.parametrize(
    ("name", "value"),
    [("operation_id", None), ("operation_id", 7), ("actor", b"ann"), ("reason", ["why"])],
)
def test_a_request_holds_text(name: str, value: Any) -> None:
    """Who and why may be None; an operation always has a name."""
    arguments: dict[str, Any] = {"operation_id": "op-1", name: value}
    with pytest.raises(TypeError):
        CancelRequest(KEY, **arguments)


def test_who_and_why_are_optional() -> None:
    """A cancel without them is a cancel."""
    request = CancelRequest(KEY, "op-1")
    assert (request.actor, request.reason) == (None, None)


def test_a_record_of_the_operation_is_the_cancellation_as_committed() -> None:
    """With what was done about it since; that it was joined and replayed stays."""
    joined = Cancellation(record(removal=Removal.PENDING), replayed=True, joined=True)
    now = record(removal=Removal.REMOVED)
    assert committed(joined, now) == Cancellation(now, replayed=True, joined=True)


def test_a_cancelled_job_proves_the_commit_where_no_records_are_kept() -> None:
    """It is all that such a store knows."""
    joined = Cancellation(record(removal=Removal.PENDING), replayed=False, joined=True)
    assert committed(joined, job("cancelled")) is joined


@pytest.mark.parametrize(
    "found",
    [
        None,
        record("op-2"),
        *(job(it) for it in ("scheduled", "pending", "running", "completed", "failed", None)),
    ],
)
def test_anything_else_proves_a_rollback(found: Any) -> None:
    """Another operation's record, too: a job has one record."""
    joined = Cancellation(record(removal=Removal.PENDING), replayed=False, joined=True)
    assert committed(joined, found) is None
