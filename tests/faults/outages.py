"""
Every outage at every step, and how long a cancel takes without Redis.

    python -m tests.faults.outages     every outage at every step, healed in time and not
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Final

import psycopg
import pytest
import redis
import redis.asyncio

from batch_cancel import (
    Removal,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from tests.fault_proxy import FaultProxy
from tests.faults.cues import Action
from tests.faults.theatre import HALVES, opened
from tests.processes import HOST
from tests.servers import PostgresServer, RedisServer

FULL: Final = os.environ.get("BATCH_CANCEL_OUTAGES") == "full"
"""Whether to play every outage at every step, or a selection in which each has its turn."""

REDIS_OUTAGES: Final = ("refused", "paused", "black hole")
"""The ways in which a Redis that is away can be silent."""


def latencies(
    postgres: PostgresServer, redis_server: RedisServer, half: str, outage: str, *, rounds: int
) -> list[float]:
    """Return the seconds that each of so many cancels took while Redis was away."""
    jobs = [f"job-{number}" for number in range(rounds)]
    with opened(postgres, half) as theatre, FaultProxy(redis_server.port) as proxy:
        with psycopg.connect(theatre.dsn) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO batch_jobs (id, status, scheduled_job_id) "
                "VALUES (%s, 'scheduled', 'start')",
                [[job] for job in jobs],
            )
        # Refused by the system itself, not by the proxy.
        url = redis_server.url() if outage == "refused" else f"redis://{HOST}:{proxy.port}"
        begin, end = {
            "refused": (redis_server.kill, redis_server.start),
            "paused": (redis_server.pause, redis_server.resume),
            "black hole": (proxy.stall, proxy.heal),
        }[outage]
        try:
            if theatre.runner is None:
                return _latencies(theatre.dsn, url, jobs, begin)
            return theatre.runner.run(_latencies_async(theatre.dsn, url, jobs, begin))
        finally:
            end()


def _latencies(dsn: str, url: str, jobs: list[str], begin: Action) -> list[float]:
    uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
    seconds: list[float] = []
    with redis.Redis.from_url(url) as client:
        scheduler = RedisScheduler(client, namespace="latencies")
        scheduler.cancel("warm", "up")
        begin()
        for job in jobs:
            began = time.perf_counter()
            result = cancel_job(job, uow=uow, scheduler=scheduler)
            seconds.append(time.perf_counter() - began)
            assert result.removal is Removal.PENDING
    return seconds


async def _latencies_async(dsn: str, url: str, jobs: list[str], begin: Action) -> list[float]:
    uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn))
    seconds: list[float] = []
    async with redis.asyncio.Redis.from_url(url) as client:
        scheduler = AsyncRedisScheduler(client, namespace="latencies")
        await scheduler.cancel("warm", "up")
        begin()
        for job in jobs:
            began = time.perf_counter()
            result = await cancel_job_async(job, uow=uow, scheduler=scheduler)
            seconds.append(time.perf_counter() - began)
            assert result.removal is Removal.PENDING
    return seconds


def _print_latencies(rounds: int) -> None:
    with PostgresServer.own(fsync=True) as postgres, RedisServer.own(durable=True) as server:
        for outage, half in itertools.product(REDIS_OUTAGES, HALVES):
            seconds = latencies(postgres, server, half, outage, rounds=rounds)
            p50, most = 1000 * median(seconds), 1000 * max(seconds)
            told = f"Redis {outage}, {half}: p50 {p50:.0f} ms, max {most:.0f} ms of {rounds}"
            sys.stdout.write(f"{told}\n")


def main() -> int:
    """Play every outage at every step, then print how long a cancel takes without Redis."""
    os.environ["BATCH_CANCEL_OUTAGES"] = "full"
    here = Path(__file__).parent
    files = sorted(map(str, here.glob("test_outages_*.py")))
    code = pytest.main(["-p", "no:cacheprovider", "-q", *files, *sys.argv[1:]])
    _print_latencies(30)
    return code


if __name__ == "__main__":
    sys.exit(main())
