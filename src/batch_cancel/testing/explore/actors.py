"""
The actors: the product's own use cases, as their callers run them.

Only the rescheduling is not the product's: it is what its owner's code does, in the order that
loses no job.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from batch_cancel.domain.bulk import JobFilter
from batch_cancel.domain.cancellation import CancelResult
from batch_cancel.domain.errors import BatchCancelError, CancelFailed
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.testing.explore.actor_state import Actor, Program
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import ExploredUnitOfWork
from batch_cancel.testing.explore.rows import KEY, KEYS, LATER, NOW, SECOND, index_of
from batch_cancel.use_cases.bulk import cancel_jobs_async
from batch_cancel.use_cases.cancel import cancel_job_async
from batch_cancel.use_cases.pump import pump_async
from batch_cancel.use_cases.reconcile import reconcile_async
from batch_cancel.use_cases.worker import (
    append_contacts_async,
    claim_contacts_async,
    expire_calls_async,
    finish_job_async,
    settle_contact_async,
    start_job_async,
    still_running_async,
)


async def _hear(_: CancelResult) -> None:
    """Be called with a cancellation; a hook."""


def cancelling(operation: str, key: JobKey = KEY, *, is_announced: bool = False) -> Program:
    """Cancel the job."""
    return lambda ports: cancel_job_async(
        key.batch_job_id,
        organization_id=key.organization_id,
        uow=ports.uow,
        scheduler=ports.scheduler,
        operation_id=operation,
        on_cancelled=_hear if is_announced else None,
    )


def insisting(program: Program) -> Program:
    """Retry once, if the error says that a retry may help."""

    async def ask_again(ports: Ports) -> object:
        try:
            return await program(ports)
        except CancelFailed as failure:
            if not failure.retryable:
                raise
            return await program(ports)

    return ask_again


def cancel(
    name: str = "cancel",
    operation: str = "op-1",
    *,
    key: JobKey = KEY,
    suffers: str = "klhoc",
    is_stubborn: bool = False,
    is_announced: bool = False,
    sweep_above: int | None = None,
) -> Actor:
    """
    Return a cancel.

    Arguments:
        name: its name in a story.
        operation: its operation id.
        key: whose job it cancels.
        suffers: which faults may strike it.
        is_stubborn: whether its client asks again with the same operation id, after a failure and
            after its own process was killed.
        is_announced: whether it has a hook.
        sweep_above: how many contacts its store cancels in one transaction; None for all.
    """
    program = cancelling(operation, key, is_announced=is_announced)
    if is_stubborn:
        program = insisting(program)
    again = program if is_stubborn else None
    return Actor(name, program, operation, again, suffers, sweep_above)


def cancel_many(
    name: str = "bulk",
    operation: str = "op-1",
    *,
    jobs: Sequence[str] | JobFilter = (KEY.batch_job_id, SECOND.batch_job_id),
    suffers: str = "k",
    is_stubborn: bool = True,
    has_bulk: bool = True,
    sweep_above: int | None = None,
) -> Actor:
    """
    Return a cancel of both jobs at once.

    Arguments:
        name: its name in a story.
        operation: its operation id.
        jobs: their ids, or the filter that finds them.
        suffers: which faults may strike it.
        is_stubborn: whether it is called again with the same operation id, after its own process
            was killed.
        has_bulk: whether its store cancels several jobs in one transaction; if not, each is a
            slice.
        sweep_above: how many contacts its store cancels in one transaction; None for all.
    """

    def program(ports: Ports) -> Coroutine[Any, Any, object]:
        return cancel_jobs_async(
            jobs,
            organization_id=None if isinstance(jobs, JobFilter) else KEY.organization_id,
            uow=ExploredUnitOfWork(sweep_above, has_bulk=has_bulk),
            scheduler=ports.scheduler,
            operation_id=operation,
        )

    again = program if is_stubborn else None
    many = tuple(KEYS.index(key) for key in (KEY, SECOND))
    return Actor(name, program, operation, again, suffers, sweep_above, many=many)


async def _fire(ports: Ports) -> int:
    return await pump_async(
        ports.scheduler,
        lambda start: start_job_async(
            KEY.batch_job_id,
            organization_id=KEY.organization_id,
            uow=ports.uow,
            deferred_id=start.deferred_id,
        ),
        limit=1,
    )


def start(name: str = "start", *, suffers: str = "k", is_supervised: bool = False) -> Actor:
    """Return the deferred start that fires: popped by the pump, then a compare-and-set."""
    return Actor(name, _fire, None, _fire if is_supervised else None, suffers)


def start_early(name: str = "start early", *, suffers: str = "k") -> Actor:
    """Return an actor that starts the job before its time; its deferred start still waits."""
    return Actor(
        name,
        lambda ports: start_job_async(
            KEY.batch_job_id, organization_id=KEY.organization_id, uow=ports.uow
        ),
        suffers=suffers,
    )


def claim(name: str = "claim", limit: int = 1, *, suffers: str = "k") -> Actor:
    """Return a worker that takes contacts to dial."""
    return Actor(
        name,
        lambda ports: claim_contacts_async(
            KEY.batch_job_id, organization_id=KEY.organization_id, uow=ports.uow, limit=limit
        ),
        suffers=suffers,
    )


def settle(
    outcome: str = "no_answer", contact_id: str = "c0", name: str = "settle", *, suffers: str = "k"
) -> Actor:
    """Return a worker whose call ends."""
    return Actor(
        name,
        lambda ports: settle_contact_async(
            KEY.batch_job_id,
            contact_id,
            ContactStatus(outcome),
            organization_id=KEY.organization_id,
            uow=ports.uow,
        ),
        suffers=suffers,
    )


def call(outcome: str = "no_answer", name: str = "call", *, suffers: str = "k") -> Actor:
    """Return a worker that takes a contact, asks again whether to dial, and settles its call."""

    async def run(ports: Ports) -> object:
        key, organization_id = KEY.batch_job_id, KEY.organization_id
        claimed = await claim_contacts_async(
            key, organization_id=organization_id, uow=ports.uow, limit=1
        )
        for contact_id in claimed:
            is_wanted = await still_running_async(
                key, organization_id=organization_id, uow=ports.uow
            )
            await settle_contact_async(
                key,
                contact_id,
                ContactStatus(outcome) if is_wanted else ContactStatus.QUEUED,
                organization_id=organization_id,
                uow=ports.uow,
            )
        return claimed

    return Actor(name, run, suffers=suffers)


def expire(name: str = "expire", *, suffers: str = "k") -> Actor:
    """Return an actor that ends the live calls, as those of dead workers."""
    return Actor(
        name,
        lambda ports: expire_calls_async(
            KEY.batch_job_id,
            LATER - NOW,
            organization_id=KEY.organization_id,
            uow=ports.uow,
        ),
        suffers=suffers,
    )


async def _append(ports: Ports) -> object:
    try:
        return await append_contacts_async(
            KEY.batch_job_id,
            [{"id": "added"}],
            organization_id=KEY.organization_id,
            uow=ports.uow,
        )
    except BatchCancelError as refusal:
        return refusal


def append(name: str = "append", *, suffers: str = "k") -> Actor:
    """Return an actor that adds a contact."""
    return Actor(name, _append, suffers=suffers)


def finish(name: str = "finish", *, suffers: str = "k") -> Actor:
    """Return a worker that completes the job if nothing is left to do."""
    return Actor(
        name,
        lambda ports: finish_job_async(
            KEY.batch_job_id, organization_id=KEY.organization_id, uow=ports.uow
        ),
        suffers=suffers,
    )


def reconcile_pass(ports: Ports) -> Coroutine[Any, Any, object]:
    """Do one pass of reconcile."""
    return reconcile_async(uow=ports.uow, scheduler=ports.scheduler)


def reconcile(
    name: str = "reconcile", *, suffers: str = "klo", sweep_above: int | None = None
) -> Actor:
    """Return a pass of reconcile, beside whatever is at work."""
    return Actor(name, reconcile_pass, suffers=suffers, sweep_above=sweep_above)


async def _reschedule(ports: Ports) -> str:
    # The new start first: killed in between, the job has one start too many and never none. No
    # lock is held while the scheduler is asked.
    job_index = index_of(KEY)
    assert job_index is not None  # noqa: S101  # It is there from the beginning.
    await ports.scheduler.schedule("start-2", LATER)
    async with ports.uow.begin() as transaction:
        status, before = await transaction.lock(
            "locks the job to move it", job_index, lambda row: (row[0], row[1])
        )
        if status == JobStatus.SCHEDULED:
            transaction.write_deferred_id(job_index, "start-2")
        unused: str = before if status == JobStatus.SCHEDULED else "start-2"
    await ports.scheduler.cancel(unused, "rescheduling")
    return unused


def reschedule(name: str = "reschedule", *, suffers: str = "k") -> Actor:
    """Return the owner's own code that moves the job's start to a later time."""
    return Actor(name, _reschedule, suffers=suffers)
