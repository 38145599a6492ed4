"""
The deferred starts of jobs, by arq. Run its worker as `arq examples.dialer.starts.WorkerSettings`.

A start only starts the job; the workers find it then. arq is needed where starts are scheduled and
fire, and nowhere else: whoever cancels reaches the same Redis by `batch_cancel.adapters.arq`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from arq import Retry
from arq.connections import ArqRedis, RedisSettings

from batch_cancel import StoreFailed, start_job
from examples.dialer import tables

LONGEST_START_SECONDS: Final = 8
"""How long a start may wait for the database before it is tried again."""


async def start(context: dict[str, Any], job_id: str, organization_id: str | None = None) -> bool:
    """Start a job, unless it is cancelled or was rescheduled; arq calls this."""
    deferred_id = context["job_id"]  # arq's id of the start that fires.
    try:
        async with asyncio.timeout(LONGEST_START_SECONDS):
            return await asyncio.to_thread(
                start_job,
                job_id,
                uow=tables.unit_of_work(),
                organization_id=organization_id,
                deferred_id=deferred_id,
            )
    except (StoreFailed, TimeoutError) as error:
        # arq would drop the start otherwise, and the job would never start.
        raise Retry(defer=1) from error


async def schedule(pool: ArqRedis, job_id: str, at: datetime) -> None:
    """
    Schedule the start of a job; first its row, which the start is compared to.

    After a crash between the two, the same call schedules the start that the row names. One that
    waits already stays as it is.
    """
    with tables.connect() as rows:
        named = rows.execute(
            "UPDATE batch_jobs "
            "SET status = 'scheduled', scheduled_job_id = coalesce(scheduled_job_id, %s) "
            "WHERE id = %s AND status IN ('pending', 'scheduled') "
            "RETURNING organization_id, scheduled_job_id",
            [f"start-{uuid4().hex}", job_id],
        ).fetchone()
    if named is not None:
        organization, start_id = named
        await pool.enqueue_job("start", job_id, organization, _job_id=start_id, _defer_until=at)


class WorkerSettings:
    """What arq's worker does."""

    functions = (start,)
    redis_settings = RedisSettings.from_dsn(tables.REDIS)
    poll_delay = 0.1
    # Ten seconds after this, another worker fires what a killed one was firing.
    job_timeout = LONGEST_START_SECONDS + 2
    max_tries = 100_000  # One a second while the database is down, for as long as arq keeps it.
