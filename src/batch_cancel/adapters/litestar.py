"""
The endpoint as a plugin of Litestar.

    Litestar(plugins=[CancelPlugin(cancel, principal=Provide(current_principal))])

Rule 1: the rules of the endpoint are those of `batch_cancel.http`; its answers are passed on byte
        for byte. Routing, authentication and documentation are the application's own.
Rule 2: Litestar reads no body, because the endpoint limits it.
Rule 3: as in `adapters/asgi.py`, a cancel that has begun runs to its end. At its shutdown the
        application waits for it.
Rule 4: Litestar splits a path at slashes and drops empty parts, so that two paths name one job.
        An id with a slash is not found.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, TypeAlias

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from litestar import Litestar, Request, Response, post
    from litestar.config.app import AppConfig
    from litestar.di import NamedDependency, Provide
    from litestar.exceptions import MethodNotAllowedException
    from litestar.handlers import HTTPRouteHandler
    from litestar.openapi import ResponseSpec
    from litestar.openapi.spec import Operation
    from litestar.params import FromPath
    from litestar.plugins import InitPlugin
    from msgspec import Struct
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "litestar", _missing) from _missing

from batch_cancel import http
from batch_cancel.adapters.asgi import AsgiRoute, request_sent
from batch_cancel.domain.defaults import HTTP_BUDGET
from batch_cancel.domain.errors import BatchCancelError
from batch_cancel.http.endpoint import failed
from batch_cancel.http.openapi import JSON, PATH, check_path, routed_operation

__all__ = ["CANCEL_PATH", "CancelPlugin", "error_handlers", "to_response"]

CANCEL_PATH: Final = PATH.replace("{batch_job_id}", "{batch_job_id:str}")
"""The path of the contract."""

_PRINCIPAL: Final = "batch_cancel_principal"
"""The name of the dependency; yours may have any other."""

_Request: TypeAlias = Request[Any, Any, Any]


class CancelledBatchJob(Struct, rename="camel", frozen=True):
    """The body of a 200."""

    success: bool
    message: str
    batch_job_id: str
    redis_job_cancelled: bool
    contacts_cancelled: int


class BatchJobError(Struct, frozen=True):
    """The body of every other answer."""

    detail: str


class CancelPlugin(InitPlugin):
    """
    Adds the endpoint to an application.

    List it after the plugins whose resources `cancel` uses: they close theirs after it.

    Arguments:
        cancel: `functools.partial(cancel_job_async, uow=..., scheduler=...)`, or the same of
            `cancel_job`, which runs in a thread.
        principal: a dependency that returns who asks; for None the answer is the endpoint's 401.
        path: the path of the route, with a parameter `batch_job_id`.
        retry_after: if given, errors worth a retry are answered with 429 or 503 and this time;
            otherwise with the contract's 500.
        ok_if_cancelled: if true, a cancel of a job that another operation has cancelled before is
            answered with 200 and changes nothing; otherwise with the contract's 400.
        budget: how long a request may take. A cancel that takes longer is answered as failed with
            an unknown outcome, and runs to its end.

    Raises:
        TypeError: a port that is bound to `cancel` is of the wrong kind.
        ValueError: `path` has no parameter `batch_job_id`.
    """

    def __init__(
        self,
        cancel: http.AsyncCancel | http.Cancel,
        *,
        principal: Provide,
        path: str = CANCEL_PATH,
        retry_after: timedelta | None = None,
        ok_if_cancelled: bool = False,
        budget: timedelta = HTTP_BUDGET,
    ) -> None:
        check_path(path, "{batch_job_id", "{batch_job_id:str}")
        self._route = AsgiRoute(
            cancel, retry_after=retry_after, ok_if_cancelled=ok_if_cancelled, budget=budget
        )
        operation = routed_operation(retry_after, ok_if_cancelled=ok_if_cancelled)
        self._handler = _handler(self._route, principal, path, operation)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the endpoint, and the wait for cancels that have begun."""
        app_config.route_handlers.append(self._handler)
        config: Any = app_config  # It does not say what its contexts may suppress.
        config.lifespan.append(self._until_finished)
        return app_config

    @asynccontextmanager
    async def _until_finished(self, _: Litestar) -> AsyncGenerator[None]:
        yield
        await self._route.finish()


def error_handlers(
    *, retry_after: timedelta | None = None, ok_if_cancelled: bool = False
) -> dict[int | type[Exception], Callable[[_Request, Exception], Response[bytes]]]:
    """
    Return `exception_handlers` by which your own routes answer errors as the endpoint does.

    Arguments:
        retry_after: as in `CancelPlugin`.
        ok_if_cancelled: as in `CancelPlugin`.
    """

    def answer(_: _Request, error: Exception) -> Response[bytes]:
        return to_response(failed(error, retry_after, ok_if_cancelled=ok_if_cancelled))

    return {BatchCancelError: answer}


def to_response(answer: http.Response) -> Response[bytes]:
    """Return an answer of `present` or `present_error` as one of Litestar."""
    headers = dict(answer.headers)
    media_type = headers.pop("content-type")
    return Response(
        answer.content, status_code=answer.status, headers=headers, media_type=media_type
    )


def _handler(
    route: AsgiRoute, principal: Provide, path: str, operation: dict[str, Any]
) -> HTTPRouteHandler:
    @post(
        path,
        dependencies={_PRINCIPAL: principal},
        description=operation["description"],
        operation_class=_operation_class(operation),
        raises=[MethodNotAllowedException],
        responses={
            int(status): ResponseSpec(
                CancelledBatchJob if status == "200" else BatchJobError,
                generate_examples=False,
                description=answer["description"],
            )
            for status, answer in operation["responses"].items()
            if status != "405"  # Litestar's own.
        },
        status_code=200,
        summary=operation["summary"],
    )
    async def cancel_batch_job(
        request: _Request,
        batch_job_id: FromPath[str],
        batch_cancel_principal: NamedDependency[http.Principal | None],
    ) -> Response[bytes]:
        sent = request_sent(request.scope)  # type: ignore[arg-type]
        found = "" if "//" in sent.path else batch_job_id
        answer = await route.respond(found, batch_cancel_principal, sent, request.stream())
        return to_response(answer)

    return cancel_batch_job


def _operation_class(operation: dict[str, Any]) -> type[Operation]:
    """Return a class that adds to Litestar's operation what its handlers cannot declare."""

    class CancelOperation(Operation):
        def to_schema(self) -> dict[str, Any]:
            schema = super().to_schema()
            own = [it for it in schema["parameters"] if it["name"] != "batch_job_id"]
            schema["parameters"] = [*own, *operation["parameters"]]
            schema["requestBody"] = operation["requestBody"]
            for status, answer in operation["responses"].items():
                documented = schema["responses"][status]
                if "headers" in answer:
                    documented["headers"] = answer["headers"]
                if status != "405":
                    documented["content"][JSON] |= answer["content"][JSON]
            return schema

    return CancelOperation
