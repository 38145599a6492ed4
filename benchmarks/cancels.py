"""One cancel at a time: the library, the floor with a record, and the bare UPDATE take turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from batch_cancel import cancel_job, cancel_job_async
from benchmarks import floors
from benchmarks.bars import Measured
from benchmarks.findings import Curve, Findings, Table, milliseconds, spread
from benchmarks.place import Place, progress, shared
from benchmarks.rounds import Contestant, Rounds, interleaved, timed

LIBRARY: Final = "library"
LIBRARY_ASYNC: Final = "library, asyncio"
FLOOR: Final = "floor with a record"
BARE: Final = "bare UPDATE"

_ALL: Final = (LIBRARY, LIBRARY_ASYNC, FLOOR, BARE)
_LARGE: Final = (LIBRARY, FLOOR, BARE)
_LARGEST: Final = (LIBRARY, BARE)
_LINEAR_FROM: Final = 10_000


def measured(place: Place) -> Findings:
    """Measure cancels of every size."""
    all_rounds = dict[tuple[int, str], Rounds]()
    for contacts, runs in place.sizes.cancels.items():
        for status in ("running", "scheduled") if contacts == 100 else ("running",):
            progress(f"cancels: {contacts:,} contacts, {status}")
            all_rounds[contacts, status] = rounds_of(place, contacts, status, runs)
    return Findings(
        bars=(*_bars(all_rounds), _linear(all_rounds)),
        tables=(_table(all_rounds),),
        curves=tuple(_curves(all_rounds)),
    )


def rounds_of(place: Place, contacts: int, status: str, runs: int) -> Rounds:
    """Let all take turns that are compared at this size."""
    names = _ALL if contacts < 10_000 else _LARGE if contacts < 1_000_000 else _LARGEST
    # A large cancel takes so long that nothing of a first run is left to see.
    warm_up_runs = 1 if contacts < 1_000_000 else 0
    jobs = place.jobs((runs + warm_up_runs) * len(names), contacts, status)
    turns = zip(names, shared(jobs, len(names)), strict=True)
    contestants = {name: contestant(place, name, mine) for name, mine in turns}
    rounds = interleaved(runs, contestants, warm_up_runs=warm_up_runs)
    place.tables.check_cancelled(jobs)
    return rounds


def contestant(place: Place, name: str, jobs: Iterator[str]) -> Contestant:
    """Return one who cancels the next of its jobs."""
    uow, scheduler = place.uow, place.scheduler

    def library() -> float:
        job = next(jobs)
        return timed(lambda: cancel_job(job, uow=uow, scheduler=scheduler))

    async def awaited() -> float:
        job, uow_async = next(jobs), place.uow_async
        begun = time.perf_counter()
        await cancel_job_async(job, uow=uow_async, scheduler=place.scheduler_async)
        return time.perf_counter() - begun

    def floor() -> float:
        string = floors.with_record(next(jobs))
        return timed(lambda: place.execute(string))

    def bare() -> float:
        string = floors.bare_update(next(jobs))
        return timed(lambda: place.execute(string))

    contestants: dict[str, Contestant] = {
        LIBRARY: library,
        LIBRARY_ASYNC: lambda: place.runner.run(awaited()),
        FLOOR: floor,
        BARE: bare,
    }
    return contestants[name]


def _bars(all_rounds: dict[tuple[int, str], Rounds]) -> Iterator[Measured]:
    for (contacts, status), rounds in all_rounds.items():
        to = FLOOR if contacts < 10_000 else BARE
        name = f"{status}-{contacts}"
        if contacts in {100, 1_000, 10_000, 100_000, 1_000_000}:
            yield Measured(name, rounds.ratio(LIBRARY, to))


def _linear(all_rounds: dict[tuple[int, str], Rounds]) -> Measured:
    largest = max(contacts for contacts, _ in all_rounds)
    per_contact = [
        all_rounds[contacts, "running"].time(LIBRARY).times(1 / contacts)
        for contacts in (largest, _LINEAR_FROM)
    ]
    ratio = per_contact[0].times(1 / per_contact[1].median)
    return Measured("time-linear", ratio, f"the largest has {largest:,} contacts")


def _table(all_rounds: dict[tuple[int, str], Rounds]) -> Table:
    rows = list[tuple[str, ...]]()
    for (contacts, status), rounds in all_rounds.items():
        times = [milliseconds(rounds.time(it)) if it in rounds.seconds else "" for it in _ALL]
        ratios = [
            spread(rounds.ratio(one, to)) if {one, to} <= rounds.seconds.keys() else ""
            for one, to in ((LIBRARY, FLOOR), (LIBRARY, BARE), (LIBRARY_ASYNC, BARE))
        ]
        rows.append((f"{contacts:,}, {status}", *times, *ratios))
    head = (
        "contacts",
        *(f"{it}, ms" for it in _ALL),
        "to the floor",
        "to bare",
        "asyncio to bare",
    )
    return Table("One cancel: time, and ratio within a round", head, tuple(rows))


def _curves(all_rounds: dict[tuple[int, str], Rounds]) -> Iterator[Curve]:
    for name in _ALL:
        yield Curve(
            "time",
            name,
            tuple(
                (contacts, rounds.time(name).median * 1000)
                for (contacts, status), rounds in all_rounds.items()
                if status == "running" and name in rounds.seconds
            ),
        )
