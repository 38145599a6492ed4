"""
Protocols that are wrong on purpose, each with the invariant that names what it breaks.

Each is a use case or a statement as somebody might well have written it. The explorer must find
every one of them, by the invariant that was written down here by hand before it was looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import attrs

from batch_cancel import cancel_job_async
from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelRequest,
    CancelResult,
    conclude,
    plan_cancellation,
)
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    CancelFailed,
    JobNotFound,
    SchedulerUnavailable,
    StoreFailed,
)
from batch_cancel.domain.model import (
    CANCELLABLE_CONTACTS,
    TERMINAL_CONTACTS,
    CancellationRecord,
    ContactStatus,
    Job,
    JobKey,
    JobStatus,
    Removal,
)
from batch_cancel.domain.worker_rules import CallEnd, Settlement
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.actor_state import Actor, Program
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import (
    Contacts,
    ExploredUnitOfWork,
    Jobs,
    Outbox,
    Transaction,
    Work,
)
from batch_cancel.testing.explore.rows import (
    CONTACTS,
    JOB,
    KEY,
    NOW,
    RECORD,
    START,
    open_contacts,
    record_of,
    recorded,
)
from batch_cancel.testing.explore.state import Scenario
from batch_cancel.testing.explore.steps import Send
from batch_cancel.use_cases.announcement import AsyncOnCancelled
from batch_cancel.use_cases.remove_deferred import remove_deferred_async
from batch_cancel.use_cases.worker import (
    claim_contacts_async,
    expire_calls_async,
    finish_job_async,
    settle_contact_async,
    start_job_async,
)


@attrs.frozen
class Bug:
    """
    A planted protocol.

    Arguments:
        name: what is wrong with it.
        invariant: what it breaks.
        scenario: where it meets those whom it harms.
    """

    name: str
    invariant: str
    scenario: Scenario


BUGS: Final[list[Bug]] = []


def _plant(
    name: str,
    invariant: str,
    *who: Actor,
    status: str = "running",
    contacts: Sequence[str] = ("pending",),
    faults: str = "",
    reconcile: Program = actors.reconcile_pass,
) -> None:
    BUGS.append(
        Bug(name, invariant, Scenario(name, name, who, reconcile, status, contacts, faults=faults))
    )


class Replaced(ExploredUnitOfWork):
    """Transactions in which some parts are planted ones."""

    def __init__(self, **parts: Callable[[Transaction], Any]) -> None:
        self._parts = parts

    def begin(self) -> Transaction:
        """Open a transaction."""
        transaction = Transaction()
        for name, part in self._parts.items():
            setattr(transaction, name, part(transaction))
        return transaction


def _cancel(
    name: str = "cancel",
    operation: str = "op-1",
    *,
    suffers: str = "",
    on_cancelled: AsyncOnCancelled | None = None,
    **parts: Callable[[Transaction], Any],
) -> Actor:
    """Give the product's cancel on planted parts."""
    return Actor(
        name,
        lambda ports: cancel_job_async(
            KEY.batch_job_id,
            organization_id=KEY.organization_id,
            uow=Replaced(**parts),
            scheduler=ports.scheduler,
            operation_id=operation,
            on_cancelled=on_cancelled,
        ),
        operation,
        suffers=suffers,
    )


def _planted_cancel(
    run: Callable[[Ports, CancelRequest], Coroutine[Any, Any, object]],
    name: str = "cancel",
    operation: str = "op-1",
    *,
    suffers: str = "",
) -> Actor:
    """Give a cancel that is planted as a whole."""
    return Actor(
        name, lambda ports: run(ports, CancelRequest(KEY, operation)), operation, suffers=suffers
    )


def _worker(
    name: str, step: Callable[..., Coroutine[Any, Any, object]], *arguments: object, **planted: Any
) -> Actor:
    """Give the product's step of a worker, on a planted statement."""
    work: Any = planted.pop("work")
    return Actor(
        name,
        lambda _: step(
            KEY.batch_job_id,
            *arguments,
            organization_id=KEY.organization_id,
            uow=Replaced(work=work),
            **planted,
        ),
        suffers="",
    )


