"""The servers do what the tests rely on: without this, no fault test means what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from tests.pgbouncer import PgBouncer
from tests.processes import ServerError, wait_until
from tests.redis_topologies import RedisCluster, RedisSentinel
from tests.servers import PostgresServer, RedisServer


def test_a_schema_is_the_tests_own(postgres_server: PostgresServer) -> None:
    """Tables of two schemas do not meet, and are gone afterwards."""
    with postgres_server.schema() as first, postgres_server.schema() as second:
        with psycopg.connect(first) as conn:
            conn.execute("CREATE TABLE mine (id int)")
        with psycopg.connect(second) as conn:
            row = conn.execute("SELECT to_regclass('mine')").fetchone()
            assert row == (None,)
    assert postgres_server.query("SELECT count(*) FROM pg_tables WHERE tablename = 'mine'") == 0


def test_a_database_is_the_tests_own(postgres_server: PostgresServer) -> None:
    """A database is lent empty, and dropped even while somebody is connected to it."""
    with postgres_server.database() as dsn:
        left_open = psycopg.connect(dsn)
        name = left_open.info.dbname
    left_open.close()
    names = postgres_server.query("SELECT string_agg(datname, ',') FROM pg_database")
    assert name not in names.split(",")


def test_a_killed_postgres_comes_back_with_what_it_committed(
    postgres_to_break: PostgresServer,
) -> None:
    """After kill -9 and restart, the commit is there and the open transaction is not."""
    with postgres_to_break.schema() as dsn:
        with psycopg.connect(dsn) as conn:
            conn.execute("CREATE TABLE numbers (n int)")
            conn.execute("INSERT INTO numbers VALUES (1)")
        doomed = psycopg.connect(dsn)
        doomed.execute("INSERT INTO numbers VALUES (2)")
        postgres_to_break.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dsn)
        doomed.close()
        postgres_to_break.start()
        with psycopg.connect(dsn) as conn:
            assert conn.execute("SELECT n FROM numbers").fetchall() == [(1,)]


def test_a_paused_postgres_is_silent_and_then_goes_on(postgres_to_break: PostgresServer) -> None:
    """Neither old nor new connections get an answer; after resume the old ones go on."""
    with psycopg.connect(postgres_to_break.dsn(), autocommit=True) as conn:
        postgres_to_break.pause()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(postgres_to_break.dsn(), connect_timeout=2)
        postgres_to_break.resume()
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_replica_follows_and_can_be_promoted(postgres_to_break: PostgresServer) -> None:
    """What the primary commits is on the replica, which takes writes once promoted."""
    primary = postgres_to_break
    with primary.database() as dsn, primary.replica() as replica:
        name = conninfo_to_dict(dsn)["dbname"]
        with psycopg.connect(dsn) as conn:
            conn.execute("CREATE TABLE numbers (n int)")
        replica.wait_for(primary)
        refused = pytest.raises(psycopg.errors.ReadOnlySqlTransaction)
        with psycopg.connect(replica.dsn(str(name))) as conn, refused:
            conn.execute("INSERT INTO numbers VALUES (1)")
        primary.kill()
        replica.promote()
        with psycopg.connect(replica.dsn(str(name))) as conn:
            assert conn.execute("INSERT INTO numbers VALUES (1)").rowcount == 1


def test_a_prefix_and_a_redis_database_are_the_tests_own(redis_server: RedisServer) -> None:
    """Keys below the prefix, and all keys of the database, are gone afterwards."""
    with redis_server.prefix() as prefix, redis_server.prefix() as other:
        assert prefix != other
        redis_server.client.set(f"{prefix}key", "value")
        with redis_server.database() as url, redis.Redis.from_url(url) as client:
            assert client.dbsize() == 0
            client.set("key", "value")
        assert redis_server.client.get(f"{prefix}key") == "value"
    assert redis_server.client.exists(f"{prefix}key") == 0
    with redis_server.database() as url, redis.Redis.from_url(url) as client:
        assert client.dbsize() == 0


def test_a_durable_redis_keeps_what_it_answered(redis_to_break: RedisServer) -> None:
    """After kill -9 and restart the key is there."""
    redis_to_break.client.set("key", "value")
    redis_to_break.kill()
    with pytest.raises(redis.ConnectionError):
        redis_to_break.client.get("key")
    redis_to_break.start()
    assert redis_to_break.client.get("key") == "value"


def test_a_paused_redis_is_silent_and_then_goes_on(redis_to_break: RedisServer) -> None:
    """A command times out while the server is paused, and works after resume."""
    with redis.Redis.from_url(redis_to_break.url(), socket_timeout=0.2, retry=None) as client:
        client.set("key", "value")
        redis_to_break.pause()
        with pytest.raises(redis.TimeoutError):
            client.get("key")
        redis_to_break.resume()
        assert client.get("key") == b"value"


def test_a_cluster_spreads_keys_over_its_masters(redis_cluster: RedisCluster) -> None:
    """A cluster client writes anywhere, and each master gets some of it."""
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        for number in range(50):
            client.set(f"key-{number}", "value")
        assert all(master.client.dbsize() for master in redis_cluster.masters)


def test_a_sentinel_replaces_a_killed_master(redis_sentinel: RedisSentinel) -> None:
    """The client that asks the sentinel finds the new master, which has the replicated key."""
    sentinel = redis.Sentinel(redis_sentinel.addresses)
    with sentinel.master_for(redis_sentinel.name) as client:
        client.set("key", "value")
        assert client.wait(1, 5000) == 1
        redis_sentinel.failover()
        assert client.get("key") == b"value"
    redis_sentinel.rejoin()


DIE_WITHOUT_GOODBYE = """
import os, signal
from tests.servers import PostgresServer, RedisServer

servers = [PostgresServer.own(), RedisServer.own()]
for server in servers:
    print(server.process.folder)
servers[1].pause()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_outlives_a_run_that_was_killed() -> None:
    """When the tests die by kill -9, their servers and folders go, even a paused one."""
    died = subprocess.run(
        [sys.executable, "-u", "-c", DIE_WITHOUT_GOODBYE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    folders = [Path(line) for line in died.stdout.splitlines()]
    assert len(folders) == 2
    # The folder is removed last of all, after the server has ended.
    wait_until(lambda: not any(folder.exists() for folder in folders), "the folders are gone")


def test_a_server_given_by_the_environment_is_not_hurt() -> None:
    """Killing what is not ours is refused."""
    with PostgresServer("host=192.0.2.1") as server, pytest.raises(ServerError, match="given by"):
        server.kill()


def test_pgbouncer_shares_connections_between_transactions(
    pgbouncer: PgBouncer, postgres_database: str
) -> None:
    """Three clients are served by at most two server connections."""
    dsn = pgbouncer.dsn(postgres_database)
    pids = set()
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two, psycopg.connect(dsn) as three:
        for conn in (one, two, three):
            pids.add(conn.execute("SELECT pg_backend_pid()").fetchone())
            conn.commit()
    assert len(pids) <= 2
