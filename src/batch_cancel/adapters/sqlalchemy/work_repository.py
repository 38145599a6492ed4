"""
The steps of workers on a job and its contacts, in one transaction.

Rule 1: each step reads and writes under one lock: what it read can't have changed.
Rule 2: rows are written by their ids, and the written rows are counted and checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy import exc

from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.adapters.sqlalchemy import columns, mapping
from batch_cancel.adapters.sqlalchemy.certification import guard
from batch_cancel.adapters.sqlalchemy.statements import (
    Statements,
    check_skipped,
    check_written,
)
from batch_cancel.domain.claimed_contacts import column_missing
from batch_cancel.domain.errors import JobNotFound, StoreFailed
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus
from batch_cancel.domain.table_shape import (
    check_nameable,
    check_referable,
    columns_refused,
    counted,
)
from batch_cancel.domain.worker_rules import CALL_AGE_UNKNOWN, Settlement

_ROWS_MAX: Final = 1000
"""The most rows that one statement names."""


@attrs.frozen
class _Meant:
    """
    A write to contacts of one job.

    Arguments:
        ids: their ids.
        is_its: the condition on the job's contacts.
        is_open: the condition on a contact that may be written.
        is_so: the condition on a contact that was written.
        values: the values to set.
    """

    ids: list[str]
    is_its: sa.ColumnElement[bool]
    is_open: sa.ColumnElement[bool]
    is_so: sa.ColumnElement[bool]
    values: dict[str, object]


class Work(Statements):
    """The steps."""

    def start(
        self, key: JobKey, statuses: AbstractSet[JobStatus], deferred_id: str | None
    ) -> bool:
        """Set the job to running if it is in `statuses` and names this deferred start."""
        tables = self.tables
        if deferred_id is not None and self._deferred_id(key) != deferred_id:
            return False
        is_ready = sa.and_(self._is_job(key), tables.job_in(statuses))
        return self._set_job(key, is_ready, JobStatus.RUNNING)

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        """Set to dialing up to so many contacts of a running job that are due."""
        tables, of = self.tables, self.tables.contacts.c
        is_running = sa.and_(self._is_job(key), tables.job_in({JobStatus.RUNNING}))
        facts = self.seen.of_single_contacts(self.connection, key)
        is_its, contact_id, at = self.contact_of(key), of[tables.contact_id], self.now()
        asked = (
            sa.select(columns.as_text(contact_id, self.dialect))
            .where(is_its, tables.contact_in(statuses))
            .where(sa.exists().select_from(tables.jobs).where(is_running).correlate(None))
        )
        ids = self._ids(self._due(asked, contact_id, at, limit), key)
        values = self.touched(tables.contacts, tables.contact_updated_at, at)
        values |= self.touched(tables.contacts, tables.contact_dialing_since, at)
        is_open = sa.and_(is_its, tables.contact_in(statuses))
        values |= tables.contact_values(ContactStatus.DIALING)
        is_so = tables.contact_has({ContactStatus.DIALING})
        self._set_contacts(_Meant(ids, is_its, is_open, is_so, values), facts)
        return ids

    def _ids(self, values: Iterable[Any], key: JobKey) -> list[str]:
        """Return the texts of contacts' ids."""
        ids = list(values)
        check_nameable(self.tables.contact_id, ids, key)
        return [str(it) for it in ids]

    def _due(
        self,
        asked: sa.Select[Any],
        contact_id: sa.Column[Any],
        at: datetime,
        limit: int,
    ) -> list[Any]:
        """
        Lock up to so many contacts of a query that are due, and return its values.

        Two ranges of an index on the job and the time, each in its order: a query for both sorts
        all contacts of the job.
        """
        tables, name = self.tables, self.tables.contact_next_attempt_at
        ranges = [asked]
        if name is not None:
            due_at = tables.contacts.c[name]
            is_past = due_at <= columns.moment(due_at, at)
            ranges = [asked.where(it).order_by(due_at) for it in (due_at.is_(None), is_past)]
        found: list[Any] = []
        for it in ranges:
            if len(found) < limit:
                in_order = it.order_by(contact_id)
                # SKIP LOCKED skips a row that a cancel has locked, and checks again one that it
                # has changed; the job is not locked.
                locked = in_order.with_for_update(
                    key_share=True, skip_locked=True, of=tables.contacts
                )
                more = self.database.picked(
                    self.connection, in_order, locked, contact_id, limit - len(found)
                )
                # For MariaDB a date of zeros is NULL as well as past.
                already = frozenset(found)
                found += [it for it in more if it not in already]
        return found

    def claim_returning(
        self,
        key: JobKey,
        statuses: AbstractSet[ContactStatus],
        limit: int,
        columns_read: Sequence[str],
    ) -> list[tuple[str, Mapping[str, object]]]:
        """Claim contacts, and read columns of them by the names that your table has for them."""
        of = self.tables.contacts.c
        if not all(name in of for name in columns_read):
            raise column_missing(columns_read, of.keys())
        its_id, _ = of[self.tables.contact_id], self._is_job(key)
        asked = sa.select(
            columns.as_text(its_id, self.dialect), *(of[name] for name in columns_read)
        ).where(self.contact_of(key))
        ids, found = self.claim(key, statuses, limit), dict[str, Mapping[str, object]]()
        for start in range(0, len(ids), _ROWS_MAX):
            some = [columns.id_value(its_id, it) for it in ids[start : start + _ROWS_MAX]]
            for contact_id, *values in self.connection.execute(asked.where(its_id.in_(some))):
                found[str(contact_id)] = dict(zip(columns_read, values, strict=True))
        return [(contact_id, found[contact_id]) for contact_id in ids]

    def has_contacts(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> bool:
        """Check whether there is such a job with a contact in these statuses."""
        is_job = self._is_job(key)
        self.contact_of(key)
        found = sa.select(sa.literal(1)).select_from(self.tables.jobs).where(is_job)
        is_left = sa.not_(self._nothing_left(key, statuses))
        return self.connection.execute(found.where(is_left)).first() is not None

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        """Write the new state of a contact whose call has ended."""
        tables, column = self.tables, self.tables.contacts.c[self.tables.contact_id]
        is_job = self._is_job(key)
        try:
            is_it = columns.is_id(column, contact_id)
        except ValueError as error:
            raise JobNotFound(key) from error
        facts = self.seen.of_single_contacts(self.connection, key)
        is_of_job = self.contact_of(key)
        is_its = sa.and_(is_of_job, is_it)
        is_so = tables.contact_has({settlement.status})
        is_live: Any = sa.and_(is_of_job, tables.contact_in({ContactStatus.DIALING}))
        if facts.contacts.is_unique(tables.contact_id):
            # CASE keeps Postgres from an index on live calls or on the job, by which it might
            # read all of them.
            is_live = sa.case((is_live, sa.true()))
        settled = (
            sa.update(tables.contacts)
            .where(is_it, is_live)
            .where(sa.exists().select_from(tables.jobs).where(is_job).correlate(None))
            .values(tables.contact_values(settlement.status))
            .values(self._going_on(settlement))
        )
        is_rewritten = facts.contacts_are_rewritten
        number = self.write(settled, is_so, is_rewritten=is_rewritten)
        if number:
            check_written(number, 1)
            self._guard(key, settlement)
            if is_rewritten:
                with self.late_triggers_run(facts):
                    check_written(self.count_contacts(is_its, is_so), 1)
        elif facts.contacts_have_triggers:
            is_live = tables.contact_in({ContactStatus.DIALING})
            check_skipped(self.count_contacts(is_its, is_live))
        return number == 1

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        """Write the new state of the contacts that have been dialing for longer."""
        tables = self.tables
        contact_id = tables.contacts.c[tables.contact_id]
        is_overdue = tables.is_dialing_since(self.now() - older_than)
        if is_overdue is None:
            raise StoreFailed(CALL_AGE_UNKNOWN)
        self._is_job(key)
        facts = self.seen.of_single_contacts(self.connection, key)
        is_its = self.contact_of(key)
        locked = (
            sa.select(columns.as_text(contact_id, self.dialect))
            .where(is_its, is_overdue)
            .with_for_update(key_share=True)
        )
        ids = self._ids(self.connection.execute(locked).scalars(), key)
        values = {**tables.contact_values(settlement.status), **self._going_on(settlement)}
        is_open, is_so = sa.and_(is_its, is_overdue), tables.contact_has({settlement.status})
        self._set_contacts(_Meant(ids, is_its, is_open, is_so, values), facts)
        if facts.contacts_have_triggers:
            check_skipped(self.count_contacts(is_open))
        if ids:
            self._guard(key, settlement)
        return len(ids)

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        """Add contacts to the locked job; their status is pending."""
        tables, keys = self.tables, set(self.tables.contacts.c.keys())
        has_organization = job.key.organization_id is not None
        facts = self.seen.of_contacts(self.connection, has_organization=has_organization)
        is_its = self.contact_of(job.key)
        self._check_referable(job.key)
        guard(self, job.key)
        own = tables.new_contact(job.key)
        if not all(set(it).issubset(keys - set(own)) for it in contacts):
            raise columns_refused(own, {*chain(*contacts)} - keys)
        part = mapping.part_of(tables.contacts_given)
        is_pending = tables.contact_has({ContactStatus.PENDING})
        counts = not self.database.returns_rows and facts.contacts_are_rewritten
        before = self.count_contacts(is_its, is_pending) if counts else 0
        for contact in contacts:
            counting = counted(contact, tables.contact_where)
            values = {**_with_class(part, counting), **own}
            try:
                self._add(values, is_its, is_pending, facts)
            except exc.StatementError as error:
                is_value = isinstance(error, exc.DataError | exc.IntegrityError)
                if isinstance(error, exc.DBAPIError) and not is_value:
                    raise
                # Only the kind of fault: the value may be a phone number.
                reason = f"the database refused a contact to be added ({type(error).__name__})"
                raise StoreFailed(reason) from error
        if counts:
            number = self.count_contacts(is_its, is_pending) - before
            check_written(number, len(contacts))
        return len(contacts)

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        """Set a running job to completed if none of its contacts is unfinished."""
        tables = self.tables
        is_running = sa.and_(self._is_job(key), tables.job_in({JobStatus.RUNNING}))
        has_organization = key.organization_id is not None
        self.seen.of_contacts(self.connection, has_organization=has_organization)
        self.contact_of(key)
        is_done = sa.and_(is_running, self._nothing_left(key, unfinished))
        # Contacts are added under the job's lock: the second statement sees them.
        found = sa.select(sa.literal(1)).select_from(tables.jobs).where(is_done)
        locked = found.with_for_update(key_share=True, of=tables.jobs)
        if self.connection.execute(locked).first() is None:
            return False
        return self._set_job(key, is_done, JobStatus.COMPLETED)

    def status(self, key: JobKey) -> str | None:
        """Read the job's status, without a lock."""
        asked = sa.select(self.tables.status_text(self.dialect)).where(self._is_job(key))
        found = self.connection.execute(asked).scalar()
        return self.tables.read_job_status(found)

    def _nothing_left(
        self, key: JobKey, statuses: AbstractSet[ContactStatus]
    ) -> sa.ColumnElement[bool]:
        """Return the condition that no contact is in these statuses; live calls have an index."""
        calling = statuses & {ContactStatus.DIALING}
        parts = [it for it in (statuses - calling, calling) if it]
        are_none = (self.tables.any_contact_of(key, it).is_(None) for it in parts)
        return sa.and_(sa.true(), *are_none)

    def _deferred_id(self, key: JobKey) -> str | None:
        """Read the id of the job's deferred start, under the job's lock."""
        *_, named = self.tables.names(self.dialect)
        asked = sa.select(named).where(self._is_job(key)).with_for_update(key_share=True)
        return columns.text(self.connection.execute(asked).scalar())

    def _check_referable(self, key: JobKey) -> None:
        """Check that contacts can refer to the job."""
        name = self.tables.job_key
        if name is None:
            return
        asked = sa.select(self.tables.jobs.c[name]).where(self._is_job(key))
        check_referable(name, self.connection.execute(asked).scalar(), key)

    def _is_job(self, key: JobKey) -> sa.ColumnElement[bool]:
        try:
            return self.tables.is_job(key)
        except ValueError as error:
            raise JobNotFound(key) from error

    def _guard(self, key: JobKey, settlement: Settlement) -> None:
        """Guard a contact that is open again; one that has ended needs none."""
        if settlement.status in CANCELLABLE_CONTACTS:
            guard(self, key)

    def _set_job(self, key: JobKey, is_it: sa.ColumnElement[bool], status: JobStatus) -> bool:
        """Set the job to this status if it meets a condition, and check it."""
        tables = self.tables
        facts = self.seen.of_jobs(self.connection)
        written = (
            sa.update(tables.jobs)
            .where(is_it)
            .values(tables.job_values(status))
            .values(self.touched(tables.jobs, tables.job_updated_at))
        )
        is_rewritten = facts.jobs_are_rewritten
        number = self.write(written, tables.job_has({status}), is_rewritten=is_rewritten)
        if number:
            check_written(number, 1)
            if is_rewritten:
                with self.late_triggers_run(facts):
                    check_written(int(self.status(key) == status), 1)
        elif facts.jobs_have_triggers:
            counted = sa.select(sa.func.count()).select_from(tables.jobs).where(is_it)
            check_skipped(self.connection.execute(counted).scalar_one())
        return number == 1

    def _going_on(self, settlement: Settlement) -> dict[str, object]:
        """Return the values of a contact whose call has ended."""
        tables = self.tables
        values = self.touched(tables.contacts, tables.contact_updated_at)
        if (name := tables.contact_next_attempt_at) is not None:
            values[name] = columns.moment(tables.contacts.c[name], settlement.retry_at)
        return values

    def _set_contacts(self, meant: _Meant, facts: Facts) -> None:
        """Write locked contacts of a job, and check each."""
        column = self.tables.contacts.c[self.tables.contact_id]
        is_rewritten = facts.contacts_are_rewritten
        for start in range(0, len(meant.ids), _ROWS_MAX):
            some = [columns.id_value(column, it) for it in meant.ids[start : start + _ROWS_MAX]]
            are_they = column.in_(some)
            written = (
                sa.update(self.tables.contacts).where(meant.is_open, are_they).values(meant.values)
            )
            number = self.write(written, meant.is_so, is_rewritten=is_rewritten)
            check_written(number, len(some))
            if is_rewritten:
                with self.late_triggers_run(facts):
                    right = self.count_contacts(meant.is_its, are_they, meant.is_so)
                check_written(right, len(some))

    def _add(
        self,
        values: dict[str, object],
        is_its: sa.ColumnElement[bool],
        is_pending: sa.ColumnElement[bool],
        facts: Facts,
    ) -> None:
        added: Any = sa.insert(self.tables.contacts).values(values)
        if not self.database.returns_rows:
            check_written(self.connection.execute(added).rowcount, 1)
            return
        column = self.tables.contacts.c[self.tables.contact_id]
        text = columns.as_text(column, self.dialect)
        rows: Any = self.connection.execute(added.returning(is_pending, text)).all()
        check_written(sum(bool(is_so) for is_so, _ in rows), 1)
        if facts.contacts_are_rewritten:
            is_it = columns.is_id(column, rows[0][1])
            with self.late_triggers_run(facts):
                check_written(self.count_contacts(is_its, is_it, is_pending), 1)


def _with_class(part: mapping.Part | None, contact: Mapping[str, object]) -> Mapping[str, object]:
    """Return a contact with the value of its class, if classes share the table."""
    if part is None:
        return contact
    given = contact.get(part.column, part.own)
    if not part.identities:
        return contact if given is None else {**contact, part.column: given}
    if given not in part.identities:
        reason = f"a contact is of another class: {part.column!r} must be one of its mapped class"
        raise StoreFailed(reason)
    return {**contact, part.column: given}
