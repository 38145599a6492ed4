"""The command line on a file: answers, exit codes, plain sentences."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests.integration.command_line import (
    COMMAND,
    FAILED,
    NOT_FOUND,
    Done,
    file,
    leave_the_log_alone,
    run,
    spawn,
    status,
    store,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


__all__ = ["file", "leave_the_log_alone", "run", "store"]


def test_a_scheduled_job_is_cancelled(run: Callable[..., Done], file: Path, store: str) -> None:
    """The contract's body, byte for byte, and exit code 0."""
    done = run("cancel", "scheduled", "--store", store)
    assert done == (
        0,
        (
            '{"success": true, "message": "Scheduled job cancelled successfully", '
            '"batchJobId": "scheduled", "redisJobCancelled": true, "contactsCancelled": 2}\n'
        ),
        "",
    )
    assert status(file, "scheduled") == "cancelled"
    assert SqliteScheduler(file).waiting() == set()
    assert SqliteStore(file).contacts("scheduled") == {
        "1": "cancelled",
        "2": "cancelled",
        "3": "dialing",
        "4": "completed",
    }


@pytest.mark.parametrize(
    ("job_id", "message"),
    [
        ("pending", "Pending job cancelled successfully"),
        ("running", "Job was already running - cancelled remaining contacts"),
    ],
)
def test_a_pending_and_a_running_job_are_cancelled(
    run: Callable[..., Done], store: str, job_id: str, message: str
) -> None:
    """No deferred start is asked for."""
    done = run("cancel", job_id, "--store", store)
    assert (done.code, done.err) == (0, "")
    assert done.body == {
        "success": True,
        "message": message,
        "batchJobId": job_id,
        "redisJobCancelled": False,
        "contactsCancelled": 2,
    }


def test_an_unknown_job_is_exit_code_3(run: Callable[..., Done], store: str) -> None:
    """The hint is given to whoever did not name an organization."""
    done = run("cancel", "nope", "--store", store)
    assert (done.code, done.body) == (3, NOT_FOUND)
    assert done.sentence == (
        "there is no batch job 'nope' in this organization: name its organization with "
        "--organization, if it has one"
    )


