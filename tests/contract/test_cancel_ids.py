"""The contract of cancelling: ids and texts of any bytes, and what no store can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch_cancel import (
    JobNotFound,
)
from batch_cancel.presenter import present_error
from tests.contract.contacts import CONTACTS

if TYPE_CHECKING:
    from tests.pairs import World

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
