"""
What `make test` runs, and what it leaves to `make test-all`: what only repeats.

Rule 1: each test runs. Where it has parameters of several kinds, such as stores and statuses, each
        value of each kind runs; their cross product is left to `make test-all`.
Rule 2: of the worlds, a store with a scheduler, those of `tests.pairs.SHORT` run.
Rule 3: a test or parameter that bears the mark `repeats` does not run. Those of which nothing runs
        are listed in `tests/unit/test_selection.py`.

A unit test takes no server and next to no time: all of them run.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

MARK = "repeats"
ALL_OF = "tests/unit/"
COLLECTED = pytest.StashKey[list[pytest.Item]]()
"""Where a run keeps all that it has collected, for `tests/unit/test_selection.py`."""


def mark_what_repeats(items: Iterable[pytest.Item]) -> None:
    """Mark each item that `make test` leaves out."""
    tests = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if item.get_closest_marker(MARK) is None and not item.nodeid.startswith(ALL_OF):
            tests[function(item)].append(item)
    for candidates in tests.values():
        for item in _repeating(candidates):
            item.add_marker(MARK)


def function(item: pytest.Item) -> str:
    """Return what the items have in common that differ in their parameters alone."""
    return item.nodeid.partition("[")[0]


def values(item: pytest.Item) -> set[tuple[int, str]]:
    """Return the id of the item's value for each `parametrize`, or fixture, numbered."""
    call: Any = getattr(item, "callspec", None)
    return set(enumerate(call._idlist)) if call else set()


def _repeating(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items of one test whose values all are met without them."""
    met = set[tuple[int, str]]()
    left = items
    # First those that bring something new of every kind: as few as can be suffice then.
    for new in range(len(values(items[0])), 0, -1):
        rest = list[pytest.Item]()
        for item in left:
            if len(values(item) - met) >= new:
                met |= values(item)
            else:
                rest.append(item)
        left = rest
    return left if values(items[0]) else []
