"""Procrastinate, in its own environment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import procrastinate

from tests.schedulers.inside import start
from tests.schedulers.libraries.gate import moment


class _Failed(Exception):
    """What a job ends with that shall be tried again."""


def _app(places: Mapping[str, str], connector: Any) -> tuple[procrastinate.App, Any]:
    app = procrastinate.App(connector=connector)

    @app.task(  # type: ignore[untyped-decorator]
        name="start", retry=procrastinate.RetryStrategy(max_attempts=2, wait=3600)
    )
    def start_job(name: str) -> None:
        start(places, name)
        if name.startswith("fails"):
            raise _Failed

    return app, start_job


class Client:
    """An app on a blocking connection."""

    def __init__(self, places: Mapping[str, str]) -> None:
        connector = procrastinate.SyncPsycopgConnector(conninfo=places["postgres"])
        self._app, self._start = _app(places, connector)
        self._app.open()

    def make_tables(self) -> None:
        """Create Procrastinate's tables."""
        self._app.schema_manager.apply_schema()

    def schedule(self, name: str, at: float) -> str:
        """Defer a job, and give its id, which Postgres draws."""
        return str(self._start.configure(schedule_at=moment(at)).defer(name=name))

    def cancel(self, job_id: str) -> bool:
        """Cancel it, as Procrastinate does."""
        return bool(self._app.job_manager.cancel_job_by_id(int(job_id)))

    def status(self, job_id: str) -> str:
        """Return what Procrastinate says of a job."""
        return str(self._app.job_manager.get_job_status(int(job_id)).value)

    def private_names(self) -> dict[str, str]:
        """Return the statuses of a job that waits, and of one that was cancelled."""
        return {
            "waits": procrastinate.jobs.Status.TODO.value,
            "cancelled": procrastinate.jobs.Status.CANCELLED.value,
        }


def work(places: Mapping[str, str]) -> None:
    """Run a worker that polls often, so that there is something to race."""

    async def run() -> None:
        connector = procrastinate.PsycopgConnector(conninfo=places["postgres"])
        app, _ = _app(places, connector)
        async with app.open_async():
            await app.run_worker_async(
                concurrency=2, fetch_job_polling_interval=0.01, install_signal_handlers=False
            )

    asyncio.run(run())
