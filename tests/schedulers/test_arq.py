"""arq from end to end, as a user runs it, and what its own ways to cancel do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import attrs
import httpx
import psycopg
import pytest
import redis
import redis.asyncio

from batch_cancel import CancelResult, cancel_job_async
from batch_cancel.adapters.arq import ArqScheduler, AsyncArqScheduler
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork
from batch_cancel.http.api_keys import Principal
from tests.http.examples import serving
from tests.pairs import create_reference_tables
from tests.schedulers.catalogue import LIBRARIES, PATIENCE
from tests.schedulers.races import race
from tests.schedulers.rig import Rig
from tests.servers import RedisServer

HOUR_SECONDS = 3600


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Yield arq at work, its workers with their default settings."""
    library = attrs.evolve(LIBRARIES["arq"], places={})
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        rig.start_workers()
        yield rig


def test_a_rescheduled_campaign_is_cancelled_and_never_starts(
    rig: Rig, postgres_schema: str
) -> None:
    """Scheduled by arq's client, cancelled over HTTP by an app that arq could not be beside."""
    assert int(redis.__version__.split(".")[0]) >= 8
    due = time.time() + 3
    rig.schedule("arq_job_first", due)
    with psycopg.connect(postgres_schema, autocommit=True) as rows:
        create_reference_tables(rows)
        rows.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id)"
            " VALUES ('batch_xyz789', 'scheduled', 'arq_job_first')"
        )
        rows.execute(
            "INSERT INTO batch_contacts (batch_job_id, status)"
            " VALUES ('batch_xyz789', 'pending'), ('batch_xyz789', 'blocked')"
        )
        # Rescheduled, as upstream does it: a new deferred job, whose id the row then holds.
        assert ArqScheduler(rig.redis, budget=PATIENCE).cancel("arq_job_first", "move") is True
        rig.schedule("arq_job_second", due)
        rows.execute("UPDATE batch_jobs SET scheduled_job_id = 'arq_job_second'")

        with serving("asgi_bare", _app(rig, postgres_schema)) as url:
            answer = httpx.post(
                f"{url}/batch/jobs/batch_xyz789/cancel", headers={"Authorization": "Bearer key"}
            )

        assert answer.status_code == 200
        assert answer.json() == {
            "success": True,
            "message": "Scheduled job cancelled successfully",
            "batchJobId": "batch_xyz789",
            "redisJobCancelled": True,
            "contactsCancelled": 1,
        }
        assert rows.execute("SELECT status FROM batch_jobs").fetchall() == [("cancelled",)]
    rig.schedule("another", due)
    rig.wait_ran("another")
    rig.settle("rescheduled")
    assert rig.ran("arq_job_first") == rig.ran("arq_job_second") == 0


def _app(rig: Rig, dsn: str) -> AsgiApp:
    """Make the API of an organization that has no id."""

    async def cancel(*arguments: Any, **named: Any) -> CancelResult:
        port = rig.redis.connection_pool.connection_kwargs["port"]
        async with redis.asyncio.Redis(port=port) as client:
            return await cancel_job_async(
                *arguments,
                uow=AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn)),
                scheduler=AsyncArqScheduler(client, budget=PATIENCE),
                **named,
            )

    return AsgiApp(cancel, {"key": Principal("somebody", None, may_cancel=True)}.get)


def test_a_job_that_waits_for_its_retry_is_not_retried(rig: Rig) -> None:
    """It fired once, so False; and it is gone."""
    rig.schedule("retried", time.time() + HOUR_SECONDS)
    rig.redis.set("arq:retry:retried", "1", ex=60)
    scheduler = ArqScheduler(rig.redis, budget=PATIENCE)
    assert scheduler.cancel("retried", "operation") is False
    assert rig.redis.zscore("arq:queue", "retried") is None
    assert not rig.redis.exists("arq:job:retried", "arq:retry:retried")


# What the harness shows of cancels that are not exact ----------------------------------------


def test_abort_starts_a_job_that_is_an_hour_ahead(rig: Rig) -> None:
    """Its own cancel, with default workers: the campaign starts at once, and the answer is no."""
    rig.schedule("aborted", time.time() + HOUR_SECONDS)
    assert rig.ask("cancel", "aborted") is False
    rig.wait_ran("aborted")


def test_the_races_find_a_cancel_that_lies(rig: Rig) -> None:
    """A bare removal says True of jobs that a worker is just taking: the harness can fail."""

    def zrem(deferred_id: str) -> Any:
        return rig.redis.zrem("arq:queue", deferred_id)

    for attempt in range(20):
        if race(rig, zrem, 50, f"zrem-{attempt}").ran_all_the_same:
            return
    pytest.fail("a thousand races found nothing")
