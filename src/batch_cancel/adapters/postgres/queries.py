"""The statements of queries.sql with the adopter's names."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final

from psycopg import sql

from batch_cancel.adapters.postgres.marking import Marking, markings
from batch_cancel.adapters.postgres.names import names_of
from batch_cancel.adapters.postgres.schema import Constant, PostgresSchema, is_identifier
from batch_cancel.adapters.postgres.sql_parts import (
    PACKAGE,
    constant,
    fixed,
    in_one_string,
    listed,
    quoted,
    trusted,
    typed,
)
from batch_cancel.adapters.postgres.transaction_settings import Frame, joined_frame
from batch_cancel.adapters.sql_files import statements
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus
from batch_cancel.domain.table_shape import columns_refused

_NONE: Final = sql.SQL("")


class Queries:
    """The statements of queries.sql with the names of one schema in them."""

    def __init__(self, schema: PostgresSchema, *, has_sweeps: bool) -> None:
        self.schema: Final = schema
        self._names: Final[dict[str, sql.SQL]] = names_of(schema, has_sweeps=has_sweeps)
        # Later parts contain earlier ones.
        self._add_part("this_job")
        self._names["its_key"] = (
            sql.SQL("%(its_key)s") if schema.job_key is None else self.statement("its_key")
        )
        self._names["of_its_organization"] = self._of_its_organization("")
        self._names["its_contact"] = self.statement("its_contact", of=_NONE)
        self.its_contact: sql.SQL = self._names["its_contact"]
        self.its_contacts_in_order: sql.SQL = self._contacts_in_order(self._names["its_key"])
        self._names["its_contacts_in_order"] = self.its_contacts_in_order
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
        self.lock_job: sql.SQL = self.statement("lock_job")
        self.overview: sql.SQL = self.statement("overview")
        self.read_cancellation: sql.SQL = self.statement("read_cancellation")
        self.mark_cancelled: sql.SQL = self.statement("mark_cancelled")
        outcome = self.statement("outcome", first_contact=self.first_contact(CANCELLABLE_CONTACTS))
        # By whether there is a table for the records that are replaced.
        self.marking: tuple[Marking, Marking] = markings(
            self.statement("keep_earlier"),
            self.mark_cancelled,
            self.statement("demand_outcome", outcome=outcome),
        )
        self.forget: sql.SQL = self.statement("forget")
        self.forget_earlier: sql.SQL = self.statement("forget_earlier")
        own = self.statement("records_of_the_page", of_records=self._names["cancellations"])
        earlier = self.statement(
            "records_of_the_page",
            of_records=self._names["earlier"],
            is_swept=sql.SQL("true"),
        )
        self.page: tuple[sql.SQL, sql.SQL] = (
            self.statement("page", records=own),
            self.statement("page", records=fixed(sql.SQL("{} UNION ALL {}").format(own, earlier))),
        )
        self.joined_frame: Frame = joined_frame(schema)
        self._add_part("is_undone")
        self.find_cancellation: sql.SQL = self.statement("find_cancellation")
        self.claim_cancellation: sql.SQL = self.statement("claim_cancellation")
        self.find_undone: sql.SQL = self.statement("find_undone")
        self.mark_cancellation_done: sql.SQL = self.statement("mark_cancellation_done")
        self.mark_cancellation_done_in_own: sql.SQL = in_one_string(
            self.statement("note_without_waiting"), self.mark_cancellation_done
        )
        self.take_pending: sql.SQL = self.statement("take_pending")
        self.read_status: sql.SQL = self.statement("read_status")
        self.expired_contact_left: sql.SQL = self.statement("expired_contact_left")
        self.read_key: sql.SQL = self.statement("read_key")

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
        self,
        statuses: AbstractSet[ContactStatus],
        columns: tuple[str, ...] = (),
        is_claimed: str = "is_claimed",
    ) -> sql.SQL:
        """Return the statement that claims contacts in these statuses, and reads columns."""
        aliases = [quoted(f"returned_{number}") for number in range(len(columns))]
        written = [
            self.statement("returned", column=quoted(column), alias=alias)
            for column, alias in zip(columns, aliases, strict=True)
        ]
        read = [sql.SQL("claimed.{}").format(alias) for alias in aliases]
        has_times = self.schema.contact_next_attempt_at is not None
        return self.statement(
            "claim_contacts" if has_times else "claim_contacts_without_times",
            statuses=self._contacts_in(statuses),
            claim_the_picked=self.statement(
                "claim_the_picked",
                written=_after_others(written),
                is_claimed=self.statement(is_claimed),
                read=_after_others(read),
            ),
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def settle_contact(self, status: ContactStatus, *, by_id: bool) -> sql.SQL:
        """
        Return the statement that settles a live call's contact with this status.

        Arguments:
            status: the status.
            by_id: whether a contact's id alone is known to be unique.
        """
        is_live = self.its_contact_in(frozenset({ContactStatus.DIALING}), by_id=by_id)
        return self.statement("settle_contact", status=self._written(status), is_live=is_live)

    def its_contact_in(self, statuses: AbstractSet[ContactStatus], *, by_id: bool) -> sql.SQL:
        """Return the condition beside a contact's id, as `settle_contact` has it."""
        name = "its_contact_in_by_id" if by_id else "its_contact_in"
        return self.statement(name, statuses=self._contacts_in(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def read_contact(self, status: ContactStatus) -> sql.SQL:
        """Return the statement that reads whether a contact is dialing, or has this status."""
        return self.statement("read_contact", status=self._written(status))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def read_left(self, status: ContactStatus) -> sql.SQL:
        """Return the same for a contact that was not settled; none of a job that is not there."""
        return self.statement("read_left", read_contact=self.read_contact(status))

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
        nothing_left = self._nothing_left(unfinished)
        return (
            self.statement("lock_finished_job", nothing_left=nothing_left),
            self.statement("finish_job", nothing_left=nothing_left),
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def has_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Return the statement that reads whether there is a contact in these statuses."""
        return self.statement("has_contacts", nothing_left=self._nothing_left(statuses))

    def _nothing_left(self, unfinished: AbstractSet[ContactStatus]) -> sql.SQL:
        calling = unfinished & {ContactStatus.DIALING}
        return self.statement(
            "nothing_left",
            first_waiting=self.first_contact(unfinished - calling),
            first_calling=self.first_contact(calling),
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
            its_contacts_in_order=self.its_contacts_in_order
            if its_key is None
            else self._contacts_in_order(its_key),
        )

    def _contacts_in_order(self, its_key: sql.SQL) -> sql.SQL:
        return self.statement("its_contacts_in_order", its_key=its_key)

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


def _after_others(parts: Sequence[sql.Composable]) -> sql.SQL:
    """Return the parts of a list after its first."""
    return fixed(sql.SQL("").join(sql.SQL(", {}").format(part) for part in parts))
