"""What an ASGI application owes beyond its answers: budgets, clients that leave, lifespans."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
import pytest

from batch_cancel import JobKey, JobNotFound, cancel_job, cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler, MemoryStore
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.http.request import Request
from tests.http.examples import serving
from tests.http.requests import (
    AUTHENTICATE,
    Asked,
    Site,
    Told,
    ask_asgi,
    ask_asgi_async,
    ask_wsgi,
)
from tests.pairs import create_reference_tables
from tests.processes import HOST, WAIT_SECONDS_MAX, wait_until

T = TypeVar("T")

SHORT = timedelta(milliseconds=50)
FOR_EVER = timedelta(hours=1)
FAILED = b'{"detail": "Failed to cancel batch job"}'


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Play a scenario; one that a bug brings to a halt fails."""
    return asyncio.run(asyncio.wait_for(scenario, WAIT_SECONDS_MAX))


class Held:
    """A cancel that stops half-way until it is let go on."""

    def __init__(self, site: Site) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()
        self._cancel = partial(cancel_job_async, uow=site.store, scheduler=site.scheduler)

    async def __call__(self, batch_job_id: str, /, **wish: Any) -> Any:
        """Cancel, once it is let go on."""
        self.begun.set()
        await self.go_on.wait()
        result = await self._cancel(batch_job_id, **wish)
        self.ended.set()
        return result


def site_of_a_job() -> Site:
    """Give a site with a running job."""
    site = Site("asgi")
    site.add_job()
    return site


def test_a_budget_ends_the_wait_but_not_the_cancel(caplog: pytest.LogCaptureFixture) -> None:
    """The client is told that it failed, may ask again, and the job is cancelled whole."""

    async def scenario() -> tuple[Told, Site]:
        site = site_of_a_job()
        held = Held(site)
        retry_after = timedelta(seconds=3)
        app = AsgiApp(held, AUTHENTICATE, budget=SHORT, retry_after=retry_after)
        told = await ask_asgi_async(app, Asked())
        held.go_on.set()
        await held.ended.wait()
        return told, site

    told, site = run(scenario())
    assert (told.status, told.content) == (503, FAILED)
    assert ("retry-after", "3") in told.headers
    assert "batch job 'batch_xyz789'" in caplog.text
    assert "it may have been cancelled" in caplog.text
    assert site.store.job("batch_xyz789", "a").status == "cancelled"
    assert site.record().contacts_cancelled == 2


def test_without_the_option_a_budget_ends_in_the_contracts_500() -> None:
    """As every other failure."""

    async def scenario() -> Told:
        held = Held(site_of_a_job())
        return await ask_asgi_async(AsgiApp(held, AUTHENTICATE, budget=SHORT), Asked())

    told = run(scenario())
    assert (told.status, told.content) == (500, FAILED)


async def _cancelled_itself(*_: Any, **__: Any) -> Any:
    """Await a task of its own that was cancelled, as a client library may."""
    task = asyncio.create_task(_never())
    await asyncio.sleep(0)
    task.cancel()
    await task


