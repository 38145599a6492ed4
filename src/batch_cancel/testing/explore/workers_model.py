"""The workers' port as Postgres keeps it, see `postgres_model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta

from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus
from batch_cancel.domain.worker_rules import Settlement
from batch_cancel.testing.explore.rows import (
    CONTACTS,
    DEFERRED_ID,
    Row,
    Rows,
    open_contacts,
    there,
)
from batch_cancel.testing.explore.statements_model import Part
from batch_cancel.testing.explore.steps import Send


class Work(Part):
    """The workers' steps, see `AsyncWorkRepository`."""

    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        """Compare and set."""
        job_index = there(key)

        def waits(row: Row) -> bool:
            return row[0] in statuses and deferred_id in {None, row[DEFERRED_ID]}

        if not await self.transaction.look(
            "looks whether the job waits", lambda rows: waits(rows[job_index])
        ):
            return False
        if not await self.transaction.lock("locks the job and looks again", job_index, waits):
            return False
        self.transaction.write_job(job_index, JobStatus.RUNNING)
        return True

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        """Look at job and contacts, then lock contact by contact."""
        job_index, claimed = there(key), list[str]()
        found = await self.transaction.look(
            "looks for contacts of a running job",
            lambda rows: (
                open_contacts(rows, job_index, statuses)
                if rows[job_index][0] == JobStatus.RUNNING
                else ()
            ),
        )
        for index in found:
            if len(claimed) == limit:
                break
            contact_id = await self.transaction.lock_or_pass(
                f"takes contact {index - CONTACTS}",
                index,
                lambda row: row[0] if row[2] in statuses else None,
            )
            if isinstance(contact_id, str):
                self.transaction.write_contact(index, ContactStatus.DIALING)
                claimed.append(contact_id)
        return claimed

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        """Update the contact if it is on the phone."""
        job_index, named = there(key), (contact_id, there(key), ContactStatus.DIALING.value)
        found = await self.transaction.look(
            "looks for the contact on the phone",
            lambda rows: tuple(at for at in range(CONTACTS, len(rows)) if rows[at][:3] == named),
        )
        for index in found:
            if await self.transaction.lock(
                "locks the contact",
                index,
                lambda row: row[1:3] == (job_index, ContactStatus.DIALING),
            ):
                self.transaction.write_contact(index, settlement.status)
                return True
        return False

    async def expire(self, key: JobKey, settlement: Settlement, _older_than: timedelta, /) -> int:
        """Update contact by contact what is on the phone; any call may have lasted too long."""
        job_index, expired = there(key), 0
        found = await self.transaction.look(
            "looks for calls that have lasted too long",
            lambda rows: open_contacts(rows, job_index, {ContactStatus.DIALING}),
        )
        for index in found:
            if await self.transaction.lock(
                f"ends call {index - CONTACTS}",
                index,
                lambda row: row[2] == ContactStatus.DIALING,
            ):
                self.transaction.write_contact(index, settlement.status)
                expired += 1
        return expired

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        """Insert under the lock."""
        await Send("adds contacts")
        for contact in contacts:
            self.transaction.insert_contact(there(job.key), str(contact["id"]))
        return len(contacts)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        """Look, lock the job, and look again in a statement of its own."""
        job_index = there(key)

        def is_done(rows: Rows) -> bool:
            return rows[job_index][0] == JobStatus.RUNNING and not open_contacts(
                rows, job_index, unfinished
            )

        if not await self.transaction.look("looks whether anything is left", is_done):
            return False
        if not await self.transaction.lock(
            "locks the job", job_index, lambda row: row[0] == JobStatus.RUNNING
        ):
            return False
        if not await self.transaction.look("looks again, in a new statement", is_done):
            return False
        self.transaction.write_job(job_index, JobStatus.COMPLETED)
        return True

    async def status(self, key: JobKey) -> str | None:
        """Read without a lock."""
        job_index = there(key)
        status: str | None = await self.transaction.look(
            "reads the job's status", lambda rows: rows[job_index][0]
        )
        return status


class GuardedWork(Work):
    """The same where a lock holds on one node: what opens a contact writes the job as well."""

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        """As `Work.settle`, and write the job if the contact is open again."""
        is_settled = await super().settle(key, contact_id, settlement)
        if is_settled and settlement.status in CANCELLABLE_CONTACTS:
            await self._guard(there(key))
        return is_settled

    async def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta, /) -> int:
        """As `Work.expire`, and write the job if contacts are open again."""
        expired = await super().expire(key, settlement, older_than)
        if expired and settlement.status in CANCELLABLE_CONTACTS:
            await self._guard(there(key))
        return expired

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        """As `Work.append`, after the job was written."""
        await self._guard(there(job.key))
        return await super().append(job, contacts)

    async def _guard(self, index: int) -> None:
        """Write the job, its status as it is."""
        status = await self.transaction.lock("writes the job", index, lambda row: row.status)
        self.transaction.write_job(index, JobStatus(status))
