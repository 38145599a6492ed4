"""
All schedules of a scenario: counted through the states that they share, or executed one by one.

The search goes level by level: all states after one step, after two, and so on. The number of ways
to a state is the sum over the states one level above, and the number of interleavings is the sum
over the states where nothing can happen any more.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from batch_cancel.testing.explore.actor_state import Actor, Recalled
from batch_cancel.testing.explore.checks import Violation, check, check_rest
from batch_cancel.testing.explore.moment import Moment
from batch_cancel.testing.explore.must_happen import BY_KIND
from batch_cancel.testing.explore.scenarios import SCENARIOS
from batch_cancel.testing.explore.state import (
    ARRIVES,
    FAULTS,
    GOES_ON,
    Choice,
    Scenario,
    State,
    World,
)

_logger: Final = logging.getLogger("batch_cancel")

Schedule = Sequence[Choice]


@attrs.frozen
class Found:
    """
    An invariant that does not hold, and the shortest schedule that breaks it.

    Arguments:
        scenario: the scenario.
        violation: what does not hold.
        schedule: what happened.
    """

    scenario: Scenario
    violation: Violation
    schedule: Schedule

    def __str__(self) -> str:
        narrated = "\n".join(story(self.scenario, self.schedule))
        schedule = written(self.schedule)
        again = f"print(*story(scenario, read('{schedule}')), sep='\\n')"
        if SCENARIOS.get(self.scenario.name) is self.scenario:
            again = (
                "python -m batch_cancel.testing.explore "
                f"--scenario {self.scenario.name} --schedule '{schedule}'"
            )
        return (
            f"{self.violation.invariant} does not hold in scenario {self.scenario.name!r}: "
            f"{self.violation.what}\n{narrated}\nAgain: {again}"
        )


@attrs.define
class Report:
    """
    What a search came to.

    Arguments:
        scenario: what was searched.
        states: how many different states there are.
        interleavings: how many schedules.
        found: an invariant that does not hold; the search ended there.
        seen: which of `SIGHTINGS` were seen.
        steps_taken: by which steps it went on, in words.
        steps_killed: the steps at which an actor was killed, in words.
    """

    scenario: Scenario
    states: int = 0
    interleavings: int = 0
    found: Found | None = None
    seen: set[str] = attrs.field(factory=set[str])
    steps_taken: set[str] = attrs.field(factory=set[str])
    steps_killed: set[str] = attrs.field(factory=set[str])

    def holds(self) -> bool:
        """Whether nothing was found."""
        return self.found is None

    def note(self, moment: Moment) -> None:
        """Note what is to be seen of this moment."""
        step = moment.step
        if step is not None and moment.how == "k":
            self.steps_killed.add(step.says)
        elif step is not None and moment.how == GOES_ON:
            self.steps_taken.add(step.says)
        for kind in moment.kinds:
            for name, is_seen in BY_KIND.get(kind, ()):
                if name not in self.seen and is_seen(moment):
                    self.seen.add(name)


@contextmanager
def _silent() -> Generator[None]:
    """Keep the library's log silent: it would report each of a million failed removals."""
    was, _logger.disabled = _logger.disabled, True
    try:
        yield
    finally:
        _logger.disabled = was


def explore(scenario: Scenario) -> Report:
    """
    Search all schedules of a scenario through the states that they share.

    What is found is found with the shortest schedule that leads there.
    """
    with _silent():
        report = Report(scenario)
        for _ in _levels(scenario, report, trail=None):
            pass
        if report.found is not None:
            trail: list[dict[State, tuple[State, Choice]]] = []
            again = Report(scenario)
            for _ in _levels(scenario, again, trail):
                pass
            report.found = again.found
        return report


def _levels(
    scenario: Scenario,
    report: Report,
    trail: list[dict[State, tuple[State, Choice]]] | None,
) -> Generator[None]:
    world, rest = World(scenario), _Rest(scenario, report)
    level = {world.first(): 1}
    while level:
        report.states += len(level)
        following: defaultdict[State, int] = defaultdict(int)
        came_from: dict[State, tuple[State, Choice]] = {}
        for state, ways in level.items():
            choices = world.choices(state)
            if not choices:
                report.interleavings += ways
                violation = rest.check(world, state)
                if violation is not None:
                    report.found = _found(scenario, violation, trail, state, None)
                    return
            for choice in choices:
                after = world.after(state, choice)
                moment = Moment(scenario, state, choice, after)
                violation = check(moment)
                if violation is not None:
                    report.found = _found(scenario, violation, trail, state, choice)
                    return
                following[after] += ways
                report.note(moment)
                if trail is not None:
                    came_from.setdefault(after, (state, choice))
        if trail is not None:
            trail.append(came_from)
        level = dict(following)
        yield


def _found(
    scenario: Scenario,
    violation: Violation,
    trail: list[dict[State, tuple[State, Choice]]] | None,
    state: State,
    choice: Choice | None,
) -> Found:
    schedule = [] if choice is None else [choice]
    for came_from in reversed(trail or []):
        state, earlier = came_from[state]
        schedule.append(earlier)
    return Found(scenario, violation, schedule[::-1])


