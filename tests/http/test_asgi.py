"""What ASGI and WSGI applications owe beyond their answers: budgets and interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from batch_cancel import cancel_job, cancel_job_async
from batch_cancel.adapters.asgi import AsgiApp, AsgiRoute
from batch_cancel.adapters.memory import MemoryScheduler, MemoryStore
from batch_cancel.adapters.wsgi import WsgiApp
from batch_cancel.http.api_keys import Principal
from batch_cancel.http.request import Request
from tests.http.held import FAILED, SHORT, Held, never, run, site_of_a_job
from tests.http.requests import (
    AUTHENTICATE,
    Asked,
    Site,
    Told,
    ask_asgi_async,
    ask_wsgi,
)


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


def test_a_budget_of_a_route_ends_the_wait_but_not_the_cancel() -> None:
    """The same behind the routing of a framework."""

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    async def scenario() -> tuple[Any, Site]:
        site = site_of_a_job()
        held = Held(site)
        route = AsgiRoute(held, retry_after=None, ok_if_cancelled=False, budget=SHORT)
        path = "/batch/jobs/batch_xyz789/cancel"
        ada = Principal("ada", "a", may_cancel=True)
        told = await route.respond("batch_xyz789", ada, Request("POST", path, {}), nothing())
        held.go_on.set()
        await held.ended.wait()
        return told, site

    told, site = run(scenario())
    assert (told.status, told.content) == (500, FAILED)
    assert site.store.job("batch_xyz789", "a").status == "cancelled"


def test_without_the_option_a_budget_ends_in_the_contracts_500() -> None:
    """As every other failure."""

    async def scenario() -> Told:
        held = Held(site_of_a_job())
        return await ask_asgi_async(AsgiApp(held, AUTHENTICATE, budget=SHORT), Asked())

    told = run(scenario())
    assert (told.status, told.content) == (500, FAILED)


async def _cancelled_itself(*_: Any, **__: Any) -> Any:
    """Await a task of its own that was cancelled, as a client library may."""
    task = asyncio.create_task(never())
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
            await never()

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


def test_a_body_that_does_not_come_is_a_408() -> None:
    """And nothing is cancelled when it comes after all."""

    async def scenario() -> tuple[Any, list[Any], Site]:
        site = site_of_a_job()
        asked: list[Any] = []

        async def slow() -> AsyncIterator[bytes]:
            yield b"{"
            try:
                await never()
            finally:
                asked.append("cancelled")

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
    assert asked == ["cancelled"]
    assert site.record() is None


def test_an_authenticate_that_never_answers_is_left() -> None:
    """Nothing has begun by then."""

    async def scenario() -> Told:
        site = site_of_a_job()
        cancel = partial(cancel_job_async, uow=site.store, scheduler=site.scheduler)
        return await ask_asgi_async(AsgiApp(cancel, never, budget=SHORT), Asked())

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
    with pytest.raises(TypeError, match=r"^authenticate is a coroutine function, and WSGI"):
        WsgiApp(cancel, authenticate)  # type: ignore[arg-type]
