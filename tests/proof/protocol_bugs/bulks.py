"""Cancels of many jobs that are wrong: their counts, their removals, their order, their names."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import attrs

from batch_cancel import JobFilter, cancel_jobs_async
from batch_cancel.domain.bulk import BulkResult, decide
from batch_cancel.domain.cancellation import Cancellation, CancelPlan, CancelRequest
from batch_cancel.domain.errors import CancelFailed, StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.retry import Attempts
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.actor_state import Actor
from batch_cancel.testing.explore.bulk_model import Bulk
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import Transaction
from batch_cancel.testing.explore.rows import KEY, KEYS, NOW, SECOND, First, index_of, there
from batch_cancel.testing.explore.steps import Send
from batch_cancel.use_cases.bulk import find_jobs
from batch_cancel.use_cases.bulk_finish import Finish
from batch_cancel.use_cases.removals import Removals
from tests.proof.protocol_bugs.planting import Replaced, plant

BOTH: Final = (KEY, SECOND)
WAITS: Final = First("scheduled", ("queued", "busy"), "start-of-second")
RUNS: Final = First("running", ("pending", "busy"), None)
_SCHEDULED: Final = JobFilter(organization_id=KEY.organization_id, statuses=["scheduled"])


def _bulk(
    run: Callable[[Ports], Coroutine[Any, Any, object]],
    again: Callable[[Ports], Coroutine[Any, Any, object]] | None = None,
    *,
    name: str = "bulk",
    operation: str = "op-1",
    suffers: str = "",
) -> Actor:
    many = tuple(map(KEYS.index, BOTH))
    return Actor(name, run, operation, again, suffers, many=many)


def _on(
    name: str = "bulk",
    operation: str = "op-1",
    keys: Sequence[JobKey] = BOTH,
    *,
    bulk: Callable[[Transaction], Any],
) -> Actor:
    """Return the product's bulk on planted parts."""
    return _bulk(
        lambda ports: cancel_jobs_async(
            [key.batch_job_id for key in keys],
            organization_id=KEY.organization_id,
            uow=Replaced(bulk=bulk),
            scheduler=ports.scheduler,
            operation_id=operation,
        ),
        name=name,
        operation=operation,
    )


def _named(operation: str) -> Callable[[Ports], Coroutine[Any, Any, BulkResult]]:
    return lambda ports: cancel_jobs_async(
        [key.batch_job_id for key in BOTH],
        organization_id=KEY.organization_id,
        uow=ports.uow,
        scheduler=ports.scheduler,
        operation_id=operation,
    )


def _begun(jobs: int = 2) -> BulkResult:
    return BulkResult(operation_id="op-1", jobs=jobs, left=jobs)


async def _answered(ports: Ports, records: Sequence[CancellationRecord]) -> BulkResult:
    """Do what the product does after the commit of a slice with all jobs."""
    finish = Finish(ports.uow, Removals(ports.scheduler), None)
    done = [Cancellation(record, replayed=False) for record in records]
    return _begun(len(records)).after(await finish.finish(done))


def _failed(failure: StoreFailed) -> list[CancelFailed]:
    return [CancelFailed(key, "it failed", "unchanged", failure.fault) for key in BOTH]


# Counts ------------------------------------------------------------------------------------------


async def _counts_before_commit(ports: Ports) -> BulkResult:
    result = _begun()
    try:
        async with ports.uow.begin() as transaction:
            cancelled = await _cancelled(transaction, BOTH)
            result = attrs.evolve(
                result,
                cancelled=len(cancelled),
                left=0,
                contacts_cancelled=sum(it.contacts_cancelled for it in cancelled),
                removals=dict(result.removals) | {cancelled[0].removal: len(cancelled)},
            )
    except StoreFailed as failure:
        if result.left:
            return _begun().after(_failed(failure))
    return result


async def _cancelled(
    transaction: Transaction, keys: Sequence[JobKey], operation: str = "op-1"
) -> list[CancellationRecord]:
    """Do in a transaction what the product does with live jobs."""
    assert transaction.bulk is not None
    found = await transaction.bulk.lock(keys)
    decided = [decide(CancelRequest(key, operation), found.get(key), Attempts()) for key in keys]
    plans = [it for it in decided if isinstance(it, CancelPlan)]
    counts = await transaction.bulk.cancel([it.job.key for it in plans], CANCELLABLE_CONTACTS)
    assert counts is not None
    records = [it.record(counts[it.job.key]) for it in plans]
    await transaction.bulk.mark_cancelled(records)
    return records


plant(
    "a bulk counts its jobs before their commit",
    "I6",
    _bulk(_counts_before_commit, suffers="c"),
    faults="c",
    second=RUNS,
)


class _CountsAllForEach(Bulk):
    async def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
    ) -> Mapping[JobKey, int] | None:
        counts = await super().cancel(keys, statuses)
        return counts and dict.fromkeys(keys, sum(counts.values()))


plant("each of many jobs gets the count of all", "I9", _on(bulk=_CountsAllForEach), second=RUNS)


