"""
The bars of the benchmarks: for each, the figure that must hold and the figure to aim for.

Rule 1: a bar is met by its median. Where a figure is exactly the bar, the bar is met.
Rule 2: a bar whose feature this version does not have is listed as not built yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import attrs

from benchmarks.rounds import Figure


class Verdict(StrEnum):
    """What became of a bar."""

    AIM_MET = "aim met"
    MUST_MET = "must met"
    MISSED = "MUST MISSED"
    NOT_BUILT = "not built yet"
    NOT_MEASURED = "not measured"


@attrs.frozen
class Bar:
    """
    What must hold, and what is aimed at.

    Arguments:
        name: of the bar, unique.
        what: is measured, to which floor or peer.
        must: what it must reach.
        aim: what it should reach; None if that is no number.
        unit: of all three; "" for a ratio.
        more_is_better: whether a higher figure is better.
    """

    name: str
    what: str
    must: float
    aim: float | None = None
    unit: str = ""
    more_is_better: bool = attrs.field(default=False, kw_only=True)

    def reached(self, value: float, limit: float) -> bool:
        """Check whether a value is as good as a limit."""
        return value >= limit if self.more_is_better else value <= limit


@attrs.frozen
class Measured:
    """
    What was measured for a bar.

    Arguments:
        bar: the bar's name.
        figure: in the bar's unit; None if the library lacks the feature.
        note: what a reader must know of it.
    """

    bar: str
    figure: Figure | None
    note: str = ""


def verdict(bar: Bar, measured: Measured | None) -> Verdict:
    """Return what became of a bar; None if it was not measured."""
    if measured is None:
        return Verdict.NOT_MEASURED
    if measured.figure is None:
        return Verdict.NOT_BUILT
    value = measured.figure.median
    if not bar.reached(value, bar.must):
        return Verdict.MISSED
    if bar.aim is None or not bar.reached(value, bar.aim):
        return Verdict.MUST_MET
    return Verdict.AIM_MET


def judged(measured: Iterable[Measured]) -> list[tuple[Bar, Measured | None, Verdict]]:
    """
    Return every bar, what was measured for it, and the verdict.

    Raises:
        ValueError: something was measured that is no bar, or twice.
    """
    by_name = dict[str, Measured]()
    for it in measured:
        if it.bar in by_name or it.bar not in NAMES:
            msg = f"{it.bar} is no bar, or was measured twice"
            raise ValueError(msg)
        by_name[it.bar] = it
    return [(bar, by_name.get(bar.name), verdict(bar, by_name.get(bar.name))) for bar in BARS]


_FLOOR: Final = "to the floor with a record"
_PEERS: Final = {"RQ": 67, "arq": 124, "SAQ": 59, "Procrastinate": 124, "Celery": 64}

BARS: Final = (
    Bar("running-100", f"cancel, 100 contacts, running, {_FLOOR}", 1.5, 1.25),
    Bar("scheduled-100", f"cancel, 100 contacts, scheduled, {_FLOOR}", 1.9, 1.6),
    Bar("running-1000", f"cancel, 1,000 contacts, running, {_FLOOR}", 1.4, 1.2),
    Bar("running-10000", "cancel, 10,000 contacts, to the bare UPDATE", 1.10, 1.03),
    Bar("running-100000", "cancel, 100,000 contacts, to the bare UPDATE", 1.10, 1.03),
    Bar("running-1000000", "cancel, 1,000,000 contacts, to the bare UPDATE", 1.10, 1.03),
    Bar("trips-scheduled", "round trips to Postgres, scheduled cancel", 4, 4, "trips"),
    Bar("trips-running", "round trips to Postgres, running cancel", 3, 3, "trips"),
    Bar("trips-claim", "round trips to Postgres, claim", 2, 1, "trips"),
    Bar("trips-final", "round trips to Postgres, final outcome", 2, 1, "trips"),
    Bar("trips-retryable", "round trips to Postgres, retryable outcome", 3, 3, "trips"),
    Bar("network-scheduled", "scheduled cancel over a network of 1 ms", 14, 11, "ms"),
    Bar("network-running", "running cancel over a network of 1 ms", 10, 8, "ms"),
    Bar(
        "rate-1",
        "small cancels a second, 1 connection, to psycopg with the same SQL in one string",
        0.8,
        0.9,
        more_is_better=True,
    ),
    Bar("rate-8", "the same, 8 connections", 0.8, 0.9, more_is_better=True),
    Bar("bulk-rows", "bulk, 1,000 jobs of 100 contacts, to one bare UPDATE", 1.5, 1.3),
    Bar("bulk-all", "the same with Redis and notes", 1.8, 1.6),
    Bar("no-return", "a million contacts: point of no return", 5, 1.5, "ms"),
    Bar("outcomes-p99", "the same job's outcome writes meanwhile, p99 to idle", 3, 1.5),
    Bar("outcomes-errors", "the same job's outcome writes meanwhile, errors", 0, 0, "errors"),
    Bar(
        "workers-8",
        "workers' steps a second, 8 workers, to hand-written SQL",
        0.6,
        0.8,
        more_is_better=True,
    ),
    Bar("reconcile", "reconcile, each record", 0.3, 0.1, "ms"),
    Bar("redis", "native Redis cancels a second, to a bare ZREM", 0.6, 0.7, more_is_better=True),
    Bar("redis-async", "the same, asyncio", 0.6, 0.7, more_is_better=True),
    Bar("time-linear", "time per contact of the largest cancel, to that of 10,000", 2),
    Bar("memory-flat", "memory of the largest cancel, to that of 100 contacts", 1.5),
    Bar("memory-store", "memory store: a claim in 100,000 contacts, to one in 1,000", 2),
    *(
        Bar(f"peer-{name}", f"{name}, 10,000 items, times ours", must, must, more_is_better=True)
        for name, must in _PEERS.items()
    ),
    Bar(
        "peer-SQLAlchemy loop",
        "SQLAlchemy, a loop over 10,000 objects, times ours",
        9.4,
        9.4,
        more_is_better=True,
    ),
    Bar(
        "peer-SQLAlchemy bulk",
        "SQLAlchemy, one UPDATE of 10,000 rows, times ours",
        0.99,
        0.99,
        more_is_better=True,
    ),
    Bar("peer-single", "the fastest peer, 1 item, times ours", 0.12, 0.4, more_is_better=True),
)

NAMES: Final = frozenset(bar.name for bar in BARS)
