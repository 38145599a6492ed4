"""
Cancels of one job at once: exactly one of them is the cancellation.

From threads, tasks and processes, wherever the store can be shared by them. Every round starts at
a barrier; the job's last state and the number of answers are what counts, never the time.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelResult,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.sqlite import SqliteStore
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROUNDS = 20
AT_ONCE = 2

Answer = CancelResult | AlreadyTerminal


class Jobs:
    """Jobs to fight over, `job-0` to `job-19`, each with two open contacts and a live call."""

    def __init__(self, uow: Any, connect: Callable[[], psycopg.Connection[Any]] | None) -> None:
        self.uow = uow
        self._connect = connect
        contacts = {"a": "pending", "b": "busy", "c": "dialing"}
        if connect is None:
            for number in range(ROUNDS):
                uow.add_job(f"job-{number}", "running")
                uow.add_contacts(f"job-{number}", contacts)
            return
        with connect() as connection:
            create_reference_tables(connection)
            connection.execute(
                "INSERT INTO batch_jobs (id, status) "
                "SELECT 'job-' || n, 'running' FROM generate_series(0, 19) n"
            )
            connection.execute(
                "INSERT INTO batch_contacts (batch_job_id, status) "
                "SELECT id, unnest(ARRAY['pending', 'busy', 'dialing']) FROM batch_jobs"
            )

    def contacts(self, number: int) -> list[str]:
        """Return the statuses of a job's contacts, sorted."""
        if self._connect is None:
            return sorted(self.uow.contacts(f"job-{number}").values())
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT status FROM batch_contacts WHERE batch_job_id = %s", [f"job-{number}"]
            )
            return sorted(status for (status,) in rows)

    def check(self, number: int, answers: list[Answer]) -> None:
        """Exactly one cancelled the job; the others were told that it was, when and how much."""
        results = [answer for answer in answers if isinstance(answer, CancelResult)]
        refusals = [answer for answer in answers if isinstance(answer, AlreadyTerminal)]
        assert len(results) == 1
        assert len(refusals) == AT_ONCE - 1
        assert results[0].contacts_cancelled == 2
        for refusal in refusals:
            assert refusal.status == "cancelled"
            assert refusal.cancelled_at == results[0].cancelled_at
            assert refusal.contacts_cancelled == 2
        assert self.contacts(number) == ["cancelled", "cancelled", "dialing"]


def _cancel(uow: Any, number: int) -> Answer:
    try:
        return cancel_job(f"job-{number}", uow=uow, scheduler=MemoryScheduler())
    except AlreadyTerminal as refusal:
        return refusal


async def _cancel_async(uow: Any, number: int) -> Answer:
    try:
        return await cancel_job_async(f"job-{number}", uow=uow, scheduler=AsyncMemoryScheduler())
    except AlreadyTerminal as refusal:
        return refusal


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Jobs]:
    """Yield a store that threads share."""
    match request.param:
        case "memory":
            yield Jobs(MemoryStore(), None)
        case "sqlite":
            yield Jobs(SqliteStore(tmp_path / "jobs.sqlite"), None)
        case _:
            dsn = request.getfixturevalue("postgres_schema")
            connect = lambda: psycopg.connect(dsn)  # noqa: E731  # A closure as an adopter's.
            yield Jobs(PostgresUnitOfWork(connect), connect)


@pytest.fixture(params=["memory-async", "postgres-async"])
def shared_async(request: pytest.FixtureRequest) -> Jobs:
    """Yield a store that tasks share."""
    if request.param == "memory-async":
        return Jobs(AsyncMemoryStore(), None)
    dsn = request.getfixturevalue("postgres_schema")
    uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn))
    return Jobs(uow, lambda: psycopg.connect(dsn))


