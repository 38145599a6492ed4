"""
A sample of what `make faults` runs in full, in every world: nothing may come out wrong.

The samples are always the same ones, strewn over all kinds of faults. The tests of the fault table
meet each kind of fault in `make test`; the campaigns repeat it at every step.
"""

from __future__ import annotations

import pytest

from tests.faults import cancelled_tasks, cut_connections, kills, one_fault
from tests.faults.counts import Tally
from tests.faults.setups import open_stage
from tests.pairs import pairs

pytestmark = pytest.mark.repeats

AFTER_THE_STORE = frozenset({"Scheduler", "OnCancelled"})
EVERY = {"memory": 10, "memory-async": 10, "sqlite": 60, "postgres": 50, "postgres-async": 50}


@pytest.mark.parametrize("store", list(EVERY))
def test_single_faults_of_a_store(store: str, request: pytest.FixtureRequest) -> None:
    """Nothing changed or fully cancelled, a right answer, and all is well after a retry."""
    tally = Tally()
    with open_stage(store, "memory", request) as stage:
        one_fault.campaign(stage, tally, every=EVERY[store])
    tally.check()
    assert tally.total() > 30
    assert tally.seen["hang"]


@pytest.mark.parametrize(("store", "scheduler"), [pair for pair in pairs() if pair[1] != "memory"])
def test_single_faults_of_a_scheduler(
    store: str, scheduler: str, request: pytest.FixtureRequest
) -> None:
    """No failure after the commit, and no start that was not confirmed is said to be removed."""
    tally = Tally()
    with open_stage(store, scheduler, request) as stage:
        every = 3 if store.startswith("memory") else 15
        one_fault.campaign(stage, tally, every=every, only_roots=AFTER_THE_STORE)
    tally.check()
    assert tally.total() > 3


@pytest.mark.parametrize("name", cut_connections.LINES)
def test_cut_lines(name: str, request: pytest.FixtureRequest) -> None:
    """Cut at any byte; a COMMIT whose answer was lost is looked up, by its operation."""
    tally = Tally()
    with cut_connections.open_line(name, request) as line:
        cut_connections.campaign(line, tally, 20)
    tally.check()
    assert tally.total() > 20
    if name.startswith("postgres"):
        assert tally.seen["COMMIT lost, then nothing changed"]
        assert tally.seen["COMMIT's answer lost, then fully cancelled"]


@pytest.mark.parametrize(("store", "scheduler"), kills.PLACES)
def test_kill_9(store: str, scheduler: str, request: pytest.FixtureRequest) -> None:
    """A process that dies anywhere leaves one of two states, and nothing that cannot be done."""
    tally = Tally()
    with kills.open_place(store, scheduler, request) as (place, stage):
        kills.campaign(place, stage, tally, repeats=1, every=10)
    tally.check()
    assert tally.total() > 3


@pytest.mark.parametrize(
    ("store", "scheduler"),
    [
        ("memory-async", "memory"),
        ("memory-async", "redis"),
        ("postgres-async", "redis"),
    ],
)
def test_tasks_cancelled(store: str, scheduler: str, request: pytest.FixtureRequest) -> None:
    """CancelledError comes through from every wait, and all connections are as before."""
    tally = Tally()
    with open_stage(store, scheduler, request) as stage:
        cancelled_tasks.campaign(stage, tally)
    tally.check()
    for state in ("nothing changed", "fully cancelled"):
        assert tally.seen[f"{cancelled_tasks.GROUP}: {store}, cancel, {state}"]


def test_tasks_cancelled_on_new_connections(request: pytest.FixtureRequest) -> None:
    """The opening of a connection can be called off as well."""
    tally = Tally()
    with cut_connections.open_line("postgres-async", request) as line:
        cancelled_tasks.campaign(line.stage, tally, scenarios=cancelled_tasks.INTERRUPTED[:1])
    tally.check()
    assert tally.total() > 20
