"""Many jobs of one organization on Postgres, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

import attrs
import psycopg

from batch_cancel.adapters.postgres.bulk_queries import BulkQueries, bulk_queries_for
from batch_cancel.adapters.postgres.outcomes import (
    check_written,
    is_of_an_id,
    looked_at,
    several,
    unmet,
)
from batch_cancel.adapters.postgres.rows import Parameters, job, pending_record, records_given
from batch_cancel.adapters.postgres.sql_parts import array_of
from batch_cancel.adapters.postgres.statements import Statements
from batch_cancel.adapters.postgres.sweep import Sweep
from batch_cancel.domain.bulk import JobFilter, unmapped
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.table_shape import is_one_form

_MOMENT: Final = "timestamp with time zone"


@attrs.frozen
class Bulk(Statements):
    """
    Many jobs.

    Arguments:
        references: the values by which contacts refer to the locked jobs.
        written: the contacts that were written and that a late trigger may write again, by job.
    """

    references: dict[JobKey, str] = attrs.field(factory=dict[JobKey, str], init=False)
    written: dict[JobKey, list[str]] = attrs.field(factory=dict[JobKey, list[str]], init=False)

    @property
    def many(self) -> BulkQueries:
        """The statements about many jobs."""
        return bulk_queries_for(self.queries)

    async def find(self, wanted: JobFilter, after: JobKey | None, limit: int) -> list[JobKey]:
        """As `BulkRepository.find`."""
        schema = self.queries.schema
        refusal = unmapped(
            wanted,
            has_scheduled=schema.job_scheduled_at is not None,
            has_created=schema.job_created_at is not None,
        )
        if refusal is not None:
            raise StoreFailed(refusal)
        await self._check_times(wanted)
        parameters: Parameters = {
            "organization_id": wanted.organization_id,
            "scheduled_after": wanted.scheduled_after,
            "scheduled_before": wanted.scheduled_before,
            "created_after": wanted.created_after,
            "created_before": wanted.created_before,
            "after": None if after is None else after.batch_job_id,
        }
        bounds = frozenset(name for name, value in parameters.items() if value is not None)
        statement = self.many.find_jobs(wanted.live_statuses, bounds)
        try:
            answer = await self.execute(statement, {**parameters, "limit": limit})
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if is_of_an_id(error):
                return []
            raise
        found = [JobKey(*row) for row in await answer.rows()]
        facts, column = await self.seen(), schema.job_organization_id
        kind = None if facts is None else facts.jobs.kinds.get(column or "")
        return found if is_one_form(kind, wanted.organization_id) else []

    async def _check_times(self, wanted: JobFilter) -> None:
        """
        Check that the columns of the times that a filter asks for hold moments.

        Any other would be compared by the connection's time zone, and other jobs be cancelled.
        """
        schema = self.queries.schema
        asked = [
            *([schema.job_scheduled_at] if wanted.asks_scheduled else []),
            *([schema.job_created_at] if wanted.asks_created else []),
        ]
        facts = await self.facts(JobKey("", wanted.organization_id)) if asked else None
        kinds: Mapping[str, str] = {} if facts is None else facts.jobs.kinds
        for column in asked:
            kind = kinds.get(column or "", _MOMENT)  # A column that is missing is Postgres' error.
            if kind != _MOMENT:
                reason = (
                    f"column {column} of the jobs is of the type {kind}, and a filter on a time "
                    f"needs {_MOMENT}: change its type, map another column, or pass the ids of "
                    "the jobs"
                )
                raise StoreFailed(reason)

    async def lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        """As `BulkRepository.lock`."""
        self.find_by_index()
        try:
            return await self._lock(keys)
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if not is_of_an_id(error):
                raise
        await self.transaction.begin_again()
        return await self._lock(await self._possible(keys))

    async def _lock(self, keys: Sequence[JobKey]) -> Mapping[JobKey, Job]:
        found = dict[JobKey, Job]()
        if not keys:
            return found
        answer = await self.execute(self.many.lock_jobs, _named(keys))
        for positions, reference, *row in await answer.rows():
            for position in positions.split(","):
                key = keys[int(position) - 1]
                locked = job(tuple(row), key, self.queries.schema)
                if locked is None:
                    continue
                if key in found:
                    raise several(key)
                found[key] = locked
                self.references[locked.key] = reference
        return await self._with_records(found)

    async def _with_records(self, found: Mapping[JobKey, Job]) -> Mapping[JobKey, Job]:
        cancelled = {it.key for it in found.values() if it.status == JobStatus.CANCELLED}
        if not cancelled:
            return found
        answer = await self.execute_alone(
            self.many.read_cancellations, _recorded_as(sorted(cancelled, key=_id))
        )
        records = [pending_record(row) for row in await answer.rows()]
        by_key = {record.key: record for record in records}
        return {
            key: attrs.evolve(it, cancellation=by_key.get(it.key)) if it.key in cancelled else it
            for key, it in found.items()
        }

    async def _possible(self, keys: Sequence[JobKey]) -> list[JobKey]:
        """Return the keys that the columns can hold; an error names no key, so parts are tried."""
        try:
            async with self.transaction.savepoint():
                await self.execute(self.many.read_no_job, _named(keys))
        except (psycopg.DataError, UnicodeEncodeError) as error:
            if not is_of_an_id(error):
                raise
        else:
            return list(keys)
        half = len(keys) // 2
        if not half:
            return []
        return [*await self._possible(keys[:half]), *await self._possible(keys[half:])]

    async def cancel(
        self, keys: Sequence[JobKey], statuses: AbstractSet[ContactStatus]
    ) -> Mapping[JobKey, int] | None:
        """As `BulkRepository.cancel`."""
        facts, asked, queries = await self.facts(keys[0]), frozenset(statuses), self.queries
        parameters: Parameters = {
            "keys": self._references(keys),
            "organization_id": keys[0].organization_id,
        }
        if facts is None or not (facts.contacts_are_rewritten or facts.jobs_are_rewritten):
            above = await Sweep(self.transaction).above(facts)
            statement = self.many.cancel_contacts(asked, unless_many=above is not None)
            answer = await self.execute(statement, {**parameters, "above": above})
            counts = dict[JobKey, int]()
            for position, written, cancelled in await answer.rows():
                key = keys[int(position) - 1]
                check_written(queries, key, is_so=written == cancelled)
                counts[key] = written
            if above is not None and not counts and await self._are_many(asked, parameters, above):
                return None
            return counts
        answer = await self.execute(self.many.list_cancelled_contacts(asked), parameters)
        self.written.update({key: [] for key in keys})
        for position, contact_id, is_so in await answer.rows():
            key = keys[int(position) - 1]
            check_written(queries, key, is_so=is_so)
            self.written[key].append(contact_id)
        return {key: len(self.written[key]) for key in keys}

    async def _are_many(
        self, statuses: frozenset[ContactStatus], parameters: Parameters, above: int
    ) -> bool:
        statement = self.many.are_many(statuses)
        answer = await self.execute(statement, {**parameters, "above": above})
        [(are_many,)] = await answer.rows()
        return bool(are_many)

    async def mark_cancelled(self, records: Sequence[CancellationRecord]) -> None:
        """As `BulkRepository.mark_cancelled`."""
        keys = [record.key for record in records]
        facts, ground = await self.facts(keys[0]), await self.transaction.ground()
        parameters: Parameters = {
            **_named(keys),
            "record_organization_id": keys[0].organization_id or "",
            "keys": self._references(keys),
            "number": len(keys),
            "records": records_given(records),
        }
        statement = ground.mark_and_demand(facts, self.many.marking)
        self.transaction.hold(statement, parameters, partial(unmet, self.queries, keys[0]))
        demand = self.queries.demand_as_written(frozenset({ContactStatus.CANCELLED}))
        for key, contact_ids in self.written.items():
            explain = partial(unmet, self.queries, key)
            self.transaction.hold(demand, looked_at(self.queries, key, contact_ids), explain)

    def _references(self, keys: Sequence[JobKey]) -> str:
        return array_of(self.references[key] for key in keys)


def _id(key: JobKey) -> str:
    return key.batch_job_id


def _ids(keys: Iterable[JobKey]) -> str:
    return array_of(map(_id, keys))


def _named(keys: Sequence[JobKey]) -> Parameters:
    """Return the parameters that name jobs of one organization in the adopter's tables."""
    organization_id = keys[0].organization_id
    return {
        "batch_job_ids": _ids(keys),
        "organization_id": organization_id,
        "its_organization": organization_id,
    }


def _recorded_as(keys: Sequence[JobKey]) -> Parameters:
    """Return the parameters that name jobs of one organization in our own table."""
    organization_id = keys[0].organization_id or ""
    return {"record_organization_id": organization_id, "batch_job_ids": _ids(keys)}
