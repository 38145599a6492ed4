"""The contract of cancelling: trouble with the scheduler, operations repeated, and the record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobKey,
    JobStatus,
    Removal,
)
from batch_cancel.presenter import present, present_error
from tests.contract.contacts import CONTACTS, CONTACTS_CANCELLED

if TYPE_CHECKING:
    from tests.pairs import World


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    "behave",
    [
        lambda *_: _raise(ConnectionError("redis://user:secret@host")),
        lambda *_: _raise(RuntimeError("nobody expected this")),
        lambda *_: None,
        lambda *_: 1,
        lambda *_: "true",
    ],
    ids=["down", "broken", "None", "1", "text"],
)
def test_trouble_with_the_scheduler_is_no_failure(
    world: World, behave: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The job is cancelled: 200, not confirmed; a retry of the operation finishes the removal."""
    world.add_job("job", "scheduled", ["pending"], deferred_id="start")
    world.schedule("start")

    result = world.cancel("job", scheduler=world.scheduler_that(behave), operation_id="op")

    assert present(result).content == (
        b'{"success": true, "message": "Scheduled job cancelled successfully", '
        b'"batchJobId": "job", "redisJobCancelled": false, "contactsCancelled": 1}'
    )
    assert result.removal is Removal.PENDING
    assert "secret" not in caplog.text
    record = world.record("job")
    assert record is not None
    assert record.removal is Removal.PENDING

    again = world.cancel("job", operation_id="op")

    assert again.replayed
    assert again.removal is Removal.REMOVED
    assert world.waiting() == set()


def test_the_same_operation_again_gets_the_same_answer(world: World) -> None:
    """A lost answer is asked for again: the same 200, the same body, no second event."""
    world.add_job("job", "scheduled", CONTACTS, deferred_id="start")
    world.schedule("start")
    first = world.cancel("job", operation_id="op")
    after = world.rows()

    again = world.cancel("job", operation_id="op", actor="other", reason="other")

    assert present(again).content == present(first).content
    assert (first.replayed, again.replayed) == (False, True)
    assert again.cancelled_at == first.cancelled_at
    assert again.operation_id == first.operation_id == "op"
    assert world.rows() == after


def test_another_operation_is_told_when_and_how_much(world: World) -> None:
    """400 as the contract says; the error object knows more."""
    world.add_job("job", "running", CONTACTS)
    first = world.cancel("job")
    after = world.rows()

    with pytest.raises(AlreadyTerminal) as refusal:
        world.cancel("job")

    assert present_error(refusal.value).content == (
        b'{"detail": "Cannot cancel job in \'cancelled\' status"}'
    )
    assert refusal.value.cancelled_at == first.cancelled_at
    assert refusal.value.contacts_cancelled == 5
    assert refusal.value.previous_status is JobStatus.RUNNING
    assert world.rows() == after


def test_another_operation_finishes_a_removal_still_pending(world: World) -> None:
    """It is refused, but first it drives what the cancellation before it left undone."""
    world.add_job("job", "scheduled", ["pending"], deferred_id="start")
    world.schedule("start")
    world.cancel("job", scheduler=world.scheduler_that(lambda *_: None), operation_id="first")
    assert world.waiting() == {"start"}

    with pytest.raises(AlreadyTerminal):
        world.cancel("job", operation_id="second")

    assert world.waiting() == set()
    record = world.record("job")
    assert record is not None
    assert (record.operation_id, record.removal) == ("first", Removal.REMOVED)


def test_two_steps_are_the_same_as_one(world: World) -> None:
    """The rows in the caller's transaction, the deferred start after it."""
    world.add_job("job", "scheduled", CONTACTS, deferred_id="start")
    world.schedule("start")

    cancellation = world.cancel_rows("job", operation_id="op")
    assert world.waiting() == {"start"}
    assert world.row("job").statuses == CONTACTS_CANCELLED
    result = world.remove_deferred(cancellation)

    assert present(result).content == (
        b'{"success": true, "message": "Scheduled job cancelled successfully", '
        b'"batchJobId": "job", "redisJobCancelled": true, "contactsCancelled": 5}'
    )
    assert world.waiting() == set()
    # Nobody said where to note the outcome, so it is still owed, and asking again is harmless.
    record = world.record("job")
    assert record is not None
    assert record.removal is Removal.PENDING
    assert world.remove_deferred(cancellation, uow=world.store.uow) == result
    record = world.record("job")
    assert record is not None
    assert record.removal is Removal.REMOVED


@pytest.mark.parametrize("organization_id", [None, "a"])
def test_what_was_joined_is_looked_up_before_its_start_is_removed(
    world: World, organization_id: str | None
) -> None:
    """The committed record counts, of this job, this organization and this operation alone."""
    for job_id, owner in (("job", organization_id), ("live", organization_id)):
        world.add_job(job_id, "scheduled", CONTACTS, deferred_id="start", organization_id=owner)
    world.schedule("start")
    done = attrs.evolve(
        world.cancel_rows("job", organization_id=organization_id, operation_id="op"), joined=True
    )
    rows = world.rows()
    rolled_back = [
        attrs.evolve(done.record, key=JobKey("live", organization_id)),
        attrs.evolve(done.record, key=JobKey("missing", organization_id)),
        attrs.evolve(done.record, key=JobKey("job", "stranger")),
        attrs.evolve(done.record, operation_id="another"),
    ]
    for record in rolled_back:
        with pytest.raises(CancelFailed, match="not committed"):
            world.remove_deferred(attrs.evolve(done, record=record), uow=world.store.uow)
    assert world.waiting() == {"start"}

    assert world.remove_deferred(done, uow=world.store.uow).redis_job_cancelled
    assert world.waiting() == set()
    # A second time it is found done.
    assert world.remove_deferred(done, uow=world.store.uow).redis_job_cancelled
    assert world.rows() == rows


def test_the_record_says_who_why_when_and_how_much(world: World) -> None:
    """The audit is kept with the cancellation."""
    world.add_job("job", "scheduled", CONTACTS, organization_id="org", deferred_id="start")
    world.schedule("start")
    before = datetime.now(UTC) - timedelta(seconds=5)

    result = world.cancel(
        "job",
        organization_id="org",
        operation_id="op",
        actor="ada@example.com",
        reason="wrong list",
    )

    record = world.record("job", "org")
    assert record is not None
    assert record.operation_id == "op"
    assert (record.key.batch_job_id, record.key.organization_id) == ("job", "org")
    assert record.previous_status is JobStatus.SCHEDULED
    assert record.contacts_cancelled == 5
    assert (record.actor, record.reason) == ("ada@example.com", "wrong list")
    assert record.deferred_id == "start"
    assert record.removal is Removal.REMOVED
    assert record.cancelled_at == result.cancelled_at
    assert before < record.cancelled_at < before + timedelta(seconds=60)
    assert record.cancelled_at.utcoffset() == timedelta(0)


def test_the_record_is_there_at_the_commit(world: World) -> None:
    """Killed before the scheduler is asked, the removal is known to be owed."""
    world.add_job("job", "scheduled", CONTACTS, deferred_id="start")
    world.cancel_rows("job", operation_id="op")
    record = world.record("job")
    assert record is not None
    assert (record.removal, record.contacts_cancelled) == (Removal.PENDING, 5)
    assert record.deferred_id_owed == "start"
