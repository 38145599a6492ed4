"""The help of the command line, its version and its demo."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.command_line import Done, leave_the_log_alone, run, spawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


__all__ = ["leave_the_log_alone", "run"]


def test_the_help_of_cancel_lists_the_exit_codes(run: Callable[..., Done]) -> None:
    """A script's author finds them there."""
    done = run("cancel", "--help")
    assert (done.code, done.err) == (0, "")
    for line in (
        "0  cancelled",
        "2  the command line is wrong; nothing was done",
        "3  this organization has no such job",
        "4  the job has already ended: completed, failed or cancelled",
        "5  failed; stderr says whether anything was changed",
    ):
        assert f"    {line}\n" in done.out
    for option in ("--store", "--scheduler", "--organization", "--operation-id", "--actor"):
        assert option in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_help_and_version(run: Callable[..., Done]) -> None:
    """Each command has its line; the version is the package's."""
    done = run("--help")
    assert done.code == 0
    for command in ("cancel", "schema", "demo"):
        assert re.search(rf"^  {command} ", done.out, flags=re.MULTILINE)
    assert re.fullmatch(r"batch-cancel \d+\.\d+\.\d+(\.dev\d+)?\n", run("--version").out)


def test_the_demo_shows_each_answer_and_each_contact(tmp_path: Path) -> None:
    """Questions, answers, and what became of a contact in every status; no file stays behind."""
    done = spawn("demo", env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "80"})
    assert (done.code, done.err) == (0, "")
    assert list(tmp_path.iterdir()) == []

    asked = re.findall(r"POST /batch/jobs/(\S+)/cancel\n  (\d+)\n", done.out)
    assert asked == [
        ("demo-scheduled", "200"),
        ("demo-pending", "200"),
        ("demo-running", "200"),
        ("demo-completed", "400"),
        ("demo-scheduled", "400"),
        ("demo-missing", "404"),
    ]
    for sentence in (
        '"message": "Scheduled job cancelled successfully"',
        '"message": "Pending job cancelled successfully"',
        '"message": "Job was already running - cancelled remaining contacts"',
        '"contactsCancelled": 5',
        '"detail": "Cannot cancel job in \'completed\' status"',
        '"detail": "Cannot cancel job in \'cancelled\' status"',
        '"detail": "Batch job not found"',
    ):
        assert sentence in done.out
    changed, same = ("-> cancelled",) * 3, ("same",) * 3
    for contact in ("pending", "queued", "no_answer", "busy", "timeout"):
        assert _row(done.out, contact) == (*changed, "same")
    for contact in (
        *("dialing", "completed", "failed", "blocked", "invalid_number", "carrier_error"),
        *("cancelled", "voicemail"),
    ):
        assert _row(done.out, contact) == (*same, "same")
    assert "waiting before: start-of-demo-scheduled; after: none" in done.out


def test_the_demo_is_plain_text_where_nothing_else_can_be_shown() -> None:
    """No colours into a pipe, no frames that ASCII lacks, no line beyond the width."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "LC_ALL": "C"}
    for encoding in ("ascii", "utf-8"):
        done = spawn("demo", env={**environment, "PYTHONIOENCODING": encoding})
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "\\u" not in done.out
        assert "…" not in done.out
        assert max(map(len, done.out.splitlines())) <= 80
        assert done.out.isascii() is (encoding == "ascii")


def test_the_demo_is_readable_in_half_a_terminal() -> None:
    """Words are broken before anything is lost."""
    done = spawn("demo", env={**os.environ, "COLUMNS": "40", "NO_COLOR": "1"})
    assert done.code == 0
    assert "…" not in done.out


def test_a_demo_without_a_place_to_write_is_one_sentence(
    tmp_path: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is missing."""
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
        done = run("demo")
    assert (done.code, done.out) == (5, "")
    assert done.sentence.startswith("the demo needs a writable temporary folder")


def _row(text: str, contact: str) -> tuple[str, ...]:
    [line] = [line for line in text.splitlines() if line.split()[:1] == [contact]]
    return tuple(re.split(r"\s{2,}", line.strip())[1:])
