"""
Deferred starts that are schedules with a time, in a ListRedisScheduleSource of taskiq-redis.

taskiq's scheduler sends from a copy that it read up to a minute ago, and does not look again.
Exact if its source is the one in `batch_cancel.adapters.taskiq.source`, which looks again.

What has a cron or an interval is taken back, too; once it was sent it has fired, so that it is
sent no more, and the answer is False.

The id of a deferred start is the schedule's id. An id that was cancelled or sent is used up:
scheduled anew it is not sent after a cancel, which answers False. Take a new id. Who cancels needs
neither taskiq nor that source.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import redis
import redis.asyncio

from batch_cancel.adapters.redis.library_scheduler import (
    AsyncRecipeScheduler,
    Client,
    LibraryScheduler,
    Recipe,
    RecipeScheduler,
    own_key,
    scripts,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET

__all__ = ["AsyncTaskiqStarts", "TaskiqStarts", "keys_of"]

_SCRIPTS: Final = scripts(__name__)
_KINDS: Final = ("string", "string", "string", "list", "list")


def keys_of(prefix: str, schedule_id: str) -> tuple[str, str]:
    """Return the key of a schedule, and of what was decided about it."""
    return f"{prefix}:data:{schedule_id}", own_key("decided", prefix, schedule_id)


def _recipe(prefix: str) -> Recipe:
    lists = tuple(f"{prefix}:{name}" for name in ("time:", "cron", "interval"))

    def keys(schedule_id: str) -> tuple[str, ...]:
        return *keys_of(prefix, schedule_id), *lists

    return Recipe("taskiq-redis", _SCRIPTS, prefix, _KINDS, keys)


class _Taskiq(LibraryScheduler[Client]):
    def __init__(
        self,
        client: Client,
        *,
        prefix: str = "schedule",
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(_recipe(prefix), client, budget, retention, min_replicas)


class TaskiqStarts(_Taskiq[redis.Redis], RecipeScheduler):
    """
    Cancels schedules of taskiq-redis.

    Arguments:
        client: for the Redis of the source, one server or a Sentinel's master. Whoever made it
            closes it.
        prefix: the source's `prefix`.
        budget: how long one answer may take, retries included.
        retention: how long an answer is remembered, and a cancelled id stays used up: longer than
            any start is late.
        min_replicas: how many replicas must have a cancellation before it is answered; else it is
            `SchedulerUnavailable`, and asked again.

    Raises:
        TypeError: a client of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument that cannot work.
    """


class AsyncTaskiqStarts(_Taskiq[redis.asyncio.Redis], AsyncRecipeScheduler):
    """As `TaskiqStarts`, awaited."""