async def _carried_out(
    transaction: Transaction, request: CancelRequest, job: Job | None
) -> Cancellation:
    """Do what the product does once it has the job."""
    plan = plan_cancellation(request, job)
    if isinstance(plan, CancellationRecord):
        return Cancellation(plan, replayed=True)
    changed = await transaction.contacts.cancel(plan.job.key, plan.contact_statuses)
    record = plan.record(changed)
    await transaction.jobs.mark_cancelled(plan.job, record)
    return Cancellation(record, replayed=False)


# Cancels -----------------------------------------------------------------------------------------


async def _redis_first(ports: Ports, request: CancelRequest) -> CancelResult:
    removed = await ports.scheduler.cancel(START, request.operation_id)
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await _carried_out(transaction, request, job)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


_plant(
    "Redis first",
    "I8",
    _planted_cancel(_redis_first, suffers="k"),
    status="scheduled",
    faults="k",
)


class _ReadsWithoutLock(Jobs):
    async def lock(self, key: JobKey) -> Job | None:
        status, deferred_id = await self.transaction.look(
            "reads the job", lambda rows: rows[JOB][:2]
        )
        return Job(key, status, deferred_id, NOW)


_plant(
    "no row lock",
    "I5",
    _cancel(jobs=_ReadsWithoutLock),
    _cancel("other", "op-2", jobs=_ReadsWithoutLock),
    contacts=(),
)


