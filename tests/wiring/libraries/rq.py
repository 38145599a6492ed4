"""RQ's settings, and rq-scheduler's."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rq import Queue, Repeat, Retry, SimpleWorker
from rq.rate_limit import RateLimit
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
from rq_scheduler import Scheduler

from batch_cancel.adapters.rq import AsyncRqScheduler, RqScheduler, guarded
from tests.wiring.inside import AGAIN_SECONDS, Retried, fire
from tests.wiring.libraries.common import PATIENCE, blocking

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "JSONSerializer": {"serializer": JSONSerializer},
    "at_front": {"job": {"at_front": True}},
    "unique": {"job": {"unique": True}},
    "ttl": {"job": {"ttl": 3600, "result_ttl": 0}},
    "Repeat": {"job": {"repeat": Repeat(times=1, interval=1)}},
    "rate_limit": {"job": {"rate_limit": RateLimit("campaigns", 1)}},
    "depends_on": {"depends_on": True},
    "RQ_KEY_PREFIX": {"environment": {"RQ_KEY_PREFIX": "{mine}.rq"}},
    "rq-scheduler": {"elder": True},
}

_START = f"{__name__}.start_job"


def start_job(url: str, queue: str, elder: str | None, start_id: str) -> None:
    """Be the job."""
    scheduler = RqScheduler(
        blocking({"redis": url}), queue=queue, scheduled=elder, budget=PATIENCE
    )
    guarded(scheduler)(fire)(url, start_id)


def precede() -> None:
    """Be the job that others depend on."""


class World:
    """One queue."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("rq").setLevel(logging.CRITICAL)
        self._options, self._url, self._name = options, places["redis"], name.replace(" ", "-")
        self._client = blocking(places)
        self._serializer = options.get("serializer")
        self._queue = Queue(self._name, connection=self._client, serializer=self._serializer)
        self._elder = Scheduler(queue=self._queue, connection=self._client)
        self._scheduled = Scheduler.scheduled_jobs_key if options.get("elder") else None
        self._preceding: dict[float, Any] = {}
        # Told, and in its asyncio twin found in the environment, as RQ does.
        prefix = os.environ.get("RQ_KEY_PREFIX", "rq")
        self.ours = RqScheduler(
            blocking(places),
            queue=self._name,
            scheduled=self._scheduled,
            prefix=prefix,
            budget=PATIENCE,
        )

    def ours_async(self, client: Any) -> AsyncRqScheduler:
        """Return the asyncio twin."""
        return AsyncRqScheduler(
            client, queue=self._name, scheduled=self._scheduled, budget=PATIENCE
        )

    def schedule(self, start_id: str, at: float) -> bool:
        """Schedule a job in the way of the setting."""
        due = datetime.fromtimestamp(at, UTC)
        arguments = (_START, self._url, self._name, self._scheduled, start_id)
        options: dict[str, Any] = {"job_id": start_id, **self._options.get("job", {})}
        if self._options.get("elder"):
            self._elder.enqueue_at(due.replace(tzinfo=None), *arguments, job_id=start_id)
            return True
        if start_id.startswith(("failed", "fails")):
            options["retry"] = Retry(max=1, interval=int(AGAIN_SECONDS))
        if not self._options.get("depends_on"):
            try:
                self._queue.enqueue_at(due, *arguments, **options)
            except Exception as error:
                if "Duplicate" not in type(error).__name__:
                    raise
                return False
            return True
        if at not in self._preceding:
            self._preceding[at] = self._queue.enqueue_at(due, precede)
        self._queue.enqueue(*arguments, depends_on=self._preceding[at], **options)
        return True

    def carry(self) -> None:
        """Wait: it is where it waits."""

    def move(self) -> None:
        """Do a round of each scheduler."""
        scheduler = RQScheduler([self._name], self._client, serializer=self._serializer)
        scheduler.acquire_locks()
        scheduler.enqueue_scheduled_jobs()
        scheduler.release_locks()
        if self._options.get("elder"):
            self._elder.enqueue_jobs()

    def work(self) -> None:
        """Run a worker until its queue is empty."""
        worker = SimpleWorker([self._queue], connection=self._client, serializer=self._serializer)
        worker.push_exc_handler(lambda *_: False)
        worker.work(burst=True, logging_level="CRITICAL")


__all__ = ["SETTINGS", "Retried", "World"]
