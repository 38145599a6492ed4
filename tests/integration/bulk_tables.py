"""Tables of many jobs on Postgres, and how the tests cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from batch_cancel import (
    BulkResult,
    JobFilter,
    cancel_jobs,
    cancel_jobs_async,
)
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork
from tests.integration.own_tables import (
    Blocking,
    Half,
)
from tests.pairs import create_reference_tables

AT = datetime(2026, 1, 1, tzinfo=UTC)
ALL = JobFilter(statuses=["scheduled", "pending", "running"])


def bulk(half: Half, uow: Any, jobs: Any, **more: Any) -> BulkResult:
    """Cancel jobs by one half, with a scheduler that knows no start."""
    named: dict[str, Any] = {"operation_id": "op"} | more
    if isinstance(half, Blocking):
        return cancel_jobs(jobs, uow=uow, scheduler=MemoryScheduler(), **named)
    scheduler = AsyncMemoryScheduler()
    return asyncio.run(cancel_jobs_async(jobs, uow=uow, scheduler=scheduler, **named))


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to the reference tables."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        yield connection


def uow_of(dsn: str, **names: Any) -> PostgresUnitOfWork:
    """Return a unit of work."""
    return PostgresUnitOfWork(lambda: psycopg.connect(dsn), PostgresSchema(**names))


def fill(rows: psycopg.Connection[Any], jobs: int, contacts: int) -> None:
    """Add scheduled jobs, with pending contacts, the last one first."""
    rows.execute(
        "INSERT INTO batch_jobs (id, status, scheduled_job_id) SELECT 'job-' || lpad(n::text, 4, "
        "'0'), 'scheduled', 'start-' || lpad(n::text, 4, '0') "
        "FROM generate_series(%s, 0, -1) AS n",
        [jobs - 1],
    )
    rows.execute(
        "INSERT INTO batch_contacts (batch_job_id, status) "
        "SELECT id, 'pending' FROM batch_jobs, generate_series(1, %s)",
        [contacts],
    )
    rows.execute("ANALYZE batch_jobs, batch_contacts")


def counted(rows: psycopg.Connection[Any], table: str) -> dict[str, int]:
    """Return how many rows of a table are in each status."""
    found = rows.execute(f"SELECT status, count(*) FROM {table} GROUP BY 1".encode()).fetchall()
    return dict(found)
