"""
A store under test with its scheduler, and what may be done with them, in the tests' own words.

Jobs go by the labels that the tests give them; what their ids are is the adapter's declaration.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import timedelta
from types import EllipsisType
from typing import Final, cast
from uuid import NAMESPACE_OID, uuid5

import attrs

from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.errors import BatchCancelError, CancelFailed, shown
from batch_cancel.domain.model import CancellationRecord, ContactStatus, JobKey
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork
from batch_cancel.testing.adapter import (
    ALL_GUARDS,
    AnyScheduler,
    IdKind,
    JobRow,
    Maybe,
    SchedulerAdapter,
    StoreAdapter,
)
from batch_cancel.testing.breakpoints import AsyncHooked, Hook, Hooked
from batch_cancel.testing.invariants import PromiseBroken
from batch_cancel.testing.runner import Pause, Stage, ended, expect, watch
from batch_cancel.use_cases.cancel import (
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
)
from batch_cancel.use_cases.reconcile import reconcile, reconcile_async

Answer = CancelResult | BatchCancelError
"""What a cancel came to: its result, or the error that it raised."""

AT_ONCE: Final = timedelta(0)


class Starts:
    """Deferred starts, for the tests of a store that comes without a scheduler of its own."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self._removed_by: dict[str, str] = {}
        self._lock = threading.Lock()

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Take a deferred start back."""
        with self._lock:
            if deferred_id in self.waiting:
                self.waiting.remove(deferred_id)
                self._removed_by[deferred_id] = operation_id
            return self._removed_by.get(deferred_id) == operation_id


@attrs.frozen
class Scripted:
    """A scheduler that does what it is told to."""

    behave: Callable[[str, str], bool]

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Answer as told."""
        return self.behave(deferred_id, operation_id)


@attrs.frozen
class AsyncScripted:
    """As `Scripted`, awaited."""

    behave: Callable[[str, str], bool]

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """As `Scripted.cancel`, awaited."""
        return self.behave(deferred_id, operation_id)


def unreachable(_deferred_id: str, _operation_id: str) -> bool:
    """Answer as a scheduler does that is not there."""
    raise ConnectionError


