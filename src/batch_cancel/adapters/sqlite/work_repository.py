"""
The workers' steps in a SQLite file.

Rule 1: a row count is not trusted. Rows are read back after a write, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from itertools import groupby
from typing import Final, cast
from uuid import uuid4

import attrs

from batch_cancel.adapters.sqlite.connection import SQL, Connection, Value, now, text_of
from batch_cancel.adapters.sqlite.rows import (
    count_contacts,
    listed,
    named,
    quoted,
    with_marks,
    written_otherwise,
)
from batch_cancel.domain.claimed_contacts import column_missing
from batch_cancel.domain.errors import shown
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.outcomes import contacts_differ, job_differs
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.worker_rules import Settlement, new_contact_due_at, new_contact_id

_OURS: Final = frozenset({"job_number", "id", "status", "next_attempt_at", "updated_at"})
"""The columns of contacts that are not the adopter's."""


@attrs.frozen
class Work:
    """The workers' steps, see `WorkRepository`."""

    connection: Connection

    def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        """Set the job to running if it is in `statuses` and names this deferred start."""
        is_it = (*named(key), deferred_id, deferred_id, *sorted(statuses))
        changed = self.connection.execute(
            with_marks(statuses, "start_job"), (JobStatus.RUNNING.value, text_of(now()), *is_it)
        )
        if not changed.rowcount:
            [(startable,)] = self.connection.rows(with_marks(statuses, "is_startable"), is_it)
            if not startable:
                return False
        self._look_at_job(key, changed.rowcount, JobStatus.RUNNING)
        return True

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        """Set to dialing the contacts of a running job that are due."""
        at = text_of(now())
        due = [
            cast("str", contact_id)
            for (contact_id,) in self.connection.rows(
                with_marks(statuses, "read_due_contacts"),
                (*named(key), JobStatus.RUNNING.value, at, *sorted(statuses), limit),
            )
        ]
        if due:
            self.connection.execute_many(
                with_marks(statuses, "claim_contact"),
                (
                    (ContactStatus.DIALING.value, at, *named(key), contact_id, *sorted(statuses))
                    for contact_id in due
                ),
            )
            self._look_at_contacts(key, due, ContactStatus.DIALING)
            self._look_at_job(key, 1, JobStatus.RUNNING)
        return due

    def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
    ) -> list[tuple[str, Mapping[str, object]]]:
        """Claim contacts, and read these columns of them."""
        there = self._columns()
        if not there.keys() >= set(columns):
            raise column_missing(columns, there)
        claimed = self.claim(key, statuses, limit)
        asked = "".join(f", contact.{quoted(name)}" for name in columns)
        found = {
            contact_id: dict(zip(columns, values, strict=True))
            for contact_id, *values in self.connection.rows(
                SQL["read_contacts"].replace(":columns", asked), (*named(key), listed(claimed))
            )
        }
        return [(contact_id, found[contact_id]) for contact_id in claimed]

    def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> bool:
        """Check whether there is such a job with a contact in these statuses."""
        asked = with_marks(statuses, "has_contacts")
        return self.connection.row(asked, (*named(key), *sorted(statuses))) == (1,)

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        """Write the new state of a contact whose call has ended."""
        changed = self.connection.execute(
            SQL["settle_contact"],
            (
                settlement.status.value,
                None if settlement.retry_at is None else text_of(settlement.retry_at),
                text_of(now()),
                *named(key),
                contact_id,
                ContactStatus.DIALING.value,
            ),
        )
        if not changed.rowcount and not self._count(key, [contact_id], ContactStatus.DIALING):
            return False
        self._look_at_contacts(key, [contact_id], settlement.status)
        return True

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        """Write the new state of the contacts that have been dialing for longer."""
        at = now()
        overdue = [
            cast("str", contact_id)
            for (contact_id,) in self.connection.rows(
                SQL["read_overdue_contacts"],
                (*named(key), ContactStatus.DIALING.value, text_of(at - older_than)),
            )
        ]
        self.connection.execute(
            SQL["expire_contacts"],
            (
                settlement.status.value,
                None if settlement.retry_at is None else text_of(settlement.retry_at),
                text_of(at),
                *named(key),
                listed(overdue),
                ContactStatus.DIALING.value,
            ),
        )
        self._look_at_contacts(key, overdue, settlement.status)
        return len(overdue)

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        """Add contacts to the locked job."""
        own = {name for name, is_given in self._columns().items() if is_given} - _OURS
        ids: list[str] = []
        for columns, group in groupby(contacts, lambda it: tuple(sorted(own.intersection(it)))):
            ids += self._append(job.key, columns, list(group))
        self._look_at_contacts(job.key, ids, ContactStatus.PENDING)
        return len(ids)

    def _append(
        self, key: JobKey, columns: Sequence[str], contacts: Sequence[Mapping[str, object]]
    ) -> list[str]:
        """Add contacts that have the same columns of the adopter's; return their ids."""
        at = text_of(now())
        ids = [new_contact_id(contact, uuid4().hex) for contact in contacts]
        self.connection.execute_many(
            SQL["append_contact"]
            .replace(":columns", "".join(f", {quoted(name)}" for name in columns))
            .replace(":marks", ", ?" * len(columns)),
            (
                (
                    *(contact_id, ContactStatus.PENDING.value, _due_at(contact), at),
                    *(cast("Value", contact[name]) for name in columns),
                    *named(key),
                )
                for contact_id, contact in zip(ids, contacts, strict=True)
            ),
        )
        return ids

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        """Set a running job to completed if none of its contacts is unfinished."""
        changed = self.connection.execute(
            with_marks(unfinished, "finish_job"),
            (
                JobStatus.COMPLETED.value,
                text_of(now()),
                *named(key),
                JobStatus.RUNNING.value,
                *sorted(unfinished),
            ),
        )
        if not changed.rowcount and not self._is_finishable(key, unfinished):
            return False
        self._look_at_job(key, changed.rowcount, JobStatus.COMPLETED)
        return True

    def status(self, key: JobKey) -> str | None:
        """Read the job's status; None if there is no such job."""
        row = self.connection.row(SQL["read_status"], named(key))
        return None if row is None else cast("str | None", row[0])

    def _is_finishable(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        left = count_contacts(self.connection, key, unfinished)
        return self.status(key) == JobStatus.RUNNING and not left

    def _look_at_job(self, key: JobKey, changed: int, due: JobStatus) -> None:
        """Check that one job was set to its new status."""
        status = self.status(key)
        if changed != 1 or status != due:
            what = (
                f"jobs set to {due.value!r}: {changed} instead of 1; the job's status is now "
                f"{shown(status)}"
                if changed != 1
                else job_differs(due, status)
            )
            raise written_otherwise(what)

    def _look_at_contacts(self, key: JobKey, ids: Sequence[str], due: ContactStatus) -> None:
        """Check that contacts were set to their new status."""
        are = self._count(key, ids, due)
        if are != len(ids):
            raise written_otherwise(contacts_differ(due, len(ids), are))

    def _columns(self) -> dict[str, bool]:
        """Return the columns of contacts, and whether a value can be put in each."""
        return {
            cast("str", name): bool(is_given)
            for name, is_given in self.connection.rows(SQL["look_at_columns_of_contacts"])
        }

    def _count(self, key: JobKey, ids: Sequence[str], status: ContactStatus) -> int:
        [(count,)] = self.connection.rows(
            SQL["count_contacts"], (*named(key), listed(ids), status.value)
        )
        return cast("int", count)


def _due_at(contact: Mapping[str, object]) -> str | None:
    at = new_contact_due_at(contact)
    return None if at is None else text_of(at)
