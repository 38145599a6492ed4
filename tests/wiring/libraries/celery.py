"""Celery's settings, with its broker in Redis."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from celery import Celery

from batch_cancel.adapters.celery import gated
from batch_cancel.adapters.redis import AsyncStartGate, StartGate
from tests.wiring.inside import Retried, fire
from tests.wiring.libraries.common import PATIENCE, blocking

SECONDS_AGAIN = 5.0
"""Longer than it takes to look at all that has failed."""

SECONDS_DUE = 1.5
"""
Long enough for the worker, which is always at work, to have run all that is due. A start that runs
between the look at it and its cancel would count as a False for a start that had not run.
"""

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "pickle": {"app": {"task_serializer": "pickle", "accept_content": ["pickle"]}},
    "gzip": {"app": {"task_compression": "gzip"}},
    "priority": {"task": {"priority": 7}},
    "expires": {"expires": 3600},
    "acks_late": {"app": {"task_acks_late": True, "worker_prefetch_multiplier": 1}},
}


class World:
    """One app, and a queue."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.disable(logging.CRITICAL)
        self._options, self._url = options, places["redis"]
        self._name, self._queue = name, name.replace(" ", "-")
        self._worker: subprocess.Popen[bytes] | None = None
        self.ours = StartGate(blocking(places), budget=PATIENCE)
        self._app, self._start = self._made()

    def _made(self) -> tuple[Celery, Any]:
        app = Celery("wiring", broker=self._url, set_as_current=False)
        app.conf.update(task_default_queue=self._queue, worker_hijack_root_logger=False)
        app.conf.update(broker_connection_retry_on_startup=True, **self._options.get("app", {}))

        @app.task(  # type: ignore[untyped-decorator]
            name=f"start-{self._queue}",
            shared=False,
            base=gated(self.ours),
            autoretry_for=(Retried,),
            max_retries=1,
            default_retry_delay=SECONDS_AGAIN,
        )
        def start_job(start_id: str) -> None:
            fire(self._url, start_id)

        return app, start_job

    def ours_async(self, client: Any) -> AsyncStartGate:
        """Return the asyncio twin."""
        return AsyncStartGate(client, budget=PATIENCE)

    def schedule(self, start_id: str, at: float) -> bool:
        """Arm the gate and send a task with an ETA."""
        due = datetime.fromtimestamp(at, UTC)
        if not self.ours.arm(start_id, due):
            return False
        options = dict(self._options.get("task", {}))
        if "expires" in self._options:
            options["expires"] = datetime.fromtimestamp(at + self._options["expires"], UTC)
        self._start.apply_async((start_id,), task_id=start_id, eta=due, **options)
        return True

    def carry(self) -> None:
        """Start a worker, which takes what has an ETA into its memory at once."""
        if self._worker is None:
            told = json.dumps({"redis": self._url})
            program = f"from {__name__} import run; run({told!r}, {self._name!r})"
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "C_FORCE_ROOT": "1",  # Else root's worker takes no pickles.
            }
            self._worker = subprocess.Popen(
                [sys.executable, "-c", program],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        time.sleep(0.2)

    def move(self) -> None:
        """Wait: the worker has it."""

    def work(self) -> None:
        """Wait until what is due has run."""
        time.sleep(0.5)

    def run(self) -> None:
        """Be the worker."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        pool = ("--pool=threads", "--concurrency=4", f"--hostname={self._queue}@here")
        self._app.worker_main(["worker", *pool, *quiet])


def run(places: str, name: str) -> None:
    """Run the worker of a setting, until whoever started it is gone."""

    def end() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    World(json.loads(places), name, SETTINGS[name]).run()
