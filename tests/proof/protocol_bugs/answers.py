"""Cancels whose answer is wrong: of a lost COMMIT, a removal, a repetition, trouble in Redis."""

from __future__ import annotations

from contextlib import suppress

import attrs

from batch_cancel.domain.cancellation import (
    CancelRequest,
    CancelResult,
    conclude,
)
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    CancelFailed,
    JobNotFound,
    SchedulerUnavailable,
    StoreFailed,
)
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import (
    Jobs,
)
from batch_cancel.testing.explore.rows import (
    JOB,
    START,
)
from batch_cancel.testing.explore.steps import Send
from batch_cancel.use_cases.remove_deferred import remove_deferred_async
from tests.proof.protocol_bugs.planting import cancel, carried_out, plant, planted_cancel


async def _uncaught(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await carried_out(transaction, request, job)
    removed = await ports.scheduler.cancel(START, request.operation_id)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


plant(
    "Redis trouble as 500",
    "I13",
    planted_cancel(_uncaught, suffers="l"),
    status="scheduled",
    faults="l",
)


async def _hopeful(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await carried_out(transaction, request, job)
    with suppress(SchedulerUnavailable):
        await ports.scheduler.cancel(START, request.operation_id)
    return conclude(cancellation, Removal.REMOVED)


async def _only_of_scheduled(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        assert job is not None
        is_scheduled = job.status == JobStatus.SCHEDULED
        named = attrs.evolve(job, deferred_id=job.deferred_id if is_scheduled else None)
        cancellation = await carried_out(transaction, request, named)
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


plant(
    "a job that was started early keeps its deferred start",
    "I7",
    planted_cancel(_only_of_scheduled),
    actors.start_early(suffers=""),
    status="scheduled",
)
plant(
    "removal claimed without confirmation",
    "I10",
    planted_cancel(_hopeful, suffers="l"),
    status="scheduled",
    faults="l",
)
plant(
    "removal claimed for a start that has fired",
    "I10",
    planted_cancel(_hopeful),
    actors.start(suffers=""),
    status="scheduled",
)


class _ForgetsRecord(Jobs):
    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        await Send("marks the job")
        self.transaction.write_job(JOB, JobStatus.CANCELLED)


plant(
    "no outbox",
    "I7",
    cancel(jobs=_ForgetsRecord, suffers="kl"),
    status="scheduled",
    faults="kl",
)


class _NeverReplays(Jobs):
    async def lock(self, key: JobKey) -> Job | None:
        job = await super().lock(key)
        return job and attrs.evolve(job, cancellation=None)


plant(
    "no replay",
    "I12",
    cancel(jobs=_NeverReplays),
    cancel("retry", jobs=_NeverReplays),
)


async def _new_name(ports: Ports, request: CancelRequest) -> object:
    try:
        return await _once(ports, request)
    except StoreFailed:
        return await actors.cancelling("a new name")(ports)


async def _once(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await carried_out(transaction, request, job)
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


plant(
    "a lost commit is tried again under a new operation id",
    "I12",
    planted_cancel(_new_name, suffers="l"),
    faults="l",
)


async def _says_unchanged(ports: Ports, request: CancelRequest) -> CancelResult:
    try:
        return await _once(ports, request)
    except StoreFailed as failure:
        raise CancelFailed(request.key, "it failed", "unchanged", failure.fault) from failure


plant(
    "a lost commit is reported as unchanged",
    "I11",
    planted_cancel(_says_unchanged, suffers="l"),
    faults="l",
)


async def _says_done(ports: Ports, request: CancelRequest) -> CancelResult:
    cancellation = None
    try:
        async with ports.uow.begin() as transaction:
            job = await transaction.jobs.lock(request.key)
            cancellation = await carried_out(transaction, request, job)
    except StoreFailed:
        if cancellation is None:
            raise
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


plant("a lost commit is answered 200", "I6", planted_cancel(_says_done, suffers="l"), faults="l")


async def _not_found(ports: Ports, request: CancelRequest) -> CancelResult:
    try:
        return await _once(ports, request)
    except AlreadyTerminal as refusal:
        raise JobNotFound(request.key) from refusal


plant("an ended job is not found", "I11", planted_cancel(_not_found), status="completed")


async def _stale_start(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        known = await transaction.look("reads the deferred id", lambda rows: rows[JOB][1])
        job = await transaction.jobs.lock(request.key)
        assert job is not None
        cancellation = await carried_out(
            transaction, request, attrs.evolve(job, deferred_id=known)
        )
    return await remove_deferred_async(cancellation, ports.scheduler, uow=ports.uow)


plant(
    "the deferred id is read before the lock",
    "I7",
    planted_cancel(_stale_start),
    actors.reschedule(suffers=""),
    status="scheduled",
)


async def _swallows(ports: Ports, request: CancelRequest) -> CancelResult:
    async with ports.uow.begin() as transaction:
        job = await transaction.jobs.lock(request.key)
        cancellation = await carried_out(transaction, request, job)
    try:
        removed = await ports.scheduler.cancel(START, request.operation_id)
    except BaseException:  # noqa: BLE001  # That is the bug.
        return conclude(cancellation, Removal.PENDING)
    return conclude(cancellation, Removal.REMOVED if removed else Removal.ABSENT)


plant(
    "except BaseException around Redis",
    "I19",
    planted_cancel(_swallows, suffers="o"),
    status="scheduled",
    faults="o",
)