class _Rest:
    """What is checked once all is at rest: reconcile passes twice, undisturbed."""

    def __init__(self, scenario: Scenario, report: Report) -> None:
        reconcile = Actor("reconcile at rest", scenario.reconcile)
        self._alone = attrs.evolve(scenario, actors=(reconcile,), faults="")
        self._mind = Recalled(reconcile)
        self._scenario = scenario
        self._report = report
        self._known: dict[object, tuple[State, Violation | None]] = {}

    def check(self, world: World, state: State) -> Violation | None:
        key = (state.rows, state.starts)
        if key not in self._known:
            self._known[key] = self._reconciled(world, state)
        after, violation = self._known[key]
        return check_rest(self._scenario, state, after) or violation

    def _reconciled(self, world: World, state: State) -> tuple[State, Violation | None]:
        first, violation = self._pass(world, state)
        second, another = self._pass(world, first)
        if first[:2] != second[:2]:
            another = Violation("I21", "at rest: a second pass of reconcile changed something")
        return first, violation or another

    def _pass(self, world: World, state: State) -> tuple[State, Violation | None]:
        state = State(state.rows, state.starts, (self._mind,), ((),), (), (0,) * len(FAULTS))
        found: Violation | None = None
        while choices := world.choices(state):
            after = world.after(state, choices[0])
            moment = Moment(self._alone, state, choices[0], after)
            found = found or check(moment)
            self._report.note(moment)
            state = after
        return state, found


def execute(scenario: Scenario) -> Report:
    """
    Execute all schedules of a scenario one by one, each from its beginning.

    Nothing is shared between two of them; only what is the same as in the schedule before is not
    checked again. `states` counts those passed through, again and again.
    """
    with _silent():
        report = Report(scenario)
        world, rest = World(scenario, is_live=True), _Rest(scenario, report)
        path: list[Choice] = []
        others: list[list[Choice]] = []
        while report.holds():
            state = world.first()
            for index, choice in enumerate(path, 1):
                state = _happened(world, state, choice, report if index == len(path) else None)
            while report.holds() and (choices := world.choices(state)):
                path.append(choices[0])
                others.append(choices[1:])
                state = _happened(world, state, choices[0], report)
            report.interleavings += 1
            violation = rest.check(world, state) if report.holds() else None
            if violation is not None:
                report.found = Found(scenario, violation, ())
            for mind in state.minds:
                mind.close()
            if report.found is not None:
                report.found = attrs.evolve(report.found, schedule=tuple(path))
                break
            while others and not others[-1]:
                others.pop()
                path.pop()
            if not others:
                break
            path[-1] = others[-1].pop()
        return report


def _happened(world: World, state: State, choice: Choice, report: Report | None) -> State:
    """Return the state after; what the report does not know yet is checked and noted."""
    after = world.after(state, choice)
    if report is not None:
        moment = Moment(world.scenario, state, choice, after)
        report.states += 1
        report.note(moment)
        violation = check(moment)
        if violation is not None:
            report.found = Found(world.scenario, violation, ())
    return after


def replay(scenario: Scenario, schedule: Schedule) -> Violation | None:
    """Execute one schedule, and give the invariant that it breaks."""
    with _silent():
        world = World(scenario, is_live=True)
        state = world.first()
        for choice in schedule:
            after = world.after(state, choice)
            violation = check(Moment(scenario, state, choice, after))
            if violation is not None:
                return violation
            state = after
        if world.choices(state):
            return None
        return _Rest(scenario, Report(scenario)).check(world, state)


def story(scenario: Scenario, schedule: Schedule) -> list[str]:
    """Return the story of a schedule: which actor did what, and what it was answered."""
    with _silent():
        world = World(scenario)
        state = world.first()
        return list(_narrated(world, state, schedule))


def _narrated(world: World, state: State, schedule: Schedule) -> Iterable[str]:
    for number, choice in enumerate(schedule, 1):
        after = world.after(state, choice)
        moment = Moment(world.scenario, state, choice, after)
        step = moment.step
        says = step.says if step else "is at rest"
        if moment.who < 0:
            end = "arrives after all" if moment.how == ARRIVES else "never arrives"
            says = f"what it sent last ({says}) {end}"
        elif moment.how != GOES_ON:
            says = f"{FAULTS[moment.how]} where it {says}"
        elif moment.answer is not None:
            says = f"{says}: {moment.answer!r}"
        if moment.who >= 0 and (ended := moment.mind.ended) is not None:
            end = repr(ended.value) if ended.error is None else repr(ended.error)
            says = f"{says} -> ends with {end}"
        yield f"{number:4}  {moment.actor:<12} {says}"
        state = after


def written(schedule: Schedule) -> str:
    """Write a schedule as one word for each choice."""
    return " ".join(f"{who}{how}" for who, how in schedule)


def read(text: str) -> list[Choice]:
    """
    Read a schedule that was written.

    Raises:
        ValueError: it is none.
    """
    return [
        (int(word[:-1]), word[-1]) if word[-1].isalpha() else (int(word), GOES_ON)
        for word in text.split()
    ]
