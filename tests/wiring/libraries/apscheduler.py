"""APScheduler's settings."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from apscheduler.jobstores.base import ConflictingIdError
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from redis.connection import parse_url

from batch_cancel.adapters.apscheduler import ApschedulerScheduler, AsyncApschedulerScheduler
from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from tests.wiring.inside import AGAIN_SECONDS, Retried, fire
from tests.wiring.libraries.common import PATIENCE, blocking

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "other keys": {"store": {"jobs_key": "{a}:jobs", "run_times_key": "{a}:times"}},
    "pickle protocol 2": {"store": {"pickle_protocol": 2}},
    "replace_existing": {"job": {"replace_existing": True}},
    "coalesce": {"job": {"coalesce": True, "max_instances": 3}},
    "misfire_grace_time": {"job": {"misfire_grace_time": 60}},
    "interval": {"repeats": True},
}


def start_job(url: str, start_id: str) -> None:
    """Be the job: its first line asks the gate."""
    if not StartGate(blocking({"redis": url}), budget=PATIENCE).may_start(start_id):
        return
    with contextlib.suppress(Retried):  # APScheduler has no retries.
        fire(url, start_id)


class World:
    """One job store."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
        self._options, self._url = options, places["redis"]
        self._gate = StartGate(blocking(places), budget=PATIENCE)
        keys = {
            "jobs_key": f"apscheduler.{name}.jobs",
            "run_times_key": f"apscheduler.{name}.times",
        }
        self._store = keys | options.get("store", {})
        self._keys = {it: self._store[it] for it in keys}
        self._scheduler = self._made()
        self._scheduler.start(paused=True)
        self.ours = ApschedulerScheduler(
            self._gate, blocking(places), budget=PATIENCE, **self._keys
        )

    def _made(self) -> BackgroundScheduler:
        settings = {"db": 0} | parse_url(self._url)
        store = RedisJobStore(**settings, **self._store)
        defaults = {"misfire_grace_time": None, "max_instances": 3}
        return BackgroundScheduler(jobstores={"default": store}, job_defaults=defaults)

    def ours_async(self, client: Any) -> AsyncApschedulerScheduler:
        """Return the asyncio twin."""
        gate = AsyncStartGate(client, budget=PATIENCE)
        return AsyncApschedulerScheduler(gate, client, budget=PATIENCE, **self._keys)

    def schedule(self, start_id: str, at: float) -> bool:
        """Arm the gate and add a job."""
        due = datetime.fromtimestamp(at, UTC)
        if not self._gate.arm(start_id, due):
            return False
        trigger: dict[str, Any] = {"trigger": "date", "run_date": due}
        if self._options.get("repeats"):
            trigger = {"trigger": "interval", "seconds": AGAIN_SECONDS, "start_date": due}
        try:
            self._scheduler.add_job(
                start_job,
                args=(self._url, start_id),
                id=start_id,
                **trigger,
                **self._options.get("job", {}),
            )
        except ConflictingIdError:
            return False
        return True

    def carry(self) -> None:
        """Wait: it is where it waits."""

    def move(self) -> None:
        """Wait: the scheduler takes what is due from there."""

    def work(self) -> None:
        """Run a scheduler until what is due has run."""
        scheduler = self._made()
        scheduler.start()
        time.sleep(0.3)
        scheduler.shutdown(wait=True)
