"""The fault proxy hurts connections as it says, seen through real clients of real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fault_proxy import TO_CLIENT, TO_SERVER, FaultProxy
from tests.servers import RedisServer


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Yield a proxy in front of Redis."""
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[redis.Redis]:
    """Yield a client that goes through the proxy, never retries, and waits half a second."""
    url = f"redis://127.0.0.1:{proxy.port}"
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=0.5) as client:
        client.ping()
        yield client


def test_delay_holds_back_each_answer(proxy: FaultProxy, client: redis.Redis) -> None:
    """An answer takes at least as long as both directions are delayed."""
    proxy.delay(0.05)
    before = time.monotonic()
    client.ping()
    assert time.monotonic() - before >= 0.1


def test_stall_holds_the_answer_until_healed(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_prefix: str
) -> None:
    """With the way back stalled the command is carried out, and nobody hears of it."""
    proxy.stall(TO_CLIENT)
    with pytest.raises(redis.TimeoutError):
        client.set(f"{redis_prefix}key", "value")
    assert redis_server.client.get(f"{redis_prefix}key") == "value"
    proxy.heal()
    assert client.ping()


def test_cut_to_client_loses_only_the_answer(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_prefix: str
) -> None:
    """The command is carried out, its connection dies, and the next one lives."""
    proxy.cut_after(0, TO_CLIENT)
    with pytest.raises(redis.ConnectionError):
        client.set(f"{redis_prefix}key", "value")
    assert proxy.cuts == 1
    assert redis_server.client.get(f"{redis_prefix}key") == "value"
    assert client.ping()


def test_cut_to_server_loses_the_command(
    proxy: FaultProxy, client: redis.Redis, redis_server: RedisServer, redis_prefix: str
) -> None:
    """Half a command is none."""
    proxy.cut_after(10, TO_SERVER)
    with pytest.raises(redis.ConnectionError):
        client.set(f"{redis_prefix}key", "value")
    assert proxy.cuts == 1
    assert redis_server.client.exists(f"{redis_prefix}key") == 0


def test_reset_ends_the_connections_that_are_open(proxy: FaultProxy, client: redis.Redis) -> None:
    """The waiting command fails at once, a new connection works."""
    with client.pubsub() as waiting:
        waiting.subscribe("channel")
        assert waiting.get_message(timeout=0.5) is not None
        assert waiting.connection is not None
        proxy.reset()
        with pytest.raises(redis.ConnectionError):
            waiting.connection.read_response()
    assert client.ping()


def test_refuse_takes_no_connection_until_healed(proxy: FaultProxy, client: redis.Redis) -> None:
    """Connecting fails at once, and works again on the same port."""
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client.ping()
    proxy.heal()
    assert client.ping()
