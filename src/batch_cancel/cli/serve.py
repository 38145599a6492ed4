"""A server to try the endpoint: seeded jobs in its own SQLite file, and a key."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from batch_cancel import ContactStatus, JobStatus, cancel_job
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli import output
from batch_cancel.http.api_keys import ApiKeys, Principal

KEY: Final = "demo-key"

_ORGANIZATION: Final = "demo"
_JOBS: Final = (
    ("batch_xyz789", JobStatus.SCHEDULED, 100),
    ("batch_pending", JobStatus.PENDING, 58),
    ("batch_running", JobStatus.RUNNING, 58),
    ("batch_completed", JobStatus.COMPLETED, 0),
)
"""Each with the contacts that still wait for a call."""


def serve(host: str, port: int) -> None:
    """
    Serve until interrupted; the file is removed afterwards.

    Arguments:
        host: the address to listen on.
        port: the port; 0 takes a free one.

    Raises:
        OSError: the port or the temporary folder is not available.
    """
    with (
        socket.create_server((host, port)) as listening,
        tempfile.TemporaryDirectory(prefix="batch-cancel-serve-") as folder,
    ):
        app = _seeded(Path(folder) / "demo.db")
        _announce(host, listening.getsockname()[1])
        # The socket listens already: a client that connects before uvicorn is up waits a moment.
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])


def _seeded(file: Path) -> AsgiApp:
    store, scheduler = SqliteStore(file), SqliteScheduler(file)
    for job_id, status, contacts in _JOBS:
        deferred_id = f"start-of-{job_id}" if status is JobStatus.SCHEDULED else None
        store.add_job(job_id, status.value, _ORGANIZATION, deferred_id)
        waiting = {f"contact-{number}": ContactStatus.PENDING.value for number in range(contacts)}
        called = {"contact-called": ContactStatus.COMPLETED.value}
        store.add_contacts(job_id, waiting | called, _ORGANIZATION)
        if deferred_id is not None:
            scheduler.schedule(deferred_id, datetime.now(UTC) + timedelta(hours=1))
    keys = ApiKeys({KEY: Principal("demo", _ORGANIZATION, may_cancel=True)})
    cancel = partial(cancel_job, uow=store, scheduler=scheduler)
    return AsgiApp(partial(asyncio.to_thread, cancel), keys)


def _announce(host: str, port: int) -> None:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    jobs = "\n".join(f"  {job_id:16} {status}" for job_id, status, _ in _JOBS)
    output.answer(
        f"Listening on {url} until Ctrl-C; the jobs are in a file that is removed then.\n\n"
        f"{jobs}\n\n"
        f"curl -X POST {url}/batch/jobs/batch_xyz789/cancel -H 'Authorization: Bearer {KEY}'\n\n"
        f"Documentation: {url}/docs\n"
    )
