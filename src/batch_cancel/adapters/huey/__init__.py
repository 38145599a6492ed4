"""
Deferred starts that are Huey tasks: `start.schedule(..., eta=..., id=...)`, on `RedisHuey`.

The id of a deferred start is the task's id. Huey keeps a task as nothing but its message, and a
consumer writes it anew when it moves the task. So whoever schedules, and the consumers, have the
messages remembered: `watch(huey, scheduler)`, once, where the Huey is made, does that. What nobody
remembered is not taken back. Any serializer whose messages depend on the task alone will do, and
queues with priorities; gzip writes the time into each message, and is refused by `watch`.

What waits for its retry has fired: it is taken back, and the answer is False.

A task travels through a consumer before it waits for its time. A cancel in that moment, right
after the scheduling, answers False; a consumer that is watched then drops the task, from one that
is not it fires when it is due, and the job's own start guard stops it. From such a consumer a task
with a set among its arguments is not found again either: False, and it fires.

An id that was cancelled is free again: Huey takes a new task under it.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any, Final, Literal

import redis
import redis.asyncio

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

    def remember(self, deferred_id: str, message: bytes, source: Source = "new") -> None:
        """
        Remember a message of a task, beside those that are known; `watch` calls this.

        Arguments:
            deferred_id: the task's id.
            message: the task as Huey keeps it.
            source: "new" from whoever schedules, "again" from a consumer that moves the task,
                "retry" from one that has run it.

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
    Have each deferred task remembered: where it is scheduled, and where a consumer moves it.

    When Redis does not answer whoever schedules, `SchedulerUnavailable` is raised, and nothing is
    enqueued.

    Arguments:
        huey: the instance that deferred starts are scheduled with, or that a consumer runs.
        scheduler: with the name of that instance.

    Raises:
        TypeError: a Huey that does not keep its tasks in Redis.
        ValueError: a scheduler of another name; a serializer that compresses with gzip.
    """
    _check_watchable(huey, scheduler.place)

    def enqueued(_signal: str, task: Any) -> None:  # noqa: ANN401  # Huey brings no types.
        if task.eta is None:
            return  # No deferred start.
        if huey.ready_to_run(task):
            moved(_signal, task)
        else:
            scheduler.remember(task.id, huey.serialize_task(task))

    def moved(_signal: str, task: Any) -> None:  # noqa: ANN401  # Huey brings no types.
        source: Source = "retry" if hasattr(task, _HAS_RUN) else "again"
        # A consumer must not fail for our sake.
        with contextlib.suppress(SchedulerUnavailable):
            scheduler.remember(task.id, huey.serialize_task(task), source)

    def retrying(_signal: str, task: Any) -> None:  # noqa: ANN401  # Huey brings no types.
        setattr(task, _HAS_RUN, True)

    huey.signal("enqueued")(enqueued)
    huey.signal("scheduled")(moved)
    huey.signal("retrying")(retrying)


_HAS_RUN: Final = "batch_cancel_has_run"


def _check_watchable(huey: Any, place: str) -> None:  # noqa: ANN401  # Huey brings no types.
    kept_at = getattr(huey.storage, "schedule_key", None)
    if kept_at is None or not hasattr(huey.storage, "conn"):
        msg = f"a RedisHuey is needed, got one with {type(huey.storage).__name__}"
        raise TypeError(msg)
    if kept_at != place:
        msg = (
            f"this Huey keeps its tasks at {kept_at}, the scheduler looks at {place}: pass "
            "name=huey.storage.name"
        )
        raise ValueError(msg)
    if getattr(huey.serializer, "comp", False) and not huey.serializer.use_zlib:
        msg = (
            "gzip writes the time into each message, so that no task is found again: compress "
            "with zlib, RedisHuey(compression=True, use_zlib=True)"
        )
        raise ValueError(msg)
