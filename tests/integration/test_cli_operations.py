"""The operator's commands against real stores and schedulers: reconcile, inspect and check."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from batch_cancel import cancel_rows
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli import main
from tests.pairs import create_reference_tables
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from tests.redis_topologies import RedisCluster
    from tests.servers import RedisServer

COMMAND = [sys.executable, "-W", "error", "-c", "from batch_cancel.cli import main; main()"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """What the JSON on stdout holds: one object on one line, and nothing else."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _leave_the_log_alone() -> Generator[None]:
    logger = logging.getLogger("batch_cancel")
    handlers = list(logger.handlers)
    yield
    logger.handlers[:] = handlers


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Lend the command line, run within this process."""

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        code = ended.value.code or 0
        assert isinstance(code, int)
        told = capfd.readouterr()
        done = Done(code, told.out, told.err)
        assert "Traceback" not in done.err
        assert "hunter2" not in done.out + done.err
        return done

    return run


def spawn(*arguments: str) -> Done:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Lend a file with scheduled jobs a, b and c, whose deferred starts wait."""
    store, starts = SqliteStore(tmp_path / "jobs.db"), SqliteScheduler(tmp_path / "jobs.db")
    for job_id in "abc":
        store.add_job(job_id, "scheduled", deferred_id=f"start-{job_id}")
        store.add_contacts(job_id, {"1": "pending"})
        starts.schedule(f"start-{job_id}", datetime.now(UTC) + timedelta(days=1))
    return tmp_path / "jobs.db"


@pytest.fixture
def store(file: Path) -> str:
    """Name the file by its URL."""
    return f"sqlite:///{file}"


# reconcile ---------------------------------------------------------------------------------------


def test_nothing_owed_is_said(run: Callable[..., Done], store: str) -> None:
    """Exit code 0."""
    assert run("reconcile", "--store", store) == (0, "no removal is left owed\n", "")


