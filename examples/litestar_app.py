"""The endpoint in a Litestar application, beneath /v1, routes of its own, and a worker."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar import Litestar, Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency, Provide
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath

from batch_cancel import cancel_job_async
from batch_cancel.adapters.litestar import CANCEL_PATH, CancelPlugin, error_handlers
from batch_cancel.http import Authenticate, Principal
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork
from examples.calling import call_all_async


@dataclass
class Stopped:
    """How many contacts of a campaign are not called any more."""

    contacts: int


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> Litestar:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)

    async def current_principal(request: Request[Any, Any, Any]) -> Principal | None:
        return authenticate(request.headers.get("Authorization", "").removeprefix("Bearer "))

    async def manager(request: Request[Any, Any, Any]) -> Principal:
        if (principal := await current_principal(request)) and principal.may_cancel:
            return principal
        raise PermissionDeniedException

    @post("/v1/campaigns/{job_id:str}/stop", status_code=200)
    async def stop(job_id: FromPath[str], manager: NamedDependency[Principal]) -> Stopped:
        result = await cancel(job_id, organization_id=manager.organization_id)
        return Stopped(result.contacts_cancelled)

    @post("/v1/campaigns/{job_id:str}/calls", status_code=202)
    async def call(job_id: FromPath[str], manager: NamedDependency[Principal]) -> Response[None]:
        task = BackgroundTask(call_all_async, job_id, manager.organization_id, uow)
        return Response(None, background=task)

    endpoint = CancelPlugin(cancel, principal=Provide(current_principal), path=f"/v1{CANCEL_PATH}")
    return Litestar(
        [stop, call],
        plugins=[endpoint],
        dependencies={"manager": Provide(manager)},
        exception_handlers=error_handlers(),
    )
