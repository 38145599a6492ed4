"""The endpoint in a Litestar application, beneath /v1, and a route of its own that cancels."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar import Litestar, Request, post
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import PermissionDeniedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.params import FromPath

from batch_cancel import cancel_job_async
from batch_cancel.adapters.litestar import CANCEL_PATH, CancelPlugin, error_handlers
from batch_cancel.http import Authenticate, Principal
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork

Connection = ASGIConnection[Any, Any, Any, Any]
Asked = Request[Principal | None, str, Any]


@dataclass
class Stopped:
    """How many contacts of a campaign are not called any more."""

    contacts: int


async def current_principal(request: Asked) -> Principal | None:
    """Return who asks."""
    return request.user


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> Litestar:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)

    class Authentication(AbstractAuthenticationMiddleware):
        async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
            _, _, key = connection.headers.get("Authorization", "").partition("Bearer ")
            return AuthenticationResult(user=authenticate(key), auth=key)

    @post("/v1/campaigns/{job_id:str}/stop", status_code=200)
    async def stop(job_id: FromPath[str], request: Asked) -> Stopped:
        if request.user is None or not request.user.may_cancel:
            raise PermissionDeniedException
        result = await cancel(job_id, organization_id=request.user.organization_id)
        return Stopped(result.contacts_cancelled)

    endpoint = CancelPlugin(cancel, principal=Provide(current_principal), path=f"/v1{CANCEL_PATH}")
    return Litestar(
        [stop],
        middleware=[Authentication],
        plugins=[endpoint],
        exception_handlers=error_handlers(),
    )
