"""
Deferred starts that are Huey tasks: `start.schedule(..., eta=..., id=...)`, on `RedisHuey`.

The id of a deferred start is the task's id. Huey keeps only a task's message, and a consumer
rewrites it when it moves the task. So the messages must be remembered where tasks are scheduled
and in the consumers: call `watch(huey, scheduler)` once, where the Huey is created. A task whose
message was not remembered is not removed. Queues with priorities work, and so does any serializer
whose messages depend on the task alone; gzip writes the time into each message, and `watch`
refuses it.

A task that waits for its retry has fired: it is removed, and the answer is False.

A task passes through a consumer before it waits for its time. A cancel in that moment, right after
the scheduling, returns False. A watched consumer then drops the task; from an unwatched one it
fires when it is due, and the job's own `start_job` stops it. A task with a set among its arguments
is not found again after an unwatched consumer either: the answer is False, and it fires.

A cancelled id is free again: Huey accepts a new task with it.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any, Final, Literal

from batch_cancel.adapters.missing_extra import missing_extra

try:
    import redis
    import redis.asyncio
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "huey", _missing) from _missing

from batch_cancel.adapters.redis.library_scheduler import (
    AsyncRecipeScheduler,
    Client,
    LibraryScheduler,
    Recipe,
    RecipeScheduler,
    encoded,
    own_key,
    script,
    scripts,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.run_blocking import run

__all__ = ["AsyncHueyScheduler", "HueyScheduler", "watch"]

_SCRIPTS: Final = scripts(__name__)
_REMEMBER: Final = script("remember", package=__name__)

Source = Literal["new", "again", "retry"]


def _recipe(name: str) -> Recipe:
    scheduled = f"huey.schedule.{name}"

    def keys(task_id: str) -> tuple[str, ...]:
        return scheduled, f"huey.redis.{name}", own_key("messages", scheduled, task_id)

    return Recipe("Huey", _SCRIPTS, scheduled, ("zset", "list zset", "hash"), keys)


class _Huey(LibraryScheduler[Client]):
    def __init__(
        self,
        client: Client,
        *,
        name: str = "huey",
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(_recipe(name), client, budget, retention, min_replicas)

    async def _remember(self, deferred_id: str, message: bytes, source: Source) -> None:
        scheduled, _, remembered = self._recipe.keys(deferred_id)
        keys = [encoded(scheduled), encoded(remembered)]
        await self._executor.run(_REMEMBER, keys, (message, encoded(source), self._retention))


class HueyScheduler(_Huey[redis.Redis], RecipeScheduler):
    """
    Cancels tasks of Huey.

    Arguments:
        client: for Huey's Redis, one server or a Sentinel's master. Its owner closes it.
        name: Huey's, as it is in Redis: `huey.storage.name`.
        budget: how long one answer may take, retries included.
        retention: how long an operation's answer and a task's message are remembered: longer than
            any start is scheduled ahead.
        min_replicas: how many replicas must have a cancellation before the call returns; otherwise
            it raises `SchedulerUnavailable`, and is retried.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument is out of range.
    """

    def remember(self, deferred_id: str, message: bytes, source: Source = "new") -> None:
        """
        Remember another message of a task; `watch` calls this.

        Arguments:
            deferred_id: the task's id.
            message: the task as Huey keeps it.
            source: "new" when the task is scheduled, "again" when a consumer moves it, "retry"
                when a consumer has run it.

        Raises:
            SchedulerUnavailable: no answer in time; it may be remembered or not.
        """
        run(self._remember(deferred_id, message, source))


class AsyncHueyScheduler(_Huey[redis.asyncio.Redis], AsyncRecipeScheduler):
    """As `HueyScheduler`, awaited."""

    async def remember(self, deferred_id: str, message: bytes, source: Source = "new") -> None:
        """As `HueyScheduler.remember`, awaited."""
        await self._remember(deferred_id, message, source)


def watch(huey: Any, scheduler: HueyScheduler) -> None:  # noqa: ANN401  # Huey brings no types.
    """
    Remember the message of each deferred task when it is scheduled and when a consumer moves it.

    If Redis does not answer, scheduling raises `SchedulerUnavailable` and enqueues no task.

    Arguments:
        huey: the instance that deferred starts are scheduled with, or that a consumer runs.
        scheduler: with the name of that instance.

    Raises:
        TypeError: a Huey that does not keep its tasks in Redis.
        ValueError: a scheduler of another name; a serializer that compresses with gzip.
    """
    _check_watchable(huey, scheduler.queue_key)

    def enqueued(_signal: str, task: Any) -> None:  # noqa: ANN401  # Huey brings no types.
        if task.eta is None:
            return  # Not a deferred start.
        if huey.ready_to_run(task):
            moved(_signal, task)
        else:
            scheduler.remember(task.id, huey.serialize_task(task))

    def moved(_signal: str, task: Any) -> None:  # noqa: ANN401  # Huey brings no types.
        source: Source = "retry" if hasattr(task, _HAS_RUN) else "again"
        # A consumer must not fail because of this.
        with contextlib.suppress(SchedulerUnavailable):
            scheduler.remember(task.id, huey.serialize_task(task), source)

    def retrying(_signal: str, task: Any) -> None:  # noqa: ANN401  # Huey brings no types.
        setattr(task, _HAS_RUN, True)

    huey.signal("enqueued")(enqueued)
    huey.signal("scheduled")(moved)
    huey.signal("retrying")(retrying)


_HAS_RUN: Final = "batch_cancel_has_run"


def _check_watchable(huey: Any, queue_key: str) -> None:  # noqa: ANN401  # Huey brings no types.
    kept_at = getattr(huey.storage, "schedule_key", None)
    if kept_at is None or not hasattr(huey.storage, "conn"):
        msg = f"a RedisHuey is needed, got one with {type(huey.storage).__name__}"
        raise TypeError(msg)
    if kept_at != queue_key:
        msg = (
            f"this Huey keeps its tasks at {kept_at}, but the scheduler reads {queue_key}: pass "
            "name=huey.storage.name"
        )
        raise ValueError(msg)
    if getattr(huey.serializer, "comp", False) and not huey.serializer.use_zlib:
        msg = (
            "gzip writes the time into each message, so tasks are not found again: compress with "
            "zlib, RedisHuey(compression=True, use_zlib=True)"
        )
        raise ValueError(msg)
