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
from batch_cancel.adapters.redis.encoding import (
    decoded,
    encoded,
    lasting,
    moment,
    number,
)
from batch_cancel.adapters.redis.health import problems, without_replicas
from batch_cancel.adapters.redis.script_runner import (
    AsyncExecutor,
    Executor,
    replicas_wanted,
    script,
)
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET
from batch_cancel.domain.deferred_start import Claimed, check_schedulable
from batch_cancel.domain.job import ID_BYTES_MAX, is_storable
from batch_cancel.ports import SchedulerUnavailable

_PAGE_SIZE: Final = 1000

_SCHEDULE: Final = script("common", "schedule")
_CANCEL: Final = script("common", "cancel")
_CLAIM: Final = script("common", "claim")
_ACK: Final = script("common", "ack")
_WAITING: Final = script("common", "waiting")
_WAITING_AMONG: Final = script("waiting_among")
_CHECK: Final = script("native_check", "check")


_Page = tuple[Sequence[bytes], Sequence[bytes]]
"""The keys of a shard, and ids in it."""


class _Layout:
    """The keys and the encodings in Redis."""

    def __init__(
        self, namespace: str, shards: int, budget: timedelta, retention: timedelta
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


class RedisScheduler(_Layout):
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
        super().__init__(namespace, shards, budget, retention)
        self._executor = Executor(client, budget)
        self._min_replicas = replicas_wanted(min_replicas, client)

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
        check_schedulable(deferred_id, at)
        arguments = (encoded(deferred_id), moment(at), payload)
        run, keys = self._executor.run, self._keys(deferred_id)
        return bool(run(_SCHEDULE, keys, arguments, self._min_replicas))

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Remove the deferred start for good.

        Returns:
            True if this operation removed it before it fired; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: no answer in time; retry with the same operation.
        """
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # Such an id cannot be scheduled.
        arguments = (encoded(deferred_id), encoded(operation_id), self._retention)
        run, keys = self._executor.run, self._keys(deferred_id)
        return bool(run(_CANCEL, keys, arguments, self._min_replicas))

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
        claim = Claim(limit, lease, self._budget)
        for keys in claim.questions(self._in_turn()):
            try:
                answer = self._executor.run(_CLAIM, keys, claim.arguments())
            except SchedulerUnavailable:
                if not claim.starts:
                    raise
                break  # Starts that were handed out already must not be lost.
            claim.add(answer)
        return claim.starts

    def ack(self, deferred_id: str, token: str) -> bool:
        """
        Finish a claimed start; False if the caller no longer has the lease.

        Raises:
            SchedulerUnavailable: no answer in time; it may be finished or not.
        """
        arguments = (encoded(deferred_id), encoded(token), uuid4().bytes, self._retention)
        return bool(self._executor.run(_ACK, self._keys(deferred_id), arguments))

    def waiting(self) -> set[str]:
        """
        Return the ids of the deferred starts that wait to fire.

        For inspection: it reads in pages, so a start that changes meanwhile may be included or
        not.

        Raises:
            SchedulerUnavailable: no answer in time; the budget is for each page.
        """
        ids: set[str] = set()
        for keys in self._shards:
            cursor = b"0"
            while True:
                arguments = (cursor, number(_PAGE_SIZE))
                cursor, page = self._executor.run(_WAITING, keys, arguments)
                ids.update(map(decoded, page))
                if cursor == b"0":
                    break
        return ids

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that wait to fire, without a change.

        Raises:
            SchedulerUnavailable: no answer in time; each page of a thousand has the whole budget.
        """
        ids: set[str] = set()
        for keys, page in self._pages(deferred_ids):
            ids.update(map(decoded, self._executor.run(_WAITING_AMONG, keys, page)))
        return ids

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this Redis, without a change.

        An empty list means that it is fit: check when your program starts.
        """
        found: dict[str, None] = {}
        for keys in self._shards:
            try:
                info, refused = self._executor.run(_CHECK, keys, ())
            except SchedulerUnavailable as error:
                found[error.reason] = None
                break
            found |= dict.fromkeys(problems(decoded(info), [decoded(it) for it in refused]))
        if self._min_replicas and not found:
            try:
                self._executor.run(_CHECK, self._shards[0], (), self._min_replicas)
            except SchedulerUnavailable as error:
                found[without_replicas(self._min_replicas, error.reason)] = None
        return list(found)


class AsyncRedisScheduler(_Layout):
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
        super().__init__(namespace, shards, budget, retention)
        self._executor = AsyncExecutor(client, budget)
        self._min_replicas = replicas_wanted(min_replicas, client)

    async def schedule(self, deferred_id: str, at: datetime, payload: bytes = b"") -> bool:
        """As `RedisScheduler.schedule`, awaited."""
        check_schedulable(deferred_id, at)
        arguments = (encoded(deferred_id), moment(at), payload)
        run, keys = self._executor.run, self._keys(deferred_id)
        return bool(await run(_SCHEDULE, keys, arguments, self._min_replicas))

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `RedisScheduler.cancel`, awaited."""
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # Such an id cannot be scheduled.
        arguments = (encoded(deferred_id), encoded(operation_id), self._retention)
        run, keys = self._executor.run, self._keys(deferred_id)
        return bool(await run(_CANCEL, keys, arguments, self._min_replicas))

    async def claim(self, limit: int, lease: timedelta) -> list[Claimed]:
        """As `RedisScheduler.claim`, awaited."""
        claim = Claim(limit, lease, self._budget)
        for keys in claim.questions(self._in_turn()):
            try:
                answer = await self._executor.run(_CLAIM, keys, claim.arguments())
            except SchedulerUnavailable:
                if not claim.starts:
                    raise
                break  # Starts that were handed out already must not be lost.
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
        found: dict[str, None] = {}
        for keys in self._shards:
            try:
                info, refused = await self._executor.run(_CHECK, keys, ())
            except SchedulerUnavailable as error:
                found[error.reason] = None
                break
            found |= dict.fromkeys(problems(decoded(info), [decoded(it) for it in refused]))
        if self._min_replicas and not found:
            try:
                await self._executor.run(_CHECK, self._shards[0], (), self._min_replicas)
            except SchedulerUnavailable as error:
                found[without_replicas(self._min_replicas, error.reason)] = None
        return list(found)
