"""
A ListRedisScheduleSource whose schedules can be cancelled until the moment they are sent.

    source = CancellableScheduleSource("redis://localhost")
    scheduler = taskiq.TaskiqScheduler(broker, [source])
"""

# taskiq and taskiq-redis need not be installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import redis.asyncio
from taskiq.exceptions import ScheduledTaskCancelledError
from taskiq_redis import ListRedisScheduleSource

from batch_cancel.adapters.redis.deadline_async import connection_to_async
from batch_cancel.adapters.redis.encoding import encoded, span
from batch_cancel.adapters.redis.script_runner import Executor, script
from batch_cancel.adapters.taskiq import keys_of
from batch_cancel.domain.defaults import RETENTION

_SEND: Final = script("send", package="batch_cancel.adapters.taskiq")

_BUDGET: Final = timedelta(minutes=1)
"""taskiq retries an unsent schedule only after a restart, so a late send is better."""


class CancellableScheduleSource(ListRedisScheduleSource):  # type: ignore[misc]
    """
    A ListRedisScheduleSource that checks each schedule again before it is sent.

    If Redis does not answer, no schedule is sent.
    """

    async def pre_send(self, task: Any) -> None:  # noqa: ANN401  # Not installed here.
        """Let a schedule be sent, unless it was cancelled or deleted."""
        client = redis.asyncio.Redis(connection_pool=self._connection_pool)
        keys = [encoded(key) for key in keys_of(self._prefix, task.schedule_id)]
        # A schedule with a cron or an interval is sent repeatedly.
        is_once = task.time is not None and task.cron is None
        arguments = (span(RETENTION), b"started" if is_once else b"repeats")
        if not await Executor(connection_to_async(client), _BUDGET).run(_SEND, keys, arguments):
            raise ScheduledTaskCancelledError
