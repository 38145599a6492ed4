"""The adopter's tables: the mapping of their columns, and the conditions that name rows."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from batch_cancel.adapters.postgres_catalog import Known
from batch_cancel.adapters.sqlalchemy import columns, mapping
from batch_cancel.adapters.sqlalchemy.bytewise import Bytewise, exactly
from batch_cancel.adapters.sqlalchemy.columns import Constant
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.status_names import (
    ContactStatusNames,
    JobStatusNames,
    all_status_names,
    contact_status_names,
    job_status_names,
    read_job_status,
)
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.table_shape import Keys


def _job_statuses(tables: SqlAlchemyTables) -> JobStatusNames:
    found = mapping.labels(tables.jobs, tables.job_status, "job_statuses")
    return {status: (found.get(status.value, status.value),) for status in JobStatus}


def _contact_statuses(tables: SqlAlchemyTables) -> ContactStatusNames:
    found = mapping.labels(tables.contacts, tables.contact_status, "contact_statuses")
    return {status: (found.get(status.value, status.value),) for status in ContactStatus}


def _job_version(tables: SqlAlchemyTables) -> str | None:
    return mapping.version_of(tables.jobs_given, "job_version")


def _contact_version(tables: SqlAlchemyTables) -> str | None:
    return mapping.version_of(tables.contacts_given, "contact_version")


@attrs.frozen(kw_only=True, eq=False)
class SqlAlchemyTables:
    """
    Your tables, and the keys of their columns.

    Of a mapped class that shares its table with others (single-table inheritance), only its own
    rows count.

    Arguments:
        jobs: the table of jobs, or the class that is mapped to it.
        contacts: the table of contacts, or its class.
        cancellations: our own, from `cancellations_table`.
        job_id: the id of a job, as callers pass it; text, uuid or integer.
        job_key: the column of jobs that contacts refer to; None if that is `job_id`.
        job_organization_id: the owning organization; None if there is no such column: then every
            job is a job of no organization.
        job_status: its status, as text or as a number.
        job_deferred_id: the id of its deferred start; None if there is no such column: then the
            job's own id is the id of its deferred start.
        job_updated_at: set when the job is changed; None if there is no such column.
        job_created_at: when the job was created, for a `JobFilter`; None if there is no column.
        job_scheduled_at: when the job is to start, likewise.
        job_version: a number that is incremented when the job is changed, for optimistic locking;
            by default the `version_id_col` of a mapped class; None if there is no such column.
        job_statuses: the names of the six statuses, as the database holds them; by default the
            contract's, or the names of an `Enum` whose members have the contract's words as
            values. Of several names all are read and the first is written. Any other name is an
            unknown status: such a job is left alone.
        job_where: constants of the rows that count, such as `{"deleted_at": None}`; a row with
            another value is not a job.
        contact_id: the id of a contact, unique at least within its job.
        contact_job_id: its job, by the job's `job_key`.
        contact_organization_id: its organization; None if there is no such column. Needed where
            jobs are unique only within an organization.
        contact_status: its status, as text or as a number.
        contact_next_attempt_at: when it may be dialled, NULL for at once; None if there is no such
            column: then every contact is due.
        contact_dialing_since: set when a contact is claimed, for `expire_calls`; None if there is
            no such column: then `contact_updated_at` serves.
        contact_updated_at: set when a contact is changed; None if there is no such column.
        contact_version: as `job_version`; 1 in a new contact.
        contact_statuses: the names of the twelve statuses, likewise. A contact with any other name
            is left alone.
        contact_where: constants of the rows that count; other rows are not contacts.
        keys_are_unique: declares that `job_key` and `contact_id` are unique in the views that you
            map; for tables, unique indexes show it.

    Raises:
        TypeError: a table is neither a table nor a mapped class.
        ValueError: a table has no such column; a status has no name or shares one; a status
            column's type stores other values than the names; or the mapping is not supported.
    """

    jobs_given: sa.Table | type[Any] = attrs.field(alias="jobs")
    contacts_given: sa.Table | type[Any] = attrs.field(alias="contacts")
    cancellations: sa.Table
    job_id: str = "id"
    job_key: str | None = None
    job_organization_id: str | None = "organization_id"
    job_status: str = "status"
    job_deferred_id: str | None = "scheduled_job_id"
    job_updated_at: str | None = "updated_at"
    job_created_at: str | None = None
    job_scheduled_at: str | None = None
    job_version: str | None = attrs.field(default=attrs.Factory(_job_version, takes_self=True))
    job_statuses: JobStatusNames = attrs.field(
        default=attrs.Factory(_job_statuses, takes_self=True), converter=job_status_names
    )
    job_where: Mapping[str, Constant] = attrs.field(factory=dict[str, Constant])
    contact_id: str = "id"
    contact_job_id: str = "batch_job_id"
    contact_organization_id: str | None = None
    contact_status: str = "status"
    contact_next_attempt_at: str | None = "next_attempt_at"
    contact_dialing_since: str | None = None
    contact_updated_at: str | None = "updated_at"
    contact_version: str | None = attrs.field(
        default=attrs.Factory(_contact_version, takes_self=True)
    )
    contact_statuses: ContactStatusNames = attrs.field(
        default=attrs.Factory(_contact_statuses, takes_self=True), converter=contact_status_names
    )
    contact_where: Mapping[str, Constant] = attrs.field(factory=dict[str, Constant])
    keys_are_unique: bool = False
    known: Known = attrs.field(factory=Known, init=False, repr=False)
    """The cached facts about these tables that passed the checks."""

    def __attrs_post_init__(self) -> None:
        tables = {"job": self.jobs, "contact": self.contacts}
        for field, attribute in attrs.fields_dict(type(self)).items():
            if (table := tables.get(field.partition("_")[0])) is None:
                continue
            given = getattr(self, field)
            for name in given if field.endswith("_where") else [given]:
                if isinstance(name, str) and name not in table.c:
                    msg = f"{field}: {table.name} has no column {name!r}"
                    if str(attribute.type) == "str | None":
                        msg += f"; pass {field}=None if there is none"
                    raise ValueError(msg)
        if self.contact_organization_id is not None and self.job_organization_id is None:
            msg = "contact_organization_id needs job_organization_id: a contact has its job's"
            raise ValueError(msg)
        # Both raise if a mapping is not supported.
        mapping.part_of(self.jobs_given)
        mapping.part_of(self.contacts_given)

    @property
    def jobs(self) -> sa.Table:
        """The table of jobs."""
        return mapping.table_of(self.jobs_given)

    @property
    def contacts(self) -> sa.Table:
        """The table of contacts."""
        return mapping.table_of(self.contacts_given)

    @property
    def earlier(self) -> sa.Table | None:
        """Our own table of the records that were replaced; None if the metadata has none."""
        ours, name = self.cancellations, f"{self.cancellations.name}{columns.EARLIER}"
        tables = ours.metadata.tables.values()
        return next((it for it in tables if (it.schema, it.name) == (ours.schema, name)), None)

    @property
    def keys(self) -> Keys:
        """The columns that identify jobs and contacts, by their names in the database."""
        of, its = self.jobs.c, self.contacts.c
        organization, contact_organization = self.job_organization_id, self.contact_organization_id
        return Keys(
            job_key=self.key_column.name,
            job_organization_id=None if organization is None else of[organization].name,
            contact_id=its[self.contact_id].name,
            contact_job_id=its[self.contact_job_id].name,
            contact_organization_id=(
                None if contact_organization is None else its[contact_organization].name
            ),
            are_unique=self.keys_are_unique,
        )

    @property
    def key_column(self) -> sa.Column[Any]:
        """The column of jobs that contacts refer to."""
        return self.jobs.c[self.job_key or self.job_id]

    # Conditions on the rows of one table.

    def is_job(self, key: JobKey) -> sa.ColumnElement[bool]:
        """
        Return the condition that a row of `jobs` is this organization's job.

        Raises:
            ValueError: no row can meet it.
        """
        of = self.jobs.c
        if self.job_organization_id is None:
            is_theirs: sa.ColumnElement[bool] = sa.literal(key.organization_id, sa.Text).is_(None)
        else:
            is_theirs = columns.is_id(of[self.job_organization_id], key.organization_id)
        is_it = columns.is_id(of[self.job_id], key.batch_job_id)
        return sa.and_(is_it, is_theirs, *self.counting_jobs)

    def job_reference(self, key: JobKey) -> Any:  # noqa: ANN401  # A value, or a query.
        """
        Return the value by which contacts refer to this job.

        Raises:
            ValueError: contacts cannot refer to such a job.
        """
        if self.key_column is self.jobs.c[self.job_id]:
            text = columns.shown(self.key_column, key.batch_job_id) or ""
            return columns.bound(self.contacts.c[self.contact_job_id], text)
        its_key = sa.select(self.key_column).where(self.is_job(key))
        return its_key.correlate(None).scalar_subquery()

    def is_contact_of(self, key: JobKey) -> sa.ColumnElement[bool]:
        """
        Return the condition that a row of `contacts` is this job's.

        Raises:
            ValueError: no row can meet it.
        """
        of, reference = self.contacts.c[self.contact_job_id], self.job_reference(key)
        return sa.and_(exactly(of, of == reference), *self._is_theirs(key))

    def any_contact_of(
        self, key: JobKey, statuses: AbstractSet[ContactStatus]
    ) -> sa.ColumnElement[Any]:
        """
        Return the query for a contact of this job in one of these statuses: NULL if there is none.

        A range of one job, ordered by job: for a plain EXISTS the planner of Postgres reads the
        whole table, because it expects to find one of many rows soon, although there is none. Only
        an index on the job gives this order.
        """
        asked = self.any_contact(self.job_reference(key), statuses).where(*self._is_theirs(key))
        return asked.correlate(None).scalar_subquery()

    def any_contact(self, reference: Any, statuses: AbstractSet[ContactStatus]) -> sa.Select[Any]:  # noqa: ANN401  # A value, or a query.
        """Return the same for the value by which contacts refer to a job."""
        column = self.contacts.c[self.contact_job_id]
        return (
            sa.select(sa.true())
            .select_from(self.contacts)
            .where(exactly(column, column >= reference), exactly(column, column <= reference))
            .where(self.contact_in(statuses))
            .order_by(column)
            .limit(1)
        )

    def is_contact_of_its_job(self) -> sa.ColumnElement[bool]:
        """Return the condition that a row of `contacts` is of a row of `jobs`."""
        organization, contact_organization = self.job_organization_id, self.contact_organization_id
        column = self.contacts.c[self.contact_job_id]
        is_its = exactly(column, column == self.key_column)
        if organization is None or contact_organization is None:
            return is_its
        theirs = self.jobs.c[organization]
        its = self.contacts.c[contact_organization]
        return sa.and_(is_its, exactly(its, its.is_not_distinct_from(theirs)))

    def _is_theirs(self, key: JobKey) -> list[sa.ColumnElement[bool]]:
        if self.contact_organization_id is None:
            return []
        its, of = self.contacts.c[self.contact_organization_id], self.job_organization_id
        return [columns.is_id(its, columns.shown(self.jobs.c.get(of or ""), key.organization_id))]

    def job_in(self, statuses: AbstractSet[JobStatus]) -> sa.ColumnElement[bool]:
        """Return the condition that a row of `jobs` counts, and has one of these statuses."""
        return sa.and_(self.job_has(statuses), *self.counting_jobs)

    def job_has(self, statuses: AbstractSet[JobStatus]) -> sa.ColumnElement[bool]:
        """Return the condition that a row of `jobs` has one of these statuses."""
        names = all_status_names(self.job_statuses, statuses)
        return columns.is_among(self.jobs.c[self.job_status], names)

    def contact_in(self, statuses: AbstractSet[ContactStatus]) -> sa.ColumnElement[bool]:
        """Return the condition that a row of `contacts` counts, and has one of these statuses."""
        return sa.and_(self.contact_has(statuses), *self.counting_contacts)

    def contact_has(self, statuses: AbstractSet[ContactStatus]) -> sa.ColumnElement[bool]:
        """Return the condition that a row of `contacts` has one of these statuses."""
        names = all_status_names(self.contact_statuses, statuses)
        return columns.is_among(self.contacts.c[self.contact_status], names)

    def is_dialing_since(self, at: datetime) -> sa.ColumnElement[bool] | None:
        """
        Return the condition that a row of `contacts` counts and has been dialing since then.

        None if there is no such column. By the time of its claim; without one, by its last change.
        """
        names = (self.contact_dialing_since, self.contact_updated_at)
        given = [self.contacts.c[it] for it in names if it is not None]
        if not given:
            return None
        is_since = given[0] <= columns.moment(given[0], at)
        if len(given) > 1:
            is_changed = given[1] <= columns.moment(given[1], at)
            is_since = sa.or_(is_since, sa.and_(given[0].is_(None), is_changed))
        return sa.and_(self.contact_in({ContactStatus.DIALING}), is_since)

    @property
    def counting_jobs(self) -> list[sa.ColumnElement[bool]]:
        """The conditions that a row of `jobs` counts."""
        return _counting(self.jobs, self.job_where, mapping.part_of(self.jobs_given))

    @property
    def counting_contacts(self) -> list[sa.ColumnElement[bool]]:
        """The conditions that a row of `contacts` counts."""
        return _counting(self.contacts, self.contact_where, mapping.part_of(self.contacts_given))

    # Values.

    def read_job_status(self, status_name: object) -> str | None:
        """Return the contract's word for a status name; an unknown name is returned as it is."""
        return read_job_status(self.job_statuses, columns.text(status_name))

    def job_values(self, status: JobStatus) -> dict[str, object]:
        """Return the values of a job in this status, without the time."""
        status_name = columns.constant(self.job_statuses[status][0])
        return {self.job_status: status_name, **raised(self.jobs, self.job_version)}

    def contact_values(self, status: ContactStatus) -> dict[str, object]:
        """Return the values of a contact in this status, without the time."""
        status_name = columns.constant(self.contact_statuses[status][0])
        return {self.contact_status: status_name, **raised(self.contacts, self.contact_version)}

    def new_contact(self, key: JobKey) -> dict[str, object]:
        """
        Return the values that we set in a new contact of this job.

        Raises:
            ValueError: contacts cannot refer to such a job.
        """
        its = self.contacts.c
        reference: object = self.job_reference(key)
        if self.key_column is self.jobs.c[self.job_id]:
            reference = columns.id_value(its[self.contact_job_id], key.batch_job_id)
        status_name = columns.constant(self.contact_statuses[ContactStatus.PENDING][0])
        values: dict[str, object] = {
            self.contact_job_id: reference,
            self.contact_status: status_name,
        }
        if (name := self.contact_organization_id) is not None:
            theirs = key.organization_id
            values[name] = None if theirs is None else columns.id_value(its[name], theirs)
        if self.contact_version is not None:
            values[self.contact_version] = 1
        return values

    @property
    def naming(self) -> list[sa.Column[Any]]:
        """The columns that name a job: its id and its organization, if it has one."""
        names = (self.job_id, self.job_organization_id)
        return [self.jobs.c[it] for it in names if it is not None]

    def names(self, dialect: sa.Dialect) -> list[sa.ColumnElement[Any]]:
        """Return a job's id, organization and deferred start, as text."""
        of = self.jobs.c
        organization = self.job_organization_id
        return [
            columns.as_text(of[self.job_id], dialect).label("job_id"),
            (
                sa.null() if organization is None else columns.as_text(of[organization], dialect)
            ).label("organization_id"),
            columns.as_text(of[self.job_deferred_id or self.job_id], dialect).label("deferred_id"),
        ]

    def status_text(self, dialect: sa.Dialect) -> sa.ColumnElement[Any]:
        """Return a job's status as the database holds it, without the column's type."""
        column = sa.type_coerce(self.jobs.c[self.job_status], sa.String())
        return columns.as_text(column, dialect).label("status")

    def contact_status_text(self, dialect: sa.Dialect) -> sa.ColumnElement[Any]:
        """Return a contact's status as the database holds it, whatever its type would make."""
        column = sa.type_coerce(self.contacts.c[self.contact_status], sa.String())
        return columns.as_text(Bytewise(column), dialect).label("contact_status")


def _counting(
    table: sa.Table, where: Mapping[str, Constant], part: mapping.Part | None
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that a row counts."""
    conditions = columns.holding(table, where)
    if part is not None and part.identities:
        column = table.c[part.column]
        conditions.append(exactly(column, column.in_(part.identities)))
    return conditions


def raised(table: sa.Table, version: str | None) -> dict[str, object]:
    """Return the value of the column that counts the changes of a row."""
    return {} if version is None else {version: sa.func.coalesce(table.c[version], 0) + 1}
