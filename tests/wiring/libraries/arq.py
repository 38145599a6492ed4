"""arq's settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from arq import Retry, Worker, create_pool, func
from arq.connections import RedisSettings

from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from tests.wiring.inside import AGAIN_SECONDS, Retried, fire
from tests.wiring.libraries.common import PATIENCE, blocking

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "another queue": {"queue": "arq:campaigns"},
    "queue with braces": {"queue": "{arq}:queue:high"},
    "job_serializer": {
        "serializers": {
            "job_serializer": lambda it: json.dumps(it).encode(),
            "job_deserializer": json.loads,
        }
    },
    "allow_abort_jobs": {"worker": {"allow_abort_jobs": True}},
    "keep_result": {"keep_result": 3600},
    "_expires": {"expires": 60},
    "one job at a time": {"worker": {"max_jobs": 1}},
}


class World:
    """One queue."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        self.queue = options.get("queue") or f"arq:queue:{name}"
        self._options, self._url = options, places["redis"]
        self._settings = RedisSettings.from_dsn(places["redis"])
        self._runner = asyncio.Runner()
        self._serializers = options.get("serializers", {})
        self._pool = self._runner.run(create_pool(self._settings, **self._serializers))
        self.ours = ArqScheduler(blocking(places), queue=self.queue, budget=PATIENCE)

    def ours_async(self, client: Any) -> AsyncArqScheduler:
        """Return the asyncio twin."""
        return AsyncArqScheduler(client, queue=self.queue, budget=PATIENCE)

    def schedule(self, start_id: str, at: float) -> bool:
        """Enqueue a deferred job."""
        enqueued = self._pool.enqueue_job(
            "start_job",
            start_id,
            _job_id=start_id,
            _defer_until=datetime.fromtimestamp(at, UTC),
            _queue_name=self.queue,
            _expires=self._options.get("expires"),
        )
        return self._runner.run(enqueued) is not None

    def carry(self) -> None:
        """Wait: it is where it waits."""

    def move(self) -> None:
        """Wait: a worker takes what is due from there."""

    def work(self) -> None:
        """Run a worker for as long as there is something due."""

        async def start_job(_: object, start_id: str) -> None:
            try:
                await asyncio.to_thread(fire, self._url, start_id)
            except Retried:
                raise Retry(defer=AGAIN_SECONDS) from None

        async def run() -> None:
            worker = Worker(
                [func(start_job, name="start_job")],
                queue_name=self.queue,
                redis_settings=self._settings,
                poll_delay=0.02,
                keep_result=self._options.get("keep_result", 0),
                handle_signals=False,
                **self._serializers,
                **self._options.get("worker", {}),
            )
            working = asyncio.create_task(worker.async_run())
            quiet = 0
            while quiet < 5:
                await asyncio.sleep(0.05)
                quiet = 0 if worker.tasks or await self._due(worker.pool) else quiet + 1
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await worker.close()

        asyncio.run(run())

    async def _due(self, pool: Any) -> int:
        now = datetime.now(UTC).timestamp() * 1000
        return int(await pool.zcount(self.queue, "-inf", now))
