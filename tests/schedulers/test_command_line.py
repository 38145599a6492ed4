"""
The command line where the starts are another library's: it never settles what it did not remove.

The lines are those of docs/operations.md, run as they stand there; only the two addresses are
those of the servers of the tests.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from batch_cancel import Removal, cancel_job
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.redis import RedisScheduler
from tests.pairs import create_reference_tables
from tests.processes import HOST, free_port
from tests.schedulers.catalogue import LIBRARIES
from tests.schedulers.rig import Rig
from tests.servers import RedisServer

COMMAND = [sys.executable, "-W", "error", "-c", "from batch_cancel.cli import main; main()"]
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
LINES = re.findall(r"^    batch-cancel (reconcile .*)$", PAGE, flags=re.MULTILINE)
STORE, REDIS = "postgresql://localhost/app", "redis://localhost"
HOUR_SECONDS = 3600


@pytest.fixture(scope="module", params=["native", "arq", "rq"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Yield a library's client; nothing fires."""
    library = LIBRARIES[request.param]
    with RedisServer.own() as server, Rig(library, {"redis": server.url()}) as rig:
        yield rig


@pytest.fixture
def owing(rig: Rig, postgres_schema: str) -> str:
    """Return the URL of a store whose cancelled job owes a removal, for longer than the lease."""
    rig.schedule("start", time.time() + HOUR_SECONDS)
    assert waits(rig)
    with psycopg.connect(postgres_schema, autocommit=True) as rows:
        create_reference_tables(rows)
        rows.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id)"
            " VALUES ('job', 'scheduled', 'start')"
        )
        with redis.Redis(host=HOST, port=free_port()) as nobody:
            result = cancel_job(
                "job",
                uow=PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema)),
                scheduler=RedisScheduler(nobody),
            )
        assert result.removal is Removal.PENDING
        rows.execute("UPDATE batch_cancellations SET taken_at = taken_at - interval '1 hour'")
    return f"postgresql:///?{urlencode(conninfo_to_dict(postgres_schema), quote_via=quote)}"


def waits(rig: Rig) -> bool:
    """Check whether the start waits where its library keeps it."""
    keys = {"arq": "arq:queue", "rq": "rq:scheduled:default", "native": "{bc:0}:due"}
    return rig.redis.zscore(keys[rig.library.name], "start") is not None


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def address(rig: Rig) -> str:
    """Return the URL of the library's Redis, as its own client would take it."""
    options = rig.redis.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/0"


@pytest.mark.repeats
def test_a_url_that_names_no_library_settles_nothing(rig: Rig, owing: str) -> None:
    """It used to be taken for the native store's: exit code 0, the start of arq still queued."""
    code, out, err = run("reconcile", "--store", owing, "--scheduler", address(rig))
    assert (code, out) == (2, "")
    for library in ("native+redis://", "arq+redis://", "rq+redis://", "saq+redis://"):
        assert library in err
    assert waits(rig)
    assert removal(owing) == "pending"


def test_the_line_of_the_page_removes_what_is_pending(rig: Rig, owing: str) -> None:
    """As it stands there."""
    [line] = [line for line in LINES if f"--scheduler {rig.library.name}+{REDIS}" in line]
    assert STORE in line
    line = line.replace(STORE, shlex.quote(owing)).replace(REDIS, address(rig))
    assert run(*shlex.split(line)) == (
        0,
        "batch job 'job': its deferred start was removed\nno removal is left pending\n",
        "",
    )
    assert not waits(rig)
    assert removal(owing) == "removed"


def removal(url: str) -> str:
    """Return what the cancellation's record says of the removal."""
    with psycopg.connect(url) as rows:
        found = rows.execute("SELECT removal FROM batch_cancellations").fetchone()
    assert found is not None
    return str(found[0])
