"""What a family of benchmarks hands over: bars, tables and the curves of the plots."""

from __future__ import annotations

from typing import Final

import attrs

from benchmarks.bars import Measured
from benchmarks.rounds import Figure


@attrs.frozen
class Table:
    """
    A table of figures.

    Arguments:
        title: what it shows.
        head: the names of the columns.
        rows: the cells, as they are printed.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@attrs.frozen
class Curve:
    """
    A curve of a plot.

    Arguments:
        plot: the name of the plot, one of `plots.PLOTS`.
        label: what the curve shows.
        points: x and y.
    """

    plot: str
    label: str
    points: tuple[tuple[float, float], ...]


@attrs.frozen
class Findings:
    """
    What a family has measured.

    Arguments:
        bars: what was measured for the bars.
        tables: all figures.
        curves: what is plotted.
    """

    bars: tuple[Measured, ...] = ()
    tables: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()

    def joined(self, other: Findings) -> Findings:
        """Return these findings, and others after them."""
        return Findings(
            (*self.bars, *other.bars),
            (*self.tables, *other.tables),
            (*self.curves, *other.curves),
        )


_DIGITS: Final = 3


def number(value: float) -> str:
    """Return a number with three digits, or with all of its digits if it has more."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.{_DIGITS}g}"
    return text if "e" not in text else f"{value:.6f}".rstrip("0")


def spread(figure: Figure) -> str:
    """Return a figure with its quartiles, if it has more than one run."""
    if figure.runs == 1:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)} to {number(figure.high)})"


def milliseconds(seconds: Figure) -> str:
    """Return a time in milliseconds, with its quartiles."""
    return spread(seconds.times(1000))
