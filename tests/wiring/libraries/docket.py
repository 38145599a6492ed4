"""docket's settings, in Redis."""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import ConcurrencyLimit, Docket, ExponentialRetry, Perpetual, Retry, Timeout, Worker
from docket.execution import Disposition
from docket.worker import _stream_due_tasks

from batch_cancel.adapters.docket import AsyncDocketScheduler, DocketScheduler
from tests.wiring.inside import AGAIN_SECONDS, fire
from tests.wiring.libraries.common import PATIENCE, blocking

_AGAIN = timedelta(seconds=AGAIN_SECONDS)
_OFTEN = timedelta(milliseconds=10)
_LONG = timedelta(days=1)
_IDLE_SECONDS = 0.3

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "name with signs": {"name": "high:queued {é}"},
    "execution_ttl zero": {"docket": {"execution_ttl": timedelta(0)}},
    "retry at once": {"task": {"retry": Retry(attempts=2)}},
    "ExponentialRetry": {
        "task": {"retry": ExponentialRetry(attempts=2, minimum_delay=_AGAIN)},
    },
    "ConcurrencyLimit": {"task": {"limit": ConcurrencyLimit(max_concurrent=1)}},
    "Timeout": {"task": {"bound": Timeout(_LONG)}},
    "Perpetual": {"task": {"perpetual": Perpetual(every=_LONG), "retry": None}},
    "one at a time": {"worker": {"concurrency": 1}},
    "one message a read": {"worker": {"message_batch": 1}},
}


class World:
    """One docket."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("docket").setLevel(logging.CRITICAL)
        self._options, self._url = options, places["redis"]
        self._name = options.get("name", name)
        self._runner = asyncio.Runner()
        self._task = _task(self._url, options.get("task", {}))
        self._docket = self._runner.run(self._made().__aenter__())
        atexit.register(lambda: self._runner.run(self._docket.__aexit__(None, None, None)))
        self.ours = DocketScheduler(blocking(places), name=self._name, budget=PATIENCE)

    def _made(self) -> Docket:
        docket = Docket(self._name, self._url, **self._options.get("docket", {}))
        docket.register(self._task)
        return docket

    def ours_async(self, client: Any) -> AsyncDocketScheduler:
        """Return the asyncio twin."""
        return AsyncDocketScheduler(client, name=self._name, budget=PATIENCE)

    def schedule(self, start_id: str, at: float) -> bool:
        """Add a task."""
        when = datetime.fromtimestamp(at, UTC)
        added = self._runner.run(self._docket.add(self._task, when, start_id)(start_id))
        return added.disposition is Disposition.SCHEDULED

    def carry(self) -> None:
        """Wait: it is where it waits."""

    def move(self) -> None:
        """Do what a worker does four times a second."""

        async def move() -> None:
            async with self._docket.redis() as client:
                await _stream_due_tasks(
                    client,
                    queue_key=self._docket.queue_key,
                    stream_key=self._docket.stream_key,
                    now_timestamp=datetime.now(UTC).timestamp(),
                    docket_prefix=self._docket.prefix,
                )

        self._runner.run(move())

    def work(self) -> None:
        """Run a worker until nothing is in the stream."""

        async def run() -> None:
            options = {
                "minimum_check_interval": _OFTEN,
                "scheduling_resolution": _OFTEN,
                **self._options.get("worker", {}),
            }
            async with self._made() as docket, Worker(docket, **options) as worker:
                at_work = asyncio.Event()

                async def begin() -> None:
                    at_work.set()

                await docket.add(begin)()
                working = asyncio.create_task(worker.run_forever())
                await at_work.wait()
                idle_since = asyncio.get_running_loop().time()
                while (now := asyncio.get_running_loop().time()) < idle_since + _IDLE_SECONDS:
                    async with docket.redis() as client:
                        if await client.xlen(docket.stream_key):
                            idle_since = now
                    await asyncio.sleep(0.01)
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

        asyncio.run(run())


def _task(url: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a task that declares these dependencies, as its defaults."""

    async def start_job(
        start_id: str,
        retry: Any = None,
        limit: Any = None,
        bound: Any = None,
        perpetual: Any = None,
    ) -> None:
        if perpetual is not None:
            perpetual.perpetuate(start_id)
        await asyncio.to_thread(fire, url, start_id)

    named = {"retry": Retry(attempts=2, delay=_AGAIN), **options}
    start_job.__defaults__ = tuple(
        named.get(it) for it in ("retry", "limit", "bound", "perpetual")
    )
    return start_job
