"""A cancel that is held half-way, in memory or by a lock, and a site with a job to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg

from batch_cancel import cancel_job_async
from tests.http.requests import Site
from tests.processes import WAIT_SECONDS_MAX

T = TypeVar("T")

SHORT = timedelta(milliseconds=50)
FOR_EVER = timedelta(hours=1)
FAILED = b'{"detail": "Failed to cancel batch job"}'


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Play a scenario; one that a bug brings to a halt fails."""
    return asyncio.run(asyncio.wait_for(scenario, WAIT_SECONDS_MAX))


class Held:
    """A cancel that stops half-way until it is let go on."""

    def __init__(self, site: Site) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()
        self._cancel = partial(cancel_job_async, uow=site.store, scheduler=site.scheduler)

    async def __call__(self, batch_job_id: str, /, **wish: Any) -> Any:
        """Cancel, once it is let go on."""
        self.begun.set()
        await self.go_on.wait()
        result = await self._cancel(batch_job_id, **wish)
        self.ended.set()
        return result


def site_of_a_job() -> Site:
    """Return a site with a running job."""
    site = Site("asgi")
    site.add_job()
    return site


async def never(*_: Any) -> Any:
    """Wait without an end."""
    await asyncio.Event().wait()


def somebody_waits(connection: psycopg.Connection[Any]) -> bool:
    """Check whether another connection waits for a lock that this one holds."""
    row = connection.execute(
        "SELECT count(*) > 0 FROM pg_locks "
        "WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    ).fetchone()
    return row == (True,)


def status_in(connection: psycopg.Connection[Any]) -> object:
    """Return the status of the only job."""
    row = connection.execute("SELECT status FROM batch_jobs").fetchone()
    return row and row[0]
