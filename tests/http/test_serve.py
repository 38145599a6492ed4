"""`batch-cancel serve`, run for real, and asked with curl's own words."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import batch_cancel

COMMAND = [sys.executable, "-c", "from batch_cancel.cli import main; main()", "serve"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the command on a free port, and give what it prints once it listens."""
    folder = tmp_path_factory.mktemp("serve")
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "", "TMPDIR": str(folder), "PYTHONPATH": _source()},
    )
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("Documentation"):
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()
    yield "".join(lines)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert not complaints
    assert not list(folder.iterdir())


def _source() -> str:
    return str(Path(batch_cancel.__file__).parents[1])


def base(told: str) -> str:
    """Return the URL that it listens on."""
    found = re.search(r"http://\S+:\d+", told)
    assert found is not None
    return found.group()


def curl(line: str) -> tuple[int, Any]:
    """Do what a line of curl says: the few options that documentation uses."""
    words = iter(shlex.split(line.replace("\\\n", " ")))
    assert next(words) == "curl"
    method, url, headers, body = "GET", "", {}, None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body, method = next(words), "POST"
        else:
            url = word
    answer = httpx.request(method, url, headers=headers, content=body)
    return answer.status_code, answer.json()


def test_what_it_prints_works(told: str) -> None:
    """Its own line of curl cancels the scheduled job; again, it is the contract's 400."""
    line = next(line for line in told.splitlines() if line.startswith("curl"))
    assert curl(line) == (
        200,
        {
            "success": True,
            "message": "Scheduled job cancelled successfully",
            "batchJobId": "batch_xyz789",
            "redisJobCancelled": True,
            "contactsCancelled": 100,
        },
    )
    assert curl(line) == (400, {"detail": "Cannot cancel job in 'cancelled' status"})


@pytest.mark.parametrize(
    ("job_id", "answer"),
    [
        (
            "batch_running",
            {
                "success": True,
                "message": "Job was already running - cancelled remaining contacts",
                "batchJobId": "batch_running",
                "redisJobCancelled": False,
                "contactsCancelled": 58,
            },
        ),
        (
            "batch_pending",
            {
                "success": True,
                "message": "Pending job cancelled successfully",
                "batchJobId": "batch_pending",
                "redisJobCancelled": False,
                "contactsCancelled": 58,
            },
        ),
        ("batch_completed", {"detail": "Cannot cancel job in 'completed' status"}),
        ("batch_none", {"detail": "Batch job not found"}),
    ],
)
def test_the_contracts_bodies(told: str, job_id: str, answer: object) -> None:
    """As documented, field for field."""
    line = (
        f"curl -X POST {base(told)}/batch/jobs/{job_id}/cancel -H 'Authorization: Bearer demo-key'"
    )
    assert curl(line)[1] == answer


def test_it_asks_for_the_key(told: str) -> None:
    """Like any other."""
    assert curl(f"curl -X POST {base(told)}/batch/jobs/batch_pending/cancel")[0] == 401


def test_it_serves_its_description(told: str) -> None:
    """For programs and for people."""
    assert httpx.get(f"{base(told)}/openapi.json").json()["openapi"] == "3.1.0"
    assert 'fetch("openapi.json")' in httpx.get(f"{base(told)}/docs").text


def test_the_page_shows_what_works(told: str) -> None:
    """Each line of curl in docs/http.md is answered, and none with a failure."""
    page = Path(__file__).parents[2].joinpath("docs", "http.md").read_text("utf-8")
    lines = re.findall(r"^    (curl (?:[^\n]*\\\n)*[^\n]*)", page, re.MULTILINE)
    assert lines
    for line in lines:
        status, body = curl(line.replace("http://127.0.0.1:8000", base(told)))
        assert status in {200, 400}, (line, json.dumps(body))


def test_a_port_that_is_taken_is_said_in_a_sentence(told: str) -> None:
    """And the exit code is that of a failure."""
    port = base(told).rpartition(":")[2]
    done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith(f"batch-cancel: can't listen on 127.0.0.1, port {port}")
    assert done.stderr.count("\n") == 1
