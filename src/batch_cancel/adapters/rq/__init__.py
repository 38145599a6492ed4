"""
Deferred starts that are RQ jobs: `queue.enqueue_at(at, start, ..., job_id=...)`.

The id of a deferred start is the job's id. RQ's scheduler, and rq-scheduler, read which jobs are
due and enqueue them a moment later without a second check, so a job that is removed in between
comes back. If the job's function is `guarded`, it does not start then, and the answer is right. So
a cancelled id is used up; schedule again with a new one.

A cancel removes a job that waits for its time, in its queue, for a free slot of its `rate_limit`
or for the job that it depends on. A job that ran before and waits for its `Retry` or `Repeat` has
fired: it does not run again, and the answer is False.

A job in another queue raises `SchedulerUnavailable`: the removal stays pending, and the message
names that queue.

Only the worker needs RQ. A process that cancels does not.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Final, ParamSpec, TypeVar, cast

from batch_cancel.adapters.missing_extra import missing_extra

try:
    import redis
    import redis.asyncio
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "rq", _missing) from _missing

from batch_cancel.adapters.redis.library_scheduler import (
    AsyncRecipeScheduler,
    Client,
    LibraryScheduler,
    Recipe,
    RecipeScheduler,
    scripts,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET

__all__ = ["AsyncRqScheduler", "RqScheduler", "guarded"]

_SCRIPTS: Final = scripts(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")


_KINDS: Final = ("zset", "list", "zset", "zset", "string", "hash")


def _recipe(queue: str, scheduled: str | None, prefix: str | None) -> Recipe:
    if prefix is None:
        prefix = os.environ.get("RQ_KEY_PREFIX", "rq")  # As RQ does.
    queue_key = f"{prefix}:queue:{queue}"
    registries = [f"{prefix}:{name}:{queue}" for name in ("scheduled", "deferred", "ready")]
    registries[0] = scheduled or registries[0]
    limits = f"{prefix}:rl:"  # The script reads the rest from the job.

    def keys(job_id: str) -> tuple[str, ...]:
        return registries[0], queue_key, *registries[1:], limits, f"{prefix}:job:{job_id}"

    return Recipe("RQ", _SCRIPTS, queue_key, _KINDS, keys)


class _Rq(LibraryScheduler[Client]):
    def __init__(
        self,
        client: Client,
        *,
        queue: str = "default",
        scheduled: str | None = None,
        prefix: str | None = None,
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        recipe = _recipe(queue, scheduled, prefix)
        super().__init__(recipe, client, budget, retention, min_replicas)


class RqScheduler(_Rq[redis.Redis], RecipeScheduler):
    """
    Cancels jobs of RQ.

    Arguments:
        client: for the Redis of RQ, one server or a Sentinel's master. Its owner closes it.
        queue: the name of the queue that the job is scheduled for.
        scheduled: the key of the scheduled jobs; None for RQ's own. rq-scheduler's is
            "rq:scheduler:scheduled_jobs".
        prefix: the prefix of RQ's keys; None for RQ's own default, the environment's RQ_KEY_PREFIX
            or else "rq".
        budget: how long one answer may take, retries included.
        retention: how long an operation's answer is remembered, and a cancelled id stays used up:
            longer than any job is late.
        min_replicas: how many replicas must have a cancellation before the call returns; otherwise
            it raises `SchedulerUnavailable`, and is retried.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument is out of range.
    """


class AsyncRqScheduler(_Rq[redis.asyncio.Redis], AsyncRecipeScheduler):
    """As `RqScheduler`, awaited."""


def guarded(scheduler: RqScheduler) -> Callable[[Callable[_P, _R]], Callable[_P, _R | None]]:
    """
    Return a decorator for a job's function: in a worker, a cancelled job does nothing.

    Write `@guarded(scheduler)`; without the scheduler it is a TypeError.

    Outside a worker the function is unchanged. If Redis does not answer, the job fails with
    `SchedulerUnavailable` and does not start. The tombstone is kept beside the job, in the same
    Redis: a Redis that has lost it has lost the job as well, or, after a failover to a lagging
    replica, the whole cancel. `min_replicas` guards against that.

    Arguments:
        scheduler: with the same queue and prefix as the one that cancels.

    Raises:
        TypeError: `scheduler` is something else, such as the function of a bare `@guarded`.
    """
    given = cast("object", scheduler)  # A bare @guarded passes the function.
    if not isinstance(given, RqScheduler):
        kind = type(given).__name__
        msg = f"guarded needs an RqScheduler, got {kind}: write @guarded(RqScheduler(client))"
        raise TypeError(msg)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R | None]:
        @functools.wraps(function)
        def start(*arguments: _P.args, **named: _P.kwargs) -> _R | None:
            job = import_module("rq").get_current_job()  # Only a worker needs RQ.
            if job is not None and scheduler.was_taken_back(job.id):
                return None
            return function(*arguments, **named)

        return start

    return decorate
