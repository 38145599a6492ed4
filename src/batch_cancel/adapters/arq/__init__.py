"""
Deferred starts that are arq jobs: `await pool.enqueue_job(..., _job_id=..., _defer_until=...)`.

The id of a deferred start is the job's id. Exact with arq's workers as they are. arq itself is not
needed here, nor its redis-py: any process that reaches the same Redis can cancel.

A job that waits for its retry has fired: it is not retried, and the answer is False. arq forgets
after a day that a job has run; a retry that is deferred for longer counts as not fired.

A job in another queue raises `SchedulerUnavailable`: the removal stays pending, and the message
names the queue that was searched.

A cancelled id is free again: arq accepts a new job with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    import redis
    import redis.asyncio
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "arq", _missing) from _missing

from batch_cancel.adapters.redis.library_scheduler import (
    AsyncRecipeScheduler,
    Client,
    LibraryScheduler,
    Recipe,
    RecipeScheduler,
    scripts,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET

__all__ = ["ArqScheduler", "AsyncArqScheduler"]

_SCRIPTS: Final = scripts(__name__)


def _recipe(queue: str) -> Recipe:
    def keys(job_id: str) -> tuple[str, ...]:
        return queue, f"arq:job:{job_id}", f"arq:in-progress:{job_id}", f"arq:retry:{job_id}"

    return Recipe("arq", _SCRIPTS, queue, ("zset", "string", "string", "string"), keys)


class _Arq(LibraryScheduler[Client]):
    def __init__(
        self,
        client: Client,
        *,
        queue: str = "arq:queue",
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(_recipe(queue), client, budget, retention, min_replicas)


class ArqScheduler(_Arq[redis.Redis], RecipeScheduler):
    """
    Cancels jobs of arq.

    Arguments:
        client: for the Redis of arq, one server or a Sentinel's master. Its owner closes it.
        queue: arq's `queue_name`.
        budget: how long one answer may take, retries included.
        retention: how long an operation's answer is remembered.
        min_replicas: how many replicas must have a cancellation before the call returns; otherwise
            it raises `SchedulerUnavailable`, and is retried.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument is out of range.
    """


class AsyncArqScheduler(_Arq[redis.asyncio.Redis], AsyncRecipeScheduler):
    """As `ArqScheduler`, awaited."""
