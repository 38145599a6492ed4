"""The endpoint in a FastAPI application, beneath /v1, routes of its own, and a worker."""

from functools import partial
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from batch_cancel import cancel_job_async
from batch_cancel.adapters.fastapi import cancel_router, install_error_handlers
from batch_cancel.http import Authenticate, Principal
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork
from examples.calling import call_all_async

bearer = HTTPBearer(auto_error=False)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


class Stopped(BaseModel):
    """How many contacts of a campaign are not called any more."""

    contacts: int


def make_app(
    uow: AsyncUnitOfWork, scheduler: AsyncScheduler, authenticate: Authenticate
) -> FastAPI:
    """Make the application."""
    cancel = partial(cancel_job_async, uow=uow, scheduler=scheduler)

    def current_principal(credentials: Credentials) -> Principal | None:
        return authenticate(credentials.credentials) if credentials else None

    def manager(principal: Annotated[Principal | None, Depends(current_principal)]) -> Principal:
        if principal is None or not principal.may_cancel:
            raise HTTPException(403, "Only managers stop campaigns")
        return principal

    app = FastAPI()
    app.include_router(cancel_router(cancel, principal=current_principal), prefix="/v1")
    install_error_handlers(app)

    @app.post("/v1/campaigns/{job_id}/stop")
    async def stop(job_id: str, manager: Annotated[Principal, Depends(manager)]) -> Stopped:
        result = await cancel(job_id, organization_id=manager.organization_id, actor=manager.actor)
        return Stopped(contacts=result.contacts_cancelled)

    @app.post("/v1/campaigns/{job_id}/calls", status_code=202)
    def call(
        job_id: str, manager: Annotated[Principal, Depends(manager)], tasks: BackgroundTasks
    ) -> None:
        tasks.add_task(call_all_async, job_id, manager.organization_id, uow)

    return app
