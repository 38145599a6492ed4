"""
Send commands to Redis before a deadline, for blocking clients.

redis-py's timeouts bound one wait on a socket. An operation has many: it connects, sends HELLO,
names itself, asks a sentinel, writes, reads, and starts over when one of these fails; with the
defaults of redis-py it took 3.7 s to report a closed port. So commands are sent over our own
connections, made from the client's settings, on which every wait ends at the deadline of its
operation. The client itself is never changed.

A line looks awaited, so that one executor serves both kinds of clients; it never suspends.

A deadline cannot end the operating system's resolution of a host name.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import socket
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any, Final

import redis
import redis.asyncio
from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from batch_cancel.adapters.redis.compat import CONNECTION_ARGUMENTS, NO_MAINTENANCE_NOTICES

_SHORTEST_WAIT_SECONDS: Final = 0.001
"""A socket with the timeout 0 would become non-blocking."""

_LONGEST_WAIT_SECONDS: Final = 1.0
"""The timeout outside an operation."""

_REDIRECTIONS_MAX: Final = 16

_Address = tuple[str, int]
_Commands = Sequence[Sequence[Any]]

_OTHERWISE: Final = (
    "cache",  # A cache of server answers; a script's answer is not cached.
    "connection_pool",  # A sentinel's; the new pool sets it itself.
    "event_dispatcher",
    "himport_registry",
    "maint",
    "orig_",
    "oss_cluster_maint",
)
"""The prefixes of settings that belong only to the client's own pool."""


def connection_to(
    client: redis.Redis | redis.RedisCluster,
) -> _ServerConnection | _ClusterConnection:
    """
    Return a connection that keeps deadlines, to the client's server or cluster.

    Raises:
        TypeError: an asyncio client.
    """
    if isinstance(client, redis.RedisCluster):
        return _ClusterConnection(client)
    if isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
        msg = f"a blocking client is needed, got {type(client).__module__}.{type(client).__name__}"
        raise TypeError(msg)
    return _ServerConnection(client)


class _ServerConnection:
    """A connection to one server, or to the master that sentinels name."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = _deadline_pool(client)

    async def send(self, commands: _Commands, _key: bytes, deadline: float) -> list[Any]:
        with _until(deadline):
            return _ask(self._pool, commands)

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # It blocks, as `send` does.


class _ClusterConnection:
    """
    A connection to the node of a cluster that has the key.

    It starts from the client's view of the cluster and follows redirections. A node that does not
    answer is skipped next time: the other nodes know its successor.
    """

    def __init__(self, client: redis.RedisCluster) -> None:
        self._cluster: Any = client  # Half typed in redis-py.
        self._pools: dict[_Address, ConnectionPool] = {}
        self._owners: dict[int, _Address] = {}

    async def send(self, commands: _Commands, key: bytes, deadline: float) -> list[Any]:
        slot = self._cluster.keyslot(key)
        address = self._owners.get(slot) or self._address(self._cluster.get_node_from_key(key))
        with _until(deadline):
            try:
                return self._follow(commands, slot, address)
            except (exceptions.ConnectionError, exceptions.TimeoutError):
                self._owners[slot] = self._another(self._owners.get(slot, address))
                raise

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # It blocks, as `send` does.

    def _follow(self, commands: _Commands, slot: int, address: _Address) -> list[Any]:
        asking = False
        for _ in range(_REDIRECTIONS_MAX):
            try:
                return _ask(self._pool(address), commands, asking=asking)
            except exceptions.MovedError as error:
                address = self._owners[slot] = self._named_by(error, address)
                asking = False
            except exceptions.AskError as error:
                address, asking = self._named_by(error, address), True
        msg = "too many redirections"
        raise exceptions.ClusterError(msg)

    def _named_by(self, error: Any, by: _Address) -> _Address:  # noqa: ANN401  # Untyped in redis-py.
        # A redirection without a host means the same host.
        nodes = self._cluster.nodes_manager
        host, port = nodes.remap_host_port(error.host or by[0], error.port)
        return host, port

    def _another(self, address: _Address) -> _Address:
        """Return the next node, so that every node is tried in turn."""
        addresses = sorted(map(self._address, self._cluster.get_nodes()))
        return next((other for other in addresses if other > address), addresses[0])

    def _pool(self, address: _Address) -> ConnectionPool:
        pool = self._pools.get(address)
        if pool is None:
            # All nodes have the same settings, except the address.
            any_node = self._cluster.get_redis_connection(self._cluster.get_nodes()[0])
            host, port = address
            pool = self._pools[address] = _deadline_pool(any_node, host=host, port=port)
        return pool

    @staticmethod
    def _address(node: Any) -> _Address:  # noqa: ANN401  # redis-py names no type for it.
        return node.host, node.port


def _ask(pool: Any, commands: _Commands, *, asking: bool = False) -> list[Any]:  # noqa: ANN401  # Untyped in redis-py.
    connection = pool.get_connection(*CONNECTION_ARGUMENTS)
    try:
        if asking:  # The permission holds for the next command on the same connection.
            connection.send_command("ASKING")
            connection.read_response()
        return [_answer(connection, command) for command in commands]
    except exceptions.ReadOnlyError:
        # A demoted master: a new connection may lead to the new master.
        pool.disconnect(inuse_connections=False)
        connection.disconnect()
        raise
    except exceptions.ResponseError:
        raise
    except BaseException:
        # The answer may still come; on this connection it would be taken for another's.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _answer(connection: Any, command: Sequence[Any]) -> Any:  # noqa: ANN401  # Untyped in redis-py.
    connection.send_command(*command)
    return connection.read_response(disable_decoding=True)


# Connections that keep a deadline ----------------------------------------------------------------


class _Deadline(threading.local):
    """The deadline of this thread's current operation, on the clock of `time.monotonic`."""

    at: float | None = None


