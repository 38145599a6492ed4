"""A key of organization b and a job of organization a, on every store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from batch_cancel import JobKey, cancel_job, cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.redis import RedisScheduler
from batch_cancel.adapters.wsgi import WsgiApp
from tests import pairs
from tests.fault_proxy import FaultProxy
from tests.http.requests import AUTHENTICATE, KEY_A, KEY_B, Asked, Told, ask_asgi_async, ask_wsgi
from tests.pairs import PostgresTables, World, create_reference_tables
from tests.servers import RedisServer


@pytest.fixture(params=[*pairs.STORES, *(store for store, _ in pairs.LAYERED)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Yield each store in turn, by way of each data layer too, with a job of organization a."""
    with pairs.opened(request.param, "memory", request) as world:
        contacts = ["pending", "dialing"]
        world.add_job("job", "scheduled", contacts, organization_id="a", deferred_id="start")
        world.schedule("start")
        yield world


def ask(world: World, job_id: str, key: tuple[str, str]) -> Told:
    """Ask for a cancel over HTTP, by the application of the store's kind."""
    asked = Asked(path=f"/batch/jobs/{job_id}/cancel", headers=[key])
    ports: dict[str, Any] = {"uow": world.store.uow, "scheduler": world.scheduler}
    if world.runner is not None:
        app = AsgiApp(partial(cancel_job_async, **ports), AUTHENTICATE)
        return world.runner.run(ask_asgi_async(app, asked))
    return ask_wsgi(WsgiApp(partial(cancel_job, **ports), AUTHENTICATE), asked)


def test_a_foreigner_cannot_cancel_or_see_it(world: World) -> None:
    """The answer is that of a missing job; rows and deferred start are as before."""
    before = world.rows()
    foreign = ask(world, "job", KEY_B)
    assert foreign == ask(world, "none", KEY_B)
    assert (foreign.status, foreign.content) == (404, b'{"detail": "Batch job not found"}')
    assert world.rows() == before
    assert world.waiting() == {"start"}


def test_a_foreigner_cannot_lock_it(world: World) -> None:
    """While somebody else holds the row, the foreigner is answered."""
    with ExitStack() as stack:
        if isinstance(world.store, PostgresTables):
            stack.enter_context(world.store.connection.transaction())
            world.store.connection.execute("SELECT FROM batch_jobs FOR UPDATE")
        assert ask(world, "job", KEY_B).status == 404


def test_its_owner_can(world: World) -> None:
    """The same request with the other organization's key."""
    assert ask(world, "job", KEY_A).status == 200
    assert world.rows()[JobKey("job", "a")].status == "cancelled"
    assert world.waiting() == set()


def test_a_blocked_cancel_is_bounded_by_its_store(postgres_schema: str) -> None:
    """Under WSGI too: it is told to ask again, and the job is as it was."""
    uow = PostgresUnitOfWork(
        lambda: psycopg.connect(postgres_schema), lock_timeout=timedelta(milliseconds=20)
    )
    cancel = partial(cancel_job, uow=uow, scheduler=MemoryScheduler())
    app = WsgiApp(cancel, AUTHENTICATE, retry_after=timedelta(seconds=1))
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status) VALUES ('j', 'a', 'running')"
        )
        with connection.transaction():
            connection.execute("SELECT FROM batch_jobs FOR UPDATE")
            told = ask_wsgi(app, Asked(path="/batch/jobs/j/cancel"))
        assert (told.status, dict(told.headers)["retry-after"]) == (503, "1")
        assert connection.execute("SELECT status FROM batch_jobs").fetchone() == ("running",)


SOON = timedelta(milliseconds=50)


@pytest.fixture
def scheduled(postgres_schema: str) -> str:
    """Yield the tables with a scheduled job of organization a."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "VALUES ('j', 'a', 'scheduled', 'start')"
        )
    return postgres_schema


def status(dsn: str) -> str:
    """Return the status of the only job."""
    with psycopg.connect(dsn) as connection:
        return str(connection.execute("SELECT status FROM batch_jobs").fetchall()[0][0])


def test_a_redis_that_never_answers_is_left_under_wsgi(
    scheduled: str, redis_server: RedisServer
) -> None:
    """Its budget ends the wait, whatever its client would do: the job is cancelled, and owed."""
    with FaultProxy(redis_server.port) as proxy, redis.Redis(port=proxy.port) as client:
        proxy.stall()
        uow = PostgresUnitOfWork(lambda: psycopg.connect(scheduled))
        cancel = partial(cancel_job, uow=uow, scheduler=RedisScheduler(client, budget=SOON))
        told = ask_wsgi(WsgiApp(cancel, AUTHENTICATE), Asked(path="/batch/jobs/j/cancel"))
    assert told.status == 200
    assert b'"redisJobCancelled": false' in told.content
    assert status(scheduled) == "cancelled"


def test_a_postgres_that_never_answers_is_left_under_wsgi(scheduled: str) -> None:
    """Its two timeouts together end the wait, and the job is as it was."""
    with FaultProxy(int(str(conninfo_to_dict(scheduled)["port"]))) as proxy:

        def connect() -> psycopg.Connection[Any]:
            connection = psycopg.connect(scheduled, port=proxy.port)
            proxy.stall()
            return connection

        uow = PostgresUnitOfWork(connect, lock_timeout=SOON, statement_timeout=SOON)
        cancel = partial(cancel_job, uow=uow, scheduler=MemoryScheduler())
        app = WsgiApp(cancel, AUTHENTICATE, retry_after=timedelta(seconds=1))
        told = ask_wsgi(app, Asked(path="/batch/jobs/j/cancel"))
        assert (told.status, dict(told.headers)["retry-after"]) == (503, "1")
    assert status(scheduled) == "scheduled"
