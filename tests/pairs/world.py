"""A store and a scheduler, and what may be done with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest

from batch_cancel import (
    CancelResult,
    ClaimedContacts,
    Drift,
    JobKey,
    append_contacts,
    append_contacts_async,
    cancel_job,
    cancel_job_async,
    cancel_jobs,
    cancel_jobs_async,
    cancel_rows,
    cancel_rows_async,
    cancellation_of,
    cancellation_of_async,
    cancellations,
    cancellations_async,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    expire_calls_async,
    finish_job,
    finish_job_async,
    forget,
    forget_async,
    inspect,
    inspect_async,
    job_progress,
    job_progress_async,
    preview_job,
    preview_job_async,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
    still_running,
    still_running_async,
)
from tests.pairs.stores import JobRow, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch_cancel import BulkResult, Cancellation, CancellationPage, Preview, Progress
    from batch_cancel.domain.job import CancellationRecord

LATER = timedelta(hours=1)


@attrs.define
class World:
    """
    A store and a scheduler, and what may be done with them.

    Arguments:
        store: the store under test.
        new_scheduler: gives an empty scheduler.
        runner: the event loop of an asyncio world; None in a blocking one.
    """

    store: Store
    new_scheduler: Callable[[], Any]
    runner: asyncio.Runner | None
    scheduler: Any = None

    def clear(self) -> None:
        """Start anew: no job, no deferred start."""
        self.store.clear()
        self.scheduler = self.new_scheduler()

    def add_job(
        self,
        job_id: str,
        status: str | None = "scheduled",
        contacts: Mapping[str, str | None] | Sequence[str | None] = (),
        *,
        organization_id: str | None = None,
        deferred_id: str | None = None,
    ) -> None:
        """
        Seed a job; contacts given without labels are labelled 0, 1, 2 ...

        The test is skipped if the store is declared to hold no id of this length.
        """
        longest = getattr(self.store, "id_characters_max", None)
        if longest is not None and max(len(job_id), len(organization_id or "")) > longest:
            pytest.skip(f"declared: ids have up to {longest} characters")
        labelled = (
            contacts
            if isinstance(contacts, Mapping)
            else {str(number): contact for number, contact in enumerate(contacts)}
        )
        self.store.add_job(JobKey(job_id, organization_id), status, labelled, deferred_id)

    def schedule(self, deferred_id: str, at: datetime | None = None) -> None:
        """Schedule a deferred start, due in an hour unless said."""
        assert self._run(
            self.scheduler.schedule, deferred_id, datetime.now(UTC) + LATER if at is None else at
        )

    def fire(self, deferred_id: str) -> None:
        """Let a deferred start fire: it was due, and a worker takes it."""
        self.schedule(deferred_id, datetime.now(UTC) - LATER)
        assert [start.deferred_id for start in self._run(self.scheduler.claim, 1, LATER)] == [
            deferred_id
        ]

    def waiting(self) -> set[str]:
        """Return the deferred starts that wait."""
        return set(self._run(self.scheduler.waiting))

    def rows(self) -> dict[JobKey, JobRow]:
        """Return all that the store has committed."""
        return self.store.rows()

    def row(self, job_id: str, organization_id: str | None = None) -> JobRow:
        """Return one job as committed."""
        return self.rows()[JobKey(job_id, organization_id)]

    def revive(self, job_id: str, organization_id: str | None = None) -> None:
        """Set a job running again, as only a mistaken script would."""
        self.store.set_status(JobKey(job_id, organization_id), "running")

    def record(self, job_id: str, organization_id: str | None = None) -> CancellationRecord | None:
        """Return the record of the job's cancellation."""

        def read() -> CancellationRecord | None:
            with self.store.uow.begin() as repositories:
                job = repositories.jobs.lock(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", job.cancellation)

        async def read_async() -> CancellationRecord | None:
            async with self.store.uow.begin() as repositories:
                job = await repositories.jobs.lock(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", job.cancellation)

        return cast("CancellationRecord | None", self._run(read_async if self.runner else read))

    def cancel(self, job_id: str, *, scheduler: Any = None, **options: Any) -> CancelResult:
        """Cancel, with the world's scheduler unless another is given."""
        answer: CancelResult = self._run(
            cancel_job_async if self.runner else cancel_job,
            job_id,
            scheduler=scheduler or self.scheduler,
            **{"uow": self.store.uow, **options},
        )
        return answer

    def cancel_jobs(self, jobs: Any, *, scheduler: Any = None, **options: Any) -> BulkResult:
        """Cancel many."""
        answer: BulkResult = self._work(
            cancel_jobs, cancel_jobs_async, jobs, scheduler=scheduler or self.scheduler, **options
        )
        return answer

    def cancel_rows(self, job_id: str, **options: Any) -> Cancellation:
        """Do the database's half alone."""
        answer: Cancellation = self._run(
            cancel_rows_async if self.runner else cancel_rows,
            job_id,
            uow=self.store.uow,
            **options,
        )
        return answer

    def remove_deferred(self, cancellation: Cancellation, **options: Any) -> CancelResult:
        """Do the scheduler's half alone."""
        answer: CancelResult = self._run(
            remove_deferred_async if self.runner else remove_deferred,
            cancellation,
            self.scheduler,
            **options,
        )
        return answer

    def reconcile(self, *, scheduler: Any = None, **options: Any) -> list[CancelResult]:
        """Finish what cancellations owe, at once unless a lease is given."""
        answers: list[CancelResult] = self._run(
            reconcile_async if self.runner else reconcile,
            scheduler=scheduler or self.scheduler,
            **{"uow": self.store.uow, "lease": timedelta(0), **options},
        )
        return answers

    def inspect(self, **options: Any) -> Drift:
        """Compare the store with the scheduler."""
        drift: Drift = self._run(
            inspect_async if self.runner else inspect,
            **{"uow": self.store.uow, "scheduler": self.scheduler, **options},
        )
        return drift

    def preview(self, job_id: str, **options: Any) -> Preview:
        """Ask what a cancel would do."""
        answer: Preview = self._work(preview_job, preview_job_async, job_id, **options)
        return answer

    def progress(self, job_id: str, **options: Any) -> Progress:
        """Ask how far a job is."""
        answer: Progress = self._work(job_progress, job_progress_async, job_id, **options)
        return answer

    def cancellation(self, job_id: str, **options: Any) -> CancellationRecord | None:
        """Read the record of a job, as anybody may."""
        record: CancellationRecord | None = self._work(
            cancellation_of, cancellation_of_async, job_id, **options
        )
        return record

    def do(self, call: Callable[[], Any], call_async: Callable[[], Any]) -> Any:
        """Do what is of this world's kind."""
        return self._run(call_async if self.runner else call)

    def forget(self, before: datetime, **options: Any) -> int:
        """Delete old records."""
        answer: int = self._run(
            forget_async if self.runner else forget,
            **{"uow": self.store.uow, "before": before, **options},
        )
        return answer

    def history(self, **options: Any) -> CancellationPage:
        """Read a page of the history."""
        answer: CancellationPage = self._run(
            cancellations_async if self.runner else cancellations,
            **{"uow": self.store.uow, **options},
        )
        return answer

    def hook_that(self, behave: Callable[[CancelResult], Any]) -> Callable[[CancelResult], Any]:
        """Return an on_cancelled hook of this world's kind that does what is given."""

        async def behave_async(result: CancelResult) -> Any:
            return behave(result)

        return behave_async if self.runner else behave

    def start(self, job_id: str, **options: Any) -> bool:
        """Start a job, as a worker."""
        answer: bool = self._work(start_job, start_job_async, job_id, **options)
        return answer

    def claimed(self, job_id: str, **options: Any) -> ClaimedContacts:
        """Claim contacts, as a worker; give the answer as it is."""
        answer: ClaimedContacts = self._work(
            claim_contacts, claim_contacts_async, job_id, **options
        )
        return answer

    def claim(self, job_id: str, limit: int = 100, **options: Any) -> list[str]:
        """Claim contacts, as a worker; give their labels in the order of the alphabet."""
        ids = self.claimed(job_id, limit=limit, **options)
        labels = {contact_id: label for label, contact_id in self.store.contact_ids().items()}
        return sorted(labels.get(contact_id, contact_id) for contact_id in ids)

    def settle(self, job_id: str, label: str, outcome: str, **options: Any) -> str | None:
        """End a call, as a worker."""
        ids = self.store.contact_ids()
        # Where a store numbers contacts by itself, a label that is none must not hit a number.
        contact_id = ids.get(label, "-1" if ids and label.isdecimal() else label)
        answer: str | None = self._work(
            settle_contact, settle_contact_async, job_id, contact_id, outcome, **options
        )
        return answer

    def make_old(
        self, job_id: str, label: str, age: timedelta, organization_id: str | None = None
    ) -> None:
        """Let a contact have been dialing for so long."""
        self.store.make_old(JobKey(job_id, organization_id), label, age)

    def expire(self, job_id: str, older_than: timedelta, **options: Any) -> int:
        """End calls that have been live for longer."""
        answer: int = self._work(expire_calls, expire_calls_async, job_id, older_than, **options)
        return answer

    def found(self, job_id: str, organization_id: str | None = None) -> CancellationRecord | None:
        """Find the record of the job's cancellation."""

        def find() -> CancellationRecord | None:
            with self.store.uow.begin() as repositories:
                record = repositories.outbox.find(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", record)

        async def find_async() -> CancellationRecord | None:
            async with self.store.uow.begin() as repositories:
                record = await repositories.outbox.find(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", record)

        return cast("CancellationRecord | None", self._run(find_async if self.runner else find))

    def append(
        self, job_id: str, *labels: str, next_attempt_at: datetime | None = None, **options: Any
    ) -> int:
        """Add contacts to a job."""
        contacts = [
            {**self.store.columns(label), "next_attempt_at": next_attempt_at} for label in labels
        ]
        answer: int = self._work(
            append_contacts, append_contacts_async, job_id, contacts, **options
        )
        return answer

    def finish(self, job_id: str, **options: Any) -> bool:
        """Complete a job, as a worker."""
        answer: bool = self._work(finish_job, finish_job_async, job_id, **options)
        return answer

    def still_running(self, job_id: str, **options: Any) -> bool:
        """Look once more before dialling, as a worker."""
        answer: bool = self._work(still_running, still_running_async, job_id, **options)
        return answer

    def _work(
        self,
        call: Callable[..., Any],
        call_async: Callable[..., Any],
        *arguments: Any,
        **more: Any,
    ) -> Any:
        chosen = call_async if self.runner else call
        return self._run(chosen, *arguments, **{"uow": self.store.uow, **more})

    def scheduler_that(self, behave: Callable[[str, str], Any]) -> Any:
        """Return a scheduler of this world's kind whose `cancel` does what is given."""
        return _AsyncScripted(behave) if self.runner else _Scripted(behave)

    def _run(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        answer = call(*arguments, **options)
        if self.runner and isinstance(answer, Awaitable):
            return self.runner.run(_awaited(answer))
        return answer


@attrs.frozen
class _Scripted:
    behave: Callable[[str, str], Any]

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        return self.behave(deferred_id, operation_id)


@attrs.frozen
class _AsyncScripted:
    behave: Callable[[str, str], Any]

    async def cancel(self, deferred_id: str, operation_id: str) -> Any:
        return self.behave(deferred_id, operation_id)


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
