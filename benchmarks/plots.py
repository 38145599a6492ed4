"""The plots, drawn with matplotlib from the curves that the families hand over."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

import attrs

from benchmarks.findings import Curve, number

_ROOM: Final = 1.1
"""Above the highest point."""


@attrs.frozen
class Plot:
    """
    A plot.

    Arguments:
        name: of the plot, and of its file.
        title: what it shows.
        x: the label of the axis.
        y: the label of the axis.
        kind: how its curves are drawn; bars have one point each.
        log: which axes are logarithmic.
    """

    name: str
    title: str
    x: str
    y: str
    kind: Literal["lines", "points", "bars"]
    log: str


PLOTS: Final = (
    Plot("time", "Time of one cancel against contacts", "contacts", "ms", "lines", "xy"),
    Plot(
        "throughput",
        "Small cancels a second against connections",
        "connections",
        "cancels a second",
        "lines",
        "",
    ),
    Plot(
        "latency",
        "Outcome writes of a very large job's workers during its cancel",
        "seconds since the cancel began",
        "ms",
        "points",
        "y",
    ),
    Plot("memory", "Memory of one cancel against contacts", "contacts", "KB", "lines", "x"),
    Plot("peers", "Time to cancel the same number of items", "", "ms", "bars", ""),
)


def drawn(curves: Sequence[Curve], folder: Path) -> list[Plot]:
    """Write a PNG for each plot that has curves; return these plots."""
    # `make check` has no matplotlib, which only `make bench` installs.
    pyplot = importlib.import_module("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    done = list[Plot]()
    for plot in PLOTS:
        mine = [it for it in curves if it.plot == plot.name and it.points]
        if mine:
            _draw(pyplot, plot, mine, folder / f"{plot.name}.png")
            done.append(plot)
    return done


def _draw(pyplot: ModuleType, plot: Plot, curves: Sequence[Curve], path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for curve in curves:
        xs, ys = zip(*curve.points, strict=True)
        match plot.kind:
            case "lines":
                axes.plot(xs, ys, marker="o", label=curve.label)
            case "points":
                axes.plot(xs, ys, ".", markersize=3, label=curve.label)
            case "bars":
                axes.bar_label(axes.bar(curve.label, ys[0]), fmt=number)
    if plot.kind != "bars":
        axes.legend()
    else:
        axes.tick_params(axis="x", rotation=30)
    for axis in plot.log:
        getattr(axes, f"set_{axis}scale")("log")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    if "y" not in plot.log:
        axes.set_ylim(0, _ROOM * max(y for curve in curves for _, y in curve.points))
    axes.grid(visible=True, alpha=0.3)
    # No date and no version: the same figures give the same file.
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
