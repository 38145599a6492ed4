"""
The endpoint as a router of FastAPI.

    app = FastAPI()
    app.include_router(cancel_router(cancel, principal=current_principal), prefix="/v1")

Rule 1: the rules of the endpoint are those of `batch_cancel.http`; its answers are passed on byte
        for byte. Routing, authentication and documentation are the application's own.
Rule 2: FastAPI reads no body, because it would read one before the dependencies have run.
Rule 3: as in `adapters/asgi.py`, a cancel that has begun runs to its end. At its shutdown the
        application that includes the router waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import ClassVar, Final

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
    from pydantic import BaseModel, ConfigDict
    from pydantic.alias_generators import to_camel
    from starlette.convertors import Convertor, register_url_convertor
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "fastapi", _missing) from _missing

from batch_cancel import http
from batch_cancel.adapters.asgi import AsgiRoute, request_sent
from batch_cancel.domain.defaults import HTTP_BUDGET
from batch_cancel.domain.errors import BatchCancelError
from batch_cancel.http.endpoint import failed
from batch_cancel.http.openapi import PATH, check_path, routed_operation

__all__ = ["CANCEL_PATH", "cancel_router", "install_error_handlers", "to_response"]


class _JobId(Convertor[str]):
    """Any text; Starlette's `path` ends at a line break."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("batch_job_id", _JobId())

CANCEL_PATH: Final = PATH.replace("{batch_job_id}", "{batch_job_id:batch_job_id}")
"""The path of the contract; an id may contain slashes and line breaks."""


class CancelledBatchJob(BaseModel):
    """The body of a 200."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid"
    )

    success: bool
    message: str
    batch_job_id: str
    redis_job_cancelled: bool
    contacts_cancelled: int


class BatchJobError(BaseModel):
    """The body of every other answer."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    detail: str


def cancel_router(
    cancel: http.AsyncCancel | http.Cancel,
    *,
    principal: Callable[..., http.Principal | Awaitable[http.Principal | None] | None],
    path: str = CANCEL_PATH,
    retry_after: timedelta | None = None,
    ok_if_cancelled: bool = False,
    budget: timedelta = HTTP_BUDGET,
) -> APIRouter:
    """
    Return a router with the endpoint.

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
    check_path(path, "{batch_job_id", "{batch_job_id}")
    route = AsgiRoute(
        cancel, retry_after=retry_after, ok_if_cancelled=ok_if_cancelled, budget=budget
    )
    operation = routed_operation(retry_after, ok_if_cancelled=ok_if_cancelled)
    job, operation_id = operation["parameters"]

    async def cancel_batch_job(
        request: Request,
        batch_job_id: str = Path(description=job["description"], examples=[job["example"]]),
        principal: http.Principal | None = Depends(principal),  # noqa: B008  # FastAPI reads it.
    ) -> Response:
        sent = request_sent(request.scope)
        # Starlette drops a last line break, so that two paths name one job.
        is_cut = sent.path.endswith("\n") and not batch_job_id.endswith("\n")
        job_id = "" if is_cut else batch_job_id
        return to_response(await route.respond(job_id, principal, sent, request.stream()))

    @asynccontextmanager
    async def until_finished(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await route.finish()

    router = APIRouter(lifespan=until_finished)
    router.add_api_route(
        path,
        cancel_batch_job,
        methods=["POST"],
        summary=operation["summary"],
        description=operation["description"],
        response_model=CancelledBatchJob,
        responses={
            int(status): {
                **answer,
                "model": CancelledBatchJob if status == "200" else BatchJobError,
            }
            for status, answer in operation["responses"].items()
        },
        openapi_extra={"parameters": [operation_id], "requestBody": operation["requestBody"]},
    )
    return router


def install_error_handlers(
    app: FastAPI, *, retry_after: timedelta | None = None, ok_if_cancelled: bool = False
) -> None:
    """
    Answer errors of the library that are raised in your own routes as the endpoint does.

    Arguments:
        app: the application.
        retry_after: as in `cancel_router`.
        ok_if_cancelled: as in `cancel_router`.
    """

    async def answer(_: Request, error: Exception) -> Response:
        return to_response(failed(error, retry_after, ok_if_cancelled=ok_if_cancelled))

    app.add_exception_handler(BatchCancelError, answer)


def to_response(answer: http.Response) -> Response:
    """Return an answer of `present` or `present_error` as one of FastAPI."""
    return Response(answer.content, answer.status, answer.headers)
