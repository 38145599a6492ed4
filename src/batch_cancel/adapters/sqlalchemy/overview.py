"""Read one job and its contacts; nothing is locked or changed."""

from __future__ import annotations

from typing import Any, cast

import attrs
import sqlalchemy as sa

from batch_cancel.adapters.sqlalchemy import columns
from batch_cancel.adapters.sqlalchemy.statements import (
    Statements,
    as_record,
    is_record_of,
    several_jobs,
)
from batch_cancel.domain.job import Job, JobKey, is_named
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.status_names import read_contact_status
from batch_cancel.domain.statuses import JobStatus


class OverviewOfJob(Statements):
    """The overview."""

    def look(self, key: JobKey) -> Overview | None:
        """Return the job and the numbers of its contacts; None if there is no such job."""
        tables, dialect = self.tables, self.dialect
        try:
            is_job = tables.is_job(key)
        except ValueError:
            return None
        self.seen.of_contacts(self.connection, has_organization=key.organization_id is not None)
        counted = self._counted(key)
        clock = self.database.clock().label("clock")
        its = [*tables.names(dialect), tables.status_text(dialect), clock]
        job = sa.select(*its, sa.func.count().over().label("jobs")).where(is_job).cte("job")
        # One statement, so that the job and its contacts are of one moment.
        asked: Any = sa.select(job, counted).select_from(job.outerjoin(counted, sa.true()))
        rows: list[Any] = cast("Any", self.connection.execute(asked)).all()
        if not rows:
            return None
        job_id, organization_id, deferred_id, status, at, jobs, *_ = rows[0]
        if jobs > 1:
            raise several_jobs(key)
        found = JobKey(str(job_id), columns.text(organization_id))
        if not is_named(found, key):
            return None
        status = tables.read_job_status(status)
        it = Job(found, status, columns.text(deferred_id), at or self.now())
        return Overview.of(
            self._with_record(it),
            (
                (read_contact_status(tables.contact_statuses, columns.text(status)), number)
                for *_, status, number in rows
                if number is not None  # The job has no contacts.
            ),
        )

    def _counted(self, key: JobKey) -> sa.Subquery:
        """Return the query for the numbers of the job's contacts, by status."""
        tables = self.tables
        status = tables.contact_status_text(self.dialect)
        return (
            sa.select(status, sa.func.count().label("number"))
            .where(self.contact_of(key), *tables.counting_contacts)
            .group_by(status)
            .subquery("contact")
        )

    def _with_record(self, job: Job) -> Job:
        if job.status != JobStatus.CANCELLED:
            return job
        ours = self.tables.cancellations
        # Committed together with the status, so a later statement finds it.
        row = self.connection.execute(self.records().where(is_record_of(ours, job.key))).first()
        return job if row is None else attrs.evolve(job, cancellation=as_record(row, job.key))
