"""What workers do, on every store: start, claim, finish, and look once more before a call."""

from __future__ import annotations

import pytest

from batch_cancel import AlreadyTerminal, JobKey, JobNotFound
from tests import pairs
from tests.contract.workers import (
    EVERY_CONTACT,
    EVERY_JOB,
    HOUR,
    OPEN,
    SECOND,
    STRANGE_IDS,
    now,
    open_world,
)

__all__ = ["open_world"]


@pytest.mark.parametrize("status", EVERY_JOB)
def test_a_job_is_started_from_two_statuses(world: pairs.World, status: str | None) -> None:
    """From every other it stays as it is."""
    world.add_job("j", status, ["pending"], deferred_id="d")
    before = world.row("j")
    is_startable = status in {"scheduled", "pending"}
    assert world.start("j") is is_startable
    assert world.row("j").status == ("running" if is_startable else status)
    if not is_startable:
        assert world.row("j") == before
    assert world.row("j").contacts == before.contacts
    assert world.row("j").deferred_id == "d"


def test_a_job_is_started_once(world: pairs.World) -> None:
    """Of two that try, one is told that it did."""
    world.add_job("j", "scheduled")
    assert [world.start("j"), world.start("j")] == [True, False]


@pytest.mark.parametrize("named", ["new", "OLD", None])
@pytest.mark.parametrize("status", ["scheduled", "pending"])
def test_an_old_deferred_start_does_not_start_the_job(
    world: pairs.World, status: str, named: str | None
) -> None:
    """A claim from before the job was rescheduled fires too early; the job names another."""
    world.add_job("j", status, ["pending"], deferred_id=named)
    before = world.row("j")
    assert world.start("j", deferred_id="old") is False
    assert world.start("j", deferred_id="\0") is False
    assert world.start("j", deferred_id="\ud800") is False
    assert world.row("j") == before


def test_the_deferred_start_that_the_job_names_starts_it_once(world: pairs.World) -> None:
    """A start that is handed out again does not start it again."""
    world.add_job("j", "scheduled", ["pending"], deferred_id="d")
    assert [world.start("j", deferred_id="d"), world.start("j", deferred_id="d")] == [True, False]
    assert world.row("j").status == "running"
    assert world.row("j").deferred_id == "d"


def test_a_cancelled_job_is_not_started(world: pairs.World) -> None:
    """Its deferred start may fire all the same."""
    world.add_job("j", "scheduled", ["pending"])
    world.cancel("j")
    assert world.start("j") is False
    assert world.claim("j") == []
    assert world.row("j").statuses == {"0": "cancelled"}


# Claim -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_contacts_of_a_running_job_alone_are_dialled(
    world: pairs.World, status: str | None
) -> None:
    """A job that is not started yet has no calls, and one that has ended has no more."""
    world.add_job("j", status, {"a": "pending", "b": "busy"})
    before = world.row("j")
    if status == "running":
        assert world.claim("j") == ["a", "b"]
        assert world.row("j").statuses == {"a": "dialing", "b": "dialing"}
    else:
        assert world.claim("j") == []
        assert world.row("j") == before


def test_five_statuses_are_dialled(world: pairs.World) -> None:
    """Every other contact stays as it is, byte for byte."""
    world.add_job("j", "running", {str(status): status for status in EVERY_CONTACT})
    before = world.row("j").contacts
    assert world.claim("j") == sorted(OPEN)
    after = world.row("j").contacts
    for status in EVERY_CONTACT:
        label = str(status)
        if status in OPEN:
            assert after[label][0] == "dialing"
        else:
            assert after[label] == before[label]


def test_a_claim_takes_no_more_than_it_is_asked_for(world: pairs.World) -> None:
    """And the next claim takes the next ones."""
    world.add_job("j", "running", ["pending"] * 5)
    assert world.claim("j", 0) == []
    first, second, third = (world.claim("j", 2) for _ in range(3))
    assert [len(first), len(second), len(third)] == [2, 2, 1]
    assert sorted(first + second + third) == ["0", "1", "2", "3", "4"]
    assert world.claim("j", 2) == []


@pytest.mark.parametrize("limit", [-1, 1_000_001])
def test_a_claim_of_a_number_that_makes_no_sense(world: pairs.World, limit: int) -> None:
    """It is refused before anything is asked of the store."""
    world.add_job("j", "running", ["pending"])
    with pytest.raises(ValueError, match="limit"):
        world.claim("j", limit)


def test_contacts_are_dialled_when_they_are_due(world: pairs.World) -> None:
    """Those without a time first, then the longest due; those in the future not at all."""
    world.add_job("j", "running")
    world.append("j", "later", next_attempt_at=now() + HOUR)
    world.append("j", "due", next_attempt_at=now() - SECOND)
    world.append("j", "fresh")
    world.append("j", "overdue", next_attempt_at=now() - HOUR)
    assert [world.claim("j", 1) for _ in range(4)] == [["fresh"], ["overdue"], ["due"], []]


