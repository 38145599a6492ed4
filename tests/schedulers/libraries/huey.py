"""Huey, in its own environment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from huey import RedisHuey

from batch_cancel.adapters.huey import HueyScheduler, watch
from tests.schedulers.inside import start

_PATIENCE = timedelta(seconds=10)


def _app(places: Mapping[str, str]) -> tuple[RedisHuey, Any]:
    app = RedisHuey("huey", url=places["redis"])
    watch(app, HueyScheduler(redis.Redis.from_url(places["redis"]), budget=_PATIENCE))

    def start_job(where: str, deferred_id: str) -> None:
        start(json.loads(where), deferred_id)

    return app, app.task()(start_job)


class Client:
    """A Huey."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = json.dumps(dict(places))
        self._app, self._task = _app(places)

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Schedule a task; if it is far ahead, wait until a consumer has put it where it waits."""
        due = datetime.fromtimestamp(at, UTC)  # Of a naive time Huey keeps whole seconds only.
        self._task.schedule(args=(self._places, deferred_id), eta=due, id=deferred_id)
        is_far = at > time.time() + _PATIENCE.total_seconds()
        while is_far and all(task.id != deferred_id for task in self._app.scheduled()):
            time.sleep(0.001)
        return True

    def cancel(self, deferred_id: str) -> bool:
        """Revoke it: Huey says nothing, which can only be taken for yes."""
        self._app.revoke_by_id(deferred_id)
        return True

    def private_names(self) -> dict[str, str]:
        """Return the keys of a task."""
        storage = self._app.storage
        return {"scheduled": storage.schedule_key, "queue": storage.queue_key}


def work(places: Mapping[str, str]) -> None:
    """
    Run a consumer.

    Huey moves what is due once a second; here it is moved each hundredth, by Huey's own two steps.
    """
    app, _ = _app(places)

    def hurry() -> None:
        while True:
            for task in app.read_schedule():
                app.enqueue(task)
            time.sleep(0.01)

    threading.Thread(target=hurry, daemon=True).start()
    app.create_consumer(workers=2, periodic=False).run()
