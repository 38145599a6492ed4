"""
Deferred starts that are schedules with a time, in a ListRedisScheduleSource of taskiq-redis.

taskiq's scheduler sends from a copy that it read up to a minute ago, without a second check. Exact
if its source is the one in `batch_cancel.adapters.taskiq.source`, which checks again.

A schedule with a cron or an interval is removed, too; once it was sent it has fired: it is not
sent again, and the answer is False.

The id of a deferred start is the schedule's id. An id that was cancelled or sent is used up:
scheduled again, it is not sent after a cancel, which returns False. Use a new id. A process that
cancels needs neither taskiq nor that source.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    import redis
    import redis.asyncio
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "taskiq", _missing) from _missing

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
    """Return the key of a schedule, and the key of its decision."""
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
        client: for the Redis of the source, one server or a Sentinel's master. Its owner closes
            it.
        prefix: the source's `prefix`.
        budget: how long one answer may take, retries included.
        retention: how long an answer is remembered, and a cancelled id stays used up: longer than
            any start is late.
        min_replicas: how many replicas must have a cancellation before the call returns; otherwise
            it raises `SchedulerUnavailable`, and is retried.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument is out of range.
    """


class AsyncTaskiqStarts(_Taskiq[redis.asyncio.Redis], AsyncRecipeScheduler):
    """As `TaskiqStarts`, awaited."""
