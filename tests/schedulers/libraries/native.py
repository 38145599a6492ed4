"""The native store, in the environment of the tests: what the others are measured by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import redis

from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.use_cases.pump import pump
from tests.schedulers.inside import start

_PATIENCE = timedelta(seconds=10)


class Client:
    """Our own scheduler."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._scheduler = RedisScheduler(redis.Redis.from_url(places["redis"]), budget=_PATIENCE)

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Schedule it."""
        return self._scheduler.schedule(deferred_id, datetime.fromtimestamp(at, UTC))


def work(places: Mapping[str, str]) -> None:
    """Pump."""
    scheduler = RedisScheduler(redis.Redis.from_url(places["redis"]), budget=_PATIENCE)
    while True:
        pump(scheduler, lambda claimed: start(places, claimed.deferred_id))
        time.sleep(0.01)
