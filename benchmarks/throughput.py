"""How much is done in a second on many connections: small cancels, and the steps of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

from batch_cancel import ContactStatus, cancel_job, claim_contacts, settle_contact
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from benchmarks import floors
from benchmarks.bars import Measured
from benchmarks.findings import Curve, Findings, Table, number, spread
from benchmarks.place import Place, pool_at, progress, shared
from benchmarks.rounds import Contestant, Rounds, interleaved
from benchmarks.workers_at_once import seconds_of

LIBRARY: Final = "library"
FLOOR: Final = "psycopg alone"
BY_HAND: Final = "by hand"
_SMALL: Final = 10
_WORKERS: Final = 8


def measured(place: Place) -> Findings:
    """Measure both."""
    by_connections = dict[int, Rounds]()
    for connections in place.sizes.connections:
        progress(f"small cancels: {connections} connections")
        by_connections[connections] = _cancels(place, connections)
    progress(f"workers: {_WORKERS} of them")
    return _findings(place, by_connections).joined(_steps(place))


def _findings(place: Place, by_connections: dict[int, Rounds]) -> Findings:
    rates = {
        name: [
            (connections, connections * place.sizes.small_jobs / rounds.time(name).median)
            for connections, rounds in by_connections.items()
        ]
        for name in (LIBRARY, FLOOR)
    }
    ratios = {
        connections: rounds.ratio(FLOOR, LIBRARY) for connections, rounds in by_connections.items()
    }
    rows = tuple(
        (str(connections), number(ours), number(floor), spread(ratios[connections]))
        for (connections, ours), (_, floor) in zip(rates[LIBRARY], rates[FLOOR], strict=True)
    )
    head = ("connections", f"{LIBRARY}, a second", f"{FLOOR}, a second", "ratio")
    return Findings(
        bars=tuple(
            Measured(f"rate-{connections}", ratios[connections])
            for connections in (1, 8)
            if connections in ratios
        ),
        tables=(Table(f"Cancels of jobs with {_SMALL} contacts, a second", head, rows),),
        curves=tuple(Curve("throughput", name, tuple(it)) for name, it in rates.items()),
    )


def _cancels(place: Place, connections: int) -> Rounds:
    each, rounds = place.sizes.small_jobs, place.sizes.rate_rounds
    scheduler = place.scheduler
    with pool_at(place.server.dsn(), connections) as pool:
        uow = PostgresUnitOfWork(pool.connection)

        def library(job: str) -> None:
            cancel_job(job, uow=uow, scheduler=scheduler, operation_id=f"of {job}")

        first, sample = place.jobs(2, _SMALL)
        library(first)  # It also looks at the tables, once for all.
        string_of = floors.same_sql(library, sample)

        def floor(job: str) -> None:
            with pool.connection() as connection:
                connection.execute(string_of(job))

        def contestant(cancel: Callable[[str], None], jobs: Iterator[str]) -> Contestant:
            def all_of(mine: Sequence[str]) -> None:
                for job in mine:
                    cancel(job)

            def run() -> float:
                parts = [list(islice(jobs, each)) for _ in range(connections)]
                return seconds_of(partial(all_of, it) for it in parts)

            return run

        jobs = place.jobs(2 * (rounds + 1) * each * connections, _SMALL)
        turns = zip((LIBRARY, FLOOR), (library, floor), shared(jobs, 2), strict=True)
        taken = interleaved(rounds, {name: contestant(one, mine) for name, one, mine in turns})
    place.tables.check_cancelled(jobs)
    return taken


def _steps(place: Place) -> Findings:
    calls, rounds = place.sizes.worker_calls, place.sizes.rate_rounds
    with pool_at(place.server.dsn(), _WORKERS) as pool:
        uow = PostgresUnitOfWork(pool.connection)

        def library(job: str) -> None:
            for _ in range(calls):
                (contact,) = claim_contacts(job, uow=uow, limit=1)
                settle_contact(job, contact, ContactStatus.COMPLETED, uow=uow)

        def by_hand(job: str) -> None:
            for _ in range(calls):
                with pool.connection() as connection:
                    row = connection.execute(floors.CLAIM, {"job": job}).fetchone()
                assert row is not None
                with pool.connection() as connection:
                    connection.execute(floors.SETTLE, {"job": job, "contact": row[0]})

        # Some to spare: a claim skips what another one has just locked.
        jobs = iter(place.jobs(2 * (rounds + 1), 2 * _WORKERS * (calls + 2)))

        def contestant(work: Callable[[str], None]) -> Contestant:
            def run() -> float:
                mine = partial(work, next(jobs))
                return seconds_of(mine for _ in range(_WORKERS))

            return run

        taken = interleaved(rounds, {LIBRARY: contestant(library), BY_HAND: contestant(by_hand)})
    steps = 2 * _WORKERS * calls
    ratio = taken.ratio(BY_HAND, LIBRARY)
    rows = (
        *((name, number(steps / taken.time(name).median), "") for name in (BY_HAND, LIBRARY)),
        ("ratio", "", spread(ratio)),
    )
    title = f"Claims and final outcomes, {_WORKERS} workers on one job"
    return Findings(
        bars=(Measured("workers-8", ratio),),
        tables=(Table(title, ("", "steps a second", "to by hand"), rows),),
    )
