"""Cancellations that a process left unfinished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_cancel import (
    Removal,
)

if TYPE_CHECKING:
    from tests.pairs import World


def unfinished(world: World, *job_ids: str, **options: Any) -> None:
    """Cancel jobs whose deferred starts wait, as processes that then die."""
    for job_id in job_ids:
        world.add_job(
            job_id,
            "scheduled",
            ["pending"],
            deferred_id=f"start of {job_id}",
            organization_id=options.get("organization_id"),
        )
        world.schedule(f"start of {job_id}")
        world.cancel_rows(job_id, operation_id=f"op of {job_id}", **options)


def removal(world: World, job_id: str, organization_id: str | None = None) -> Removal:
    """Return what the job's record says of its deferred start."""
    record = world.record(job_id, organization_id)
    assert record is not None
    return record.removal


def down(*_: Any) -> Any:
    """Answer as a scheduler does that cannot be reached."""
    raise ConnectionError
