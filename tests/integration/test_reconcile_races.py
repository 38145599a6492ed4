"""
Ten reconciles at once, beside live cancels: every removal settled, every hook told once.

Processes share nothing but the store and Redis. What counts is the end: nothing owed, nothing
waiting, each record with the answer that its own operation got.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from batch_cancel import (
    CancelResult,
    JobKey,
    Removal,
    cancel_job,
    cancel_rows,
    inspect,
    reconcile,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.adapters.sqlite import SqliteStore
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.servers import RedisServer

AT_ONCE = 10
OWED = 60
LIVE = 20
HOUR = timedelta(hours=1)
PATIENT = timedelta(seconds=30)
"""A budget for a machine that runs a dozen processes at once."""


class Shared:
    """A store with unfinished cancellations `owed-0` ..., an hour old, and jobs `live-0` ..."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind = kind
        self.address = address
        self.uow = store_at(kind, address)
        jobs = [f"owed-{n}" for n in range(OWED)] + [f"live-{n}" for n in range(LIVE)]
        if kind == "postgres":
            with psycopg.connect(address) as connection:
                create_reference_tables(connection)
                connection.cursor().executemany(
                    "INSERT INTO batch_jobs (id, status, scheduled_job_id) "
                    "VALUES (%s, 'scheduled', %s)",
                    [(job, f"start of {job}") for job in jobs],
                )
        else:
            for job in jobs:
                self.uow.add_job(job, "scheduled", deferred_id=f"start of {job}")
        for number in range(OWED):
            job = f"owed-{number}"
            cancel_rows(job, uow=self.uow, operation_id=f"op of {job}", announce=True)
        self.age()

    def age(self) -> None:
        """Let an hour pass for all cancellations."""
        if self.kind == "postgres":
            with psycopg.connect(self.address) as connection:
                connection.execute(
                    "UPDATE batch_cancellations SET taken_at = taken_at - '1 hour'::interval"
                )
            return
        at = (datetime.now(UTC) - HOUR).isoformat(timespec="microseconds")
        with closing(sqlite3.connect(self.address, isolation_level=None)) as file:
            file.execute("UPDATE batch_cancellations SET taken_at = ?", [at])

    def removals(self) -> Counter[Removal]:
        """Count the records by what they say of their deferred start."""
        found: Counter[Removal] = Counter()
        for kind, number in (("owed", OWED), ("live", LIVE)):
            for n in range(number):
                with self.uow.begin() as repositories:
                    job = repositories.jobs.lock(JobKey(f"{kind}-{n}"))
                assert job.cancellation is not None
                assert job.cancellation.operation_id == f"op of {kind}-{n}"
                found[job.cancellation.removal] += 1
        return found


def store_at(kind: str, address: str) -> Any:
    """Open a store."""
    if kind == "sqlite":
        return SqliteStore(address, busy_timeout_seconds=30)
    return PostgresUnitOfWork(lambda: psycopg.connect(address))


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Shared:
    """Yield a store that processes can share."""
    if request.param == "sqlite":
        return Shared("sqlite", str(tmp_path / "jobs.sqlite"))
    return Shared("postgres", request.getfixturevalue("postgres_schema"))


@pytest.fixture
def starts(redis_server: RedisServer, redis_prefix: str) -> Generator[RedisScheduler]:
    """Yield the deferred starts of all the jobs."""
    with redis.Redis.from_url(redis_server.url()) as client:
        scheduler = RedisScheduler(client, namespace=redis_prefix, budget=PATIENT)
        for kind, number in (("owed", OWED), ("live", LIVE)):
            for n in range(number):
                scheduler.schedule(f"start of {kind}-{n}", datetime.now(UTC) + HOUR)
        yield scheduler
        for key in client.scan_iter(f"{{{redis_prefix}:*"):
            client.delete(key)


def reconcile_on(  # noqa: PLR0917  # A process is started with a tuple.
    kind: str, address: str, url: str, namespace: str, lease: timedelta, barrier: Any, answers: Any
) -> None:
    """Reconcile until nothing is found, in a process of its own."""
    with redis.Redis.from_url(url) as client:
        scheduler = RedisScheduler(client, namespace=namespace, budget=PATIENT)
        uow = store_at(kind, address)
        told: list[CancelResult] = []
        results: list[CancelResult] = []
        barrier.wait()
        for _ in range(OWED):
            found = reconcile(
                uow=uow, scheduler=scheduler, limit=7, lease=lease, on_cancelled=told.append
            )
            if not found:
                break
            results += found
        answers.put((told, results))


