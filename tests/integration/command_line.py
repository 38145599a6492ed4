"""The command line, run here or in a process of its own, on a file with a job of each kind."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


COMMAND = [sys.executable, "-W", "error", "-c", "from batch_cancel.cli import main; main()"]
FAILED = {"detail": "Failed to cancel batch job"}
NOT_FOUND = {"detail": "Batch job not found"}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """What the JSON on stdout holds: one object on one line, and nothing else."""
        assert self.out.endswith("}\n")
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one sentence on stderr."""
        assert self.err.startswith("batch-cancel: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        return self.err.removeprefix("batch-cancel: ").removesuffix("\n")


@pytest.fixture(autouse=True)
def leave_the_log_alone() -> Iterator[None]:
    """Take away the handlers that a command has added to the log."""
    logger = logging.getLogger("batch_cancel")
    handlers = list(logger.handlers)
    yield
    logger.handlers[:] = handlers


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Yield the command line, run within this process."""

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code or 0
        assert isinstance(code, int)
        told = capfd.readouterr()
        done = Done(code, told.out, told.err)
        assert "Traceback" not in done.err
        assert "hunter2" not in done.out + done.err
        return done

    return run


def main_in(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run the command line within this process, in a folder whose modules are its own."""
    logger = logging.getLogger("batch_cancel")
    handlers, variables = list(logger.handlers), dict(os.environ)
    importlib.invalidate_caches()
    out, err = io.StringIO(), io.StringIO()
    try:
        for name in variables:
            if "BATCH_CANCEL" in name:
                del os.environ[name]
        os.environ.update(environment)
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main(arguments)
    finally:
        os.environ.clear()
        os.environ.update(variables)
        logger.handlers[:] = handlers
        for path in folder.glob("*.py"):
            sys.modules.pop(path.stem, None)
    code = ended.value.code or 0
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())


def spawn(*arguments: str | bytes, **options: Any) -> Done:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, encoding="utf-8", check=False, **options
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Yield a file with a job of each kind, and their deferred start."""
    file = tmp_path / "jobs.db"
    store = SqliteStore(file)
    store.add_job("scheduled", "scheduled", deferred_id="start")
    store.add_job("pending", "pending")
    store.add_job("running", "running")
    store.add_job("completed", "completed")
    store.add_job("odd", "paused")
    store.add_job("owned", "running", "org")
    for job in ("scheduled", "pending", "running", "completed"):
        store.add_contacts(job, {"1": "pending", "2": "busy", "3": "dialing", "4": "completed"})
    SqliteScheduler(file).schedule("start", datetime.now(UTC) + timedelta(days=1))
    return file


@pytest.fixture
def store(file: Path) -> str:
    """Name the file by its URL."""
    return f"sqlite:///{file}"


def status(file: Path, job_id: str, organization_id: str | None = None) -> str | None:
    """Return a job's status."""
    job = SqliteStore(file).job(job_id, organization_id)
    assert job is not None
    return job.status


def as_url(dsn: str) -> str:
    """Spell a connection string as a URL."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn), quote_via=quote)}"
