"""The page `docs/benchmarks.md`: what stands between its markers is written by `make bench`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.report import HEAD, Report, markdown, titled

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "benchmarks.md"
FOLDER: Final = ROOT / "docs" / "benchmarks"
"""Where the full run keeps its plots and its JSON."""

QUICK: Final = ROOT / "build" / "benchmarks"
"""Where any other run writes, its page included."""

EMPTY: Final = "*No run yet: `make bench` writes this.*"
SECTIONS: Final = ("machine", "bars", "tables", "plots")


def filled(page: str, section: str, text: str) -> str:
    """
    Return the page with a text between the markers of a section.

    Raises:
        ValueError: the page does not have the markers once, in this order.
    """
    begin, end = f"<!-- begin: {section} -->", f"<!-- end: {section} -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if page.count(begin) != 1 or page.count(end) != 1 or end not in rest:
        msg = f"the page needs the markers of {section} once each, in their order"
        raise ValueError(msg)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def with_report(page: str, report: Report, plots: Iterable[tuple[str, str]]) -> str:
    """
    Return the page with the figures of a report.

    Arguments:
        page: as it was.
        report: what was measured.
        plots: the title of each plot, and its path from the page.
    """
    machine = markdown(("", ""), report.machine.items())
    tables = "\n\n".join(map(titled, report.findings.tables))
    shown = "\n\n".join(f"![{title}]({path})" for title, path in plots)
    texts = (machine, markdown(HEAD, report.rows()), tables, shown)
    for section, text in zip(SECTIONS, texts, strict=True):
        page = filled(page, section, text or EMPTY)
    return page
