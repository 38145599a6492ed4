"""How long a cancel waits for the lock of a job that other processes hammer."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import attrs
import psycopg

from batch_cancel import (
    cancel_rows,
)
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.domain.job import Job, JobKey
from tests.faults.stress_workers import RETRYABLE, Steps, lent
from tests.pairs import create_reference_tables


@attrs.frozen
class _TimedJobs:
    jobs: Any
    waits: list[float]

    def lock(self, key: JobKey) -> Job | None:
        began = time.perf_counter()
        job: Job | None = self.jobs.lock(key)
        self.waits.append(time.perf_counter() - began)
        return job

    def mark_cancelled(self, *arguments: Any) -> None:
        self.jobs.mark_cancelled(*arguments)


@attrs.define
class _TimedRepositories:
    jobs: _TimedJobs
    contacts: Any
    outbox: Any
    inspection: Any
    work: Any


@attrs.frozen
class _TimedUnitOfWork:
    uow: PostgresUnitOfWork
    waits: list[float] = attrs.field(factory=list)

    @contextmanager
    def begin(self) -> Generator[_TimedRepositories]:
        with self.uow.begin() as it:
            yield _TimedRepositories(
                _TimedJobs(it.jobs, self.waits), it.contacts, it.outbox, it.inspection, it.work
            )


def _hammer_for_ever(dsn: str, current: Any, index: int) -> None:
    lots = random.Random(index)  # noqa: S311  # Repeatable, no secret.
    with psycopg.connect(dsn, autocommit=True) as connection:
        steps = Steps(connection)
        while (number := current.value) >= 0:
            job = f"job-{number}"
            for contact in steps.claim(job, 1):
                steps.settle(job, contact, lots.choice(RETRYABLE))
            if lots.random() < 0.2:
                steps.append(job)
            steps.finish(job)


def lock_waits(dsn: str, cancels: int, workers: int) -> list[float]:
    """Cancel jobs that so many processes hammer; give the seconds that each waited for its job."""
    context = multiprocessing.get_context("spawn")
    current = context.Value("i", 0)
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status) "
            "SELECT 'job-' || n, 'running' FROM generate_series(0, %s) AS n",
            [cancels],
        )
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id) "
            "SELECT id FROM batch_jobs, generate_series(1, 100)"
        )
        processes = [
            context.Process(target=_hammer_for_ever, args=(dsn, current, index))
            for index in range(workers)
        ]
        for process in processes:
            process.start()
        time.sleep(2 if workers else 0)
        uow = _TimedUnitOfWork(PostgresUnitOfWork(lambda: lent(connection)))
        try:
            for number in range(cancels):
                time.sleep(0.03)
                cancel_rows(f"job-{number}", uow=uow)
                current.value = number + 1
        finally:
            current.value = -1
            for process in processes:
                process.join()
    return sorted(uow.waits)
