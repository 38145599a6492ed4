"""Cancelling many jobs, as the command calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from batch_cancel import (
    BulkResult,
    JobFilter,
    JobKey,
    JobNotFound,
    Preview,
    cancel_jobs_async,
)
from batch_cancel.cli.calls import Calls
from batch_cancel.cli.watched import Hook, watched
from batch_cancel.use_cases.bulk import find_jobs

LOOKED_AT_MAX: Final = 1000
"""How many jobs a dry run looks at."""


@attrs.frozen
class Many:
    """
    The jobs that a command line names.

    Arguments:
        wanted: a filter; None for ids.
        keys: the keys of the ids, each once.
    """

    wanted: JobFilter | None
    keys: tuple[JobKey, ...]

    @property
    def organization_id(self) -> str | None:
        """Whose jobs they are."""
        if self.wanted is not None:
            return self.wanted.organization_id
        return self.keys[0].organization_id

    async def found(self, calls: Calls) -> tuple[JobKey, ...]:
        """Return the keys of the jobs."""
        return self.keys if self.wanted is None else await find_jobs(self.wanted, calls.uow)


@attrs.frozen
class Asked:
    """
    What is asked of the jobs.

    Arguments:
        operation_id: the name of the operation.
        actor: who cancels.
        reason: why.
        rate: how many jobs a second.
    """

    operation_id: str
    actor: str | None
    reason: str | None
    rate: float | None


@attrs.frozen
class Done:
    """
    What became of them.

    Arguments:
        result: of the cancellations.
        fault: why the scheduler did not answer; None if it did, or was not asked.
        hook: on_cancelled, which knows its failures; None if there is none.
    """

    result: BulkResult
    fault: str | None
    hook: Hook | None


async def look(
    calls: Calls, many: Many, operation_id: str
) -> tuple[int, list[Preview | JobNotFound]]:
    """Return how many jobs there are, and what a cancel of each of the first would do."""
    keys = await many.found(calls)
    looked_at = list[Preview | JobNotFound]()
    for key in keys[:LOOKED_AT_MAX]:
        try:
            looked_at.append(await calls.preview(key, operation_id))
        except JobNotFound as error:
            looked_at.append(error)
    return len(keys), looked_at


async def cancel(
    calls: Calls,
    many: Many,
    asked: Asked,
    *,
    confirm: Callable[[int], None],
    progress: Callable[[BulkResult], None],
) -> Done:
    """Count the jobs, have the number confirmed, and cancel them."""
    keys = await many.found(calls)
    confirm(len(keys))
    scheduler = watched(calls.scheduler)
    hook = None if calls.on_cancelled is None else Hook(calls.on_cancelled)
    result = await cancel_jobs_async(
        [key.batch_job_id for key in keys],
        uow=calls.uow,
        scheduler=scheduler,
        organization_id=many.organization_id,
        operation_id=asked.operation_id,
        actor=asked.actor,
        reason=asked.reason,
        on_cancelled=hook,
        progress=progress,
        rate=asked.rate,
    )
    return Done(result, scheduler.fault, hook)