class World(Stage):
    """A store and a scheduler, empty at first."""

    def __init__(self, adapter: StoreAdapter) -> None:
        super().__init__(is_async=adapter.is_async)
        self.adapter: Final = adapter
        self._keys: dict[str, JobKey] = {}
        self.contact_ids: dict[str, Sequence[str]] = {}
        """The ids of the contacts that a job was seeded with, by its label."""
        self.clear()

    def clear(self) -> None:
        """Start anew: no job, no deferred start, nothing done."""
        self.run(self.adapter.fresh)
        self.history.clear()
        self._keys.clear()
        self.contact_ids.clear()
        self._starts = Starts()
        self.scheduler = self.scheduler_that(self._starts.cancel)
        if isinstance(self.adapter, SchedulerAdapter):
            scheduler = self.run(self.adapter.scheduler)
            # mypy takes it for an object.
            self.scheduler = cast("AnyScheduler", scheduler)  # pyright: ignore[reportUnnecessaryCast]

    def close(self) -> None:
        """Let go of everything."""
        self.run(self.adapter.close)
        super().close()

    def missing(self, need: str) -> str | None:
        """Tell which declaration says that the adapter has no such thing; None if it has it."""
        it = self.adapter
        has: dict[str, bool] = {
            "records": it.records,
            "organizations": bool(it.organizations),
            "ids_per_organization": it.ids_per_organization,
            "row_locks": it.row_locks,
            "lock_timeout": it.lock_timeout,
            "text_ids": it.ids is IdKind.TEXT,
            "strange_statuses": bool(it.strange_statuses),
        }
        has.update({guard: guard in it.guards for guard in ALL_GUARDS})
        return None if has[need] else f"{type(it).__name__} offers no {need.replace('_', ' ')}"

    # The store's rows --------------------------------------------------------------------------

    def key(self, label: str, organization_id: str | None = None) -> JobKey:
        """Return the name of a job."""
        known = self._keys.get(label)
        return JobKey(self.job_id(label), organization_id) if known is None else known

    def job_id(self, label: str) -> str:
        """Return the id of a job for its label."""
        match self.adapter.ids:
            case IdKind.TEXT:
                return label
            case IdKind.UUID:
                return str(uuid5(NAMESPACE_OID, label))
            case IdKind.INTEGER:
                return str(1 + zlib.crc32(label.encode()) % 2_000_000_000)

    def add_job(
        self,
        label: str = "job",
        status: str | None = "running",
        contacts: Sequence[str | None] = (),
        *,
        organization_id: str | None = None,
        deferred_id: str | None = None,
        id_of: str | None = None,
    ) -> None:
        """Seed a job; `id_of` is the label of another whose id it has."""
        key = JobKey(self.job_id(id_of or label), organization_id)
        owner = f" of {organization_id!r}" if organization_id is not None else ""
        start = f", its deferred start {shown(deferred_id)}" if deferred_id is not None else ""
        self.note(
            f"seeded job {shown(label)}{owner}: {status!r}, contacts {list(contacts)}{start}"
        )
        self._keys[label] = key
        self.contact_ids[label] = self.run(
            lambda: self.adapter.seed(key, status, contacts, deferred_id)
        )
        expect(len(self.contact_ids[label]), len(contacts), "`seed` gives an id for each contact.")

    def rows(self) -> dict[JobKey, JobRow]:
        """Return all that is committed."""
        return dict(self.run(self.adapter.dump))

    def row(self, label: str = "job") -> JobRow:
        """Return one job as committed."""
        rows = self.rows()
        if self._keys[label] not in rows:
            msg = f"`dump` shows no {self._keys[label]}, only {sorted(map(str, rows))}"
            raise PromiseBroken(msg)
        return rows[self._keys[label]]

    def statuses(self, label: str = "job") -> list[object]:
        """Return the statuses of a job's contacts: the seeded ones in their order, then others."""
        contacts = self.row(label).contacts
        seeded = self.contact_ids[label]
        return [
            *(contacts[contact_id][0] for contact_id in seeded),
            *sorted(str(row[0]) for it, row in contacts.items() if it not in seeded),
        ]

    def record(self, label: str = "job") -> CancellationRecord:
        """Return the record of the job's cancellation."""
        key = self._keys[label]

        def read() -> CancellationRecord | None:
            with cast("UnitOfWork", self.adapter.uow()).begin() as repositories:
                job = repositories.jobs.lock(key)
                return None if job is None else job.cancellation

        async def read_async() -> CancellationRecord | None:
            async with cast("AsyncUnitOfWork", self.adapter.uow()).begin() as repositories:
                job = await repositories.jobs.lock(key)
                return None if job is None else job.cancellation

        record = self.run(self.either(read, read_async))
        if record is None:
            msg = "`lock` gives a cancelled job without the record of its cancellation."
            raise PromiseBroken(msg)
        return record

    def finding(self, key: JobKey, hook: Hook) -> Callable[[], Maybe[CancellationRecord | None]]:
        """Return a search of a record, whose hook is told of the point "found" before its end."""

        def find() -> CancellationRecord | None:
            with cast("UnitOfWork", self.adapter.uow()).begin() as repositories:
                record = None if repositories.outbox is None else repositories.outbox.find(key)
                hook("found")
                return record

        async def find_async() -> CancellationRecord | None:
            async with cast("AsyncUnitOfWork", self.adapter.uow()).begin() as repositories:
                outbox = repositories.outbox
                record = None if outbox is None else await outbox.find(key)
                await asyncio.to_thread(hook, "found")
                return record

        return self.either(find, find_async)

    # The scheduler -----------------------------------------------------------------------------

    def scheduler_that(self, behave: Callable[[str, str], bool]) -> AnyScheduler:
        """Return a scheduler whose `cancel` does what is given."""
        return AsyncScripted(behave) if self.is_async else Scripted(behave)

    def schedule(self, label: str = "job") -> str:
        """Schedule the deferred start that the job's row names; give its id."""
        deferred_id = self.row(label).deferred_id
        if deferred_id is None:
            msg = "`dump` shows no deferred id, though the job was seeded with one."
            raise PromiseBroken(msg)
        if isinstance(self.adapter, SchedulerAdapter):
            it = self.adapter
            self.run(lambda: it.schedule(self.scheduler, deferred_id))
        else:
            self._starts.waiting.add(deferred_id)
        self.note(f"scheduled the deferred start {shown(deferred_id)}")
        return deferred_id

    def waiting(self) -> AbstractSet[str]:
        """Return the deferred starts that wait."""
        if isinstance(self.adapter, SchedulerAdapter):
            it = self.adapter
            return set(self.run(lambda: it.waiting(self.scheduler)))
        return set(self._starts.waiting)

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
    ) -> Answer:
        """Cancel a job by its label, or by any name; give the error instead of raising it."""
        cancel = self._cancel(
            self.key(label) if key is None else key,
            f"cancel {shown(label) if key is None else key}",
            operation_id=operation_id,
            actor=actor,
            reason=reason,
            scheduler=scheduler,
            hook=hook,
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
        """Finish what cancellations owe."""
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
    ) -> Callable[[], Maybe[Answer]]:
        if operation_id is not None:
            name += f", operation {shown(operation_id)}"

        def cancel() -> Answer:
            inner = cast("UnitOfWork", self.adapter.uow())
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
            inner = cast("AsyncUnitOfWork", self.adapter.uow())
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

    def settle(
        self, contact_id: str, outcome: str, label: str = "job", *, key: JobKey | None = None
    ) -> object:
        """End a call, as a worker."""
        name = self.key(label) if key is None else key
        self.note(f"settle contact {contact_id!r} of {shown(label)} as {outcome!r}")
        return self.run(lambda: self.adapter.settle(name, contact_id, ContactStatus(outcome)))

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
        """Add a contact; tell whether it was not refused."""
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


