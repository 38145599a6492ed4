"""The page docs/proof.md: what was planted, and what was found; written by `make proof`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.proof.mutation_run import explained
from tests.proof.planted_patches import ROOT, patches
from tests.proof.report import Row

PAGE = ROOT / "docs" / "proof.md"

HEAD = """\
# The proof: what was planted, and what was found

Written by `make proof`; what the parts do is said at the top of the modules in `tests/proof/`.
"""


def write(rows: Sequence[Row]) -> None:
    """Write the page anew."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text(rows), "utf-8")


def text(rows: Sequence[Row]) -> str:
    """Return the page."""
    summary = [(row.what, row.seen, row.wanted, _verdict(row)) for row in rows]
    planted = [
        (f"`{patch.file}`", patch.why, f"`{patch.test.partition('::')[2]}`") for patch in patches()
    ]
    survivors = [
        (f"`{mutant.function}`", f"`{mutant.change}`", entry.why)
        for entry in explained()
        for mutant in entry
    ]
    return "\n".join(
        [
            HEAD,
            *_table(("", "seen", "wanted", ""), summary),
            "\n## Bugs in the SQL, the Lua and the stores\n",
            "Planted one at a time; the test named must fail.\n",
            *_table(("file", "what goes wrong", "found by"), planted),
            "\n## Code mutants that survive\n",
            "mutmut changed the Python so, and no test noticed.\n",
            *_table(("function", "change", "why"), survivors),
            "",
        ]
    )


def _verdict(row: Row) -> str:
    return "WRONG" if row.complaints else "holds"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]
