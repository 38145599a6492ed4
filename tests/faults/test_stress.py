"""
The stress, in short: nothing is found in what we ship, and every planted bug is.

The races themselves are held at the point that matters by other tests, which `make test` runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import stress
from tests.faults.stress_waits import lock_waits
from tests.faults.stress_workers import PLANTS, Naive, Sweeping
from tests.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.repeats

ROUNDS = 300
"""So many rounds must be enough to find each planted bug."""

SEEN = (
    "start: True",
    "start: False",
    "contact claimed",
    "claim after the answer",
    "call ended final: kept",
    "call ended to be retried: kept",
    "call ended to be retried: cancelled",
    "append: True",
    "append: False",
    "finish: True",
    "finish: False",
    "cancel of a scheduled job: cancelled from scheduled",
    "cancel of a scheduled job: cancelled from running",
    "cancel of a running job: cancelled from running",
    "cancel of a draining job: cancelled from running",
    "cancel of a draining job: found completed",
)
"""What must have happened, or the run has shown nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Yield a server that remembers when each transaction was committed."""
    with PostgresServer.own(settings=stress.SETTINGS) as it:
        yield it


@pytest.fixture
def dsn(server: PostgresServer) -> Iterator[str]:
    """Yield a schema of the test's own."""
    with server.schema() as it:
        yield it


def test_sixteen_workers_and_a_cancel(dsn: str) -> None:
    """No call after the 200, nothing left to call, no deadlock; and all of it was put to test."""
    found = stress.Stress(dsn).run(ROUNDS)
    assert found.is_right, stress.table(found)
    assert [what for what in SEEN if not found.seen[what]] == []


def test_sixteen_workers_and_a_cancel_that_sweeps(dsn: str) -> None:
    """The job first, and then its contacts two by two: the same holds, and the count is exact."""
    found = stress.Stress(dsn, Sweeping).run(ROUNDS)
    assert found.is_right, stress.table(found)
    assert [what for what in SEEN if not found.seen[what]] == []


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_caught(dsn: str, plant: str) -> None:
    """A worker, or a cancel, that does one step as it is done everywhere."""
    found = stress.Stress(dsn, PLANTS[plant]).run(ROUNDS, stop_at_first=True)
    assert found.first is not None, stress.table(found)


def test_the_triggers_do_not_get_in_the_way(dsn: str) -> None:
    """With `batch-cancel schema --guards`, everything is as before; no deadlock comes of them."""
    found = stress.Stress(dsn, guards=True).run(50)
    assert found.is_right, stress.table(found)


def test_the_triggers_repair_naive_workers(dsn: str) -> None:
    """With them, the planted bugs do no harm to a cancelled job."""
    found = stress.Stress(dsn, Naive, guards=True).run(100)
    # No trigger keeps a naive writer from adding to a job that is just being completed.
    wrong = {promise for promise in found.wrong if promise != "completed jobs with work left"}
    assert not wrong, stress.table(found)
    assert not found.errors, stress.table(found)


def test_the_wait_for_the_job_is_measured(dsn: str) -> None:
    """`--lock-waits` tells the figures; here it is only seen to work."""
    waits = lock_waits(dsn, 5, 1)
    assert len(waits) == 5
    assert waits == sorted(waits)