class _TwoCommits(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return 0


async def _split(ports: Ports, request: CancelRequest) -> CancelResult:
    async with Replaced(contacts=_TwoCommits).begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await _carried_out(transaction, request, job)
    async with ports.uow.begin() as transaction:
        await transaction.contacts.cancel(request.key, CANCELLABLE_CONTACTS)
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


_plant("split transaction", "I17", _planted_cancel(_split))


class _CountsBefore(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        found = await self.transaction.look(
            "counts", lambda rows: len(open_contacts(rows, JOB, statuses))
        )
        await super().cancel(key, statuses)
        return found


_plant("count before", "I9", _cancel(contacts=_CountsBefore), actors.claim())


class _DenyList(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return await super().cancel(key, frozenset(ContactStatus) - TERMINAL_CONTACTS)


_plant("deny-list", "I15", _cancel(contacts=_DenyList), contacts=("pending", "dialing"))


class _AllContacts(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return await super().cancel(key, frozenset(ContactStatus))


_plant(
    "cancels every contact",
    "I3",
    _cancel(contacts=_AllContacts),
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


_plant(
    "cancels contacts by the ids it read", "I15", _cancel(contacts=_NoSecondLook), actors.claim()
)


class _OnlyPending(Contacts):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return await super().cancel(key, {ContactStatus.PENDING})


_plant(
    "forgets the contacts that wait for a retry",
    "I4",
    _cancel(contacts=_OnlyPending),
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


_plant(
    "cancels with SKIP LOCKED",
    "I1",
    _cancel(contacts=_SkipsLocked),
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

_plant(
    "one statement for job and contacts",
    "I4",
    _planted_cancel(_one_statement),
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


_plant("wrong lock order", "I14", _planted_cancel(_contacts_first), _cancel("other", "op-2"))


class _EveryOrganization(Jobs):
    async def lock(self, key: JobKey) -> Job | None:
        await self.transaction.lock("locks a job of this id", JOB + 1, lambda _: None)
        return await super().lock(key)


_plant("the lock forgets the organization", "I16", _cancel(jobs=_EveryOrganization))


async def _asks_in_transaction(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await _carried_out(transaction, request, job)
        removed = await ports.scheduler.cancel(START, request.operation_id)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


_plant(
    "asks Redis while it holds the lock",
    "I18",
    _planted_cancel(_asks_in_transaction),
)


async def _uncaught(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await _carried_out(transaction, request, job)
    removed = await ports.scheduler.cancel(START, request.operation_id)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


_plant(
    "Redis trouble as 500",
    "I13",
    _planted_cancel(_uncaught, suffers="l"),
    status="scheduled",
    faults="l",
)


async def _hopeful(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await _carried_out(transaction, request, job)
    with suppress(SchedulerUnavailable):
        await ports.scheduler.cancel(START, request.operation_id)
    return conclude(cancellation, Removal.REMOVED)


async def _only_of_scheduled(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        assert job is not None
        is_scheduled = job.status == JobStatus.SCHEDULED
        named = attrs.evolve(job, deferred_id=job.deferred_id if is_scheduled else None)
        cancellation = await _carried_out(transaction, request, named)
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


_plant(
    "a job that was started early keeps its deferred start",
    "I7",
    _planted_cancel(_only_of_scheduled),
    actors.start_early(suffers=""),
    status="scheduled",
)
_plant(
    "removal claimed without confirmation",
    "I10",
    _planted_cancel(_hopeful, suffers="l"),
    status="scheduled",
    faults="l",
)
_plant(
    "removal claimed for a start that has fired",
    "I10",
    _planted_cancel(_hopeful),
    actors.start(suffers=""),
    status="scheduled",
)


class _ForgetsRecord(Jobs):
    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        await Send("marks the job")
        self.transaction.write_job(JOB, JobStatus.CANCELLED)


_plant(
    "no outbox",
    "I7",
    _cancel(jobs=_ForgetsRecord, suffers="kl"),
    status="scheduled",
    faults="kl",
)


class _NeverReplays(Jobs):
    async def lock(self, key: JobKey) -> Job | None:
        job = await super().lock(key)
        return job and attrs.evolve(job, cancellation=None)


_plant(
    "no replay",
    "I12",
    _cancel(jobs=_NeverReplays),
    _cancel("retry", jobs=_NeverReplays),
)


async def _new_name(ports: Ports, request: CancelRequest) -> object:
    try:
        return await _once(ports, request)
    except StoreFailed:
        return await actors.cancelling("a new name")(ports)


async def _once(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await _carried_out(transaction, request, job)
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


_plant(
    "a lost commit is tried again under a new operation id",
    "I12",
    _planted_cancel(_new_name, suffers="l"),
    faults="l",
)


async def _says_unchanged(ports: Ports, request: CancelRequest) -> CancelResult:
    try:
        return await _once(ports, request)
    except StoreFailed as failure:
        raise CancelFailed(request.key, "it failed", "unchanged", failure.fault) from failure


_plant(
    "a lost commit is reported as unchanged",
    "I11",
    _planted_cancel(_says_unchanged, suffers="l"),
    faults="l",
)


async def _says_done(ports: Ports, request: CancelRequest) -> CancelResult:
    cancellation = None
    try:
        async with ports.uow.begin() as transaction:
            job = await transaction.jobs.lock(request.key)
            cancellation = await _carried_out(transaction, request, job)
    except StoreFailed:
        if cancellation is None:
            raise
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


_plant("a lost commit is answered 200", "I6", _planted_cancel(_says_done, suffers="l"), faults="l")


async def _not_found(ports: Ports, request: CancelRequest) -> CancelResult:
    try:
        return await _once(ports, request)
    except AlreadyTerminal as refusal:
        raise JobNotFound(request.key) from refusal


_plant("an ended job is not found", "I11", _planted_cancel(_not_found), status="completed")


async def _stale_start(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        known = await transaction.look("reads the deferred id", lambda rows: rows[JOB][1])
        job = await transaction.jobs.lock(request.key)
        assert job is not None
        cancellation = await _carried_out(
            transaction, request, attrs.evolve(job, deferred_id=known)
        )
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


_plant(
    "the deferred id is read before the lock",
    "I7",
    _planted_cancel(_stale_start),
    actors.reschedule(suffers=""),
    status="scheduled",
)


async def _swallows(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await _carried_out(transaction, request, job)
    try:
        removed = await ports.scheduler.cancel(START, request.operation_id)
    except BaseException:  # noqa: BLE001  # That is the bug.
        return conclude(cancellation, Removal.PENDING)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


_plant(
    "except BaseException around Redis",
    "I19",
    _planted_cancel(_swallows, suffers="o"),
    status="scheduled",
    faults="o",
)


# Workers -----------------------------------------------------------------------------------------


class _BlindStart(Work):
    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        await self.transaction.lock("writes the job", JOB, lambda _: None)
        self.transaction.write_job(JOB, JobStatus.RUNNING)
        return True


class _CheckedStart(Work):
    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        if not await self.transaction.look(
            "reads the job's status", lambda rows: rows[JOB][0] in statuses
        ):
            return False
        await self.transaction.lock("writes the job", JOB, lambda _: None)
        self.transaction.write_job(JOB, JobStatus.RUNNING)
        return True


_plant(
    "blind start",
    "I2",
    actors.cancel(suffers=""),
    _worker("start", start_job_async, work=_BlindStart),
    status="scheduled",
)
_plant(
    "check-then-act start",
    "I2",
    actors.cancel(suffers=""),
    _worker("start", start_job_async, work=_CheckedStart),
    status="scheduled",
)


async def _acknowledges_first(ports: Ports) -> object:
    for start in await ports.scheduler.claim(1, timedelta()):
        await ports.scheduler.ack(start.deferred_id, start.token)
        await start_job_async(KEY.batch_job_id, organization_id=KEY.organization_id, uow=ports.uow)
    return None


_plant(
    "the pump acknowledges before it delivers",
    "I8",
    actors.cancel(suffers=""),
    Actor("start", _acknowledges_first, suffers="k"),
    status="scheduled",
    faults="k",
)


class _ClaimsAnyJob(Work):
    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        found = await self.transaction.look(
            "looks for contacts of any job", lambda rows: open_contacts(rows, JOB, statuses)
        )
        return await _taken(self.transaction, found, statuses)


async def _taken(
    transaction: Transaction, found: tuple[int, ...], statuses: AbstractSet[str]
) -> list[str]:
    taken: list[str] = []
    for index in found:
        contact_id = await transaction.lock_or_pass(
            "takes the contact", index, lambda row: row[0] if row[2] in statuses else None
        )
        if isinstance(contact_id, str):
            transaction.write_contact(index, ContactStatus.DIALING)
            taken.append(contact_id)
    return taken


class _ClaimsWithoutSecondLook(Work):
    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        found = await self.transaction.look(
            "reads contacts of a running job",
            lambda rows: open_contacts(rows, JOB, statuses) if rows[JOB][0] == "running" else (),
        )
        return await _taken(self.transaction, found, frozenset(ContactStatus))


_plant(
    "claim ignoring the job",
    "I1",
    actors.cancel(suffers=""),
    _worker("claim", claim_contacts_async, work=_ClaimsAnyJob, limit=1),
    status="scheduled",
)
_plant(
    "claim without a second look",
    "I1",
    actors.cancel(suffers=""),
    _worker("claim", claim_contacts_async, work=_ClaimsWithoutSecondLook, limit=1),
)


class _NaiveSettle(Work):
    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        return await super().settle(
            key, contact_id, Settlement(ContactStatus.NO_ANSWER, retry_at=None)
        )


def _settling(run: Callable[[Transaction], Coroutine[Any, Any, object]]) -> Actor:
    async def settle(ports: Ports) -> object:
        async with ports.uow.begin() as transaction:
            return await run(transaction)

    return Actor("settle", settle, suffers="")


async def _snapshot_settle(transaction: Transaction) -> object:
    # CASE WHEN (SELECT status FROM jobs ...), without a lock.
    status = await transaction.look("reads the job's status", lambda rows: rows[JOB][0])
    after = ContactStatus.CANCELLED if status == "cancelled" else ContactStatus.NO_ANSWER
    return await transaction.work.settle(KEY, "c0", Settlement(after, None))


async def _blind_settle(transaction: Transaction) -> object:
    await transaction.lock("writes the contact", CONTACTS + 1, lambda _: None)
    transaction.write_contact(CONTACTS + 1, ContactStatus.COMPLETED)
    return None


_plant(
    "naive settle",
    "I4",
    actors.cancel(suffers=""),
    _worker("settle", settle_contact_async, "c0", ContactStatus.BUSY, work=_NaiveSettle),
    contacts=("dialing",),
)
_plant(
    "snapshot settle",
    "I4",
    actors.cancel(suffers=""),
    _settling(_snapshot_settle),
    contacts=("dialing",),
)
_plant(
    "blind settle",
    "I3",
    actors.cancel(suffers=""),
    _settling(_blind_settle),
    contacts=("queued",),
)


async def _snapshot_append(transaction: Transaction) -> object:
    # INSERT ... SELECT FROM jobs WHERE status ..., without the lock.
    if await transaction.look("reads the job's status", lambda rows: rows[JOB][0] == "running"):
        transaction.insert_contact(JOB, "added")
    return None


_plant("snapshot append", "I4", actors.cancel(suffers=""), _settling(_snapshot_append))


async def _expire_without_lock(ports: Ports) -> object:
    async with ports.uow.begin() as transaction:
        status = await transaction.look("reads the job's status", lambda rows: rows[JOB][0])
        end = CallEnd(ContactStatus.TIMEOUT).settlement(Job(KEY, status, None, NOW))
        return await transaction.work.expire(KEY, end, timedelta(hours=1))


_plant(
    "calls expire by the job's status as it was read without its lock",
    "I4",
    actors.cancel(suffers=""),
    Actor("expire", _expire_without_lock, suffers=""),
    contacts=("dialing",),
)


class _ExpiresWhatItRead(Work):
    async def expire(self, key: JobKey, settlement: Settlement, _older_than: timedelta) -> int:
        found = await self.transaction.look(
            "reads the live calls",
            lambda rows: open_contacts(rows, JOB, {ContactStatus.DIALING}),
        )
        for index in found:
            await self.transaction.lock("writes the contact", index, lambda _: None)
            self.transaction.write_contact(index, settlement.status)
        return len(found)


_plant(
    "calls expire by the ids that were read",
    "I3",
    _worker("expire", expire_calls_async, timedelta(hours=1), work=_ExpiresWhatItRead),
    actors.settle("completed", suffers=""),
    contacts=("dialing",),
)


class _BlindFinish(Work):
    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        if await self.transaction.look(
            "looks for contacts", lambda rows: open_contacts(rows, JOB, unfinished)
        ):
            return False
        await self.transaction.lock("writes the job", JOB, lambda _: None)
        self.transaction.write_job(JOB, JobStatus.COMPLETED)
        return True


_plant(
    "blind finish",
    "I2",
    actors.cancel(suffers=""),
    _worker("finish", finish_job_async, work=_BlindFinish),
    contacts=("failed",),
)


# Reconcile ---------------------------------------------------------------------------------------


class _Overwrites(Outbox):
    async def settle(self, record: CancellationRecord) -> None:
        await self.transaction.lock("locks the record", RECORD, lambda _: None)
        self.transaction.writes.append((RECORD, None, recorded(record)))


async def _reconcile_by_a_name_of_its_own(ports: Ports) -> object:
    async with ports.uow.begin() as transaction:
        row = await transaction.look("reads the record", lambda rows: rows[RECORD])
    if not row:
        return None
    record = record_of(row, JOB)
    if record.deferred_id is not None and record.removal is not Removal.NOT_APPLICABLE:
        removed = await ports.scheduler.cancel(record.deferred_id, "reconcile")
        done = attrs.evolve(record, removal=Removal.REMOVED if removed else Removal.ABSENT)
        async with Replaced(outbox=_Overwrites).begin() as transaction:
            await transaction.outbox.settle(done)
    return None


_plant(
    "reconcile not idempotent",
    "I21",
    actors.cancel(suffers=""),
    status="scheduled",
    reconcile=_reconcile_by_a_name_of_its_own,
)


async def _hear(_: CancelResult) -> None:
    """Be told of a cancellation."""


_plant(
    "a late writer overwrites what is settled",
    "I21",
    _cancel(outbox=_Overwrites, suffers="l", on_cancelled=_hear),
    actors.reconcile(suffers=""),
    status="scheduled",
    faults="l",
)


async def _marks_without_asking(ports: Ports) -> object:
    async with ports.uow.begin() as transaction:
        for record in await transaction.outbox.take(9, timedelta(), announcements=False):
            await transaction.outbox.settle(attrs.evolve(record, removal=Removal.ABSENT))
    return None


_plant(
    "reconcile notes a removal that it did not ask for",
    "I7",
    actors.cancel(suffers="k"),
    status="scheduled",
    faults="k",
    reconcile=_marks_without_asking,
)
