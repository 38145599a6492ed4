"""No fault at any call of a cancel of many jobs leaves a job half cancelled, or counted twice."""

from __future__ import annotations

import pytest

from tests.faults import bulks, kills
from tests.faults.counts import Tally
from tests.faults.setups import open_stage


def test_single_faults_of_many_jobs(request: pytest.FixtureRequest) -> None:
    """Each job as it was or fully cancelled, once in the counts, and all is well after that."""
    check_single_faults("memory", "memory", 10, request)


@pytest.mark.repeats
@pytest.mark.parametrize(
    ("store", "scheduler", "every"),
    [
        ("memory-async", "memory", 10),
        ("sqlite", "sqlite", 60),
        ("postgres", "redis", 17),
        ("postgres-async", "redis", 17),
    ],
)
def test_single_faults_of_many_jobs_of_the_other_stores(
    store: str, scheduler: str, every: int, request: pytest.FixtureRequest
) -> None:
    """Likewise."""
    check_single_faults(store, scheduler, every, request)


def check_single_faults(
    store: str, scheduler: str, every: int, request: pytest.FixtureRequest
) -> None:
    """Let a sample of the calls of a bulk fail."""
    tally = Tally()
    with open_stage(store, scheduler, request) as stage:
        bulks.campaign(stage, tally, every=every)
    tally.check()
    for done in range(4):
        seen = done == 1 or tally.seen[f"{bulks.GROUP}: {done} cancelled"]
        assert seen, f"never were {done} cancelled"
    assert tally.seen[f"{bulks.GROUP}: BulkRepository.lock"]
    if scheduler == "redis":
        assert tally.seen[f"{bulks.GROUP}: BulkScheduler.cancel_many"]


@pytest.mark.repeats
@pytest.mark.parametrize(("store", "scheduler"), [("sqlite", "sqlite"), ("postgres", "redis")])
def test_kill_9_of_many_jobs(store: str, scheduler: str, request: pytest.FixtureRequest) -> None:
    """A process that dies anywhere leaves each job in one of two states; the next one goes on."""
    tally = Tally()
    with kills.open_place(store, scheduler, request) as (place, stage):
        bulks.campaign_of_kills(place, stage, tally, every=8)
    tally.check()
    assert tally.total() > 3
