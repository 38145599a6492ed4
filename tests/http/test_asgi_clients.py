"""What an ASGI application owes to clients that leave, servers that go, and other protocols."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

import psycopg
import pytest

from batch_cancel import JobKey, JobNotFound, cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.memory import AsyncMemoryScheduler
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork
from tests.http.examples import serving
from tests.http.held import (
    FOR_EVER,
    Held,
    never,
    run,
    site_of_a_job,
    somebody_waits,
    status_in,
)
from tests.http.requests import (
    AUTHENTICATE,
    Asked,
    Site,
    ask_asgi,
    ask_asgi_async,
)
from tests.pairs import create_reference_tables
from tests.processes import HOST, wait_until


def test_a_cancelled_request_does_not_stop_a_cancel() -> None:
    """As frameworks do when the client has gone."""

    async def scenario() -> Site:
        site = site_of_a_job()
        held = Held(site)
        task = asyncio.create_task(ask_asgi_async(AsgiApp(held, AUTHENTICATE), Asked()))
        await held.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.go_on.set()
        await held.ended.wait()
        return site

    site = run(scenario())
    assert site.store.job("batch_xyz789", "a").status == "cancelled"


def test_a_client_that_leaves_before_its_body_is_whole_cancels_nothing() -> None:
    """It may not have meant what has arrived of it."""

    async def scenario() -> Site:
        site = site_of_a_job()
        told: list[Any] = []
        messages = [
            {"type": "http.request", "body": b"", "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            told.append(message)

        path = "/batch/jobs/batch_xyz789/cancel"
        headers = [(b"authorization", b"Bearer key-a")]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        await site.app(scope, receive, send)
        return site

    assert run(scenario()).record() is None


def test_a_client_of_a_real_server_leaves_in_the_middle(postgres_schema: str) -> None:
    """It hangs up while the cancel waits for the job's lock; the cancel comes to its end."""
    uow = AsyncPostgresUnitOfWork(
        lambda: psycopg.AsyncConnection.connect(postgres_schema), lock_timeout=FOR_EVER
    )
    cancel = partial(cancel_job_async, uow=uow, scheduler=AsyncMemoryScheduler())
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status) VALUES ('j', 'a', 'running')"
        )
        with serving("asgi_bare", AsgiApp(cancel, AUTHENTICATE)) as url:
            with connection.transaction():
                connection.execute("SELECT FROM batch_jobs FOR UPDATE")
                port = int(url.rpartition(":")[2])
                with socket.create_connection((HOST, port)) as client:
                    client.sendall(
                        b"POST /batch/jobs/j/cancel HTTP/1.1\r\nHost: x\r\n"
                        b"Authorization: Bearer key-a\r\n\r\n"
                    )
                    wait_until(lambda: somebody_waits(connection), "the cancel waits")
            wait_until(lambda: status_in(connection) == "cancelled", "the job is cancelled")


def test_a_server_that_goes_waits_for_cancels_that_have_begun() -> None:
    """Its lifespan ends after them."""

    async def scenario() -> list[str]:
        site = site_of_a_job()
        held = Held(site)
        app = AsgiApp(held, AUTHENTICATE)
        messages: asyncio.Queue[Any] = asyncio.Queue()
        told: list[str] = []

        async def send(message: Any) -> None:
            told.append(message["type"])

        life = asyncio.create_task(app({"type": "lifespan"}, messages.get, send))
        await messages.put({"type": "lifespan.startup"})
        request = asyncio.create_task(ask_asgi_async(app, Asked()))
        await held.begun.wait()
        request.cancel()
        await messages.put({"type": "lifespan.shutdown"})
        for _ in range(10):
            await asyncio.sleep(0)
        assert told == ["lifespan.startup.complete"]
        held.go_on.set()
        await life
        assert held.ended.is_set()
        return told

    told = run(scenario())
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("root_path", "path"),
    [("/", ""), ("/v1/", "/v1"), ("/v1", "/v1"), ("/v1", ""), ("/b", ""), ("/batc", "")],
)
def test_a_root_path_is_taken_off_where_it_is_one(root_path: str, path: str) -> None:
    """Servers and proxies pass it with or without a slash, and some leave it out of the path."""
    cancelled: list[str] = []

    async def cancel(batch_job_id: str, /, **_: object) -> Any:
        cancelled.append(batch_job_id)
        raise JobNotFound(JobKey(batch_job_id))

    async def behind_a_proxy(scope: Any, receive: Any, send: Any) -> None:
        scope["root_path"] = root_path
        await AsgiApp(cancel, AUTHENTICATE)(scope, receive, send)

    told = ask_asgi(behind_a_proxy, Asked(path=f"{path}/batch/jobs/j/cancel"))
    assert (told.status, cancelled) == (404, ["j"])


def test_a_websocket_is_closed() -> None:
    """There is nothing to be had over one."""

    async def scenario() -> list[Any]:
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        await Site("asgi").app({"type": "websocket", "path": "/"}, never, send)
        return told

    assert run(scenario()) == [{"type": "websocket.close"}]
