"""
The native store: deferred starts in Redis, cancelled by one script.

Four keys in each shard, under one hash tag so that a cluster keeps them together:

    {bc:0}:due  sorted set  id -> when to fire         {bc:0}:job  hash        id -> state
    {bc:0}:run  sorted set  id -> when a lease ends    {bc:0}:old  sorted set  id -> forget when

The states are those of `batch_cancel.domain.deferred_start`; the scripts repeat its rules, and are
tested against them. Each script is atomic, so of a cancel and a claim exactly one wins.

The server must not evict: `maxmemory-policy noeviction`. Only its clock is used.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4
from zlib import crc32

import redis
import redis.asyncio

from batch_cancel.adapters.redis.claims import Claim
from batch_cancel.adapters.redis.deadline_async import connection_to_async
from batch_cancel.adapters.redis.deadline_sync import connection_to
from batch_cancel.adapters.redis.encoding import decoded, encoded, lasting, moment, number
from batch_cancel.adapters.redis.health import checked
from batch_cancel.adapters.redis.script_runner import (
    Connection,
    Executor,
    Script,
    lua,
    replicas_wanted,
    script,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET
from batch_cancel.domain.deferred_start import Claimed, check_schedulable
from batch_cancel.domain.job import ID_BYTES_MAX, is_storable
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.run_blocking import run

_PAGE_SIZE: Final = 1000

_SCHEDULE: Final = script("common", "schedule")
_CANCEL: Final = script("common", "cancel")
_CANCEL_MANY: Final = Script(
    "\n".join(
        (
            lua("common"),
            f"local function cancel(ARGV)\n{lua('cancel')}\nend",
            lua("cancel_many"),
        )
    )
)
_CLAIM: Final = script("common", "claim")
_ACK: Final = script("common", "ack")
_WAITING: Final = script("common", "waiting")
_WAITING_AMONG: Final = script("waiting_among")
_CHECK: Final = script("native_check", "check")


_Page = tuple[Sequence[bytes], Sequence[bytes]]
"""The keys of a shard, and ids in it."""


class _DeferredStarts:
    """
    The keys in Redis, and each step, on a client of either kind.

    Arguments:
        connection: the client's; on a blocking one no step suspends.
        client: the client; the others as in `RedisScheduler`.
    """

    def __init__(
        self,
        connection: Connection,
        client: object,
        *,
        namespace: str,
        shards: int,
        budget: timedelta,
        retention: timedelta,
        min_replicas: int,
    ) -> None:
        if "{" in namespace or "}" in namespace:
            msg = (
                f"a namespace must not contain braces, which mark the hash tag, got {namespace!r}"
            )
            raise ValueError(msg)
        if shards < 1:
            msg = f"shards must be at least 1, got {shards!r}"
            raise ValueError(msg)
        self._shards = [
            tuple(
                f"{{{namespace}:{shard}}}:{key}".encode() for key in ("due", "job", "run", "old")
            )
            for shard in range(shards)
        ]
        self._budget = budget
        self._retention = lasting(retention)
        self._executor = Executor(connection, budget)
        self._min_replicas = replicas_wanted(min_replicas, client)

    def _keys(self, deferred_id: str) -> Sequence[bytes]:
        return self._shards[crc32(encoded(deferred_id)) % len(self._shards)]

    def _pages(self, deferred_ids: AbstractSet[str]) -> Iterator[_Page]:
        """Yield the ids with the keys of their shard, in pages."""
        by_keys: dict[Sequence[bytes], list[bytes]] = {}
        for deferred_id in sorted(deferred_ids):
            by_keys.setdefault(self._keys(deferred_id), []).append(encoded(deferred_id))
        for keys, ids in by_keys.items():
            for first in range(0, len(ids), _PAGE_SIZE):
                yield keys, ids[first : first + _PAGE_SIZE]

    def _in_turn(self) -> list[Sequence[bytes]]:
        """Return the shards from a random one on, so that short-lived pumps reach all of them."""
        first = secrets.randbelow(len(self._shards))
        return [*self._shards[first:], *self._shards[:first]]

    async def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        """As `RedisScheduler.schedule`, awaited."""
        check_schedulable(deferred_id, at)
        keys, arguments = self._keys(deferred_id), (encoded(deferred_id), moment(at), payload)
        return bool(await self._executor.run(_SCHEDULE, keys, arguments, self._min_replicas))

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `RedisScheduler.cancel`, awaited."""
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # It was never scheduled, and never can be.
        keys = self._keys(deferred_id)
        arguments = (encoded(deferred_id), encoded(operation_id), self._retention)
        return bool(await self._executor.run(_CANCEL, keys, arguments, self._min_replicas))

    async def cancel_many(self, starts: Sequence[tuple[str, str]]) -> list[bool | None]:
        """As `RedisScheduler.cancel_many`, awaited."""
        answers: list[bool | None] = [False] * len(starts)
        by_keys: dict[Sequence[bytes], list[int]] = {}
        for place, (deferred_id, _) in enumerate(starts):
            if is_storable(deferred_id, ID_BYTES_MAX):
                by_keys.setdefault(self._keys(deferred_id), []).append(place)
        failure: SchedulerUnavailable | None = None
        for keys, places in by_keys.items():
            pairs = (map(encoded, starts[place]) for place in places)
            arguments = [self._retention, *(it for pair in pairs for it in pair)]
            try:
                found = await self._executor.run(_CANCEL_MANY, keys, arguments, self._min_replicas)
            except SchedulerUnavailable as error:
                failure, found = error, [None] * len(places)
            for place, answer in zip(places, found, strict=True):
                answers[place] = None if answer is None else bool(answer)
        if failure is not None and all(it is None for it in answers):
            raise failure
        return answers

    async def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """As `RedisScheduler.claim`, awaited."""
        claim = Claim(limit, lease, self._budget)
        for keys in claim.questions(self._in_turn()):
            try:
                answer = await self._executor.run(_CLAIM, keys, claim.arguments())
            except SchedulerUnavailable:
                if not claim.starts:
                    raise
                break  # What was handed out before must not be lost.
            claim.add(answer)
        return claim.starts

    async def ack(self, deferred_id: str, token: str) -> bool:
        """As `RedisScheduler.ack`, awaited."""
        arguments = (encoded(deferred_id), encoded(token), uuid4().bytes, self._retention)
        return bool(await self._executor.run(_ACK, self._keys(deferred_id), arguments))

    async def waiting(self) -> set[str]:
        """As `RedisScheduler.waiting`, awaited."""
        ids: set[str] = set()
        for keys in self._shards:
            cursor = b"0"
            while True:
                arguments = (cursor, number(_PAGE_SIZE))
                cursor, page = await self._executor.run(_WAITING, keys, arguments)
                ids.update(map(decoded, page))
                if cursor == b"0":
                    break
        return ids

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `RedisScheduler.waiting_among`, awaited."""
        ids: set[str] = set()
        for keys, page in self._pages(deferred_ids):
            ids.update(map(decoded, await self._executor.run(_WAITING_AMONG, keys, page)))
        return ids

    async def check(self) -> list[str]:
        """As `RedisScheduler.check`, awaited."""
        return await checked(self._executor, _CHECK, self._shards, self._min_replicas)


class RedisScheduler:
    """
    Deferred starts in Redis or Valkey.

    Arguments:
        client: for a single server, a Sentinel's master (`master_for`) or a cluster. Its owner
            closes it. Its own timeouts and retries are not used.
        namespace: the prefix of our keys; no braces.
        shards: the number of hash slots of a cluster to use. All processes of a namespace must
            always pass the same number.
        budget: how long one answer may take, retries included.
        retention: how long a cancelled or finished start is remembered. After that its id is
            unknown, so it must outlast every retry and every late `schedule`.
        min_replicas: how many replicas must have a start or its cancellation before the call
            returns; otherwise it raises `SchedulerUnavailable`. Not on a cluster.

    Raises:
        TypeError: the client is of the other kind, blocking or asyncio; or `min_replicas` on a
            cluster.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        *,
        namespace: str = "bc",
        shards: int = 1,
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        self._starts = _DeferredStarts(
            connection_to(client),
            client,
            namespace=namespace,
            shards=shards,
            budget=budget,
            retention=retention,
            min_replicas=min_replicas,
        )

    def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        """
        Schedule a start, or move one that still waits.

        Arguments:
            deferred_id: its id.
            at: when to fire, an aware datetime.
            payload: passed to the owner that claims it.

        Returns:
            False if the id was ever cancelled, handed out or finished: then nothing changed.

        Raises:
            SchedulerUnavailable: no answer in time; it may be scheduled or not.
            ValueError: the id cannot be stored, or the datetime is naive.
        """
        return run(self._starts.schedule(deferred_id, at, payload))

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Remove the deferred start for good.

        Returns:
            True if this operation removed it before it fired; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: no answer in time; retry with the same operation.
        """
        return run(self._starts.cancel(deferred_id, operation_id))

    def cancel_many(self, starts: Sequence[tuple[str, str]]) -> list[bool | None]:
        """
        Remove deferred starts for good, all those of a shard by one script.

        Arguments:
            starts: the id of each start and the operation that removes it.

        Returns:
            the answer of `cancel` to each, in their order; None for no answer in time.

        Raises:
            SchedulerUnavailable: no answer in time for any; retry with the same operations.
        """
        return run(self._starts.cancel_many(starts))

    def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """
        Claim the starts that are due, each for the time of `lease`.

        A start that is not acknowledged within its lease is handed out again. Deliver them in the
        returned order: a start that may have crashed its last owner comes last.

        Arguments:
            limit: how many to claim at most. Fewer are returned if the budget ends first.
            lease: up to a century.

        Raises:
            SchedulerUnavailable: no answer in time; starts that were handed out are so again after
                `lease`.
            ValueError: `lease` is negative, or longer than a century.
        """
        return run(self._starts.claim(limit, lease))

    def ack(self, deferred_id: str, token: str) -> bool:
        """
        Finish a claimed start; False if the caller no longer has the lease.

        Raises:
            SchedulerUnavailable: no answer in time; it may be finished or not.
        """
        return run(self._starts.ack(deferred_id, token))

    def waiting(self) -> set[str]:
        """
        Return the ids of the deferred starts that wait to fire.

        For inspection: it reads in pages, so a start that changes meanwhile may be included or
        not.

        Raises:
            SchedulerUnavailable: no answer in time; the budget is for each page.
        """
        return run(self._starts.waiting())

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that wait to fire, without a change.

        Raises:
            SchedulerUnavailable: no answer in time; each page of a thousand has the whole budget.
        """
        return run(self._starts.waiting_among(deferred_ids))

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this Redis, without a change.

        An empty list means that it is fit: check when your program starts.
        """
        return run(self._starts.check())


class AsyncRedisScheduler(_DeferredStarts):
    """As `RedisScheduler`, awaited."""

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        *,
        namespace: str = "bc",
        shards: int = 1,
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(
            connection_to_async(client),
            client,
            namespace=namespace,
            shards=shards,
            budget=budget,
            retention=retention,
            min_replicas=min_replicas,
        )
