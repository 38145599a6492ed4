"""
The contract of cancelling, example by example, in every world.

Expectations are written by hand from the contract's tables, never taken from the code under test.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    JobKey,
    JobNotFound,
    JobStatus,
    Removal,
    UnknownJobStatus,
)
from batch_cancel.presenter import present, present_error

if TYPE_CHECKING:
    from tests.pairs import World

CONTACTS = {
    "not yet called": "pending",
    "waiting for retry": "queued",
    "will be retried, 1": "no_answer",
    "will be retried, 2": "busy",
    "will be retried, 3": "timeout",
    "on the phone": "dialing",
    "done": "completed",
    "failed": "failed",
    "blocked": "blocked",
    "no such number": "invalid_number",
    "carrier": "carrier_error",
    "cancelled before": "cancelled",
    "from the future": "voicemail",
    "misspelt": "Pending",
    "nothing": None,
}
"""One contact in each of the twelve statuses, and three that the library does not know."""

CONTACTS_CANCELLED = CONTACTS | {
    "not yet called": "cancelled",
    "waiting for retry": "cancelled",
    "will be retried, 1": "cancelled",
    "will be retried, 2": "cancelled",
    "will be retried, 3": "cancelled",
}


def test_a_scheduled_job_loses_its_deferred_start_and_its_contacts(world: World) -> None:
    """The contract's first row."""
    world.add_job("batch_xyz789", "scheduled", CONTACTS, deferred_id="arq_job_abc123")
    world.schedule("arq_job_abc123")

    result = world.cancel("batch_xyz789")

    assert present(result).status == 200
    assert present(result).content == (
        b'{"success": true, "message": "Scheduled job cancelled successfully", '
        b'"batchJobId": "batch_xyz789", "redisJobCancelled": true, "contactsCancelled": 5}'
    )
    assert result.removal is Removal.REMOVED
    assert result.previous_status is JobStatus.SCHEDULED
    assert not result.replayed
    assert world.row("batch_xyz789").status == "cancelled"
    assert world.row("batch_xyz789").statuses == CONTACTS_CANCELLED
    assert world.waiting() == set()


def test_a_pending_job_has_its_contacts_cancelled(world: World) -> None:
    """The contract's second row."""
    world.add_job("job", "pending", CONTACTS)

    result = world.cancel("job")

    assert present(result).content == (
        b'{"success": true, "message": "Pending job cancelled successfully", '
        b'"batchJobId": "job", "redisJobCancelled": false, "contactsCancelled": 5}'
    )
    assert result.removal is Removal.NOT_APPLICABLE
    assert world.row("job").status == "cancelled"
    assert world.row("job").statuses == CONTACTS_CANCELLED


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("pending", "Pending job cancelled successfully"),
        ("running", "Job was already running - cancelled remaining contacts"),
    ],
)
def test_a_job_that_was_started_early_loses_its_deferred_start(
    world: World, status: str, message: str
) -> None:
    """It names one that still waits; the answer is that of its row in the contract."""
    world.add_job("job", status, CONTACTS, deferred_id="start")
    world.schedule("start")

    result = world.cancel("job")

    assert present(result).body == {
        "success": True,
        "message": message,
        "batchJobId": "job",
        "redisJobCancelled": False,
        "contactsCancelled": 5,
    }
    assert result.removal is Removal.REMOVED
    assert world.waiting() == set()
    assert world.reconcile() == []


def test_a_job_whose_deferred_start_has_fired_has_none_to_lose(world: World) -> None:
    """It still names that start, of which the scheduler knows that it was handed out."""
    world.add_job("job", "scheduled", CONTACTS, deferred_id="start")
    world.schedule("start")
    world.fire("start")
    assert world.start("job", deferred_id="start")

    result = world.cancel("job")

    assert (result.previous_status, result.removal) == ("running", Removal.ABSENT)
    assert result.redis_job_cancelled is False
    assert world.reconcile() == []


def test_without_an_answer_of_the_scheduler_a_running_job_is_cancelled(world: World) -> None:
    """The removal is owed, and reconcile makes it; the API's answer is the same."""

    def down(*_: Any) -> Any:
        raise ConnectionError

    world.add_job("job", "running", CONTACTS, deferred_id="start")
    world.schedule("start")

    result = world.cancel("job", scheduler=world.scheduler_that(down))

    assert (result.removal, result.redis_job_cancelled) == (Removal.PENDING, False)
    assert world.row("job").status == "cancelled"
    assert [it.removal for it in world.reconcile()] == [Removal.REMOVED]
    assert world.waiting() == set()


