"""`batch-cancel cancel-many`: what it asks, shows and does, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel.adapters.sqlite import SqliteStore
from batch_cancel.cli.exits import OF_NO_ORGANIZATION
from tests.integration.command_line import (
    COMMAND,
    Done,
    file,
    leave_the_log_alone,
    main_in,
    run,
    spawn,
    status,
    store,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["file", "leave_the_log_alone", "run", "store"]

EVERY = ("--status", "scheduled", "--status", "pending", "--status", "running")
NONE = {"removed": 0, "absent": 0, "pending": 0, "not_applicable": 0}


def lines(done: Done) -> list[Any]:
    """Return the JSON objects on stdout."""
    return [json.loads(line) for line in done.out.splitlines()]


def statuses(file: Path) -> list[str | None]:
    """Return the status of each job."""
    jobs = ("scheduled", "pending", "running", "completed", "odd")
    return [*(status(file, job) for job in jobs), status(file, "owned", "org")]


UNTOUCHED = ["scheduled", "pending", "running", "completed", "paused", "running"]


def test_a_filter_cancels_what_it_finds(run: Callable[..., Done], file: Path, store: str) -> None:
    """JSON lines: the beginning, each slice, the end."""
    more = ("--yes", "--expect", "3", "--operation-id", "op", "--actor", "ann")
    done = run("cancel-many", *EVERY, "--store", store, *more)
    assert (done.code, done.err) == (0, "")
    begun, slice_, end = lines(done)
    expected = {
        "operationId": "op",
        "jobs": 3,
        "left": 0,
        "cancelled": 3,
        "replayed": 0,
        "refused": {},
        "notFound": 0,
        "failed": 0,
        "contactsCancelled": 6,
        "removals": {"removed": 1, "absent": 0, "pending": 0, "not_applicable": 2},
    }
    assert begun == expected | {
        "left": 3,
        "cancelled": 0,
        "contactsCancelled": 0,
        "removals": NONE,
    }
    assert slice_ == expected
    assert end == expected | {"failures": []}
    assert statuses(file) == [*["cancelled"] * 3, "completed", "paused", "running"]
    job = SqliteStore(file).job("running")
    assert job is not None
    assert job.cancellation is not None
    assert job.cancellation.actor == "ann"


def test_ids_have_the_exit_code_of_the_worst(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """As one would have it: not found, ended, failed."""
    done = run("cancel-many", "running", "running", "--store", store, "--yes")
    assert (done.code, lines(done)[-1]["jobs"]) == (0, 1)
    done = run("cancel-many", "pending", "completed", "running", "--store", store, "--yes")
    assert (done.code, done.err) == (4, "")
    assert lines(done)[-1]["refused"] == {"completed": 1, "cancelled": 1}
    done = run("cancel-many", "no", "completed", "--store", store, "--yes")
    assert (done.code, lines(done)[-1]["notFound"]) == (3, 1)
    assert done.sentence == OF_NO_ORGANIZATION
    done = run("cancel-many", "no", "odd", "scheduled", "--store", store, "--yes")
    assert done.code == 5
    assert lines(done)[-1]["failures"] == [
        {
            "batchJobId": "odd",
            "error": "batch job 'odd' has the status 'paused', which is mapped to none of "
            "scheduled, pending, running, completed, failed, cancelled; nothing was changed",
        }
    ]
    assert "batch-cancel: batch job 'odd' has the status" in done.err
    again = (
        "fix the cause, and try those that failed again by the same command and --operation-id "
    )
    assert again in done.err
    assert status(file, "scheduled") == "cancelled"


@pytest.mark.parametrize("command", ["cancel-many", "history"])
def test_an_organization_without_a_name_is_refused(
    run: Callable[..., Done], file: Path, store: str, command: str
) -> None:
    """A variable of the shell that is not set would find nothing, and say that all is done."""
    done = run(*command.split(), "--organization", "", "--store", store)
    assert (done.code, done.out) == (2, "")
    assert "it is empty: name an organization, or leave the option out" in done.err
    assert statuses(file) == UNTOUCHED


def test_nothing_is_done_unless_it_is_confirmed(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """A pipe can't confirm; another number than expected is refused, with --yes as well."""
    done = spawn("cancel-many", *EVERY, "--store", store, input="y\n")
    assert (done.code, done.out) == (2, "")
    assert done.sentence.startswith("3 jobs would be cancelled permanently, and stdin is no")
    for more in (("--yes",), ("--dry-run",)):
        done = run("cancel-many", *EVERY, "--store", store, "--expect", "4", *more)
        assert (done.code, done.out) == (2, "")
        assert done.sentence == "--expect 4: there are 3 jobs; nothing was done"
    assert statuses(file) == UNTOUCHED


