"""Celery, in its own environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from celery import Celery

from batch_cancel.adapters.celery import gated
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    CancelFailed,
    Fault,
    JobNotFound,
    SchedulerUnavailable,
    StoreFailed,
    UnknownJobStatus,
)
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import JobStatus
from tests.schedulers.inside import start
from tests.schedulers.libraries.gate import gate, moment


def _app(places: Mapping[str, str]) -> tuple[Celery, Any]:
    app = Celery("tests", broker=places["redis"], set_as_current=False)
    app.conf.broker_connection_retry_on_startup = True

    @app.task(  # type: ignore[untyped-decorator]
        name="start", base=gated(gate(places)), default_retry_delay=0.1, max_retries=None
    )
    def start_job(deferred_id: str) -> None:
        start(places, deferred_id)

    return app, start_job


class Client:
    """A Celery app."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._gate = gate(places)
        self._app, self._start = _app(places)

    def schedule(self, deferred_id: str, at: float) -> bool:
        """Arm the gate and send a task with an ETA; False if the gate refuses the id."""
        if not self._gate.arm(deferred_id, moment(at)):
            return False
        self.send(deferred_id, at)
        return True

    def send(self, deferred_id: str, at: float) -> None:
        """Send a task with an ETA, whatever the gate knows of it."""
        self._start.apply_async((deferred_id,), task_id=deferred_id, eta=moment(at))

    def cancel(self, deferred_id: str) -> bool:
        """Revoke it; True if a worker says that it has."""
        return bool(self._app.control.revoke(deferred_id, reply=True, timeout=1, limit=1))

    def restored_errors(self) -> list[str]:
        """Store each error as a result in JSON; return what the task's caller prints of it."""
        backend = Celery(broker="memory://", backend="cache+memory://").backend
        key = JobKey("job-1", "acme")
        errors = (
            JobNotFound(key),
            AlreadyTerminal(key, JobStatus.CANCELLED),
            UnknownJobStatus(key, "paused"),
            CancelFailed(key, "it broke", "unknown", Fault.LATE),
            StoreFailed("it broke"),
            SchedulerUnavailable("no answer"),
        )
        sent = [backend.encode(backend.prepare_exception(it, "json")) for it in errors]
        restored = [backend.exception_to_python(json.loads(it)) for it in sent]
        return [f"{type(it).__name__}: {it}" for it in restored]

    def private_names(self) -> dict[str, str]:
        """Nothing of Celery's is touched in Redis."""
        return {}


def work(places: Mapping[str, str]) -> None:
    """Run a worker of two processes."""
    app, _ = _app(places)
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    app.worker_main(["worker", "--concurrency=2", "--hostname=w%%n", "--loglevel=INFO", *quiet])