def test_what_is_owed_is_finished_and_said(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """A sentence for each job, and one for what is left."""
    for job_id in "ab":
        cancel_rows(job_id, uow=SqliteStore(file), actor="ann@example.com", reason="wrong list")
    SqliteScheduler(file).cancel("start-b", "another operation")

    done = run("reconcile", "--store", store, "--lease", "0")

    assert done == (
        0,
        (
            "batch job 'a': its deferred start was taken back\n"
            "batch job 'b': there was no deferred start left to take back\n"
            "no removal is left owed\n"
        ),
        "",
    )
    assert SqliteScheduler(file).waiting() == {"start-c"}
    assert run("reconcile", "--store", store, "--lease", "0").out == "no removal is left owed\n"


def test_reconcile_answers_a_program_with_json(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """The wire's names; neither actor nor reason."""
    cancel_rows("a", uow=SqliteStore(file), operation_id="op", actor="ann", reason="typo")

    done = run("reconcile", "--store", store, "--lease", "0", "--json")

    [entry] = done.body["reconciled"]
    assert datetime.fromisoformat(entry.pop("cancelledAt")).utcoffset() == timedelta(0)
    assert done == (0, done.out, "")
    assert (entry, done.body["removalsPending"]) == (
        {"batchJobId": "a", "operationId": "op", "removal": "removed"},
        0,
    )


def test_what_somebody_may_still_be_at_is_left_to_him(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Exit code 6, and how to take it up all the same."""
    cancel_rows("a", uow=SqliteStore(file))
    done = run("reconcile", "--store", store)
    assert done == (
        6,
        "1 removal is still owed\n",
        (
            "batch-cancel: what was cancelled or taken up less than 120 s ago is left to whoever "
            "did that: run it again later, or with --lease 0\n"
        ),
    )
    assert SqliteScheduler(file).waiting() == {"start-a", "start-b", "start-c"}


def test_more_than_the_limit_is_left_for_the_next_run(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Exit code 6 until nothing is left."""
    for job_id in "abc":
        cancel_rows(job_id, uow=SqliteStore(file))
    arguments = ["reconcile", "--store", store, "--lease", "0", "--limit", "2"]
    done = run(*arguments)
    assert (done.code, done.out.splitlines()[-1]) == (6, "1 removal is still owed")
    assert done.err == "batch-cancel: run it again\n"
    assert run(*arguments).code == 0
    assert SqliteScheduler(file).waiting() == set()


def test_a_redis_that_is_down_leaves_it_owed(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Exit code 6, and why; nothing of the URL."""
    for number in range(3):
        SqliteStore(file).add_job(f"job-{number}", "scheduled", deferred_id="d")
        cancel_rows(f"job-{number}", uow=SqliteStore(file))
    url = f"native+redis://ann:hunter2@127.0.0.1:{free_port()}"

    done = run("reconcile", "--store", store, "--scheduler", url, "--lease", "0")

    assert done.code == 6
    assert "batch job 'job-0': its deferred start could not be taken back yet\n" in done.out
    assert done.out.endswith("3 removals are still owed\n")
    assert "the scheduler did not confirm every removal (Redis gave no answer within" in done.err
    assert done.err.endswith("batch-cancel: run it again\n")


def test_a_redis_that_comes_back_is_asked_again_by_the_next_run(
    run: Callable[..., Done], redis_to_break: RedisServer, store: str
) -> None:
    """
    The last promise of issue 3, cancel and reconcile being processes of their own.

    Redis stopped: the cancel answers 200 with redisJobCancelled false, in time. Redis back:
    reconcile leaves no deferred start, and says so.
    """
    urls = ["--store", store, "--scheduler", f"native+{redis_to_break.url()}"]
    starts = RedisScheduler(redis.Redis.from_url(redis_to_break.url()))
    starts.schedule("start-a", datetime.now(UTC) + timedelta(days=1))
    redis_to_break.stop()

    cancelled = spawn("cancel", "a", *urls, "--operation-id", "op")

    assert cancelled.code == 0
    assert cancelled.body == {
        "success": True,
        "message": "Scheduled job cancelled successfully",
        "batchJobId": "a",
        "redisJobCancelled": False,
        "contactsCancelled": 1,
    }
    assert "the job is cancelled, but the scheduler did not confirm" in cancelled.err
    assert run("reconcile", *urls, "--lease", "0").code == 6

    redis_to_break.start()
    assert starts.waiting() == {"start-a"}
    found = run("inspect", *urls)
    assert found.code == 1
    assert (
        "batch job 'a' is cancelled, but its deferred start 'start-a' still waits\n" in found.out
    )

    finished = spawn("reconcile", *urls, "--lease", "0")

    assert finished == (
        0,
        "batch job 'a': its deferred start was taken back\nno removal is left owed\n",
        "",
    )
    assert starts.waiting() == set()
    again = run("cancel", "a", *urls, "--operation-id", "op")
    assert again.body["redisJobCancelled"] is True


def test_reconcile_on_postgres_with_a_redis_cluster(
    run: Callable[..., Done], postgres_schema: str, redis_cluster: RedisCluster
) -> None:
    """The same, whatever they are; an organization's job as well."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "VALUES ('j', 'org', 'scheduled', 'of-the-cluster')"
        )
    urls = ["--store", as_url(postgres_schema)]
    nowhere = ["--scheduler", f"native+redis://127.0.0.1:{free_port()}"]
    there = ["--scheduler", redis_cluster.url.replace("redis://", "native+redis+cluster://")]
    with redis.RedisCluster.from_url(redis_cluster.url) as client:
        RedisScheduler(client).schedule("of-the-cluster", datetime.now(UTC) + timedelta(days=1))
        assert run("cancel", "j", "--organization", "org", *urls, *nowhere).code == 0
        assert "batch job 'j' of organization 'org'" in run("inspect", *urls, *there).out
        assert run("reconcile", *urls, *there, "--lease", "0").out == (
            "batch job 'j': its deferred start was taken back\nno removal is left owed\n"
        )
        assert RedisScheduler(client).waiting() == set()
    assert run("inspect", *urls, *there) == (0, "no drift: database and scheduler agree\n", "")


# inspect -----------------------------------------------------------------------------------------


def test_no_drift_is_said(run: Callable[..., Done], store: str) -> None:
    """Exit code 0."""
    done = run("inspect", "--store", store)
    assert done == (0, "no drift: database and scheduler agree\n", "")
    assert run("inspect", "--store", store, "--json").body == {
        "drift": False,
        "partial": False,
        "startsSeen": True,
        "schedulerFault": None,
        "removalsPending": [],
        "startsWaiting": [],
        "startsMissing": [],
        "contactsOpen": [],
        "callsOverdue": [],
    }


@pytest.fixture
def drifted(file: Path) -> Path:
    """Lend a file with one drift of each kind."""
    store, starts = SqliteStore(file), SqliteScheduler(file)
    cancel_rows("a", uow=store, operation_id="op", actor="ann", reason="typo")
    starts.cancel("start-a", "op")
    store.add_job("waits", "cancelled", "org", deferred_id="old")
    starts.schedule("old", datetime.now(UTC) + timedelta(days=1))
    store.add_job("lost", "scheduled", deferred_id="gone")
    store.add_job("nameless", "scheduled")
    store.add_job("open", "cancelled")
    store.add_contacts("open", {"1": "pending", "2": "busy", "3": "dialing"})
    store.add_job("live", "running", "org")
    store.add_contacts("live", {"young": "dialing"}, "org")
    for contact_id, age in (("old", timedelta(hours=5)), ("older", timedelta(days=2))):
        store.add_contacts("live", {contact_id: "dialing"}, "org", since=datetime.now(UTC) - age)
    return file


def test_each_drift_has_its_sentence(run: Callable[..., Done], drifted: Path) -> None:
    """Exit code 1; nothing is changed, so a second look finds the same."""
    before = drifted.read_bytes()
    done = run("inspect", "--store", f"sqlite:///{drifted}")
    assert (done.code, done.err) == (1, "")
    first, *rest = done.out.splitlines()
    assert re.fullmatch(
        r"batch job 'a' was cancelled at \S+, and the removal of its deferred start 'start-a' is "
        r"still owed",
        first,
    )
    assert rest == [
        (
            "batch job 'waits' of organization 'org' is cancelled, but its deferred start 'old' "
            "still waits"
        ),
        (
            "batch job 'lost' is scheduled, but its deferred start 'gone' does not wait: nothing "
            "will start it"
        ),
        "batch job 'nameless' is scheduled, but names no deferred start: nothing will start it",
        "batch job 'open' is cancelled, but 2 contacts are still open",
        (
            "batch job 'live' of organization 'org' has calls that have been live for more than "
            "4:00:00: 2; if their workers are dead, end them with `batch-cancel expire-calls`"
        ),
    ]
    assert run("inspect", "--store", f"sqlite:///{drifted}") == done
    assert drifted.read_bytes() == before


def test_inspect_answers_a_program_with_json(run: Callable[..., Done], drifted: Path) -> None:
    """The wire's names; neither actor nor reason."""
    done = run("inspect", "--store", f"sqlite:///{drifted}", "--json")
    assert (done.code, done.err) == (1, "")
    body = done.body
    assert body["removalsPending"][0].pop("cancelledAt")
    assert body == {
        "drift": True,
        "partial": False,
        "startsSeen": True,
        "schedulerFault": None,
        "removalsPending": [
            {
                "batchJobId": "a",
                "organizationId": None,
                "deferredId": "start-a",
                "operationId": "op",
            }
        ],
        "startsWaiting": [{"batchJobId": "waits", "organizationId": "org", "deferredId": "old"}],
        "startsMissing": [
            {"batchJobId": "lost", "organizationId": None, "deferredId": "gone"},
            {"batchJobId": "nameless", "organizationId": None, "deferredId": None},
        ],
        "contactsOpen": [{"batchJobId": "open", "organizationId": None, "contacts": 2}],
        "callsOverdue": [{"batchJobId": "live", "organizationId": "org", "contacts": 2}],
    }


def test_how_long_a_call_may_be_live_is_the_callers_to_say(
    run: Callable[..., Done], drifted: Path
) -> None:
    """In seconds, or with a unit."""
    for age, contacts in (("1d", 1), ("172000", 1), ("3600s", 2), ("100d", 0)):
        arguments = ["--store", f"sqlite:///{drifted}", "--json", "--calls-older-than", age]
        overdue = run("inspect", *arguments).body["callsOverdue"]
        assert [it["contacts"] for it in overdue] == ([contacts] if contacts else [])


# expire-calls ------------------------------------------------------------------------------------


def test_calls_of_dead_workers_are_ended(run: Callable[..., Done], drifted: Path) -> None:
    """Those alone that are older, and each once."""
    store = ["--store", f"sqlite:///{drifted}"]
    mine = ["expire-calls", "live", "--organization", "org", *store]
    assert run("expire-calls", "a", "--older-than", "4h", *store) == (
        0,
        "batch job 'a' has no call that has been live for that long\n",
        "",
    )
    assert run("expire-calls", "live", "--older-than", "4h", *store) == (
        3,
        "",
        (
            "batch-cancel: there is no batch job 'live' in this organization: name its "
            "organization with --organization, if it has one\n"
        ),
    )
    assert run(*mine, "--older-than", "1d", "--json").body == {
        "batchJobId": "live",
        "organizationId": "org",
        "callsEnded": 1,
    }
    assert run(*mine, "--older-than", "4h").out == (
        "batch job 'live' of organization 'org': calls ended: 1\n"
    )
    assert run(*mine, "--older-than", "4h").code == 0
    assert SqliteStore(drifted).contacts("live", "org") == {
        "old": "timeout",
        "older": "timeout",
        "young": "dialing",
    }


@pytest.mark.parametrize(
    "age", ["", "0", "0h", "-1h", "4 h", "4w", "h", "1e3", "nan", "40000d", "9" * 12 + "d", "٣h"]
)
def test_what_is_no_duration_is_exit_code_2(
    run: Callable[..., Done], store: str, age: str
) -> None:
    """Nothing is asked of the store."""
    for command in (
        ["expire-calls", "a", f"--older-than={age}"],
        ["inspect", f"--calls-older-than={age}"],
    ):
        done = run(*command, "--store", store)
        assert (done.code, done.out) == (2, "")


def test_an_age_must_be_given(run: Callable[..., Done], store: str) -> None:
    """There is no default: it must be longer than any call of the adopter's."""
    done = run("expire-calls", "a", "--store", store)
    assert (done.code, done.out) == (2, "")


def test_a_store_that_does_not_expire_is_exit_code_5(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    """One sentence."""
    missing = f"sqlite:///{tmp_path}/missing.db"
    done = run("expire-calls", "a", "--older-than", "4h", "--store", missing)
    assert (done.code, done.out) == (5, "")
    assert "does not exist" in done.err


def test_a_look_that_met_its_limit_says_so(run: Callable[..., Done], store: str) -> None:
    """On stderr; what was looked at is in order, so the exit code is 0."""
    done = run("inspect", "--store", store, "--limit", "3")
    assert done == (
        0,
        "no drift: database and scheduler agree\n",
        "batch-cancel: no more than 3 of each kind were looked at: see --limit\n",
    )


# check -------------------------------------------------------------------------------------------


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


def test_what_is_missing_in_postgres_and_redis_is_told(
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


def test_servers_out_of_reach_are_told(run: Callable[..., Done]) -> None:
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
            "batch-cancel: it failed, and nobody foresaw how (LookupError)\n",
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
                "0  no removal is left owed, and no hook failed",
                "6  something is still owed; run it again",
            ],
        ),
        (
            "inspect",
            [
                "0  no drift",
                "1  drift was found",
                "5  failed; stderr says why",
                "7  the scheduler did not answer; what the store knows is reported",
            ],
        ),
        (
            "check",
            [
                "0  both are fit; what is worth a look may be listed",
                "1  something is missing; stdout says what",
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


def as_url(dsn: str) -> str:
    """Spell a connection string as a URL."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn), quote_via=quote)}"