def test_what_was_expected_at_first_is_not_what_is_left(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """An operation that goes on finds fewer jobs by its filter; ids it counts as before."""
    named = ("--store", store, "--yes", "--operation-id", "op")
    assert run("cancel-many", "running", *named).code == 0
    done = run("cancel-many", *EVERY, *named, "--expect", "3")
    assert (done.code, done.out) == (2, "")
    assert done.sentence == (
        "--expect 3: there are 2 jobs; nothing was done: those that this operation has cancelled "
        "are not found again; leave --expect out to go on with the rest"
    )
    assert statuses(file)[:2] == ["scheduled", "pending"]
    for more in (("--expect", "1"), ("--expect", "4", "--dry-run")):
        done = run("cancel-many", *EVERY, *named, *more)
        assert (done.code, "go on" in done.sentence) == (2, "4" in more)
    done = run("cancel-many", "running", "pending", *named, "--expect", "3")
    assert done.sentence == "--expect 3: there are 2 jobs; nothing was done"
    assert run("cancel-many", "running", "pending", *named, "--expect", "2").code == 0


def test_nothing_to_do_needs_no_confirmation(run: Callable[..., Done], store: str) -> None:
    """A filter may find no job."""
    done = run("cancel-many", "--organization", "nobody", "--store", store)
    assert (done.code, lines(done)[-1]["jobs"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "name the jobs by their ids, or by --organization, --status or a time"),
        (("--status", "completed"), "statuses must be some of scheduled, pending, running"),
        (("job", "--status", "running"), "name the jobs by their ids, or by a filter, not by"),
        (("--status", "running", "--yes", "--reason", ""), "reason must be 1 to 4096 bytes"),
    ],
)
def test_a_wrong_command_line_does_nothing(
    run: Callable[..., Done], file: Path, store: str, arguments: tuple[str, ...], sentence: str
) -> None:
    """And says why."""
    done = run("cancel-many", *arguments, "--store", store)
    assert done.code == 2
    assert done.sentence.startswith(sentence)
    assert statuses(file) == UNTOUCHED


def test_a_time_that_the_store_does_not_hold_is_refused(
    run: Callable[..., Done], store: str
) -> None:
    """In a sentence."""
    done = run("cancel-many", "--scheduled-before", "2999-01-01", "--store", store, "--yes")
    assert (done.code, done.out) == (5, "")
    assert done.sentence.startswith("a SQLite file does not hold the time when a job is to start")


def test_times_bound_what_is_found(run: Callable[..., Done], store: str) -> None:
    """Created before and after."""
    old = ("--created-before", "1d", "--dry-run", "--json", "--store", store)
    assert run("cancel-many", *old).body["jobs"] == 0
    new = ("--created-after", "1d", "--dry-run", "--json", "--store", store)
    assert run("cancel-many", *new).body["jobs"] == 3


