"""
The contract of cancelling, example by example, in every world.

Here is what becomes of a job, its contacts and its deferred start, by the job's status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import (
    AlreadyTerminal,
    JobKey,
    JobNotFound,
    JobStatus,
    Removal,
    UnknownJobStatus,
)
from batch_cancel.presenter import present, present_error
from tests.contract.contacts import CONTACTS, CONTACTS_CANCELLED

if TYPE_CHECKING:
    from tests.pairs import World


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
