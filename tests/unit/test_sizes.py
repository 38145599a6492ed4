"""A file can be read in one sitting: none of the Python files has 400 lines or more."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = {
    path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
    for folder in ("src", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
LINES_MAX = 399

ONE_PAGE = "src/batch_cancel/ports.py"
"""What an adopter implements: one page, however long it is."""


def test_no_file_is_too_long() -> None:
    """Nor is the one page that may be long forgotten here once it has become short."""
    assert {name for name, lines in FILES.items() if lines > LINES_MAX} == {ONE_PAGE}
