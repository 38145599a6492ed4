"""The examples by name, and the kind of store and server that each is for."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import attrs
import httpx
import uvicorn
from yarl import URL

from batch_cancel.adapters.wsgi import WsgiApp
from tests import django_project
from tests.processes import HOST, WAIT_SECONDS_MAX, wait_until

FOLDER: Final = Path(__file__).parents[2] / "examples"

ASGI: Final = (
    "asgi_bare",
    "fastapi_app",
    "litestar_app",
    "litestar_mounted",
    "django_async_view",
)
WSGI: Final = ("wsgi_bare", "flask_app", "django_view")
OWN: Final = ("aiohttp_app",)
"""Speaks HTTP by itself."""

DJANGO_APIS: Final = {"django_rest_view": "rest_framework", "django_ninja_api": "ninja"}
"""Views for frameworks on top of Django, which have tests of their own, and their packages."""

EVERY: Final = (*ASGI, *WSGI, *OWN)
ROUTED: Final = ("fastapi_app", "litestar_app", "flask_app", "aiohttp_app")
"""Whose framework routes and authenticates, and documents the endpoint if it documents."""

LINES_MAX: Final = 60


def is_async(name: str) -> bool:
    """Check whether an example takes asyncio ports."""
    return name not in WSGI


def example(name: str) -> ModuleType:
    """Import an example."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def made(name: str, uow: Any, scheduler: Any, authenticate: Callable[[str], Any]) -> Any:
    """Make an example's application; Django's views get URLs and a handler around them."""
    if name.startswith("django"):
        return _in_django(example(name).make_view(uow, scheduler, authenticate), name)
    return example(name).make_app(uow, scheduler, authenticate)


def _in_django(view: Any, name: str) -> Any:
    from django.conf import settings
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.urls import re_path

    django_project.configure()
    urls: Any = ModuleType(f"urls_of_{name}")
    urls.urlpatterns = [re_path("^v1/", view)]
    # Django has one of each: the last example made is the one that it serves.
    settings.ROOT_URLCONF, settings.ALLOWED_HOSTS = urls, ["*"]
    return ASGIHandler() if is_async(name) else WSGIHandler()


# Test clients ------------------------------------------------------------------------------------


@attrs.frozen
class Answer:
    """What a client was told; headers that servers add by themselves are left out."""

    status: int
    headers: dict[str, str]
    content: bytes

    @classmethod
    def of(cls, status: int, headers: Any, content: bytes) -> Answer:
        """Take it from any client's answer."""
        ours = {"content-type", "content-length", "www-authenticate", "allow", "retry-after"}
        kept = {name.lower(): value for name, value in headers.items() if name.lower() in ours}
        return cls(status, kept, content)


Ask = Callable[[str, str, dict[str, str], bytes], Answer]
"""Asks: method, path, headers, body."""


@contextmanager
def client_of(name: str, app: Any) -> Generator[Ask]:
    """Yield the test client that the example's framework brings along."""
    with ExitStack() as stack:
        yield CLIENTS.get(name, _httpx_client)(app, stack)


def _httpx_client(app: Any, stack: ExitStack) -> Ask:
    if isinstance(app, WsgiApp):
        client = stack.enter_context(
            httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test")
        )
        return _asking(client)

    async def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            told = await client.request(method, path, headers=headers, content=body)
            return Answer.of(told.status_code, told.headers, told.content)

    return lambda *asked: asyncio.run(ask(*asked))


def _asking(client: Any) -> Ask:
    def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        told = client.request(method, path, headers=headers, content=body)
        return Answer.of(told.status_code, told.headers, told.content)

    return ask


def _fastapi_client(app: Any, stack: ExitStack) -> Ask:
    from fastapi.testclient import TestClient

    return _asking(stack.enter_context(TestClient(app)))


def _litestar_client(app: Any, stack: ExitStack) -> Ask:
    from litestar.testing import TestClient

    return _asking(stack.enter_context(TestClient(app)))


