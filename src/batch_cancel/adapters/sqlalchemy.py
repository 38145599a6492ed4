"""
Jobs and contacts in tables that SQLAlchemy knows, on Postgres (psycopg, asyncpg) and on SQLite.

    with Session(engine) as session:
        cancellation = cancel_rows("batch_xyz789", uow=joining(session, TABLES))
        session.commit()

Rule 1: what is done is said once, in SQLAlchemy's constructs; the asyncio half runs the same over
        its engine's own bridge.
Rule 2: a transaction locks before it reads. On Postgres that is the job's row, FOR NO KEY UPDATE.
        SQLite has one lock for the whole file, and takes it for a statement that writes.
Rule 3: the statements after the lock are statements of their own: under READ COMMITTED they see
        what was committed while the transaction waited. A higher level is refused.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast
from uuid import UUID

import attrs
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
)
from sqlalchemy.ext.asyncio import async_scoped_session as AsyncScopedSession  # noqa: N812  # A class.
from sqlalchemy.orm import Session
from sqlalchemy.orm import scoped_session as ScopedSession  # noqa: N812  # A class.

from batch_cancel.domain.drift import CancelledJob, DeferredStart, Inventory, OverdueCalls
from batch_cancel.domain.errors import Fault, JobNotFound, Outcome, StoreFailed, shown
from batch_cancel.domain.guards import Settlement
from batch_cancel.domain.model import (
    TERMINAL_JOBS,
    CancellationRecord,
    ContactStatus,
    Job,
    JobKey,
    JobStatus,
    Removal,
)
from batch_cancel.domain.spelling import (
    ContactSpellings,
    JobSpellings,
    Spelling,
    all_spellings,
    contact_spellings,
    job_spellings,
    read_job_status,
)

__all__ = [
    "AsyncSqlAlchemyUnitOfWork",
    "SqlAlchemyTables",
    "SqlAlchemyUnitOfWork",
    "cancellations_table",
    "joining",
    "joining_async",
]

Constant = str | int | bool | None

_P = ParamSpec("_P")
_R = TypeVar("_R")

_ROWS_MAX: Final = 1000
"""How many rows one statement names or inserts."""


# Tables ------------------------------------------------------------------------------------------


class _Moment(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, also where a database keeps no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002  # Named so by SQLAlchemy.
    ) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: sa.Dialect,  # noqa: ARG002  # Named so by SQLAlchemy.
    ) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def cancellations_table(metadata: sa.MetaData, name: str = "batch_cancellations") -> sa.Table:
    """
    Give our own table, the records of cancellations, for your migrations to make.

    On Postgres it is the one that `batch-cancel schema` prints.

    Arguments:
        metadata: yours.
        name: of the table.
    """
    table = sa.Table(
        name,
        metadata,
        sa.Column("organization_id", sa.Text, primary_key=True),  # "" for jobs of none.
        sa.Column("batch_job_id", sa.Text, primary_key=True),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("previous_status", sa.Text, nullable=False),
        sa.Column("contacts_cancelled", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("cancelled_at", _Moment, nullable=False),
        sa.Column("deferred_id", sa.Text),
        sa.Column("removal", sa.Text, nullable=False),
        sa.Column("is_announced", sa.Boolean, nullable=False),
        sa.Column("taken_at", _Moment, nullable=False),
    )
    known = {
        "previous_status": table.c.previous_status.in_(sorted(set(JobStatus) - TERMINAL_JOBS)),
        "contacts_cancelled": table.c.contacts_cancelled >= 0,
        "removal": table.c.removal.in_(sorted(Removal)),
    }
    for column, condition in known.items():
        table.append_constraint(sa.CheckConstraint(condition, name=f"{name}_{column}_check"))
    owing = sa.or_(table.c.removal == "pending", sa.not_(table.c.is_announced))
    sa.Index(f"{name}_owing", table.c.taken_at, postgresql_where=owing, sqlite_where=owing)
    return table


def _table(given: sa.Table | type[Any]) -> sa.Table:
    """Take a table, or the table of a mapped class."""
    table: Any = given if isinstance(given, sa.Table) else getattr(given, "__table__", None)
    if not isinstance(table, sa.Table):
        msg = f"a Table or a mapped class is needed, got {given!r}"
        raise TypeError(msg)
    return cast("sa.Table", table)


def _labels(table: sa.Table, name: str, field: str) -> dict[str, str]:
    """
    Give how an `Enum` stores its members, by their values; nothing for a column that is none.

    Raises:
        ValueError: what the column's type stores can't be known.
    """
    column = table.c.get(name)
    kind = None if column is None else column.type
    labels: dict[str, str] = {}
    if isinstance(kind, sa.Enum) and kind.enum_class is not None:
        members: list[Any] = list(kind.enum_class)
        labels = {str(it.value): label for it, label in zip(members, kind.enums, strict=True)}
    is_told = not isinstance(kind, sa.types.TypeDecorator | sa.Enum)
    if is_told or (
        isinstance(kind, sa.Enum) and labels.get("cancelled", "cancelled") in kind.enums
    ):
        return labels
    msg = (
        f"what {table.name}.{name} holds for a status can't be told from its type, {kind!r}: say "
        f"it by {field}, a spelling for each status as the database holds it"
    )
    raise ValueError(msg)


def _job_statuses(tables: SqlAlchemyTables) -> dict[JobStatus, str]:
    labels = _labels(tables.jobs, tables.job_status, "job_statuses")
    return {status: labels.get(status.value, status.value) for status in JobStatus}


def _contact_statuses(tables: SqlAlchemyTables) -> dict[ContactStatus, str]:
    labels = _labels(tables.contacts, tables.contact_status, "contact_statuses")
    return {status: labels.get(status.value, status.value) for status in ContactStatus}


@attrs.frozen(kw_only=True, eq=False)
class SqlAlchemyTables:
    """
    Your tables, and the keys of their columns.

    Arguments:
        jobs: the table of jobs, or the class that is mapped to it.
        contacts: the table of contacts, or its class.
        cancellations: our own, from `cancellations_table`.
        job_id: a job's id; text, uuid or integer.
        job_organization_id: the owning organization; None if there is no such column: then every
            job is a job of no organization.
        job_status: its status, as text.
        job_deferred_id: the id of its deferred start; None if there is no such column: then the
            job's own id is the id of its deferred start.
        job_updated_at: set when the job is changed; None if there is no such column.
        job_statuses: how the table spells each of the six statuses, as the database holds it;
            without it as the contract does, or as an `Enum` stores the members that have the
            contract's words as their values. A spelling that is not among them is an unknown
            status: such a job is left alone.
        job_where: what columns hold in the rows that count, `{"deleted_at": None}`; a row in which
            they hold anything else is no job.
        contact_id: the id of a contact; a key by itself.
        contact_job_id: its job.
        contact_status: its status, as text.
        contact_next_attempt_at: when it may be dialled, NULL for at once; None if there is no such
            column: then every contact is due.
        contact_updated_at: set when a contact is changed; None if there is no such column.
        contact_statuses: how the table spells each of the twelve statuses, likewise. A contact in
            any other is left alone.
        contact_where: what columns hold in the rows that count; other rows are no contacts.

    Raises:
        TypeError: what is given is no table.
        ValueError: a table has no such column; a status without a spelling, or two of one; the
            type of a status column says that it stores something else than the spellings.
    """

    jobs: sa.Table = attrs.field(converter=_table)
    contacts: sa.Table = attrs.field(converter=_table)
    cancellations: sa.Table
    job_id: str = "id"
    job_organization_id: str | None = "organization_id"
    job_status: str = "status"
    job_deferred_id: str | None = "scheduled_job_id"
    job_updated_at: str | None = "updated_at"
    job_statuses: JobSpellings = attrs.field(
        default=attrs.Factory(_job_statuses, takes_self=True), converter=job_spellings
    )
    job_where: Mapping[str, Constant] = attrs.field(factory=dict[str, Constant])
    contact_id: str = "id"
    contact_job_id: str = "batch_job_id"
    contact_status: str = "status"
    contact_next_attempt_at: str | None = "next_attempt_at"
    contact_updated_at: str | None = "updated_at"
    contact_statuses: ContactSpellings = attrs.field(
        default=attrs.Factory(_contact_statuses, takes_self=True), converter=contact_spellings
    )
    contact_where: Mapping[str, Constant] = attrs.field(factory=dict[str, Constant])

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields_dict(type(self)):
            table = self.jobs if field.startswith("job_") else self.contacts
            given = getattr(self, field)
            names = given if field.endswith("_where") else [given]
            for name in names:
                if isinstance(name, str) and name not in table.c:
                    msg = f"{field}: {table.name} has no column {name!r}"
                    raise ValueError(msg)

    def is_job(self, key: JobKey) -> sa.ColumnElement[bool]:
        """Give the condition that a row of `jobs` is this organization's job."""
        is_it = _is(self.jobs.c[self.job_id], key.batch_job_id)
        organization = key.organization_id
        if self.job_organization_id is None:
            is_theirs: sa.ColumnElement[bool] = sa.literal(organization, sa.Text).is_(None)
        elif organization is None:
            is_theirs = self.jobs.c[self.job_organization_id].is_(None)
        else:
            is_theirs = _is(self.jobs.c[self.job_organization_id], organization)
        return sa.and_(is_it, is_theirs, *_holding(self.jobs, self.job_where))

    def is_contact_of(self, key: JobKey) -> sa.ColumnElement[bool]:
        """Give the condition that a row of `contacts` is this job's."""
        return _is(self.contacts.c[self.contact_job_id], key.batch_job_id)

    def job_in(self, statuses: AbstractSet[JobStatus]) -> sa.ColumnElement[bool]:
        """Give the condition that a row of `jobs` counts, and has one of these statuses."""
        spelled = all_spellings(self.job_statuses, statuses)
        has_one = self.jobs.c[self.job_status].in_([_constant(it) for it in spelled])
        return sa.and_(has_one, *_holding(self.jobs, self.job_where))

    def contact_in(self, statuses: AbstractSet[ContactStatus]) -> sa.ColumnElement[bool]:
        """Give the condition that a row of `contacts` counts, and has one of these statuses."""
        spelled = all_spellings(self.contact_statuses, statuses)
        has_one = self.contacts.c[self.contact_status].in_([_constant(it) for it in spelled])
        return sa.and_(has_one, *_holding(self.contacts, self.contact_where))

    @property
    def spelled_status(self) -> sa.ColumnElement[Any]:
        """A job's status as the database holds it, whatever its type would make of it."""
        return sa.type_coerce(self.jobs.c[self.job_status], sa.String())

    def read_job_status(self, spelling: object) -> str | None:
        """Give the contract's word for what the table says; what is unknown stays unknown."""
        return read_job_status(self.job_statuses, _text(spelling))

    def set_job(self, status: JobStatus, at: datetime) -> dict[str, object]:
        """Give what a job is set to."""
        touched = _touched(self.jobs, self.job_updated_at, at)
        return {self.job_status: _constant(self.job_statuses[status][0]), **touched}

    def set_contact(self, status: ContactStatus, at: datetime) -> dict[str, object]:
        """Give what a contact is set to."""
        touched = _touched(self.contacts, self.contact_updated_at, at)
        return {self.contact_status: _constant(self.contact_statuses[status][0]), **touched}

    @property
    def named(self) -> list[sa.ColumnElement[Any]]:
        """The columns that name a job: its id, its organization and its deferred start."""
        of = self.jobs.c
        organization = self.job_organization_id
        return [
            of[self.job_id].label("job_id"),
            (sa.null() if organization is None else of[organization]).label("organization_id"),
            of[self.job_deferred_id or self.job_id].label("deferred_id"),
        ]


