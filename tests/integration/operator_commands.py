"""A file with three scheduled jobs, for the operator's commands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Yield a file with scheduled jobs a, b and c, whose deferred starts wait."""
    store, starts = SqliteStore(tmp_path / "jobs.db"), SqliteScheduler(tmp_path / "jobs.db")
    for job_id in "abc":
        store.add_job(job_id, "scheduled", deferred_id=f"start-{job_id}")
        store.add_contacts(job_id, {"1": "pending"})
        starts.schedule(f"start-{job_id}", datetime.now(UTC) + timedelta(days=1))
    return tmp_path / "jobs.db"
