"""`batch-cancel check`, and what the operator's commands have in common: refusals and help."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest

from batch_cancel.adapters.sqlite import SqliteStore
from tests.integration.command_line import (
    COMMAND,
    Done,
    as_url,
    leave_the_log_alone,
    run,
    store,
)
from tests.integration.operator_commands import file
from tests.pairs import create_reference_tables
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers import RedisServer

__all__ = ["file", "leave_the_log_alone", "run", "store"]


def test_a_file_that_is_fit(run: Callable[..., Done], file: Path, store: str) -> None:
    """Exit code 0; and one that is missing is told once, and not made."""
    assert run("check", "--store", store) == (0, "store and scheduler are fit\n", "")
    missing = file.with_name("missing.db")
    assert run("check", "--store", f"sqlite:///{missing}") == (
        1,
        f"the SQLite file {str(missing)!r} does not exist, or its folder may not be written\n",
        "",
    )
    assert not missing.exists()


def test_what_is_missing_in_postgres_and_redis_is_reported(
    run: Callable[..., Done], postgres_schema: str, redis_to_break: RedisServer
) -> None:
    """Exit code 1 until both are fit; both are told of in one run."""
    urls = ["--store", as_url(postgres_schema), "--scheduler", f"native+{redis_to_break.url()}"]
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("DROP INDEX batch_contacts_open")
        redis_to_break.client.config_set("maxmemory-policy", "allkeys-lru")
        done = run("check", *urls)
        assert (done.code, done.err) == (1, "")
        first, second = done.out.splitlines()
        assert first.startswith("no index serves the cancel")
        assert second.startswith("Redis may evict deferred starts")
        assert run("check", *urls, "--json").body == {
            "fit": False,
            "store": [first],
            "scheduler": [second],
            "notes": [],
            "schedulerFault": None,
        }
        redis_to_break.client.config_set("maxmemory-policy", "noeviction")
        connection.execute("CREATE INDEX ON batch_contacts (batch_job_id)")
    assert run("check", *urls) == (0, "store and scheduler are fit\n", "")
    assert run("check", *urls, "--json").body == {
        "fit": True,
        "store": [],
        "scheduler": [],
        "notes": [],
        "schedulerFault": None,
    }


def test_servers_out_of_reach_are_reported(run: Callable[..., Done]) -> None:
    """Both of them, and nothing of their URLs."""
    done = run(
        "check",
        "--store",
        f"postgresql://ann:hunter2@127.0.0.1:{free_port()}/db",
        "--scheduler",
        f"native+redis+cluster://ann:hunter2@127.0.0.1:{free_port()}",
    )
    assert done.code == 7
    first, second = done.out.splitlines()
    assert first.startswith("Postgres can't be reached")
    assert second.startswith("the scheduler did not answer (")


# All of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["reconcile", "inspect", "check"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--store", "mysql://u:hunter2@h/d"], "--store must be a URL"),
        (["--store", "postgresql://h/d"], "--scheduler is needed with this store"),
        (["--store", "sqlite:///f", "--scheduler", "amqp://hunter2"], "--scheduler must be a URL"),
    ],
)
def test_a_wrong_url_is_exit_code_2(
    run: Callable[..., Done], command: str, arguments: list[str], sentence: str
) -> None:
    """Nothing is asked of anybody."""
    done = run(command, *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"batch-cancel: {sentence}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["reconcile", "--limit", "0"],
        ["reconcile", "--lease", "-1"],
        ["reconcile", "--lease", "nan"],
        ["reconcile", "--lease", "inf"],
        ["reconcile", "--lease", "2 m"],
        ["reconcile", "--lease", "25h"],
        ["reconcile", "--loop", "99ms"],
        ["inspect", "--limit", "many"],
        ["inspect"],
    ],
)
def test_a_wrong_option_is_exit_code_2(
    run: Callable[..., Done], store: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of anybody."""
    monkeypatch.delenv("BATCH_CANCEL_STORE", raising=False)
    known = ["--store", store] if len(arguments) > 1 else []
    done = run(*arguments, *known)
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("command", ["reconcile", "inspect"])
def test_a_store_that_fails_is_exit_code_5(
    run: Callable[..., Done], tmp_path: Path, command: str
) -> None:
    """One sentence, and nothing of the URL."""
    done = run(command, "--store", f"sqlite:///{tmp_path}/missing.db")
    assert (done.code, done.out) == (5, "")
    assert "does not exist" in done.err
    url = f"postgresql://ann:hunter2@127.0.0.1:{free_port()}/db"
    done = run(command, "--store", url, "--scheduler", "native+redis://127.0.0.1")
    assert (done.code, done.out) == (5, "")
    assert done.err.startswith("batch-cancel: Postgres can't be reached")


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_scheduler_that_does_not_answer_has_an_exit_code_of_its_own(
    run: Callable[..., Done], file: Path, store: str, scheme: str
) -> None:
    """Never "no drift"; what the store knows is reported, and that the scheduler is silent."""
    url = f"native+{scheme}://ann:hunter2@127.0.0.1:{free_port()}"
    urls = ["--store", store, "--scheduler", url]
    silent = r"the scheduler did not answer \(.+\): which deferred starts wait is not known\n"
    done = run("inspect", *urls)
    assert (done.code, done.err) == (7, "")
    assert re.fullmatch(silent, done.out)

    SqliteStore(file).add_job("open", "cancelled")
    SqliteStore(file).add_contacts("open", {"1": "pending"})
    done = run("inspect", *urls)
    assert done.code == 7
    assert re.fullmatch(
        "batch job 'open' is cancelled, but 1 contact is still open\n" + silent, done.out
    )
    body = run("inspect", *urls, "--json").body
    assert (body["drift"], body["startsSeen"]) == (True, False)
    assert body["schedulerFault"]

    done = run("check", *urls)
    assert (done.code, done.err) == (7, "")
    assert re.fullmatch(r"the scheduler did not answer \(.+\)\n", done.out)
    assert run("check", *urls, "--json").body["schedulerFault"] == body["schedulerFault"]


