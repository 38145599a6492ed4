"""Reconciles that are wrong, and late writers."""

from __future__ import annotations

from datetime import timedelta

import attrs

from batch_cancel.domain.cancellation import (
    CancelResult,
)
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.domain.statuses import Removal
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.explored_ports import Ports
from batch_cancel.testing.explore.postgres_model import (
    Outbox,
)
from batch_cancel.testing.explore.rows import (
    JOB,
    RECORD,
    record_of,
    recorded,
)
from tests.proof.protocol_bugs.planting import Replaced, cancel, plant


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


plant(
    "reconcile not idempotent",
    "I21",
    actors.cancel(suffers=""),
    status="scheduled",
    reconcile=_reconcile_by_a_name_of_its_own,
)


async def _hear(_: CancelResult) -> None:
    """Be told of a cancellation."""


plant(
    "a late writer overwrites what is settled",
    "I21",
    cancel(outbox=_Overwrites, suffers="l", on_cancelled=_hear),
    actors.reconcile(suffers=""),
    status="scheduled",
    faults="l",
)


async def _marks_without_asking(ports: Ports) -> object:
    async with ports.uow.begin() as transaction:
        for record in await transaction.outbox.take(9, timedelta(), announcements=False):
            await transaction.outbox.settle(attrs.evolve(record, removal=Removal.ABSENT))
    return None


plant(
    "reconcile notes a removal that it did not ask for",
    "I7",
    actors.cancel(suffers="k"),
    status="scheduled",
    faults="k",
    reconcile=_marks_without_asking,
)