def cancel_on(  # noqa: PLR0917  # A process is started with a tuple.
    kind: str, address: str, url: str, namespace: str, barrier: Any, answers: Any
) -> None:
    """Cancel the live jobs, in a process of its own."""
    with redis.Redis.from_url(url) as client:
        scheduler = RedisScheduler(client, namespace=namespace, budget=PATIENT)
        told: list[CancelResult] = []
        barrier.wait()
        results = [
            cancel_job(
                f"live-{n}",
                uow=store_at(kind, address),
                scheduler=scheduler,
                operation_id=f"op of live-{n}",
                on_cancelled=told.append,
            )
            for n in range(LIVE)
        ]
        answers.put((told, results))


@pytest.mark.repeats
@pytest.mark.parametrize("lease", [timedelta(minutes=5), timedelta(0)], ids=["lease", "no lease"])
def test_ten_processes_beside_live_cancels_finish_everything(
    shared: Shared,
    starts: RedisScheduler,
    redis_server: RedisServer,
    redis_prefix: str,
    lease: timedelta,
) -> None:
    """With a lease, each removal is done and told by one; without, nothing goes wrong either."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # One import of all this, not eleven.
    barrier, answers = context.Barrier(AT_ONCE + 1), context.Queue()
    where = (shared.kind, shared.address, redis_server.url(), redis_prefix)
    processes = [
        context.Process(target=reconcile_on, args=(*where, lease, barrier, answers))
        for _ in range(AT_ONCE)
    ]
    processes.append(context.Process(target=cancel_on, args=(*where, barrier, answers)))
    for process in processes:
        process.start()
    got = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    answers.close()
    answers.join_thread()

    told = Counter(result.batch_job_id for hooks, _ in got for result in hooks)
    done = Counter(result.batch_job_id for _, results in got for result in results)
    every = {f"owed-{n}" for n in range(OWED)} | {f"live-{n}" for n in range(LIVE)}
    assert {result.removal for _, results in got for result in results} == {Removal.REMOVED}
    assert set(told) == set(done) == every
    if lease:
        assert set(told.values()) == set(done.values()) == {1}
    assert shared.removals() == {Removal.REMOVED: OWED + LIVE}
    assert starts.waiting() == set()
    assert not inspect(uow=shared.uow, scheduler=starts).is_found
    assert reconcile(uow=shared.uow, scheduler=starts, lease=timedelta(0)) == []


@pytest.mark.repeats
def test_ten_threads_tell_each_hook_once(shared: Shared) -> None:
    """Whoever takes a cancellation up is alone with it."""
    told: list[CancelResult] = []
    barrier = threading.Barrier(AT_ONCE)

    def run() -> None:
        barrier.wait()
        while reconcile(
            uow=shared.uow, scheduler=MemoryScheduler(), limit=5, on_cancelled=told.append
        ):
            pass

    at_once(run)

    assert sorted(it.batch_job_id for it in told) == sorted(f"owed-{n}" for n in range(OWED))


def at_once(run: Callable[[], None]) -> None:
    """Run it on ten threads, none of which may fail."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  # Shown by the test's own thread.
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_inspect_waits_for_nobody_who_holds_a_job(postgres_schema: str) -> None:
    """It locks nothing: an open transaction that holds every job keeps it from nothing."""
    with psycopg.connect(postgres_schema) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'scheduled')")
        connection.commit()
        connection.execute("SELECT * FROM batch_jobs FOR UPDATE")
        connection.execute("SELECT * FROM batch_contacts FOR UPDATE")
        uow = PostgresUnitOfWork(
            lambda: psycopg.connect(postgres_schema), lock_timeout=timedelta(milliseconds=1)
        )
        drift = inspect(uow=uow, scheduler=MemoryScheduler())
    assert [it.key for it in drift.starts_missing] == [JobKey("j")]


def test_a_read_only_transaction_is_enough_to_look(postgres_schema: str) -> None:
    """So a replica can be looked at as well."""
    with psycopg.connect(postgres_schema) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'scheduled')")
    uow = PostgresUnitOfWork(
        lambda: psycopg.connect(postgres_schema, options=f"{options(postgres_schema)} {READ_ONLY}")
    )
    assert inspect(uow=uow, scheduler=MemoryScheduler()).starts_missing


READ_ONLY = "-cdefault_transaction_read_only=on"


def options(dsn: str) -> str:
    """Return the options of a connection string."""
    return str(conninfo_to_dict(dsn)["options"])