def test_of_contacts_without_a_time_the_first_id_comes_first(world: pairs.World) -> None:
    """So that none waits for ever."""
    world.add_job("j", "running", {"a": "pending", "b": "pending"})
    assert [world.claim("j", 1), world.claim("j", 1)] == [["a"], ["b"]]


# Finish ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_a_running_job_alone_is_completed(world: pairs.World, status: str | None) -> None:
    """Whatever else it is, it stays so."""
    world.add_job("j", status, ["completed"])
    assert world.finish("j") is (status == "running")
    assert world.row("j").status == ("completed" if status == "running" else status)


@pytest.mark.parametrize("status", EVERY_CONTACT)
def test_a_job_is_not_completed_while_something_is_left_to_do(
    world: pairs.World, status: str | None
) -> None:
    """A contact that waits for a call, or is on one."""
    world.add_job("j", "running", ["completed", status, "failed"])
    is_left = status in {*OPEN, "dialing"}
    assert world.finish("j") is not is_left
    assert world.row("j").status == ("running" if is_left else "completed")


def test_the_contacts_of_other_jobs_do_not_matter(world: pairs.World) -> None:
    """Nor do they change."""
    world.add_job("j", "running", ["completed"])
    world.add_job("i", "running", ["pending", "dialing"])
    world.add_job("k", "running", ["pending", "dialing"])
    assert world.finish("j")
    assert world.claim("i") == ["0"]
    assert world.row("k").statuses == {"0": "pending", "1": "dialing"}


# All of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_the_last_look_before_a_call(world: pairs.World, status: str | None) -> None:
    """Only a running job's phone may ring."""
    world.add_job("j", status)
    assert world.still_running("j") is (status == "running")


@pytest.mark.parametrize("job_id", ["missing", *STRANGE_IDS], ids=range(1 + len(STRANGE_IDS)))
def test_there_is_nothing_to_do_for_a_job_that_is_not_there(
    world: pairs.World, job_id: str
) -> None:
    """Whatever its id is made of."""
    world.add_job("j", "running", {"a": "dialing", "b": "pending"})
    before = world.rows()
    assert world.start(job_id) is False
    assert world.claim(job_id) == []
    assert world.settle(job_id, "a", "busy") is None
    assert world.settle(job_id, "a", "failed") is None
    assert world.finish(job_id) is False
    assert world.still_running(job_id) is False
    with pytest.raises(JobNotFound) as missing:
        world.append(job_id, "c")
    assert missing.value.key == JobKey(job_id)
    assert world.rows() == before


@pytest.mark.parametrize("contact_id", STRANGE_IDS, ids=range(len(STRANGE_IDS)))
def test_a_contact_that_is_not_there_has_no_call(world: pairs.World, contact_id: str) -> None:
    """Whatever its id is made of."""
    world.add_job("j", "running", {"a": "dialing"})
    for outcome in ("busy", "failed"):
        assert world.settle("j", contact_id, outcome) is None
    assert world.row("j").statuses == {"a": "dialing"}


@pytest.mark.parametrize(("owner", "stranger"), [("acme", "evil"), ("acme", None), (None, "evil")])
def test_a_job_of_another_organization_is_not_there(
    world: pairs.World, owner: str | None, stranger: str | None
) -> None:
    """No organization is one of its own, not a key to all."""
    world.add_job("j", "running", {"a": "dialing", "b": "pending"}, organization_id=owner)
    world.add_job("k", "scheduled", organization_id=owner)
    before = world.rows()
    assert world.start("k", organization_id=stranger) is False
    assert world.claim("j", organization_id=stranger) == []
    assert world.settle("j", "a", "busy", organization_id=stranger) is None
    assert world.settle("j", "a", "failed", organization_id=stranger) is None
    assert world.finish("k", organization_id=stranger) is False
    assert world.still_running("j", organization_id=stranger) is False
    with pytest.raises(JobNotFound):
        world.append("j", "c", organization_id=stranger)
    assert world.rows() == before
    assert world.start("k", organization_id=owner)
    assert world.finish("k", organization_id=owner)
    assert world.claim("j", organization_id=owner) == ["b"]
    assert world.settle("j", "a", "busy", organization_id=owner) == "busy"
    assert world.append("j", "c", organization_id=owner) == 1


def test_the_whole_life_of_a_job(world: pairs.World) -> None:
    """Started, called, retried, extended, finished."""
    world.add_job("j", "scheduled", {"a": "pending", "b": "pending"})
    assert not world.finish("j")
    assert world.start("j")
    assert world.claim("j") == ["a", "b"]
    assert not world.finish("j")
    assert world.settle("j", "a", "no_answer") == "no_answer"
    assert world.settle("j", "b", "completed") == "completed"
    assert not world.finish("j")
    assert world.append("j", "c") == 1
    assert world.claim("j") == ["a", "c"]
    assert world.settle("j", "a", "failed") == "failed"
    assert world.settle("j", "c", "completed") == "completed"
    assert world.finish("j")
    with pytest.raises(AlreadyTerminal):
        world.cancel("j")
    assert world.row("j").statuses == {"a": "failed", "b": "completed", "c": "completed"}
