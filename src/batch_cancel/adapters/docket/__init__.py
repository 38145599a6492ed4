"""
Deferred starts that are tasks of docket: `await docket.add(task, when=..., key=...)(...)`.

The id of a deferred start is the task's key. Exact with docket's workers as they are: in its queue
and its stream, and where a task waits for a `ConcurrencyLimit` or a `RateLimit`. docket itself is
not needed here, nor its redis-py: any process that reaches the same Redis can cancel.

A task that waits for its retry has fired: it is not retried, and the answer is False. The next run
of a `Perpetual` or a `Cron` is a start of its own: it is removed, and the answer is True.

A cancelled key is free again: docket accepts a new task with it. For docket the task is cancelled:
whoever waits for its result gets `ExecutionCancelled`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    import redis
    import redis.asyncio
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "docket", _missing) from _missing

from batch_cancel.adapters.redis.library_scheduler import (
    AsyncRecipeScheduler,
    Client,
    LibraryScheduler,
    Recipe,
    RecipeScheduler,
    scripts,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET

__all__ = ["AsyncDocketScheduler", "DocketScheduler"]

_SCRIPTS: Final = scripts(__name__)
_KINDS: Final = ("zset", "stream", "hash", "hash", "hash", "none")


def _recipe(name: str) -> Recipe:
    queue, stream = f"{name}:queue", f"{name}:stream"

    def keys(key: str) -> tuple[str, ...]:
        return (
            queue,
            stream,
            f"{name}:{key}",
            f"{name}:runs:{key}",
            f"{name}:progress:{key}",
            f"{name}:state:{key}",
        )

    return Recipe("docket", _SCRIPTS, queue, _KINDS, keys)


class _Docket(LibraryScheduler[Client]):
    def __init__(
        self,
        client: Client,
        *,
        name: str = "docket",
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(_recipe(name), client, budget, retention, min_replicas)


class DocketScheduler(_Docket[redis.Redis], RecipeScheduler):
    """
    Cancels tasks of docket.

    Arguments:
        client: for the Redis of docket, one server or a Sentinel's master. Its owner closes it.
        name: the docket's name.
        budget: how long one answer may take, retries included.
        retention: how long an operation's answer and docket's record of the task are kept.
        min_replicas: how many replicas must have a cancellation before the call returns; otherwise
            it raises `SchedulerUnavailable`, and is retried.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument is out of range.
    """


class AsyncDocketScheduler(_Docket[redis.asyncio.Redis], AsyncRecipeScheduler):
    """As `DocketScheduler`, awaited."""
