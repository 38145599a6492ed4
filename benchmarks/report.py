"""
The report: a table for the terminal, tables for the page, and all figures as JSON.

Rule 1: every bar is listed with its must, its aim and what was measured, met or not.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from benchmarks.bars import Bar, Measured, Verdict, judged
from benchmarks.findings import Findings, Table, number, spread

HEAD: Final = ("bar", "must", "aim", "measured", "verdict", "note")
_WIDTHS_MAX: Final = (44, 8, 8, 22, 14, 36)


@attrs.frozen
class Report:
    """
    All that a run has measured.

    Arguments:
        sizes: their name.
        machine: what a reader must know of it.
        findings: of all families.
    """

    sizes: str
    machine: Mapping[str, str]
    findings: Findings

    @property
    def is_full(self) -> bool:
        """Whether the bars mean what they say: the sizes are those of the bars."""
        return self.sizes == "full"

    def missed(self) -> list[str]:
        """Return the bars whose must is missed."""
        return [bar.name for bar, _, it in judged(self.findings.bars) if it is Verdict.MISSED]

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each bar."""
        return [row(*it) for it in judged(self.findings.bars)]

    def as_json(self) -> str:
        """Return all figures as JSON."""
        bars = [
            {
                **attrs.asdict(bar),
                "verdict": verdict.value,
                "measured": attrs.asdict(measured) if measured else None,
            }
            for bar, measured, verdict in judged(self.findings.bars)
        ]
        whole = {
            "sizes": self.sizes,
            "machine": dict(self.machine),
            "bars": bars,
            "tables": [attrs.asdict(it) for it in self.findings.tables],
            "curves": [attrs.asdict(it) for it in self.findings.curves],
        }
        return json.dumps(whole, indent=1) + "\n"


def row(bar: Bar, measured: Measured | None, verdict: Verdict) -> tuple[str, ...]:
    """Return the cells of a bar, in the order of `HEAD`."""
    figure = measured.figure if measured else None
    sign = ">=" if bar.more_is_better else "<="
    unit = f" {bar.unit}" if bar.unit else ""
    return (
        bar.what,
        f"{sign} {number(bar.must)}{unit}",
        "" if bar.aim is None else f"{sign} {number(bar.aim)}{unit}",
        f"{spread(figure)}{unit}" if figure else "",
        verdict.value,
        measured.note if measured else "",
    )


def printed(report: Report) -> str:
    """Return the report for the terminal."""
    lines = [f"{name}: {value}" for name, value in report.machine.items()]
    if not report.is_full:
        lines.append(f"sizes: {report.sizes}; the bars are those of full sizes")
    lines.append("")
    for cells in (HEAD, *report.rows()):
        lines.extend(_wrapped(cells))
    missed = report.missed()
    lines += ["", f"musts missed: {', '.join(missed) or 'none'}"]
    return "\n".join(lines) + "\n"


def _wrapped(cells: Sequence[str]) -> Iterable[str]:
    """Return the lines of a row, whose cells are as many lines high as they need."""
    parts = [
        textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, _WIDTHS_MAX, strict=True)
    ]
    for number_of_line in range(max(map(len, parts))):
        line = (
            (part[number_of_line] if number_of_line < len(part) else "").ljust(width)
            for part, width in zip(parts, _WIDTHS_MAX, strict=True)
        )
        yield "  ".join(line).rstrip()


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    cells = [head, ["---"] * len(head), *rows]
    lines = (f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells)
    return "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def titled(table: Table) -> str:
    """Return a table in Markdown, under its title."""
    return f"### {table.title}\n\n{markdown(table.head, table.rows)}"
