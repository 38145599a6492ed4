"""Cancels and appends from clients that go to another node when theirs fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from batch_cancel import (
    CancelFailed,
    CancelResult,
    StoreFailed,
    append_contacts,
    cancel_job,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlalchemy import SqlAlchemyUnitOfWork
from tests.data_layers import CONTACTS, JOBS, METADATA, TABLES
from tests.galera.rounds import OPEN
from tests.processes import wait_until
from tests.servers import GaleraCluster, GaleraNode

JOBS_IN_ALL: Final = 240
_STRUCK_AT: Final = 40
_PATIENCE_SECONDS: Final = 60.0
_CLIENTS: Final = 6


@attrs.define
class Outage:
    """
    Jobs that clients cancel on all nodes, while one node is struck.

    Arguments:
        cluster: the nodes.
        database: a database of theirs.
    """

    cluster: GaleraCluster
    database: str
    results: dict[str, CancelResult] = attrs.field(factory=dict[str, CancelResult])
    failures: list[str] = attrs.field(factory=list[str])
    """What clients met before they went to another node."""
    appended: int = 0
    _counting: threading.Lock = attrs.field(factory=threading.Lock)

    def run(self, strike: Callable[[GaleraNode], None]) -> None:
        """Cancel all jobs, and strike the last node in the middle."""
        engines = [
            sa.create_engine(
                it.url(self.database),
                poolclass=sa.QueuePool,
                connect_args={"connect_timeout": 2, "read_timeout": 15},
            )
            for it in self.cluster.nodes
        ]
        METADATA.create_all(engines[0])
        TABLES.known.clear()
        names = [f"job-{number}" for number in range(JOBS_IN_ALL)]
        with engines[0].begin() as connection:
            connection.execute(sa.insert(JOBS), [{"id": it, "status": "running"} for it in names])
            contacts = [
                {"batch_job_id": it, "status": status}
                for it in names
                for status in ("pending", "busy", "dialing")
            ]
            connection.execute(sa.insert(CONTACTS), contacts)
        stores = [SqlAlchemyUnitOfWork(it, TABLES) for it in engines]
        with ThreadPoolExecutor(_CLIENTS + 1) as threads:
            calls = [
                threads.submit(self._client, names[number::_CLIENTS], stores, number)
                for number in range(_CLIENTS)
            ]
            while len(self.results) < _STRUCK_AT and not all(it.done() for it in calls):
                time.sleep(0.005)
            strike(self.cluster.nodes[-1])
            for call in calls:
                call.result()
        for engine in engines:
            engine.dispose()

    def _client(
        self, names: Sequence[str], stores: Sequence[SqlAlchemyUnitOfWork], number: int
    ) -> None:
        for place, name in enumerate(names):
            if place % 2:
                self._append(name, stores[(number + place) % len(stores)])
            self._cancel(name, stores, number + place)

    def _append(self, name: str, store: SqlAlchemyUnitOfWork) -> None:
        try:
            count = append_contacts(name, [{"label": "added"}], uow=store)
        except StoreFailed as failure:
            self._failed(failure.outcome)
        else:
            with self._counting:
                self.appended += count

    def _cancel(self, name: str, stores: Sequence[SqlAlchemyUnitOfWork], first: int) -> None:
        """Insist with one operation id, each time at another node."""
        deadline, at = time.monotonic() + _PATIENCE_SECONDS, first
        while True:
            try:
                self.results[name] = cancel_job(
                    name,
                    uow=stores[at % len(stores)],
                    scheduler=MemoryScheduler(),
                    operation_id=f"op-{name}",
                )
            except CancelFailed as failure:
                if not failure.retryable or time.monotonic() > deadline:
                    raise
                self._failed(failure.outcome)
                at += 1
                continue
            return

    def _failed(self, outcome: str) -> None:
        with self._counting:
            self.failures.append(outcome)

    def wrong(self) -> list[str]:
        """Return what is lost or half, on each node once all serve again."""
        found: list[str] = []
        for node in self.cluster.nodes:
            engine = sa.create_engine(node.url(self.database), poolclass=sa.NullPool)
            # One that was frozen still believes for a while that it is in step with the others.
            wait_until(partial(_is_in_step, engine), "a node has what the others have")
            with engine.connect() as connection:
                connection.exec_driver_sql("SET STATEMENT wsrep_sync_wait=1 FOR SELECT 1")
                jobs = dict(connection.execute(sa.select(JOBS.c.id, JOBS.c.status)).all())
                of = CONTACTS.c
                contacts = connection.execute(sa.select(of.batch_job_id, of.status)).all()
                ours = TABLES.cancellations.c
                records = connection.execute(
                    sa.select(ours.batch_job_id, ours.operation_id, ours.contacts_cancelled)
                ).all()
            counts = {job: count for job, operation, count in records if operation == f"op-{job}"}
            for name, status in jobs.items():
                its = [it for job, it in contacts if job == name]
                cancelled, result = its.count("cancelled"), self.results.get(name)
                if status != "cancelled" or result is None:
                    found.append(f"{name} is {status}, and its cancel answered {result}")
                elif any(it in OPEN for it in its):
                    found.append(f"{name} is cancelled, and its contacts are {its}")
                elif not cancelled == result.contacts_cancelled == counts.get(name):
                    found.append(f"{name}: {cancelled}, {result}, {counts.get(name)}")
            if len(records) != len(jobs):
                found.append(f"{len(records)} records of {len(jobs)} jobs")
        return found


def _is_in_step(engine: sa.Engine) -> bool:
    """Check whether a node answers once it has all that others have committed."""
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET STATEMENT wsrep_sync_wait=1 FOR SELECT 1")
    except OperationalError:
        return False
    return True