def test_of_two_threads_exactly_one_cancels(shared: Jobs) -> None:
    """Whoever comes second is told so."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(ROUNDS):
            barrier = threading.Barrier(AT_ONCE)

            def cancel(number: int = number, barrier: threading.Barrier = barrier) -> Answer:
                barrier.wait()
                return _cancel(shared.uow, number)

            futures = [threads.submit(cancel) for _ in range(AT_ONCE)]
            shared.check(number, [future.result() for future in futures])


def test_of_two_tasks_exactly_one_cancels(shared_async: Jobs) -> None:
    """Whoever comes second is told so."""

    async def main() -> None:
        for number in range(ROUNDS):
            cancels = [_cancel_async(shared_async.uow, number) for _ in range(AT_ONCE)]
            shared_async.check(number, await asyncio.gather(*cancels))

    asyncio.run(main())


def _in_process(store: str, address: str, barrier: Any, answers: Any) -> None:
    uow: Any = (
        SqliteStore(address)
        if store == "sqlite"
        else PostgresUnitOfWork(lambda: psycopg.connect(address))
    )
    for number in range(ROUNDS):
        barrier.wait()
        answers.put((number, _cancel(uow, number)))


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_of_two_processes_exactly_one_cancels(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nothing is shared but the store itself; the refusal crosses a process as it is."""
    if store == "sqlite":
        address = str(tmp_path / "jobs.sqlite")
        jobs = Jobs(SqliteStore(address), None)
    else:
        address = request.getfixturevalue("postgres_schema")
        jobs = Jobs(None, lambda: psycopg.connect(address))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # One import of all this, not two.
    barrier = context.Barrier(AT_ONCE)
    queue = context.Queue()
    processes = [
        context.Process(target=_in_process, args=(store, address, barrier, queue))
        for _ in range(AT_ONCE)
    ]
    for process in processes:
        process.start()
    got = [queue.get(timeout=60) for _ in range(ROUNDS * AT_ONCE)]
    for process in processes:
        process.join()
    queue.close()
    queue.join_thread()
    for number in range(ROUNDS):
        jobs.check(number, [answer for at, answer in got if at == number])


def test_the_same_operation_twice_at_once_is_one_cancellation(shared: Jobs) -> None:
    """Both are answered 200, with the same body; it happened once."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(ROUNDS):
            barrier = threading.Barrier(AT_ONCE)

            def cancel(number: int = number, barrier: threading.Barrier = barrier) -> CancelResult:
                barrier.wait()
                return cancel_job(
                    f"job-{number}",
                    uow=shared.uow,
                    scheduler=MemoryScheduler(),
                    operation_id=f"op-{number}",
                )

            futures = [threads.submit(cancel) for _ in range(AT_ONCE)]
            one, other = sorted(
                (future.result() for future in futures), key=lambda result: result.replayed
            )
            assert (one.replayed, other.replayed) == (False, True)
            assert one.contacts_cancelled == other.contacts_cancelled == 2
            assert one.cancelled_at == other.cancelled_at


def test_a_job_rescheduled_while_the_cancel_waits_loses_its_new_start(
    postgres_schema: str,
) -> None:
    """The deferred id is the one under the row lock, not the one that was there before."""
    uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema))
    scheduler = MemoryScheduler()
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) "
            "VALUES ('j', 'scheduled', 'old')"
        )
        scheduler.schedule("new", datetime.now(UTC))
        with ThreadPoolExecutor(1) as thread:
            with connection.transaction():
                connection.execute("UPDATE batch_jobs SET scheduled_job_id = 'new' WHERE id = 'j'")
                cancel = thread.submit(cancel_job, "j", uow=uow, scheduler=scheduler)
                _wait_for_a_waiter(postgres_schema)
            assert cancel.result().redis_job_cancelled
    assert scheduler.waiting() == set()


def _wait_for_a_waiter(dsn: str) -> None:
    """Return once a backend waits for a lock that another one holds."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        waiters = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while connection.execute(waiters).fetchone() == (0,):
            pass
