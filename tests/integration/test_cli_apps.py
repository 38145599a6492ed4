"""The command line on an application's own wiring: `--app module:name`, and `--schema`."""

from __future__ import annotations

import functools
import gc
import json
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis

from batch_cancel import cancel_rows
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests.integration.command_line import Done, main_in
from tests.pairs import create_reference_tables
from tests.processes import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMAND = [sys.executable, "-W", "error", "-c", "from batch_cancel.cli import main; main()"]
# Clients of an application are its own to close; the process ends with the command.
COMMAND[3:3] = ["-W", "ignore::ResourceWarning"]

BLOCKING = """
from types import SimpleNamespace
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore

def tell(result):
    with open("told", "a") as file:
        print(result.batch_job_id, file=file)

uow, scheduler = SqliteStore("jobs.db", create=False), SqliteScheduler("jobs.db", create=False)
app = SimpleNamespace(uow=uow, scheduler=scheduler, on_cancelled=tell)
plain = SimpleNamespace(uow=uow, scheduler=scheduler)

def make():
    return app

async def make_later():
    return app

class Settings:
    uow = uow
    scheduler = scheduler

class nested:
    app = app
"""

ASYNCIO = """
from contextlib import asynccontextmanager
from types import SimpleNamespace
import asyncio, os
import psycopg, redis.asyncio
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler

async def tell(result):
    await asyncio.sleep(0)
    with open("told", "a") as file:
        print(result.batch_job_id, file=file)

client = redis.asyncio.Redis.from_url(os.environ["REDIS"])
uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(os.environ["DSN"]))
app = SimpleNamespace(uow=uow, scheduler=AsyncRedisScheduler(client), on_cancelled=tell)

async def make():
    asyncio.get_running_loop()
    return app
"""


def started(folder: Path, *arguments: str, source: str = BLOCKING, **environment: str) -> Done:
    """Run the command line in a process of its own, in a folder with these modules."""
    (folder / "wired.py").write_text(textwrap.dedent(source))
    clean = {name: it for name, it in os.environ.items() if "BATCH_CANCEL" not in name}
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**clean, **environment},
        check=False,
    )
    return checked(Done(done.returncode, done.stdout, done.stderr))


def called(folder: Path, *arguments: str, source: str = BLOCKING, **environment: str) -> Done:
    """Run the command line within this process, in a folder with these modules."""
    (folder / "wired.py").write_text(textwrap.dedent(source))
    return checked(main_in(folder, *arguments, **environment))


def checked(done: Done) -> Done:
    """Return how a command ended; whatever it was, nothing is shown that nobody may see."""
    assert "Traceback" not in done.err
    assert "hunter2" not in done.out + done.err
    return done


