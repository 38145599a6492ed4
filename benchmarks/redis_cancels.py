"""The native scheduler's cancel beside a bare ZREM, and a script that does nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.bars import Measured
from benchmarks.findings import Findings, Table, number, spread
from benchmarks.place import Place, progress
from benchmarks.rounds import Contestant, Rounds, interleaved, timed
from benchmarks.tables import start_of

BARE: Final = "bare ZREM"
NOTHING: Final = "a script that does nothing"
OURS: Final = "native cancel"
_SET: Final = "bare"
_OPERATION: Final = "operation"
_DO_NOTHING: Final = "return 0"


Items = Callable[[], list[str]]
"""Makes new items, and returns their ids."""


def measured(place: Place) -> Findings:
    """Measure both, blocking and asyncio."""
    progress("native Redis cancels")
    rounds, starts = place.sizes.start_rounds, place.sizes.starts
    names = itertools.count()

    def items() -> list[str]:
        """Return new members of the set, scheduled as deferred starts as well."""
        jobs = [f"redis-{next(names)}" for _ in range(starts)]
        place.schedule(jobs)
        ids = [start_of(job) for job in jobs]
        place.client.zadd(_SET, dict.fromkeys(ids, 1))
        return ids

    blocking = interleaved(rounds, _blocking(place, items))
    awaited = interleaved(rounds, _awaited(place, items))
    return Findings(
        bars=(
            Measured("redis", blocking.ratio(BARE, OURS)),
            Measured("redis-async", awaited.ratio(BARE, OURS)),
        ),
        tables=(
            Table(
                "Cancels in Redis",
                ("", "a second", "to bare", "asyncio, a second", "asyncio, to bare"),
                tuple(
                    (name, *_cells(blocking, name, starts), *_cells(awaited, name, starts))
                    for name in (BARE, NOTHING, OURS)
                ),
            ),
        ),
    )


def _cells(rounds: Rounds, name: str, starts: int) -> tuple[str, str]:
    return number(starts / rounds.time(name).median), spread(rounds.ratio(BARE, name))


def _blocking(place: Place, items: Items) -> dict[str, Contestant]:
    client, scheduler = place.client, place.scheduler
    nothing = client.register_script(_DO_NOTHING)

    def run(one: Callable[[str], Any]) -> Contestant:
        def contestant() -> float:
            ids = items()
            return timed(lambda: [one(it) for it in ids])

        return contestant

    return {
        BARE: run(lambda it: client.zrem(_SET, it)),
        NOTHING: run(lambda it: nothing(keys=[_SET], args=[it])),
        OURS: run(lambda it: scheduler.cancel(it, _OPERATION)),
    }


def _awaited(place: Place, items: Items) -> dict[str, Contestant]:
    client, scheduler = place.client_async, place.scheduler_async
    nothing = client.register_script(_DO_NOTHING)

    def run(one: Callable[[str], Any]) -> Contestant:
        async def each(ids: Sequence[str]) -> float:
            begun = time.perf_counter()
            for it in ids:
                await one(it)
            return time.perf_counter() - begun

        return lambda: place.runner.run(each(items()))

    return {
        BARE: run(lambda it: client.zrem(_SET, it)),
        NOTHING: run(lambda it: nothing(keys=[_SET], args=[it])),
        OURS: run(lambda it: scheduler.cancel(it, _OPERATION)),
    }
