"""The statements of queries.sql with the adopter's names."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import cache
from typing import Final, LiteralString

from psycopg import sql

from batch_cancel.adapters.postgres.marking import markings
from batch_cancel.adapters.postgres.schema import Constant, PostgresSchema, is_identifier
from batch_cancel.adapters.postgres.sql_parts import (
    PACKAGE,
    constant,
    existing_rows,
    fixed,
    in_one_string,
    listed,
    quoted,
    touched,
    trusted,
    typed,
)
from batch_cancel.adapters.postgres.transaction_settings import joined_frame
from batch_cancel.adapters.sql_files import statements
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus
from batch_cancel.domain.table_shape import columns_refused

_NONE: Final = sql.SQL("")


class Demand(Enum):
    """What must be true before the commit; the text is in the error of the statement."""

    NOT_CANCELLED = "batch_cancel: the job is not cancelled"
    CONTACTS_LEFT = "batch_cancel: contacts of the job are still open"
    NOT_RECORDED = "batch_cancel: the record is not there"
    NOT_WRITTEN = "batch_cancel: contacts are not as written"


class Queries:
    """The statements of queries.sql with the names of one schema in them."""

    def __init__(self, schema: PostgresSchema, *, has_sweeps: bool) -> None:
        self.schema: Final = schema
        self._names: Final[dict[str, sql.SQL]] = _names(schema) | _swept(has_sweeps=has_sweeps)
        # Later parts contain earlier ones.
        self._add_part("this_job")
        self._names["its_key"] = (
            sql.SQL("%(batch_job_id)s") if schema.job_key is None else self.statement("its_key")
        )
        self._names["of_its_organization"] = self._of_its_organization("")
        self._names["its_contact"] = self.statement("its_contact", of=_NONE)
        self.its_contact = self._names["its_contact"]
        self._names["its_aliased_contact"] = self.statement(
            "its_contact",
            of=sql.SQL("contact."),
            of_its_organization=self._of_its_organization("contact."),
        )
        self._add_part("running_job")
        self._names["is_expired"] = (
            _NONE if schema.dialing_since is None else self.statement("is_expired")
        )
        self._names["overdue"] = (
            _NONE if schema.dialing_since is None else self.statement("overdue")
        )
        self._names["unswept"] = self.statement("unswept") if has_sweeps else _NONE
        self.lock_job = self.statement("lock_job")
        self.overview = self.statement("overview")
        self.read_cancellation = self.statement("read_cancellation")
        self.mark_cancelled = self.statement("mark_cancelled")
        outcome = self.statement("outcome", first_contact=self.first_contact(CANCELLABLE_CONTACTS))
        # By whether there is a table for the records that are replaced.
        self.marking = markings(
            self.statement("keep_earlier"),
            self.mark_cancelled,
            self.statement("demand_outcome", outcome=outcome),
        )
        self.forget = self.statement("forget")
        self.forget_earlier = self.statement("forget_earlier")
        own = self.statement("records_of_the_page", of_records=self._names["cancellations"])
        earlier = self.statement(
            "records_of_the_page",
            of_records=self._names["earlier"],
            is_swept=sql.SQL("true"),
        )
        self.page = (
            self.statement("page", records=own),
            self.statement("page", records=fixed(sql.SQL("{} UNION ALL {}").format(own, earlier))),
        )
        self.joined_frame = joined_frame(schema)
        self._add_part("is_undone")
        self.find_cancellation = self.statement("find_cancellation")
        self.claim_cancellation = self.statement("claim_cancellation")
        self.find_undone = self.statement("find_undone")
        self.mark_cancellation_done = self.statement("mark_cancellation_done")
        self.mark_cancellation_done_in_own = in_one_string(
            self.statement("note_without_waiting"), self.mark_cancellation_done
        )
        self.take_pending = self.statement("take_pending")
        self.read_status = self.statement("read_status")
        self.expired_contact_left = self.statement("expired_contact_left")
        self.read_key = self.statement("read_key")

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def cancel_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that cancels the contacts in these statuses, a frozen set."""
        return self.statement("cancel_contacts", statuses=self._contacts_in(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def count_cancelled_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that cancels contacts and counts those really written."""
        return self.statement(
            "count_cancelled_contacts", cancel_contacts=self.cancel_contacts(frozenset(statuses))
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def list_cancelled_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that cancels contacts and names them."""
        return self.statement(
            "list_cancelled_contacts", cancel_contacts=self.cancel_contacts(frozenset(statuses))
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def as_written(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that reads whether contacts of some ids are in these statuses."""
        return self.statement("as_written", statuses=self._contacts_in(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def demand_as_written(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that fails if contacts of some ids are not in these statuses."""
        return self.statement("demand_as_written", as_written=self.as_written(frozenset(statuses)))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def look(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement of the inspection; contacts in these statuses are open."""
        return self.statement("look", statuses=self._contacts_in(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def start_job(self, statuses: AbstractSet[JobStatus]) -> sql.SQL:
        """Return the statement that starts a job in these statuses, a frozen set."""
        return self.statement("start_job", statuses=listed(statuses, self.schema.job_statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def is_startable(self, statuses: AbstractSet[JobStatus]) -> sql.SQL:
        """Return the statement that reads whether `start_job` of these statuses finds a job."""
        status_name = listed(statuses, self.schema.job_statuses)
        return self.statement("is_startable", statuses=status_name)

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def claim_contacts(
        self, statuses: AbstractSet[ContactStatus], is_claimed: str = "is_claimed"
    ) -> sql.SQL:
        """Return the statement that claims contacts in these statuses, a frozen set."""
        has_times = self.schema.contact_next_attempt_at is not None
        rest = self.statement("claim_the_picked", is_claimed=self.statement(is_claimed))
        return self.statement(
            "claim_contacts" if has_times else "claim_contacts_without_times",
            statuses=self._contacts_in(statuses),
            claim_the_picked=rest,
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def settle_contact(self, status: ContactStatus) -> sql.SQL:
        """Return the statement that settles a live call's contact with this status."""
        return self.statement("settle_contact", status=self._written(status))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def read_contact(self, status: ContactStatus) -> sql.SQL:
        """Return the statement that reads whether a contact is dialing, or has this status."""
        return self.statement("read_contact", status=self._written(status))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def expire_contacts(self, status: ContactStatus) -> sql.SQL:
        """Return the statement that ends old calls with this status."""
        return self.statement("expire_contacts", status=self._written(status))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def list_expired_contacts(self, status: ContactStatus) -> sql.SQL:
        """Return the statement that ends old calls and names their contacts."""
        return self.statement(
            "list_expired_contacts",
            status=self._written(status),
            expire_contacts=self.expire_contacts(status),
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def finish_job(self, unfinished: AbstractSet[ContactStatus]) -> tuple[sql.SQL, sql.SQL]:
        """Return the statements that lock and finish a job without contacts in these statuses."""
        calling = unfinished & {ContactStatus.DIALING}
        nothing_left = self.statement(
            "nothing_left",
            first_waiting=self.first_contact(unfinished - calling),
            first_calling=self.first_contact(calling),
        )
        return (
            self.statement("lock_finished_job", nothing_left=nothing_left),
            self.statement("finish_job", nothing_left=nothing_left),
        )

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The columns that we set in a new contact."""
        names = (self.schema.contact_job_id, self.schema.contact_organization_id)
        return (*filter(None, names), self.schema.contact_status)

    def append_contacts(self, columns: Sequence[str], rows: int, *, named: bool) -> sql.SQL:
        """
        Return the statement that adds contacts.

        Each row gets the job's key, its organization if contacts have one, and values for these
        columns.

        Arguments:
            columns: those that the caller sets.
            rows: how many contacts.
            named: whether to return their ids.

        Raises:
            StoreFailed: a column is not a name, or must not be set by the caller.
        """
        names, constants = self._new_contact(columns)
        parameter = sql.SQL("%s")
        of_the_job = [parameter] * (len(self.own_columns) - 1)
        values = [*of_the_job, *map(constant, constants), *[parameter] * len(columns)]
        row = fixed(sql.SQL("({})").format(sql.SQL(", ").join(values)))
        statement = self.statement(
            "append_contacts", columns=names, rows=fixed(sql.SQL(", ").join([row] * rows))
        )
        if not named:
            return statement
        contact_id = quoted(self.schema.contact_id)
        return fixed(sql.SQL("{} RETURNING {}::text").format(statement, contact_id))

    def copy_contacts(self, columns: Sequence[str]) -> tuple[sql.SQL, tuple[Constant, ...]]:
        """
        Return the statement that adds contacts by COPY, and the constants of each row.

        A row is the job's key, its organization if contacts have one, the constants, and values
        for these columns.

        Raises:
            StoreFailed: a column is not a name, or must not be set by the caller.
        """
        names, constants = self._new_contact(columns)
        return trusted(typed(self.statement("copy_contacts", columns=names))), constants

    def _new_contact(self, columns: Sequence[str]) -> tuple[sql.SQL, tuple[Constant, ...]]:
        own = self.own_columns
        if not all(map(is_identifier, columns)) or not set(own).isdisjoint(columns):
            raise columns_refused(own)
        version = self.schema.contact_version
        versioned = [] if version is None or version in columns else [version]
        pending = self.schema.contact_statuses[ContactStatus.PENDING][0]
        names = (*own, *versioned, *columns)
        return fixed(sql.SQL(", ").join(map(quoted, names))), (pending, *[1] * len(versioned))

    def first_contact(
        self, statuses: AbstractSet[ContactStatus], its_key: sql.SQL | None = None
    ) -> sql.SQL:
        """Return the part that finds a job's first contact; `its_key` is its own by default."""
        return self.statement(
            "first_contact",
            statuses=self._contacts_in(statuses),
            its_key=self._names["its_key"] if its_key is None else its_key,
        )

    def _written(self, status: ContactStatus) -> sql.SQL:
        return constant(self.schema.contact_statuses[status][0])

    def _contacts_in(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        return listed(statuses, self.schema.contact_statuses)

    def _of_its_organization(self, of: str) -> sql.SQL:
        if self.schema.contact_organization_id is None:
            return _NONE
        condition = self.statement("of_its_organization", of=trusted(of))
        return fixed(sql.SQL(" {}").format(condition))

    def _add_part(self, name: str) -> None:
        self._names[name] = self.statement(name)

    def fitting(self, *, has_sweeps: bool) -> Queries:
        """Return the statements for our own table with the column `is_swept`, or without."""
        return queries_for(self.schema, has_sweeps=has_sweeps)

    def statement(self, name: str, file: str = "queries.sql", /, **more: sql.SQL) -> sql.SQL:
        """Return a statement of a file; `more` are names that only this one has."""
        template = statements(PACKAGE, file)[name]
        return fixed(trusted(template).format(**{**self._names, **more}))


@cache
def queries_for(schema: PostgresSchema, *, has_sweeps: bool = False) -> Queries:
    """
    Return the statements of a schema, made once.

    Arguments:
        schema: the schema.
        has_sweeps: whether our own table has the column `is_swept`.
    """
    return Queries(schema, has_sweeps=has_sweeps)


def _swept(*, has_sweeps: bool) -> dict[str, sql.SQL]:
    """Return what is written to the column `is_swept` and read of it, with it or without."""
    if not has_sweeps:
        return dict.fromkeys(_swept(has_sweeps=True), _NONE) | {"is_swept": sql.SQL("true")}
    return {
        "is_swept": sql.SQL("is_swept"),
        "is_swept_too": sql.SQL(", is_swept"),
        "is_swept_value": sql.SQL(", %(is_swept)s"),
        "is_swept_so": sql.SQL(" AND is_swept = %(is_swept)s"),
        "set_is_swept": sql.SQL(", is_swept = excluded.is_swept"),
        "or_not_swept": sql.SQL(" OR NOT is_swept"),
        "and_swept": sql.SQL(" AND is_swept"),
    }


def _names(schema: PostgresSchema) -> dict[str, sql.SQL]:
    jobs, contacts = schema.job_statuses, schema.contact_statuses
    organization, contact_organization = schema.job_organization_id, schema.contact_organization_id
    named = sql.SQL("NULL::text") if organization is None else quoted(organization)
    return {
        "jobs": quoted(schema.jobs),
        "job_id": quoted(schema.job_id),
        "job_key": quoted(schema.job_key or schema.job_id),
        "organization_id": named,
        "aliased_organization_id": named if organization is None else _of("job.", organization),
        "job_status": quoted(schema.job_status),
        "deferred_id": quoted(schema.job_deferred_id or schema.job_id),
        "touch_job": touched(schema.job_updated_at, schema.job_version),
        "contacts": quoted(schema.contacts),
        "contact_id": quoted(schema.contact_id),
        "contact_job_id": quoted(schema.contact_job_id),
        "contact_organization_id": quoted(contact_organization),
        "contact_status": quoted(schema.contact_status),
        "next_attempt_at": quoted(schema.contact_next_attempt_at),
        "settle_next_attempt_at": _set(schema.contact_next_attempt_at, "%(retry_at)s"),
        "dialing_since": _dialing_since(schema, ""),
        "aliased_dialing_since": _dialing_since(schema, "contact."),
        "begin_call": _set(schema.contact_dialing_since, "clock_timestamp()"),
        "touch_contact": touched(schema.contact_updated_at, schema.contact_version),
        "existing_job": existing_rows(schema.job_where),
        "existing_contact": existing_rows(schema.contact_where),
        "existing_aliased_job": existing_rows(schema.job_where, "job."),
        "existing_aliased_contact": existing_rows(schema.contact_where, "contact."),
        "of_the_same_organization": _same("contact.", contact_organization, "job.", organization),
        "of_the_cancelled_organization": _same(
            "contact.", contact_organization, "cancelled.", organization and "organization"
        ),
        "cancellations": quoted(schema.cancellations),
        "earlier": quoted(schema.earlier),
        "oldest_first": _by_age(schema, "ASC"),
        "newest_first": _by_age(schema, "DESC"),
        "scheduled": listed({JobStatus.SCHEDULED}, jobs),
        "running": listed({JobStatus.RUNNING}, jobs),
        "cancelled": listed({JobStatus.CANCELLED}, jobs),
        "dialing": listed({ContactStatus.DIALING}, contacts),
        **{it.name.lower(): constant(it.value) for it in Demand},
        **{f"job_{it}": constant(status_name[0]) for it, status_name in jobs.items()},
        **{f"contact_{it}": constant(status_name[0]) for it, status_name in contacts.items()},
    }


def _of(alias: str, column: str) -> sql.SQL:
    return fixed(sql.SQL("{}{}").format(trusted(alias), quoted(column)))


def _same(one: str, column: str | None, other: str, organization: str | None) -> sql.SQL:
    if column is None or organization is None:
        return _NONE
    return fixed(
        sql.SQL(" AND {} IS NOT DISTINCT FROM {}").format(
            _of(one, column), _of(other, organization)
        )
    )


def _dialing_since(schema: PostgresSchema, of: str) -> sql.SQL:
    # A call that was live before the column was added has no time of its claim.
    names = (schema.contact_dialing_since, schema.contact_updated_at)
    columns = [_of(of, it) for it in names if it is not None]
    return fixed(sql.SQL("coalesce({})").format(sql.SQL(", ").join(columns)))


def _set(column: str | None, value: LiteralString) -> sql.SQL:
    if column is None:
        return _NONE
    return fixed(sql.SQL(", {} = {}").format(quoted(column), sql.SQL(value)))


def _by_age(schema: PostgresSchema, direction: LiteralString) -> sql.SQL:
    columns = filter(None, (schema.job_updated_at, schema.job_id))
    ordered = (sql.SQL("{} {}").format(quoted(it), sql.SQL(direction)) for it in columns)
    return fixed(sql.SQL(", ").join(ordered))
