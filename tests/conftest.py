"""Fixtures for the real servers: started when first asked for, one each per worker process."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis

from tests import servers
from tests.lent_connections import LentConnections
from tests.pairs import create_reference_tables
from tests.pgbouncer import PgBouncer, find_pgbouncer
from tests.processes import ServerError
from tests.redis_topologies import RedisCluster, RedisSentinel
from tests.selection import COLLECTED, mark_what_repeats
from tests.servers import (
    GaleraCluster,
    MariaDbServer,
    PostgresServer,
    Program,
    RedisServer,
    find_mariadb,
    find_postgres,
    find_redis,
)
from tests.slowest import slowest_files


def pytest_report_header() -> list[str]:
    """Name the servers that this run tests against."""
    return [
        f"postgres: {_given(PostgresServer, servers.POSTGRES_DSN) or _described(find_postgres)}",
        f"redis: {_given(RedisServer, servers.REDIS_URL) or _described(find_redis)}",
        f"pgbouncer: {_described(find_pgbouncer)}",
        f"mariadb: {_described(find_mariadb)}",
    ]


@pytest.hookimpl(tryfirst=True)  # Before the option -m is obeyed.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of PgBouncer where it is not installed: no wheel has it."""
    if find_pgbouncer() is None:
        left_out = [item for item in items if _needs_pgbouncer(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _needs_pgbouncer(item)]
    mark_what_repeats(items)
    config.stash[COLLECTED] = [*items]


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests, which live as long as the run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # As often as it collects by default, it costs a tenth.


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the files whose tests took longest."""
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
    ]
    if lines := slowest_files(reports):
        terminalreporter.section("slowest files")
        terminalreporter.write("".join(f"{line}\n" for line in lines))


def _given(kind: type[PostgresServer | RedisServer], variable: str) -> str | None:
    if not os.environ.get(variable):
        return None
    try:
        with kind.find() as server:
            return f"{server.version} ({variable})"
    except (psycopg.Error, redis.RedisError) as error:
        return f"MISSING, its tests will fail: {variable}: {error}"


def _needs_pgbouncer(item: pytest.Item) -> bool:
    return any(name.startswith("pgbouncer") for name in getattr(item, "fixturenames", ()))


def _described(find: Callable[[], Program | None]) -> str:
    try:
        program = find()
        if program is None:
            return "not installed, its tests are not run"
        return f"{program.path.name} {program.version()} ({program.origin})"
    except ServerError as error:
        return f"MISSING, its tests will fail: {error}"


@pytest.fixture(autouse=True, scope="module")
def logging_as_before() -> Iterator[None]:
    """Undo what a framework does to the root logger, which other tests look at."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Yield the Postgres server that all tests share; whoever hurts it takes another fixture."""
    with PostgresServer.find() as server:
        yield server


@pytest.fixture
def postgres_schema(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield a connection string to a schema of the test's own."""
    with postgres_server.schema() as dsn:
        yield dsn


@pytest.fixture(scope="class")
def tables_of_class(
    postgres_server: PostgresServer,
) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    """Yield the reference tables, which hold what adopters' may: their DSN, and a connection."""
    with postgres_server.schema() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("ALTER TABLE batch_jobs ALTER status DROP NOT NULL")
        connection.execute("ALTER TABLE batch_contacts ALTER status DROP NOT NULL")
        yield dsn, connection


@pytest.fixture(scope="class")
def connections_of_class(
    tables_of_class: tuple[str, psycopg.Connection[Any]],
) -> Iterator[LentConnections]:
    """Yield connections to these tables that are lent for a transaction."""
    lent = LentConnections(tables_of_class[0])
    yield lent
    lent.close()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield a connection string to a database of the test's own."""
    with postgres_server.database() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbServer]:
    """Yield the MariaDB server that all tests share."""
    with MariaDbServer.own() as server:
        yield server


@pytest.fixture(scope="session")
def galera_cluster() -> Iterator[GaleraCluster]:
    """Yield the three nodes of Galera that all tests share."""
    with GaleraCluster.own() as cluster:
        yield cluster


@pytest.fixture
def galera_database(galera_cluster: GaleraCluster) -> Iterator[str]:
    """Yield the name of a database of the test's own, which all nodes have."""
    with galera_cluster.database() as name:
        yield name


@pytest.fixture(scope="class")
def mariadb_of_class(mariadb_server: MariaDbServer) -> Iterator[tuple[MariaDbServer, str]]:
    """Yield the server, and the name of a database for the tests of a class."""
    with mariadb_server.database() as name:
        yield mariadb_server, name


@pytest.fixture
def mariadb_database(mariadb_server: MariaDbServer) -> Iterator[str]:
    """Yield the name of a database of the test's own."""
    with mariadb_server.database() as name:
        yield name


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Yield the Redis server that all tests share; whoever hurts it takes another fixture."""
    with RedisServer.find() as server:
        yield server


@pytest.fixture
def redis_prefix(redis_server: RedisServer) -> Iterator[str]:
    """Yield a key prefix of the test's own."""
    with redis_server.prefix() as prefix:
        yield prefix


@pytest.fixture
def redis_database(redis_server: RedisServer) -> Iterator[str]:
    """Yield the URL of an empty Redis database, a different one in each worker process."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    with redis_server.database(1 + int(worker.removeprefix("gw"))) as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_to_break() -> Iterator[PostgresServer]:
    with PostgresServer.own(fsync=True) as server:
        yield server


@pytest.fixture
def postgres_to_break(_postgres_to_break: PostgresServer) -> Iterator[PostgresServer]:
    """Yield a durable Postgres that the test may kill, stop and pause; it is healed afterwards."""
    yield _postgres_to_break
    _postgres_to_break.heal()


@pytest.fixture(scope="session")
def _redis_to_break() -> Iterator[RedisServer]:
    with RedisServer.own(durable=True) as server:
        yield server


@pytest.fixture
def redis_to_break(_redis_to_break: RedisServer) -> Iterator[RedisServer]:
    """Yield a durable Redis that the test may kill, stop and pause; healed, emptied afterwards."""
    yield _redis_to_break
    _redis_to_break.heal()
    _redis_to_break.flush()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Yield a Redis Cluster of three masters."""
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[RedisSentinel]:
    """Yield a master and a replica under one sentinel; who fails over also calls rejoin."""
    with RedisSentinel() as group:
        yield group


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """Yield a PgBouncer in transaction mode, in front of `postgres_server`."""
    with PgBouncer(postgres_server) as bouncer:
        yield bouncer
