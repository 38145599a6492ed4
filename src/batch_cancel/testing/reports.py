"""What a store under test does beside single steps: reports, and many jobs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import EllipsisType
from typing import cast

from batch_cancel.domain.bulk import BulkResult, JobFilter
from batch_cancel.domain.errors import JobNotFound, shown
from batch_cancel.domain.history import CancellationPage
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.overview import Preview, Progress
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork
from batch_cancel.testing.adapter import Maybe
from batch_cancel.testing.breakpoints import AsyncHooked, Hook, Hooked
from batch_cancel.testing.seeded import Seeded
from batch_cancel.use_cases.bulk import cancel_jobs, cancel_jobs_async
from batch_cancel.use_cases.history import (
    cancellations,
    cancellations_async,
    forget,
    forget_async,
)
from batch_cancel.use_cases.overview import (
    job_progress,
    job_progress_async,
    preview_job,
    preview_job_async,
)


class Reports(Seeded):
    """A store under test, with its reports."""

    def preview(self, label: str = "job", *, operation_id: str | None = None) -> Preview:
        """Return what a cancel would do."""
        key = self.key(label)
        seen = self.run(
            self.either(
                lambda: preview_job(
                    key.batch_job_id,
                    uow=cast("UnitOfWork", self.adapter.uow()),
                    organization_id=key.organization_id,
                    operation_id=operation_id,
                ),
                lambda: preview_job_async(
                    key.batch_job_id,
                    uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                    organization_id=key.organization_id,
                    operation_id=operation_id,
                ),
            )
        )
        self.note(f"preview of {shown(label)} -> {seen}")
        return seen

    def cancel_many(
        self,
        *labels: str,
        operation_id: str | None = None,
        owner: str | EllipsisType | None = ...,
    ) -> BulkResult:
        """Cancel jobs by their labels, optionally as another organization."""
        keys = [self.key(label) for label in labels]
        of = keys[0].organization_id if isinstance(owner, EllipsisType) else owner
        ids = [key.batch_job_id for key in keys]
        return self._cancel_many(ids, f"the jobs {list(labels)}", of, operation_id)

    def cancel_found(self, wanted: JobFilter) -> BulkResult:
        """Cancel the jobs that a filter finds."""
        return self._cancel_many(wanted, str(wanted), None, None)

    def _cancel_many(
        self,
        jobs: Sequence[str] | JobFilter,
        name: str,
        organization_id: str | None,
        operation_id: str | None,
    ) -> BulkResult:
        result = self.run(
            self.either(
                lambda: cancel_jobs(
                    jobs,
                    uow=cast("UnitOfWork", self.adapter.uow()),
                    scheduler=cast("Scheduler", self.scheduler),
                    organization_id=organization_id,
                    operation_id=operation_id,
                ),
                lambda: cancel_jobs_async(
                    jobs,
                    uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                    scheduler=cast("AsyncScheduler", self.scheduler),
                    organization_id=organization_id,
                    operation_id=operation_id,
                ),
            )
        )
        self.note(f"cancel {name} -> {result}")
        return result

    def previewing(self, label: str, hook: Hook) -> Callable[[], Maybe[Preview]]:
        """Return a preview to run beside something else, its transaction held by a hook."""
        key = self.key(label)
        self.note(f"begin: preview of {shown(label)}")
        return self.either(
            lambda: preview_job(
                key.batch_job_id,
                uow=Hooked(cast("UnitOfWork", self.adapter.uow()), hook),
                organization_id=key.organization_id,
            ),
            lambda: preview_job_async(
                key.batch_job_id,
                uow=AsyncHooked(cast("AsyncUnitOfWork", self.adapter.uow()), hook),
                organization_id=key.organization_id,
            ),
        )

    def progress(self, label: str = "job", *, owner: str | EllipsisType | None = ...) -> Progress:
        """Return the progress of a job, optionally as another organization."""
        key = self.key(label)
        if not isinstance(owner, EllipsisType):
            key = JobKey(key.batch_job_id, owner)
        seen = self.run(
            self.either(
                lambda: job_progress(
                    key.batch_job_id,
                    uow=cast("UnitOfWork", self.adapter.uow()),
                    organization_id=key.organization_id,
                ),
                lambda: job_progress_async(
                    key.batch_job_id,
                    uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                    organization_id=key.organization_id,
                ),
            )
        )
        self.note(f"progress of {key} -> {seen}")
        return seen

    def cancellations(
        self, *, owner: str | None = None, limit: int = 100, after: str | None = None
    ) -> CancellationPage:
        """Read a page of an organization's history."""
        seen = self.run(
            self.either(
                lambda: cancellations(
                    uow=cast("UnitOfWork", self.adapter.uow()),
                    organization_id=owner,
                    limit=limit,
                    after=after,
                ),
                lambda: cancellations_async(
                    uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                    organization_id=owner,
                    limit=limit,
                    after=after,
                ),
            )
        )
        self.note(f"cancellations of {owner!r} -> {[it.operation_id for it in seen.records]}")
        return seen

    def forget(self) -> int:
        """Forget every record with nothing pending, however young."""
        tomorrow, at_once = datetime.now(UTC) + timedelta(days=1), timedelta(0)
        forgotten = self.run(
            self.either(
                lambda: forget(
                    uow=cast("UnitOfWork", self.adapter.uow()),
                    before=tomorrow,
                    retry_window=at_once,
                ),
                lambda: forget_async(
                    uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                    before=tomorrow,
                    retry_window=at_once,
                ),
            )
        )
        self.note(f"forget -> {forgotten} records")
        return forgotten

    def sees(self, label: str, owner: str | None) -> bool:
        """Check whether an organization sees a job."""
        try:
            self.progress(label, owner=owner)
        except JobNotFound:
            self.note(f"progress of {shown(label)} of {owner!r} -> not found")
            return False
        return True