@pytest.fixture(params=[called, pytest.param(started, marks=pytest.mark.repeats)])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Done]:
    """Return the command line; to start a process for each costs most of its time."""
    return functools.partial(request.param, tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Yield a file with scheduled jobs a and b, whose deferred starts wait."""
    store, starts = SqliteStore(tmp_path / "jobs.db"), SqliteScheduler(tmp_path / "jobs.db")
    for job_id in "ab":
        store.add_job(job_id, "scheduled", deferred_id=f"start-{job_id}")
        store.add_contacts(job_id, {"1": "pending"})
        starts.schedule(f"start-{job_id}", datetime.now(UTC) + timedelta(days=1))
    return tmp_path / "jobs.db"


# What is named -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["app", "make", "make_later", "Settings", "nested.app"])
def test_an_object_or_a_function_that_returns_one(
    run: Callable[..., Done], file: Path, name: str
) -> None:
    """From the current directory; the answer is the contract's."""
    done = run("cancel", "a", "--app", f"wired:{name}")
    assert (done.code, done.err) == (0, "")
    assert done.body["redisJobCancelled"] is True
    assert SqliteScheduler(file).waiting() == {"start-b"}


def test_every_command_takes_it(run: Callable[..., Done], file: Path) -> None:
    """On the command line, or in the environment."""
    app = {"BATCH_CANCEL_APP": "wired:app"}
    assert run("check", **app) == (0, "store and scheduler are fit\n", "")
    assert run("inspect", **app) == (0, "no drift: database and scheduler agree\n", "")
    assert run("reconcile", **app) == (0, "no removal is left pending, and no hook failed\n", "")
    assert run("doctor", **app).code == 0
    assert run("expire-calls", "a", "--older-than", "4h", **app).code == 0
    assert run("expire-calls", "x", "--older-than", "4h", **app).code == 3
    assert run("cancel", "x", "--app", "wired:app").code == 3
    assert run("cancel", "a", "--app", "wired:app").code == 0
    assert run("cancel", "a", "--app", "wired:app").code == 4


def test_reconcile_calls_the_hook_of_the_application(
    run: Callable[..., Done], file: Path, tmp_path: Path
) -> None:
    """An application without one leaves the announcement owed."""
    cancel_rows("a", uow=SqliteStore(file), announce=True)
    reconcile = ["reconcile", "--lease", "0", "--app"]
    done = run(*reconcile, "wired:plain")
    assert done == (
        0,
        "batch job 'a': its deferred start was removed\nno removal is left pending\n",
        "",
    )
    assert not (tmp_path / "told").exists()
    assert run(*reconcile, "wired:app").code == 0
    assert run(*reconcile, "wired:app").code == 0
    assert (tmp_path / "told").read_text() == "a\n"


def test_a_hook_that_fails_leaves_its_announcement_pending(
    run: Callable[..., Done], file: Path
) -> None:
    """Exit code 6, and the removal is done."""
    cancel_rows("a", uow=SqliteStore(file), announce=True)
    broken = f"{BLOCKING}\ndef fail(_): raise ValueError('hunter2')\napp.on_cancelled = fail\n"
    done = run("reconcile", "--lease", "0", "--app", "wired:app", source=broken)
    assert (done.code, done.out) == (
        6,
        (
            "batch job 'a': its deferred start was removed\n1 hook is still pending: "
            "on_cancelled failed\n"
        ),
    )
    assert (
        done.err == "batch-cancel: on_cancelled failed (ValueError)\nbatch-cancel: run it again\n"
    )
    assert SqliteScheduler(file).waiting() == {"start-b"}


def test_a_hook_that_fails_for_many_jobs_is_told_of(run: Callable[..., Done], file: Path) -> None:
    """The jobs are cancelled, and a reconcile calls it again."""
    broken = f"{BLOCKING}\ndef fail(_): raise ValueError('hunter2')\napp.on_cancelled = fail\n"
    done = run("cancel-many", "a", "b", "--yes", "--app", "wired:app", source=broken)
    assert (done.code, done.err) == (
        0,
        (
            "batch-cancel: on_cancelled failed 2 times, the last time with ValueError; "
            "`batch-cancel reconcile` calls it again\n"
        ),
    )
    assert json.loads(done.out.splitlines()[-1])["cancelled"] == 2


def test_a_hook_whose_body_does_not_run_leaves_its_announcement_pending(
    run: Callable[..., Done], file: Path
) -> None:
    """It returns a generator, which a check before the call cannot see."""
    cancel_rows("a", uow=SqliteStore(file), announce=True)
    lazy = f"{BLOCKING}\ndef notes(_): yield\napp.on_cancelled = lambda it: notes(it)\n"
    done = run("reconcile", "--lease", "0", "--app", "wired:app", source=lazy)
    assert done.code == 6
    assert "1 hook is still pending: on_cancelled failed" in done.out
    assert "it returned a generator" in done.err


def test_a_cancel_whose_hook_fails_says_so(run: Callable[..., Done], file: Path) -> None:
    """The job is cancelled; what the exception holds is not shown."""
    broken = f"{BLOCKING}\ndef fail(_): raise ValueError('hunter2')\napp.on_cancelled = fail\n"
    done = run("cancel", "a", "--app", "wired:app", source=broken)
    assert (done.code, done.err) == (
        0,
        (
            "batch-cancel: the job is cancelled, but on_cancelled failed (ValueError); "
            "`batch-cancel reconcile` calls it again\n"
        ),
    )


@pytest.mark.parametrize("command", [("cancel", "a"), ("reconcile", "--lease", "0")])
def test_a_hook_that_exits_is_no_success(
    run: Callable[..., Done], file: Path, command: tuple[str, ...]
) -> None:
    """Whatever its code was, the command did not do all that it was to do."""
    if command[0] == "reconcile":
        cancel_rows("a", uow=SqliteStore(file), announce=True)
    leaving = f"{BLOCKING}\ndef leave(_): raise SystemExit(0)\napp.on_cancelled = leave\n"
    done = run(*command, "--app", "wired:app", source=leaving)
    sentence = (
        "batch-cancel: the application raised SystemExit, so the command did not finish: run "
        "reconcile with an application that does not\n"
    )
    assert done == (5, "", sentence)


def test_a_scheduler_that_answers_with_no_bool_is_named(
    run: Callable[..., Done], file: Path
) -> None:
    """The removal stays owed, and the sentence says why."""
    odd = f"{BLOCKING}\nclass Odd:\n    def cancel(self, *_): return 1\napp.scheduler = Odd()\n"
    done = run("cancel", "a", "--app", "wired:app", source=odd)
    assert "(it answered with int, not with a bool)" in done.err
    done = run("reconcile", "--lease", "0", "--app", "wired:app", source=odd)
    assert done.code == 6
    assert "(it answered with int, not with a bool)" in done.err


# The connection to Redis is the application's own to close, which ends with its process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["app", "make"])
def test_an_asyncio_application(
    postgres_schema: str,
    redis_database: str,
    run: Callable[..., Done],
    tmp_path: Path,
    name: str,
) -> None:
    """Each command under one event loop; its hook is awaited."""
    with psycopg.connect(postgres_schema, autocommit=True) as rows:
        create_reference_tables(rows)
        rows.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES"
            " ('a', 'scheduled', 'start-a'), ('b', 'scheduled', 'start-b')"
        )
    with redis.Redis.from_url(redis_database) as client:
        starts = RedisScheduler(client)
        for job_id in "ab":
            starts.schedule(f"start-{job_id}", datetime.now(UTC) + timedelta(days=1))

        def asked(*arguments: str) -> Done:
            places = {"DSN": postgres_schema, "REDIS": redis_database}
            return run(*arguments, "--app", f"wired:{name}", source=ASYNCIO, **places)

        assert asked("check").code == 0
        assert asked("inspect") == (0, "no drift: database and scheduler agree\n", "")
        cancelled = asked("cancel", "a")
        assert (cancelled.code, cancelled.err) == (0, "")
        assert cancelled.body["redisJobCancelled"] is True
        with psycopg.connect(postgres_schema) as rows:
            rows.execute(
                "UPDATE batch_cancellations SET removal = 'pending', is_announced = false"
            )
        assert asked("inspect").code == 1
        assert asked("reconcile", "--lease", "0").out == (
            "batch job 'a': its deferred start was removed\n"
            "no removal is left pending, and no hook failed\n"
        )
        assert (tmp_path / "told").read_text() == "a\na\n"
        assert asked("doctor").code == 0
        assert asked("expire-calls", "b", "--older-than", "4h").code == 0
        assert asked("expire-calls", "x", "--older-than", "4h").code == 3
        assert asked("cancel", "a").code == 4
        assert starts.waiting() == {"start-b"}
    gc.collect()  # Now, so that no later test is told of what the application left open.


