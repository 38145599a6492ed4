"""
A store under test with its scheduler, and what may be done with them, in the tests' own words.

Jobs go by the labels that the tests give them; what their ids are is the adapter's declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import EllipsisType
from typing import Final, cast

from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.claimed_contacts import ClaimedContacts
from batch_cancel.domain.errors import BatchCancelError, shown
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork
from batch_cancel.testing.adapter import (
    AnyScheduler,
    AnyUnitOfWork,
    Maybe,
)
from batch_cancel.testing.answers import Answer, said, succeeded
from batch_cancel.testing.breakpoints import AsyncHooked, Hook, Hooked
from batch_cancel.testing.invariants import PromiseBroken
from batch_cancel.testing.reports import Reports
from batch_cancel.testing.runner import Pause, ended, watch
from batch_cancel.use_cases.cancel import (
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.use_cases.reconcile import reconcile, reconcile_async
from batch_cancel.use_cases.worker import claim_contacts, claim_contacts_async

AT_ONCE: Final = timedelta(0)


class World(Reports):
    """A store and a scheduler, and the steps of cancels and workers on them."""

    # Cancels -----------------------------------------------------------------------------------

    def cancel(
        self,
        label: str = "job",
        *,
        key: JobKey | None = None,
        operation_id: str | None = None,
        actor: str | None = None,
        reason: str | None = None,
        scheduler: AnyScheduler | None = None,
        hook: Hook | None = None,
        uow: Callable[[], AnyUnitOfWork] | None = None,
    ) -> Answer:
        """Cancel a job by its label, or by any key; return the error instead of raising it."""
        cancel = self._cancel(
            self.key(label) if key is None else key,
            f"cancel {shown(label) if key is None else key}",
            operation_id=operation_id,
            actor=actor,
            reason=reason,
            scheduler=scheduler,
            hook=hook,
            uow=uow,
        )
        # mypy takes it for an object.
        return cast("Answer", self.run(cancel))  # pyright: ignore[reportUnnecessaryCast]

    def cancelling(
        self,
        label: str = "job",
        *,
        key: JobKey | None = None,
        operation_id: str | None = None,
        hook: Hook | None = None,
    ) -> Callable[[], Maybe[Answer]]:
        """Return a cancel to be done beside something else."""
        name = f"cancel {shown(label) if key is None else key}"
        key = self.key(label) if key is None else key
        self.note(f"begin: {name}" + (f", operation {operation_id!r}" if operation_id else ""))
        return self._cancel(key, f"end: {name}", operation_id=operation_id, hook=hook)

    def cancelled(self, label: str = "job", **options: str) -> CancelResult:
        """Cancel a job that can be cancelled."""
        return succeeded(self.cancel(label, **options))  # type: ignore[arg-type]

    @contextmanager
    def cancel_at(self, point: str, label: str = "job") -> Generator[None]:
        """Do a cancel, hold it at a point during the block, and see that it succeeds."""
        pause = Pause(point)
        party = self.beside(self.cancelling(label, hook=pause))
        with pause.holding(party):
            self.note(f"holding that cancel in its transaction, at {point!r}")
            yield
        succeeded(ended(party))

    def watch(self, call: Callable[[], object], what: str) -> Callable[[], None]:
        """Start a step beside a held cancel, give it time to go wrong; then wait for its end."""
        self.note(f"begin: {what}")
        party = self.beside(call)
        watch(party, self.adapter.patience_seconds)

        def wait() -> None:
            try:
                answer = ended(party)
            except PromiseBroken:
                raise
            except Exception as error:  # noqa: BLE001  # A worker's own way to be refused.
                self.note(f"end: {what} -> {type(error).__name__}")
            else:
                self.note(f"end: {what} -> {answer!r}")

        return wait

    def cancel_rows(
        self, label: str, operation_id: str, *, key: JobKey | None = None
    ) -> Cancellation:
        """Cancel in the database alone, as a process that then dies."""
        name = self.key(label) if key is None else key
        self.note(f"cancel_rows {shown(label)}, operation {operation_id!r}")
        return self.run(
            self.either(
                lambda: cancel_rows(
                    name.batch_job_id,
                    organization_id=name.organization_id,
                    uow=cast("UnitOfWork", self.adapter.uow()),
                    operation_id=operation_id,
                ),
                lambda: cancel_rows_async(
                    name.batch_job_id,
                    organization_id=name.organization_id,
                    uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                    operation_id=operation_id,
                ),
            )
        )

    def reconcile(
        self,
        *,
        lease: timedelta = AT_ONCE,
        limit: int = 100,
        scheduler: AnyScheduler | None = None,
    ) -> list[CancelResult]:
        """Finish what cancellations left pending."""
        return self.run(self.reconciling(lease=lease, limit=limit, scheduler=scheduler))

    def reconciling(
        self,
        *,
        lease: timedelta = AT_ONCE,
        limit: int = 100,
        scheduler: AnyScheduler | None = None,
    ) -> Callable[[], Maybe[list[CancelResult]]]:
        """Return a pass of reconcile to be done beside something else."""
        self.note(f"reconcile, at most {limit}, lease {lease}")
        return self.either(
            lambda: reconcile(
                uow=cast("UnitOfWork", self.adapter.uow()),
                scheduler=cast("Scheduler", scheduler or self.scheduler),
                lease=lease,
                limit=limit,
            ),
            lambda: reconcile_async(
                uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                scheduler=cast("AsyncScheduler", scheduler or self.scheduler),
                lease=lease,
                limit=limit,
            ),
        )

    def _cancel(
        self,
        key: JobKey,
        name: str,
        *,
        operation_id: str | None,
        hook: Hook | None,
        actor: str | None = None,
        reason: str | None = None,
        scheduler: AnyScheduler | None = None,
        uow: Callable[[], AnyUnitOfWork] | None = None,
    ) -> Callable[[], Maybe[Answer]]:
        if operation_id is not None:
            name += f", operation {shown(operation_id)}"

        def cancel() -> Answer:
            inner = cast("UnitOfWork", (uow or self.adapter.uow)())
            try:
                answer: Answer = cancel_job(
                    key.batch_job_id,
                    organization_id=key.organization_id,
                    uow=Hooked(inner, hook) if hook else inner,
                    scheduler=cast("Scheduler", scheduler or self.scheduler),
                    operation_id=operation_id,
                    actor=actor,
                    reason=reason,
                )
            except BatchCancelError as error:
                answer = error
            self.note(f"{name} -> {said(answer)}")
            return answer

        async def cancel_async() -> Answer:
            inner = cast("AsyncUnitOfWork", (uow or self.adapter.uow)())
            try:
                answer: Answer = await cancel_job_async(
                    key.batch_job_id,
                    organization_id=key.organization_id,
                    uow=AsyncHooked(inner, hook) if hook else inner,
                    scheduler=cast("AsyncScheduler", scheduler or self.scheduler),
                    operation_id=operation_id,
                    actor=actor,
                    reason=reason,
                )
            except BatchCancelError as error:
                answer = error
            self.note(f"{name} -> {said(answer)}")
            return answer

        return self.either(cancel, cancel_async)

    # Workers -----------------------------------------------------------------------------------

    def start(self, label: str = "job", *, key: JobKey | None = None) -> bool:
        """Start a job, as a worker."""
        name = self.key(label) if key is None else key
        answer = bool(self.run(lambda: self.adapter.start(name)))
        self.note(f"start {shown(label) if key is None else key} -> {answer}")
        return answer

    def claim(
        self, label: str = "job", limit: int = 100, *, key: JobKey | None = None
    ) -> set[str]:
        """Claim contacts, as a worker."""
        name = self.key(label) if key is None else key
        claimed = set(self.run(lambda: self.adapter.claim(name, limit)))
        self.note(f"claim of {shown(label) if key is None else key} -> {len(claimed)} contacts")
        return claimed

    def claim_returning(
        self,
        returning: Sequence[str],
        label: str = "job",
        limit: int = 100,
        *,
        key: JobKey | None = None,
    ) -> ClaimedContacts:
        """Claim contacts and read columns of them, by the library's own function."""
        name = self.key(label) if key is None else key
        self.note(f"claim of {shown(label) if key is None else key}, returning {returning}")
        return self.run(
            self.either(
                lambda: claim_contacts(
                    name.batch_job_id,
                    uow=cast("UnitOfWork", self.adapter.uow()),
                    limit=limit,
                    organization_id=name.organization_id,
                    returning=returning,
                ),
                lambda: claim_contacts_async(
                    name.batch_job_id,
                    uow=cast("AsyncUnitOfWork", self.adapter.uow()),
                    limit=limit,
                    organization_id=name.organization_id,
                    returning=returning,
                ),
            )
        )

    def settle(
        self, contact_id: str, outcome: str, label: str = "job", *, key: JobKey | None = None
    ) -> object:
        """End a call, as a worker."""
        name = self.key(label) if key is None else key
        self.note(f"settle contact {contact_id!r} of {shown(label)} as {outcome!r}")
        return self.run(lambda: self.adapter.settle(name, contact_id, ContactStatus(outcome)))

    def retry_later(self, contact_id: str, at: datetime, label: str = "job") -> None:
        """End a call as busy, to be made again at this time, as a worker."""
        self.note(f"settle contact {contact_id!r} of {shown(label)} as 'busy', retry at {at}")
        self.run(lambda: self.adapter.retry_later(self.key(label), contact_id, at))

    def still_running(self, label: str = "job", *, key: JobKey | None = None) -> bool:
        """Ask whether a job is running, as a worker."""
        name = self.key(label) if key is None else key
        answer = bool(self.run(lambda: self.adapter.still_running(name)))
        self.note(f"still running {shown(label) if key is None else key} -> {answer}")
        return answer

    def make_old(self, contact_id: str, age: timedelta, label: str = "job") -> None:
        """Let a contact have been dialing for so long."""
        self.note(f"contact {contact_id!r} of {shown(label)} is made {age} old")
        self.run(lambda: self.adapter.make_old(self.key(label), contact_id, age))

    def expire(
        self, older_than: timedelta, label: str = "job", *, owner: str | EllipsisType | None = ...
    ) -> int:
        """End calls that have been live for longer, as a worker; perhaps as another's worker."""
        key = self.key(label)
        if not isinstance(owner, EllipsisType):
            key = JobKey(key.batch_job_id, owner)
        answer = int(self.run(lambda: self.adapter.expire(key, older_than)))
        self.note(f"expire {older_than} of {key} -> {answer} calls")
        return answer

    def append(self, label: str = "job", *, key: JobKey | None = None) -> bool:
        """Add a contact; return whether it was accepted."""
        name = self.key(label) if key is None else key
        try:
            self.run(lambda: self.adapter.append(name))
        except Exception as error:  # noqa: BLE001  # Whatever a worker's function raises, it refuses.
            self.note(f"append to {shown(label)} -> {type(error).__name__}")
            return False
        self.note(f"append to {shown(label)} -> added")
        return True

    def finish(self, label: str = "job", *, key: JobKey | None = None) -> bool:
        """Complete a job, as a worker."""
        name = self.key(label) if key is None else key
        answer = bool(self.run(lambda: self.adapter.finish(name)))
        self.note(f"finish {shown(label) if key is None else key} -> {answer}")
        return answer
