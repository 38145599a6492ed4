"""What a preview and a progress report say, on every store, and that they leave no trace."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy.exc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import (
    AlreadyTerminal,
    BatchCancelError,
    JobNotFound,
    Preview,
    Progress,
    SchedulerUnavailable,
    UnknownJobStatus,
)
from tests.contract.contacts import CONTACTS

if TYPE_CHECKING:
    from tests.pairs import World

TWELVE = {
    "pending": 1,
    "queued": 1,
    "no_answer": 1,
    "busy": 1,
    "timeout": 1,
    "dialing": 1,
    "completed": 1,
    "failed": 1,
    "blocked": 1,
    "invalid_number": 1,
    "carrier_error": 1,
    "cancelled": 1,
}
NONE = dict.fromkeys(TWELVE, 0)


def silent(_deferred_id: str, _operation_id: str) -> bool:
    """Be a scheduler that does not answer."""
    reason = "no answer"
    raise SchedulerUnavailable(reason)


@pytest.mark.parametrize(
    ("status", "deferred_id", "removes_start"),
    [
        ("scheduled", "start", True),
        ("scheduled", None, False),
        ("pending", None, False),
        ("pending", "start", True),
        ("running", None, False),
        ("running", "start", True),
    ],
)
def test_a_live_job_would_be_cancelled(
    world: World, status: str, deferred_id: str | None, *, removes_start: bool
) -> None:
    """With its open contacts; its live call is named, and nothing is changed."""
    world.add_job("job", status, CONTACTS, organization_id="org", deferred_id=deferred_id)
    if deferred_id is not None:
        world.schedule(deferred_id)
    before, waiting = world.rows(), world.waiting()

    preview = world.preview("job", organization_id="org")

    assert preview == Preview(
        batch_job_id="job",
        organization_id="org",
        status=status,
        refusal=None,
        is_replay=False,
        contacts=TWELVE,  # type: ignore[arg-type]  # A status is a text.
        contacts_unknown=3,
        contacts_to_cancel=5,
        removes_start=removes_start,
    )
    assert (preview.would_cancel, preview.live_calls) == (True, 1)
    assert (world.rows(), world.waiting()) == (before, waiting)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_ended_job_would_be_refused(world: World, status: str) -> None:
    """By the error that the cancel raises."""
    world.add_job("job", status, CONTACTS)
    preview = world.preview("job")
    with pytest.raises(AlreadyTerminal) as refused:
        world.cancel("job")
    assert isinstance(preview.refusal, AlreadyTerminal)
    assert str(preview.refusal) == str(refused.value)
    assert (preview.contacts, preview.contacts_to_cancel) == (TWELVE, 0)
    flags = (preview.would_cancel, preview.is_replay, preview.removes_start)
    assert flags == (False, False, False)


@pytest.mark.parametrize("status", ["paused", None])
def test_an_unknown_status_would_be_refused(world: World, status: str | None) -> None:
    """And is shown as it is."""
    world.add_job("job", status, ["pending"])
    preview = world.preview("job")
    assert isinstance(preview.refusal, UnknownJobStatus)
    assert preview.status == preview.refusal.status == status
    assert (preview.contacts_to_cancel, preview.would_cancel) == (0, False)


def test_the_same_operation_would_be_replayed(world: World) -> None:
    """Another one is refused, with the record; what is still owed would be asked for."""
    world.add_job("job", "scheduled", ["pending", "dialing"], deferred_id="start")
    world.schedule("start")
    world.cancel("job", operation_id="op", scheduler=world.scheduler_that(silent))
    record = world.record("job")

    replay, other = world.preview("job", operation_id="op"), world.preview("job")

    assert (replay.is_replay, replay.would_cancel, replay.refusal) == (True, False, None)
    assert isinstance(other.refusal, AlreadyTerminal)
    assert other.refusal.cancellation == record
    assert replay.removes_start
    assert other.removes_start
    world.cancel("job", operation_id="op")
    assert not world.preview("job", operation_id="op").removes_start


def test_a_job_of_another_organization_is_not_there(world: World) -> None:
    """Nor is one that no store can hold."""
    world.add_job("job", "running", ["pending"], organization_id="org")
    for job_id, organization_id in (("job", None), ("job", "evil"), ("no", "org"), ("\0", "org")):
        for ask in (world.preview, world.progress):
            with pytest.raises(JobNotFound):
                ask(job_id, organization_id=organization_id)


def test_progress_counts_open_live_and_ended(world: World) -> None:
    """Of this job alone; a running job is not drained."""
    world.add_job("job", "running", CONTACTS)
    world.add_job("other", "running", CONTACTS)
    assert world.progress("job") == Progress("job", None, "running", 5, 1, 6, 3)
    assert not world.progress("job").is_drained


def test_a_job_of_the_same_id_elsewhere_does_not_count(world: World) -> None:
    """Two organizations may have one each, where the store allows it."""
    world.add_job("job", "running", CONTACTS)
    try:
        world.add_job("job", "scheduled", CONTACTS, organization_id="org")
    except (psycopg.errors.UniqueViolation, sqlalchemy.exc.IntegrityError):
        return
    assert world.progress("job") == Progress("job", None, "running", 5, 1, 6, 3)
    assert world.preview("job", organization_id="org").status == "scheduled"


def test_a_cancelled_job_is_drained_when_its_last_call_ends(world: World) -> None:
    """Not while it is live, nor without any contact before it is cancelled."""
    world.add_job("job", "running", ["pending", "dialing"])
    world.add_job("empty", "running")
    world.cancel("job")
    assert world.progress("job") == Progress("job", None, "cancelled", 0, 1, 1, 0)
    assert not world.progress("job").is_drained
    world.settle("job", "1", "no_answer")
    assert world.progress("job") == Progress("job", None, "cancelled", 0, 0, 2, 0)
    assert world.progress("job").is_drained
    assert world.progress("empty") == Progress("empty", None, "running", 0, 0, 0, 0)
    assert not world.progress("empty").is_drained


def test_a_job_without_contacts_has_a_preview(world: World) -> None:
    """All its numbers are 0."""
    world.add_job("job", "scheduled")
    assert world.preview("job").contacts == NONE
    assert world.preview("job").would_cancel


def test_reports_leave_no_trace(world: World) -> None:
    """No row is written, and what is owed by a record is not taken."""
    world.add_job("job", "scheduled", CONTACTS, deferred_id="start")
    world.schedule("start")
    world.cancel("job", scheduler=world.scheduler_that(silent))
    before, found = world.rows(), world.found("job")
    world.preview("job")
    world.progress("job")
    assert (world.rows(), world.found("job")) == (before, found)
    assert found is not None
    after = world.found("job")
    assert after is not None
    assert after.taken_at == found.taken_at
    [result] = world.reconcile(lease=timedelta(0))
    assert result.batch_job_id == "job"


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    status=st.sampled_from(
        ["scheduled", "pending", "running", "completed", "failed", "cancelled", "paused", None]
    ),
    contacts=st.lists(st.sampled_from([*TWELVE, "paused", None]), max_size=8),
    deferred_id=st.sampled_from(["start", None]),
    is_again=st.booleans(),
    is_same=st.booleans(),
)
def test_a_preview_is_what_the_cancel_then_does(
    world: World,
    status: str | None,
    contacts: list[str | None],
    deferred_id: str | None,
    *,
    is_again: bool,
    is_same: bool,
) -> None:
    """For any job, cancelled before or not, by the same operation or another."""
    world.clear()
    world.add_job("job", status, contacts, deferred_id=deferred_id)
    if is_again:
        _outcome(world, "first")
    operation_id = "first" if is_same else "second"
    before, asked = world.rows(), []

    preview = world.preview("job", operation_id=operation_id)
    assert world.rows() == before

    def note(deferred_id: str, _operation_id: str) -> bool:
        asked.append(deferred_id)
        return True

    done: Any = _outcome(world, operation_id, scheduler=world.scheduler_that(note))
    if isinstance(done, BatchCancelError):
        assert type(preview.refusal) is type(done)
        assert str(preview.refusal) == str(done)
        assert world.rows() == before
    else:
        assert preview.refusal is None
        assert preview.is_replay == done.replayed
        changed = 0 if done.replayed else done.contacts_cancelled
        assert preview.contacts_to_cancel == changed
    assert preview.removes_start == bool(asked)


def _outcome(world: World, operation_id: str, **options: Any) -> object:
    try:
        return world.cancel("job", operation_id=operation_id, **options)
    except BatchCancelError as error:
        return error
