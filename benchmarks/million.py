"""
A very large job: its point of no return, and its own workers meanwhile.

Rule 1: the point of no return is when another connection first reads that the job is cancelled.
        The pool has already cancelled a small job by then.
Rule 2: a worker claims a contact and writes how the call ended; if it gets none, it writes that of
        a call which was live before. The writes are what is measured: a claim waits for nothing.
Rule 3: "meanwhile" is from the call of the cancel to its return.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from statistics import median
from typing import Any, Final

import attrs
import psycopg

from batch_cancel import ContactStatus, StoreFailed, cancel_job, claim_contacts, settle_contact
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from benchmarks.bars import Measured
from benchmarks.features import SWEEPS, sweeping
from benchmarks.findings import Curve, Findings, Table, number
from benchmarks.place import Place, pool_at, progress
from benchmarks.rounds import figure, percentile
from tests.processes import wait_until

BEFORE: Final = "in one transaction"
AFTER: Final = "flip, then sweep"
_QUIET_RUNS: Final = {BEFORE: 1, AFTER: 3}
_WORKERS: Final = 8
_PAUSE_SECONDS: Final = 0.005
_LOOK_SECONDS: Final = 0.0002
_CALLS_A_SECOND: Final = 2_000
_IDLE_WRITES_MIN: Final = 100
_SMALL: Final = 10


@attrs.frozen
class Write:
    """One outcome write: when it began, how long it took, and whether it failed."""

    begun: float
    seconds: float
    is_error: bool


@attrs.frozen
class Run:
    """
    One cancel of a very large job.

    Arguments:
        no_return_seconds: until another connection reads that the job is cancelled.
        seconds: until the call returns.
        idle: the workers' writes before.
        meanwhile: their writes during the call, with the times since it began.
    """

    no_return_seconds: float
    seconds: float
    idle: tuple[Write, ...] = ()
    meanwhile: tuple[Write, ...] = ()

    @property
    def p99_ratio(self) -> float:
        """How many times as long the writes take meanwhile, at the 99th percentile."""
        return _p99(self.meanwhile) / _p99(self.idle)

    @property
    def errors(self) -> int:
        """How many writes failed meanwhile."""
        return sum(it.is_error for it in self.meanwhile)


def measured(place: Place) -> Findings:
    """Measure the cancel with and without a sweep, each quiet and among workers."""
    contacts = place.sizes.million
    quiet, busy = dict[str, list[Run]](), dict[str, Run]()
    for name, above in ((BEFORE, None), (AFTER, contacts // 10)):
        if name == BEFORE or SWEEPS:
            progress(f"{contacts:,} contacts, {name}")
            quiet[name] = [_run(place, above, workers=0) for _ in range(_QUIET_RUNS[name])]
            busy[name] = _run(place, above, workers=_WORKERS)
    note = f"{contacts:,} contacts"
    return Findings(
        bars=tuple(_bars(quiet.get(AFTER), busy.get(AFTER), note)),
        tables=(_table(quiet, busy, note),),
        curves=tuple(
            Curve("latency", name, tuple((it.begun, it.seconds * 1000) for it in run.meanwhile))
            for name, run in busy.items()
        ),
    )


def _bars(quiet: list[Run] | None, busy: Run | None, note: str) -> Iterable[Measured]:
    if quiet is None or busy is None:
        for bar in ("no-return", "outcomes-p99", "outcomes-errors"):
            yield Measured(bar, None, note)
        return
    yield Measured("no-return", figure([it.no_return_seconds * 1000 for it in quiet]), note)
    yield Measured("outcomes-p99", figure([busy.p99_ratio]), note)
    yield Measured("outcomes-errors", figure([float(busy.errors)]), note)


def _table(quiet: dict[str, list[Run]], busy: dict[str, Run], note: str) -> Table:
    head = ("", "no return, ms", "cancel, ms", "writes, p99 idle, ms", "meanwhile, ms", "errors")
    rows = [
        (
            name,
            number(median(it.no_return_seconds for it in quiet[name]) * 1000),
            number(median(it.seconds for it in quiet[name]) * 1000),
            number(_p99(busy[name].idle) * 1000),
            number(_p99(busy[name].meanwhile) * 1000),
            str(busy[name].errors),
        )
        for name in quiet
    ]
    if not SWEEPS:
        rows.append((AFTER, "not built yet", "", "", "", ""))
    return Table(f"A job of {note}: the cancel, and its workers' outcomes", head, tuple(rows))


def _p99(writes: Iterable[Write]) -> float:
    return percentile([it.seconds for it in writes], 99)


def _run(place: Place, above: int | None, workers: int) -> Run:
    (small,), (job,) = place.jobs(1, _SMALL), place.jobs(1, place.sizes.million)
    place.tables.vacuum()
    live = place.tables.seed_calls(
        job, round(_CALLS_A_SECOND * (place.sizes.idle_seconds + 10)) if workers else 0
    )
    with (
        pool_at(place.server.dsn(), workers + 1) as pool,
        psycopg.connect(place.server.dsn(), autocommit=True) as watching,
    ):
        uow = PostgresUnitOfWork(pool.connection, **sweeping(above))
        cancel_job(small, uow=uow, scheduler=place.scheduler)
        with _at_work(job, workers, deque(live), uow) as writes:
            if workers:
                time.sleep(place.sizes.idle_seconds)
                wait_until(lambda: len(writes) >= _IDLE_WRITES_MIN, "workers are at work")
            begun = time.perf_counter()
            with _watched(job, watching) as seen:
                cancel_job(job, uow=uow, scheduler=place.scheduler)
                ended = time.perf_counter()
        return Run(
            seen[0] - begun,
            ended - begun,
            tuple(it for it in writes if it.begun + it.seconds < begun),
            tuple(
                attrs.evolve(it, begun=it.begun - begun)
                for it in writes
                if it.begun < ended and it.begun + it.seconds >= begun
            ),
        )


@contextmanager
def _watched(job: str, connection: psycopg.Connection[Any]) -> Generator[list[float]]:
    """Yield a list, into which goes the time at which the job is first read as cancelled."""
    seen = list[float]()

    def watch() -> None:
        query = "SELECT status FROM batch_jobs WHERE id = %s"
        while connection.execute(query, (job,)).fetchone() != ("cancelled",):
            time.sleep(_LOOK_SECONDS)
        seen.append(time.perf_counter())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield seen
    watcher.join()


@contextmanager
def _at_work(
    job: str, workers: int, live: deque[str], uow: PostgresUnitOfWork
) -> Generator[list[Write]]:
    """Yield what workers write, who are at work meanwhile."""
    writes, stop = list[Write](), threading.Event()

    def write() -> None:
        contacts: list[str] = []
        with suppress(StoreFailed):  # The call that is written is another one then.
            contacts = claim_contacts(job, uow=uow, limit=1)
        contact = contacts[0] if contacts else live.popleft()
        begun, is_error = time.perf_counter(), False
        try:
            settle_contact(job, contact, ContactStatus.COMPLETED, uow=uow)
        except StoreFailed:
            is_error = True
        writes.append(Write(begun, time.perf_counter() - begun, is_error))

    def work() -> None:
        while live and not stop.wait(_PAUSE_SECONDS):
            write()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    yield writes
    stop.set()
    for thread in threads:
        thread.join()
