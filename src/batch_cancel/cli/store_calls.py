"""
The use cases that ask a store alone, as the commands call them; blocking and asyncio.

Each command is one call, so that an asyncio application runs it under one event loop.
"""

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
    cancellation_of,
    cancellation_of_async,
    cancellations,
    cancellations_async,
    forget,
    forget_async,
    job_progress,
    job_progress_async,
    preview_job,
    preview_job_async,
)
from batch_cancel.ports import AsyncUnitOfWork, UnitOfWork

PAUSE_SECONDS: Final = 2.0
"""How long `watch` waits between two looks."""


class Asked(TypedDict):
    """What of the history is asked for."""

    organization_id: str | None
    since: datetime | None
    until: datetime | None
    limit: int
    after: str | None


@attrs.frozen
class StoreCalls:
    """The use cases, with an application's store."""

    uow: UnitOfWork

    def preview(self, key: JobKey, operation_id: str | None) -> Preview:
        """Return what a cancel would do."""
        return preview_job(
            key.batch_job_id,
            uow=self.uow,
            organization_id=key.organization_id,
            operation_id=operation_id,
        )

    def progress(self, key: JobKey) -> Progress:
        """Return how far a job is."""
        return job_progress(key.batch_job_id, uow=self.uow, organization_id=key.organization_id)

    def cancellation(self, key: JobKey) -> CancellationRecord | None:
        """Return the record of a job's cancellation."""
        return cancellation_of(key.batch_job_id, uow=self.uow, organization_id=key.organization_id)

    def history(self, asked: Asked) -> CancellationPage:
        """Return a page of the history."""
        return cancellations(uow=self.uow, **asked)

    def forget(self, before: datetime, retry_window: timedelta) -> int:
        """Delete old records, and return how many."""
        return forget(uow=self.uow, before=before, retry_window=retry_window)

    def watch(self, key: JobKey, show: Callable[[Progress], None]) -> Progress:
        """Look at a job and show it, again and again until it is drained."""
        while True:
            seen = self.progress(key)
            show(seen)
            if seen.is_drained:
                return seen
            time.sleep(PAUSE_SECONDS)


@attrs.frozen
class AsyncStoreCalls:
    """As `StoreCalls`, awaited."""

    uow: AsyncUnitOfWork

    async def preview(self, key: JobKey, operation_id: str | None) -> Preview:
        """As `StoreCalls.preview`, awaited."""
        return await preview_job_async(
            key.batch_job_id,
            uow=self.uow,
            organization_id=key.organization_id,
            operation_id=operation_id,
        )

    async def progress(self, key: JobKey) -> Progress:
        """As `StoreCalls.progress`, awaited."""
        return await job_progress_async(
            key.batch_job_id, uow=self.uow, organization_id=key.organization_id
        )

    async def cancellation(self, key: JobKey) -> CancellationRecord | None:
        """As `StoreCalls.cancellation`, awaited."""
        return await cancellation_of_async(
            key.batch_job_id, uow=self.uow, organization_id=key.organization_id
        )

    async def history(self, asked: Asked) -> CancellationPage:
        """As `StoreCalls.history`, awaited."""
        return await cancellations_async(uow=self.uow, **asked)

    async def forget(self, before: datetime, retry_window: timedelta) -> int:
        """As `StoreCalls.forget`, awaited."""
        return await forget_async(uow=self.uow, before=before, retry_window=retry_window)

    async def watch(self, key: JobKey, show: Callable[[Progress], None]) -> Progress:
        """As `StoreCalls.watch`, awaited."""
        while True:
            seen = await self.progress(key)
            show(seen)
            if seen.is_drained:
                return seen
            await asyncio.sleep(PAUSE_SECONDS)
