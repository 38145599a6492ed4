"""Dramatiq, in its own environment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from batch_cancel.adapters.dramatiq import StartGateMiddleware
from tests.schedulers.inside import start
from tests.schedulers.libraries.gate import gate, moment


def _broker(places: Mapping[str, str]) -> tuple[RedisBroker, Any]:
    broker = RedisBroker(url=places["redis"])
    broker.add_middleware(StartGateMiddleware(gate(places)))

    @dramatiq.actor(  # type: ignore[untyped-decorator]
        broker=broker, start_gate=True, min_backoff=100
    )
    def start_job(deferred_id: str) -> None:
        start(places, deferred_id)

    return broker, start_job


class Client:
    """A broker."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._gate = gate(places)
        self._broker, self._start = _broker(places)

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Arm the gate and enqueue a delayed message; False if the gate refuses the id."""
        if not self._gate.arm(deferred_id, moment(at)):
            return False
        self.send(deferred_id, at)
        return True

    def send(self, deferred_id: str, at: float) -> None:
        """Enqueue a delayed message, whatever the gate knows of it."""
        made = self._start.message(deferred_id)
        message = dramatiq.Message(**made.asdict() | {"message_id": deferred_id})
        self._broker.enqueue(message, delay=max(0, round((at - time.time()) * 1000)))

    def cancel(self, deferred_id: str) -> bool:
        """Dramatiq has no cancel of its own; take the message out of Redis, as people do."""
        removed = False
        for queue in ("default", "default.DQ"):
            for key, data in self._broker.client.hscan_iter(f"dramatiq:{queue}.msgs"):
                if dramatiq.Message.decode(data).message_id == deferred_id:
                    removed |= bool(self._broker.client.hdel(f"dramatiq:{queue}.msgs", key))
        return removed

    def private_names(self) -> dict[str, str]:
        """Nothing of Dramatiq's is touched in Redis."""
        return {}


def work(places: Mapping[str, str]) -> None:
    """Run a worker that looks often at what it holds, so that there is something to race."""
    broker, _ = _broker(places)
    worker = dramatiq.Worker(broker, worker_threads=4, worker_timeout=10)
    worker.start()
    while True:
        time.sleep(60)
