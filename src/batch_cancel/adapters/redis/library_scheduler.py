"""
Schedulers for deferred starts that another library keeps in Redis.

Rule 1: a recipe is data: a script that knows the library's keys, and the names of the keys. Time
        budget and replay of an operation's answer are the same for all libraries.
Rule 2: the library itself is never imported. So a program can cancel starts of a library that it
        could not install beside its own redis-py.
Rule 3: starts are scheduled with the library's own client, which is not replaced. We only leave a
        tombstone for each start, which expires.

A tombstone is a hash, operation -> answer, in the database where the library's keys are.

An adapter is a docstring, the names of the library's keys and one Lua file: see
`batch_cancel.adapters.saq` for a short one. That file, `recipe.lua`, defines `waits` and
`take_back`; the scripts here are appended to it, and make the calls of a scheduler of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Final, Generic, TypeVar

import attrs
import redis
import redis.asyncio

from batch_cancel.adapters.redis.deadline_async import connection_to_async
from batch_cancel.adapters.redis.deadline_sync import connection_to
from batch_cancel.adapters.redis.encoding import decoded, encoded, lasting
from batch_cancel.adapters.redis.health import problems, without_replicas
from batch_cancel.adapters.redis.script_runner import (
    Connection,
    Executor,
    Script,
    lua,
    replicas_wanted,
    script,
)
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.run_blocking import run

__all__ = [
    "AsyncRecipeScheduler",
    "Client",
    "LibraryScheduler",
    "Recipe",
    "RecipeScheduler",
    "RecipeScripts",
    "encoded",
    "own_key",
    "script",
    "scripts",
]

Client = TypeVar("Client")
"""`redis.Redis` or `redis.asyncio.Redis`."""

_PAGE_SIZE: Final = 200
"""The most ids in one call: each may need a search in a list."""


@attrs.frozen
class RecipeScripts:
    """
    The scripts of a recipe, see `scripts`.

    Arguments:
        cancel: removes a start.
        waits: returns which starts wait.
        oddities: checks whether the library's keys are as the recipe expects.
    """

    cancel: Script
    waits: Script
    oddities: Script


@attrs.frozen
class Recipe:
    """
    How to remove the deferred starts of one library in one queue.

    Arguments:
        library: its name, for messages and keys.
        scripts: the scripts.
        queue_key: the key that names the queue, also in the names of tombstones.
        kinds: the Redis types of the keys; several are joined by a space.
        keys: returns the library's keys of a start; `check` tries to write to the first one.
    """

    library: str
    scripts: RecipeScripts
    queue_key: str
    kinds: Sequence[str]
    keys: Callable[[str], Sequence[str]]


def scripts(package: str) -> RecipeScripts:
    """Return the scripts of the recipe in `recipe.lua` of this package."""
    recipe = f"local oddity\n{lua('recipe', package=package)}"  # A recipe need not define it.
    cancel, waits, oddities = (
        Script(f"{recipe}\n{lua(name)}") for name in ("answered", "waits", "oddities")
    )
    return RecipeScripts(cancel, waits, oddities)


def own_key(kind: str, queue_key: str, deferred_id: str) -> str:
    """Return a key of ours; the length distinguishes "a", "b:c" and "a:b", "c"."""
    return f"batch_cancel:{kind}:{len(queue_key)}:{queue_key}:{deferred_id}"


_TAKEN_BACK: Final = script("taken_back")
_CHECK: Final = script("native_check", "check")


class LibraryScheduler(Generic[Client]):
    """
    The common steps of blocking and asyncio schedulers of a library.

    An adapter derives one class from it, whose constructor makes the recipe from the library's
    settings. That class and each half form a public class, which documents the arguments.
    """

    def __init__(
        self,
        recipe: Recipe,
        client: Client,
        budget: timedelta,
        retention: timedelta,
        min_replicas: int,
    ) -> None:
        if isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
            msg = (
                f"{recipe.library} spreads the keys of a job over the slots of a cluster, so no "
                "script reaches them all: pass a client for one server or a Sentinel's master"
            )
            raise TypeError(msg)
        self._recipe = recipe
        self._retention = lasting(retention)
        self._min_replicas = replicas_wanted(min_replicas, client)
        self._executor = Executor(self._connection_to(client), budget)

    @abstractmethod
    def _connection_to(self, client: Client) -> Connection: ...

    @property
    def queue_key(self) -> str:
        """The key that names the queue."""
        return self._recipe.queue_key

    async def _cancel(self, deferred_id: str, operation_id: str) -> bool:
        keys = [self._tombstone(deferred_id), *map(encoded, self._recipe.keys(deferred_id))]
        arguments = [encoded(operation_id), self._retention, encoded(deferred_id)]
        cancel = self._recipe.scripts.cancel
        answer = await self._executor.run(cancel, keys, arguments, self._min_replicas)
        if isinstance(answer, bytes):
            raise SchedulerUnavailable(decoded(answer))  # A sentence that says why there is none.
        return bool(answer)

    async def _was_taken_back(self, deferred_id: str) -> bool:
        return bool(await self._executor.run(_TAKEN_BACK, [self._tombstone(deferred_id)], ()))

    async def _waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        ids: set[str] = set()
        listed = sorted(deferred_ids)
        for first in range(0, len(listed), _PAGE_SIZE):
            page = listed[first : first + _PAGE_SIZE]
            keys = [encoded(key) for it in page for key in self._recipe.keys(it)]
            waits, arguments = self._recipe.scripts.waits, [encoded(it) for it in page]
            ids.update(map(decoded, await self._executor.run(waits, keys, arguments)))
        return ids

    async def _check(self) -> list[str]:
        keys = [encoded(key) for key in self._recipe.keys("")]
        kinds = [encoded(it) for it in self._recipe.kinds]
        tried = (keys[0], self._tombstone(""))
        try:
            info, refused = await self._executor.run(_CHECK, tried, ())
            odd = await self._executor.run(self._recipe.scripts.oddities, keys, kinds)
        except SchedulerUnavailable as error:
            return [error.reason]
        reasons = [decoded(it) for it in refused]
        # The oddities report the types of the keys.
        reasons = [it for it in reasons if not it.startswith("WRONGTYPE")]
        found = [*dict.fromkeys([*problems(decoded(info), reasons), *map(decoded, odd)])]
        if self._min_replicas and not found:
            try:
                await self._executor.run(_CHECK, tried, (), self._min_replicas)
            except SchedulerUnavailable as error:
                found.append(without_replicas(self._min_replicas, error.reason))
        return found

    def _tombstone(self, deferred_id: str) -> bytes:
        return encoded(own_key("answers", self._recipe.queue_key, deferred_id))


class RecipeScheduler(LibraryScheduler[redis.Redis]):
    """Deferred starts of another library, in Redis or Valkey."""

    def _connection_to(self, client: redis.Redis) -> Connection:
        return connection_to(client)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Remove the deferred start, if it has not fired.

        Returns:
            True if this operation removed it before it fired; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: no answer in time; retry with the same operation.
        """
        return run(self._cancel(deferred_id, operation_id))

    def was_taken_back(self, deferred_id: str) -> bool:
        """
        Check whether any operation has removed the start: then it must not fire.

        For a worker's last check, if the library may bring back a removed start.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        return run(self._was_taken_back(deferred_id))

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that wait to fire, without a change.

        A start that waits for its retry is included: a cancel would remove it.

        Raises:
            SchedulerUnavailable: no answer in time; each page of two hundred has the whole budget.
        """
        return run(self._waiting_among(deferred_ids))

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this Redis, without a change.

        An empty list means that it is fit: check when your program starts.
        """
        return run(self._check())


class AsyncRecipeScheduler(LibraryScheduler[redis.asyncio.Redis]):
    """As `RecipeScheduler`, awaited."""

    def _connection_to(self, client: redis.asyncio.Redis) -> Connection:
        return connection_to_async(client)

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `RecipeScheduler.cancel`, awaited."""
        return await self._cancel(deferred_id, operation_id)

    async def was_taken_back(self, deferred_id: str) -> bool:
        """As `RecipeScheduler.was_taken_back`, awaited."""
        return await self._was_taken_back(deferred_id)

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `RecipeScheduler.waiting_among`, awaited."""
        return await self._waiting_among(deferred_ids)

    async def check(self) -> list[str]:
        """As `RecipeScheduler.check`, awaited."""
        return await self._check()
