"""
Interleaved runs, and what they show.

Rule 1: what is compared runs in the same round, one right after the other, and each round begins
        with another one, so that a noisy machine disturbs all of them alike.
Rule 2: a ratio is taken within a round; the median of these ratios is stated, with its quartiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles

import attrs

Contestant = Callable[[], float]
"""Does its work once, and returns the seconds that it took, without its preparation."""


@attrs.frozen
class Figure:
    """
    The median of some values.

    Arguments:
        median: half of the values are below it.
        low: a quarter of the values are below it.
        high: a quarter of the values are above it.
        runs: how many values there are.
    """

    median: float
    low: float
    high: float
    runs: int

    def times(self, factor: float) -> Figure:
        """Return it in another unit."""
        return Figure(self.median * factor, self.low * factor, self.high * factor, self.runs)


def figure(values: Sequence[float]) -> Figure:
    """
    Return the figure of some values.

    Raises:
        ValueError: there are none.
    """
    if not values:
        msg = "a figure needs a value"
        raise ValueError(msg)
    if len(values) == 1:
        return Figure(values[0], values[0], values[0], 1)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Figure(median(values), low, high, len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """
    Return the smallest value that so many percent of the values do not exceed.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        msg = "a percentile needs a value"
        raise ValueError(msg)
    ordered = sorted(values)
    # The number of values up to it, rounded up; a whole number must not be one more by rounding.
    number = -int(-round(len(ordered) * percent, 6) // 100)
    return ordered[max(number, 1) - 1]


@attrs.frozen
class Rounds:
    """
    The times of all contestants in all rounds.

    Arguments:
        seconds: by contestant; the same place is the same round.
    """

    seconds: Mapping[str, tuple[float, ...]]

    def time(self, name: str) -> Figure:
        """Return a contestant's time in seconds."""
        return figure(self.seconds[name])

    def ratio(self, name: str, to: str) -> Figure:
        """Return how many times as long a contestant takes as another one."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return figure([one / other for one, other in pairs])


def interleaved(
    runs: int, contestants: Mapping[str, Contestant], *, warm_up_runs: int = 1
) -> Rounds:
    """
    Let the contestants take turns.

    Arguments:
        runs: how many rounds count.
        contestants: by name.
        warm_up_runs: how many rounds before them do not count.
    """
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up_runs + runs):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            took = contestants[name]()
            if number >= warm_up_runs:
                seconds[name].append(took)
    return Rounds({name: tuple(values) for name, values in seconds.items()})


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
