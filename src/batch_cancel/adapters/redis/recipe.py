"""
Deferred starts that another library keeps in Redis: taken back by that library's recipe.

Rule 1: a recipe is data: a script that knows the library's keys, and which keys they are. How it
        runs in time, and that an operation is always answered the same, is the same for all.
Rule 2: the library itself is never imported. Its keys are enough, so that a program can cancel
        what it could not install beside its own redis-py.
Rule 3: what the user schedules with is the library's own client. Nothing of it is replaced, and
        what we leave behind, a tombstone for each start, expires.

A tombstone is a hash, operation -> answer, in the database where the library's keys are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.resources import files
from typing import Final

import attrs
import redis
import redis.asyncio

from batch_cancel.adapters.redis.executor import (
    AsyncExecutor,
    Executor,
    Script,
    replicas_wanted,
)
from batch_cancel.adapters.redis.wire import BUDGET, RETENTION, encoded, lasting
from batch_cancel.domain.model import ID_BYTES_MAX, is_storable

__all__ = [
    "BUDGET",
    "RETENTION",
    "AsyncRecipeScheduler",
    "Recipe",
    "RecipeScheduler",
    "script",
    "single_script",
]


@attrs.frozen
class Recipe:
    """
    How the deferred starts of one library, in one queue, are taken back.

    Arguments:
        library: its name, for those who read a message or a key.
        script: what does it, see `script`.
        place: the key that names the queue: tombstones are kept by it.
        keys: gives the library's keys of a start; the script finds them from KEYS[2] on.
    """

    library: str
    script: Script
    place: str
    keys: Callable[[str], Sequence[str]]


def script(package: str) -> Script:
    """Give the script of the recipe in `cancel.lua` of this package."""
    return Script(f"{_text(package, 'cancel')}\n{_text(_HERE, 'answered')}")


def single_script(package: str, name: str) -> Script:
    """Give the script in this file of this package, which needs no other."""
    return Script(_text(package, name))


def _text(package: str, name: str) -> str:
    return (files(package) / f"{name}.lua").read_text()


_HERE: Final = "batch_cancel.adapters.redis"
_TAKEN_BACK: Final = single_script(_HERE, "taken_back")


class _Recipes:
    """What both kinds of scheduler have of a recipe."""

    def __init__(
        self, recipe: Recipe, client: object, retention: timedelta, min_replicas: int
    ) -> None:
        if isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
            msg = (
                f"{recipe.library} spreads the keys of a job over the slots of a cluster, so no "
                "script reaches them all: give a client for one server or a Sentinel's master"
            )
            raise TypeError(msg)
        self._recipe = recipe
        self._retention = lasting(retention)
        self._min_replicas = replicas_wanted(min_replicas, client)

    def _operands(
        self, deferred_id: str, operation_id: str
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Give the keys and the arguments of the script."""
        keys = [self._tombstone(deferred_id), *map(encoded, self._recipe.keys(deferred_id))]
        arguments = [encoded(operation_id), self._retention, encoded(deferred_id)]
        return keys, arguments

    def _tombstone(self, deferred_id: str) -> bytes:
        return encoded(f"batch_cancel:{self._recipe.place}:{deferred_id}")


class RecipeScheduler(_Recipes):
    """Deferred starts of another library, in Redis or Valkey."""

    def __init__(
        self,
        recipe: Recipe,
        client: redis.Redis,
        budget: timedelta,
        retention: timedelta,
        min_replicas: int,
    ) -> None:
        super().__init__(recipe, client, retention, min_replicas)
        self._executor = Executor(client, budget)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Take the deferred start back, if it has not fired.

        Returns:
            True if this operation took it back before it fired; the same whenever it is repeated.

        Raises:
            SchedulerUnavailable: no answer in time; ask again with the same operation.
        """
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # No job of ours can have such an id.
        keys, arguments = self._operands(deferred_id, operation_id)
        run = self._executor.run
        return bool(run(self._recipe.script, keys, arguments, self._min_replicas))

    def was_taken_back(self, deferred_id: str) -> bool:
        """
        Say whether the start was taken back by any operation: then it must not fire.

        For a worker's last look, where the library may bring back what was removed.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        keys = [self._tombstone(deferred_id)]
        return bool(self._executor.run(_TAKEN_BACK, keys, ()))

    def _run_on(self, one: Script, key: str, value: bytes) -> None:
        """Run a script that keeps a value under a key, as long as answers are remembered."""
        self._executor.run(one, [encoded(key)], [value, self._retention])


class AsyncRecipeScheduler(_Recipes):
    """Deferred starts of another library, in Redis or Valkey."""

    def __init__(
        self,
        recipe: Recipe,
        client: redis.asyncio.Redis,
        budget: timedelta,
        retention: timedelta,
        min_replicas: int,
    ) -> None:
        super().__init__(recipe, client, retention, min_replicas)
        self._executor = AsyncExecutor(client, budget)

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Take the deferred start back, if it has not fired.

        Returns:
            True if this operation took it back before it fired; the same whenever it is repeated.

        Raises:
            SchedulerUnavailable: no answer in time; ask again with the same operation.
        """
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # No job of ours can have such an id.
        keys, arguments = self._operands(deferred_id, operation_id)
        run = self._executor.run
        return bool(await run(self._recipe.script, keys, arguments, self._min_replicas))

    async def was_taken_back(self, deferred_id: str) -> bool:
        """
        Say whether the start was taken back by any operation: then it must not fire.

        For a worker's last look, where the library may bring back what was removed.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        keys = [self._tombstone(deferred_id)]
        return bool(await self._executor.run(_TAKEN_BACK, keys, ()))

    async def _run_on(self, one: Script, key: str, value: bytes) -> None:
        """Run a script that keeps a value under a key, as long as answers are remembered."""
        await self._executor.run(one, [encoded(key)], [value, self._retention])