def _flask_client(app: Any, _: ExitStack) -> Ask:
    def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        # The client replaces bytes that are not UTF-8; servers pass them on.
        exact = {"PATH_INFO": unquote_to_bytes(path).decode("latin-1")}
        told = app.test_client().open(
            path, method=method, headers=headers, data=body, environ_overrides=exact
        )
        return Answer.of(told.status_code, told.headers, told.data)

    return ask


def _typed(headers: dict[str, str]) -> dict[str, Any]:
    """Django's clients take the type of the body apart from the other headers."""
    others = {name: value for name, value in headers.items() if name != "Content-Type"}
    return {"content_type": headers.get("Content-Type", ""), "headers": others}


def _django_client(_: Any, __: ExitStack) -> Ask:
    from django.test import Client

    def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        client: Any = Client()
        told = client.generic(method, path, body, **_typed(headers))
        return Answer.of(told.status_code, told.headers, told.content)

    return ask


def _django_async_client(_: Any, __: ExitStack) -> Ask:
    from django.test import AsyncClient

    async def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        client: Any = AsyncClient()
        told = await client.generic(method, path, body, **_typed(headers))
        return Answer.of(told.status_code, told.headers, told.content)

    return lambda *asked: asyncio.run(ask(*asked))


def _aiohttp_client(app: Any, stack: ExitStack) -> Ask:
    from aiohttp.test_utils import TestClient, TestServer

    runner = stack.enter_context(asyncio.Runner())

    async def start() -> Any:
        client = TestClient(TestServer(app))
        await client.start_server()
        return client

    client = runner.run(start())
    stack.callback(lambda: runner.run(client.close()))

    async def ask(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        url = URL(str(client.make_url("/"))[:-1] + path, encoded=True)
        async with client.session.request(method, url, headers=headers, data=body) as told:
            return Answer.of(told.status, told.headers, await told.read())

    return lambda *asked: runner.run(ask(*asked))


CLIENTS: Final[dict[str, Callable[[Any, ExitStack], Ask]]] = {
    "fastapi_app": _fastapi_client,
    "litestar_app": _litestar_client,
    "litestar_mounted": _litestar_client,
    "flask_app": _flask_client,
    "django_view": _django_client,
    "django_async_view": _django_async_client,
    "aiohttp_app": _aiohttp_client,
}


# Real servers ------------------------------------------------------------------------------------


@contextmanager
def serving(name: str, app: Any) -> Generator[str]:
    """Serve an example on loopback, in a thread, with a server of its kind; give its URL."""
    with socket.create_server((HOST, 0)) as listening, ExitStack() as stack:
        port = listening.getsockname()[1]
        kind = _aiohttp_server if name in OWN else _uvicorn if is_async(name) else _werkzeug
        kind(app, listening, stack)
        yield f"http://{HOST}:{port}"


@contextmanager
def _thread(run: Callable[[], object]) -> Generator[None]:
    thread = Thread(target=run)
    thread.start()
    yield
    thread.join(WAIT_SECONDS_MAX)
    assert not thread.is_alive()


def _uvicorn(app: Any, listening: socket.socket, stack: ExitStack) -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    stack.enter_context(_thread(lambda: server.run([listening])))

    def leave() -> None:
        server.should_exit = True

    stack.callback(leave)
    wait_until(lambda: server.started, "uvicorn serves")


def _werkzeug(app: Any, listening: socket.socket, stack: ExitStack) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any, **__: Any) -> None:
            """Return nothing."""

    server = make_server(HOST, 0, app, threaded=True, request_handler=Quiet, fd=listening.fileno())
    stack.callback(server.server_close)
    stack.enter_context(_thread(server.serve_forever))
    stack.callback(server.shutdown)


def _aiohttp_server(app: Any, listening: socket.socket, stack: ExitStack) -> None:
    from aiohttp import web

    loop = asyncio.new_event_loop()
    stack.callback(loop.close)

    async def start() -> web.AppRunner:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        return runner

    runner = loop.run_until_complete(start())
    stack.callback(lambda: loop.run_until_complete(runner.cleanup()))
    stack.enter_context(_thread(loop.run_forever))
    stack.callback(lambda: loop.call_soon_threadsafe(loop.stop))
