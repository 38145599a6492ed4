"""`batch-cancel reconcile --loop`: pass after pass, in processes that are asked to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from typer import BadParameter

from batch_cancel import Removal, cancel_rows, cancellation_of
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli.durations import number
from tests.integration.command_line import COMMAND, Done, spawn, store
from tests.integration.operator_commands import file
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers import RedisServer

__all__ = ["file", "store"]

AT_ONCE = ("--lease", "0", "--loop", "0.1")

APP = """
import os, signal
from types import SimpleNamespace
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli.durations import number

class Scheduler(SqliteScheduler):
    def cancel(self, deferred_id, operation_id):
        answer = super().cancel(deferred_id, operation_id)
        os.kill(os.getpid(), signal.SIGTERM)
        return answer

def tell(result):
    with open("told", "a") as file:
        file.write(result.batch_job_id)
    os.kill(os.getpid(), signal.SIGTERM)

app = SimpleNamespace(uow=SqliteStore("jobs.db"), scheduler=Scheduler("jobs.db"))
telling = SimpleNamespace(
    uow=app.uow, scheduler=SqliteScheduler("jobs.db"), on_cancelled=tell
)

class Awaited:
    async def cancel(self, deferred_id, operation_id):
        return app.scheduler.cancel(deferred_id, operation_id)

def made():
    from contextlib import asynccontextmanager
    from batch_cancel.use_cases.run_blocking import BlockingStore
    store = BlockingStore(app.uow)
    class Store:
        @asynccontextmanager
        async def begin(self):
            async with store.begin() as repositories:
                yield repositories
    return SimpleNamespace(uow=Store(), scheduler=Awaited())
"""


class Running:
    """A loop that runs; its lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """Return the next line of stdout."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended"
        return line

    def stop(self, how: signal.Signals = signal.SIGTERM) -> Done:
        """Ask it to stop, and wait for its end."""
        self.process.send_signal(how)
        return self.end()

    def end(self) -> Done:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=60)
        return Done(self.process.returncode, out, err)


@contextmanager
def looping(*arguments: str, **options: Any) -> Generator[Running]:
    """Run the command line beside the test."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, "reconcile", *arguments], stdout=pipe, stderr=pipe, text=True, **options
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


def is_removed(file: Path, job_id: str) -> bool:
    """Check whether the record says that the deferred start was removed."""
    record = cancellation_of(job_id, uow=SqliteStore(file))
    assert record is not None
    return record.removal is Removal.REMOVED


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_each_pass_is_a_line_until_a_signal(store: str, file: Path, how: signal.Signals) -> None:
    """Exit code 0; what comes in between is taken by the next pass."""
    with looping("--store", store, *AT_ONCE) as it:
        assert it.line() == "0 taken; no removal is left pending\n"
        cancel_rows("a", uow=SqliteStore(file))
        wait_until(lambda: it.line() == "1 taken; no removal is left pending\n", "a pass takes it")
        assert is_removed(file, "a")
        done = it.stop(how)
    assert (done.code, done.err) == (0, "")
    assert set(done.out.splitlines()) <= {"0 taken; no removal is left pending"}


def test_a_pause_does_not_delay_the_end(store: str) -> None:
    """However long it is; a line of JSON is an object."""
    with looping("--store", store, "--loop", "3600", "--json") as it:
        body = json.loads(it.line())
        time.sleep(0.5)  # It has begun to wait.
        began = time.monotonic()
        done = it.stop()
    assert time.monotonic() - began < 20
    assert body == {
        "reconciled": [],
        "removalsPending": 0,
        "sweepsPending": 0,
        "hooksFailed": 0,
        "setBack": [],
    }
    assert done == (0, "", "")


@pytest.mark.parametrize("app", ["app", "made"])
def test_a_signal_ends_the_pass_after_the_current_record(
    tmp_path: Path, file: Path, app: str
) -> None:
    """The record's removal is noted; the others are left to a later pass."""
    (tmp_path / "wired.py").write_text(APP)
    for job_id in "abc":
        cancel_rows(job_id, uow=SqliteStore(file))
    with looping("--app", f"wired:{app}", *AT_ONCE, cwd=tmp_path) as it:
        done = it.end()
    assert (done.code, done.out) == (0, "")
    assert done.sentence == "stopped in the middle of a pass: a later one finishes the rest"
    assert [is_removed(file, job_id) for job_id in "abc"].count(True) == 1
    assert len(SqliteScheduler(file).waiting()) == 2


def test_a_signal_ends_the_pass_after_the_current_hook(tmp_path: Path, file: Path) -> None:
    """It is noted as called, and no other is called."""
    (tmp_path / "wired.py").write_text(APP)
    for job_id in "abc":
        cancel_rows(job_id, uow=SqliteStore(file), announce=True)
    with looping("--app", "wired:telling", *AT_ONCE, cwd=tmp_path) as it:
        assert it.end().code == 0
    told = (tmp_path / "told").read_text()
    records = {job_id: cancellation_of(job_id, uow=SqliteStore(file)) for job_id in "abc"}
    assert [it for it, record in records.items() if record and record.is_announced] == [told]


def test_a_store_that_is_away_is_tried_again(store: str, file: Path) -> None:
    """The pass that failed says why; the loop goes on."""
    with looping("--store", store, *AT_ONCE) as it:
        it.line()
        away = file.rename(file.with_suffix(".away"))
        assert it.process.stderr is not None
        failed = it.process.stderr.readline()
        away.rename(file)
        cancel_rows("a", uow=SqliteStore(file))
        wait_until(lambda: it.line() == "1 taken; no removal is left pending\n", "a pass takes it")
        assert it.stop().code == 0
    assert failed.startswith("batch-cancel: this pass failed (the SQLite file ")
    assert failed.endswith("; the next is in 0.1 s\n")


def test_a_redis_that_comes_back_is_asked_by_the_next_pass(
    redis_to_break: RedisServer, store: str, file: Path
) -> None:
    """It is down when the loop begins."""
    url = redis_to_break.url()
    starts = RedisScheduler(redis.Redis.from_url(url))
    starts.schedule("start-a", datetime.now(UTC) + timedelta(days=1))
    cancel_rows("a", uow=SqliteStore(file))
    redis_to_break.stop()
    with looping("--store", store, "--scheduler", f"native+{url}", *AT_ONCE) as it:
        first = it.line()
        redis_to_break.start()
        wait_until(lambda: it.line() == "1 taken; no removal is left pending\n", "Redis is asked")
        assert it.stop().code == 0
    assert first.startswith("1 taken; 1 removal is still pending; the scheduler did not confirm ")
    assert starts.waiting() == set()


def test_a_command_line_that_cannot_work_ends_the_loop(tmp_path: Path) -> None:
    """Exit code 2, as without the loop."""
    missing = f"sqlite:///{tmp_path / 'missing.db'}"
    environment = {**os.environ, "BATCH_CANCEL_STORE": missing}
    done = spawn("reconcile", "--loop", "0.1", "--app", "no:app", env=environment)
    assert (done.code, done.out) == (2, "")
    assert spawn("reconcile", "--loop", "0", "--store", missing).code == 2


@pytest.mark.parametrize("option", [("--loop", "nan"), ("--lease", "nan", "--loop", "1")])
def test_what_is_no_number_is_refused(store: str, option: tuple[str, ...]) -> None:
    """It is within any bounds for click: a loop of it would make no pause."""
    done = spawn("reconcile", "--store", store, *option)
    assert (done.code, done.out) == (2, "")
    with pytest.raises(BadParameter, match="nan is not a number"):
        number(float("nan"))