def test_an_empty_store_does_not_hide_a_scheduler_that_is_down(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    """There is no start to ask about, and it is asked all the same."""
    SqliteStore(tmp_path / "empty.db").add_job("running", "running")
    url = f"native+redis://127.0.0.1:{free_port()}"
    done = run("inspect", "--store", f"sqlite:///{tmp_path}/empty.db", "--scheduler", url)
    assert done.code == 7
    assert "no drift" not in done.out


def test_what_nobody_foresaw_is_one_sentence(
    run: Callable[..., Done], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its type, and nothing of what it says."""

    def begin(_: object) -> None:
        raise LookupError("hunter2")  # noqa: EM101  # It is the message that must not be shown.

    monkeypatch.setattr(SqliteStore, "begin", begin)
    for command in ("reconcile", "inspect"):
        assert run(command, "--store", store) == (
            5,
            "",
            "batch-cancel: unexpected error: LookupError\n",
        )


@pytest.mark.parametrize("command", ["reconcile", "inspect", "check"])
def test_a_reader_who_has_left_is_no_fault(store: str, command: str) -> None:
    """As in `batch-cancel ... | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, command, "--store", store], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        (
            "reconcile",
            [
                "0  no removal and no sweep is left pending, and no hook failed",
                "6  something is still pending; run it again",
            ],
        ),
        (
            "inspect",
            [
                "0  no drift in what was read; stderr says if a limit was met",
                "1  drift was found",
                "5  failed; stderr says why",
                "7  the scheduler did not answer; what the store knows is reported",
            ],
        ),
        (
            "check",
            [
                "0  both are fit; things that deserve review may be listed",
                "1  something is missing or slow; stdout says what",
                "7  the scheduler did not answer; what else was found is reported",
            ],
        ),
        (
            "expire-calls",
            [
                "0  they are ended, or the job has no such call",
                "3  this organization has no such job",
                "5  failed; stderr says why",
            ],
        ),
    ],
)
def test_the_help_lists_the_exit_codes(
    run: Callable[..., Done], command: str, codes: list[str]
) -> None:
    """A script's author finds them there."""
    done = run(command, "--help")
    assert (done.code, done.err) == (0, "")
    for code in codes:
        assert f"    {code}\n" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert re.search(rf"^  {command} ", run("--help").out, flags=re.MULTILINE)