_deadline: Final = _Deadline()


@contextlib.contextmanager
def _until(deadline: float) -> Generator[None]:
    before, _deadline.at = _deadline.at, deadline
    try:
        yield
    finally:
        _deadline.at = before


class _DeadlineSocket:
    """A socket whose every wait ends at the deadline."""

    def __init__(self, sock: socket.socket, share: float) -> None:
        self._sock = sock
        self._share = share
        self._polls = False

    def recv(self, *arguments: Any) -> bytes:  # noqa: ANN401  # As `socket.recv`.
        self._limit_wait()
        return self._sock.recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:  # noqa: ANN401  # As `socket.recv_into`.
        self._limit_wait()
        return self._sock.recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:  # noqa: ANN401  # As `socket.sendall`.
        self._limit_wait()
        self._sock.sendall(*arguments)

    def settimeout(self, seconds: float | None) -> None:
        self._polls = seconds == 0
        self._sock.settimeout(seconds)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # All else a socket has.
        return getattr(self._sock, name)

    def _limit_wait(self) -> None:
        if not self._polls:
            self._sock.settimeout(_seconds_left(self._share))


class _DeadlineConnection:
    """A mixin that makes any connection class of redis-py keep the deadline."""

    _share: float

    @property
    def socket_timeout(self) -> float:
        return _seconds_left(self._share)

    @socket_timeout.setter
    def socket_timeout(self, seconds: float | None) -> None:
        """Ignore the timeout of the settings; the deadline is in force."""

    socket_connect_timeout = socket_timeout

    def _connect(self) -> _DeadlineSocket:
        return _DeadlineSocket(super()._connect(), self._share)  # type: ignore[misc]


def _seconds_left(share: float) -> float:
    if _deadline.at is None:  # redis-py itself, such as a re-authentication.
        return _LONGEST_WAIT_SECONDS
    return max((_deadline.at - time.monotonic()) * share, _SHORTEST_WAIT_SECONDS)


@functools.cache
def _deadline_class(connection_class: type, share: float) -> type:
    return type(
        f"DeadlineBound{connection_class.__name__}",
        (_DeadlineConnection, connection_class),
        {"_share": share},
    )


def _deadline_pool(client: redis.Redis, **settings: Any) -> ConnectionPool:  # noqa: ANN401  # Any setting.
    pool: Any = client.connection_pool  # Half typed in redis-py.
    if not isinstance(client.connection_pool, SentinelConnectionPool):
        return ConnectionPool(**_deadline_settings(pool) | settings)
    return SentinelConnectionPool(
        pool.service_name,
        _deadline_sentinel(pool.sentinel_manager),
        is_master=pool.is_master,
        check_connection=pool.check_connection,
        **_deadline_settings(pool),
    )


def _deadline_sentinel(sentinel: Any) -> Sentinel:  # noqa: ANN401  # Untyped in redis-py.
    bounded: Sentinel = copy.copy(sentinel)
    # A hanging sentinel must leave time to ask the next one.
    bounded.sentinels = [
        redis.Redis(connection_pool=ConnectionPool(**_deadline_settings(one.connection_pool, 0.5)))
        for one in sentinel.sentinels
    ]
    return bounded


def _deadline_settings(pool: Any, share: float = 1.0) -> dict[str, Any]:  # noqa: ANN401  # Untyped in redis-py.
    """Return the settings of this pool, with the deadline and without retries."""
    settings = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(_OTHERWISE)
    }
    return (
        settings
        | NO_MAINTENANCE_NOTICES
        | {
            "connection_class": _deadline_class(pool.connection_class, share),
            "max_connections": pool.max_connections,
            "decode_responses": False,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "retry_on_timeout": False,
        }
    )
