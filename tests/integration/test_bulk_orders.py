"""Bulks over the same jobs in opposite orders, beside single cancels, starts and workers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    AlreadyTerminal,
    BulkResult,
    ContactStatus,
    cancel_job,
    cancel_jobs,
    cancel_jobs_async,
    claim_contacts,
    reconcile,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.sqlalchemy import AsyncSqlAlchemyUnitOfWork, SqlAlchemyUnitOfWork
from tests import data_layers
from tests.integration.bulk_tables import counted, fill, rows, uow_of

__all__ = ["rows"]

JOBS = 60
IDS = [f"job-{number:04}" for number in range(JOBS)]


def by_psycopg(dsn: str, ids: list[str], **more: Any) -> BulkResult:
    """Cancel many jobs on psycopg."""
    return cancel_jobs(ids, uow=uow_of(dsn), **more)


def by_sqlalchemy(dsn: str, ids: list[str], **more: Any) -> BulkResult:
    """Cancel many jobs over SQLAlchemy."""
    uow = SqlAlchemyUnitOfWork(data_layers.postgres_engine(dsn), data_layers.TABLES)
    return cancel_jobs(ids, uow=uow, **more)


def by_asyncpg(dsn: str, ids: list[str], **more: Any) -> BulkResult:
    """Cancel many jobs over SQLAlchemy and asyncpg."""
    awaited: dict[str, Any] = more | {"scheduler": _Awaited(more["scheduler"])}

    async def cancel() -> BulkResult:
        engine = data_layers.postgres_engine_async(dsn)
        uow = AsyncSqlAlchemyUnitOfWork(engine, data_layers.TABLES)
        return await cancel_jobs_async(ids, uow=uow, **awaited)

    return asyncio.run(cancel())


class _Awaited:
    def __init__(self, scheduler: MemoryScheduler) -> None:
        self._scheduler = scheduler

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove a start."""
        return self._scheduler.cancel(deferred_id, operation_id)


Cancels = Callable[..., BulkResult]


@attrs.define
class Race:
    """
    Who cancels, starts and works at once; each begins when all do.

    Arguments:
        dsn: where.
        scheduler: the scheduler of the deferred starts.
    """

    dsn: str
    scheduler: MemoryScheduler
    results: list[BulkResult] = attrs.field(factory=list)
    singles: list[int] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)
    is_over: threading.Event = attrs.field(factory=threading.Event)
    barrier: threading.Barrier = attrs.field(factory=lambda: threading.Barrier(6))

    def bulk(self, cancel: Cancels, ids: list[str]) -> None:
        """Cancel all jobs."""
        more: dict[str, Any] = {"scheduler": self.scheduler, "operation_id": f"from {ids[0]}"}
        self.results.append(cancel(self.dsn, ids, **more))

    def single(self) -> None:
        """Cancel some of them one by one."""
        uow = uow_of(self.dsn)
        for job_id in IDS[::7]:
            try:
                result = cancel_job(job_id, uow=uow, scheduler=self.scheduler)
            except AlreadyTerminal:
                continue
            self.singles.append(result.contacts_cancelled)

    def start(self) -> None:
        """Start those that are scheduled, the last first."""
        uow = uow_of(self.dsn)
        for job_id in IDS[::-1]:
            start_job(job_id, uow=uow)

    def work(self) -> None:
        """Claim and settle, until it is over."""
        uow = uow_of(self.dsn)
        while not self.is_over.is_set():
            for job_id in IDS:
                for contact_id in claim_contacts(job_id, limit=2, uow=uow):
                    settle_contact(job_id, contact_id, ContactStatus.BUSY, uow=uow)

    def thread(self, do: Callable[..., None], *arguments: Any) -> threading.Thread:
        """Start a thread."""

        def run() -> None:
            try:
                self.barrier.wait(60)
                do(*arguments)
            except BaseException as error:  # noqa: BLE001  # It is looked at later.
                self.errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def run(self, one: Cancels, other: Cancels) -> None:
        """Run all of it."""
        cancels = [
            self.thread(self.bulk, one, IDS),
            self.thread(self.bulk, other, IDS[::-1]),
            self.thread(self.single),
            self.thread(self.start),
        ]
        workers = [self.thread(self.work) for _ in range(2)]
        for thread in cancels:
            thread.join(120)
        self.is_over.set()
        for thread in workers:
            thread.join(120)


@pytest.fixture
def troubles(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """Return what tells which attempts were made again, and which notes failed."""
    monkeypatch.setattr("batch_cancel.domain.bulk.BULK_SLICE", 20)
    caplog.set_level(logging.WARNING, "batch_cancel")
    pauses = list[str]()
    for kind in (PostgresUnitOfWork, SqlAlchemyUnitOfWork):
        monkeypatch.setattr(kind, "pause", lambda *_: pauses.append("tried again"))
    return lambda: pauses + [record.getMessage() for record in caplog.records]


@pytest.mark.repeats
@pytest.mark.parametrize(
    "pair", [(by_psycopg, by_psycopg), (by_sqlalchemy, by_psycopg), (by_asyncpg, by_sqlalchemy)]
)
def test_opposite_orders_never_meet_in_a_circle(
    rows: psycopg.Connection[Any],
    postgres_schema: str,
    troubles: Callable[[], list[str]],
    pair: tuple[Cancels, Cancels],
) -> None:
    """I14: nothing is tried again, nothing fails to be noted; each job is cancelled once."""
    fill(rows, JOBS, 5)
    rows.execute("UPDATE batch_jobs SET status = 'running' WHERE id < 'job-0030'")
    race = Race(postgres_schema, MemoryScheduler())
    for job_id in IDS:
        race.scheduler.schedule(job_id.replace("job", "start"), datetime.now(UTC) + timedelta(1))
    race.run(*pair)
    assert race.errors == []
    assert troubles() == []
    both = race.results
    assert [(it.jobs, it.left, it.failures) for it in both] == [(JOBS, 0, ())] * 2
    assert sum(it.cancelled for it in both) + len(race.singles) == JOBS
    assert counted(rows, "batch_jobs") == {"cancelled": JOBS}
    assert counted(rows, "batch_contacts") == {"cancelled": 5 * JOBS}
    recorded = rows.execute("SELECT sum(contacts_cancelled) FROM batch_cancellations").fetchone()
    assert recorded == (sum(it.contacts_cancelled for it in both) + sum(race.singles),)
    uow = uow_of(postgres_schema)
    assert reconcile(uow=uow, scheduler=race.scheduler, lease=timedelta(0)) == []
