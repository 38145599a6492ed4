"""One SQLite file, several processes: they take turns, and whoever dies leaves no half a job."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batch_cancel import cancel_job
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

_PRELUDE = """
import json, sys, threading
from datetime import UTC, datetime, timedelta
from batch_cancel import AlreadyTerminal, ContactStatus, JobKey, cancel_job
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore

path, name = sys.argv[1:]
patience = {"busy_timeout_seconds": 60}  # The machine may be busy with other tests.
store, scheduler = SqliteStore(path, **patience), SqliteScheduler(path, **patience)
def wait_for_the_others():
    print("ready", flush=True)
    sys.stdin.readline()
"""

_CANCEL_IN_TWO_THREADS = """
answers, barrier = [], threading.Barrier(2)
def work():
    barrier.wait()
    try:
        result = cancel_job("j", uow=store, scheduler=scheduler)
        answers.append([200, result.contacts_cancelled, result.redis_job_cancelled])
    except AlreadyTerminal as error:
        answers.append([400, error.contacts_cancelled, str(error.status)])
threads = [threading.Thread(target=work) for _ in range(2)]
wait_for_the_others()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(answers))
"""

_OPEN_A_FRESH_FILE = """
wait_for_the_others()
store.add_job(name, "pending")
store.add_contacts(name, {"1": "queued"})
scheduler.schedule(name, datetime.now(UTC) + timedelta(days=1))
print(json.dumps(cancel_job(name, uow=store, scheduler=scheduler).contacts_cancelled))
"""

_CLAIM_EVERYTHING = """
wait_for_the_others()
claimed = []
while starts := scheduler.claim(3, timedelta(hours=1)):
    for start in starts:
        claimed.append(start.deferred_id)
        scheduler.ack(start.deferred_id, start.token)  # False if it was cancelled meanwhile.
print(json.dumps(claimed))
"""

_CANCEL_EVERY_START = """
wait_for_the_others()
print(json.dumps([f"d{n}" for n in range(40) if scheduler.cancel(f"d{n}", "op-" + name)]))
"""

_STOP_BEFORE_THE_COMMIT = """
with store.begin() as repositories:
    job = repositories.jobs.lock(JobKey("j"))
    assert repositories.contacts.cancel(JobKey("j"), frozenset({ContactStatus.PENDING})) == 1
    wait_for_the_others()
    raise AssertionError("it was to be killed")
"""


def run_at_once(path: Path, scripts: list[str]) -> list[object]:
    """Start a process for each script, let all go on at once, and give their answers."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(start(path, script, f"p{number}"))
            for number, script in enumerate(scripts)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate() for process in processes]
        assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(out) for out, _ in answers]


def start(path: Path, script: str, name: str) -> subprocess.Popen[str]:
    """Start one process."""
    command = [sys.executable, "-W", "error", "-c", _PRELUDE + script, str(path), name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "jobs.db"


@pytest.mark.parametrize("_round", range(3))
def test_of_many_cancels_of_one_job_exactly_one_succeeds(path: Path, _round: int) -> None:
    """Two threads in each of two processes; the others are told that it is cancelled, and how."""
    store, scheduler = SqliteStore(path), SqliteScheduler(path)
    store.add_job("j", "scheduled", deferred_id="d")
    store.add_contacts("j", {"1": "pending", "2": "queued", "3": "dialing"})
    scheduler.schedule("d", datetime.now(UTC) + timedelta(days=1))

    answers = run_at_once(path, [_CANCEL_IN_TWO_THREADS] * 2)

    told = sorted(answer for process in answers for answer in process)  # type: ignore[attr-defined]
    assert [answer[:2] for answer in told] == [[200, 2], [400, 2], [400, 2], [400, 2]]
    assert {answer[2] for answer in told[1:]} == {"cancelled"}
    assert store.contacts("j") == {"1": "cancelled", "2": "cancelled", "3": "dialing"}
    assert scheduler.waiting() == set()


def test_ten_processes_may_open_a_fresh_file_at_once(path: Path) -> None:
    """Each finds or makes the tables, and all their work is there afterwards."""
    assert run_at_once(path, [_OPEN_A_FRESH_FILE] * 10) == [1] * 10

    store = SqliteStore(path, create=False)
    for number in range(10):
        job = store.job(f"p{number}")
        assert job is not None
        assert job.status == "cancelled"
        assert store.contacts(f"p{number}") == {"1": "cancelled"}
    assert SqliteScheduler(path).waiting() == {f"p{number}" for number in range(10)}


def test_each_start_goes_to_one_claim_or_to_one_cancel(path: Path) -> None:
    """Two processes claim while two others cancel: nothing goes twice, nothing is lost."""
    scheduler = SqliteScheduler(path)
    ids = {f"d{number}" for number in range(40)}
    for deferred_id in ids:
        scheduler.schedule(deferred_id, datetime.now(UTC) - timedelta(seconds=1))

    answers = run_at_once(path, [_CLAIM_EVERYTHING, _CANCEL_EVERY_START] * 2)

    handed_over = [deferred_id for answer in answers for deferred_id in answer]  # type: ignore[attr-defined]
    assert sorted(handed_over) == sorted(ids)
    assert scheduler.waiting() == set()


def test_whoever_is_killed_before_the_commit_has_changed_nothing(path: Path) -> None:
    """And holds nobody up: the file is free, and the cancel works."""
    store = SqliteStore(path, busy_timeout_seconds=0)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending"})
    with start(path, _STOP_BEFORE_THE_COMMIT, "victim") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.communicate()

    assert store.contacts("j") == {"1": "pending"}
    result = cancel_job("j", uow=store, scheduler=SqliteScheduler(path))
    assert result.contacts_cancelled == 1
