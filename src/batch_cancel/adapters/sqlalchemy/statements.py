"""The common part of all repositories: the clock, the conditions, the check of written rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, ParamSpec, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_cancel.adapters.postgres_catalog import Facts
from batch_cancel.adapters.postgres_transactions import LATE_TRIGGERS_NOW
from batch_cancel.adapters.sqlalchemy import columns
from batch_cancel.adapters.sqlalchemy.dialects import Database, database_of
from batch_cancel.adapters.sqlalchemy.errors import written_otherwise
from batch_cancel.adapters.sqlalchemy.facts import Seen, quoted
from batch_cancel.adapters.sqlalchemy.tables import SqlAlchemyTables
from batch_cancel.domain.errors import StoreFailed, shown
from batch_cancel.domain.job import CancellationRecord, JobKey
from batch_cancel.domain.statuses import JobStatus, Removal

_P = ParamSpec("_P")
_R = TypeVar("_R")


@attrs.frozen
class Statements:
    """The statements of one repository, in one transaction."""

    connection: Connection
    tables: SqlAlchemyTables
    seen: Seen

    @property
    def dialect(self) -> sa.Dialect:
        """The dialect of the statements."""
        return self.connection.dialect

    @property
    def database(self) -> Database:
        """The ways of the database."""
        return database_of(self.dialect)

    def now(self) -> datetime:
        """Read the store's clock; on SQLite this machine's."""
        return self.database.now(self.connection)

    def touched(
        self, table: sa.Table, name: str | None, at: datetime | None = None
    ) -> dict[str, object]:
        """
        Return the value for the column of a row's last change.

        Arguments:
            table: the row's table.
            name: the column's key; None if there is none.
            at: the time; None for the statement's own, which costs no round trip.
        """
        if name is None:
            return {}
        column = table.c[name]
        clock = self.database.statement_time(column) if at is None else None
        if clock is not None:
            return {name: clock}
        return {name: columns.moment(column, self.now() if at is None else at)}

    def records(self) -> sa.Select[Any]:
        """Return the query for the records of our own table."""
        return sa.select(*self.columns_of(self.tables.cancellations))

    def columns_of(self, table: sa.Table) -> list[sa.ColumnElement[Any]]:
        """Return the columns of a record in our own table, or in the one of earlier records."""
        ours, is_earlier = self.tables.cancellations, table is not self.tables.cancellations
        is_swept = sa.true() if is_earlier else self.database.is_swept(ours)
        names = [it.name for it in ours.columns if it.name != columns.IS_SWEPT]
        return [*(_column(ours, table, name) for name in names), is_swept.label(columns.IS_SWEPT)]

    def contact_of(self, key: JobKey) -> sa.ColumnElement[bool]:
        """
        Return the condition that a row of contacts is this job's.

        Raises:
            StoreFailed: contacts cannot refer to such a job, or its key is not unique.
        """
        try:
            condition = self.tables.is_contact_of(key)
        except ValueError as error:
            reason = (
                "no contact can refer to this job: the columns of jobs and contacts that name "
                "a job, or an organization, are of different types"
            )
            raise StoreFailed(reason) from error
        if not self.database.refuses_several and self.tables.job_key is not None:
            # With several rows, a subquery of SQLite takes the first; others raise an error.
            found = sa.select(sa.func.count()).select_from(self.tables.jobs)
            if self.connection.execute(found.where(self.tables.is_job(key))).scalar_one() > 1:
                raise several_jobs(key)
        return condition

    def write(
        self, statement: sa.Update, is_so: sa.ColumnElement[bool], *, is_rewritten: bool
    ) -> int:
        """
        Write rows, and check each as it is written.

        Arguments:
            statement: the statement that writes.
            is_so: the condition that a row is as intended.
            is_rewritten: whether a trigger or a rule writes the rows after or instead of the
                statement: then RETURNING does not show them, and the caller reads them again.

        Returns:
            how many rows.

        Raises:
            StoreFailed: a row is not as intended.
        """
        if is_rewritten or not self.database.returns_rows:
            return self.connection.execute(statement).rowcount
        done = statement.returning(is_so.label("is_so")).cte("done")
        counted = sa.select(sa.func.count(), sa.func.count().filter(done.c.is_so))
        number, right = self.connection.execute(counted.select_from(done)).one()
        if number != right:
            what = f"{number - right} of {number} rows have another status than was written"
            raise written_otherwise(what)
        return int(number)

    @contextmanager
    def late_triggers_run(self, facts: Facts) -> Generator[None]:
        """Run the deferred triggers now, before the written rows are checked."""
        if not self.database.defers_triggers:
            yield
        elif self.seen.is_joined:
            self._set_constraints([it[:2] for it in facts.deferrable], "IMMEDIATE")
            yield
            # Later statements of the caller find them deferred again.
            self._set_constraints([it[:2] for it in facts.deferrable if it[2]], "DEFERRED")
        else:
            self.connection.execute(sa.text(LATE_TRIGGERS_NOW))
            yield

    def _set_constraints(self, names: Sequence[tuple[str, str]], when: str) -> None:
        if names:
            listed = ", ".join(quoted(*it) for it in names)
            self.connection.exec_driver_sql(
                f"SET CONSTRAINTS {listed} {when}", execution_options={"no_parameters": True}
            )

    def count_contacts(self, *conditions: sa.ColumnElement[bool]) -> int:
        """Return how many contacts meet this condition."""
        counted = sa.select(sa.func.count()).select_from(self.tables.contacts)
        return int(self.connection.execute(counted.where(*conditions)).scalar_one())


@attrs.frozen
class Bridge:
    """
    Calls methods of the blocking half on an asyncio engine's bridge to its driver.

    Arguments:
        connection: the engine's, on whose blocking half the methods send.
    """

    connection: AsyncConnection

    async def __call__(
        self, method: Callable[_P, _R], /, *arguments: _P.args, **named: _P.kwargs
    ) -> _R:
        """Return the answer of the method."""
        return await self.connection.run_sync(lambda _: method(*arguments, **named))


def several_jobs(key: JobKey) -> StoreFailed:
    """Return the error for an id of several jobs."""
    return StoreFailed(
        f"organization {shown(key.organization_id)} has several jobs of this id: map a column "
        "that is unique with job_id=..."
    )


STILL_OPEN: Final = (
    "contacts of the job are still open after all were cancelled: look for a trigger, a rule or a "
    "policy that keeps them, or for a writer that adds contacts to a job without a look at it"
)


def check_written(number: int, meant: int) -> None:
    """
    Check the number of rows as written.

    Raises:
        StoreFailed: it is not the intended number.
    """
    if number != meant:
        what = f"{number} rows instead of {meant} have the status that was written"
        raise written_otherwise(what)


def check_skipped(number: int) -> None:
    """
    Check that no row was skipped by a trigger, a rule or a policy.

    Raises:
        StoreFailed: there are such rows.
    """
    if number:
        what = f"{number} rows were to be written, but are unchanged"
        raise written_otherwise(what)


def is_record_of(ours: sa.Table, key: JobKey) -> sa.ColumnElement[bool]:
    """Return the condition that a row is the record of this job's cancellation."""
    organization_id = key.organization_id or ""  # A primary key can't hold NULL.
    return sa.and_(
        ours.c.organization_id == organization_id, ours.c.batch_job_id == key.batch_job_id
    )


