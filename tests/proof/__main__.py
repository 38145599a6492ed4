"""
Prove it: explore, plant bugs, and count what was found. Ends in a table, and writes docs/proof.md.

    python -m tests.proof    what `make proof` runs
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.proof import exploration, mutants, page, patches, teeth
from tests.proof.report import Row, table

PARTS: dict[str, Callable[[], Sequence[Row]]] = {
    "explorer": partial(exploration.rows, short=False),
    "broken adapters": partial(teeth.rows, short=False),
    "code mutants": mutants.rows,
    "SQL and Lua mutants": patches.rows,
}
"""The parts in the order of the table."""


def run(name: str) -> Sequence[Row]:
    """Run one part; a part that breaks down proves nothing."""
    try:
        return PARTS[name]()
    except Exception as error:  # noqa: BLE001  # The other parts are worth their time.
        return [Row(name, "-", "a result", [f"{name}: {type(error).__name__}: {error}"])]


def main() -> int:
    """Run every part, two at a time, and give the exit status."""
    begun = time.monotonic()
    # The longest first; each uses one core.
    longest_first = sorted(PARTS, key=["code mutants", "explorer"].__contains__, reverse=True)
    with ProcessPoolExecutor(2) as pool:
        running = {name: pool.submit(run, name) for name in longest_first}
        rows = [row for name in PARTS for row in running[name].result()]
    minutes = (time.monotonic() - begun) / 60
    page.write(rows)
    print(table(rows))  # noqa: T201  # Its answer.
    print(f"{minutes:.1f} minutes")  # noqa: T201
    return any(row.complaints for row in rows)


if __name__ == "__main__":
    sys.exit(main())
