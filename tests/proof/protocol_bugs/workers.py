"""Steps of a worker that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.worker_rules import CallEnd, Settlement
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.actor_state import Actor
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import Transaction
from batch_cancel.testing.explore.rows import (
    CONTACTS,
    JOB,
    KEY,
    NOW,
    open_contacts,
)
from batch_cancel.testing.explore.statements_model import Statements
from batch_cancel.testing.explore.workers_model import Work
from batch_cancel.use_cases.worker import (
    claim_contacts_async,
    expire_calls_async,
    finish_job_async,
    settle_contact_async,
    start_job_async,
)
from tests.proof.protocol_bugs.planting import plant, worker


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


plant(
    "blind start",
    "I2",
    actors.cancel(suffers=""),
    worker("start", start_job_async, work=_BlindStart),
    status="scheduled",
)
plant(
    "check-then-act start",
    "I2",
    actors.cancel(suffers=""),
    worker("start", start_job_async, work=_CheckedStart),
    status="scheduled",
)


async def _acknowledges_first(ports: Ports) -> object:
    for start in await ports.scheduler.claim(1, timedelta()):
        await ports.scheduler.ack(start.deferred_id, start.token)
        await start_job_async(KEY.batch_job_id, organization_id=KEY.organization_id, uow=ports.uow)
    return None


plant(
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
    transaction: Statements, found: tuple[int, ...], statuses: AbstractSet[str]
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


plant(
    "claim ignoring the job",
    "I1",
    actors.cancel(suffers=""),
    worker("claim", claim_contacts_async, work=_ClaimsAnyJob, limit=1),
    status="scheduled",
)
plant(
    "claim without a second look",
    "I1",
    actors.cancel(suffers=""),
    worker("claim", claim_contacts_async, work=_ClaimsWithoutSecondLook, limit=1),
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


plant(
    "naive settle",
    "I4",
    actors.cancel(suffers=""),
    worker("settle", settle_contact_async, "c0", ContactStatus.BUSY, work=_NaiveSettle),
    contacts=("dialing",),
)
plant(
    "snapshot settle",
    "I4",
    actors.cancel(suffers=""),
    _settling(_snapshot_settle),
    contacts=("dialing",),
)
plant(
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


plant("snapshot append", "I4", actors.cancel(suffers=""), _settling(_snapshot_append))


async def _expire_without_lock(ports: Ports) -> object:
    async with ports.uow.begin() as transaction:
        status = await transaction.look("reads the job's status", lambda rows: rows[JOB][0])
        end = CallEnd(ContactStatus.TIMEOUT).settlement(Job(KEY, status, None, NOW))
        return await transaction.work.expire(KEY, end, timedelta(hours=1))


plant(
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


plant(
    "calls expire by the ids that were read",
    "I3",
    worker("expire", expire_calls_async, timedelta(hours=1), work=_ExpiresWhatItRead),
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


plant(
    "blind finish",
    "I2",
    actors.cancel(suffers=""),
    worker("finish", finish_job_async, work=_BlindFinish),
    contacts=("failed",),
)