def is_cancellation(ours: sa.Table, record: CancellationRecord) -> sa.ColumnElement[bool]:
    """Return the condition that a row is the record of this cancellation of the job."""
    # The time distinguishes two cancellations of a job by one operation.
    return sa.and_(
        is_record_of(ours, record.key),
        ours.c.operation_id == record.operation_id,
        ours.c.cancelled_at == record.cancelled_at,
    )


def _column(ours: sa.Table, table: sa.Table, name: str) -> sa.ColumnElement[Any]:
    """Return a column; earlier records have no `taken_at`, so theirs is NULL."""
    if name in table.c:
        return table.c[name]
    return sa.cast(sa.null(), ours.c[name].type).label(name)


def recorded(record: CancellationRecord) -> dict[str, object]:
    """Return the row of a new record."""
    return {
        "organization_id": record.key.organization_id or "",
        "batch_job_id": record.key.batch_job_id,
        "operation_id": record.operation_id,
        "previous_status": record.previous_status.value,
        "contacts_cancelled": record.contacts_cancelled,
        "actor": record.actor,
        "reason": record.reason,
        "cancelled_at": record.cancelled_at,
        "deferred_id": record.deferred_id,
        "removal": record.removal.value,
        "is_announced": record.is_announced,
        "taken_at": record.cancelled_at,
    }


def as_record(row: Any, key: JobKey) -> CancellationRecord:  # noqa: ANN401  # By version a tuple or not.
    """Return the record in a row of our own table."""
    return CancellationRecord(
        operation_id=row.operation_id,
        key=key,
        previous_status=JobStatus(row.previous_status),
        contacts_cancelled=row.contacts_cancelled,
        actor=row.actor,
        reason=row.reason,
        cancelled_at=row.cancelled_at,
        deferred_id=row.deferred_id,
        removal=Removal(row.removal),
        is_announced=row.is_announced,
        taken_at=row.taken_at,
        is_swept=row.is_swept,
    )
