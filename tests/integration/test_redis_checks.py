"""`check()` of what keeps its own keys in Redis: each sentence, by breaking the real server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis
import redis.asyncio

from batch_cancel.adapters.redis import (
    AsyncRedisScheduler,
    AsyncStartGate,
    RedisScheduler,
    StartGate,
)
from tests.integration.checks import replacing
from tests.processes import free_port

if TYPE_CHECKING:
    from tests.redis_topologies import RedisCluster
    from tests.servers import RedisServer


REDIS: dict[str, tuple[Any, Any]] = {
    "native": (RedisScheduler, AsyncRedisScheduler),
    "gate": (StartGate, AsyncStartGate),
}
"""What keeps its own keys in Redis, blocking and asyncio."""


def redis_checked(url: str, which: str = "native", **options: Any) -> list[str]:
    """Ask both halves, which say the same."""
    maker, maker_async = REDIS[which]

    async def ask() -> list[str]:
        async with redis.asyncio.Redis.from_url(url) as client:
            return cast("list[str]", await maker_async(client, **options).check())

    with redis.Redis.from_url(url) as client:
        found: list[str] = maker(client, **options).check()
    assert asyncio.run(ask()) == found
    return found


def test_a_redis_as_it_should_be_is_fit(redis_server: RedisServer, redis_prefix: str) -> None:
    """And looking at it changes nothing: no key is made."""
    assert redis_checked(redis_server.url(), namespace=redis_prefix, shards=3) == []
    assert list(redis_server.client.scan_iter(f"*{redis_prefix}*")) == []


def test_what_waits_is_left_alone(redis_server: RedisServer, redis_prefix: str) -> None:
    """Every key of ours is as it was before."""
    client = redis_server.client
    keys = {f"{{{redis_prefix}:0}}:{key}": key for key in ("due", "job")}
    client.zadd(f"{{{redis_prefix}:0}}:due", {"a": 1})
    client.hset(f"{{{redis_prefix}:0}}:job", "a", "D")
    before = [client.dump(key) for key in keys]
    writes = client.info("persistence")["rdb_changes_since_last_save"]
    assert redis_checked(redis_server.url(), namespace=redis_prefix) == []
    assert client.info("persistence")["rdb_changes_since_last_save"] == writes
    assert [client.dump(key) for key in keys] == before
    client.delete(*keys)


@pytest.mark.parametrize("which", REDIS)
def test_an_eviction_policy_is_named(redis_to_break: RedisServer, which: str) -> None:
    """Whatever it is, unless it is none."""
    client = redis_to_break.client
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert redis_checked(redis_to_break.url(), which) == [
            (
                "Redis may evict deferred starts (maxmemory-policy allkeys-lru): "
                "CONFIG SET maxmemory-policy noeviction"
            )
        ]
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert redis_checked(redis_to_break.url(), which) == []


@pytest.mark.parametrize("which", REDIS)
def test_a_full_redis_is_named(redis_to_break: RedisServer, which: str) -> None:
    """A start could not be scheduled."""
    client = redis_to_break.client
    client.config_set("maxmemory", "1")
    try:
        assert redis_checked(redis_to_break.url(), which) == [
            "Redis has no memory left, so that nothing can be scheduled: raise its maxmemory"
        ]
    finally:
        client.config_set("maxmemory", "0")


def test_keys_of_something_else_are_named(redis_server: RedisServer, redis_prefix: str) -> None:
    """Once, however many shards have them."""
    keys = [f"{{{redis_prefix}:{shard}}}:due" for shard in range(2)]
    for key in keys:
        redis_server.client.set(key, "mine")
    assert redis_checked(redis_server.url(), namespace=redis_prefix, shards=2) == [
        "our keys have another type: choose another namespace"
    ]
    redis_server.client.delete(*keys)


@pytest.mark.parametrize(
    ("rules", "sentences"),
    [
        (["+@all", "~*"], []),
        (
            ["+@all", "~other*"],
            ["Redis refused (NoPermissionError)"],
        ),
        (
            ["+@all", "-eval", "-evalsha", "~*"],
            ["Redis refused (NoPermissionError)"],
        ),
        (
            ["+@all", "-info", "~*"],
            [
                (
                    "Redis does not show its version and its maxmemory-policy to the user that "
                    "connects: grant it +info, or make sure that they are 7 or later and "
                    "noeviction"
                )
            ],
        ),
        (
            ["+@all", "-zadd", "-set", "~*"],
            ["the user that connects may not run our scripts: grant it +@all on our keys"],
        ),
    ],
)
@pytest.mark.parametrize("which", REDIS)
def test_what_a_redis_user_may_not_do_is_named(
    redis_server: RedisServer,
    redis_prefix: str,
    rules: list[str],
    sentences: list[str],
    which: str,
) -> None:
    """Its password is not shown."""
    user = redis_prefix.removesuffix(":")
    redis_server.command("ACL", "SETUSER", user, "on", ">hunter2", *rules)
    try:
        url = f"redis://{user}:hunter2@127.0.0.1:{redis_server.port}/0"
        assert redis_checked(url, which, namespace=redis_prefix) == sentences
    finally:
        redis_server.command("ACL", "DELUSER", user)


@pytest.mark.parametrize("which", REDIS)
def test_a_replica_of_redis_is_named(redis_server: RedisServer, which: str) -> None:
    """It would refuse every cancel."""
    from tests.servers import RedisServer

    with RedisServer.own("--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        assert redis_checked(replica.url(), which) == [
            "Redis is read-only here: connect to the master"
        ]


@pytest.mark.parametrize("which", REDIS)
def test_too_few_replicas_are_named(redis_to_break: RedisServer, which: str) -> None:
    """Every cancel would end without an answer."""
    options: Any = {"budget": timedelta(seconds=1), "min_replicas": 2}
    assert redis_checked(redis_to_break.url(), which, **options) == [
        (
            "min_replicas=2 cannot be met, so no call succeeds: too few replicas of Redis have "
            "the write (0 of 2)"
        )
    ]


@pytest.mark.parametrize("which", REDIS)
def test_a_user_that_may_not_wait_for_replicas_is_named(
    redis_server: RedisServer, redis_prefix: str, which: str
) -> None:
    """The scripts may run, but a cancel would be refused."""
    user = redis_prefix.removesuffix(":")
    redis_server.command("ACL", "SETUSER", user, "on", ">hunter2", "+@all", "-wait", "~*")
    try:
        url = f"redis://{user}:hunter2@127.0.0.1:{redis_server.port}/0"
        assert redis_checked(url, which) == []
        assert redis_checked(url, which, min_replicas=1) == [
            (
                "min_replicas=1 cannot be met, so no call succeeds: Redis refused "
                "(NoPermissionError)"
            )
        ]
    finally:
        redis_server.command("ACL", "DELUSER", user)


@pytest.mark.parametrize("which", REDIS)
def test_a_redis_that_is_too_old_is_named(
    redis_server: RedisServer, redis_prefix: str, which: str
) -> None:
    """Valkey counts as the Redis that it says it is."""
    version = str(redis_server.client.info("server")["redis_version"])
    old, new = f"redis_version:{version}".encode(), f"redis_version:6{version[1:]}".encode()
    with replacing(redis_server.port, old, new) as port:
        assert redis_checked(f"redis://127.0.0.1:{port}", which, namespace=redis_prefix) == [
            f"Redis is version 6{version[1:]}: 7 or later, or Valkey, is needed"
        ]


@pytest.mark.parametrize("which", REDIS)
def test_a_redis_out_of_reach_is_a_sentence(which: str) -> None:
    """And no exception; once, however much is asked."""
    url = f"redis://ann:hunter2@127.0.0.1:{free_port()}"
    [sentence] = redis_checked(url, which, min_replicas=1)
    assert sentence == "Redis did not answer within 250 ms (ConnectionError)"


@pytest.mark.parametrize("which", REDIS)
def test_a_cluster_is_checked_node_by_node(redis_cluster: RedisCluster, which: str) -> None:
    """The native store's shards, and keys of the gate on each node."""
    maker, maker_async = REDIS[which]
    options: Any = {"namespace": "check"} | ({"shards": 16} if which == "native" else {})

    async def ask() -> list[str]:
        async with redis.asyncio.RedisCluster.from_url(redis_cluster.url) as client:
            return cast("list[str]", await maker_async(client, **options).check())

    def checked() -> list[str]:
        with redis.RedisCluster.from_url(redis_cluster.url) as client:
            found: list[str] = maker(client, **options).check()
        assert asyncio.run(ask()) == found
        return found

    assert checked() == []
    for master in redis_cluster.masters:
        master.client.config_set("maxmemory-policy", "volatile-ttl")
        try:
            assert checked() == [
                (
                    "Redis may evict deferred starts (maxmemory-policy volatile-ttl): "
                    "CONFIG SET maxmemory-policy noeviction"
                )
            ]
        finally:
            master.client.config_set("maxmemory-policy", "noeviction")