async def _counts_a_lost_slice_as_failed(ports: Ports) -> BulkResult:
    try:
        async with ports.uow.begin() as transaction:
            records = await _cancelled(transaction, BOTH)
    except StoreFailed as failure:
        return _begun().after(_failed(failure))
    return await _answered(ports, records)


plant(
    "a slice whose commit is lost is counted as failed",
    "I11",
    _bulk(_counts_a_lost_slice_as_failed, suffers="l"),
    faults="l",
    second=RUNS,
)


# Removals ----------------------------------------------------------------------------------------


async def _removes_first(ports: Ports) -> BulkResult:
    starts = [("start-1", "op-1"), ("start-of-second", "op-1")]
    await ports.scheduler.cancel_many(starts)
    return await _named("op-1")(ports)


async def _removes_within(ports: Ports) -> BulkResult:
    planned = list[CancellationRecord]()
    try:
        async with ports.uow.begin() as transaction:
            planned += await _cancelled(transaction, BOTH)
    except StoreFailed:
        pass  # The removals go on without it.
    starts = [(it.deferred_id or "", "op-1") for it in planned]
    await ports.scheduler.cancel_many(starts)
    return await _named("op-1")(ports)


plant(
    "the starts of a slice are removed before its commit",
    "I8",
    _bulk(_removes_first, suffers="k"),
    status="scheduled",
    faults="k",
    second=WAITS,
)
plant(
    "the starts of a slice are removed although it rolled back",
    "I8",
    _bulk(_removes_within, suffers="c"),
    status="scheduled",
    faults="c",
    second=WAITS,
)


async def _asks_in_transaction(ports: Ports) -> BulkResult:
    async with ports.uow.begin() as transaction:
        records = await _cancelled(transaction, BOTH)
        await ports.scheduler.cancel_many([(it.deferred_id or "", "op-1") for it in records])
    return await _answered(ports, records)


plant(
    "a bulk asks Redis while it holds the locks of a slice",
    "I18",
    _bulk(_asks_in_transaction),
    second=RUNS,
)


class _KeepsTheFirstRecord(Bulk):
    async def mark_cancelled(self, records: Sequence[CancellationRecord]) -> None:
        await Send("marks the jobs, and writes one record")
        for record in records:
            self.transaction.write_job(there(record.key), JobStatus.CANCELLED)
        self.transaction.write_record(there(records[0].key), records[0])


plant(
    "a bulk keeps the record of one job only",
    "I6",
    _on(bulk=_KeepsTheFirstRecord),
    status="scheduled",
    second=WAITS,
)


# Which jobs, and in which order ------------------------------------------------------------------


async def _finds_again(ports: Ports) -> BulkResult:
    result = _begun(len(await find_jobs(_SCHEDULED, ports.uow)))
    finish = Finish(ports.uow, Removals(ports.scheduler), None)
    for place in range(result.jobs):
        for key in (await find_jobs(_SCHEDULED, ports.uow))[place : place + 1]:
            async with ports.uow.begin() as transaction:
                records = await _cancelled(transaction, [key])
            done = [Cancellation(record, replayed=False) for record in records]
            result = result.after(await finish.finish(done))
    return result


plant(
    "a bulk reads the ids again in the middle",
    "I9",
    _bulk(_finds_again),
    status="scheduled",
    second=WAITS,
)


class _LocksAsAsked(Bulk):
    async def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        found = dict[JobKey, Job]()
        for key in keys:
            found |= await super().lock([key])
        return found


plant(
    "bulks lock the jobs in the order in which they are asked for",
    "I14",
    _on(bulk=_LocksAsAsked),
    _on("bulk-2", "op-2", BOTH[::-1], bulk=_LocksAsAsked),
    second=RUNS,
)


class _ReadsWithoutLocks(Bulk):
    async def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        rows = await self.transaction.look("reads the jobs", lambda rows: rows[: len(KEYS)])
        indexes = [at for key in keys if (at := index_of(key)) is not None]
        return {KEYS[at]: Job(KEYS[at], rows[at][0], rows[at][1], NOW) for at in indexes}


plant(
    "a bulk reads its jobs without locks",
    "I2",
    _on(bulk=_ReadsWithoutLocks),
    actors.finish(suffers=""),
    contacts=("completed",),
    second=RUNS,
)


# Names -------------------------------------------------------------------------------------------


plant(
    "a bulk goes on under another operation id",
    "I12",
    _bulk(_named("op-1"), _named("another name"), suffers="k"),
    faults="k",
    second=RUNS,
)


class _ReadsNoRecords(Bulk):
    async def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        found = await super().lock(keys)
        return {key: attrs.evolve(job, cancellation=None) for key, job in found.items()}


plant(
    "a bulk does not know again what it has cancelled",
    "I12",
    _bulk(
        _named("op-1"),
        lambda ports: cancel_jobs_async(
            [key.batch_job_id for key in BOTH],
            organization_id=KEY.organization_id,
            uow=Replaced(bulk=_ReadsNoRecords),
            scheduler=ports.scheduler,
            operation_id="op-1",
        ),
        suffers="k",
    ),
    faults="k",
    second=RUNS,
)
