"""The files of examples/operation are read as their programs read them, and their lines run."""

from __future__ import annotations

import importlib
import shlex
import shutil
import signal
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import cancel_rows
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests.integration.command_line import COMMAND
from tests.integration.operator_commands import file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["file"]

FILES = Path(__file__).parents[2] / "examples" / "operation"
PROGRAM = "/opt/app/.venv/bin/batch-cancel"
UNITS = sorted(FILES.glob("systemd/*"))
MANIFESTS = sorted(FILES.glob("kubernetes/*.yaml"))


def unit(path: Path) -> RawConfigParser:
    """Read a unit of systemd."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # Names keep their case.
    parser.read_string(path.read_text("utf-8"))
    return parser


def pod(path: Path) -> dict[str, Any]:
    """Read the pod of a manifest."""
    yaml: Any = importlib.import_module("yaml")
    manifest = yaml.safe_load(path.read_text("utf-8"))
    assert (
        manifest["apiVersion"]
        == {"Deployment": "apps/v1", "CronJob": "batch/v1"}[manifest["kind"]]
    )
    spec: dict[str, Any] = manifest["spec"]
    if manifest["kind"] == "CronJob":
        assert spec["schedule"] == "* * * * *"
        return dict(spec["jobTemplate"]["spec"]["template"]["spec"])
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    return dict(spec["template"]["spec"])


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Yield the words of each command after the program, and the file that has it."""
    for path in UNITS:
        if path.suffix == ".service":
            program, *words = shlex.split(unit(path)["Service"]["ExecStart"])
            assert program == PROGRAM
            yield path.name, words
    for line in (FILES / "cron" / "batch-cancel").read_text("utf-8").splitlines():
        if line.startswith("*"):
            assert line.split()[:5] == ["*"] * 5
            _user, program, *words = shlex.split(line.partition(">")[0])[5:]
            assert program == PROGRAM
            yield "cron", words
    for path in MANIFESTS:
        [container] = pod(path)["containers"]
        assert container["command"] == ["batch-cancel"]
        assert [it["name"] for it in container["env"]] == [
            "BATCH_CANCEL_STORE",
            "BATCH_CANCEL_SCHEDULER",
        ]
        yield path.name, container["args"]


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=name) for name, words in command_lines()]
)
def test_each_command_line_finishes_what_is_pending(words: list[str], file: Path) -> None:
    """With its ports from the environment; one that loops ends with SIGTERM, and with 0."""
    cancel_rows("a", uow=SqliteStore(file))
    words = [*words, "--lease", "0"]
    with subprocess.Popen(
        [*COMMAND, *words],
        env={"PYTHONPATH": ":".join(sys.path), "BATCH_CANCEL_STORE": f"sqlite:///{file}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if "--loop" in words:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert first in {
        "batch job 'a': its deferred start was removed\n",
        "1 taken; no removal is left pending\n",
    }
    assert SqliteScheduler(file).waiting() == {"start-b", "start-c"}


def test_the_units_are_valid(tmp_path: Path) -> None:
    """As systemd itself says, where it is installed; a timer runs the service of its name."""
    program = tmp_path / "batch-cancel"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS:
        given = unit(path)
        assert given["Unit"]["Description"]
        if path.suffix == ".timer":
            assert path.with_suffix(".service") in UNITS
        text = path.read_text("utf-8").replace(PROGRAM, str(program))
        (tmp_path / path.name).write_text(text)
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", *(str(tmp_path / path.name) for path in UNITS)],
            capture_output=True,
            text=True,
            check=False,
        )
        ours = [line for line in done.stderr.splitlines() if "batch-cancel" in line]
        assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_pod_has_the_time_to_end(path: Path) -> None:
    """A loop may finish its record; a pass ends, and is not repeated within the minute."""
    spec = pod(path)
    [container] = spec["containers"]
    assert container["securityContext"]["runAsNonRoot"] is True
    if "--loop" in container["args"]:
        assert spec["terminationGracePeriodSeconds"] == 60
    else:
        assert spec["restartPolicy"] == "Never"
