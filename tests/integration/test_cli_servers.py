"""The command line on Postgres, Redis and a cluster, and the SQL that it prints."""

from __future__ import annotations

import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import redis
from psycopg.conninfo import make_conninfo

from batch_cancel.adapters.postgres import PostgresUnitOfWork, SqlStartGate
from batch_cancel.adapters.redis import RedisScheduler
from tests.integration.command_line import (
    COMMAND,
    FAILED,
    Done,
    as_url,
    file,
    leave_the_log_alone,
    run,
    status,
    store,
)
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.redis_topologies import RedisCluster
    from tests.servers import RedisServer

__all__ = ["file", "leave_the_log_alone", "run", "store"]


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
    """Without the example tables it is ours alone, and it may be sent again."""
    ddl = run("schema")
    assert (ddl.code, ddl.err) == (0, "")
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        for _ in range(2):
            connection.execute(ddl.out.encode())
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = current_schema() ORDER BY table_name"
        ).fetchall()
    assert found == [("batch_cancellations",), ("batch_cancellations_earlier",)]


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


def test_the_table_of_the_start_gate_is_printed(
    run: Callable[..., Done], postgres_schema: str
) -> None:
    """As `start_gates_ddl` returns it; it may be sent again."""
    ddl = run("schema", "--start-gates")
    assert (ddl.code, ddl.err) == (0, "")
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        for _ in range(2):
            connection.execute(ddl.out.encode())
    uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema))
    assert SqlStartGate(uow).check() == []
    assert "batch_start_gates" not in run("schema", "--reference", "--guards").out


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
