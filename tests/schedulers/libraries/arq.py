"""arq, in its own environment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from arq import Worker, constants, create_pool, func
from arq.connections import RedisSettings
from arq.jobs import Job

from tests.schedulers.inside import start


class Client:
    """An arq pool."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._runner = asyncio.Runner()
        settings = RedisSettings.from_dsn(places["redis"])
        self._pool = self._runner.run(create_pool(settings))

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Enqueue a deferred job; False if arq takes none under this id."""
        due = datetime.fromtimestamp(at, UTC)
        enqueued = self._pool.enqueue_job(
            "start_job", deferred_id, _job_id=deferred_id, _defer_until=due
        )
        return self._runner.run(enqueued) is not None

    def cancel(self, deferred_id: str) -> bool:
        """Abort it, and wait a moment for an answer."""
        try:
            aborted = Job(deferred_id, self._pool).abort(timeout=0.5, poll_delay=0.01)
            return bool(self._runner.run(aborted))
        except TimeoutError:
            return False

    def private_names(self) -> dict[str, str]:
        """Return the keys of a job "ID"."""
        return {
            "queue": constants.default_queue_name,
            "job": f"{constants.job_key_prefix}ID",
            "in progress": f"{constants.in_progress_key_prefix}ID",
            "retry": f"{constants.retry_key_prefix}ID",
        }


def work(places: Mapping[str, str]) -> None:
    """Run a worker that polls often, so that there is something to race."""

    async def start_job(_: object, deferred_id: str) -> None:
        # In a thread: the job blocks, and the worker must not.
        await asyncio.to_thread(start, places, deferred_id)

    settings = RedisSettings.from_dsn(places["redis"])
    asyncio.set_event_loop(asyncio.new_event_loop())
    Worker(
        [func(start_job, name="start_job")],
        redis_settings=settings,
        poll_delay=0.01,
        allow_abort_jobs=bool(places.get("allow abort")),
    ).run()
