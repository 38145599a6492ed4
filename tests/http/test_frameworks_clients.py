"""Clients that leave, servers that go and cancels that take long, in each framework."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest

from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from tests.http.examples import ROUTED, client_of, is_async, made, serving
from tests.http.frameworks import ASGI, ASYNCIO, Own, app_of, ports_of
from tests.http.held import (
    FAILED,
    FOR_EVER,
    SHORT,
    Held,
    run,
    site_of_a_job,
    somebody_waits,
    status_in,
)
from tests.http.requests import AUTHENTICATE, Asked, Told, ask_asgi, ask_asgi_async
from tests.pairs import create_reference_tables
from tests.processes import HOST, wait_until

PATH = "/batch/jobs/batch_xyz789/cancel"


@pytest.mark.parametrize("name", ROUTED)
def test_a_client_of_a_real_server_leaves_in_the_middle(name: str, postgres_schema: str) -> None:
    """It hangs up while the cancel waits for the job's lock; the cancel comes to its end."""
    dsn = postgres_schema
    uow: Any = (
        AsyncPostgresUnitOfWork(
            lambda: psycopg.AsyncConnection.connect(dsn), lock_timeout=FOR_EVER
        )
        if is_async(name)
        else PostgresUnitOfWork(lambda: psycopg.connect(dsn), lock_timeout=FOR_EVER)
    )
    scheduler = AsyncMemoryScheduler() if is_async(name) else MemoryScheduler()
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status) VALUES ('j', 'a', 'running')"
        )
        with serving(name, made(name, uow, scheduler, AUTHENTICATE)) as url:
            with connection.transaction():
                connection.execute("SELECT FROM batch_jobs FOR UPDATE")
                port = int(url.rpartition(":")[2])
                with socket.create_connection((HOST, port)) as client:
                    client.sendall(
                        b"POST /v1/batch/jobs/j/cancel HTTP/1.1\r\nHost: x\r\n"
                        b"Authorization: Bearer key-a\r\n\r\n"
                    )
                    wait_until(lambda: somebody_waits(connection), "the cancel waits")
            wait_until(lambda: status_in(connection) == "cancelled", "the job is cancelled")


@pytest.mark.parametrize("name", ASYNCIO)
def test_a_budget_ends_the_wait_but_not_the_cancel(name: str) -> None:
    """The client may ask again; at its shutdown the application waits for what has begun."""

    async def scenario() -> tuple[int, bytes]:
        site = site_of_a_job()
        held = Held(site)
        app = app_of(name, held, budget=SHORT)
        async with _living(name, app) as ask:
            told = await ask()
            held.go_on.set()
        assert held.ended.is_set()
        assert site.store.job("batch_xyz789", "a").status == "cancelled"
        return told.status, told.content

    assert run(scenario()) == (500, FAILED)


@pytest.mark.parametrize("name", ASYNCIO)
def test_a_server_that_goes_waits_for_cancels_that_have_begun(name: str) -> None:
    """Also if their client has left: its shutdown ends, and resources are closed, after them."""

    async def scenario() -> None:
        held = Held(site_of_a_job())
        own = Own()
        leaving = asyncio.Event()

        async def live() -> None:
            async with _living(name, app_of(name, held, own)) as ask:
                request = asyncio.create_task(ask())
                await held.begun.wait()
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request
                leaving.set()

        life = asyncio.create_task(live())
        await leaving.wait()
        await asyncio.sleep(SHORT.total_seconds())
        assert (life.done(), own.are_closed) == (False, False)
        held.go_on.set()
        await life
        assert held.ended.is_set()
        assert own.are_closed

    run(scenario())


@asynccontextmanager
async def _living(name: str, app: Any) -> AsyncGenerator[Callable[[], Any]]:
    """Run an application from its start to the end of its shutdown; yield how it is asked."""
    if name == "aiohttp":
        from aiohttp.test_utils import TestServer

        async with TestServer(app) as server, httpx.AsyncClient() as client:

            async def ask() -> Told:
                headers = {"Authorization": "Bearer key-a"}
                told = await client.post(str(server.make_url(PATH)), headers=headers)
                return Told(told.status_code, (), told.content)

            yield ask
        return
    messages: asyncio.Queue[Any] = asyncio.Queue()
    started = asyncio.Event()

    async def send(message: Any) -> None:
        assert message["type"].endswith(".complete")
        started.set()

    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    life = asyncio.create_task(app(scope, messages.get, send))
    await messages.put({"type": "lifespan.startup"})
    await started.wait()
    yield lambda: ask_asgi_async(app, Asked())
    await messages.put({"type": "lifespan.shutdown"})
    await life


@pytest.mark.parametrize("name", ASGI)
def test_a_body_is_read_no_further_than_its_limit(name: str) -> None:
    """And not at all for somebody who may not cancel."""
    chunks = [b"x" * 16_384] * 20
    app = app_of(name, Held(site_of_a_job()))
    for key, status, most in (("key-a", 413, 3), ("key-viewer", 403, 0), ("nobody", 401, 0)):
        left = list(chunks)
        asked = Asked(
            headers=[("authorization", f"Bearer {key}"), ("content-type", "application/json")],
            chunks=left,
            is_chunked=True,
        )
        received: list[int] = []

        async def counting(scope: Any, receive: Any, send: Any, to: list[int] = received) -> None:
            async def counted() -> Any:
                to.append(1)
                return await receive()

            await app(scope, counted, send)

        assert ask_asgi(counting, asked).status == status
        assert len(received) <= most


@pytest.mark.parametrize("name", ["flask", "aiohttp"])
def test_a_body_that_the_application_has_read_is_there_again(name: str) -> None:
    """A hook that logs bodies does not turn a reason into a broken body."""
    store, cancel = ports_of(name)
    app = app_of(name, cancel)
    if name == "flask":
        from flask import request

        def read() -> None:
            request.get_data()

        app.before_request(read)
    else:
        from aiohttp import web

        @web.middleware
        async def read_async(request: web.Request, handler: Any) -> Any:
            await request.read()
            return await handler(request)

        app.middlewares.append(read_async)
    headers = {"Authorization": "Bearer key-a", "Content-Type": "application/json"}
    with client_of(f"{name}_app", app) as ask:
        told = ask("POST", "/batch/jobs/mine/cancel", headers, b'{"reason": "x"}')
    assert told.status == 200
    assert store.job("mine", "a").cancellation.reason == "x"
