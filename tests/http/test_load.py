"""Two hundred cancels at once, over uvicorn, Postgres and Redis, with ten connections."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import psycopg_pool
import pytest
import redis
import redis.asyncio

from batch_cancel import cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from tests.http.examples import serving
from tests.http.requests import AUTHENTICATE
from tests.pairs import PATIENCE, create_reference_tables

if TYPE_CHECKING:
    from tests.servers import RedisServer

JOBS = 200
CONTACTS = 10


@pytest.mark.repeats
def test_two_hundred_cancels_at_once(
    postgres_schema: str, redis_server: RedisServer, redis_prefix: str
) -> None:
    """Each job is cancelled once, its deferred start taken back, and nobody is refused."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "SELECT 'job-' || n, 'a', 'scheduled', 'start-' || n FROM generate_series(1, %s) n",
            [JOBS],
        )
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT id, 'pending' FROM batch_jobs, generate_series(1, %s)",
            [CONTACTS],
        )
        with redis.Redis.from_url(redis_server.url()) as client:
            starts = RedisScheduler(client, namespace=redis_prefix, budget=PATIENCE)
            for number in range(1, JOBS + 1):
                starts.schedule(f"start-{number}", datetime.now(UTC) + timedelta(hours=1))
            app = _Pooled(postgres_schema, redis_server.url(), redis_prefix)
            with serving("asgi_bare", app) as url:
                answers = asyncio.run(_ask_all(url))
            assert {answer.status_code for answer in answers} == {200}
            bodies = [answer.json() for answer in answers]
            assert {body["batchJobId"] for body in bodies} == {
                f"job-{number}" for number in range(1, JOBS + 1)
            }
            assert {body["contactsCancelled"] for body in bodies} == {CONTACTS}
            assert {body["redisJobCancelled"] for body in bodies} == {True}
            assert not starts.waiting()
        counted = connection.execute(
            "SELECT (SELECT count(*) FROM batch_jobs WHERE status = 'cancelled'), "
            "(SELECT count(*) FROM batch_contacts WHERE status = 'cancelled'), "
            "(SELECT count(*) FROM batch_cancellations WHERE removal = 'removed')"
        ).fetchone()
        assert counted == (JOBS, JOBS * CONTACTS, JOBS)


async def _ask_all(url: str) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=JOBS)
    headers = {"Authorization": "Bearer key-a"}
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        return await asyncio.gather(
            *(
                client.post(f"/batch/jobs/job-{number}/cancel", headers=headers)
                for number in range(1, JOBS + 1)
            )
        )


class _Pooled:
    """An application whose pool and client live as long as its server."""

    def __init__(self, dsn: str, url: str, prefix: str) -> None:
        self._dsn, self._url, self._prefix = dsn, url, prefix
        self._app: AsgiApp | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)
            return
        assert (await receive())["type"] == "lifespan.startup"
        async with (
            psycopg_pool.AsyncConnectionPool(self._dsn, max_size=10, open=False) as pool,
            redis.asyncio.Redis.from_url(self._url) as client,
        ):
            scheduler = AsyncRedisScheduler(client, namespace=self._prefix, budget=PATIENCE)
            uow = AsyncPostgresUnitOfWork(pool.connection)
            cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)
            self._app = AsgiApp(cancel, AUTHENTICATE)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
