"""
Explore the shipped scenarios, or print one schedule.

python -m batch_cancel.testing.explore [--scenario NAME [--schedule '0 1 0k ...' | --one-by-one]]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from batch_cancel.testing.explore.invariants import INVARIANTS
from batch_cancel.testing.explore.scenarios import SCENARIOS
from batch_cancel.testing.explore.search import execute, explore, read, replay, story
from batch_cancel.testing.explore.state import Scenario


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask; 1 if an invariant does not hold."""
    parser = argparse.ArgumentParser(prog="python -m batch_cancel.testing.explore")
    parser.add_argument("--scenario", choices=SCENARIOS, metavar="NAME")
    parser.add_argument("--schedule", help="print this schedule")
    parser.add_argument("--one-by-one", action="store_true", help="share no states")
    parser.add_argument("--invariants", action="store_true", help="list what is checked")
    asked = parser.parse_args(arguments)
    if asked.invariants:
        print("\n".join(f"{name:4} {it.says}" for name, it in INVARIANTS.items()))  # noqa: T201
        return 0
    if asked.schedule is not None:
        if asked.scenario is None:
            parser.error("--schedule is one of a --scenario")
        return _narrate(SCENARIOS[asked.scenario], asked.schedule)
    names = SCENARIOS if asked.scenario is None else [asked.scenario]
    return max(_search(SCENARIOS[name], is_shared=not asked.one_by_one) for name in names)


def _narrate(scenario: Scenario, schedule: str) -> int:
    choices = read(schedule)
    violation = replay(scenario, choices)
    print("\n".join(story(scenario, choices)))  # noqa: T201  # It is a command.
    print(f"{violation.invariant}: {violation.what}" if violation else "all holds")  # noqa: T201
    return violation is not None


def _search(scenario: Scenario, *, is_shared: bool) -> int:
    report = explore(scenario) if is_shared else execute(scenario)
    print(  # noqa: T201  # It is a command.
        f"{scenario.name:16} {report.states:>10,} states {report.interleavings:>30,} interleavings"
    )
    if report.found is not None:
        print(report.found)  # noqa: T201  # It is a command.
    return report.found is not None


if __name__ == "__main__":
    sys.exit(main())
