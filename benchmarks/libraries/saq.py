"""SAQ: `Queue.abort`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from uuid import uuid4

from saq import Queue


class Peer:
    """A queue."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._runner = asyncio.Runner()
        self._queue = Queue.from_url(places["redis"])

    def schedule(self, number: int) -> list[str]:
        """Enqueue scheduled jobs."""
        return self._runner.run(self._schedule([uuid4().hex for _ in range(number)]))

    async def _schedule(self, items: list[str]) -> list[str]:
        tomorrow = int(time.time()) + 86_400
        for item in items:
            await self._queue.enqueue("start_job", key=item, scheduled=tomorrow)
        return items

    def cancel(self, items: Sequence[str]) -> None:
        """Abort them."""
        self._runner.run(self._cancel(items))

    async def _cancel(self, items: Sequence[str]) -> None:
        for item in items:
            job = await self._queue.job(item)
            assert job is not None
            await self._queue.abort(job, "cancelled")
