"""
`make wiring`: run the campaign on every library, and print the table.

    python -m tests.wiring [LIBRARY ...] [--keep]

Ends with 1 if an answer was neither right nor documented, or if what is documented never happened.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.wiring.campaign import run
from tests.wiring.catalogue import LIBRARIES
from tests.wiring.table import keep
from tests.wiring.verdict import Tally

_LINE = "{:<14} {:>8} {:>12} {:>6} {:>6} {:>10} {:>6} {:>8}"
_COMBINATIONS_MIN = 40


def main() -> int:
    """Run, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.wiring")
    parser.add_argument("libraries", nargs="*", choices=[*LIBRARIES, []])
    parser.add_argument("--keep", action="store_true", help="keep it for docs/schedulers.md")
    given = parser.parse_args()
    heads = ("settings", "combinations", "True", "False", "documented", "wrong", "seconds")
    _tell(_LINE.format("", *heads))
    tallies = {name: _run(name) for name in given.libraries or LIBRARIES}
    if given.keep:
        keep(tallies)
    return 0 if all(_is_fine(name, found) for name, found in tallies.items()) else 1


def _run(name: str) -> Tally:
    began = time.monotonic()
    found = run(name)
    counts = (found.combinations, found.true, found.false, sum(found.documented.values()))
    seconds = round(time.monotonic() - began)
    _tell(_LINE.format(name, len(found.settings), *counts, len(found.wrong), seconds))
    for sentence, times in found.documented.items():
        _tell(f"    {times:>3} documented: {sentence}")
    for line in found.wrong:
        _tell(f"        WRONG: {line}")
    return found


def _is_fine(name: str, found: Tally) -> bool:
    expected = {it.sentence for it in LIBRARIES[name].documented}
    for sentence in expected - {*found.documented}:
        _tell(f"{name}: documented, and never seen: {sentence}")
    is_large = found.combinations >= _COMBINATIONS_MIN
    return not found.wrong and expected == {*found.documented} and is_large


def _tell(line: str) -> None:
    sys.stdout.write(f"{line.rstrip()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
