"""APScheduler, in its own environment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from apscheduler.jobstores.base import ConflictingIdError, JobLookupError
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from redis.connection import parse_url

from tests.schedulers.inside import start
from tests.schedulers.libraries.gate import gate, moment


def start_job(places: dict[str, str], deferred_id: str) -> None:
    """Be a job: its first line asks the gate."""
    if not gate(places).may_start(deferred_id):
        return
    start(places, deferred_id)


def _scheduler(places: Mapping[str, str]) -> BackgroundScheduler:
    settings = parse_url(places["redis"])
    store = RedisJobStore(**{"db": 0} | settings)
    # Always late by a little; a job that is late must still run.
    return BackgroundScheduler(
        jobstores={"default": store}, job_defaults={"misfire_grace_time": None}
    )


class Client:
    """A scheduler that only stores."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._gate = gate(places)
        self._scheduler = _scheduler(places)
        self._scheduler.start(paused=True)

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Arm the gate and add a job; False if one of them refuses the id."""
        if not self._gate.arm(deferred_id, moment(at)):
            return False
        return self.send(deferred_id, at)

    def send(self, deferred_id: str, at: float) -> bool:
        """Add a job, whatever the gate knows of it."""
        try:
            self._scheduler.add_job(
                start_job,
                "date",
                (self._places, deferred_id),
                run_date=moment(at),
                id=deferred_id,
            )
        except ConflictingIdError:
            return False
        return True

    def cancel(self, deferred_id: str) -> bool:
        """Remove it, as APScheduler does."""
        try:
            self._scheduler.remove_job(deferred_id)
        except JobLookupError:
            return False
        return True

    def private_names(self) -> dict[str, str]:
        """Return the keys of the job store."""
        store: Any = RedisJobStore()
        return {"jobs": store.jobs_key, "run times": store.run_times_key}


def work(places: Mapping[str, str]) -> None:
    """Run schedulers, one after another: APScheduler dies of a job that was removed just now."""
    while True:
        scheduler = _scheduler(places)
        scheduler.start()
        while scheduler._thread.is_alive():
            time.sleep(0.01)
            scheduler.wakeup()  # It is told of a new job by nobody, for that is another process's.
