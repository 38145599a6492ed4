r"""
The start gate: of a cancel and a start exactly one wins, whatever scheduler keeps the start.

Many schedulers hold a deferred start where it cannot be removed: in a worker's memory, or in a
list that was read a moment ago. So the start asks the gate when it fires, and one key decides:

    (none) --arm--> A armed --may_start--> S started
       |               \----cancel-----> C cancelled, by this operation
       +--cancel-----> B barred: closed, but there was no armed start
       +--may_start--> refused, or S started where `armed_only` is False

Rule 1: the first decision stands. A start that has passed may pass again (a retry, a redelivery, a
        lost answer); a cancelled start never passes.
Rule 2: the gate fails closed: no start passes without an answer from Redis, and no unknown start
        passes. An unknown start may have been cancelled, and Redis may have lost that (FLUSHALL, a
        failover to a replica without data, an eviction), while its scheduler still has it.
Rule 3: an armed start and its decision are remembered until `retention` after it is due.

Each start is one key, so it works on a cluster as on a single server. The server must not evict:
`maxmemory-policy noeviction`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final

import redis
import redis.asyncio

from batch_cancel.adapters.redis.deadline_async import connection_to_async
from batch_cancel.adapters.redis.deadline_sync import connection_to
from batch_cancel.adapters.redis.encoding import encoded, lasting, moment, number
from batch_cancel.adapters.redis.health import checked
from batch_cancel.adapters.redis.script_runner import Connection, Executor, replicas_wanted, script
from batch_cancel.domain.defaults import RETENTION, SCHEDULER_BUDGET
from batch_cancel.domain.deferred_start import check_schedulable
from batch_cancel.domain.errors import shown
from batch_cancel.domain.job import ID_BYTES_MAX, is_storable
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.run_blocking import run

_ARM: Final = script("gate_arm")
_CANCEL: Final = script("gate_cancel")
_START: Final = script("gate_start")
_WAITING: Final = script("gate_waiting")
_CHECK: Final = script("gate_check", "check")

_UNKNOWN: Final = -1
_PAGE_SIZE: Final = 1000
_PROBES: Final = 64
"""The number of keys that reach each of a dozen cluster nodes, almost surely."""


class _Gate:
    """
    The keys of the gate, and each step, on a client of either kind.

    Arguments:
        connection: the client's; on a blocking one no step suspends.
        client: the client; the others as in `StartGate`.
    """

    def __init__(
        self,
        connection: Connection,
        client: object,
        *,
        namespace: str,
        budget: timedelta,
        retention: timedelta,
        armed_only: bool,
        min_replicas: int,
    ) -> None:
        self._namespace = namespace
        self._retention = lasting(retention)
        self._armed_only = armed_only
        self._executor = Executor(connection, budget)
        self._min_replicas = replicas_wanted(min_replicas, client)
        self._is_cluster = isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)

    def _key(self, deferred_id: str) -> bytes:
        return encoded(f"{self._namespace}:gate:{deferred_id}")

    def _pages(self, deferred_ids: AbstractSet[str]) -> Iterator[list[str]]:
        """Yield the ids that can be armed, in pages for one script."""
        ids = sorted(each for each in deferred_ids if is_storable(each, ID_BYTES_MAX))
        size = 1 if self._is_cluster else _PAGE_SIZE  # Each key has its own hash slot.
        for first in range(0, len(ids), size):
            yield ids[first : first + size]

    def _probes(self) -> Sequence[Sequence[bytes]]:
        """Return keys that belong to no start, on every node."""
        return [(self._key(f"\0{it}"),) for it in range(_PROBES if self._is_cluster else 1)]

    async def arm(self, deferred_id: str, at: datetime) -> bool:
        """As `StartGate.arm`, awaited."""
        check_schedulable(deferred_id, at)
        keys, arguments = (self._key(deferred_id),), (moment(at), self._retention)
        return bool(await self._executor.run(_ARM, keys, arguments, self._min_replicas))

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `StartGate.cancel`, awaited."""
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # It was never armed, and never can be.
        keys, arguments = (self._key(deferred_id),), (encoded(operation_id), self._retention)
        return bool(await self._executor.run(_CANCEL, keys, arguments, self._min_replicas))

    async def may_start(self, deferred_id: str) -> bool:
        """As `StartGate.may_start`, awaited."""
        keys, arguments = (self._key(deferred_id),), (self._retention, number(self._armed_only))
        answer = await self._executor.run(_START, keys, arguments, self._min_replicas)
        if answer == _UNKNOWN:
            msg = (
                f"the start gate does not know the start {shown(deferred_id)}: it was never "
                "armed, or Redis has lost its state and a possible cancel, so it is refused. If "
                "it still should start, arm it again and retry it; starts that are never armed "
                "pass a StartGate with armed_only=False"
            )
            raise SchedulerUnavailable(msg)
        return bool(answer)

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """As `StartGate.waiting_among`, awaited."""
        ids: set[str] = set()
        for page in self._pages(deferred_ids):
            armed = await self._executor.run(_WAITING, [self._key(each) for each in page], ())
            ids.update(each for each, is_armed in zip(page, armed, strict=True) if is_armed)
        return ids

    async def check(self) -> list[str]:
        """As `StartGate.check`, awaited."""
        return await checked(self._executor, _CHECK, self._probes(), self._min_replicas)


