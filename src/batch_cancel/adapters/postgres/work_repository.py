"""The workers' steps within one transaction on Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta

from psycopg import sql

from batch_cancel.adapters.postgres.at_once import WorkAtOnce
from batch_cancel.adapters.postgres.outcomes import (
    ADDED,
    can_be_copied,
    check_job,
    check_knows_calls,
    check_one,
    check_settled,
    check_written,
    contacts_refused,
    groups,
    inserts,
    missing_columns,
    only,
    settled,
    unknown_ids,
)
from batch_cancel.adapters.postgres.rows import (
    Row,
    named,
)
from batch_cancel.adapters.postgres.statements import Statements
from batch_cancel.domain.job import Job, JobKey, is_named
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.table_shape import check_nameable, check_referable
from batch_cancel.domain.worker_rules import Settlement


class Work(Statements):
    """The workers' steps."""

    @property
    def _at_once(self) -> WorkAtOnce:
        return WorkAtOnce(self.transaction)

    async def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        """As `WorkRepository.start`."""
        if self.transaction.may_commit_next:
            started = await self._at_once.start(key, statuses, deferred_id)
            if started is not None:
                return started
        which, it = frozenset(statuses), {**named(key), "deferred_id": deferred_id}
        with unknown_ids(key):
            statement = self.queries.start_job(which)
            answer, facts, _ = await self.step(key, statement, it, contacts=False)
        is_started = check_one(self.queries, key, answer.rowcount)
        if facts is not None and facts.jobs_have_triggers:
            await self.run_late_triggers(facts)
            if is_started:
                is_so = await self.status(key) == JobStatus.RUNNING
            else:
                answer = await self.execute(self.queries.is_startable(which), it)
                [(is_startable,)] = await answer.rows()
                is_so = not is_startable
            check_job(self.queries, key, is_so=is_so)
        return is_started

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        """As `WorkRepository.claim`."""
        if self.transaction.may_commit_next:
            claimed = await self._at_once.claim(key, statuses, limit)
            if claimed is not None:
                return claimed
        return [contact_id for contact_id, _ in await self._claim(key, statuses, limit, ())]

    async def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: Sequence[str],
    ) -> list[tuple[str, Mapping[str, object]]]:
        """As `ReadingWorkRepository.claim_returning`."""
        with missing_columns(self.queries, columns):
            return await self._claim(key, statuses, limit, tuple(columns))

    async def _claim(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns: tuple[str, ...],
    ) -> list[tuple[str, Mapping[str, object]]]:
        statement = self.queries.claim_contacts(frozenset(statuses), columns)
        self.find_one_by_one()
        parameters = {**named(key), "limit": limit}
        with unknown_ids(key):
            answer, facts, _ = await self.step(key, statement, parameters, one_by_one=True)
        rows = await answer.rows()
        check_nameable(self.queries.schema.contact_id, (it for it, *_ in rows), key)
        check_written(self.queries, key, is_so=all(is_so for _, is_so, *_ in rows))
        found: list[tuple[str, Mapping[str, object]]] = [
            (contact_id, dict(zip(columns, values, strict=True)))
            for contact_id, _, *values in rows
        ]
        claimed = [contact_id for contact_id, _ in found]
        if facts is not None and facts.contacts_are_rewritten:
            await self.run_late_triggers(facts)
            await self.check_contacts(key, facts, claimed, frozenset({ContactStatus.DIALING}))
        return found

    async def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> bool:
        """As `ReadingWorkRepository.has_contacts`."""
        asked = frozenset(statuses)
        if self.transaction.may_commit_next:
            are_there = await self._at_once.has_contacts(key, asked)
            if are_there is not None:
                return are_there
        with unknown_ids(key):
            its = await self.fitted(key, await self.seen(), named(key))
            answer = await self.execute(self.queries.has_contacts(asked), its)
        return await answer.rows() == [(True,)]

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        """As `WorkRepository.settle`."""
        if self.transaction.may_commit_next:
            was_settled = await self._at_once.settle(key, contact_id, settlement)
            if was_settled is not None:
                return was_settled
        # Only the plan depends on it: the tables may have changed since.
        ground = self.transaction.expected()
        by_id = self.has_unique_ids(None if ground is None else ground.known)
        statement = self.queries.settle_contact(settlement.status, by_id=by_id)
        parameters = settled(key, contact_id, settlement)
        with unknown_ids(key):
            answer, facts, its = await self.step(key, statement, parameters)
        is_settled = check_one(self.queries, key, answer.rowcount)
        if facts is not None and facts.contacts_have_triggers:
            await self.run_late_triggers(facts)
            read = self.queries.read_contact if is_settled else self.queries.read_left
            answer = await self.execute(read(settlement.status), its)
            check_settled(self.queries, key, is_settled=is_settled, rows=await answer.rows())
        return is_settled

    async def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        """As `WorkRepository.expire`."""
        check_knows_calls(self.queries)
        facts = await self.facts(key, contacts=True)
        given = {**named(key), "retry_at": settlement.retry_at, "older_than": older_than}
        parameters = await self.fitted(key, facts, given)
        if facts is None or not facts.contacts_have_triggers:
            return (
                await self.execute(self.queries.expire_contacts(settlement.status), parameters)
            ).rowcount
        answer = await self.execute(
            self.queries.list_expired_contacts(settlement.status), parameters
        )
        rows = await answer.rows()
        await self.run_late_triggers(facts)
        await self.check_contacts(
            *(key, facts, [contact_id for contact_id, _ in rows]),
            frozenset({settlement.status}),
        )
        answer = await self.execute(self.queries.expired_contact_left, parameters)
        is_left = await answer.row() != (False,)
        check_written(self.queries, key, is_so=not is_left)
        return len(rows)

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        """As `WorkRepository.append`."""
        facts, added = await self.facts(job.key), 0
        named_as = await self._reference(job.key)
        is_watched = facts is not None and facts.contacts_have_triggers
        ids: list[str] = []
        for columns, rows in groups(self.queries, contacts):
            if not is_watched and can_be_copied(rows):
                added += await self._copy(job.key, named_as, columns, rows)
                continue
            for statement, values, number in inserts(
                self.queries, named_as, columns, rows, named_back=is_watched
            ):
                with contacts_refused():
                    answer = await self.execute(statement, values)
                check_written(self.queries, job.key, is_so=answer.rowcount == number)
                added += number
                if is_watched:
                    ids += [contact_id for (contact_id,) in await answer.rows()]
        if facts is not None and is_watched:
            await self.run_late_triggers(facts)
            await self.check_contacts(job.key, facts, ids, ADDED)
        return added

    async def _copy(
        self,
        key: JobKey,
        named_as: tuple[object, ...],
        columns: tuple[str, ...],
        rows: Sequence[Mapping[str, object]],
    ) -> int:
        statement, constants = self.queries.copy_contacts(columns)
        values = ((*named_as, *constants, *(row[column] for column in columns)) for row in rows)
        with contacts_refused():
            written = await self.transaction.copy(statement, values)
        check_written(self.queries, key, is_so=written == len(rows))
        return written

    async def _reference(self, key: JobKey) -> tuple[object, ...]:
        """Return the value by which contacts refer to this job."""
        schema = self.queries.schema
        organization = () if schema.contact_organization_id is None else (key.organization_id,)
        if schema.job_key is None:
            return (key.batch_job_id, *organization)
        [(value,)] = await (await self.execute(self.queries.read_key, named(key))).rows()
        check_referable(schema.job_key, value, key)
        return (value, *organization)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        """As `WorkRepository.finish`."""
        lock, finish = self.queries.finish_job(frozenset(unfinished))
        with unknown_ids(key):
            answer, facts, its = await self.step(key, lock, named(key), contacts=False)
        if not answer.rowcount:
            return False
        answer = await self.execute(finish, its)
        is_finished = check_one(self.queries, key, answer.rowcount)
        if facts is not None and facts.jobs_have_triggers:
            await self.run_late_triggers(facts)
            if is_finished:
                status = await self.status(key)
                check_job(self.queries, key, is_so=status == JobStatus.COMPLETED)
            else:
                # Either a contact was added before the lock, or a trigger kept the job.
                answer = await self.execute(lock, its)
                check_job(self.queries, key, is_so=not answer.rowcount)
        return is_finished

    async def status(self, key: JobKey) -> str | None:
        """As `WorkRepository.status`."""
        row = only(await self._read(key, self.queries.read_status), key)
        if row is None:
            return None
        status, *texts = row
        if not is_named(JobKey(*texts), key):
            await self.fitted(key, await self.seen(), named(key))
        return self.queries.schema.read_job_status(status)

    async def _read(self, key: JobKey, query: sql.SQL) -> list[Row]:
        if self.transaction.may_commit_next:
            rows = await self._at_once.read(key, query)
            if rows is not None:
                return rows
        with unknown_ids(key):
            answer = await self.execute(query, named(key))
        return await answer.rows()