def test_a_blocking_application_runs_without_an_event_loop(
    run: Callable[..., Done], file: Path
) -> None:
    """Django refuses to work beside one."""
    del file
    source = f"""{BLOCKING}
import asyncio

class Shy(SqliteStore):
    def begin(self):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return super().begin()
        raise SystemExit("a loop runs")

app.uow = Shy("jobs.db", create=False)
"""
    for command in (["cancel", "a"], ["reconcile"], ["inspect"], ["check"]):
        assert run(*command, "--app", "wired:make", source=source).code == 0


def test_a_scheduler_that_sees_nothing_and_cannot_be_checked_is_said(
    run: Callable[..., Done], file: Path
) -> None:
    """The rest is reported."""
    SqliteStore(file).add_job("nameless", "scheduled")
    source = f"""{BLOCKING}
class Own:
    def cancel(self, deferred_id, operation_id):
        return True
app.scheduler = Own()
"""
    done = run("inspect", "--app", "wired:app", source=source)
    assert done == (
        1,
        (
            "batch job 'nameless' is scheduled, but names no deferred start: it will not be "
            "started\nthis scheduler cannot report which deferred starts wait: they were not "
            "checked\n"
        ),
        "",
    )
    assert run("check", "--app", "wired:app", source=source) == (
        0,
        (
            "store and scheduler are fit\nWorth a look:\n"
            "  the scheduler was not checked: Own has no check()\n"
        ),
        "",
    )


def test_an_application_whose_scheduler_is_down(run: Callable[..., Done], file: Path) -> None:
    """Exit code 7; the cancel succeeds, and says why the removal is owed."""
    del file
    source = f"""{BLOCKING}
import redis
from batch_cancel.adapters.redis import RedisScheduler
app.scheduler = RedisScheduler(redis.Redis.from_url("redis://:hunter2@{HOST}:{free_port()}"))
"""
    for command in ("inspect", "check"):
        done = run(command, "--app", "wired:app", source=source)
        assert (done.code, "no drift" in done.out) == (7, False)
    done = run("cancel", "a", "--app", "wired:app", source=source)
    assert done.code == 0
    assert "did not confirm the removal of its deferred start (Redis did not" in done.err
    assert run("reconcile", "--lease", "0", "--app", "wired:app", source=source).code == 6
