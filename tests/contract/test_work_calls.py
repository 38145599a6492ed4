"""What workers do, on every store: how calls end, and those of dead workers."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from batch_cancel import JobKey
from tests import pairs
from tests.contract.workers import (
    EVERY_CONTACT,
    EVERY_JOB,
    HOUR,
    SECOND,
    STRANGE_IDS,
    now,
    open_world,
)

__all__ = ["open_world"]


@pytest.mark.parametrize(
    ("outcome", "cancelled"),
    [
        ("queued", "cancelled"),
        ("no_answer", "cancelled"),
        ("busy", "cancelled"),
        ("timeout", "cancelled"),
        ("completed", "completed"),
        ("failed", "failed"),
        ("blocked", "blocked"),
        ("invalid_number", "invalid_number"),
        ("carrier_error", "carrier_error"),
    ],
)
def test_a_live_call_ends(world: pairs.World, outcome: str, cancelled: str) -> None:
    """As it ends; but nobody is to be called again for a cancelled job."""
    world.add_job("j", "running", {"a": "dialing", "b": "dialing"})
    assert world.settle("j", "a", outcome) == outcome
    world.cancel("j")
    assert world.settle("j", "b", outcome) == cancelled
    assert world.row("j").statuses["b"] == cancelled


@pytest.mark.parametrize("status", [status for status in EVERY_CONTACT if status != "dialing"])
@pytest.mark.parametrize("outcome", ["busy", "completed"])
def test_only_a_live_call_ends(world: pairs.World, status: str | None, outcome: str) -> None:
    """Whatever else the contact is, it stays so, byte for byte."""
    world.add_job("j", "running", {"a": status})
    before = world.row("j")
    assert world.settle("j", "a", outcome) is None
    assert world.row("j") == before


def test_a_call_ends_once(world: pairs.World) -> None:
    """A webhook may come twice."""
    world.add_job("j", "running", ["dialing"])
    assert [world.settle("j", "0", "busy"), world.settle("j", "0", "failed")] == ["busy", None]
    assert world.row("j").statuses == {"0": "busy"}


@pytest.mark.parametrize("outcome", ["pending", "dialing", "cancelled", "voicemail"])
def test_no_call_ends_like_this(world: pairs.World, outcome: str) -> None:
    """It is refused before anything is asked of the store."""
    world.add_job("j", "running", ["dialing"])
    with pytest.raises(ValueError, match=outcome):
        world.settle("j", "0", outcome)
    assert world.row("j").statuses == {"0": "dialing"}


def test_a_contact_is_called_again_when_its_time_has_come(world: pairs.World) -> None:
    """And not before; without a time, at once."""
    world.add_job("j", "running", {"at once": "dialing", "due": "dialing", "later": "dialing"})
    world.settle("j", "at once", "busy")
    world.settle("j", "due", "no_answer", retry_at=now() - SECOND)
    world.settle("j", "later", "timeout", retry_at=now() + HOUR)
    assert world.claim("j") == ["at once", "due"]
    world.settle("j", "due", "busy", retry_at=now() + HOUR)
    assert world.claim("j") == []


def test_a_time_without_a_zone_is_refused(world: pairs.World) -> None:
    """Every store would take it for another time."""
    world.add_job("j", "running", ["dialing"])
    with pytest.raises(ValueError, match="aware"):
        world.settle("j", "0", "busy", retry_at=datetime(2031, 1, 1))  # noqa: DTZ001


# Expire ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", EVERY_JOB)
def test_calls_of_dead_workers_end_as_timeout_unless_the_job_is_cancelled(
    world: pairs.World, status: str | None
) -> None:
    """By the rule of any outcome, whatever the job is; the others stay byte for byte."""
    labelled = {f"{number}": status for number, status in enumerate(EVERY_CONTACT)}
    world.add_job("j", status, {**labelled, "young": "dialing", "old": "dialing"})
    world.add_job("k", "running", {"theirs": "dialing"})
    for label in (*labelled, "old"):
        world.make_old("j", label, 2 * HOUR)
    world.make_old("k", "theirs", 2 * HOUR)
    before = world.rows()

    assert world.expire("j", HOUR) == 2  # "old", and the one among every status.

    after = world.row("j").contacts
    due = "cancelled" if status == "cancelled" else "timeout"
    dialing = str(EVERY_CONTACT.index("dialing"))
    assert (after["old"][0], after[dialing][0]) == (due, due)
    for label in {*after} - {"old", dialing}:
        assert after[label] == before[JobKey("j")].contacts[label]
    assert world.row("j").status == status
    assert world.rows()[JobKey("k")] == before[JobKey("k")]
    assert world.expire("j", HOUR) == 0


def test_a_call_that_expired_is_dialled_again_at_once_and_is_young(world: pairs.World) -> None:
    """Also where it had a time for its next attempt before."""
    world.add_job("j", "running", {"a": "pending"})
    assert world.claim("j") == ["a"]
    assert world.settle("j", "a", "busy", retry_at=now() - SECOND) == "busy"
    assert world.claim("j") == ["a"]
    assert world.expire("j", HOUR) == 0
    world.make_old("j", "a", 2 * HOUR)
    assert world.expire("j", HOUR) == 1
    assert world.settle("j", "a", "completed") is None
    assert world.claim("j") == ["a"]
    assert world.expire("j", HOUR) == 0
    assert world.settle("j", "a", "completed") == "completed"


@pytest.mark.parametrize(("owner", "stranger"), [("acme", "evil"), ("acme", None), (None, "evil")])
def test_a_stranger_ends_no_calls(
    world: pairs.World, owner: str | None, stranger: str | None
) -> None:
    """No organization is one of its own, not a key to all."""
    world.add_job("j", "running", {"a": "dialing"}, organization_id=owner)
    world.make_old("j", "a", 2 * HOUR, owner)
    before = world.rows()
    assert world.expire("j", HOUR, organization_id=stranger) == 0
    assert world.rows() == before
    assert world.expire("j", HOUR, organization_id=owner) == 1


@pytest.mark.parametrize("job_id", ["missing", *STRANGE_IDS], ids=range(1 + len(STRANGE_IDS)))
def test_a_job_that_is_not_there_has_no_calls(world: pairs.World, job_id: str) -> None:
    """Whatever its id is made of."""
    world.add_job("j", "running", {"a": "dialing"})
    world.make_old("j", "a", 2 * HOUR)
    before = world.rows()
    assert world.expire(job_id, HOUR) == 0
    assert world.rows() == before


@pytest.mark.parametrize("age", [timedelta(0), -HOUR, timedelta(days=36_501)])
def test_an_age_that_makes_no_sense_is_refused(world: pairs.World, age: timedelta) -> None:
    """Before the store is asked."""
    with pytest.raises(ValueError, match="older_than must be positive"):
        world.expire("j", age)


def test_a_century_is_an_age(world: pairs.World) -> None:
    """Though no call is so old."""
    world.add_job("j", "running", {"a": "dialing"})
    assert world.expire("j", timedelta(days=36_500)) == 0