def _constant(spelling: Spelling) -> sa.ColumnElement[Any]:
    """
    Give a spelling as the database holds it, past the column's type.

    It is written into the statement: for an index, and for an enum of Postgres, which is no text.
    """
    kind = sa.Integer() if isinstance(spelling, int) else sa.String()
    return sa.literal(spelling, kind, literal_execute=True)


def _holding(table: sa.Table, where: Mapping[str, Constant]) -> list[sa.ColumnElement[bool]]:
    """Give the conditions that columns hold what they hold in the rows that count."""
    return [
        table.c[name].is_(None) if constant is None else table.c[name] == constant
        for name, constant in where.items()
    ]


def _is(column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    """
    Give the condition that a column holds an id.

    Raises:
        ValueError: no row can have such an id.
    """
    value = _value(column, text)
    # asyncpg refuses a number that is too large for its parameter's type.
    return column == (sa.literal(value, sa.BigInteger) if isinstance(value, int) else value)


def _value(column: sa.Column[Any], text: str) -> object:
    given: Any = column.type
    is_uuid = isinstance(given, sa.Uuid)
    kind = UUID if is_uuid else given.python_type
    if kind not in {int, UUID}:
        return text
    value: int | UUID = kind(text)
    # An id has one spelling: " 42 " and "{6b29...}" are none, though they could be read.
    if str(value) != text.casefold() or int(value).bit_length() > (63 if kind is int else 128):
        msg = "no row can have such an id"
        raise ValueError(msg)
    return str(value) if is_uuid and not given.as_uuid else value


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _touched(table: sa.Table, name: str | None, at: datetime) -> dict[str, object]:
    return {} if name is None else {name: _moment(table.c[name], at)}


def _moment(column: sa.Column[Any], at: datetime | None) -> datetime | None:
    if at is None or getattr(column.type, "timezone", True):
        return at
    return at.astimezone(UTC).replace(tzinfo=None)


# Repositories ------------------------------------------------------------------------------------


@attrs.frozen
class _Statements:
    connection: Connection
    tables: SqlAlchemyTables

    def now(self) -> datetime:
        """Read the store's clock; SQLite has none but this machine's."""
        if self.connection.dialect.name == "sqlite":
            return datetime.now(UTC)
        clock = sa.func.clock_timestamp(type_=_Moment)
        return self.connection.execute(sa.select(clock)).scalar_one()


class _Jobs(_Statements):
    def lock(self, key: JobKey) -> Job | None:
        tables = self.tables
        try:
            is_job = tables.is_job(key)
        except ValueError:
            return None
        asked = sa.select(*tables.named, tables.spelled_status).where(is_job)
        row: Any = self.connection.execute(asked.with_for_update(key_share=True)).first()
        if row is None:
            return None
        job_id, organization_id, deferred_id, status = row
        found = JobKey(str(job_id), _text(organization_id))
        status = tables.read_job_status(status)
        job = Job(found, status, _text(deferred_id), self.now())
        if status != JobStatus.CANCELLED:
            return job
        ours = tables.cancellations
        # A statement of its own, after the lock.
        row = self.connection.execute(sa.select(ours).where(_is_record_of(ours, found))).first()
        return job if row is None else attrs.evolve(job, cancellation=_record(row, found))

    def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        tables, ours = self.tables, self.tables.cancellations
        dialect = postgresql if self.connection.dialect.name == "postgresql" else sqlite
        kept = dialect.insert(ours).values(
            organization_id=job.key.organization_id or "",
            batch_job_id=job.key.batch_job_id,
            operation_id=record.operation_id,
            previous_status=record.previous_status.value,
            contacts_cancelled=record.contacts_cancelled,
            actor=record.actor,
            reason=record.reason,
            cancelled_at=record.cancelled_at,
            deferred_id=record.deferred_id,
            removal=record.removal.value,
            is_announced=record.is_announced,
            taken_at=record.cancelled_at,
        )
        # A record that is there already is that of a job which somebody brought back to life.
        anew = {it.name: kept.excluded[it.name] for it in ours.columns if not it.primary_key}
        self.connection.execute(
            kept.on_conflict_do_update(index_elements=list(ours.primary_key), set_=anew)
        )
        marked = (
            sa.update(tables.jobs)
            .where(tables.is_job(job.key))
            .values(tables.set_job(JobStatus.CANCELLED, record.cancelled_at))
        )
        rows_changed = self.connection.execute(marked).rowcount
        if rows_changed != 1:
            msg = (
                f"marking the locked job changed {rows_changed} rows instead of 1: a trigger or a "
                f"policy is in the way, or organization {shown(job.key.organization_id)} has "
                "several jobs of this id"
            )
            raise StoreFailed(msg)


class _Contacts(_Statements):
    def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        tables = self.tables
        cancelled = (
            sa.update(tables.contacts)
            .where(tables.is_contact_of(key), tables.contact_in(statuses))
            .values(tables.set_contact(ContactStatus.CANCELLED, self.now()))
        )
        return self.connection.execute(cancelled).rowcount


class _Outbox(_Statements):
    def settle(self, record: CancellationRecord) -> None:
        ours = self.tables.cancellations
        # Only for the operation that owes it, and never backwards.
        owed = sa.and_(_is_record_of(ours, record.key), ours.c.operation_id == record.operation_id)
        pending = ours.c.removal == Removal.PENDING.value
        settled = sa.case((pending, record.removal.value), else_=ours.c.removal)
        announced = sa.true() if record.is_announced else ours.c.is_announced
        self.connection.execute(
            sa.update(ours).where(owed).values(removal=settled, is_announced=announced)
        )

    def find(self, key: JobKey) -> CancellationRecord | None:
        ours = self.tables.cancellations
        row = self.connection.execute(sa.select(ours).where(_is_record_of(ours, key))).first()
        return None if row is None else _record(row, key)

    def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        ours, at = self.tables.cancellations, self.now()
        pending = ours.c.removal == Removal.PENDING.value
        owing = sa.or_(pending, sa.not_(ours.c.is_announced)) if announcements else pending
        asked = (
            sa.select(ours)
            .where(owing, ours.c.taken_at <= at - lease)
            .order_by(ours.c.taken_at)
            .limit(limit)
            .with_for_update(key_share=True, skip_locked=True)
        )
        rows = self.connection.execute(asked).all()
        taken = [
            _record(row, JobKey(row.batch_job_id, row.organization_id or None)) for row in rows
        ]
        for record in taken:
            mine = _is_record_of(ours, record.key)
            self.connection.execute(sa.update(ours).where(mine).values(taken_at=at))
        return taken


class _Inspection(_Statements):
    def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        tables, ours = self.tables, self.tables.cancellations
        removals = (
            sa.select(ours)
            .where(ours.c.removal == Removal.PENDING.value)
            .order_by(ours.c.cancelled_at)
            .limit(limit)
        )
        of = tables.jobs.c
        age = [of[name] for name in (tables.job_updated_at, tables.job_id) if name is not None]
        scheduled = (
            sa.select(*tables.named)
            .where(tables.job_in({JobStatus.SCHEDULED}))
            .order_by(*age)
            .limit(limit)
        )
        is_its_own = tables.contacts.c[tables.contact_job_id] == of[tables.job_id]
        contacts_open = (
            sa.select(sa.func.count())
            .select_from(tables.contacts)
            .where(is_its_own, tables.contact_in(statuses))
            .correlate(tables.jobs)
            .scalar_subquery()
        )
        cancelled = (
            sa.select(*tables.named, contacts_open)
            .where(tables.job_in({JobStatus.CANCELLED}))
            .order_by(*(column.desc() for column in age))
            .limit(limit)
        )
        waiting: Any = self.connection.execute(scheduled)
        stopped: Any = self.connection.execute(cancelled)
        return Inventory(
            removals_pending=tuple(
                _record(row, JobKey(row.batch_job_id, row.organization_id or None))
                for row in self.connection.execute(removals)
            ),
            scheduled=tuple(
                DeferredStart(JobKey(str(job_id), _text(organization_id)), _text(deferred_id))
                for job_id, organization_id, deferred_id in waiting
            ),
            cancelled=tuple(
                CancelledJob(
                    JobKey(str(job_id), _text(organization_id)), _text(deferred_id), number
                )
                for job_id, organization_id, deferred_id, number in stopped
            ),
            calls_overdue=self._overdue(limit, older_than),
        )

    def _overdue(self, limit: int, older_than: timedelta) -> tuple[OverdueCalls, ...] | None:
        tables = self.tables
        if tables.contact_updated_at is None:
            return None
        column = tables.contacts.c[tables.contact_updated_at]
        number = sa.func.count().label("number")
        its_own = tables.contacts.c[tables.contact_job_id] == tables.jobs.c[tables.job_id]
        names = tables.named[:2]
        asked = (
            sa.select(*names, number)
            .select_from(tables.jobs.join(tables.contacts, its_own))
            .where(tables.contact_in({ContactStatus.DIALING}))
            .where(column <= _moment(column, self.now() - older_than))
            .group_by(*names)
            .order_by(number.desc())
            .limit(limit)
        )
        found: Any = self.connection.execute(asked)
        return tuple(OverdueCalls(JobKey(str(a), _text(b)), n) for a, b, n in found)


class _Work(_Statements):
    def start(self, key: JobKey, statuses: AbstractSet[JobStatus]) -> bool:
        tables = self.tables
        started = (
            sa.update(tables.jobs)
            .where(self._is_job(key), tables.job_in(statuses))
            .values(tables.set_job(JobStatus.RUNNING, self.now()))
        )
        return self.connection.execute(started).rowcount == 1

    def claim(self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int) -> list[str]:
        tables, of, at = self.tables, self.tables.contacts.c, self.now()
        is_running = sa.and_(self._is_job(key), tables.job_in({JobStatus.RUNNING}))
        contact_id = of[tables.contact_id]
        asked = (
            sa.select(contact_id)
            .where(tables.is_contact_of(key), tables.contact_in(statuses))
            .where(sa.exists().select_from(tables.jobs).where(is_running))
        )
        if tables.contact_next_attempt_at is not None:
            due_at = of[tables.contact_next_attempt_at]
            asked = asked.where(sa.or_(due_at.is_(None), due_at <= _moment(due_at, at)))
            asked = asked.order_by(due_at.is_not(None), due_at)
        # Passes over a row that a cancel has in hand, and looks again at one that it has changed;
        # the job is not locked.
        locked = (
            asked.order_by(contact_id)
            .limit(limit)
            .with_for_update(key_share=True, skip_locked=True, of=tables.contacts)
        )
        ids = list(self.connection.execute(locked).scalars())
        for start in range(0, len(ids), _ROWS_MAX):
            self.connection.execute(
                sa.update(tables.contacts)
                .where(contact_id.in_(ids[start : start + _ROWS_MAX]))
                .values(tables.set_contact(ContactStatus.DIALING, at))
            )
        return [str(it) for it in ids]

    def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        tables, column = self.tables, self.tables.contacts.c[self.tables.contact_id]
        is_job = self._is_job(key)
        try:
            is_it = _is(column, contact_id)
        except ValueError as error:
            raise JobNotFound(key) from error
        values = tables.set_contact(settlement.status, self.now())
        if (name := tables.contact_next_attempt_at) is not None:
            values[name] = _moment(tables.contacts.c[name], settlement.retry_at)
        settled = (
            sa.update(tables.contacts)
            .where(is_it, tables.is_contact_of(key), tables.contact_in({ContactStatus.DIALING}))
            .where(sa.exists().select_from(tables.jobs).where(is_job))
            .values(values)
        )
        return self.connection.execute(settled).rowcount == 1

    def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        tables, at = self.tables, self.now()
        if tables.contact_updated_at is None:
            raise StoreFailed("the store does not know since when a contact is dialing")
        column = tables.contacts.c[tables.contact_updated_at]
        values = tables.set_contact(settlement.status, at)
        if (name := tables.contact_next_attempt_at) is not None:
            values[name] = _moment(tables.contacts.c[name], settlement.retry_at)
        expired = (
            sa.update(tables.contacts)
            .where(tables.is_contact_of(key), tables.contact_in({ContactStatus.DIALING}))
            .where(column <= _moment(column, at - older_than))
            .values(values)
        )
        return self.connection.execute(expired).rowcount

    def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        tables, columns = self.tables, self.tables.contacts.c
        own: dict[str, object] = {
            tables.contact_job_id: _value(columns[tables.contact_job_id], job.key.batch_job_id),
            tables.contact_status: _constant(tables.contact_statuses[ContactStatus.PENDING][0]),
        }
        if not all(set(it).issubset(set(columns.keys()) - set(own)) for it in contacts):
            names = " and ".join(map(repr, own))
            reason = f"a contact is given as values by column, without {names}"
            raise StoreFailed(reason)
        for contact in contacts:
            try:
                self.connection.execute(sa.insert(tables.contacts).values({**contact, **own}))
            except (exc.DataError, exc.IntegrityError, exc.StatementError) as error:
                # What kind of fault, and not the value: it may be a phone number.
                reason = f"the database refused a contact to be added ({type(error).__name__})"
                raise StoreFailed(reason) from error
        return len(contacts)

    def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        tables = self.tables
        is_running = sa.and_(self._is_job(key), tables.job_in({JobStatus.RUNNING}))
        left = (
            sa.exists()
            .select_from(tables.contacts)
            .where(tables.is_contact_of(key), tables.contact_in(unfinished))
        )
        # Whoever adds a contact holds the job's lock: the second statement sees what he added.
        found = sa.select(sa.literal(1)).select_from(tables.jobs).where(is_running, ~left)
        locked = found.with_for_update(key_share=True, of=tables.jobs)
        if self.connection.execute(locked).first() is None:
            return False
        finished = (
            sa.update(tables.jobs)
            .where(is_running, ~left)
            .values(tables.set_job(JobStatus.COMPLETED, self.now()))
        )
        return self.connection.execute(finished).rowcount == 1

    def status(self, key: JobKey) -> str | None:
        asked = sa.select(self.tables.spelled_status).where(self._is_job(key))
        found = self.connection.execute(asked).scalar()
        return self.tables.read_job_status(found)

    def _is_job(self, key: JobKey) -> sa.ColumnElement[bool]:
        try:
            return self.tables.is_job(key)
        except ValueError as error:
            raise JobNotFound(key) from error


def _is_record_of(ours: sa.Table, key: JobKey) -> sa.ColumnElement[bool]:
    organization_id = key.organization_id or ""  # A primary key holds no NULL.
    return sa.and_(
        ours.c.organization_id == organization_id, ours.c.batch_job_id == key.batch_job_id
    )


def _record(row: Any, key: JobKey) -> CancellationRecord:  # noqa: ANN401  # By version a tuple or not.
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
    )


