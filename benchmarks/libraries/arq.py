"""arq: `Job.abort`, which asks a worker; it is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job


class Peer:
    """An arq pool."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._runner = asyncio.Runner()
        self._pool = self._runner.run(create_pool(RedisSettings.from_dsn(places["redis"])))

    def schedule(self, number: int) -> list[str]:
        """Enqueue deferred jobs."""
        return self._runner.run(self._schedule([uuid4().hex for _ in range(number)]))

    async def _schedule(self, items: list[str]) -> list[str]:
        for item in items:
            await self._pool.enqueue_job("start_job", _job_id=item, _defer_by=timedelta(days=1))
        return items

    def cancel(self, items: Sequence[str]) -> None:
        """Abort them."""
        self._runner.run(self._cancel(items))

    async def _cancel(self, items: Sequence[str]) -> None:
        for item in items:
            with suppress(TimeoutError):
                await Job(item, self._pool).abort(timeout=0)
