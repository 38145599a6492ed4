"""
Many processes reconcile at once, hooks are slow, fail or kill, and Redis comes and goes.

    python -m tests.faults.reconciling                  5,000 records, ten processes
    python -m tests.faults.reconciling --records 300 --processes 4

The time is scaled: hooks of up to a minute, and the default lease, in a fiftieth of it. Each
process writes down what it takes, asks and tells, as it happens. From these lines it is found
afterwards whether each hook was told once, and once more at most for each process that died while
it told, and whether anything was passed over again and again.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import attrs
import psycopg
import redis

from batch_cancel import CancelResult, cancel_rows, reconcile
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.ports import SchedulerUnavailable
from tests.faults.diary import Diary, Found, judge
from tests.pairs import create_reference_tables
from tests.servers import PostgresServer, RedisServer

SCALE: Final = 0.02
LEASE: Final = timedelta(minutes=2) * SCALE
HOOK_SECONDS_MAX: Final = 60 * SCALE
BUDGET: Final = timedelta(milliseconds=100)
LIMIT: Final = 20
DEAD: Final = 10
"""Of so many starts one is not answered for, as long as a part of the scheduler is out."""

FAILS, RAISES, EXITS = 0.03, 0.01, 0.01
"""The shares of the hooks that fail, end their pass, and end their process, when first called."""


class Gone(BaseException):
    """What a hook raises that is no Exception, as gevent.Timeout is none."""


@attrs.frozen
class Where:
    """
    What a process is told.

    Arguments:
        dsn: the store's.
        url: the scheduler's.
        folder: where it writes what it does.
        weather: whether a part of the scheduler is out.
        is_over: whether it is to end after its pass.
    """

    dsn: str
    url: str
    folder: str
    weather: Any
    is_over: Any


# A process ---------------------------------------------------------------------------------------


@attrs.frozen
class Outbox:
    """The outbox, and what it was asked."""

    inner: Any
    diary: Diary

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def take(self, limit: int, lease: timedelta, *, announcements: bool) -> Any:
        """Write down what was taken."""
        taken = self.inner.take(limit, lease, announcements=announcements)
        self.diary.write("take", *(it.key.batch_job_id for it in taken))
        return taken


@attrs.frozen
class Repositories:
    """What reconcile needs of a transaction."""

    outbox: Outbox


@attrs.frozen
class Store:
    """The store, on one connection that is kept."""

    inner: PostgresUnitOfWork
    diary: Diary

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction."""
        with self.inner.begin() as repositories:
            yield Repositories(Outbox(repositories.outbox, self.diary))


@attrs.frozen
class Starts:
    """The scheduler, of which a part may be out."""

    inner: RedisScheduler
    weather: Any
    diary: Diary

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Ask it, and write down both question and answer."""
        self.diary.write("ask", deferred_id)
        if self.weather.value and crc32(deferred_id.encode()) % DEAD == 0:
            time.sleep(BUDGET.total_seconds())
            reason = "a part is out"
            raise SchedulerUnavailable(reason)
        answer = self.inner.cancel(deferred_id, operation_id)
        self.diary.write("answer", deferred_id)
        return answer


@attrs.frozen
class Hook:
    """An on_cancelled hook that takes its time, and may fail when it is first called."""

    folder: str
    diary: Diary

    def __call__(self, result: CancelResult) -> None:
        """Call the hook."""
        job = result.batch_job_id
        self.diary.write("tell", job)
        lots = random.Random(job)  # noqa: S311  # No secret.
        seconds, fate = lots.uniform(0, HOOK_SECONDS_MAX), lots.random()
        time.sleep(seconds)
        mark = Path(self.folder) / f"{job}.first"
        is_first = not mark.exists()
        mark.touch()
        if is_first and fate < FAILS:
            self.diary.write("failed", job)
            raise RuntimeError
        if is_first and fate < FAILS + RAISES:
            self.diary.write("failed", job)
            raise Gone
        if is_first and fate < FAILS + RAISES + EXITS:
            os._exit(1)
        self.diary.write("told", job)


def work(where: Where) -> None:
    """Reconcile, in a process of its own, until it is over."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The campaign ends us.
    diary = Diary(where.folder)
    with redis.Redis.from_url(where.url) as client, psycopg.connect(where.dsn) as connection:
        lent = _Kept(connection)
        store = Store(PostgresUnitOfWork(lambda: lent), diary)
        starts = Starts(RedisScheduler(client, budget=BUDGET), where.weather, diary)
        hook = Hook(where.folder, diary)
        while not where.is_over.value:
            with suppress(Gone):
                taken = reconcile(
                    uow=store, scheduler=starts, on_cancelled=hook, limit=LIMIT, lease=LEASE
                )
                diary.write("end")
                if not taken:
                    time.sleep(LEASE.total_seconds() / 10)


