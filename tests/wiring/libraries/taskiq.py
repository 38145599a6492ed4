"""taskiq's settings, with a list source of taskiq-redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from taskiq import ScheduledTask, TaskiqScheduler
from taskiq.api import run_receiver_task
from taskiq.cli.scheduler.run import SchedulerLoop, get_all_schedules
from taskiq.serializers import JSONSerializer
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource

from batch_cancel.adapters.taskiq import AsyncTaskiqStarts, TaskiqStarts
from batch_cancel.adapters.taskiq.source import CancellableScheduleSource
from tests.wiring.inside import Retried, fire
from tests.wiring.libraries.common import PATIENCE, blocking

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "another prefix": {"prefix": "{campaigns}:time"},
    "JSONSerializer": {"source": {"serializer": JSONSerializer()}},
    "buffer_size": {"source": {"buffer_size": 1}},
    "skip_past_schedules": {"source": {"skip_past_schedules": True}},
    "another time zone": {"zone": timezone(timedelta(hours=5, minutes=45))},
    "interval": {"repeats": {"interval": 1}},
    "cron": {"repeats": {"cron": "* * * * *"}},
}


class World:
    """One source, and a broker."""

    def __init__(self, places: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
        logging.getLogger("taskiq").setLevel(logging.CRITICAL)
        self._options, self._url = options, places["redis"]
        self._prefix = options.get("prefix", f"schedule-{name}")
        self._queue = f"taskiq-{name}"
        self._runner = asyncio.Runner()
        self._source = self._runner.run(self._made(ListRedisScheduleSource))
        self._copy: list[Any] = []
        self.ours = TaskiqStarts(blocking(places), prefix=self._prefix, budget=PATIENCE)

    async def _made(self, kind: Any) -> Any:
        return kind(self._url, prefix=self._prefix, **self._options.get("source", {}))

    def ours_async(self, client: Any) -> AsyncTaskiqStarts:
        """Return the asyncio twin."""
        return AsyncTaskiqStarts(client, prefix=self._prefix, budget=PATIENCE)

    def schedule(self, start_id: str, at: float) -> None:
        """Add a schedule."""
        due = datetime.fromtimestamp(at, self._options.get("zone", UTC))
        times: dict[str, Any] = self._options.get("repeats", {"time": due})
        schedule = ScheduledTask(
            task_name="start_job",
            labels={},
            args=[start_id],
            kwargs={},
            schedule_id=start_id,
            **times,
        )
        self._runner.run(self._source.add_schedule(schedule))

    def carry(self) -> None:
        """Have the scheduler read its copy, as it does each minute."""
        self._runner.run(self._read())

    async def _read(self) -> None:
        self._sending = await self._made(CancellableScheduleSource)
        self._broker = ListQueueBroker(self._url, queue_name=self._queue)
        self._scheduler = TaskiqScheduler(self._broker, [self._sending])
        self._copy = await get_all_schedules(self._scheduler)

    def move(self) -> None:
        """Send what is due in the copy, then what is due by now, as the scheduler's loop does."""

        async def send() -> None:
            loop = SchedulerLoop(self._scheduler)
            for is_fresh in (False, True):
                copy = await get_all_schedules(self._scheduler) if is_fresh else self._copy
                now = datetime.now(UTC)
                for source, schedules in copy:
                    for task in schedules:
                        if loop._is_schedule_ready_to_send(task, now):
                            await self._scheduler.on_ready(source, task)

        self._runner.run(send())

    def work(self) -> None:
        """Run a worker until its queue is empty."""

        async def run() -> None:
            broker = ListQueueBroker(self._url, queue_name=self._queue)
            finished: list[str] = []

            @broker.task(task_name="start_job")  # type: ignore[untyped-decorator]
            async def start_job(start_id: str) -> None:
                try:
                    await asyncio.to_thread(fire, self._url, start_id)
                except Retried:
                    pass  # taskiq's retries are messages of the broker's, not schedules.
                finally:
                    finished.append(start_id)

            await broker.startup()
            receiving = asyncio.create_task(run_receiver_task(broker))
            client = blocking({"redis": self._url})
            quiet, seen = 0, 0
            while quiet < 5:
                await asyncio.sleep(0.1)
                is_quiet = client.llen(self._queue) == 0 and len(finished) == seen
                quiet, seen = quiet + 1 if is_quiet else 0, len(finished)
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            await broker.shutdown()

        asyncio.run(run())
