r"""
The start gate: of a cancel and a start exactly one wins, whatever scheduler keeps the start.

Many schedulers hold a deferred start where nobody can take it away again: in a worker's memory, in
a list that was read a moment ago. So whoever fires it asks first, and one key decides:

    (none) --arm--> A armed --may_start--> S started
       |               \----cancel-----> C cancelled, by this operation
       +--may_start--> S started
       +--cancel-----> B barred: closed, but there was nothing to take back

Rule 1: the first decision stands. Who has started may start again (a retry, a redelivery, a lost
        answer), who was cancelled never starts.
Rule 2: the gate fails closed: without an answer from Redis nothing starts.
Rule 3: an armed start is remembered until `retention` after it is due, and so is what was decided.

Each start is one key of its own, so a cluster serves as well as a single server. The server must
not evict: `maxmemory-policy noeviction`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import redis
import redis.asyncio

from batch_cancel.adapters.redis.executor import AsyncExecutor, Executor
from batch_cancel.adapters.redis.wire import BUDGET, RETENTION, encoded, lasting, moment, script
from batch_cancel.domain.deferred import check_schedulable
from batch_cancel.domain.model import ID_BYTES_MAX, is_storable

_ARM: Final = script("gate_arm")
_CANCEL: Final = script("gate_cancel")
_START: Final = script("gate_start")


class StartGate:
    """
    The gate that deferred starts of any scheduler pass, or find closed.

    Arguments:
        client: one for a single server, for a Sentinel's master (`master_for`) or for a cluster.
            Whoever made it closes it. Its timeouts and retries do not count here.
        namespace: how our keys begin. Every process must say the same.
        budget: how long one answer may take, retries included.
        retention: how late a start may fire and still find the gate closed; for one that was never
            armed, how far ahead it may have been scheduled.

    Raises:
        TypeError: a client of the other kind, blocking or asyncio.
        ValueError: an argument that cannot work.
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        *,
        namespace: str = "bc",
        budget: timedelta = BUDGET,
        retention: timedelta = RETENTION,
    ) -> None:
        self._executor = Executor(client, budget)
        self._namespace = namespace
        self._retention = lasting(retention)

    def arm(self, deferred_id: str, at: datetime) -> bool:
        """
        Tell the gate of a start; do so before it is handed to its scheduler.

        Arguments:
            deferred_id: its id.
            at: when it is to fire, an aware datetime. Arm it again to move it.

        Returns:
            False if it was started or cancelled before: an id is used once.

        Raises:
            SchedulerUnavailable: no answer in time; it may be armed or not.
            ValueError: an id that no store could keep, or a naive datetime.
        """
        check_schedulable(deferred_id, at)
        keys = _keys(self._namespace, deferred_id)
        arguments = (moment(at), self._retention)
        return bool(self._executor.run(_ARM, keys, arguments))

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Close the gate, for ever, unless the start has passed it.

        Returns:
            True if this operation closed it for a start that was armed; the same whenever it is
            repeated.

        Raises:
            SchedulerUnavailable: no answer in time; ask again with the same operation.
        """
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # It was never armed, and never can be.
        keys = _keys(self._namespace, deferred_id)
        arguments = (encoded(operation_id), self._retention)
        return bool(self._executor.run(_CANCEL, keys, arguments))

    def may_start(self, deferred_id: str) -> bool:
        """
        Pass the gate: the first thing that a deferred start does.

        Returns:
            False if it was cancelled: then do nothing.

        Raises:
            SchedulerUnavailable: no answer in time. Do nothing, and let it be tried again.
        """
        keys = _keys(self._namespace, deferred_id)
        return bool(self._executor.run(_START, keys, (self._retention,)))


class AsyncStartGate:
    """
    The gate that deferred starts of any scheduler pass, or find closed.

    Arguments:
        client: one for a single server, for a Sentinel's master (`master_for`) or for a cluster.
            Whoever made it closes it. Its timeouts and retries do not count here.
        namespace: how our keys begin. Every process must say the same.
        budget: how long one answer may take, retries included.
        retention: how late a start may fire and still find the gate closed; for one that was never
            armed, how far ahead it may have been scheduled.

    Raises:
        TypeError: a client of the other kind, blocking or asyncio.
        ValueError: an argument that cannot work.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
        *,
        namespace: str = "bc",
        budget: timedelta = BUDGET,
        retention: timedelta = RETENTION,
    ) -> None:
        self._executor = AsyncExecutor(client, budget)
        self._namespace = namespace
        self._retention = lasting(retention)

    async def arm(self, deferred_id: str, at: datetime) -> bool:
        """
        Tell the gate of a start; do so before it is handed to its scheduler.

        Arguments:
            deferred_id: its id.
            at: when it is to fire, an aware datetime. Arm it again to move it.

        Returns:
            False if it was started or cancelled before: an id is used once.

        Raises:
            SchedulerUnavailable: no answer in time; it may be armed or not.
            ValueError: an id that no store could keep, or a naive datetime.
        """
        check_schedulable(deferred_id, at)
        keys = _keys(self._namespace, deferred_id)
        arguments = (moment(at), self._retention)
        return bool(await self._executor.run(_ARM, keys, arguments))

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """
        Close the gate, for ever, unless the start has passed it.

        Returns:
            True if this operation closed it for a start that was armed; the same whenever it is
            repeated.

        Raises:
            SchedulerUnavailable: no answer in time; ask again with the same operation.
        """
        if not is_storable(deferred_id, ID_BYTES_MAX):
            return False  # It was never armed, and never can be.
        keys = _keys(self._namespace, deferred_id)
        arguments = (encoded(operation_id), self._retention)
        return bool(await self._executor.run(_CANCEL, keys, arguments))

    async def may_start(self, deferred_id: str) -> bool:
        """
        Pass the gate: the first thing that a deferred start does.

        Returns:
            False if it was cancelled: then do nothing.

        Raises:
            SchedulerUnavailable: no answer in time. Do nothing, and let it be tried again.
        """
        keys = _keys(self._namespace, deferred_id)
        return bool(await self._executor.run(_START, keys, (self._retention,)))


def _keys(namespace: str, deferred_id: str) -> tuple[bytes]:
    return (encoded(f"{namespace}:gate:{deferred_id}"),)
