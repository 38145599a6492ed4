"""A look at what is committed; it locks and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from batch_cancel.adapters.sqlalchemy import columns
from batch_cancel.adapters.sqlalchemy.statements import (
    Statements,
    as_record,
    several_jobs,
)
from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus, Removal


class Inspection(Statements):
    """The look."""

    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        """Return what the store says of removals, scheduled jobs, cancelled jobs and calls."""
        tables, ours, dialect = self.tables, self.tables.cancellations, self.dialect
        has_organization = tables.job_organization_id is not None
        self.seen.of_contacts(self.connection, has_organization=has_organization)
        removals = (
            self.records()
            .where(ours.c.removal == Removal.PENDING.value)
            .order_by(ours.c.cancelled_at)
            .limit(limit)
        )
        of = tables.jobs.c
        age = [of[name] for name in (tables.job_updated_at, tables.job_id) if name is not None]
        scheduled = (
            sa.select(*tables.names(dialect))
            .where(tables.job_in({JobStatus.SCHEDULED}))
            .order_by(*age)
            .limit(limit)
        )
        contacts_open = (
            sa.select(sa.func.count())
            .select_from(tables.contacts)
            .where(tables.is_contact_of_its_job(), tables.contact_in(statuses))
            .correlate(tables.jobs)
            .scalar_subquery()
        )
        cancelled = (
            sa.select(*tables.names(dialect), contacts_open)
            .where(tables.job_in({JobStatus.CANCELLED}))
            .order_by(*(column.desc() for column in age))
            .limit(limit)
        )
        waiting: Any = self.connection.execute(scheduled)
        stopped: Any = self.connection.execute(cancelled)
        inventory = Inventory(
            removals_pending=tuple(
                as_record(row, JobKey(row.batch_job_id, row.organization_id or None))
                for row in self.connection.execute(removals)
            ),
            scheduled=tuple(
                DeferredStart(_key(job_id, organization_id), columns.text(deferred_id))
                for job_id, organization_id, deferred_id in waiting
            ),
            cancelled=tuple(
                CancelledJob(_key(job_id, organization_id), columns.text(deferred_id), number)
                for job_id, organization_id, deferred_id, number in stopped
            ),
            calls_overdue=self._overdue(limit, older_than),
        )
        for listed in (inventory.scheduled, inventory.cancelled, inventory.calls_overdue or ()):
            for key, number in Counter(it.key for it in listed).items():
                if number > 1:
                    raise several_jobs(key)  # None of them can be meant by its name.
        return inventory

    def _overdue(self, limit: int, older_than: timedelta) -> tuple[OverdueCalls, ...] | None:
        tables = self.tables
        is_overdue = tables.is_dialing_since(self.now() - older_than)
        if is_overdue is None:
            return None
        number = sa.func.count().label("number")
        job_id, organization_id, _ = tables.names(self.dialect)
        asked = (
            sa.select(job_id, organization_id, number)
            .select_from(tables.jobs)
            .join(tables.contacts, tables.is_contact_of_its_job())
            .where(is_overdue, *tables.counting_jobs)
            .group_by(tables.key_column, *tables.naming)
            .order_by(number.desc())
            .limit(limit)
        )
        found: Any = self.connection.execute(asked)
        return tuple(OverdueCalls(_key(*names), contacts) for *names, contacts in found)


def _key(job_id: object, organization_id: object) -> JobKey:
    return JobKey(str(job_id), columns.text(organization_id))
