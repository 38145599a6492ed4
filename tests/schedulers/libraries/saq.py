"""SAQ, in its own environment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from saq import Queue, Worker
from saq.job import Status

from tests.schedulers.inside import start


class Client:
    """A queue."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._runner = asyncio.Runner()
        self._queue = Queue.from_url(places["redis"])

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Enqueue a scheduled job; False if SAQ takes none under this key."""
        enqueued = self._queue.enqueue(
            "start_job", key=deferred_id, scheduled=int(at), deferred_id=deferred_id
        )
        return self._runner.run(enqueued) is not None

    def cancel(self, deferred_id: str) -> bool:
        """Abort it: SAQ answers by the status that it leaves."""

        async def abort() -> bool:
            job = await self._queue.job(deferred_id)
            if job is None or job.status in {Status.ACTIVE, Status.COMPLETE}:
                return False
            await self._queue.abort(job, "cancelled")
            return True

        return self._runner.run(abort())

    def private_names(self) -> dict[str, str]:
        """Return the keys of a job "ID"."""
        names = {name: self._queue.namespace(name) for name in ("incomplete", "queued", "active")}
        return names | {"job": self._queue.job_id("ID")}


def work(places: Mapping[str, str]) -> None:
    """
    Run a worker.

    What is due is moved to the queue by SAQ's own script, which holds itself back for a second;
    here it is let go each hundredth.
    """

    async def start_job(_: object, *, deferred_id: str) -> None:
        await asyncio.to_thread(start, places, deferred_id)

    async def hurry(queue: Queue) -> None:
        while True:
            await queue.redis.delete(queue.namespace("schedule"))
            await queue.schedule()
            await asyncio.sleep(0.01)

    async def main() -> None:
        queue = Queue.from_url(places["redis"])
        hurrying = asyncio.create_task(hurry(queue))
        await Worker(queue, functions=[("start_job", start_job)]).start()
        hurrying.cancel()

    asyncio.run(main())
