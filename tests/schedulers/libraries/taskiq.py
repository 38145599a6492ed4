"""taskiq with taskiq-redis, in its own environment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from taskiq import ScheduledTask, TaskiqScheduler
from taskiq.api import run_receiver_task, run_scheduler_task
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource

from batch_cancel.adapters.taskiq.source import CancellableScheduleSource
from tests.schedulers.inside import start


class Client:
    """A plain source, as the program that schedules has it."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._runner = asyncio.Runner()
        self._source = ListRedisScheduleSource(places["redis"])

    def schedule(self, deferred_id: str, at: float) -> None:
        """Add a schedule."""
        schedule = ScheduledTask(
            task_name="start",
            labels={},
            args=[deferred_id],
            kwargs={},
            schedule_id=deferred_id,
            time=datetime.fromtimestamp(at, UTC),
        )
        self._runner.run(self._source.add_schedule(schedule))

    def cancel(self, deferred_id: str) -> bool:
        """Delete the schedule; taskiq does not say whether it was there, so ask before."""
        waiting = self._runner.run(self._source.get_schedules())
        self._runner.run(self._source.delete_schedule(deferred_id))
        return deferred_id in {schedule.schedule_id for schedule in waiting}

    def private_names(self) -> dict[str, str]:
        """Return the keys of a schedule "ID"."""
        source: Any = self._source
        at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        times = source._get_time_key(at).removesuffix("2030-01-02T03:04")
        return {
            "data": source._get_data_key("ID"),
            "times": times,
            "crons": source._get_cron_key(),
            "intervals": source._get_interval_key(),
        }


def work(places: Mapping[str, str]) -> None:
    """Run a scheduler that looks often, and a worker."""
    logging.disable(logging.WARNING)  # It warns of looking that often.

    async def run() -> None:
        broker = ListQueueBroker(places["redis"])

        @broker.task(task_name="start")  # type: ignore[untyped-decorator]
        async def start_job(deferred_id: str) -> None:
            await asyncio.to_thread(start, places, deferred_id)

        await broker.startup()
        scheduler = TaskiqScheduler(broker, [CancellableScheduleSource(places["redis"])])
        often = timedelta(milliseconds=10)
        reads = timedelta(hours=1) if "reads once" in places else often
        await asyncio.gather(
            run_scheduler_task(scheduler, interval=reads, loop_interval=often),
            run_receiver_task(broker),
        )

    asyncio.run(run())
