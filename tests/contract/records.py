"""Records of cancellations at moments that a test chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_cancel import CancellationRecord, JobKey, JobStatus, Removal

if TYPE_CHECKING:
    from datetime import datetime

    from tests.pairs import World


def put(
    world: World,
    job_id: str,
    at: datetime,
    *,
    operation_id: str = "op",
    organization_id: str | None = None,
    **more: Any,
) -> CancellationRecord:
    """Cancel the rows of a live job as of this moment, and give the record."""
    key = JobKey(job_id, organization_id)
    values: dict[str, Any] = {
        "previous_status": JobStatus.RUNNING,
        "contacts_cancelled": 0,
        "actor": "ann",
        "reason": None,
        "deferred_id": None,
        "removal": Removal.NOT_APPLICABLE,
        **more,
    }
    record = CancellationRecord(operation_id, key, cancelled_at=at, **values)

    def mark() -> None:
        with world.store.uow.begin() as repositories:
            job = repositories.jobs.lock(key)
            repositories.jobs.mark_cancelled(job, record)

    async def mark_async() -> None:
        async with world.store.uow.begin() as repositories:
            job = await repositories.jobs.lock(key)
            await repositories.jobs.mark_cancelled(job, record)

    world.do(mark, mark_async)
    return record


def add_and_put(world: World, job_id: str, at: datetime, **more: Any) -> CancellationRecord:
    """Seed a job, and cancel its rows as of this moment."""
    world.add_job(job_id, "running", organization_id=more.get("organization_id"))
    return put(world, job_id, at, **more)