def test_a_running_job_has_its_remaining_contacts_cancelled(world: World) -> None:
    """The contract's third row: live calls go on, ended calls stay as they ended."""
    world.add_job("job", "running", CONTACTS)

    result = world.cancel("job")

    assert present(result).content == (
        b'{"success": true, '
        b'"message": "Job was already running - cancelled remaining contacts", '
        b'"batchJobId": "job", "redisJobCancelled": false, "contactsCancelled": 5}'
    )
    assert result.removal is Removal.NOT_APPLICABLE
    assert world.row("job").status == "cancelled"
    assert world.row("job").statuses == CONTACTS_CANCELLED


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_ended_job_is_refused_and_nothing_changes(world: World, status: str) -> None:
    """The contract's fourth row, the status in the quotes its own."""
    world.add_job("job", status, CONTACTS, deferred_id="start")
    world.schedule("start")
    before = world.rows()

    with pytest.raises(AlreadyTerminal) as refusal:
        world.cancel("job")

    answer = present_error(refusal.value)
    assert answer.status == 400
    assert answer.content == b'{"detail": "Cannot cancel job in \'%s\' status"}' % status.encode()
    assert refusal.value.code == "already_terminal"
    assert refusal.value.cancelled_at is None
    assert refusal.value.contacts_cancelled is None
    assert world.rows() == before
    assert world.waiting() == {"start"}


@pytest.mark.parametrize("status", ["paused", "", "Scheduled", " running", None])
def test_a_job_of_unknown_status_is_left_alone(world: World, status: str | None) -> None:
    """Fails closed: an error of its own, a 500 that tells nothing, nothing changed."""
    world.add_job("job", status, CONTACTS, deferred_id="start")
    world.schedule("start")
    before = world.rows()

    with pytest.raises(UnknownJobStatus) as refusal:
        world.cancel("job")

    answer = present_error(refusal.value)
    assert (answer.status, answer.content) == (500, b'{"detail": "Failed to cancel batch job"}')
    assert world.rows() == before
    assert world.waiting() == {"start"}


def test_a_missing_job_and_a_foreign_one_get_the_same_answer(world: World) -> None:
    """404, byte for byte the same, and the foreign job stays as it is."""
    world.add_job("theirs", "running", CONTACTS, organization_id="org-a")
    world.add_job("nobody's", "running", CONTACTS)
    before = world.rows()
    for job_id, organization_id in [
        ("missing", "org-b"),
        ("missing", None),
        ("theirs", "org-b"),
        ("theirs", "ORG-A"),
        ("theirs", None),
        ("nobody's", "org-a"),
        ("nobody's", "None"),
        ("nobody's", ""),
    ]:
        with pytest.raises(JobNotFound) as refusal:
            world.cancel(job_id, organization_id=organization_id)
        answer = present_error(refusal.value)
        assert (answer.status, answer.content) == (404, b'{"detail": "Batch job not found"}')
        assert refusal.value.code == "job_not_found"
    assert world.rows() == before


def test_an_organization_cancels_its_own_job(world: World) -> None:
    """The organization is a part of the job's name."""
    world.add_job("ours", "running", ["pending"], organization_id="org-a")
    world.add_job("theirs", "running", ["pending"], organization_id="org-b")

    world.cancel("ours", organization_id="org-a")

    assert world.row("ours", "org-a").statuses == {"0": "cancelled"}
    assert world.row("theirs", "org-b").statuses == {"0": "pending"}
    assert world.row("theirs", "org-b").status == "running"


HOSTILE_IDS = [
    "%",
    "%s",
    "%(batch_job_id)s",
    "*",
    "{}",
    "{bc:0}:due",
    "'; DROP TABLE batch_jobs; --",
    '"',
    "../../etc/passwd",
    "a\nb\r\nc",
    " ",
    "\ufeffjob",
    "\u202ejob",
    "عربي",
    "💣" * 100,
    "x" * 1024,
]


@pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
def test_any_bytes_are_just_bytes_of_an_id(world: World, hostile: str) -> None:
    """As a job's, an organization's, a deferred start's and an operation's id alike."""
    world.add_job("neighbour", "running", ["pending"], organization_id=hostile)
    before = world.rows()
    with pytest.raises(JobNotFound):
        world.cancel(hostile, organization_id=hostile)
    assert world.rows() == before

    world.add_job(
        hostile, "scheduled", {hostile: "pending"}, organization_id=hostile, deferred_id=hostile
    )
    world.schedule(hostile)
    world.schedule("neighbour's")
    result = world.cancel(hostile, organization_id=hostile, operation_id=hostile)

    assert result.batch_job_id == hostile
    assert result.redis_job_cancelled
    assert world.row(hostile, hostile).statuses == {hostile: "cancelled"}
    assert world.row("neighbour", hostile) == before[next(iter(before))]
    assert world.waiting() == {"neighbour's"}
    assert world.cancel(hostile, organization_id=hostile, operation_id=hostile).replayed


IMPOSSIBLE_IDS = ["", "\0", "job\0", "\ud800", "job\udcff", "x" * 1025, "é" * 513, "x" * 1_000_000]


