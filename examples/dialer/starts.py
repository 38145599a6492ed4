"""
The deferred starts of jobs, by arq. Run its worker as `arq examples.dialer.starts.WorkerSettings`.

A start only starts the job; the workers find it then. arq is needed where starts are scheduled and
fire, and nowhere else: whoever cancels reaches the same Redis by `batch_cancel.adapters.arq`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import uuid4

from arq import Retry
from arq.connections import ArqRedis, RedisSettings

from batch_cancel import StoreFailed, start_job
from examples.dialer import tables


async def start(context: dict[str, Any], job_id: str, organization_id: str | None = None) -> bool:
    """Start a job, unless it is cancelled or was rescheduled; arq calls this."""
    deferred_id = context["job_id"]  # arq's id of the start that fires.
    try:
        return await asyncio.to_thread(
            start_job,
            job_id,
            uow=tables.unit_of_work(),
            organization_id=organization_id,
            deferred_id=deferred_id,
        )
    except (StoreFailed, asyncio.CancelledError) as error:  # The latter after `job_timeout`.
        # arq would drop the start otherwise, and the job would never start.
        raise Retry(defer=1) from error


async def schedule(pool: ArqRedis, job_id: str, at: datetime) -> None:
    """Schedule the start of a job that has none; first its row, which the start is compared to."""
    deferred_id = f"start-{uuid4().hex}"
    with tables.connect() as rows:
        named = rows.execute(
            "UPDATE batch_jobs SET status = 'scheduled', scheduled_job_id = %s "
            "WHERE id = %s AND status IN ('pending', 'scheduled') AND scheduled_job_id IS NULL "
            "RETURNING organization_id",
            [deferred_id, job_id],
        ).fetchone()
    if named is not None:
        await pool.enqueue_job("start", job_id, *named, _job_id=deferred_id, _defer_until=at)


class WorkerSettings:
    """What arq's worker does."""

    functions = (start,)
    redis_settings = RedisSettings.from_dsn(tables.REDIS)
    poll_delay = 0.1
    job_timeout = 10  # Ten seconds after it, another worker fires what a killed one was firing.
    max_tries = 100_000  # One a second while the database is down, for as long as arq keeps it.
