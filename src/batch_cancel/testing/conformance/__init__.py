"""
The conformance kit: subclass a class, give it your adapter, and pytest runs the whole suite on it.

    class TestOurStore(StoreConformance): ...
    class TestOurScheduler(SchedulerConformance): ...
    class TestOurs(StoreConformance, SchedulerConformance): ...  # both, and one with the other

Every test is named after the invariant of the protocol that it checks. Nothing is a matter of
luck: where two parties meet, one of them is held at the point that matters.
"""

from __future__ import annotations

from collections.abc import Iterator

try:
    import pytest
    from hypothesis.stateful import run_state_machine_as_test
except ModuleNotFoundError as _missing:
    _MISSING = "batch_cancel.testing.conformance needs more: pip install 'batch_cancel[testing]'"
    raise ModuleNotFoundError(_MISSING, name=_missing.name) from _missing

from batch_cancel.testing.adapter import IdKind, JobRow
from batch_cancel.testing.conformance.bulk import BulkConformance
from batch_cancel.testing.conformance.cancel import CancelConformance
from batch_cancel.testing.conformance.expiry import ExpiryConformance
from batch_cancel.testing.conformance.faults import FaultConformance
from batch_cancel.testing.conformance.history import HistoryConformance
from batch_cancel.testing.conformance.ids import IdConformance
from batch_cancel.testing.conformance.inspection import InspectionConformance
from batch_cancel.testing.conformance.outcomes import OutcomeConformance
from batch_cancel.testing.conformance.overview import OverviewConformance
from batch_cancel.testing.conformance.races import RaceConformance
from batch_cancel.testing.conformance.reading import ReadingConformance
from batch_cancel.testing.conformance.reconcile import ReconcileConformance
from batch_cancel.testing.conformance.replay import ReplayConformance
from batch_cancel.testing.conformance.scheduler import SchedulerConformance
from batch_cancel.testing.conformance.sweep import SweepConformance
from batch_cancel.testing.conformance.times import TimeConformance
from batch_cancel.testing.conformance.transactions import TransactionConformance
from batch_cancel.testing.conformance.turns import TurnConformance
from batch_cancel.testing.conformance.workers import WorkerConformance
from batch_cancel.testing.invariants import promise
from batch_cancel.testing.state_machine import CancelMachine
from batch_cancel.testing.world import World

__all__ = ["IdKind", "JobRow", "SchedulerConformance", "StoreConformance"]


class StoreConformance(
    CancelConformance,
    TransactionConformance,
    FaultConformance,
    OutcomeConformance,
    RaceConformance,
    WorkerConformance,
    ExpiryConformance,
    TimeConformance,
    ReadingConformance,
    IdConformance,
    ReplayConformance,
    ReconcileConformance,
    TurnConformance,
    InspectionConformance,
    OverviewConformance,
    HistoryConformance,
    BulkConformance,
    SweepConformance,
):
    """The suite for a store: give `fresh`, `uow`, `seed` and `dump`."""

    @pytest.fixture
    def world(self) -> Iterator[World]:
        """Yield an empty store."""
        world = World(self)
        yield world
        world.close()

    @promise(
        "I20",
        cause="read the steps from the top: the last one is where your adapter and the contract "
        "part.",
    )
    def test_i20_whatever_is_done_the_contract_says_what_comes_of_it(self, world: World) -> None:
        """Random steps on a few jobs, each compared with a model of the contract."""
        run_state_machine_as_test(CancelMachine.on(world), settings=CancelMachine.STANDARD)
