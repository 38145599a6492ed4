"""The command line against real stores and schedulers: answers, exit codes, plain sentences."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.cli import main
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.redis_topologies import RedisCluster
    from tests.servers import RedisServer

COMMAND = [sys.executable, "-W", "error", "-c", "from batch_cancel.cli import main; main()"]
FAILED = {"detail": "Failed to cancel batch job"}
NOT_FOUND = {"detail": "Batch job not found"}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        """What the JSON on stdout holds: one object on one line, and nothing else."""
        assert self.out.endswith("}\n")
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one sentence on stderr."""
        assert self.err.startswith("batch-cancel: ")
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        return self.err.removeprefix("batch-cancel: ").removesuffix("\n")


@pytest.fixture(autouse=True)
def _leave_the_log_alone() -> Iterator[None]:
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
        return Done(code, told.out, told.err)

    return run


def spawn(*arguments: str | bytes, **options: Any) -> Done:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, encoding="utf-8", check=False, **options
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Lend a file with a job of each kind, and their deferred start."""
    file = tmp_path / "jobs.db"
    store = SqliteStore(file)
    store.add_job("scheduled", "scheduled", deferred_id="start")
    store.add_job("pending", "pending")
    store.add_job("running", "running")
    store.add_job("completed", "completed")
    store.add_job("odd", "paused")
    store.add_job("owned", "running", "org")
    for job in ("scheduled", "pending", "running", "completed"):
        store.add_contacts(job, {"1": "pending", "2": "busy", "3": "dialing", "4": "completed"})
    SqliteScheduler(file).schedule("start", datetime.now(UTC) + timedelta(days=1))
    return file


@pytest.fixture
def store(file: Path) -> str:
    """Name the file by its URL."""
    return f"sqlite:///{file}"


def status(file: Path, job_id: str, organization_id: str | None = None) -> str | None:
    """Give a job's status."""
    job = SqliteStore(file).job(job_id, organization_id)
    assert job is not None
    return job.status


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
    assert "has the status 'paused', which is none of" in done.sentence
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
    assert "run `batch-cancel reconcile`, or the same command again" in done.sentence
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
        (["--store", "postgresql://u:hunter2%@h/d"], "--store is no valid URL"),
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


def test_a_job_on_postgres_with_its_start_in_redis(
    run: Callable[..., Done], postgres_schema: str, redis_database: str
) -> None:
    """`schema --reference` makes the tables; then the answer is the contract's."""
    ddl = run("schema", "--reference")
    assert (ddl.code, ddl.err) == (0, "")
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        connection.execute(ddl.out.encode())
        connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES ('j', 'scheduled', 'd')"
        )
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "VALUES ('j', 'pending'), ('j', 'dialing')"
        )
    with redis.Redis.from_url(redis_database) as client:
        RedisScheduler(client).schedule("d", datetime.now(UTC) + timedelta(days=1))
        urls = ["--store", as_url(postgres_schema), "--scheduler", f"native+{redis_database}"]

        done = run("cancel", "j", *urls)

        assert (done.code, done.err) == (0, "")
        assert done.body == {
            "success": True,
            "message": "Scheduled job cancelled successfully",
            "batchJobId": "j",
            "redisJobCancelled": True,
            "contactsCancelled": 1,
        }
        assert RedisScheduler(client).waiting() == set()
    assert run("cancel", "j", *urls).code == 4
    assert run("cancel", "k", *urls).code == 3
    with psycopg.connect(postgres_schema) as connection:
        found = connection.execute("SELECT status FROM batch_contacts ORDER BY id").fetchall()
    assert found == [("cancelled",), ("dialing",)]


def test_the_tables_that_we_need_are_printed(
    run: Callable[..., Done], postgres_schema: str
) -> None:
    """Without the example tables it is one table, and it may be sent again."""
    ddl = run("schema")
    assert (ddl.code, ddl.err) == (0, "")
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        for _ in range(2):
            connection.execute(ddl.out.encode())
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = current_schema()"
        ).fetchall()
    assert found == [("batch_cancellations",)]


def test_the_guards_are_printed(run: Callable[..., Done], postgres_schema: str) -> None:
    """With them a cancelled job stays cancelled, whoever writes; they may be sent again."""
    ddl = run("schema", "--reference", "--guards")
    assert (ddl.code, ddl.err) == (0, "")
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        for _ in range(2):
            connection.execute(ddl.out.encode())
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'cancelled')")
        connection.execute("UPDATE batch_jobs SET status = 'running'")
        assert connection.execute("SELECT status FROM batch_jobs").fetchall() == [("cancelled",)]
    assert "TRIGGER" not in run("schema", "--reference").out


