"""Huey's settings."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import huey
from huey.serializer import Serializer, SignedSerializer

from batch_cancel.adapters.huey import AsyncHueyScheduler, HueyScheduler, watch
from tests.wiring.inside import AGAIN_SECONDS, fire
from tests.wiring.libraries.common import PATIENCE, blocking


class JsonSerializer(Serializer):  # type: ignore[misc]
    """Messages that are not pickles."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps(data, default=str).encode()

    def _deserialize(self, data: bytes) -> Any:
        fields = json.loads(data)
        fields[2] = fields[2] and datetime.fromisoformat(fields[2])
        return huey.registry.Message(*fields)


SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "zlib": {"made with": {"compression": True, "use_zlib": True}},
    "SignedSerializer": {"made with": {"serializer": SignedSerializer(secret="x")}},
    "pickle protocol 2": {"made with": {"serializer": Serializer(pickle_protocol=2)}},
    "local time": {"made with": {"utc": False}},
    "set as argument": {"argument": {"alpha", "beta", "gamma", "delta", "eps", "zeta"}},
    "expires": {"task": {"expires": 3600}},
    "name with signs": {"name": "my-app.high"},
    "RedisExpireHuey": {"class": huey.RedisExpireHuey},
    "PriorityRedisHuey": {"class": huey.PriorityRedisHuey, "task": {"priority": 7}},
    "consumer not watched": {"watched": False},
    "set, not watched": {"watched": False, "argument": {"alpha", "beta", "gamma", "delta"}},
}


class World:
    """One Huey, and another of the same name, as its consumer has it."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("huey").setLevel(logging.CRITICAL)
        self._options, self._places = options, places
        self._name = options.get("name") or name.replace(" ", "_")
        self._scheduling, self._task = self._made(watched=True)
        self._consuming, _ = self._made(watched=options.get("watched", True))
        self.name = self._scheduling.storage.name
        self.ours = HueyScheduler(blocking(places), name=self.name, budget=PATIENCE)

    def _made(self, *, watched: bool) -> tuple[Any, Any]:
        kind = self._options.get("class", huey.RedisHuey)
        app = kind(self._name, url=self._places["redis"], **self._options.get("made with", {}))
        if watched:
            scheduler = HueyScheduler(
                blocking(self._places), name=app.storage.name, budget=PATIENCE
            )
            watch(app, scheduler)

        def start_job(url: str, start_id: str, *_: object) -> None:
            fire(url, start_id)

        made = app.task(retries=1, retry_delay=AGAIN_SECONDS, name="start_job")(start_job)
        return app, made

    def ours_async(self, client: Any) -> AsyncHueyScheduler:
        """Return the asyncio twin."""
        return AsyncHueyScheduler(client, name=self.name, budget=PATIENCE)

    def schedule(self, start_id: str, at: float) -> None:
        """Schedule a task."""
        arguments = [self._places["redis"], start_id]
        if "argument" in self._options:
            arguments.append(self._options["argument"])
        due = datetime.fromtimestamp(at, UTC)
        options = self._options.get("task", {})
        if "expires" in options:
            options = {"expires": int(options["expires"] + max(0, at - time.time()))}
        self._task.schedule(args=tuple(arguments), eta=due, id=start_id, **options)

    def carry(self) -> None:
        """Have a consumer bring what was scheduled to where it waits."""
        self.work()

    def move(self) -> None:
        """Do what a consumer's scheduler does each second."""
        for task in self._consuming.read_schedule():
            self._consuming.enqueue(task)

    def work(self) -> None:
        """Run what a consumer's workers run, until the queue is empty."""
        consumer = self._consuming.create_consumer(workers=1, periodic=False)
        [(worker, _)] = consumer.worker_threads
        while self._consuming.storage.queue_size():
            worker.loop()
