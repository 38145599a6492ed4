"""Read one job and its contacts on Postgres; nothing is locked or changed."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import psycopg

from batch_cancel.adapters.postgres.outcomes import is_of_an_id, several
from batch_cancel.adapters.postgres.rows import (
    Row,
    cancellation,
    job,
    named,
    named_in_record,
)
from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.adapters.postgres.statements import Statements
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.overview import Overview
from batch_cancel.domain.status_names import read_contact_status
from batch_cancel.domain.statuses import JobStatus


class OverviewOfJob(Statements):
    """The overview."""

    async def look(self, key: JobKey) -> Overview | None:
        """As `OverviewRepository.look`."""
        facts = await self.facts(key)
        try:
            its = await self.fitted(key, facts, named(key))
            answer = await self.execute_alone(self.queries.overview, its)
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return None
            raise
        found = _overview(await answer.rows(), key, self.queries.schema)
        if found is None or found.job.status != JobStatus.CANCELLED:
            return found
        # Committed together with the status, so a later statement finds it.
        answer = await self.execute_alone(
            self.queries.read_cancellation, named_in_record(found.job.key)
        )
        return _with_record(found, await answer.row())


def _overview(rows: Sequence[Row], key: JobKey, schema: PostgresSchema) -> Overview | None:
    if not rows:
        return None
    *its, jobs, _, _ = rows[0]
    if jobs > 1:
        raise several(key)
    found = job(tuple(its), key, schema)
    if found is None:
        return None
    return Overview.of(
        found,
        (
            (read_contact_status(schema.contact_statuses, status), number)
            for *_, status, number in rows
            if number is not None  # The job has no contacts.
        ),
    )


def _with_record(found: Overview, row: Row | None) -> Overview:
    if row is None:
        return found
    record = cancellation(row, found.job.key)
    return attrs.evolve(found, job=attrs.evolve(found.job, cancellation=record))
