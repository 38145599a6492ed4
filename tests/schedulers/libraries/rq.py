"""RQ and rq-scheduler, in their own environment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import redis
from rq import Queue, Worker
from rq.job import Job
from rq.rate_limit import RateLimitRegistry
from rq.registry import DeferredJobRegistry, ReadyJobRegistry, ScheduledJobRegistry
from rq.scheduler import RQScheduler
from rq_scheduler import Scheduler

from batch_cancel.adapters.rq import RqScheduler, guarded
from tests.schedulers.inside import start

_START = f"{__name__}.start_job"
_PATIENCE = timedelta(seconds=10)


def start_job(places: str, deferred_id: str) -> None:
    """Be the job, guarded if the places say so."""
    where = json.loads(places)
    if where.get("unguarded"):
        start(where, deferred_id)
        return
    with redis.Redis.from_url(where["redis"]) as client:
        guarded(RqScheduler(client, budget=_PATIENCE))(start)(where, deferred_id)


class Client:
    """A queue."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = json.dumps(dict(places))
        self._connection = redis.Redis.from_url(places["redis"])
        self._queue = Queue(connection=self._connection)
        self._elder = Scheduler(queue=self._queue, connection=self._connection)
        self._by_elder = bool(places.get("rq-scheduler"))

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Schedule a job with RQ itself, or with rq-scheduler."""
        arguments = (_START, self._places, deferred_id)
        if self._by_elder:
            naive = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
            self._elder.enqueue_at(naive, *arguments, job_id=deferred_id)
        else:
            due = datetime.fromtimestamp(at, UTC)
            self._queue.enqueue_at(due, *arguments, job_id=deferred_id)
        return True

    def cancel(self, deferred_id: str) -> bool:
        """Remove it from what is scheduled: RQ says whether it was; rq-scheduler can be asked."""
        if self._by_elder:
            was_there = deferred_id in self._elder
            self._elder.cancel(deferred_id)
            return was_there
        return bool(ScheduledJobRegistry(queue=self._queue).remove(deferred_id))

    def private_names(self) -> dict[str, str]:
        """Return the keys of a job "ID"."""
        limit = RateLimitRegistry("LIMIT", self._connection)
        limits = limit.config_key.removesuffix("LIMIT")
        assert limit.allowed_key == f"{limits}LIMIT:allowed"
        assert limit.rate_limited_key == f"{limits}LIMIT:rate_limited"
        return {
            "scheduled": ScheduledJobRegistry(queue=self._queue).key,
            "queue": self._queue.key,
            "deferred": DeferredJobRegistry(queue=self._queue).key,
            "ready": ReadyJobRegistry(queue=self._queue).key,
            "limits": limits,
            "job": Job.key_for("ID"),
        }

    def elder_name(self) -> str:
        """Return the key of rq-scheduler's scheduled jobs."""
        return str(Scheduler.scheduled_jobs_key)


def work(places: Mapping[str, str]) -> None:
    """
    Run a worker and, in its process, a scheduler.

    A round of the scheduler is RQ's own; a second would pass before the next, here a hundredth.
    """
    connection = redis.Redis.from_url(places["redis"])

    def schedule() -> None:
        if places.get("rq-scheduler"):
            elder = Scheduler(queue=Queue(connection=connection), connection=connection)
            while True:
                elder.enqueue_jobs()
                time.sleep(0.01)
        scheduler = RQScheduler(["default"], connection)
        scheduler.acquire_locks()
        while True:
            scheduler.enqueue_scheduled_jobs()
            time.sleep(0.01)

    threading.Thread(target=schedule, daemon=True).start()
    Worker(["default"], connection=connection).work(logging_level="WARNING")
