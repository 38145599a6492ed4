"""The operator's commands, run on a file with three scheduled jobs."""

from __future__ import annotations

import json
import logging
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
    from collections.abc import Callable, Generator
    from pathlib import Path


COMMAND = [sys.executable, "-W", "error", "-c", "from batch_cancel.cli import main; main()"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """What the JSON on stdout holds: one object on one line, and nothing else."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def leave_the_log_alone() -> Generator[None]:
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


def spawn(*arguments: str) -> Done:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Yield a file with scheduled jobs a, b and c, whose deferred starts wait."""
    store, starts = SqliteStore(tmp_path / "jobs.db"), SqliteScheduler(tmp_path / "jobs.db")
    for job_id in "abc":
        store.add_job(job_id, "scheduled", deferred_id=f"start-{job_id}")
        store.add_contacts(job_id, {"1": "pending"})
        starts.schedule(f"start-{job_id}", datetime.now(UTC) + timedelta(days=1))
    return tmp_path / "jobs.db"


@pytest.fixture
def store(file: Path) -> str:
    """Name the file by its URL."""
    return f"sqlite:///{file}"


def as_url(dsn: str) -> str:
    """Spell a connection string as a URL."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn), quote_via=quote)}"