@pytest.mark.parametrize("impossible", IMPOSSIBLE_IDS, ids=range(len(IMPOSSIBLE_IDS)))
def test_an_id_that_no_store_can_hold_names_no_job(world: World, impossible: str) -> None:
    """404, whichever id it is, and the error can be shown and logged."""
    world.add_job("job", "running", CONTACTS)
    before = world.rows()
    for job_id, organization_id in [(impossible, None), ("job", impossible), (impossible, "org")]:
        with pytest.raises(JobNotFound) as refusal:
            world.cancel(job_id, organization_id=organization_id)
        assert present_error(refusal.value).content == b'{"detail": "Batch job not found"}'
        assert len(str(refusal.value).encode()) < 600
    assert world.rows() == before


@pytest.mark.parametrize("name", ["operation_id", "actor", "reason"])
@pytest.mark.parametrize("value", ["", "a\0b", "\ud800", "x" * 5000])
def test_a_text_that_no_store_can_keep_is_refused(world: World, name: str, value: str) -> None:
    """A clear ValueError that names the argument, and nothing changes."""
    world.add_job("job", "running", CONTACTS)
    before = world.rows()
    with pytest.raises(ValueError, match=name):
        world.cancel("job", **{name: value})
    assert world.rows() == before


def test_a_null_deferred_id_means_there_is_no_deferred_start(world: World) -> None:
    """ABSENT, and the scheduler is not asked."""
    world.add_job("job", "scheduled", ["pending"], deferred_id=None)
    world.schedule("job")
    asked: list[str] = []

    result = world.cancel(
        "job", scheduler=world.scheduler_that(lambda deferred_id, _: asked.append(deferred_id))
    )

    assert result.removal is Removal.ABSENT
    assert not result.redis_job_cancelled
    assert asked == []


def test_a_start_that_has_fired_is_absent(world: World) -> None:
    """The start won the race to the scheduler; the job is cancelled all the same."""
    world.add_job("job", "scheduled", ["pending"], deferred_id="start")
    world.fire("start")

    result = world.cancel("job")

    assert result.removal is Removal.ABSENT
    assert not present(result).body["redisJobCancelled"]
    assert present(result).body["message"] == "Scheduled job cancelled successfully"
    assert world.row("job").status == "cancelled"


def test_a_start_that_never_was_is_absent(world: World) -> None:
    """A job row may name a start that nobody scheduled."""
    world.add_job("job", "scheduled", ["pending"], deferred_id="start")
    assert world.cancel("job").removal is Removal.ABSENT


def test_the_scheduler_is_asked_once_the_job_is_cancelled_for_all_to_see(world: World) -> None:
    """Database first: when the scheduler is asked, the commit has happened."""
    world.add_job("job", "scheduled", ["pending", "dialing"], deferred_id="start")
    seen: list[Any] = []

    def look(deferred_id: str, operation_id: str) -> bool:
        job = world.row("job")
        seen.append((deferred_id, operation_id, job.status, job.statuses))
        return True

    world.cancel("job", scheduler=world.scheduler_that(look), operation_id="op")

    assert seen == [("start", "op", "cancelled", {"0": "cancelled", "1": "dialing"})]


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


def test_another_operation_finishes_a_removal_still_owed(world: World) -> None:
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


def test_the_other_jobs_stay_as_they_are(world: World) -> None:
    """Byte for byte, whatever their statuses and those of their contacts."""
    world.add_job("job", "running", ["pending"])
    for status in ("scheduled", "pending", "running", "cancelled"):
        world.add_job(f"other-{status}", status, ["pending", "busy", "dialing"])
    before = world.rows()

    world.cancel("job")

    del before[JobKey("job")]
    after = world.rows()
    del after[JobKey("job")]
    assert after == before


def test_a_job_without_contacts_is_cancelled(world: World) -> None:
    """Nought is a number of contacts."""
    world.add_job("job", "running")
    assert world.cancel("job").contacts_cancelled == 0
    assert world.row("job").status == "cancelled"


def test_every_operation_has_an_id(world: World) -> None:
    """Generated where the caller gave none, a new one each time."""
    world.add_job("one", "running")
    world.add_job("two", "running")
    one, two = world.cancel("one"), world.cancel("two")
    assert one.operation_id != two.operation_id
    assert world.cancel("one", operation_id=one.operation_id).replayed


def test_a_job_that_came_back_to_life_is_stopped_again(world: World) -> None:
    """Somebody's script set it running again: stopping it matters more than the old record."""
    world.add_job("job", "running", ["pending"])
    world.cancel("job", operation_id="first")
    world.revive("job")

    assert world.cancel("job", operation_id="second").contacts_cancelled == 0
    assert world.row("job").status == "cancelled"
    record = world.record("job")
    assert record is not None
    assert record.operation_id == "second"
