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

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Final, Generic, TypeVar

import attrs
import redis
import redis.asyncio

from batch_cancel.adapters.redis.encoding import (
    decoded,
    encoded,
    lasting,
)
from batch_cancel.adapters.redis.health import problems, without_replicas
from batch_cancel.adapters.redis.script_runner import (
    AsyncExecutor,
    Executor,
    Script,
    lua,
    replicas_wanted,
    script,
)
from batch_cancel.ports import SchedulerUnavailable

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
        queue_key: the key that names the queue: tombstones are kept by it.
        kinds: Redis' types of the keys, several with a space between them.
        keys: gives the library's keys of a start; `check` tries to write to the first one.
    """

    library: str
    scripts: RecipeScripts
    queue_key: str
    kinds: Sequence[str]
    keys: Callable[[str], Sequence[str]]


def scripts(package: str) -> RecipeScripts:
    """Return the scripts of the recipe in `recipe.lua` of this package."""
    recipe = f"local oddity\n{lua('recipe', package=package)}"  # Not every recipe has one.
    cancel, waits, oddities = (
        Script(f"{recipe}\n{lua(name)}") for name in ("answered", "waits", "oddities")
    )
    return RecipeScripts(cancel, waits, oddities)


def own_key(kind: str, queue_key: str, deferred_id: str) -> str:
    """Name a key of ours; the length of the queue_key keeps apart "a", "b:c" and "a:b", "c"."""
    return f"batch_cancel:{kind}:{len(queue_key)}:{queue_key}:{deferred_id}"


_TAKEN_BACK: Final = script("taken_back")
_CHECK: Final = script("native_check", "check")


class LibraryScheduler(Generic[Client]):
    """
    What blocking and asyncio schedulers of a library have in common.

    An adapter derives one class from it, whose constructor makes the recipe from the names that
    the library's user has chosen; that class and each half make a public one, which documents the
    arguments.
    """

    def __init__(
        self,
        recipe: Recipe,
        client: Client,
        budget: timedelta,  # noqa: ARG002  # For the executor of a half.
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

    @property
    def queue_key(self) -> str:
        """The key that names the queue."""
        return self._recipe.queue_key

    def _operands(
        self, deferred_id: str, operation_id: str
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the keys and the arguments of the script."""
        keys = [self._tombstone(deferred_id), *map(encoded, self._recipe.keys(deferred_id))]
        arguments = [encoded(operation_id), self._retention, encoded(deferred_id)]
        return keys, arguments

    def _tombstone(self, deferred_id: str) -> bytes:
        return encoded(own_key("answers", self._recipe.queue_key, deferred_id))

    def _pages(
        self, deferred_ids: AbstractSet[str]
    ) -> Iterator[tuple[Sequence[bytes], Sequence[bytes]]]:
        """Return the keys and the ids, so many at a time."""
        listed = sorted(deferred_ids)
        for first in range(0, len(listed), _PAGE_SIZE):
            page = listed[first : first + _PAGE_SIZE]
            keys = [encoded(key) for it in page for key in self._recipe.keys(it)]
            yield keys, [encoded(it) for it in page]

    def _checked(self) -> tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]]:
        """Return what to try the server with, the library's keys of no start, and their kinds."""
        keys = [encoded(key) for key in self._recipe.keys("")]
        return (keys[0], self._tombstone("")), keys, [encoded(it) for it in self._recipe.kinds]


def _answered(answer: bytes | int) -> bool:
    """
    Return the answer.

    Raises:
        SchedulerUnavailable: it is a sentence, on why there can be none.
    """
    if isinstance(answer, bytes):
        raise SchedulerUnavailable(decoded(answer))
    return bool(answer)


def _found(info: bytes, refused: Sequence[bytes], odd: Sequence[bytes]) -> list[str]:
    """Name what is wrong with the server, and with the library's keys."""
    reasons = [decoded(it) for it in refused]
    # Which key is of which type is told below.
    of_server = problems(decoded(info), [it for it in reasons if not it.startswith("WRONGTYPE")])
    return [*dict.fromkeys([*of_server, *map(decoded, odd)])]


