"""Sweeps that are wrong: their locks, their counts, their end."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import ContactStatus
from batch_cancel.domain.sweep import Chunk
from batch_cancel.testing.explore import actors
from batch_cancel.testing.explore.postgres_model import Sweep
from batch_cancel.testing.explore.rows import RECORD, open_contacts, there
from batch_cancel.testing.explore.steps import Passed
from tests.proof.protocol_bugs.planting import cancel, plant


class _SkipsLocked(Sweep):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        picked = 0
        for index in await self.transaction.look(
            "looks for contacts", lambda rows: open_contacts(rows, there(key), statuses)
        ):
            is_open = await self.transaction.lock_or_pass(
                "takes a contact to sweep", index, lambda row: row[2] in statuses
            )
            if is_open and not isinstance(is_open, Passed) and not picked:
                self.transaction.write_contact(index, ContactStatus.CANCELLED)
                picked += 1
        return Chunk(picked, picked, 1)


plant(
    "sweep skips locked",
    "I1",
    cancel(above=1, sweep=_SkipsLocked),
    actors.claim(),
    contacts=("pending", "busy"),
)


class _TrustsItsPick(Sweep):
    async def cancel_found(
        self, found: Sequence[int], statuses: AbstractSet[ContactStatus]
    ) -> int:
        for index in found:
            await self.transaction.lock("locks a contact to sweep", index, lambda row: row)
            self.transaction.write_contact(index, ContactStatus.CANCELLED)
        return len(found)


plant(
    "sweep trusts its pick",
    "I9",
    cancel(above=1, sweep=_TrustsItsPick),
    actors.claim(),
    contacts=("pending", "busy"),
)


class _CountsLater(Sweep):
    async def note(self, record: CancellationRecord) -> None:
        if record.is_swept:
            await super().note(record)


plant(
    "sweep counts at its end",
    "I9",
    cancel(above=1, sweep=_CountsLater),
    contacts=("pending", "busy"),
)


class _EndsBeforeItsRest(Sweep):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        chunk = await super().cancel(key, statuses)
        return Chunk(chunk.found, chunk.cancelled, limit=2)


plant(
    "sweep ends too early",
    "I4",
    cancel(above=1, sweep=_EndsBeforeItsRest),
    contacts=("pending", "busy"),
)


class _EndsAfterAClaim(Sweep):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        chunk = await super().cancel(key, statuses)
        return Chunk(chunk.cancelled, chunk.cancelled, chunk.limit)


plant(
    "sweep ends after a claim",
    "I4",
    cancel(above=1, sweep=_EndsAfterAClaim),
    actors.claim(),
    contacts=("pending", "busy"),
)


class _LocksNoRecord(Sweep):
    async def lock(self, record: CancellationRecord) -> CancellationRecord | None:
        await self.transaction.look(
            "reads its record, to sweep", lambda rows: rows[RECORD + there(record.key)]
        )
        return record

    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> Chunk:
        found = await self.transaction.look(
            "looks for a chunk of contacts",
            lambda rows: open_contacts(rows, there(key), statuses)[:1],
        )
        changed = await self.cancel_found(found, statuses)
        return Chunk(len(found), changed, 1)


plant(
    "sweep locks no record",
    "I9",
    cancel(above=1, sweep=_LocksNoRecord),
    cancel("other", "op-2", above=1, sweep=_LocksNoRecord),
    contacts=("pending", "busy"),
)