class SqlAlchemyRepositories:
    """What one transaction can reach."""

    def __init__(self, connection: Connection, tables: SqlAlchemyTables) -> None:
        self.jobs = _Jobs(connection, tables)
        self.contacts = _Contacts(connection, tables)
        self.outbox = _Outbox(connection, tables)
        self.inspection = _Inspection(connection, tables)
        self.work = _Work(connection, tables)


@attrs.frozen
class _Bridged:
    connection: AsyncConnection
    tables: SqlAlchemyTables

    async def _run(
        self,
        method: Callable[Concatenate[Any, _P], _R],
        kind: type[_Statements],
        *arguments: _P.args,
        **more: _P.kwargs,
    ) -> _R:
        """Run a method of the blocking half over the engine's bridge to its driver."""
        return await self.connection.run_sync(
            lambda connection: method(kind(connection, self.tables), *arguments, **more)
        )


class _AsyncJobs(_Bridged):
    async def lock(self, key: JobKey) -> Job | None:
        return await self._run(_Jobs.lock, _Jobs, key)

    async def mark_cancelled(self, job: Job, record: CancellationRecord) -> None:
        await self._run(_Jobs.mark_cancelled, _Jobs, job, record)


class _AsyncContacts(_Bridged):
    async def cancel(self, key: JobKey, statuses: AbstractSet[ContactStatus]) -> int:
        return await self._run(_Contacts.cancel, _Contacts, key, statuses)


