"""
What `make test` runs, and what it leaves to `make test-all`: what only repeats.

Rule 1: each test runs. Where it has parameters of several kinds, such as stores and statuses, each
        value of each kind runs; their cross product is left to `make test-all`. For the tests of
        the conformance kit, the classes that it is run on are such a kind.
Rule 2: of the worlds, a store with a scheduler, those of `tests.pairs.SHORT` run.
Rule 3: of a long list in `MATRICES` the first `FEW` values run, unless they name a part, such as a
        driver: whole matrices of tables, triggers and faults are left to `make test-all`.
Rule 4: a test or parameter that bears the mark `repeats` does not run. Those of which nothing runs
        are listed in `tests/unit/test_selection.py`.

A unit test takes no server and next to no time: all of them run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

MARK = "repeats"
APART = (MARK, "mysql")
ALL_OF = "tests/unit/"
KIT = "tests/contract/test_conformance.py::"
MATRICES = ("tests/faults/", "tests/integration/")
FEW: Final = 3
_PARTS = re.compile(
    "memory|postgres|psycopg|asyncpg|pgbouncer|mysql|mariadb|sqlite|sqlalchemy|alchemy|django"
    "|redis|valkey|native|cluster|sentinel|sharded|gate|apscheduler|arq|celery|docket|dramatiq"
    "|huey|procrastinate|rq|saq|taskiq|aiohttp|asgi|fastapi|flask|litestar|starlette|wsgi",
    re.IGNORECASE,
)
COLLECTED = pytest.StashKey[list[pytest.Item]]()
"""Where a run keeps all that it has collected, for `tests/unit/test_selection.py`."""


def mark_what_repeats(items: Iterable[pytest.Item]) -> None:
    """Mark each item that `make test` leaves out."""
    tests = defaultdict[str, list[pytest.Item]](list)
    for item in items:
        if not any(map(item.get_closest_marker, APART)) and not item.nodeid.startswith(ALL_OF):
            tests[function(item)].append(item)
    for candidates in tests.values():
        for item in _repeating(candidates):
            item.add_marker(MARK)


def function(item: pytest.Item) -> str:
    """Return what the items have in common that differ in their values alone."""
    name = item.nodeid.partition("[")[0]
    return KIT + name.rpartition("::")[2] if name.startswith(KIT) else name


def values(item: pytest.Item) -> set[tuple[int, str]]:
    """Return the id of the item's value for each `parametrize`, or fixture, numbered."""
    call: Any = getattr(item, "callspec", None)
    of_parameters = set[tuple[int, str]](enumerate(call._idlist)) if call else set()
    if item.nodeid.startswith(KIT):
        of_parameters.add((-1, item.nodeid.split("::")[1]))
    return of_parameters


def matrices(items: Iterable[pytest.Item]) -> set[tuple[int, str]]:
    """Return the values of one test that rule 3 leaves out."""
    lists = defaultdict[int, list[str]](list)
    for item in items:
        if item.nodeid.startswith(MATRICES):
            for number, value in sorted(values(item)):
                if value not in lists[number]:
                    lists[number].append(value)
    return {
        (number, value)
        for number, its in lists.items()
        if not any(map(_PARTS.search, its))
        for value in its[FEW:]
    }


def _repeating(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items of one test whose values all are met without them."""
    met = matrices(items)
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
