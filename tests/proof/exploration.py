"""
The part of the proof that explores: every interleaving of the protocol, and wrong protocols found.

All scenarios are searched, the small ones also executed schedule by schedule; both counts must
agree. The short form leaves out the largest scenarios and most of the single schedules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import attrs

from batch_cancel.testing.explore import SCENARIOS, SIGHTINGS, execute, explore
from tests.proof.protocol_bugs.every import BUGS
from tests.proof.report import Row

WANTED_INTERLEAVINGS: Final = 1_000_000_000
WANTED_EXECUTED: Final = 1_000_000

_LARGEST: Final = ("everybody", "calls", "bulk-everybody", "bulk-conflict")
"""Left out of the short form."""

_LONGEST: Final = ("reconcile-lost", "node-small")
"""What takes longest to execute schedule by schedule."""

_SHORT_EXECUTED: Final = ("two", "ended")
"""What the short form executes schedule by schedule."""


@attrs.frozen
class Searched:
    """
    What a search of a scenario came to, without the coroutines.

    Arguments:
        name: the scenario.
        states: how many states there are.
        interleavings: how many schedules.
        found: the story of what does not hold.
        seen: what was seen of the events that must be seen.
        steps_taken: the steps by which somebody went on.
        steps_killed: those at which somebody was killed.
    """

    name: str
    states: int
    interleavings: int
    found: str | None
    seen: frozenset[str]
    steps_taken: frozenset[str]
    steps_killed: frozenset[str]


def searched(name: str) -> Searched:
    """Search a scenario through the states that its schedules share."""
    report = explore(SCENARIOS[name])
    return Searched(
        name,
        report.states,
        report.interleavings,
        None if report.found is None else str(report.found),
        frozenset(report.seen),
        frozenset(report.steps_taken),
        frozenset(report.steps_killed),
    )


def executed(name: str) -> tuple[str, int, str | None]:
    """Execute each schedule of a scenario by itself: how many, and what does not hold."""
    report = execute(SCENARIOS[name])
    return name, report.interleavings, None if report.found is None else str(report.found)


def bug_found(place: int) -> str | None:
    """Return what is wrong if a planted protocol is not found, or by another invariant."""
    bug = BUGS[place]
    found = explore(bug.scenario).found
    if found is None:
        return f"the planted protocol {bug.name!r} was not found: it breaks {bug.invariant}"
    if found.violation.invariant != bug.invariant:
        return f"{bug.name!r} breaks {bug.invariant}, and {found.violation} was said"
    return None


def rows(*, short: bool) -> list[Row]:
    """
    Explore, and give what it came to.

    Arguments:
        short: whether to leave out what takes long; then figures that take long are not asked for.
    """
    names = [name for name in SCENARIOS if not short or name not in _LARGEST]
    singly = [
        name
        for name, scenario in SCENARIOS.items()
        if (name in _SHORT_EXECUTED if short else scenario.one_by_one)
    ]
    if short:
        return _rows(map(searched, names), map(executed, singly), short=short)
    # The longest first, so that no process is left alone with one at the end.
    with ProcessPoolExecutor() as pool:
        together = pool.map(searched, sorted(names, key=lambda name: name not in _LARGEST))
        alone = pool.map(executed, sorted(singly, key=lambda name: name not in _LONGEST))
        return _rows(together, alone, short=short)


def _rows(
    together: Iterable[Searched], alone: Iterable[tuple[str, int, str | None]], *, short: bool
) -> list[Row]:
    reports = {it.name: it for it in together}
    singly = list(alone)
    interleavings = sum(it.interleavings for it in reports.values())
    schedules = sum(count for _, count, _ in singly)
    violations = [it.found for it in reports.values() if it.found is not None]
    violations += [found for _, _, found in singly if found is not None]
    differing = [
        f"{name}: {count} schedules were executed and {reports[name].interleavings} counted"
        for name, count, _ in singly
        if count != reports[name].interleavings
    ]
    bugs = [complaint for complaint in map(bug_found, range(len(BUGS))) if complaint is not None]
    return [
        Row("scenarios explored", f"{len(reports)}", "all"),
        Row("states", f"{sum(it.states for it in reports.values()):,}", "any"),
        Row(
            "interleavings covered",
            f"{interleavings:,}",
            f"{WANTED_INTERLEAVINGS:,}",
            [] if interleavings >= WANTED_INTERLEAVINGS else ["too few interleavings"],
        ),
        Row(
            "executed one by one",
            f"{schedules:,}",
            "as counted" if short else f"{WANTED_EXECUTED:,}",
            differing + ([] if short or schedules >= WANTED_EXECUTED else ["too few executed"]),
        ),
        Row("violations", f"{len(violations)}", "0", violations),
        _sightings(list(reports.values())),
        Row(
            "wrong protocols found",
            f"{len(BUGS) - len(bugs)} of {len(BUGS)}",
            f"{len(BUGS)}",
            bugs,
        ),
    ]


def _sightings(reports: Sequence[Searched]) -> Row:
    """Return which of the events that must be seen were not, a kill at every step among them."""
    seen = frozenset[str]().union(*(it.seen for it in reports))
    taken = frozenset[str]().union(*(it.steps_taken for it in reports))
    killed = frozenset[str]().union(*(it.steps_killed for it in reports))
    unseen = [f"never seen: {name}" for name in SIGHTINGS if name not in seen]
    spared = [f"nobody was killed where he {step}" for step in sorted(taken - killed)]
    wanted = len(SIGHTINGS) + 1
    return Row(
        "sometimes seen",
        f"{wanted - len(unseen) - bool(spared)} of {wanted}",
        "all",
        unseen + spared,
    )
