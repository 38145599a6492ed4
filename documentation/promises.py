"""The promises, each with the tests that would find it broken, for docs/promises.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Final

from batch_cancel.testing.invariants import INVARIANTS
from documentation.sections import filled

ROOT: Final = Path(__file__).parents[1]
KIT: Final = ROOT / "src" / "batch_cancel" / "testing" / "conformance"
BUGS: Final = ROOT / "tests" / "proof" / "protocol_bugs"

OF_A_LIBRARY: Final = (
    "The command line asks a scheduler about a removal only if its URL names the library."
)

IN_WORDS: Final[Mapping[str, str]] = {
    "I1": "No claim, no start and no retry goes through once the cancel is answered. A call that "
    "was claimed before is a live call, even if it rings a moment later.",
    "I2": "`completed`, `failed` and `cancelled` are final. Nothing here sets a job back.",
    "I3": "Not even its time of change is written.",
    "I4": "Once the cancel is through, and its sweep if it has one.",
    "I5": "The others get 400. If an answer is unknown, the same operation id finds out.",
    "I6": "Whatever crashes afterwards.",
    "I7": "One pass of `reconcile`, from any process. A start that a killed worker was firing may "
    "be fired again by its library: `start_job` refuses it.",
    "I8": "A job that says `scheduled` has a deferred start, whatever a cancel did or failed to "
    "do.",
    "I9": "Rows that changed, not rows that were meant.",
    "I10": "False covers all else: it had fired, there was none, no answer.",
    "I11": "The 400 names the status that the job has.",
    "I12": "It gets the first answer again, `replayed`.",
    "I13": "What fails after the commit is noted and finished later.",
    "I14": "Locks are taken in one order: the job, then its contacts.",
    "I15": "The five are an allow-list: a status invented tomorrow is left alone.",
    "I16": "The organization is in the WHERE of every statement, also of the one that locks.",
    "I17": "Unless the job is so large that it is swept.",
    "I18": "Every wait has a limit: locks, statements, the scheduler, the request.",
    "I19": "`KeyboardInterrupt` and `CancelledError`, and no connection is lost.",
    "I20": "The memory store of your tests refuses and returns what Postgres does.",
    "I21": "Two passes at once call a hook once.",
    "I22": "Tables on which that cannot be known are refused before anything changes.",
    "I23": "In Python, pass the adapter of the library that keeps the start: another one answers "
    "that there is none, and that is noted as done.",
}
"""What follows from each promise."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "I23": "`tests/schedulers/test_command_line.py`, `tests/unit/test_kinds.py`",
}
"""Tests of promises that the kit cannot test: a store or a scheduler alone cannot break them."""


def promises_page() -> str:
    """Return the page with its table of promises."""
    return filled("promises.md", {"promises": "\n".join(_promises())})


def _promises() -> Iterator[str]:
    tests, bugs = tests_of_kit(), bugs_of_explorer()
    for name, promise in {**INVARIANTS, "I23": OF_A_LIBRARY}.items():
        yield f"### {name}\n"
        yield fill(f"**{promise}** {IN_WORDS[name]}", 99) + "\n"
        if found := bugs.get(name, 0):
            orders = "wrong order" if found == 1 else "wrong orders"
            yield f"The explorer finds {found} {orders} of steps that would break it.\n"
        if name in ELSEWHERE:
            yield f"Tested by {ELSEWHERE[name]}.\n"
        else:
            yield "Tests of the kit, for every store:\n"
            yield from (f"- `{test}`" for test in sorted(tests[name]))
            yield ""


def tests_of_kit() -> Mapping[str, set[str]]:
    """Return the names of the kit's tests by the promise that each bears."""
    found: dict[str, set[str]] = {name: set() for name in INVARIANTS}
    for path in KIT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for decorator in getattr(node, "decorator_list", []):
                match decorator:
                    case ast.Call(ast.Name("promise"), [ast.Constant(str(name)), *_]):
                        found[name].add(getattr(node, "name"))  # noqa: B009  # Only functions.
                    case _:
                        pass
    return found


def bugs_of_explorer() -> Mapping[str, int]:
    """Return how many wrong protocols are planted by the promise that each breaks."""
    found = dict[str, int]()
    for path in BUGS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and node.value in INVARIANTS:
                found[str(node.value)] = found.get(str(node.value), 0) + 1
    return found
