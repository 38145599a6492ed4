"""An application of each framework over any cancel, with the keys of the tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs

from batch_cancel import cancel_job, cancel_job_async
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.http import Principal
from tests.http.requests import AUTHENTICATE

OWN_ROUTE: Final = "/own"
"""A route that raises."""


@attrs.define
class Own:
    """
    What is the application's own.

    Arguments:
        raised: what its route raises.
        are_closed: whether its resources are closed.
    """

    raised: BaseException = attrs.field(factory=ValueError)
    are_closed: bool = False

    async def resources(self, _: Any) -> AsyncGenerator[None]:
        """Open and close the resources."""
        yield
        self.are_closed = True


def principal_in(authorization: str | None) -> Principal | None:
    """Return whose key a header contains."""
    return AUTHENTICATE((authorization or "").removeprefix("Bearer "))


def _fastapi(cancel: Any, own: Own, options: dict[str, Any]) -> Any:
    from fastapi import Depends, FastAPI
    from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

    from batch_cancel.adapters.fastapi import cancel_router, install_error_handlers

    bearer = Depends(HTTPBearer(auto_error=False))

    def principal(found: HTTPAuthorizationCredentials | None = bearer) -> Principal | None:
        return AUTHENTICATE(found.credentials) if found else None

    # What is annotated is local.
    principal.__annotations__["found"] = HTTPAuthorizationCredentials | None
    app = FastAPI(lifespan=asynccontextmanager(own.resources))
    app.include_router(cancel_router(cancel, principal=principal, **options))
    install_error_handlers(app, **shared(options))

    @app.post(OWN_ROUTE)
    async def raising() -> None:
        raise own.raised

    return app


def _litestar(cancel: Any, own: Own, options: dict[str, Any]) -> Any:
    from litestar import Litestar, Request, post
    from litestar.di import Provide
    from litestar.openapi import OpenAPIConfig
    from litestar.openapi.spec import Components, SecurityScheme

    from batch_cancel.adapters.litestar import CancelPlugin, error_handlers

    async def principal(request: Any) -> Principal | None:
        return principal_in(request.headers.get("authorization"))

    principal.__annotations__["request"] = Request[Any, Any, Any]

    @post(OWN_ROUTE)
    async def raising() -> None:
        raise own.raised

    scheme = SecurityScheme(type="http", scheme="bearer")
    return Litestar(
        [raising],
        lifespan=[asynccontextmanager(own.resources)],
        plugins=[CancelPlugin(cancel, principal=Provide(principal), **options)],
        exception_handlers=error_handlers(**shared(options)),
        openapi_config=OpenAPIConfig(
            "app", "1", components=Components(security_schemes={"bearer": scheme})
        ),
        security=[{"bearer": []}],
    )


def _flask(cancel: Any, own: Own, options: dict[str, Any]) -> Any:
    from flask import Flask, request

    from batch_cancel.adapters.flask import cancel_blueprint, install_error_handlers

    def principal() -> Principal | None:
        return principal_in(request.headers.get("Authorization"))

    app = Flask("app")
    app.register_blueprint(cancel_blueprint(cancel, principal=principal, **options))
    install_error_handlers(app, **shared(options))

    @app.post(OWN_ROUTE)
    def raising() -> Any:
        raise own.raised

    return app


def _aiohttp(cancel: Any, own: Own, options: dict[str, Any]) -> Any:
    from aiohttp import web

    from batch_cancel.adapters.aiohttp import add_cancel_route, error_middleware

    async def principal(request: web.Request) -> Principal | None:
        return principal_in(request.headers.get("Authorization"))

    async def raising(_: web.Request) -> Any:
        raise own.raised

    app = web.Application(middlewares=[error_middleware(**shared(options))])
    app.cleanup_ctx.append(own.resources)
    add_cancel_route(app, cancel, principal=principal, **options)
    app.router.add_post(OWN_ROUTE, raising)
    return app


def shared(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the presenters of errors have, too."""
    return {name: it for name, it in options.items() if name in {"retry_after", "ok_if_cancelled"}}


_MAKERS: Final[dict[str, Callable[[Any, Own, dict[str, Any]], Any]]] = {
    "fastapi": _fastapi,
    "litestar": _litestar,
    "flask": _flask,
    "aiohttp": _aiohttp,
}

FRAMEWORKS: Final = tuple(_MAKERS)
ASGI: Final = ("fastapi", "litestar")
ASYNCIO: Final = (*ASGI, "aiohttp")


def app_of(name: str, cancel: Any, own: Own | None = None, **options: Any) -> Any:
    """Return an application: the endpoint, and a route of its own that raises."""
    return _MAKERS[name](cancel, own or Own(), options)


def seeded(store: Any) -> Any:
    """Return a store with the jobs of the requests."""
    for job_id, status, organization in (
        ("mine", "running", "a"),
        ("done", "completed", "a"),
        ("\ufffd", "running", "a"),
        ("theirs", "running", "b"),
    ):
        store.add_job(job_id, status, organization, None)
        store.add_contacts(job_id, {"1": "pending", "2": "busy", "3": "dialing"}, organization)
    return store


def ports_of(name: str) -> tuple[Any, Any]:
    """Return a store of the framework's kind, and the cancel over it."""
    if name == "flask":
        store = seeded(MemoryStore())
        return store, partial(cancel_job, uow=store, scheduler=MemoryScheduler())
    store = seeded(AsyncMemoryStore())
    return store, partial(cancel_job_async, uow=store, scheduler=AsyncMemoryScheduler())