@pytest.mark.parametrize("where", ["authenticate", "cancel", "body"])
def test_a_task_of_its_own_that_was_cancelled_is_the_contracts_500(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody cancelled the request, so its server must not think so."""

    async def body() -> AsyncIterator[bytes]:
        if where == "body":
            await _cancelled_itself()
        yield b""

    async def scenario() -> Any:
        site = site_of_a_job()
        cancel = partial(cancel_job_async, uow=site.store, scheduler=site.scheduler)
        app = AsgiApp(
            _cancelled_itself if where == "cancel" else cancel,
            _cancelled_itself if where == "authenticate" else AUTHENTICATE,
            retry_after=timedelta(seconds=3),
        )
        headers = {"authorization": "Bearer key-a"}
        request = Request("POST", "/batch/jobs/batch_xyz789/cancel", headers)
        told = await app.respond(request, body())
        assert site.record() is None
        return told

    told = run(scenario())
    assert (told.status, told.content) == (500, FAILED)
    [entry] = caplog.records
    assert entry.getMessage() == "a request to cancel was answered with 500: CancelledError"


def test_a_bare_cancelled_error_is_the_contracts_500() -> None:
    """The same, however it came about; eager tasks included, which end before they are awaited."""

    def authenticate(_: str) -> Any:
        raise asyncio.CancelledError

    async def scenario() -> Told:
        loop = asyncio.get_running_loop()
        # From Python 3.12 on.
        loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))
        return await ask_asgi_async(AsgiApp(_cancelled_itself, authenticate), Asked())

    told = run(scenario())
    assert (told.status, told.content) == (500, FAILED)


@pytest.mark.parametrize("where", ["authenticate", "cancel"])
def test_a_request_that_is_cancelled_stays_cancelled(where: str) -> None:
    """Also where what it waits for is cancelled at the same moment."""

    async def scenario() -> None:
        waiting = asyncio.Event()

        async def stuck(*_: Any, **__: Any) -> Any:
            waiting.set()
            await _never()

        app = AsgiApp(
            stuck if where == "cancel" else _cancelled_itself,
            stuck if where == "authenticate" else AUTHENTICATE,
        )
        request = asyncio.create_task(ask_asgi_async(app, Asked()))
        await waiting.wait()
        for task in app._tasks:
            task.cancel()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert request.cancelled()

    run(scenario())


@pytest.mark.parametrize("where", ["authenticate", "cancel"])
def test_a_cancelled_error_is_the_contracts_500_under_wsgi(where: str) -> None:
    """What runs coroutines there may raise it, and nobody can have cancelled the request."""

    def bridged(*_: Any, **__: Any) -> Any:
        return asyncio.run(_cancelled_itself())

    app = WsgiApp(
        bridged
        if where == "cancel"
        else partial(cancel_job, uow=MemoryStore(), scheduler=MemoryScheduler()),
        bridged if where == "authenticate" else AUTHENTICATE,
    )
    told = ask_wsgi(app, Asked())
    assert (told.status, told.content) == (500, FAILED)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whoever_stops_the_process_stops_it_under_wsgi(stop: type[BaseException]) -> None:
    """Such an exception passes unchanged."""
    fault = stop()

    def authenticate(_: str) -> Any:
        raise fault

    app = WsgiApp(
        partial(cancel_job, uow=MemoryStore(), scheduler=MemoryScheduler()), authenticate
    )
    with pytest.raises(stop) as caught:
        ask_wsgi(app, Asked())
    assert caught.value is fault


async def _never(*_: Any) -> Any:
    await asyncio.Event().wait()


def test_a_body_that_does_not_come_is_a_408() -> None:
    """And nothing is cancelled when it comes after all."""

    async def scenario() -> tuple[Any, list[Any], Site]:
        site = site_of_a_job()
        asked: list[Any] = []

        async def slow() -> AsyncIterator[bytes]:
            yield b"{"
            try:
                await _never()
            finally:
                asked.append("called off")

        cancel = partial(cancel_job_async, uow=site.store, scheduler=site.scheduler)
        app = AsgiApp(cancel, AUTHENTICATE, budget=SHORT)
        headers = {"authorization": "Bearer key-a", "content-type": "application/json"}
        told = await app.respond(
            Request("POST", "/batch/jobs/batch_xyz789/cancel", headers), slow()
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return told, list(asked), site

    told, asked, site = run(scenario())
    assert told.status == 408
    assert asked == ["called off"]
    assert site.record() is None


def test_an_authenticate_that_never_answers_is_left() -> None:
    """Nothing has begun by then."""

    async def scenario() -> Told:
        site = site_of_a_job()
        cancel = partial(cancel_job_async, uow=site.store, scheduler=site.scheduler)
        return await ask_asgi_async(AsgiApp(cancel, _never, budget=SHORT), Asked())

    assert run(scenario()).status == 408


@pytest.mark.parametrize("is_async", [True, False])
def test_authenticate_may_be_of_either_kind(is_async: bool) -> None:  # noqa: FBT001
    """Awaited if it has to be."""

    async def authenticate(key: str) -> Any:
        return AUTHENTICATE(key)

    site = Site("asgi")
    site.restart(authenticate=authenticate if is_async else AUTHENTICATE)
    site.add_job()
    assert site.ask(Asked()).status == 200


def test_a_coroutine_function_is_refused_under_wsgi() -> None:
    """At once: it would let everybody in, or nobody."""

    async def authenticate(key: str) -> Any:
        return AUTHENTICATE(key)

    cancel = partial(cancel_job, uow=MemoryStore(), scheduler=MemoryScheduler())
    with pytest.raises(TypeError, match="coroutine"):
        WsgiApp(cancel, authenticate)  # type: ignore[arg-type]


def test_a_request_called_off_does_not_stop_a_cancel() -> None:
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
                    wait_until(lambda: _somebody_waits(connection), "the cancel waits")
            wait_until(lambda: _status(connection) == "cancelled", "the job is cancelled")


def _somebody_waits(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "SELECT count(*) > 0 FROM pg_locks "
        "WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    ).fetchone()
    return row == (True,)


def _status(connection: psycopg.Connection[Any]) -> object:
    row = connection.execute("SELECT status FROM batch_jobs").fetchone()
    return row and row[0]


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

        await Site("asgi").app({"type": "websocket", "path": "/"}, _never, send)
        return told

    assert run(scenario()) == [{"type": "websocket.close"}]
