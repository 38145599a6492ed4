"""Procrastinate's settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import procrastinate
import psycopg

from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.procrastinate import (
    AsyncProcrastinateScheduler,
    ProcrastinateScheduler,
)
from tests.wiring.inside import AGAIN_SECONDS, fire

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "another queue": {"job": {"queue": "campaigns"}},
    "priority": {"job": {"priority": 7}},
    "lock": {"lock": "lock"},
    "queueing_lock": {"lock": "queueing_lock"},
    "exponential_wait": {"retry": {"exponential_wait": 2}},
    "delete_jobs always": {"worker": {"delete_jobs": "always"}},
}


class Numbered:
    """Our adapter, asked by the names that the campaign has for the jobs."""

    def __init__(self, ours: Any, ids: Mapping[str, str]) -> None:
        self._ours, self._ids = ours, ids

    def cancel(self, start_id: str, operation: str) -> Any:
        """Cancel the job of this name."""
        return self._ours.cancel(self._ids.get(start_id, "9" * 9), operation)

    def waiting_among(self, start_ids: set[str]) -> Any:
        """Return the jobs that wait."""
        return self._ours.waiting_among({self._ids.get(it, "9" * 9) for it in start_ids})


class World:
    """One queue of the one app."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        self._options, self._redis, self._dsn = options, places["redis"], places["postgres"]
        self._ids: dict[str, str] = {}
        self._queue = options.get("job", {}).get("queue", name)
        connector = procrastinate.SyncPsycopgConnector(conninfo=self._dsn)
        self._app, self._task = self._made(connector)
        self._app.open()
        with psycopg.connect(self._dsn) as connection:
            # One of the two processes makes the tables; the other one waits for it.
            connection.execute("SELECT pg_advisory_xact_lock(1)")
            if connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone() == (
                None,
            ):
                self._app.schema_manager.apply_schema()
        uow = PostgresUnitOfWork(lambda: psycopg.connect(self._dsn))
        self.ours = Numbered(ProcrastinateScheduler(uow), self._ids)

    def _made(self, connector: Any) -> tuple[procrastinate.App, Any]:
        app = procrastinate.App(connector=connector)
        retry = {"max_attempts": 2, "wait": int(AGAIN_SECONDS), **self._options.get("retry", {})}
        if "exponential_wait" in retry:
            del retry["wait"]

        def start_job(start_id: str) -> None:
            fire(self._redis, start_id)

        task = app.task(name="start_job", retry=procrastinate.RetryStrategy(**retry))(start_job)
        return app, task

    def ours_async(self, _: object) -> Numbered:
        """Return the asyncio twin."""
        uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(self._dsn))
        return Numbered(AsyncProcrastinateScheduler(uow), self._ids)

    def schedule(self, start_id: str, at: float) -> bool:
        """Defer a job, and keep its id; Procrastinate has no ids of the caller's own."""
        if start_id in self._ids:
            return False
        options = {"queue": self._queue, **self._options.get("job", {})}
        if "lock" in self._options:
            options[self._options["lock"]] = start_id
        due = datetime.fromtimestamp(at, UTC)
        job_id = self._task.configure(schedule_at=due, **options).defer(start_id=start_id)
        self._ids[start_id] = str(job_id)
        return True

    def carry(self) -> None:
        """Wait: it is where it waits."""

    def move(self) -> None:
        """Wait: a worker takes what is due from there."""

    def work(self) -> None:
        """Run a worker until there is nothing due."""

        async def run() -> None:
            connector = procrastinate.PsycopgConnector(conninfo=self._dsn)
            app, _ = self._made(connector)
            async with app.open_async():
                await app.run_worker_async(
                    queues=[self._queue],
                    wait=False,
                    concurrency=4,
                    install_signal_handlers=False,
                    **self._options.get("worker", {}),
                )

        asyncio.run(run())
