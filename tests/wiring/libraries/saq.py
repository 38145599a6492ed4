"""SAQ's settings, in Redis."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from collections.abc import Mapping
from typing import Any

import redis.asyncio
from saq import Worker
from saq.queue.redis import RedisQueue

from batch_cancel.adapters.saq import AsyncSaqScheduler, SaqScheduler
from tests.wiring.inside import AGAIN_SECONDS, fire
from tests.wiring.libraries.common import PATIENCE, blocking

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "name with signs": {"name": "{high}:queued é"},
    "dump and load, JSON": {"queue": {"dump": lambda it: json.dumps(it, indent=1).encode()}},
    "dump and load, pickle": {"queue": {"dump": pickle.dumps, "load": pickle.loads}},
    "ttl for ever": {"job": {"ttl": 0}},
    "ttl none": {"job": {"ttl": -1}},
    "retry at once": {"job": {"retry_delay": 0}},
    "retry_backoff": {"job": {"retry_backoff": AGAIN_SECONDS}},
    "timeout and heartbeat": {"job": {"timeout": 0, "heartbeat": 60}},
    "one at a time": {"worker": {"concurrency": 1}},
}


class World:
    """One queue."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("saq").setLevel(logging.CRITICAL)
        self._options, self._url = options, places["redis"]
        self._name = options.get("name", name)
        self._runner = asyncio.Runner()
        self._queue = self._runner.run(self._made())
        self.ours = SaqScheduler(blocking(places), queue=self._name, budget=PATIENCE)

    async def _made(self) -> RedisQueue:
        client = redis.asyncio.from_url(self._url)
        return RedisQueue(client, name=self._name, **self._options.get("queue", {}))

    def ours_async(self, client: Any) -> AsyncSaqScheduler:
        """Return the asyncio twin."""
        return AsyncSaqScheduler(client, queue=self._name, budget=PATIENCE)

    def schedule(self, start_id: str, at: float) -> bool:
        """Enqueue a scheduled job."""
        options = {
            "retries": 2,
            "retry_delay": AGAIN_SECONDS,
            "scheduled": int(at),
            **self._options.get("job", {}),
        }
        enqueued = self._queue.enqueue("start_job", key=start_id, start_id=start_id, **options)
        return self._runner.run(enqueued) is not None

    def carry(self) -> None:
        """Wait: it is where it waits."""

    def move(self) -> None:
        """Do what a worker does each second."""

        async def schedule() -> None:
            await self._queue.redis.delete(self._queue.namespace("schedule"))
            await self._queue.schedule()

        self._runner.run(schedule())

    def work(self) -> None:
        """Run a worker until its queue is empty."""

        async def start_job(_: object, *, start_id: str) -> None:
            await asyncio.to_thread(fire, self._url, start_id)

        async def run() -> None:
            queue = await self._made()
            options = {"burst": True, "dequeue_timeout": 0.3, **self._options.get("worker", {})}
            await Worker(queue, functions=[("start_job", start_job)], **options).start()
            await queue.disconnect()

        asyncio.run(run())