def test_the_sql_follows_a_schema_of_ones_own(tmp_path: Path) -> None:
    """Our table and the triggers; example tables have names of their own."""
    (tmp_path / "names.py").write_text(
        "from batch_cancel.adapters.postgres import PostgresSchema\n"
        "SCHEMA = PostgresSchema(jobs='order', cancellations=('audit', 'stopped'))\n"
    )

    def told(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, "schema", "--schema", "names:SCHEMA", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    code, ddl = told("--guards")
    assert code == 0
    assert 'CREATE TABLE IF NOT EXISTS "audit"."stopped" (' in ddl
    assert 'CREATE INDEX IF NOT EXISTS "stopped_owing"\n    ON "audit"."stopped"' in ddl
    assert 'BEFORE UPDATE ON "order" FOR EACH ROW' in ddl
    code, ddl = told()
    assert (code, "TRIGGER" in ddl) == (0, False)
    assert told("--reference") == (
        2,
        "batch-cancel: --reference is for the reference names: leave --schema out\n",
    )


def test_missing_tables_are_named(
    run: Callable[..., Done], postgres_schema: str, redis_database: str
) -> None:
    """The sentence says how to make them."""
    urls = ["--store", as_url(postgres_schema), "--scheduler", f"native+{redis_database}"]
    done = run("cancel", "j", *urls)
    assert (done.code, done.body) == (5, FAILED)
    assert "batch_jobs" in done.sentence
    assert "batch-cancel schema" in done.sentence


def test_a_postgres_that_is_down_is_exit_code_5(run: Callable[..., Done]) -> None:
    """Nothing of the URL is shown."""
    url = f"postgresql://ann:hunter2@127.0.0.1:{free_port()}/db"
    done = run("cancel", "j", "--store", url, "--scheduler", "native+redis://127.0.0.1")
    assert (done.code, done.body) == (5, FAILED)
    assert "Postgres can't be reached: check that it runs" in done.sentence
    assert done.sentence.endswith("nothing was changed")
    assert "hunter2" not in done.err


def test_a_database_that_is_not_there_is_exit_code_5(
    run: Callable[..., Done], postgres_schema: str
) -> None:
    """One sentence, as for every other wrong address."""
    url = as_url(make_conninfo(postgres_schema, dbname="nowhere", password="hunter2"))
    done = run("cancel", "j", "--store", url, "--scheduler", "native+redis://127.0.0.1")
    assert (done.code, done.body) == (5, FAILED)
    assert done.sentence.endswith("nothing was changed")
    assert "hunter2" not in done.err


def test_a_redis_that_is_down_is_said_after_the_job_is_cancelled(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Nothing of the URL is shown."""
    url = f"native+redis://ann:hunter2@127.0.0.1:{free_port()}/0"
    done = run("cancel", "scheduled", "--store", store, "--scheduler", url)
    assert done.code == 0
    assert done.body["redisJobCancelled"] is False
    assert "the job is cancelled, but the scheduler did not confirm" in done.sentence
    assert "hunter2" not in done.err
    assert status(file, "scheduled") == "cancelled"


def test_a_wrong_password_is_said_after_the_job_is_cancelled(
    run: Callable[..., Done], file: Path, store: str, redis_server: RedisServer
) -> None:
    """The same as any other Redis that does not answer; the password is not shown."""
    url = f"native+redis://ann:hunter2@127.0.0.1:{redis_server.port}/0"
    done = run("cancel", "scheduled", "--store", store, "--scheduler", url)
    assert done.code == 0
    assert done.body["redisJobCancelled"] is False
    assert "did not confirm" in done.sentence
    assert "hunter2" not in done.err
    assert status(file, "scheduled") == "cancelled"


def test_a_start_in_a_redis_cluster(
    run: Callable[..., Done], store: str, redis_cluster: RedisCluster
) -> None:
    """It is found by way of any of its nodes."""
    with closing(redis.RedisCluster.from_url(redis_cluster.url)) as client:
        RedisScheduler(client).schedule("start", datetime.now(UTC) + timedelta(days=1))
        url = redis_cluster.url.replace("redis://", "native+redis+cluster://")

        done = run("cancel", "scheduled", "--store", store, "--scheduler", url)

        assert done.body["redisJobCancelled"] is True
        assert RedisScheduler(client).waiting() == set()


def test_a_redis_cluster_that_is_down_is_said_after_the_job_is_cancelled(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Its client connects as soon as it is made; that is no reason to fail."""
    url = f"native+redis+cluster://ann:hunter2@127.0.0.1:{free_port()}"
    done = run("cancel", "scheduled", "--store", store, "--scheduler", url)
    assert done.code == 0
    assert done.body["redisJobCancelled"] is False
    assert "did not confirm" in done.sentence
    assert "hunter2" not in done.err
    assert status(file, "scheduled") == "cancelled"


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
    assert re.fullmatch(r"batch-cancel \d+\.\d+\.\d+\n", run("--version").out)


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
    assert done.sentence.startswith("the demo needs a temporary folder that it can write to")


def _row(text: str, contact: str) -> tuple[str, ...]:
    [line] = [line for line in text.splitlines() if line.split()[:1] == [contact]]
    return tuple(re.split(r"\s{2,}", line.strip())[1:])


def as_url(dsn: str) -> str:
    """Spell a connection string as a URL."""
    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn), quote_via=quote)}"
