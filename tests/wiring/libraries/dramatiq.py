"""Dramatiq's settings."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from batch_cancel.adapters.dramatiq import StartGateMiddleware
from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from tests.wiring.inside import fire
from tests.wiring.libraries.common import PATIENCE, blocking

SECONDS_AGAIN = 4.0
"""Longer than its worker is at work."""

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "another queue": {"queue": "campaigns"},
    "namespace": {"broker": {"namespace": "{mine}"}},
    "priority": {"actor": {"priority": 7}},
    "time_limit and max_age": {"actor": {"time_limit": 60_000, "max_age": 3_600_000}},
    "prefetch one": {"worker": {"worker_threads": 1}},
}


class World:
    """One broker, and a queue."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("dramatiq").setLevel(logging.CRITICAL)
        self._options, self._url = options, places["redis"]
        self._queue = options.get("queue") or name.replace(" ", "-")
        self.ours = StartGate(blocking(places), budget=PATIENCE)
        self._broker, self._start = self._made()

    def _made(self) -> tuple[Any, Any]:
        broker = RedisBroker(url=self._url, **self._options.get("broker", {}))
        broker.add_middleware(StartGateMiddleware(self.ours))
        again = round(SECONDS_AGAIN * 1000)

        def start_job(start_id: str) -> None:
            fire(self._url, start_id)

        actor = dramatiq.actor(
            start_job,
            broker=broker,
            queue_name=self._queue,
            start_gate=True,
            max_retries=1,
            min_backoff=again,
            max_backoff=again,
            **self._options.get("actor", {}),
        )
        return broker, actor

    def ours_async(self, client: Any) -> AsyncStartGate:
        """Return the asyncio twin."""
        return AsyncStartGate(client, budget=PATIENCE)

    def schedule(self, start_id: str, at: float) -> bool:
        """Arm the gate and enqueue a delayed message."""
        if not self.ours.arm(start_id, datetime.fromtimestamp(at, UTC)):
            return False
        message = dramatiq.Message(
            **self._start.message(start_id).asdict() | {"message_id": start_id}
        )
        self._broker.enqueue(message, delay=max(0, round((at - time.time()) * 1000)))
        return True

    def carry(self) -> None:
        """Have a worker take what is delayed into its memory, and put it back."""
        self._run(0.3)

    def move(self) -> None:
        """Wait: a worker takes what is due from there."""

    def work(self) -> None:
        """Run a worker until what is due has run."""
        self._run(2.5)

    def _run(self, seconds: float) -> None:
        broker, _ = self._made()
        options = {"worker_threads": 4, "worker_timeout": 50, **self._options.get("worker", {})}
        worker = dramatiq.Worker(broker, **options)
        worker.start()
        time.sleep(seconds)
        worker.stop()
        broker.close()
