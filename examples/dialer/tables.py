"""
The dialer's tables, and what it asks of them by itself.

A job may be paused: by a status of its own, which stands beside `pending` in the mapping. So a
paused job can be cancelled, none of its contacts is claimed, and `start_job` resumes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Final

import psycopg

from batch_cancel import JobKey, JobStatus, start_job
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork

STORE: Final = os.environ.get("DIALER_STORE", "postgresql://localhost/dialer")
REDIS: Final = os.environ.get("DIALER_REDIS", "redis://localhost")
LONGEST_CALL: Final = timedelta(seconds=float(os.environ.get("DIALER_LONGEST_CALL", "14400")))
"""The age that no call reaches: an older one is a dead worker's."""

schema: Final = PostgresSchema(
    contact_dialing_since="dialing_since",
    job_statuses={
        **{status.value: status.value for status in JobStatus},
        "pending": ("pending", "paused"),
    },
)


def connect() -> psycopg.Connection:
    """Connect to the database."""
    return psycopg.connect(STORE, autocommit=True, connect_timeout=5)


def unit_of_work(
    connection: Callable[[], AbstractContextManager[psycopg.Connection]] = connect,
) -> PostgresUnitOfWork:
    """Return the store for the library, on new connections or on those of a pool."""
    return PostgresUnitOfWork(connection, schema)


def jobs_to_work_on(rows: psycopg.Connection) -> list[JobKey]:
    """Return the running jobs, in another order each time, so that workers spread over them."""
    asked = "SELECT id, organization_id FROM batch_jobs WHERE status = 'running' ORDER BY random()"
    return [JobKey(*job) for job in rows.execute(asked)]


def jobs_with_dead_calls(rows: psycopg.Connection) -> list[JobKey]:
    """Return the jobs, cancelled ones too, with a contact that is dialing for too long."""
    asked = (
        "SELECT DISTINCT job.id, job.organization_id "
        "FROM batch_contacts contact JOIN batch_jobs job ON job.id = contact.batch_job_id "
        "WHERE contact.status = 'dialing' AND contact.dialing_since < now() - %s"
    )
    return [JobKey(*job) for job in rows.execute(asked, [LONGEST_CALL])]


def count_attempt(rows: psycopg.Connection, contact_id: str, before: int) -> bool:
    """
    Count a call before it begins: a worker that dies in it has used up the attempt.

    Returns:
        False if the contact is no longer as it was claimed, after `before` attempts: this worker
        was held up for longer than the longest call, and another one has called it.
    """
    counted = rows.execute(
        "UPDATE batch_contacts SET attempts = attempts + 1 "
        "WHERE id = %s::bigint AND attempts = %s AND status = 'dialing'",
        [contact_id, before],
    )
    return counted.rowcount == 1


def pause(rows: psycopg.Connection, job_id: str) -> bool:
    """Pause a running job; it forgets its start, which would resume it if it came twice."""
    paused = rows.execute(
        "UPDATE batch_jobs SET status = 'paused', scheduled_job_id = NULL "
        "WHERE id = %s AND status = 'running'",
        [job_id],
    )
    return paused.rowcount == 1


def resume(uow: PostgresUnitOfWork, job_id: str, organization_id: str | None = None) -> bool:
    """Resume a paused job; one that was cancelled meanwhile stays so."""
    return start_job(job_id, uow=uow, organization_id=organization_id)