class _Kept:
    """A connection that stays open."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def __enter__(self) -> psycopg.Connection[Any]:
        return self._connection

    def __exit__(self, *_: object) -> None:
        return None


# The campaign ------------------------------------------------------------------------------------


def campaign(
    postgres: PostgresServer,
    server: RedisServer,
    *,
    records: int,
    processes: int,
    seed: int = 0,
    minutes_max: float = 60,
) -> Found:
    """
    Let so many processes finish so many cancellations that nobody lived to finish.

    Arguments:
        postgres: where they are.
        server: a Redis that may be paused.
        records: how many.
        processes: how many reconcile at once; whoever dies is replaced.
        seed: of what happens when.
        minutes_max: how long it may take.
    """
    lots = random.Random(seed)  # noqa: S311  # No secret.
    found, begun = Found(records), time.monotonic()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ExitStack() as stack:
        dsn = stack.enter_context(postgres.schema())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        client = stack.enter_context(redis.Redis.from_url(server.url()))
        _leave_behind(dsn, RedisScheduler(client), records)
        where = Where(dsn, server.url(), folder, context.Value("b", 0), context.Value("b", 0))
        crew = [_joined(context, where) for _ in range(processes)]
        dead: set[int] = set()
        try:
            while (left := _owed(dsn)) and time.monotonic() < begun + 60 * minutes_max:
                _change_the_weather(lots, where, server, found)
                for index, process in enumerate(crew):
                    if process.is_alive() and lots.random() < 0.5 / processes:
                        process.kill()
                        process.join()
                        found.seen["processes killed"] += 1
                    if not process.is_alive():
                        process.join()
                        dead.add(process.pid)
                        found.seen["processes that died"] += 1
                        crew[index] = _joined(context, where)
                time.sleep(lots.uniform(0.5, 1.5))
        finally:
            server.resume()
            where.is_over.value = 1
            for process in crew:
                process.join(60)
                process.kill()
        if left:
            found.wrong.append(f"{left} of {records} are owed still")
        if waiting := RedisScheduler(client).waiting():
            found.wrong.append(f"{len(waiting)} starts wait still")
        judge(Diary.read(folder), dead, LEASE.total_seconds(), found)
        found.seconds = time.monotonic() - begun
    return found


def _joined(context: Any, where: Where) -> Any:
    process = context.Process(target=work, args=(where,))
    process.start()
    return process


def _leave_behind(dsn: str, scheduler: RedisScheduler, records: int) -> None:
    """Cancel jobs as processes that then died, an hour ago; the id of a start is the job's."""
    at = datetime.now(UTC) + timedelta(hours=1)
    with psycopg.connect(dsn) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) "
            "SELECT 'job-' || n, CASE n %% 5 WHEN 0 THEN 'running' ELSE 'scheduled' END, "
            "'job-' || n FROM generate_series(1, %s) AS n",
            [records],
        )
        connection.commit()
        kept = _Kept(connection)
        uow = PostgresUnitOfWork(lambda: kept)
        for number in range(1, records + 1):
            if number % 5:
                scheduler.schedule(f"job-{number}", at)
            cancel_rows(f"job-{number}", uow=uow, announce=True)
        connection.execute("UPDATE batch_cancellations SET taken_at = taken_at - interval '1 h'")


def _owed(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = "SELECT count(*) FROM batch_cancellations WHERE removal = 'pending'"
        query += " OR NOT is_announced"
        [(count,)] = connection.execute(query).fetchall()
        return int(count)


def _change_the_weather(
    lots: random.Random, where: Where, server: RedisServer, found: Found
) -> None:
    """Let Redis answer, let a part of it be out, or all of it."""
    server.resume()
    now = lots.choices(["it answers", "a part is out", "it is out"], [5, 3, 2])[0]
    where.weather.value = now == "a part is out"
    if now == "it is out":
        server.pause()
    found.seen[f"spells in which {now}"] += 1


def main() -> int:
    """Run what the command line asks for; 0 if it came out as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.reconciling")
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with PostgresServer.own() as postgres, RedisServer.own() as server:
        found = campaign(
            postgres,
            server,
            records=options.records,
            processes=options.processes,
            seed=options.seed,
        )
    sys.stdout.write(f"{found.table()}\n")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