def said(answer: object) -> str:
    """Return the answer of a cancel in a line."""
    if isinstance(answer, CancelResult):
        replayed = ", replayed" if answer.replayed else ""
        count = f"contacts cancelled: {answer.contacts_cancelled}"
        return f"200, {count}, removal {answer.removal}{replayed}"
    if isinstance(answer, BatchCancelError):
        cause = answer.__cause__
        why = f" ({type(cause).__name__}: {cause})" if isinstance(answer, CancelFailed) else ""
        return f"{answer.http_status} {answer.code}: {answer}{why}"
    return repr(answer)


def succeeded(answer: object) -> CancelResult:
    """Return the result of a cancel that had to succeed."""
    if isinstance(answer, CancelResult):
        return answer
    msg = f"the cancel had to succeed, but gave {said(answer)}"
    raise PromiseBroken(msg)


def refused(answer: object, code: str) -> BatchCancelError:
    """Return the error of a cancel that had to be refused."""
    if isinstance(answer, BatchCancelError) and answer.code == code:
        return answer
    msg = f"the cancel had to be refused as {code}, but gave {said(answer)}"
    raise PromiseBroken(msg)


def changed(before: Mapping[JobKey, JobRow], after: Mapping[JobKey, JobRow]) -> list[str]:
    """Name what is no longer as it was."""
    lines: list[str] = []
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key), after.get(key)
        if was is None or now is None or was == now:
            if was != now:
                lines.append(f"job {key}: {was!r} became {now!r}")
            continue
        if (was.status, was.deferred_id, was.rest) != (now.status, now.deferred_id, now.rest):
            old, new = (attrs.evolve(it, contacts={}) for it in (was, now))
            lines.append(f"job {shown(key.batch_job_id)}: {old!r} became {new!r}")
        lines += [
            f"contact {contact_id!r} of job {shown(key.batch_job_id)}: "
            f"{was.contacts.get(contact_id)!r} became {now.contacts.get(contact_id)!r}"
            for contact_id in sorted({*was.contacts, *now.contacts})
            if was.contacts.get(contact_id) != now.contacts.get(contact_id)
        ]
    return lines


def unchanged(before: Mapping[JobKey, JobRow], after: Mapping[JobKey, JobRow]) -> None:
    """Check that nothing has changed."""
    if lines := changed(before, after):
        msg = "\n".join(["nothing may change, but:", *lines])
        raise PromiseBroken(msg)
