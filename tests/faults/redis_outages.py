"""Jobs on a real Postgres whose starts are in a Redis, and ways in which that Redis goes away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import attrs
import psycopg
import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from batch_cancel import (
    CancelResult,
    Removal,
    cancel_job,
    cancel_job_async,
    reconcile,
    reconcile_async,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.ports import SchedulerUnavailable
from tests.processes import wait_until
from tests.redis_topologies import RedisSentinel
from tests.servers import RedisServer

HOUR = timedelta(hours=1)
BUDGET_SECONDS = 0.25
"""The default one."""


Clients = Callable[[], Any]


@attrs.define(eq=False)
class Stage:
    """
    Scheduled jobs on a real Postgres, their deferred starts in a Redis that goes away.

    Arguments:
        dsn: the schema that the jobs are in.
        runner: the event loop of the asyncio half; None in the blocking one.
        namespace: of the deferred starts.
    """

    dsn: str
    runner: asyncio.Runner | None
    stack: ExitStack
    namespace: str = attrs.field(factory=lambda: f"test-{uuid4().hex[:8]}")
    scheduler: Any = None

    @property
    def uow(self) -> Any:
        """Return the store."""
        if self.runner is None:
            return PostgresUnitOfWork(lambda: psycopg.connect(self.dsn))
        return AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(self.dsn))

    def use(self, url: str, *, cluster: bool = False) -> None:
        """Let the deferred starts be at this URL."""
        if self.runner is None:
            client: Any = (redis.RedisCluster if cluster else redis.Redis).from_url(url)
            self.stack.callback(client.close)
        else:
            kind = redis.asyncio.RedisCluster if cluster else redis.asyncio.Redis
            client = self.run(_called(kind.from_url, url))
            self.stack.callback(lambda: self.run(client.aclose()))
        self.use_client(client)

    def use_sentinel(self, group: RedisSentinel) -> None:
        """Let the deferred starts be where the sentinels say."""
        if self.runner is None:
            sentinel: Any = redis.sentinel.Sentinel(group.addresses)
        else:
            sentinel = redis.asyncio.sentinel.Sentinel(group.addresses)
        client = sentinel.master_for(group.name)
        for one in (client, *sentinel.sentinels):
            self.stack.callback(self._close, one)
        self.use_client(client)

    def use_client(self, client: Any) -> None:
        """Let the deferred starts be where this client leads."""
        kind = AsyncRedisScheduler if self.runner else RedisScheduler
        self.scheduler = kind(client, namespace=self.namespace)

    def add(self, job: str) -> None:
        """Add a scheduled job, a contact, and its deferred start, however long that takes."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "INSERT INTO batch_jobs (id, status, scheduled_job_id) "
                "VALUES (%s, 'scheduled', %s)",
                [job, f"start of {job}"],
            )
            connection.execute("INSERT INTO batch_contacts (batch_job_id) VALUES (%s)", [job])
        at = datetime.now(UTC) + HOUR

        def is_scheduled() -> bool:
            with suppress(SchedulerUnavailable):  # A busy machine, not an outage.
                self.run(self.scheduler.schedule(f"start of {job}", at))
                return True
            return False

        wait_until(is_scheduled, "the start is scheduled")

    def cancel(self, job: str) -> CancelResult:
        """Cancel a job, with the job itself as the operation."""
        options: dict[str, Any] = {"uow": self.uow, "scheduler": self.scheduler}
        cancel = cancel_job_async if self.runner else cancel_job
        result: CancelResult = self.run(cancel(job, operation_id=f"cancel {job}", **options))
        return result

    def reconcile(self) -> list[Removal]:
        """Finish what is owed, and give what became of it."""
        options: dict[str, Any] = {"uow": self.uow, "scheduler": self.scheduler}
        finish = reconcile_async if self.runner else reconcile
        results: list[CancelResult] = self.run(finish(lease=timedelta(0), **options))
        return [result.removal for result in results]

    def waiting(self) -> set[str]:
        """Return the deferred starts that wait."""
        return set(self.run(self.scheduler.waiting()))

    def statuses(self) -> set[tuple[str, str, str]]:
        """Return the statuses of jobs and contacts, and the removals, as committed."""
        with psycopg.connect(self.dsn) as connection:
            rows = connection.execute(
                "SELECT DISTINCT jobs.status, contacts.status, coalesce(done.removal, 'none') "
                "FROM batch_jobs AS jobs "
                "JOIN batch_contacts AS contacts ON contacts.batch_job_id = jobs.id "
                "LEFT JOIN batch_cancellations AS done ON done.batch_job_id = jobs.id"
            )
            return {(job, contact, removal) for job, contact, removal in rows.fetchall()}

    def run(self, answer: Any) -> Any:
        """Wait for an answer, if it is of the asyncio half."""
        if self.runner is not None and asyncio.iscoroutine(answer):
            return self.runner.run(answer)
        return answer

    def _close(self, client: Any) -> None:
        if self.runner is None:
            client.close()
        else:
            self.run(client.aclose())


