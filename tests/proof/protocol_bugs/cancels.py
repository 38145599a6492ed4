"""Cancels whose transaction is wrong: its locks, its statements, its order."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelRequest,
    CancelResult,
    conclude,
    plan_cancellation,
)
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import (
    CANCELLABLE_CONTACTS,
    TERMINAL_CONTACTS,
    ContactStatus,
    Removal,
)
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import (
    Contacts,
    Jobs,
)
from batch_cancel.testing.explore.rows import (
    JOB,
    NOW,
    START,
    open_contacts,
)
from batch_cancel.use_cases.remove_deferred import remove_deferred_async
from tests.proof.protocol_bugs.planting import Replaced, cancel, carried_out, plant, planted_cancel


async def _redis_first(ports: Ports, request: CancelRequest) -> CancelResult:
    removed = await ports.scheduler.cancel(START, request.operation_id)
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await carried_out(transaction, request, job)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


plant(
    "Redis first",
    "I8",
    planted_cancel(_redis_first, suffers="k"),
    status="scheduled",
    faults="k",
)


class _ReadsWithoutLock(Jobs):
    async def lock(self, key: JobKey) -> Job | None:
        status, deferred_id = await self.transaction.look(
            "reads the job", lambda rows: rows[JOB][:2]
        )
        return Job(key, status, deferred_id, NOW)


plant(
    "no row lock",
    "I5",
    cancel(jobs=_ReadsWithoutLock),
    cancel("other", "op-2", jobs=_ReadsWithoutLock),
    contacts=(),
)


class _TwoCommits(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return 0


async def _split(ports: Ports, request: CancelRequest) -> CancelResult:
    async with Replaced(contacts=_TwoCommits).begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await carried_out(transaction, request, job)
    async with ports.uow.begin() as transaction:
        await transaction.contacts.cancel(request.key, CANCELLABLE_CONTACTS)
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


plant("split transaction", "I17", planted_cancel(_split))


class _CountsBefore(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        found = await self.transaction.look(
            "counts", lambda rows: len(open_contacts(rows, JOB, statuses))
        )
        await super().cancel(key, statuses)
        return found


plant("count before", "I9", cancel(contacts=_CountsBefore), actors.claim())


class _DenyList(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int | None:
        return await super().cancel(key, frozenset(ContactStatus) - TERMINAL_CONTACTS)


plant("deny-list", "I15", cancel(contacts=_DenyList), contacts=("pending", "dialing"))


class _AllContacts(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int | None:
        return await super().cancel(key, frozenset(ContactStatus))


plant(
    "cancels every contact",
    "I3",
    cancel(contacts=_AllContacts),
    contacts=("pending", "completed"),
)


class _NoSecondLook(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        found = await self.transaction.look(
            "reads contacts", lambda rows: open_contacts(rows, JOB, statuses)
        )
        for index in found:
            await self.transaction.lock("writes the contact", index, lambda _: None)
            self.transaction.write_contact(index, ContactStatus.CANCELLED)
        return len(found)


plant("cancels contacts by the ids it read", "I15", cancel(contacts=_NoSecondLook), actors.claim())


class _OnlyPending(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int | None:
        return await super().cancel(key, {ContactStatus.PENDING})


plant(
    "forgets the contacts that wait for a retry",
    "I4",
    cancel(contacts=_OnlyPending),
    contacts=("pending", "busy"),
)


class _SkipsLocked(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        found = await self.transaction.look(
            "looks for contacts", lambda rows: open_contacts(rows, JOB, statuses)
        )
        changed = 0
        for index in found:
            is_ours = await self.transaction.lock_or_pass(
                "takes the contact", index, lambda row: row[2] in statuses
            )
            if is_ours is True:
                self.transaction.write_contact(index, ContactStatus.CANCELLED)
                changed += 1
        return changed


plant(
    "cancels with SKIP LOCKED",
    "I1",
    cancel(contacts=_SkipsLocked),
    actors.claim(suffers=""),
)


async def _one_statement(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        # One CTE: what it reads of the contacts is from before its wait for the job.
        found = await transaction.look(
            "takes one snapshot for all", lambda rows: open_contacts(rows, JOB, OPEN)
        )
        job = await transaction.jobs.lock(request.key)
        plan = plan_cancellation(request, job)
        assert not isinstance(plan, CancellationRecord)
        changed = 0
        for index in found:
            if await transaction.lock("locks a contact", index, lambda row: row[2] in OPEN):
                transaction.write_contact(index, ContactStatus.CANCELLED)
                changed += 1
        record = plan.record(changed)
        await transaction.jobs.mark_cancelled(plan.job, record)
    return await remove_deferred_async(
        Cancellation(record, replayed=False), ports.scheduler, uow=ports.uow
    )


OPEN: Final = {"pending", "queued", "no_answer", "busy", "timeout"}

plant(
    "one statement for job and contacts",
    "I4",
    planted_cancel(_one_statement),
    actors.append(suffers=""),
)


async def _contacts_first(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        changed = await transaction.contacts.cancel(request.key, CANCELLABLE_CONTACTS)
        plan = plan_cancellation(request, await transaction.jobs.lock(request.key))
        assert not isinstance(plan, CancellationRecord)
        record = plan.record(changed)
        await transaction.jobs.mark_cancelled(plan.job, record)
    return await remove_deferred_async(
        Cancellation(record, replayed=False), ports.scheduler, uow=ports.uow
    )


plant("wrong lock order", "I14", planted_cancel(_contacts_first), cancel("other", "op-2"))


class _EveryOrganization(Jobs):
    async def lock(self, key: JobKey) -> Job | None:
        await self.transaction.lock("locks a job of this id", JOB + 1, lambda _: None)
        return await super().lock(key)


plant("the lock forgets the organization", "I16", cancel(jobs=_EveryOrganization))


async def _asks_in_transaction(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await carried_out(transaction, request, job)
        removed = await ports.scheduler.cancel(START, request.operation_id)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


plant(
    "asks Redis while it holds the lock",
    "I18",
    planted_cancel(_asks_in_transaction),
)