def test_a_dry_run_counts_and_changes_nothing(
    run: Callable[..., Done], file: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly, up to a number of jobs; then what it found is the least."""
    done = run("cancel-many", *EVERY, "--store", store, "--dry-run")
    assert done == (
        0,
        (
            "jobs: 3; nothing was changed\n"
            "jobs that would be cancelled: 3\n"
            "contacts that would be cancelled: 6\n"
            "deferred starts that would be removed: 1\n"
        ),
        "",
    )
    ids = ("scheduled", "completed", "no", "odd")
    done = run("cancel-many", *ids, "--store", store, "--dry-run", "--json")
    assert done.body == {
        "dryRun": True,
        "jobs": 4,
        "lookedAt": 4,
        "exact": True,
        "jobsToCancel": 1,
        "contactsToCancel": 2,
        "startsToRemove": 1,
        "refused": 2,
        "notFound": 1,
    }
    assert run("cancel-many", *ids, "--store", store, "--dry-run").out == (
        "jobs: 4; nothing was changed\n"
        "jobs that would be cancelled: 1\n"
        "contacts that would be cancelled: 2\n"
        "deferred starts that would be removed: 1\n"
        "jobs that would be refused: 2\n"
        "not found in this organization: 1\n"
    )
    monkeypatch.setattr("batch_cancel.cli.bulk_calls.LOOKED_AT_MAX", 2)
    done = run("cancel-many", *EVERY, "--store", store, "--dry-run")
    assert done.out == (
        "jobs: 3; nothing was changed\n"
        "jobs that would be cancelled: at least 2\n"
        "contacts that would be cancelled: at least 4\n"
        "deferred starts that would be removed: at least 0\n"
        "only 2 of the jobs were looked at\n"
    )
    assert statuses(file) == UNTOUCHED


def test_a_removal_that_is_not_confirmed_is_said(run: Callable[..., Done], store: str) -> None:
    """The job is cancelled, so the exit code is that of success."""
    scheduler = "native+redis://127.0.0.1:1/0"
    done = run("cancel-many", "scheduled", "--store", store, "--scheduler", scheduler, "--yes")
    assert (done.code, lines(done)[-1]["removals"]) == (0, NONE | {"pending": 1})
    assert done.sentence.startswith(
        "1 deferred starts were not confirmed to be removed (Redis did not answer"
    )
    assert done.sentence.endswith("): once the scheduler answers, run `batch-cancel reconcile`")


APP = """
from types import SimpleNamespace
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore

def hook(result):
    if result.batch_job_id == "running":
        raise KeyboardInterrupt

app = SimpleNamespace(
    uow=SqliteStore({path!r}), scheduler=SqliteScheduler({path!r}), on_cancelled=hook
)
"""


def test_an_interrupted_command_says_how_to_go_on(file: Path, tmp_path: Path) -> None:
    """By the same operation; what is cancelled stays so."""
    (tmp_path / "wiring.py").write_text(APP.format(path=str(file)))
    arguments = ("cancel-many", *EVERY, "--app", "wiring:app", "--yes", "--operation-id", "op")
    done = main_in(tmp_path, *arguments)
    assert (done.code, len(lines(done))) == (130, 1)
    assert done.sentence == ("interrupted: go on by the same command and --operation-id op")
    with closing(sqlite3.connect(file, isolation_level=None)) as rows:
        rows.execute("UPDATE batch_jobs SET status = 'running' WHERE id = 'running'")
    long = "o" * 90  # No bar may break the line.
    arguments = (*arguments[:-1], long)
    code, shown = on_a_terminal(*arguments, types="", folder=tmp_path)
    assert code == 130
    assert f"interrupted: go on by the same command and --operation-id {long}\r\n" in shown
    assert statuses(file)[:3] == ["cancelled"] * 3


def on_a_terminal(*arguments: str, types: str, folder: Path | None = None) -> tuple[int, str]:
    """Run the command on a terminal, and type there; return the exit code and what it shows."""
    ours, theirs = pty.openpty()
    environment = dict(os.environ, TERM="xterm", COLUMNS="100", NO_COLOR="1")
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=folder,
    ) as process:
        os.close(theirs)
        os.write(ours, types.encode())
        shown = b""
        while True:
            ready, _, _ = select.select([ours], [], [], 60)
            assert ready, shown
            try:
                part = os.read(ours, 65_536)
            except OSError:  # Linux' way to say that the other end is closed.
                break
            if not part:
                break
            shown += part
        code = process.wait(60)
    os.close(ours)
    return code, shown.decode()


def test_a_terminal_is_asked_and_shown_a_bar(file: Path, store: str) -> None:
    """No is an answer, too."""
    code, shown = on_a_terminal("cancel-many", *EVERY, "--store", store, types="n\n")
    assert code == 2
    assert "Cancel 3 jobs permanently? [y/N]:" in shown
    assert "not confirmed; nothing was done" in shown
    assert statuses(file) == UNTOUCHED
    code, shown = on_a_terminal("cancel-many", *EVERY, "--store", store, types="y\n")
    assert code == 0
    assert "if this is interrupted, go on by the same command and --operation-id" in shown
    assert "jobs ━" in shown
    assert "3/3" in shown
    assert "3 of 3 jobs cancelled; contacts cancelled: 6" in shown


def test_what_is_left_out_is_said_in_sentences(file: Path, store: str) -> None:
    """On a terminal: replays, refusals, what is not there, what failed."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "CREATE TRIGGER keep BEFORE UPDATE ON batch_jobs WHEN new.id = 'pending' "
            "BEGIN SELECT raise(IGNORE); END"
        )
    named = ("--store", store, "--operation-id", "op", "--yes")
    assert spawn("cancel-many", "running", *named).code == 0
    jobs = ("scheduled", "pending", "running", "completed", "no")
    code, shown = on_a_terminal("cancel-many", *jobs, *named, types="")
    assert code == 5
    for sentence in (
        "operation 'op': 1 of 5 jobs cancelled; contacts cancelled: 2",
        "cancelled before by this operation: 1",
        "refused, because they are completed already: 1",
        "not found in this organization: 1",
        "failed: 1",
    ):
        assert sentence in shown
