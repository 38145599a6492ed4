"""How a wrong protocol is planted: as a whole, or by parts of the right one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import attrs

from batch_cancel import cancel_job_async
from batch_cancel.domain.cancellation import (
    Cancellation,
    CancelRequest,
    plan_cancellation,
)
from batch_cancel.domain.job import CancellationRecord, Job
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.actor_state import Actor, Program
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import (
    ExploredUnitOfWork,
    Transaction,
)
from batch_cancel.testing.explore.rows import (
    KEY,
    First,
)
from batch_cancel.testing.explore.state import Scenario
from batch_cancel.use_cases.announcement import AsyncOnCancelled


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


def plant(
    name: str,
    invariant: str,
    *who: Actor,
    status: str = "running",
    contacts: Sequence[str] = ("pending",),
    faults: str = "",
    reconcile: Program = actors.reconcile_pass,
    second: First | None = None,
    locks_are_local: bool = False,
) -> None:
    """
    Write down a wrong protocol.

    Arguments:
        name: what is wrong with it.
        invariant: what it breaks.
        who: the actors of its scenario.
        status: the job's.
        contacts: the statuses of its contacts.
        faults: what else goes wrong.
        reconcile: how the last pass is made.
        second: another job of ours.
        locks_are_local: whether each actor is on a node of its own.
    """
    scenario = Scenario(
        name,
        name,
        who,
        reconcile,
        status,
        contacts,
        faults=faults,
        second=second,
        locks_are_local=locks_are_local,
    )
    BUGS.append(Bug(name, invariant, scenario))


class Replaced(ExploredUnitOfWork):
    """Transactions in which some parts are planted ones."""

    def __init__(self, *, above: int | None = None, **parts: Callable[[Transaction], Any]) -> None:
        super().__init__(above)
        self._parts = parts

    def begin(self) -> Transaction:
        """Open a transaction."""
        transaction = super().begin()
        for name, part in self._parts.items():
            setattr(transaction, name, part(transaction))
        return transaction


def cancel(
    name: str = "cancel",
    operation: str = "op-1",
    *,
    suffers: str = "",
    on_cancelled: AsyncOnCancelled | None = None,
    above: int | None = None,
    **parts: Callable[[Transaction], Any],
) -> Actor:
    """Return the product's cancel on planted parts."""
    return Actor(
        name,
        lambda ports: cancel_job_async(
            KEY.batch_job_id,
            organization_id=KEY.organization_id,
            uow=Replaced(above=above, **parts),
            scheduler=ports.scheduler,
            operation_id=operation,
            on_cancelled=on_cancelled,
        ),
        operation,
        suffers=suffers,
        sweep_above=above,
    )


def planted_cancel(
    run: Callable[[Ports, CancelRequest], Coroutine[Any, Any, object]],
    name: str = "cancel",
    operation: str = "op-1",
    *,
    suffers: str = "",
) -> Actor:
    """Return a cancel that is planted as a whole."""
    return Actor(
        name, lambda ports: run(ports, CancelRequest(KEY, operation)), operation, suffers=suffers
    )


def worker(
    name: str, step: Callable[..., Coroutine[Any, Any, object]], *arguments: object, **planted: Any
) -> Actor:
    """Return the product's step of a worker, on a planted statement."""
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


async def carried_out(
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