class StartGate:
    """
    A gate for the deferred starts of any scheduler.

    Arguments:
        client: for a single server, a Sentinel's master (`master_for`) or a cluster. Its owner
            closes it. Its own timeouts and retries are not used.
        namespace: the prefix of our keys. All processes must pass the same.
        budget: how long one answer may take, retries included; a day at most.
        retention: how late a start may fire and still be known to the gate. With
            `armed_only=False` also how far ahead an unarmed start may be scheduled.
        armed_only: whether an unknown start is refused. With False it passes, even if it was
            cancelled and Redis has lost that.
        min_replicas: how many replicas must have a decision or an armed start before the call
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
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        armed_only: bool = True,
        min_replicas: int = 0,
    ) -> None:
        self._gate = _Gate(
            connection_to(client),
            client,
            namespace=namespace,
            budget=budget,
            retention=retention,
            armed_only=armed_only,
            min_replicas=min_replicas,
        )

    def arm(self, deferred_id: str, at: datetime) -> bool:
        """
        Arm the gate for a start, before you hand the start to its scheduler.

        Arguments:
            deferred_id: its id.
            at: when it is due, an aware datetime. Arm it again to move it.

        Returns:
            False if it was started or cancelled before: an id is used once.

        Raises:
            SchedulerUnavailable: no answer in time; it may be armed or not.
            ValueError: the id cannot be stored, or the datetime is naive.
        """
        return run(self._gate.arm(deferred_id, at))

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Close the gate for good, unless the start has passed it.

        Returns:
            True if this operation closed it for an armed start; the same answer on every repeat.

        Raises:
            SchedulerUnavailable: no answer in time; retry with the same operation.
        """
        return run(self._gate.cancel(deferred_id, operation_id))

    def may_start(self, deferred_id: str) -> bool:
        """
        Pass the gate; call it first in a deferred start.

        Returns:
            False if it was cancelled: then do nothing.

        Raises:
            SchedulerUnavailable: no answer in time, or the gate does not know the start. Do
                nothing, and let the start be retried.
        """
        return run(self._gate.may_start(deferred_id))

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """
        Return those of the deferred starts that are armed, and neither started nor cancelled.

        The gate does not know whether their scheduler still has them.

        Raises:
            SchedulerUnavailable: no answer in time; each page of a thousand has the whole budget,
                on a cluster each start.
        """
        return run(self._gate.waiting_among(deferred_ids))

    def check(self) -> list[str]:
        """
        Return in sentences what the gate misses in this Redis, without a change.

        An empty list means that it is fit: check when your program starts.
        """
        return run(self._gate.check())


class AsyncStartGate(_Gate):
    """As `StartGate`, awaited."""

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        *,
        namespace: str = "bc",
        budget: timedelta = SCHEDULER_BUDGET,
        retention: timedelta = RETENTION,
        armed_only: bool = True,
        min_replicas: int = 0,
    ) -> None:
        super().__init__(
            connection_to_async(client),
            client,
            namespace=namespace,
            budget=budget,
            retention=retention,
            armed_only=armed_only,
            min_replicas=min_replicas,
        )
