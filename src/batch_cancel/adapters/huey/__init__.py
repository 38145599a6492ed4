"""
Deferred starts that are Huey tasks: `start.schedule(..., eta=..., id=...)`, on `RedisHuey`.

The id of a deferred start is the task's id. Huey keeps a task as nothing but its message, so
whoever schedules has it remembered: `watch(huey, scheduler)`, once, does that. What nobody
remembered is not taken back. Exact with Huey's consumers as they are. Not for `PriorityRedisHuey`.

A task travels through a consumer before it waits for its time. A cancel in that moment, right
after the scheduling, answers False, and the task fires when it is due: the job's own start guard
stops it.

An id that was cancelled is free again: Huey takes a new task under it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import redis
import redis.asyncio

from batch_cancel.adapters.redis.recipe import (
    BUDGET,
    RETENTION,
    AsyncRecipeScheduler,
    Recipe,
    RecipeScheduler,
    script,
    single_script,
)

__all__ = ["AsyncHueyScheduler", "HueyScheduler", "watch"]

_CANCEL: Final = script(__name__)
_REMEMBER: Final = single_script(__name__, "remember")


def _recipe(name: str) -> Recipe:
    scheduled = f"huey.schedule.{name}"

    def keys(task_id: str) -> tuple[str, ...]:
        return scheduled, f"huey.redis.{name}", f"batch_cancel:{scheduled}:{task_id}:message"

    return Recipe("Huey", _CANCEL, scheduled, keys)


class HueyScheduler(RecipeScheduler):
    """
    Cancels tasks of Huey.

    Arguments:
        client: for Huey's Redis, one server or a Sentinel's master. Whoever made it closes it.
        name: Huey's, as it is in Redis: `huey.storage.name`.
        budget: how long one answer may take, retries included.
        retention: how long an operation's answer and a task's message are remembered: longer than
            any start is ahead.
        min_replicas: how many replicas must have a cancellation before it is answered; else it is
            `SchedulerUnavailable`, and asked again.

    Raises:
        TypeError: a client of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument that cannot work.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        name: str = "huey",
        budget: timedelta = BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(_recipe(name), client, budget, retention, min_replicas)

    def remember(self, deferred_id: str, message: bytes) -> None:
        """
        Remember the message of a task, if none is remembered yet; `watch` calls this.

        Raises:
            SchedulerUnavailable: no answer in time; it may be remembered or not.
        """
        self._run_on(_REMEMBER, self._recipe.keys(deferred_id)[-1], message)


class AsyncHueyScheduler(AsyncRecipeScheduler):
    """
    Cancels tasks of Huey.

    Arguments:
        client: for Huey's Redis, one server or a Sentinel's master. Whoever made it closes it.
        name: Huey's, as it is in Redis: `huey.storage.name`.
        budget: how long one answer may take, retries included.
        retention: how long an operation's answer and a task's message are remembered: longer than
            any start is ahead.
        min_replicas: how many replicas must have a cancellation before it is answered; else it is
            `SchedulerUnavailable`, and asked again.

    Raises:
        TypeError: a client of the other kind, blocking or asyncio, or for a cluster.
        ValueError: an argument that cannot work.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        name: str = "huey",
        budget: timedelta = BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(_recipe(name), client, budget, retention, min_replicas)

    async def remember(self, deferred_id: str, message: bytes) -> None:
        """
        Remember the message of a task, if none is remembered yet; `watch` calls this.

        Raises:
            SchedulerUnavailable: no answer in time; it may be remembered or not.
        """
        await self._run_on(_REMEMBER, self._recipe.keys(deferred_id)[-1], message)


def watch(huey: Any, scheduler: HueyScheduler) -> None:  # noqa: ANN401  # Huey brings no types.
    """
    Have each deferred task remembered when it is enqueued, just before Redis is given it.

    When Redis does not answer, `SchedulerUnavailable` is raised, and nothing is enqueued.

    Arguments:
        huey: the instance that deferred starts are scheduled with.
        scheduler: with the name of that instance.
    """

    def remember(_signal: str, task: Any) -> None:  # noqa: ANN401  # Huey brings no types.
        # What is due is enqueued again by a consumer, which must not fail for our sake.
        if not huey.ready_to_run(task):
            scheduler.remember(task.id, huey.serialize_task(task))

    huey.signal("enqueued")(remember)
