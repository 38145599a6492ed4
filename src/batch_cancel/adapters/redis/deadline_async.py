"""
Send commands to Redis before a deadline, for asyncio clients.

An asyncio operation can be cancelled wherever it waits, so the client's own connections are used.
A connection that was interrupted between a command and its answer is closed, never used again.

The client's retries are bypassed where possible: they wait longer than a budget lasts, and the
executor retries commands itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final

import attrs
import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.client import NEVER_DECODE

from batch_cancel.adapters.redis.compat import CONNECTION_ARGUMENTS
from batch_cancel.ports import SchedulerUnavailable

_SECOND_BELL_SECONDS: Final = 0.05

_ANOTHER_LOOP: Final = (
    "the asyncio Redis client was used in another event loop before: create a client and a "
    "scheduler in each event loop, or close the client's connections before its loop ends"
)

_Commands = Sequence[Sequence[Any]]


def connection_to_async(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
) -> _ServerConnection | _ClusterConnection:
    """As `connection_to`."""
    if isinstance(client, redis.asyncio.RedisCluster):
        return _ClusterConnection(client)
    if isinstance(client, redis.Redis | redis.RedisCluster):
        msg = f"an asyncio client is needed, got {type(client).__module__}.{type(client).__name__}"
        raise TypeError(msg)
    return _ServerConnection(client)


class _ServerConnection:
    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._pool: Any = client.connection_pool  # Half typed in redis-py.
        self._asks_sentinels = isinstance(client.connection_pool, SentinelConnectionPool)

    async def send(self, commands: _Commands, _key: bytes, deadline: float) -> list[Any]:
        try:
            async with _until(deadline) as heed:
                connection = await self._pool.get_connection(*CONNECTION_ARGUMENTS)
                try:
                    return await self._ask(connection, commands, heed)
                finally:
                    await self._pool.release(connection)
        except TimeoutError:
            self._pass_over_sentinel()
            raise

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _ask(
        self,
        connection: Any,  # noqa: ANN401  # Untyped in redis-py.
        commands: _Commands,
        heed: Callable[[], None],
    ) -> list[Any]:
        try:
            return [await self._answer(connection, command, heed) for command in commands]
        except exceptions.ReadOnlyError:
            # A demoted master: a new connection may lead to the new master.
            await self._pool.disconnect(inuse_connections=False)
            await connection.disconnect()
            raise
        except exceptions.ResponseError:
            raise
        except BaseException:
            # The answer may still come; on this connection it would be taken for another's.
            await connection.disconnect(nowait=True)
            raise

    @staticmethod
    async def _answer(connection: Any, command: Sequence[Any], heed: Callable[[], None]) -> Any:  # noqa: ANN401  # Untyped in redis-py.
        await connection.send_command(*command)
        heed()
        return await connection.read_response(disable_decoding=True)

    def _pass_over_sentinel(self) -> None:
        # redis-py asks the sentinels in order; if it is the first that hangs, no other is asked.
        if self._asks_sentinels:
            sentinels = self._pool.sentinel_manager.sentinels
            sentinels.append(sentinels.pop(0))


@attrs.frozen
class _Detour:
    """
    The node to ask for a slot while the client still takes a hanging node for its owner.

    Arguments:
        owner: the name of that node.
        instead: another node; it owns the slot by now, or redirects to the owner.
    """

    owner: str
    instead: ClusterNode


class _ClusterConnection:
    """
    A connection to the node of a cluster that has the key.

    The client follows redirections. A node that does not answer is skipped next time: the other
    nodes know its successor, and redirect the client.
    """

    def __init__(self, client: redis.asyncio.RedisCluster) -> None:
        self._cluster = client
        self._detours: dict[int, _Detour] = {}

    async def send(self, commands: _Commands, key: bytes, deadline: float) -> list[Any]:
        [command] = commands  # The client would send a second command on any connection.
        slot = self._cluster.keyslot(key)
        detour = self._detours.get(slot)
        options: dict[str, Any] = {NEVER_DECODE: True}
        if detour is not None:
            options["target_nodes"] = detour.instead
        try:
            async with _until(deadline):
                answer = await self._cluster.execute_command(*command, **options)
        except (TimeoutError, exceptions.ConnectionError, exceptions.TimeoutError):
            self._pass_over(key, slot, detour)
            raise
        if detour is not None and self._owner(key) != detour.owner:
            self._detours.pop(slot, None)  # The client knows the new owner.
        return [answer]

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _owner(self, key: bytes) -> str:
        node = self._cluster.get_node_from_key(key.decode())
        return str(node.name) if node else ""

    def _pass_over(self, key: bytes, slot: int, detour: _Detour | None) -> None:
        """Use the next node, so that every node is tried in turn."""
        nodes = sorted(self._cluster.get_nodes(), key=lambda node: str(node.name))
        if not nodes:  # The client has not reached the cluster yet.
            return
        owner = self._owner(key)
        asked = detour.instead.name if detour else owner
        after = next((node for node in nodes if node.name > asked), nodes[0])
        self._detours[slot] = _Detour(owner, after)


@contextlib.asynccontextmanager
async def _until(deadline: float) -> AsyncGenerator[Callable[[], None]]:
    """
    End a block of code at the deadline, or when its task is cancelled.

    Before Python 3.12 `asyncio.wait_for`, which redis-py uses to send, swallows a cancellation
    that arrives together with its result. So the timer fires a second time; and the function that
    this yields, called between two steps, raises if a cancellation was swallowed.
    """
    task = asyncio.current_task()
    requests = task.cancelling() if task else 0

    def heed() -> None:
        if task is not None and task.cancelling() > requests:
            raise asyncio.CancelledError

    seconds_left = deadline - time.monotonic()
    try:
        async with (
            asyncio.timeout(seconds_left + _SECOND_BELL_SECONDS),
            asyncio.timeout(seconds_left),
        ):
            yield heed
    except Exception as error:
        heed()
        # asyncio has no class for it.
        if isinstance(error, RuntimeError) and "loop" in str(error):
            raise SchedulerUnavailable(_ANOTHER_LOOP) from error
        raise
    heed()
