"""Single faults: at every call of every port, in every way it can fail, in every situation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from batch_cancel import JobKey
from tests.faults.counts import Tally, is_in_sample
from tests.faults.expected import (
    FULLY_CANCELLED,
    NOTHING_CHANGED,
    answer_complaints,
    fault_complaints,
    kept_note_from_being_taken,
    recovery_complaints,
    state_of,
)
from tests.faults.fault_kinds import FaultKind, Hang, Step, kinds_at
from tests.faults.injection import Plan
from tests.faults.points import Point
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.setups import Look, Stage

GROUP = "single faults"

WITH_A_START = tuple(scenario for scenario in SCENARIOS if scenario.has_start)


@attrs.frozen
class Case:
    """
    One fault in one situation.

    Arguments:
        scenario: the situation.
        number: the number of the call that fails.
        point: which call that is.
        kind: how it fails.
        besides: what else fails, so that it comes to that call.
    """

    scenario: Scenario
    number: int
    point: Point
    kind: FaultKind
    besides: tuple[tuple[int, FaultKind], ...] = ()

    def __str__(self) -> str:
        return f"{self.scenario.name}, call {self.number} {self.point}, {self.kind}"


def cases(stage: Stage, scenarios: Sequence[Scenario] = SCENARIOS) -> Iterator[Case]:
    """Return every case of a stage: each call that is made there, failing in every way."""
    for scenario in scenarios:
        for number, point in enumerate(_calls(stage, scenario)):
            for kind in kinds_at(point):
                if not _asks_for_a_sweep(stage, point, kind):
                    yield Case(scenario, number, point, kind)
    if stage.is_repeatable and SCENARIOS[0] in scenarios:
        yield from _between_attempts(stage)


def _asks_for_a_sweep(stage: Stage, point: Point, kind: FaultKind) -> bool:
    """Check whether None is an answer here: to a store that sweeps it means too many contacts."""
    answers = point.port.endswith("ContactRepository") and point.member == "cancel"
    return answers and kind.name == "garbage None" and stage.store.startswith("postgres")


def _between_attempts(stage: Stage) -> Iterator[Case]:
    """Return the cases of what is only called between two attempts."""
    scenario = SCENARIOS[0]
    lock = next(n for n, point in enumerate(_calls(stage, scenario)) if point.member == "lock")
    point = _calls(stage, scenario)[lock]
    conflict = next(kind for kind in kinds_at(point) if "(unchanged, conflict)" in kind.name)
    besides = ((lock, conflict),)
    for number, called in enumerate(_calls(stage, scenario, besides)):
        if called.port == "RepeatableUnitOfWork":
            for kind in kinds_at(called):
                yield Case(scenario, number, called, kind, besides)


def _calls(
    stage: Stage, scenario: Scenario, besides: tuple[tuple[int, FaultKind], ...] = ()
) -> list[Point]:
    plan = Plan(besides=dict(besides))
    stage.set_up(scenario)
    stage.play(scenario, plan, lambda: None)
    stage.reconcile()  # Nothing owed is left over for the next one.
    return plan.calls


def run(case: Case, stage: Stage) -> list[str]:
    """Play one case, and say what was wrong."""
    stage.set_up(case.scenario)
    assert stage.before is not None
    key = JobKey(stage.job_id)
    plan = Plan(case.number, case.kind, besides=dict(case.besides))
    during: list[Look] = []
    answer = stage.play(case.scenario, plan, lambda: during.append(stage.look_meanwhile()))
    if plan.struck != case.point:
        return [f"the call did not come: {plan.struck}"]
    wrong: list[str] = []
    after = stage.look()
    for look in during:
        meanwhile = state_of(case.scenario, stage.before, look, key)
        if meanwhile not in {NOTHING_CHANGED, FULLY_CANCELLED}:
            wrong.append(f"meanwhile {meanwhile}")
    state = state_of(case.scenario, stage.before, after, key)
    record = stage.record(case.scenario)
    wrong += fault_complaints(case.scenario, plan, stage, answer, state)
    wrong += answer_complaints(
        case.scenario,
        answer,
        state,
        record,
        starts_waiting=stage.start_id in after.waiting,
    )
    wrong += recovery_complaints(
        stage,
        case.scenario,
        state,
        answer,
        may_tell_twice=kept_note_from_being_taken(plan, after),
    )
    return wrong


def group_of(kind: FaultKind) -> str:
    """Return the row of the table that counts this kind."""
    if kind.name.startswith("store failed"):
        name = "store failed"
    elif kind.name in {"driver's error", "connection reset"}:
        name = "error unknown to us"
    elif kind.name in {"KeyboardInterrupt", "CancelledError"}:
        name = kind.name
    elif kind.name.startswith("garbage"):
        name = "garbage"
    else:
        name = kind.name
    when = {
        Step.BEFORE: "before",
        Step.AFTER: "did it, then this",
        Step.INSTEAD: "instead",
    }[kind.step]
    return f"{name}, {when}"


def adapter_of(stage: Stage, point: Point) -> str:
    """Return the adapter that a fault was injected into."""
    if point.root != "Scheduler" or stage.scheduler == "sqlite":
        return stage.store
    return stage.scheduler


def campaign(
    stage: Stage, tally: Tally, *, every: int = 1, only_roots: frozenset[str] | None = None
) -> None:
    """
    Run the cases of a stage.

    Arguments:
        stage: where.
        tally: counts them.
        every: run every so many-th case only; the kinds and the calls are mixed all the same.
        only_roots: run the cases of these root ports only, where there is a deferred start.
    """
    chosen = list(cases(stage) if only_roots is None else cases(stage, WITH_A_START))
    if only_roots is not None:
        chosen = [case for case in chosen if case.point.root in only_roots]
    for number, case in enumerate(chosen):
        if not is_in_sample(number, every):
            continue
        complaints = run(case, stage)
        what = f"{stage.store}+{stage.scheduler}: {case}"
        tally.add(GROUP, group_of(case.kind), adapter_of(stage, case.point), complaints, what)
        tally.seen[f"{case.point}"] += 1
        if isinstance(case.kind.effect, Hang):
            tally.seen["hang"] += 1
