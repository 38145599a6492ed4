"""
Prove it: explore, plant bugs, and count what was found. Ends in a table, and writes docs/proof.md.

    python -m tests.proof    what `make proof` runs
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.proof import exploration, mutation_run, planted_patches, report_page, teeth
from tests.proof.report import Row, table

# One after the other: each of them keeps two cores busy.
PARTS: dict[str, Callable[[], Sequence[Row]]] = {
    "the explorer": partial(exploration.rows, short=False),
    "the broken adapters": partial(teeth.rows, short=False),
    "the code mutants": mutation_run.rows,
    "the SQL, Lua and store mutants": planted_patches.rows,
}


def run(name: str) -> Sequence[Row]:
    """Run one part; a part that breaks down proves nothing."""
    begun = time.monotonic()
    try:
        return PARTS[name]()
    except Exception as error:  # noqa: BLE001  # The other parts go on.
        return [Row(name, "-", "a result", [f"{name}: {type(error).__name__}: {error}"])]
    finally:
        print(f"{name}: {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)  # noqa: T201


def main() -> int:
    """Run every part, and give the exit status."""
    rows = [row for name in PARTS for row in run(name)]
    report_page.write(rows)
    print(table(rows))  # noqa: T201  # Its answer.
    return any(row.complaints for row in rows)


if __name__ == "__main__":
    sys.exit(main())
