"""Many jobs at once, beside a loop over them and one bare UPDATE of the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from batch_cancel import cancel_job
from benchmarks import floors
from benchmarks.bars import Measured
from benchmarks.features import cancel_jobs
from benchmarks.findings import Findings, Table, milliseconds, spread
from benchmarks.place import Place, progress
from benchmarks.rounds import Contestant, interleaved, timed

_CONTACTS: Final = 100
BARE: Final = "one bare UPDATE"
LOOP: Final = "a loop of `cancel_job`"
ROWS: Final = "bulk, rows alone"
ALL: Final = "bulk, with Redis and notes"


def measured(place: Place) -> Findings:
    """Measure the bulk cancel, if there is one, and the loop."""
    number, rounds = place.sizes.bulk_jobs, place.sizes.bulk_rounds
    progress(f"bulk: {number:,} jobs of {_CONTACTS} contacts")
    uow, scheduler = place.uow, place.scheduler

    jobs = place.jobs((rounds + 1) * number * (2 if cancel_jobs is None else 3), _CONTACTS)
    running = iter(jobs)

    def some() -> list[str]:
        return list(islice(running, number))

    def bare() -> float:
        string = floors.bare_update_of(some())
        return timed(lambda: place.execute(string))

    def loop() -> float:
        mine = some()

        def each() -> None:
            for job in mine:
                cancel_job(job, uow=uow, scheduler=scheduler)

        return timed(each)

    contestants: dict[str, Contestant] = {BARE: bare, LOOP: loop}
    if (call := cancel_jobs) is not None:
        later = place.jobs((rounds + 1) * number, _CONTACTS, "scheduled")
        scheduled = iter(later)
        jobs = [*jobs, *later]

        def together(mine: list[str]) -> float:
            return timed(lambda: call(mine, uow=uow, scheduler=scheduler))

        contestants[ROWS] = lambda: together(some())
        contestants[ALL] = lambda: together(list(islice(scheduled, number)))
    taken = interleaved(rounds, contestants)
    place.tables.check_cancelled(jobs)
    note = f"{number:,} jobs"
    bars = (("bulk-rows", ROWS), ("bulk-all", ALL))
    return Findings(
        bars=tuple(
            Measured(bar, taken.ratio(name, BARE) if cancel_jobs is not None else None, note)
            for bar, name in bars
        ),
        tables=(
            Table(
                f"{number:,} jobs of {_CONTACTS} contacts",
                ("", "ms", "to one bare UPDATE"),
                _rows(
                    [
                        (it, milliseconds(taken.time(it)), spread(taken.ratio(it, BARE)))
                        for it in contestants
                    ]
                ),
            ),
        ),
    )


def _rows(measured_rows: Sequence[tuple[str, str, str]]) -> tuple[tuple[str, ...], ...]:
    missing = [(it, "not built yet", "") for it in (ROWS, ALL)] if cancel_jobs is None else []
    return (*measured_rows, *missing)