class _AsyncOutbox(_Bridged):
    async def settle(self, record: CancellationRecord) -> None:
        await self._run(_Outbox.settle, _Outbox, record)

    async def find(self, key: JobKey) -> CancellationRecord | None:
        return await self._run(_Outbox.find, _Outbox, key)

    async def take(
        self, limit: int, lease: timedelta, *, announcements: bool
    ) -> list[CancellationRecord]:
        return await self._run(_Outbox.take, _Outbox, limit, lease, announcements=announcements)


class _AsyncInspection(_Bridged):
    async def look(
        self, limit: int, statuses: AbstractSet[ContactStatus], older_than: timedelta
    ) -> Inventory:
        return await self._run(_Inspection.look, _Inspection, limit, statuses, older_than)


class _AsyncWork(_Bridged):
    async def start(self, key: JobKey, statuses: AbstractSet[JobStatus]) -> bool:
        return await self._run(_Work.start, _Work, key, statuses)

    async def claim(
        self, key: JobKey, statuses: AbstractSet[ContactStatus], limit: int
    ) -> list[str]:
        return await self._run(_Work.claim, _Work, key, statuses, limit)

    async def settle(self, key: JobKey, contact_id: str, settlement: Settlement) -> bool:
        return await self._run(_Work.settle, _Work, key, contact_id, settlement)

    async def expire(self, key: JobKey, settlement: Settlement, older_than: timedelta) -> int:
        return await self._run(_Work.expire, _Work, key, settlement, older_than)

    async def append(self, job: Job, contacts: Sequence[Mapping[str, object]]) -> int:
        return await self._run(_Work.append, _Work, job, contacts)

    async def finish(self, key: JobKey, unfinished: AbstractSet[ContactStatus]) -> bool:
        return await self._run(_Work.finish, _Work, key, unfinished)

    async def status(self, key: JobKey) -> str | None:
        return await self._run(_Work.status, _Work, key)


