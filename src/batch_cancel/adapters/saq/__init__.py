"""
Deferred starts that are SAQ jobs: `await queue.enqueue(..., key=..., scheduled=...)`, in Redis.

The id of a deferred start is the job's key. Exact with SAQ's workers as they are. SAQ itself is
not needed here, nor its redis-py: any process that reaches the same Redis can cancel.

A job that waits for its retry has fired: it is not retried, and the answer is False. Whether a job
has run is in its JSON. If your own `Queue(dump=...)` writes no JSON, it cannot be read: the job is
removed all the same, but the answer is always False.

A cancelled id is free again: SAQ accepts a new job with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    import redis
    import redis.asyncio
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "saq", _missing) from _missing

from batch_cancel.adapters.redis.library_scheduler import (
    AsyncRecipeScheduler,
    Client,
    LibraryScheduler,
    Recipe,
    RecipeScheduler,
    scripts,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET

__all__ = ["AsyncSaqScheduler", "SaqScheduler"]

_SCRIPTS: Final = scripts(__name__)


def _recipe(queue: str) -> Recipe:
    lists = tuple(f"saq:{queue}:{name}" for name in ("incomplete", "queued", "active"))

    def keys(job_key: str) -> tuple[str, ...]:
        return *lists, f"saq:job:{queue}:{job_key}"

    return Recipe("SAQ", _SCRIPTS, lists[0], ("zset", "list", "list", "string"), keys)


class _Saq(LibraryScheduler[Client]):
    def __init__(
        self,
        client: Client,
        *,
        queue: str = "default",
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(_recipe(queue), client, budget, retention, min_replicas)


class SaqScheduler(_Saq[redis.Redis], RecipeScheduler):
    """
    Cancels jobs of SAQ.

    Arguments:
        client: for the Redis of SAQ, one server or a Sentinel's master. Its owner closes it.
        queue: the queue's name.
        budget: how long one answer may take, retries included.
        retention: how long an operation's answer is remembered.
        min_replicas: how many replicas must have a cancellation before the call returns; otherwise
            it raises `SchedulerUnavailable`, and is retried.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument is out of range.
    """


class AsyncSaqScheduler(_Saq[redis.asyncio.Redis], AsyncRecipeScheduler):
    """As `SaqScheduler`, awaited."""