def test_another_organizations_job_is_exit_code_3(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """None is an organization too, and no master key."""
    for arguments in ([], ["--organization", "other"], ["--organization", ""]):
        done = run("cancel", "owned", "--store", store, *arguments)
        assert (done.code, done.body) == (3, NOT_FOUND)
    assert status(file, "owned", "org") == "running"

    assert run("cancel", "owned", "--store", store, "--organization", "org").code == 0
    assert status(file, "owned", "org") == "cancelled"


def test_a_job_that_has_ended_is_exit_code_4(run: Callable[..., Done], store: str) -> None:
    """Whether it ended by itself or was cancelled; then the sentence says when."""
    done = run("cancel", "completed", "--store", store)
    assert (done.code, done.body) == (4, {"detail": "Cannot cancel job in 'completed' status"})
    assert done.sentence == "batch job 'completed' is already completed"

    run("cancel", "running", "--store", store)
    done = run("cancel", "running", "--store", store)

    assert (done.code, done.body) == (4, {"detail": "Cannot cancel job in 'cancelled' status"})
    assert re.fullmatch(
        r"batch job 'running' is already cancelled: cancelled at \S+ from running, 2 contacts",
        done.sentence,
    )


def test_the_same_operation_asked_again_gets_the_same_answer(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Who and why are kept."""
    arguments = ["cancel", "scheduled", "--store", store, "--operation-id", "op-1"]
    arguments += ["--actor", "ann", "--reason", "typo"]
    first = run(*arguments)
    assert first.code == 0
    assert run(*arguments) == first
    job = SqliteStore(file).job("scheduled")
    assert job is not None
    record = job.cancellation
    assert record is not None
    assert (record.operation_id, record.actor, record.reason) == ("op-1", "ann", "typo")


def test_a_status_that_nobody_knows_is_exit_code_5(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """It fails closed, and the sentence names the status."""
    done = run("cancel", "odd", "--store", store)
    assert (done.code, done.body) == (5, FAILED)
    assert "has the status 'paused', which is mapped to none of" in done.sentence
    assert "nothing was changed" in done.sentence
    assert status(file, "odd") == "paused"


def test_a_scheduler_out_of_reach_does_not_keep_a_job_from_being_cancelled(
    run: Callable[..., Done], file: Path, store: str, tmp_path: Path
) -> None:
    """Exit code 0, redisJobCancelled false, and a sentence that says what is left to do."""
    missing = f"sqlite:///{tmp_path}/missing.db"
    done = run("cancel", "scheduled", "--store", store, "--scheduler", missing)
    assert done.code == 0
    assert done.body["redisJobCancelled"] is False
    assert "the job is cancelled, but the scheduler did not confirm" in done.sentence
    assert "missing.db" in done.sentence
    assert done.sentence.endswith("once it answers, run `batch-cancel reconcile`")
    assert SqliteScheduler(file).waiting() == {"start"}
    assert not (tmp_path / "missing.db").exists()

    again = run("cancel", "scheduled", "--store", store)

    assert again.code == 4
    assert SqliteScheduler(file).waiting() == set()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--store", "nonsense"], "--store must be a URL: sqlite:///relative.db"),
        (["--store", "mysql://u:hunter2@h/d"], "--store must be a URL: sqlite:///relative.db"),
        (["--store", "sqlite://x.db"], "--store needs three slashes"),
        (["--store", "sqlite:///:memory:"], "--store: ':memory:' would be empty"),
        (["--store", "postgresql://h/d"], "--scheduler is needed with this store"),
        (["--store", "postgresql://u:hunter2%@h/d"], "--store is not a valid URL"),
        (["--store", "sqlite:///f", "--scheduler", "amqp://hunter2"], "--scheduler must be a URL"),
        (["--store", "sqlite:///f", "--operation-id", ""], "operation_id must be 1 to 1024 bytes"),
        (["--store", "sqlite:///f", "--reason", "x" * 4097], "reason must be 1 to 4096 bytes"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    run: Callable[..., Done], arguments: list[str], sentence: str
) -> None:
    """Nothing is asked of anybody, and nothing but a sentence is printed."""
    done = run("cancel", "j", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.sentence.startswith(sentence)
    assert "hunter2" not in done.err


def test_a_missing_option_is_exit_code_2(
    run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store must be named, on the command line or in the environment."""
    monkeypatch.delenv("BATCH_CANCEL_STORE", raising=False)
    done = run("cancel", "j")
    assert (done.code, done.out) == (2, "")
    assert "--store" in done.err
    assert "Traceback" not in done.err


def test_the_environment_may_name_store_and_scheduler(
    run: Callable[..., Done], store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There a password is not shown to all users of the machine."""
    SqliteScheduler(tmp_path / "starts.db").schedule("start", datetime.now(UTC))
    monkeypatch.setenv("BATCH_CANCEL_STORE", store)
    monkeypatch.setenv("BATCH_CANCEL_SCHEDULER", f"sqlite:///{tmp_path}/starts.db")
    done = run("cancel", "scheduled")
    assert done.body["redisJobCancelled"] is True
    assert SqliteScheduler(tmp_path / "starts.db").waiting() == set()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "does not exist, or its folder may not be written"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (lambda path: path.write_bytes(b"not a database\n" * 100), "is not a SQLite database"),
        (lambda path: path.touch(), "holds no batch jobs: is it the right file?"),
    ],
)
def test_a_file_that_is_no_store_is_exit_code_5(
    run: Callable[..., Done], tmp_path: Path, make: Callable[[Path], object], sentence: str
) -> None:
    """Nothing is made of it, and nothing is made where there was nothing."""
    path = tmp_path / "x.db"
    make(path)
    before = path.read_bytes() if path.is_file() else path.exists()
    done = run("cancel", "j", "--store", f"sqlite:///{path}")
    assert (done.code, done.body) == (5, FAILED)
    assert sentence in done.sentence
    assert done.sentence.endswith("nothing was changed")
    assert (path.read_bytes() if path.is_file() else path.exists()) == before


@pytest.mark.parametrize("job_id", [b"\xff\xfe", b"caf\xe9", "☎".encode(), b"", b"x" * 100_000])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_any_bytes_of_a_shell_are_just_an_unknown_id(
    store: str, job_id: bytes, encoding: str
) -> None:
    """Bytes that are no text of this machine's are no id of any job."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = spawn("cancel", job_id, "--store", store, env=environment)
    assert (done.code, done.body) == (3, NOT_FOUND)
    assert done.sentence.startswith("there is no batch job '")


def test_an_id_that_looks_like_an_option_comes_after_two_dashes(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """As everywhere."""
    SqliteStore(file).add_job("--help", "pending")
    assert run("cancel", "--store", store, "--", "--help").code == 0
    assert status(file, "--help") == "cancelled"


@pytest.mark.parametrize("arguments", [["cancel", "running"], ["schema", "--reference"], ["demo"]])
def test_a_reader_who_has_left_is_no_fault(file: Path, store: str, arguments: list[str]) -> None:
    """As in `batch-cancel ... | head -0`: nothing is said, and what was asked for is done."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "BATCH_CANCEL_STORE": store}
    done = subprocess.run(
        [*COMMAND, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert status(file, "running") == ("cancelled" if "cancel" in arguments else "running")


def test_an_answer_that_cannot_be_written_is_said(file: Path, store: str) -> None:
    """The job is cancelled all the same, and the exit code says so."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [*COMMAND, "cancel", "running", "--store", store],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 0
    assert done.stderr == (
        b"batch-cancel: the answer could not be written: No space left on device\n"
    )
    assert status(file, "running") == "cancelled"


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams_are_no_fault(file: Path, store: str, closed: str) -> None:
    """As in `batch-cancel ... >&-`."""
    shell = f'exec "$@" {closed}>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *COMMAND, "cancel", "completed", "--store", store],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 4
    assert b"Traceback" not in done.stderr
