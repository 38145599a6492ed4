"""The use cases that need a store only, as the commands call them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, TypedDict

import attrs

from batch_cancel import (
    CancellationPage,
    CancellationRecord,
    JobKey,
    Preview,
    Progress,
    cancellation_of_async,
    cancellations_async,
    forget_async,
    job_progress_async,
    preview_job_async,
)
from batch_cancel.ports import AsyncUnitOfWork
from batch_cancel.use_cases.run_blocking import is_blocking

PAUSE_SECONDS: Final = 2.0
"""How long `watch` waits between two reads."""


class Asked(TypedDict):
    """The arguments of `cancellations`."""

    organization_id: str | None
    since: datetime | None
    until: datetime | None
    limit: int
    after: str | None


@attrs.frozen
class StoreCalls:
    """The use cases, with an application's store: an asyncio one, or a blocking one wrapped."""

    uow: AsyncUnitOfWork

    @property
    def is_blocking(self) -> bool:
        """Whether no event loop is needed."""
        return is_blocking(self.uow)

    async def preview(self, key: JobKey, operation_id: str | None) -> Preview:
        """Return what a cancel would do."""
        return await preview_job_async(
            key.batch_job_id,
            uow=self.uow,
            organization_id=key.organization_id,
            operation_id=operation_id,
        )

    async def progress(self, key: JobKey) -> Progress:
        """Return how many contacts of a job are open, live and ended."""
        return await job_progress_async(
            key.batch_job_id, uow=self.uow, organization_id=key.organization_id
        )

    async def cancellation(self, key: JobKey) -> CancellationRecord | None:
        """Return the record of a job's cancellation."""
        return await cancellation_of_async(
            key.batch_job_id, uow=self.uow, organization_id=key.organization_id
        )

    async def history(self, asked: Asked) -> CancellationPage:
        """Return a page of the history."""
        return await cancellations_async(uow=self.uow, **asked)

    async def forget(self, before: datetime, retry_window: timedelta) -> int:
        """Delete old records, and return how many."""
        return await forget_async(uow=self.uow, before=before, retry_window=retry_window)

    async def watch(self, key: JobKey, show: Callable[[Progress], None]) -> Progress:
        """Read a job and show it, again and again until it is drained."""
        while True:
            seen = await self.progress(key)
            show(seen)
            if seen.is_drained:
                return seen
            if self.is_blocking:
                time.sleep(PAUSE_SECONDS)  # noqa: ASYNC251  # There is no event loop.
            else:
                await asyncio.sleep(PAUSE_SECONDS)