class AsyncSqlAlchemyRepositories:
    """What one transaction can reach."""

    def __init__(self, connection: AsyncConnection, tables: SqlAlchemyTables) -> None:
        self.jobs = _AsyncJobs(connection, tables)
        self.contacts = _AsyncContacts(connection, tables)
        self.outbox = _AsyncOutbox(connection, tables)
        self.inspection = _AsyncInspection(connection, tables)
        self.work = _AsyncWork(connection, tables)


# Transactions ------------------------------------------------------------------------------------


class SqlAlchemyUnitOfWork:
    """
    Transactions of our own, each on a connection of an engine.

    Arguments:
        engine: for Postgres or SQLite. How long its pool and its driver wait, for a connection and
            on a server that answers nothing, is for it to say; so is how long SQLite waits for its
            lock.
        tables: yours.
        lock_timeout: how long Postgres waits for the job's row.
        statement_timeout: how long one statement may take there, and the transaction may be idle.
    """

    def __init__(
        self,
        engine: Engine,
        tables: SqlAlchemyTables,
        *,
        lock_timeout: timedelta = timedelta(seconds=5),
        statement_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._terms = _Terms(lock_timeout, statement_timeout)

    @contextmanager
    def begin(self) -> Generator[SqlAlchemyRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with _translated() as progress:  # noqa: SIM117  # Its async twin can't be one statement.
            with self._engine.connect() as connection:
                progress.is_connected = True
                with connection.begin():
                    self._terms.say(connection, self._tables)
                    yield SqlAlchemyRepositories(connection, self._tables)
                    progress.is_committing = True
                progress.is_committing = False

    def pause(self, attempts: int) -> None:
        """Wait a little before another attempt, longer the more were made."""
        time.sleep(_pause_seconds(attempts))


class AsyncSqlAlchemyUnitOfWork:
    """
    Transactions of our own, each on a connection of an engine.

    Arguments:
        engine: for Postgres or SQLite. How long its pool and its driver wait, for a connection and
            on a server that answers nothing, is for it to say; so is how long SQLite waits for its
            lock.
        tables: yours.
        lock_timeout: how long Postgres waits for the job's row.
        statement_timeout: how long one statement may take there, and the transaction may be idle.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        tables: SqlAlchemyTables,
        *,
        lock_timeout: timedelta = timedelta(seconds=5),
        statement_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        self._engine = engine
        self._tables = tables
        self._terms = _Terms(lock_timeout, statement_timeout)

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncSqlAlchemyRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with _translated() as progress:
            async with self._engine.connect() as connection:
                progress.is_connected = True
                async with connection.begin():
                    await connection.run_sync(self._terms.say, self._tables)
                    yield AsyncSqlAlchemyRepositories(connection, self._tables)
                    progress.is_committing = True
                progress.is_committing = False

    async def pause(self, attempts: int) -> None:
        """Wait a little before another attempt, longer the more were made."""
        await asyncio.sleep(_pause_seconds(attempts))


@attrs.frozen
class _Joined:
    caller: Connection | Session | ScopedSession[Any]
    tables: SqlAlchemyTables
    is_joined = True

    @contextmanager
    def begin(self) -> Generator[SqlAlchemyRepositories]:
        with _translated() as progress:
            progress.is_connected = True  # It is the caller's.
            caller = self.caller
            if isinstance(caller, ScopedSession):
                caller = caller()
            if isinstance(caller, Session):
                caller.flush()
                caller = caller.connection(_where(self.tables))
            _open(caller, self.tables)
            with caller.begin_nested():
                yield SqlAlchemyRepositories(caller, self.tables)


@attrs.frozen
class _AsyncJoined:
    caller: AsyncConnection | AsyncSession | AsyncScopedSession[Any]
    tables: SqlAlchemyTables
    is_joined = True

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncSqlAlchemyRepositories]:
        with _translated() as progress:
            progress.is_connected = True  # It is the caller's.
            caller = self.caller
            if isinstance(caller, AsyncScopedSession):
                caller = caller()
            if isinstance(caller, AsyncSession):
                await caller.flush()
                caller = await caller.connection(_where(self.tables))
            await caller.run_sync(_open, self.tables)
            async with caller.begin_nested():
                yield AsyncSqlAlchemyRepositories(caller, self.tables)


def joining(
    caller: Connection | Session | ScopedSession[Any], tables: SqlAlchemyTables
) -> _Joined:
    """
    Give a unit of work that is a savepoint in the caller's transaction.

    The caller's commit is the moment of cancellation, his rollback undoes it. Timeouts stay the
    caller's own. Objects that his session has loaded already do not change: refresh them.

    Arguments:
        caller: a session, which is flushed, or a connection; neither is committed or closed. Its
            transaction is begun if it is not open yet, as by any first statement.
        tables: yours.

    Raises:
        StoreFailed: on `begin`, if the connection commits by itself, or its transaction on
            Postgres is REPEATABLE READ or SERIALIZABLE.
    """
    return _Joined(caller, tables)


def joining_async(
    caller: AsyncConnection | AsyncSession | AsyncScopedSession[Any], tables: SqlAlchemyTables
) -> _AsyncJoined:
    """
    Give a unit of work that is a savepoint in the caller's transaction.

    The caller's commit is the moment of cancellation, his rollback undoes it. Timeouts stay the
    caller's own. Objects that his session has loaded already do not change: refresh them.

    Arguments:
        caller: a session, which is flushed, or a connection; neither is committed or closed. Its
            transaction is begun if it is not open yet, as by any first statement.
        tables: yours.

    Raises:
        StoreFailed: on `begin`, if the connection commits by itself, or its transaction on
            Postgres is REPEATABLE READ or SERIALIZABLE.
    """
    return _AsyncJoined(caller, tables)


def _where(tables: SqlAlchemyTables) -> dict[str, Any]:
    """Name the table, for a session that has several databases."""
    return {"clause": tables.jobs}


def _open(connection: Connection, tables: SqlAlchemyTables) -> None:
    """Let the transaction begin in earnest: drivers put it off until a statement that writes."""
    if connection.dialect.name == "sqlite":
        _take_write_lock(connection, tables)
        return
    _check_transaction(connection)
    level = connection.execute(sa.text("SHOW transaction_isolation")).scalar_one()
    if level not in {"read committed", "read uncommitted"}:
        msg = (
            f"joining() needs a READ COMMITTED transaction, and this one is {shown(level)}: it "
            "would leave contacts behind that came in while it waited for the job"
        )
        raise StoreFailed(msg)


def _take_write_lock(connection: Connection, tables: SqlAlchemyTables) -> None:
    # Waits for the lock and changes nothing: a SELECT would see what was there before the wait.
    connection.execute(sa.delete(tables.jobs).where(sa.false()))
    if not getattr(connection.connection.driver_connection, "in_transaction", True):
        raise StoreFailed(_COMMITS_BY_ITSELF)


def _check_transaction(connection: Connection) -> None:
    if connection.dialect.name != "postgresql":
        msg = (
            f"{connection.dialect.name} is neither Postgres nor SQLite: nothing else is supported"
        )
        raise StoreFailed(msg)
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise StoreFailed(_COMMITS_BY_ITSELF)


@attrs.frozen
class _Terms:
    """What holds in each transaction of ours, and in it alone."""

    lock_timeout: timedelta
    statement_timeout: timedelta

    def say(self, connection: Connection, tables: SqlAlchemyTables) -> None:
        if connection.dialect.name == "sqlite":
            _take_write_lock(connection, tables)
            return
        _check_transaction(connection)
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
        settings = {
            "lock_timeout": self.lock_timeout,
            "statement_timeout": self.statement_timeout,
            "idle_in_transaction_session_timeout": self.statement_timeout,
        }
        set_each = (
            sa.func.set_config(name, str(max(1, value // timedelta(milliseconds=1))), sa.true())
            for name, value in settings.items()
        )
        # All other values of synchronous_commit than off wait for this server's disk already.
        durable = sa.func.coalesce(
            sa.func.nullif(sa.func.current_setting("synchronous_commit"), "off"), "on"
        )
        durably = sa.func.set_config("synchronous_commit", durable, sa.true())
        connection.execute(sa.select(*set_each, durably))


def _pause_seconds(attempts: int) -> float:
    # Those who met once should not meet again.
    seconds: float = 0.025 * 2 ** (attempts - 1)
    return seconds * random.uniform(0.5, 1)  # noqa: S311  # No secret.


# Faults ------------------------------------------------------------------------------------------

_COMMITS_BY_ITSELF: Final = (
    "a transaction is needed, and this connection commits by itself after each statement: take an "
    "engine or a connection without AUTOCOMMIT"
)
_UNREACHABLE: Final = (
    "the database can't be reached: check that it runs and has connections left, and that "
    "address, database, user and password are right"
)
_LOST: Final = "the connection to the database broke"
_MEANINGS: Final[Mapping[str, tuple[Fault, str]]] = {
    "25P01": (Fault.REFUSED, _COMMITS_BY_ITSELF),
    "40001": (Fault.CONFLICT, "another transaction was in the way (serialization failure)"),
    "40P01": (Fault.CONFLICT, "another transaction was in the way (deadlock)"),
    "55P03": (Fault.LATE, "another transaction holds the job and does not end (lock timeout)"),
    "57014": (Fault.LATE, "Postgres took too long (statement timeout), or was told to stop"),
    "25P03": (Fault.LATE, "the transaction was idle for too long, so Postgres ended it"),
    "25P04": (Fault.LATE, "the transaction took too long, so Postgres ended it"),
    "25006": (Fault.BUSY, "Postgres is read-only here: connect to the primary"),
    "53200": (Fault.BUSY, "Postgres has no memory left"),
    "53300": (Fault.BUSY, "Postgres has no connection left"),
    "SQLITE_BUSY": (Fault.BUSY, "the SQLite file is locked by another transaction"),
    "SQLITE_LOCKED": (Fault.BUSY, "the SQLite file is locked by another transaction"),
    "SQLITE_FULL": (Fault.REFUSED, "the SQLite file cannot grow: its disk is full"),
    "SQLITE_READONLY": (Fault.REFUSED, "the SQLite file is read-only"),
}
"""By SQLSTATE, or by SQLite's own name: a driver's message may hold hosts, users and values."""


@attrs.define
class _Progress:
    is_connected: bool = False
    is_committing: bool = False


@contextmanager
def _translated() -> Generator[_Progress]:
    """Turn SQLAlchemy's errors into `StoreFailed`; everything else passes through."""
    progress = _Progress()
    try:
        yield progress
    except exc.TimeoutError as error:
        reason = "the pool gave no connection in time"
        raise StoreFailed(reason, fault=Fault.LATE) from error
    except exc.DBAPIError as error:
        raise _store_failed(error, progress) from error
    except OSError as error:  # asyncpg's own, where nobody listens.
        if not progress.is_connected:
            raise StoreFailed(_UNREACHABLE, fault=Fault.BUSY) from error
        outcome: Outcome = "unknown" if progress.is_committing else "unchanged"
        raise StoreFailed(_LOST, outcome, Fault.INTERRUPTED) from error


def _store_failed(error: exc.DBAPIError, progress: _Progress) -> StoreFailed:
    cause = error.orig
    name = _name(cause)
    # SQLite's longer names say more of the same: SQLITE_BUSY_SNAPSHOT.
    meaning = _MEANINGS.get(name) or _MEANINGS.get("_".join(name.split("_")[:2]))
    if meaning is not None:
        fault, reason = meaning
        return StoreFailed(reason, fault=fault)
    if not name and not progress.is_connected:
        return StoreFailed(_UNREACHABLE, fault=Fault.BUSY)
    is_end = name.startswith(("08", "57P"))  # What poolers say, and a server that shuts down.
    is_lost = error.connection_invalidated or is_end
    if is_lost or (not name and isinstance(error, exc.OperationalError)):
        # The answer to a COMMIT may be lost on its way back: then nobody here knows.
        if progress.is_committing:
            return StoreFailed(
                f"{_LOST} before the commit was confirmed", "unknown", Fault.INTERRUPTED
            )
        return StoreFailed(_LOST, fault=Fault.INTERRUPTED)
    return StoreFailed(f"the database refused ({type(cause).__name__}, {name or 'no SQLSTATE'})")


def _name(cause: object) -> str:
    """Give the SQLSTATE, by the names that drivers have for it, or SQLite's own; or nothing."""
    for attribute in ("sqlstate", "pgcode", "sqlite_errorname"):
        if name := getattr(cause, attribute, None):
            return str(name)
    return ""