async def _called(function: Callable[[str], Any], url: str) -> Any:
    return function(url)


# Outages of one server ---------------------------------------------------------------------------


@contextmanager
def _killed(server: RedisServer, _: Stage) -> Generator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def _stopped(server: RedisServer, _: Stage) -> Generator[None]:
    server.stop()
    yield
    server.start()


@contextmanager
def _paused(server: RedisServer, _: Stage) -> Generator[None]:
    server.pause()
    yield
    server.resume()


@contextmanager
def _killed_while_busy(server: RedisServer, _: Stage) -> Generator[None]:
    """Somebody's endless script holds up ours; then the server is killed with both."""
    with _endless_script(server):
        threading.Timer(0.1, server.kill).start()
        yield
        wait_until(lambda: not server.process.running, "the server is dead")
    server.start()


@contextmanager
def _busy(server: RedisServer, _: Stage) -> Generator[None]:
    """Somebody's endless script runs: -BUSY."""
    server.client.config_set("busy-reply-threshold", 1)
    with _endless_script(server):
        yield
        server.command("SCRIPT", "KILL")
    server.client.config_set("busy-reply-threshold", 5000)


@contextmanager
def _endless_script(server: RedisServer) -> Generator[None]:
    started = threading.Event()

    def run() -> None:
        with redis.Redis.from_url(server.url(), retry=None) as client:
            client.ping()
            started.set()
            with pytest.raises((redis.ConnectionError, redis.ResponseError)):
                client.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _wrong_type(server: RedisServer, stage: Stage) -> Generator[None]:
    """One of our keys is a string: WRONGTYPE."""
    key = f"{{{stage.namespace}:0}}:job"
    server.client.rename(key, f"{key}:away")
    server.client.set(key, "not a hash")
    yield
    server.client.rename(f"{key}:away", key)


@contextmanager
def _read_only(server: RedisServer, _: Stage) -> Generator[None]:
    """Demote it, to follow a master that there is not: READONLY."""
    server.client.replicaof("127.0.0.1", 1)
    yield
    server.client.replicaof("NO", "ONE")


@contextmanager
def _full(server: RedisServer, _: Stage) -> Generator[None]:
    """Leave it no memory, and it may not evict: OOM."""
    server.client.config_set("maxmemory", "1")
    yield
    server.client.config_set("maxmemory", "0")


@contextmanager
def _locked(server: RedisServer, _: Stage) -> Generator[None]:
    """Somebody has set a password: NOAUTH."""
    server.client.config_set("requirepass", "hunter2")
    with redis.Redis.from_url(server.url(), password="hunter2", retry=None) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
        yield
        admin.config_set("requirepass", "")


OUTAGES = {
    "refused": _killed,
    "stopped": _stopped,
    "paused": _paused,
    "killed in mid-script": _killed_while_busy,
    "busy": _busy,
    "wrong type": _wrong_type,
    "read-only": _read_only,
    "out of memory": _full,
    "password": _locked,
}
