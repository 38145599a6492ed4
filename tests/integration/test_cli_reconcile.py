"""`batch-cancel reconcile` against real stores and schedulers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import redis

from batch_cancel import cancel_rows
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests.integration.command_line import (
    Done,
    as_url,
    leave_the_log_alone,
    main_in,
    run,
    spawn,
    store,
)
from tests.integration.operator_commands import file
from tests.pairs import create_reference_tables
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.redis_topologies import RedisCluster
    from tests.servers import RedisServer

__all__ = ["file", "leave_the_log_alone", "run", "store"]


def test_nothing_pending_is_said(run: Callable[..., Done], store: str) -> None:
    """Exit code 0."""
    assert run("reconcile", "--store", store) == (0, "no removal is left pending\n", "")


def test_what_is_pending_is_finished_and_said(
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
            "batch job 'a': its deferred start was removed\nbatch job 'b': there was no deferred "
            "start left to remove\nno removal is left pending\n"
        ),
        "",
    )
    assert SqliteScheduler(file).waiting() == {"start-c"}
    assert run("reconcile", "--store", store, "--lease", "0").out == "no removal is left pending\n"


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
        "1 removal is still pending\n",
        (
            "batch-cancel: cancellations made or taken less than 120 s ago are left to the "
            "process that did it: run it again later, or with --lease 0\n"
        ),
    )
    assert SqliteScheduler(file).waiting() == {"start-a", "start-b", "start-c"}


def test_a_scheduler_that_can_is_asked_for_many_at_once(file: Path, tmp_path: Path) -> None:
    """Like the function that the command calls."""
    (tmp_path / "wiring.py").write_text(f"""
from types import SimpleNamespace
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore

class Scheduler(SqliteScheduler):
    def cancel_many(self, starts):
        with open("asked", "a") as asked:
            asked.write(f"{{len(starts)}} ")
        return [None, *(self.cancel(*start) for start in starts[1:])]

app = SimpleNamespace(uow=SqliteStore({str(file)!r}), scheduler=Scheduler({str(file)!r}))
""")
    for job_id in "abc":
        cancel_rows(job_id, uow=SqliteStore(file))
    done = main_in(tmp_path, "reconcile", "--app", "wiring:app", "--lease", "0")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("its deferred start was removed") == 3
    assert (tmp_path / "asked").read_text() == "3 "


def test_more_than_the_limit_is_left_for_the_next_run(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Exit code 6 until nothing is left."""
    for job_id in "abc":
        cancel_rows(job_id, uow=SqliteStore(file))
    arguments = ["reconcile", "--store", store, "--lease", "0", "--limit", "2"]
    done = run(*arguments)
    assert (done.code, done.out.splitlines()[-1]) == (6, "1 removal is still pending")
    assert done.err == "batch-cancel: run it again\n"
    assert run(*arguments).code == 0
    assert SqliteScheduler(file).waiting() == set()


def test_a_job_that_something_has_set_back_is_named(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Its start is left alone; another pass changes nothing, so that is not the advice."""
    cancel_rows("a", uow=SqliteStore(file), operation_id="op")
    with closing(sqlite3.connect(file, isolation_level=None)) as rows:
        rows.execute("UPDATE batch_jobs SET status = 'scheduled' WHERE id = 'a'")
    done = run("reconcile", "--store", store, "--lease", "0")
    assert done == (
        6,
        (
            "batch job 'a' is not cancelled any more, so its deferred start and its contacts were "
            "left alone: find what has set its status back, and cancel it again\n"
            "1 removal is still pending\n"
            "1 job is not cancelled any more\n"
        ),
        (
            "batch-cancel: another pass changes nothing: cancel again what has been set back, or "
            "delete the record of its cancellation\n"
        ),
    )
    assert "start-a" in SqliteScheduler(file).waiting()
    again = run("reconcile", "--store", store, "--lease", "0", "--json")
    assert again.body["setBack"] == [{"batchJobId": "a", "organizationId": None}]
    assert inspected(run, store) == ["removalsPending"]


def inspected(run: Callable[..., Done], store: str) -> list[str]:
    """Return the kinds of drift."""
    body = run("inspect", "--store", store, "--json").body
    return [name for name, found in body.items() if isinstance(found, list) and found]


def test_a_redis_that_is_down_leaves_it_pending(
    run: Callable[..., Done], file: Path, store: str
) -> None:
    """Exit code 6, and why; nothing of the URL."""
    for number in range(3):
        SqliteStore(file).add_job(f"job-{number}", "scheduled", deferred_id="d")
        cancel_rows(f"job-{number}", uow=SqliteStore(file))
    url = f"native+redis://ann:hunter2@127.0.0.1:{free_port()}"

    done = run("reconcile", "--store", store, "--scheduler", url, "--lease", "0")

    assert done.code == 6
    assert "batch job 'job-0': its deferred start could not be removed yet\n" in done.out
    assert done.out.endswith("3 removals are still pending\n")
    assert "the scheduler did not confirm every removal (Redis did not answer within" in done.err
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
        "batch job 'a': its deferred start was removed\nno removal is left pending\n",
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
            "batch job 'j': its deferred start was removed\nno removal is left pending\n"
        )
        assert RedisScheduler(client).waiting() == set()
    assert run("inspect", *urls, *there) == (0, "no drift: database and scheduler agree\n", "")