class RecipeScheduler(LibraryScheduler[redis.Redis]):
    """Deferred starts of another library, in Redis or Valkey."""

    def __init__(
        self,
        recipe: Recipe,
        client: redis.Redis,
        budget: timedelta,
        retention: timedelta,
        min_replicas: int,
    ) -> None:
        super().__init__(recipe, client, budget, retention, min_replicas)
        self._executor = Executor(client, budget)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Take the deferred start back, if it has not fired.

        Returns:
            True if this operation took it back before it fired; the same whenever it is repeated.

        Raises:
            SchedulerUnavailable: no answer in time; ask again with the same operation.
        """
        keys, arguments = self._operands(deferred_id, operation_id)
        cancel, run = self._recipe.scripts.cancel, self._executor.run
        return _answered(run(cancel, keys, arguments, self._min_replicas))

    def was_taken_back(self, deferred_id: str) -> bool:
        """
        Check whether the start was taken back by any operation: then it must not fire.

        For a worker's last look, where the library may bring back what was removed.

        Raises:
            SchedulerUnavailable: no answer in time.
        """
        keys = [self._tombstone(deferred_id)]
        return bool(self._executor.run(_TAKEN_BACK, keys, ()))

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that wait to fire; nothing is changed.

        What waits for its retry is among them: a cancel would take it back.

        Raises:
            SchedulerUnavailable: no answer in time; the budget is for each two hundred.
        """
        ids: set[str] = set()
        for keys, page in self._pages(deferred_ids):
            waiting = self._executor.run(self._recipe.scripts.waits, keys, page)
            ids.update(map(decoded, waiting))
        return ids

    def check(self) -> list[str]:
        """
        Name in sentences what the library misses in this Redis; nothing is changed.

        An empty list says that it is fit: ask when your program starts.
        """
        tried, keys, kinds = self._checked()
        try:
            info, refused = self._executor.run(_CHECK, tried, ())
            odd = self._executor.run(self._recipe.scripts.oddities, keys, kinds)
        except SchedulerUnavailable as error:
            return [error.reason]
        found = _found(info, refused, odd)
        if self._min_replicas and not found:
            try:
                self._executor.run(_CHECK, tried, (), self._min_replicas)
            except SchedulerUnavailable as error:
                found.append(without_replicas(self._min_replicas, error.reason))
        return found


class AsyncRecipeScheduler(LibraryScheduler[redis.asyncio.Redis]):
    """As `RecipeScheduler`, awaited."""

    def __init__(
        self,
        recipe: Recipe,
        client: redis.asyncio.Redis,
        budget: timedelta,
        retention: timedelta,
        min_replicas: int,
    ) -> None:
        super().__init__(recipe, client, budget, retention, min_replicas)
        self._executor = AsyncExecutor(client, budget)

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `RecipeScheduler.cancel`, awaited."""
        keys, arguments = self._operands(deferred_id, operation_id)
        cancel, run = self._recipe.scripts.cancel, self._executor.run
        return _answered(await run(cancel, keys, arguments, self._min_replicas))

    async def was_taken_back(self, deferred_id: str) -> bool:
        """As `RecipeScheduler.was_taken_back`, awaited."""
        keys = [self._tombstone(deferred_id)]
        return bool(await self._executor.run(_TAKEN_BACK, keys, ()))

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `RecipeScheduler.waiting_among`, awaited."""
        ids: set[str] = set()
        for keys, page in self._pages(deferred_ids):
            waiting = await self._executor.run(self._recipe.scripts.waits, keys, page)
            ids.update(map(decoded, waiting))
        return ids

    async def check(self) -> list[str]:
        """As `RecipeScheduler.check`, awaited."""
        tried, keys, kinds = self._checked()
        try:
            info, refused = await self._executor.run(_CHECK, tried, ())
            odd = await self._executor.run(self._recipe.scripts.oddities, keys, kinds)
        except SchedulerUnavailable as error:
            return [error.reason]
        found = _found(info, refused, odd)
        if self._min_replicas and not found:
            try:
                await self._executor.run(_CHECK, tried, (), self._min_replicas)
            except SchedulerUnavailable as error:
                found.append(without_replicas(self._min_replicas, error.reason))
        return found
