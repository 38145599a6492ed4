"""
Deferred starts that another library keeps in Redis: taken back by that library's recipe.

Rule 1: a recipe is data: a script that knows the library's keys, and which keys they are. How it
        runs in time, and that an operation is always answered the same, is the same for all.
Rule 2: the library itself is never imported. Its keys are enough, so that a program can cancel
        what it could not install beside its own redis-py.
Rule 3: what the user schedules with is the library's own client. Nothing of it is replaced, and
        what we leave behind, a tombstone for each start, expires.

A tombstone is a hash, operation -> answer, in the database where the library's keys are.

An adapter is a docstring, the names of the library's keys and one Lua file: see
`batch_cancel.adapters.saq` for a short one. That file, `recipe.lua`, defines `waits` and
`take_back`; the scripts here, appended to it, make of them what a scheduler is asked for.
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

from batch_cancel.adapters.redis.deadline_async import line_to_async
from batch_cancel.adapters.redis.deadline_sync import line_to
from batch_cancel.adapters.redis.encoding import decoded, encoded, lasting
from batch_cancel.adapters.redis.health import problems, without_replicas
from batch_cancel.adapters.redis.script_runner import (
    Executor,
    Line,
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
"""Ids in one question: each may cost a look into a list."""


@attrs.frozen
class RecipeScripts:
    """
    What a recipe can be asked for, see `scripts`.

    Arguments:
        cancel: takes a start back.
        waits: finds out which starts wait.
        oddities: finds out whether the library's keys are what the recipe takes them for.
    """

    cancel: Script
    waits: Script
    oddities: Script


@attrs.frozen
class Recipe:
    """
    How the deferred starts of one library, in one queue, are taken back.

    Arguments:
        library: its name, for those who read a message or a key.
        scripts: what does it.
        place: the key that names the queue: tombstones are kept by it.
        kinds: Redis' types of the keys, several with a space between them.
        keys: gives the library's keys of a start; `check` tries to write to the first one.
    """

    library: str
    scripts: RecipeScripts
    place: str
    kinds: Sequence[str]
    keys: Callable[[str], Sequence[str]]


def scripts(package: str) -> RecipeScripts:
    """Return the scripts of the recipe in `recipe.lua` of this package."""
    recipe = f"local oddity\n{lua('recipe', package=package)}"  # Not every recipe has one.
    cancel, waits, oddities = (
        Script(f"{recipe}\n{lua(name)}") for name in ("answered", "waits", "oddities")
    )
    return RecipeScripts(cancel, waits, oddities)


def own_key(kind: str, place: str, deferred_id: str) -> str:
    """Name a key of ours; the length of the place keeps apart "a", "b:c" and "a:b", "c"."""
    return f"batch_cancel:{kind}:{len(place)}:{place}:{deferred_id}"


_TAKEN_BACK: Final = script("taken_back")
_CHECK: Final = script("native_check", "check")


class LibraryScheduler(Generic[Client]):
    """
    What blocking and asyncio schedulers of a library have in common: each step, over either.

    An adapter derives one class from it, whose constructor makes the recipe from the names that
    the library's user has chosen; that class and each half make a public one, which documents the
    arguments.
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
                "script reaches them all: give a client for one server or a Sentinel's master"
            )
            raise TypeError(msg)
        self._recipe = recipe
        self._retention = lasting(retention)
        self._min_replicas = replicas_wanted(min_replicas, client)
        self._executor = Executor(self._line_to(client), budget)

    @abstractmethod
    def _line_to(self, client: Client) -> Line: ...

    @property
    def place(self) -> str:
        """The key that names the queue."""
        return self._recipe.place

    async def _cancel(self, deferred_id: str, operation_id: str) -> bool:
        keys = [self._tombstone(deferred_id), *map(encoded, self._recipe.keys(deferred_id))]
        arguments = [encoded(operation_id), self._retention, encoded(deferred_id)]
        cancel = self._recipe.scripts.cancel
        answer = await self._executor.run(cancel, keys, arguments, self._min_replicas)
        if isinstance(answer, bytes):
            raise SchedulerUnavailable(decoded(answer))  # A sentence, on why there is none.
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
            told, refused = await self._executor.run(_CHECK, tried, ())
            odd = await self._executor.run(self._recipe.scripts.oddities, keys, kinds)
        except SchedulerUnavailable as error:
            return [error.reason]
        reasons = [decoded(it) for it in refused]
        # Which key is of which type is told by the oddities.
        reasons = [it for it in reasons if not it.startswith("WRONGTYPE")]
        found = [*dict.fromkeys([*problems(decoded(told), reasons), *map(decoded, odd)])]
        if self._min_replicas and not found:
            try:
                await self._executor.run(_CHECK, tried, (), self._min_replicas)
            except SchedulerUnavailable as error:
                found.append(without_replicas(self._min_replicas, error.reason))
        return found

    def _tombstone(self, deferred_id: str) -> bytes:
        return encoded(own_key("answers", self._recipe.place, deferred_id))


class RecipeScheduler(LibraryScheduler[redis.Redis]):
    """Deferred starts of another library, in Redis or Valkey."""

    def _line_to(self, client: redis.Redis) -> Line:
        return line_to(client)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Take the deferred start back, if it has not fired.

        Returns:
            True if this operation took it back before it fired; the same whenever it is repeated.

        Raises:
            SchedulerUnavailable: no answer in time; ask again with the same operation.
        """
        return run(self._cancel(deferred_id, operation_id))

    def was_taken_back(self, deferred_id: str) -> bool:
        """
        Check whether the start was taken back by any operation: then it must not fire.

        For a worker's last look, where the library may bring back what was removed.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        return run(self._was_taken_back(deferred_id))

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that wait to fire; nothing is changed.

        What waits for its retry is among them: a cancel would take it back.

        Raises:
            SchedulerUnavailable: no answer in time; the budget is for each two hundred.
        """
        return run(self._waiting_among(deferred_ids))

    def check(self) -> list[str]:
        """
        Name in sentences what the library misses in this Redis; nothing is changed.

        An empty list says that it is fit: ask when your program starts.
        """
        return run(self._check())


class AsyncRecipeScheduler(LibraryScheduler[redis.asyncio.Redis]):
    """As `RecipeScheduler`, awaited."""

    def _line_to(self, client: redis.asyncio.Redis) -> Line:
        return line_to_async(client)

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
