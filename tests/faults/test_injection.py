"""The faults are generated from the ports, all of them, and strike as they say."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import ports
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork
from tests.faults import bulks, one_fault
from tests.faults.fault_kinds import Answer, Step, kinds_at
from tests.faults.injection import Plan, faulty
from tests.faults.points import HOOK, Shape, all_ports, capabilities, points
from tests.faults.scenarios import SCENARIOS
from tests.faults.setups import open_stage

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_OF_A_CANCEL = {
    "AutocommitUnitOfWork",  # For workers' steps alone.
    *("WorkRepository", "ReadingWorkRepository", "InspectionRepository"),
    *("InspectableScheduler", "Checkable"),
    *("ReportingRepositories", "OverviewRepository", "HistoryRepository"),
    *("SweepRepositories", "SweepRepository"),  # Called by that of a large job: test_sweeps.py.
}
"""Ports that a cancel, of one job or of many, and a reconcile never call."""


def test_every_method_of_every_port_is_a_point() -> None:
    """Counted the plain way: the public names that the Protocols define."""
    of_points = {(point.port, point.member) for point in _of_both_twins()}
    by_hand = {
        (port.__name__.removeprefix("Async"), name)
        for port in all_ports()
        for name, value in vars(port).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }
    assert {member for member in by_hand if member[0] not in NOT_OF_A_CANCEL} <= of_points
    assert len(of_points) >= 11


def test_the_twins_have_the_same_points() -> None:
    """Whatever can fail in one half can fail in the other."""
    half = {str(point) for point in points(UnitOfWork, Scheduler)}
    assert half == {str(point) for point in points(AsyncUnitOfWork, AsyncScheduler)}


@pytest.mark.parametrize("store", ["postgres", "postgres-async"])
def test_the_scenarios_come_to_every_point(store: str, request: pytest.FixtureRequest) -> None:
    """A port's method that no scenario calls would be faulted nowhere."""
    own = {"JoiningUnitOfWork"}  # Its transactions are: the memory store's may be the caller's.
    with open_stage(store, "memory", request) as stage:
        called = {str(case.point) for case in one_fault.cases(stage)}
    with open_stage(store, "redis", request) as stage:
        called |= {str(case.point) for case in bulks.cases(stage)}
    wanted = {
        str(point) for point in _of_both_twins() if point.port not in NOT_OF_A_CANCEL | own
    } - {f"Repositories.{name}" for name in ("work", "inspection")}
    assert called == wanted | {str(HOOK)}


def test_a_capability_is_kept() -> None:
    """A faulty store can be begun again if, and only if, the store itself can."""

    class Repeatable(MemoryStore):
        def pause(self, attempts: int) -> None:
            """Wait for nothing."""

    plain: Any = faulty(UnitOfWork, MemoryStore(), Plan())
    repeatable: Any = faulty(UnitOfWork, Repeatable(), Plan())
    assert not isinstance(plain, ports.RepeatableUnitOfWork)
    assert isinstance(repeatable, ports.RepeatableUnitOfWork)
    assert ports.RepeatableUnitOfWork not in capabilities(UnitOfWork, MemoryStore())


def test_no_kind_of_fault_lies() -> None:
    """No adapter says that a commit which happened did not, or that one happened which did not."""
    ends = [point for point in points(UnitOfWork) if point.is_exit]
    assert len(ends) == 1
    for kind in kinds_at(ends[0]):
        assert kind.step is not Step.INSTEAD
        assert not (kind.step is Step.AFTER and "unchanged" in kind.name)


def test_a_fault_before_does_nothing_and_a_fault_after_does_it() -> None:
    """Seen in the scheduler: its start waits, or is gone."""
    [point] = [point for point in points(Scheduler) if point.member == "cancel"]
    for kind in kinds_at(point):
        if kind.name == "hang":
            continue
        made: list[str] = []
        plan = Plan(0, kind)
        scheduler = faulty(Scheduler, _Recording(made.append), plan)
        if isinstance(kind.effect, Answer):
            assert scheduler.cancel("start", "operation") is kind.effect.garbage
        else:
            with pytest.raises(BaseException) as raised:  # noqa: PT011  # Of any class.
                scheduler.cancel("start", "operation")
            assert raised.value is plan.raised
        assert bool(made) == (kind.step is Step.AFTER), kind


def test_a_commit_that_fails_is_rolled_back() -> None:
    """A transaction whose end is struck before it happened leaves nothing, and no lock."""
    store = MemoryStore()
    store.add_job("job", "running")
    [end] = [point for point in points(UnitOfWork) if point.shape is Shape.EXIT]
    plan = Plan(2, next(kind for kind in kinds_at(end) if kind.step is Step.BEFORE))
    uow = faulty(UnitOfWork, store, plan)
    with pytest.raises(Exception, match="injected"), uow.begin():
        pass
    assert plan.struck == end
    with store.begin() as repositories:
        assert repositories.jobs is not None


def test_an_untouched_plan_changes_nothing() -> None:
    """With no fault a faulty scheduler is the scheduler."""
    scheduler = faulty(Scheduler, MemoryScheduler(), plan := Plan())
    assert scheduler.cancel("start", "operation") is False
    assert [str(point) for point in plan.calls] == ["Scheduler.cancel"]
    assert plan.struck is None


def test_scenarios_are_distinguished_by_name() -> None:
    """Complaints name them."""
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


class _Recording:
    def __init__(self, note: Callable[[str], object]) -> None:
        self._note = note

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        self._note(deferred_id)
        return True


def _of_both_twins() -> set[Any]:
    return points(UnitOfWork, Scheduler) | points(AsyncUnitOfWork, AsyncScheduler)
