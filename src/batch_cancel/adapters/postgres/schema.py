"""
The adopter's names for tables and columns, and the statements made of them.

Rule 1: identifiers and constants reach a statement only through psycopg.sql, so that any name and
        any spelling is safe.
Rule 2: a row that the schema says does not exist is not read, not locked and not changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar, cast

import attrs
from psycopg import sql

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.guards import UNFINISHED_CONTACTS
from batch_cancel.domain.model import (
    CANCELLABLE_CONTACTS,
    TERMINAL_CONTACTS,
    TERMINAL_JOBS,
    ContactStatus,
    JobStatus,
)
from batch_cancel.domain.spelling import contact_spellings, job_spellings, read_job_status

Table = str | tuple[str, str]
Constant = str | int | bool | None

_Status = TypeVar("_Status", JobStatus, ContactStatus)


def _is_identifier(text: object) -> bool:
    return isinstance(text, str) and text != "" and "\0" not in text


def _check_table(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, tuple):
        pair = cast("tuple[object, ...]", value)
        is_table = len(pair) == 2 and all(map(_is_identifier, pair))  # noqa: PLR2004  # A pair.
    else:
        is_table = _is_identifier(value)
    if not is_table:
        msg = f"{attribute.name} must be a table name or a pair (schema, table), got {value!r}"
        raise ValueError(msg)
    if isinstance(value, str) and "." in value:
        msg = (
            f"{attribute.name} is one name, not a path: for a table in a schema write "
            f"{tuple(value.split('.', 1))!r}"
        )
        raise ValueError(msg)


def _check_column(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not _is_identifier(value):
        msg = f"{attribute.name} must be a column name, got {value!r}"
        raise ValueError(msg)


def _check_optional_column(it: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _check_column(it, attribute, value)


def _check_where(_: object, attribute: attrs.Attribute[Any], value: dict[Any, Any]) -> None:
    for column, constant in value.items():
        if not _is_identifier(column):
            msg = f"{attribute.name} must name columns, got {column!r}"
            raise ValueError(msg)
        if not (constant is None or isinstance(constant, str | int)) or "\0" in str(constant):
            msg = (
                f"{attribute.name} must say which text, integer, bool or None {column!r} holds, "
                f"got {constant!r}"
            )
            raise ValueError(msg)


def _by_value(mapping: Mapping[str, object]) -> object:
    # True is 1 to Python, and not to Postgres.
    return frozenset((name, type(value), value) for name, value in mapping.items())


def _copied(given: Mapping[str, Constant]) -> dict[str, Constant]:
    return dict(given)


def _column(default: str) -> str:
    return attrs.field(default=default, validator=_check_column)


def _optional_column(default: str) -> str | None:
    return attrs.field(default=default, validator=_check_optional_column)


@attrs.frozen(kw_only=True)
class PostgresSchema:
    """
    The names of your tables and columns.

    A table is a name, or a pair (schema, table). Ids may be text, uuid or integers, statuses text,
    integers or an enum: the library sends and reads them as text.

    Arguments:
        jobs: the table of jobs.
        job_id: its id.
        job_organization_id: the owning organization, NULL for none; None if there is no such
            column: then every job is a job of no organization.
        job_status: its status.
        job_deferred_id: the id of its deferred start, NULL for none; None if there is no such
            column: then the job's own id is the id of its deferred start.
        job_updated_at: set when the job is changed; None if there is no such column.
        job_statuses: how the table spells each of the six statuses, if not as the contract does.
            A spelling that is not among them is an unknown status: such a job is left alone.
        job_where: what columns hold in the rows that count, `{"deleted_at": None}`; a row in which
            they hold anything else is no job.
        contacts: the table of contacts.
        contact_id: the id of a contact; a key by itself.
        contact_job_id: its job.
        contact_status: its status.
        contact_next_attempt_at: when it may be dialled, NULL for at once; None if there is no such
            column: then every contact is due.
        contact_updated_at: set when a contact is changed; None if there is no such column.
        contact_statuses: how the table spells each of the twelve statuses, if not as the contract
            does. A contact in any other is left alone.
        contact_where: what columns hold in the rows that count; other rows are no contacts.
        cancellations: our own table, as `batch-cancel schema` prints it.

    Raises:
        ValueError: a name that Postgres can't have, a status without a spelling, or two of one.
    """

    jobs: Table = attrs.field(default="batch_jobs", validator=_check_table)
    job_id: str = _column("id")
    job_organization_id: str | None = _optional_column("organization_id")
    job_status: str = _column("status")
    job_deferred_id: str | None = _optional_column("scheduled_job_id")
    job_updated_at: str | None = _optional_column("updated_at")
    job_statuses: Mapping[JobStatus, str] = attrs.field(
        factory=dict[JobStatus, str], converter=job_spellings, eq=_by_value
    )
    job_where: Mapping[str, Constant] = attrs.field(
        factory=dict[str, Constant], converter=_copied, validator=_check_where, eq=_by_value
    )
    contacts: Table = attrs.field(default="batch_contacts", validator=_check_table)
    contact_id: str = _column("id")
    contact_job_id: str = _column("batch_job_id")
    contact_status: str = _column("status")
    contact_next_attempt_at: str | None = _optional_column("next_attempt_at")
    contact_updated_at: str | None = _optional_column("updated_at")
    contact_statuses: Mapping[ContactStatus, str] = attrs.field(
        factory=dict[ContactStatus, str], converter=contact_spellings, eq=_by_value
    )
    contact_where: Mapping[str, Constant] = attrs.field(
        factory=dict[str, Constant], converter=_copied, validator=_check_where, eq=_by_value
    )
    cancellations: Table = attrs.field(default="batch_cancellations", validator=_check_table)

    def read_job_status(self, spelling: str | None) -> str | None:
        """Give the contract's word for what the table says; what is unknown stays unknown."""
        return read_job_status(self.job_statuses, spelling)


class Queries:
    """The statements of queries.sql with the names of one schema in them."""

    def __init__(self, schema: PostgresSchema) -> None:
        names: dict[str, sql.SQL] = {
            "jobs": _quoted(schema.jobs),
            "job_id": _quoted(schema.job_id),
            "organization_id": _quoted(schema.job_organization_id, otherwise="NULL::text"),
            "job_status": _quoted(schema.job_status),
            "deferred_id": _quoted(schema.job_deferred_id or schema.job_id),
            "touch_job": _touch(schema.job_updated_at),
            "contacts": _quoted(schema.contacts),
            "contact_id": _quoted(schema.contact_id),
            "contact_job_id": _quoted(schema.contact_job_id),
            "contact_status": _quoted(schema.contact_status),
            "next_attempt_at": _quoted(schema.contact_next_attempt_at),
            "settle_next_attempt_at": _set_next_attempt(schema.contact_next_attempt_at),
            "touch_contact": _touch(schema.contact_updated_at),
            "existing_job": _existing_rows(schema.job_where),
            "existing_contact": _existing_rows(schema.contact_where),
            "cancellations": _quoted(schema.cancellations),
            "oldest_first": _by_age(schema, "ASC"),
            "newest_first": _by_age(schema, "DESC"),
            **{f"job_{it}": _constant(spelling) for it, spelling in schema.job_statuses.items()},
            **{
                f"contact_{it}": _constant(spelling)
                for it, spelling in schema.contact_statuses.items()
            },
        }
        self.schema: Final = schema
        self._names: Final = names
        self.lock_job = self._statement("lock_job")
        self.read_cancellation = self._statement("read_cancellation")
        self.mark_cancelled = self._statement("mark_cancelled")
        self.settle_cancellation = self._statement("settle_cancellation")
        self.take_owing = self._statement("take_owing")
        self.read_status = self._statement("read_status")

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def cancel_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Give the statement that cancels the contacts in these statuses, a frozen set."""
        return self._statement("cancel_contacts", statuses=self._contacts_in(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def look(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Give the statement that looks at all, contacts in these statuses being open ones."""
        return self._statement("look", statuses=self._contacts_in(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def start_job(self, statuses: AbstractSet[JobStatus]) -> sql.SQL:
        """Give the statement that starts a job in these statuses, a frozen set."""
        return self._statement("start_job", statuses=_listed(statuses, self.schema.job_statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def claim_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Give the statement that claims contacts in these statuses, a frozen set."""
        has_times = self.schema.contact_next_attempt_at is not None
        return self._statement(
            "claim_contacts" if has_times else "claim_contacts_without_times",
            statuses=self._contacts_in(statuses),
            running_job=self._statement("running_job"),
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def settle_contact(self, status: ContactStatus) -> sql.SQL:
        """Give the statement that settles a live call's contact with this status."""
        return self._statement("settle_contact", status=self._contacts_in({status}))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def finish_job(self, unfinished: AbstractSet[ContactStatus]) -> tuple[sql.SQL, sql.SQL]:
        """Give the statements that lock and finish a job without contacts in these statuses."""
        nothing_left = self._statement(
            "nothing_left",
            waiting=self._contacts_in(unfinished - {ContactStatus.DIALING}),
            calling=self._contacts_in(unfinished & {ContactStatus.DIALING}),
        )
        return (
            self._statement("lock_finished_job", nothing_left=nothing_left),
            self._statement("finish_job", nothing_left=nothing_left),
        )

    def append_contacts(self, columns: Sequence[str], rows: int) -> sql.SQL:
        """
        Give the statement that adds contacts: the job, pending, and values for these columns.

        Raises:
            StoreFailed: a column that is no name, or that is not the caller's to set.
        """
        own = (self.schema.contact_job_id, self.schema.contact_status)
        if not all(map(_is_identifier, columns)) or not set(own).isdisjoint(columns):
            reason = f"a contact is given as values by column, without {own[0]!r} and {own[1]!r}"
            raise StoreFailed(reason)
        pending = self._contacts_in({ContactStatus.PENDING})
        values = [sql.SQL("%s"), pending, *[sql.SQL("%s")] * len(columns)]
        row = _fixed(sql.SQL("({})").format(sql.SQL(", ").join(values)))
        return self._statement(
            "append_contacts",
            columns=_fixed(sql.SQL(", ").join(map(_quoted, (*own, *columns)))),
            rows=_fixed(sql.SQL(", ").join([row] * rows)),
        )

    def _contacts_in(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        return _listed(statuses, self.schema.contact_statuses)

    def _statement(self, name: str, **more: sql.SQL) -> sql.SQL:
        template = statements("queries.sql")[name]
        return _fixed(trusted(template).format(**self._names, **more))


@cache
def queries_for(schema: PostgresSchema) -> Queries:
    """Give the statements of a schema, made once."""
    return Queries(schema)


def _text(file: str) -> str:
    return resources.files("batch_cancel.adapters.postgres").joinpath(file).read_text("utf-8")


@cache
def statements(file: str) -> Mapping[str, str]:
    """Give the statements of a file of ours by the names that its `-- name:` lines give them."""
    _, *parts = re.split(r"^-- name: (\w+)\n", _text(file), flags=re.MULTILINE)
    bare = (re.sub(r"^--.*\n", "", part, flags=re.MULTILINE).strip() for part in parts[1::2])
    return dict(zip(parts[::2], bare, strict=True))


def table_ddl(schema: PostgresSchema) -> str:
    """Give the SQL that makes our own table, by the name that the schema gives it."""
    table = schema.cancellations
    # An index is in its table's schema, and is not named with it.
    owing = f"{table if isinstance(table, str) else table[1]}_owing"
    names = {"batch_cancellations": table, "batch_cancellations_owing": owing}
    return re.sub(
        r"\bbatch_cancellations(_owing)?\b",
        lambda found: _typed(_quoted(names[found[0]])),
        _text("schema.sql"),
    )


def guards_ddl(schema: PostgresSchema) -> str:
    """Give the SQL that makes the triggers on the tables of a schema."""
    jobs, contacts = schema.job_statuses, schema.contact_statuses
    of_tables = {
        "jobs": _quoted(schema.jobs),
        "job_id": _quoted(schema.job_id),
        "job_status": _quoted(schema.job_status),
        "contacts": _quoted(schema.contacts),
        "contact_job_id": _quoted(schema.contact_job_id),
        "contact_status": _quoted(schema.contact_status),
        "job_counts": _existing_rows(schema.job_where, "job."),
        "old_job_counts": _existing_rows(schema.job_where, "OLD."),
        "old_contact_counts": _existing_rows(schema.contact_where, "OLD."),
        "new_contact_counts": _existing_rows(schema.contact_where, "NEW."),
        "keep_job_status": _beside(schema.jobs, "batch_cancel_keep_job_status"),
        "keep_contact_cancelled": _beside(schema.contacts, "batch_cancel_keep_contact_cancelled"),
        "job_cancelled": _constant(jobs[JobStatus.CANCELLED]),
        "contact_cancelled": _constant(contacts[ContactStatus.CANCELLED]),
        "contact_dialing": _constant(contacts[ContactStatus.DIALING]),
        "ended_jobs": _listed(TERMINAL_JOBS, jobs),
        "ended_contacts": _listed(TERMINAL_CONTACTS - {ContactStatus.CANCELLED}, contacts),
        "open_contacts": _listed(CANCELLABLE_CONTACTS, contacts),
        "live_contacts": _listed(UNFINISHED_CONTACTS, contacts),
    }
    return _typed(trusted(_text("guards.sql")).format(**of_tables))


def _beside(table: Table, name: str) -> sql.SQL:
    return _quoted(name if isinstance(table, str) else (table[0], name))


def _typed(part: sql.Composable) -> str:
    """Give SQL as it is typed: nothing stands for a parameter there, so no percent sign is two."""
    return part.as_string(None).replace("%%", "%")


def trusted(text: str) -> sql.SQL:
    """Take `text` for SQL: it is made of our own files, numbers and quoted names alone."""
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]  # No literal, for this reason.


def _fixed(part: sql.Composable) -> sql.SQL:
    return trusted(part.as_string(None))


def _quoted(name: Table | None, otherwise: str = "") -> sql.SQL:
    if name is None:
        return trusted(otherwise)
    identifier = sql.Identifier(*([name] if isinstance(name, str) else name))
    # A percent sign in a name would read as a placeholder.
    return trusted(identifier.as_string(None).replace("%", "%%"))


def _by_age(schema: PostgresSchema, direction: str) -> sql.SQL:
    columns = filter(None, (schema.job_updated_at, schema.job_id))
    ordered = (sql.SQL("{} {}").format(_quoted(it), trusted(direction)) for it in columns)
    return _fixed(sql.SQL(", ").join(ordered))


def _listed(statuses: AbstractSet[_Status], spellings: Mapping[_Status, str]) -> sql.SQL:
    """Give the statuses as constants, so that a partial index on them serves."""
    if not statuses:
        return sql.SQL("NULL")  # No status is IN (NULL).
    listed = (_constant(spelling) for spelling in sorted(spellings[it] for it in statuses))
    return _fixed(sql.SQL(", ").join(listed))


def _constant(value: Constant) -> sql.SQL:
    # A text without a type is read as its column's; a percent sign would read as a placeholder.
    if not isinstance(value, str):
        return trusted(json.dumps(value))
    return trusted(sql.Literal(value).as_string(None).replace("%", "%%"))


def _existing_rows(where: Mapping[str, Constant], of: str = "") -> sql.SQL:
    """Give what is added to a condition on rows that count; `of` tells whose the columns are."""
    parts = (
        sql.SQL(" AND {}{} IS NULL").format(trusted(of), _quoted(column))
        if constant is None
        else sql.SQL(" AND {}{} = {}").format(trusted(of), _quoted(column), _constant(constant))
        for column, constant in where.items()
    )
    return _fixed(sql.SQL("").join(parts))


def _set_next_attempt(column: str | None) -> sql.SQL:
    if column is None:
        return sql.SQL("")
    return _fixed(sql.SQL(", {} = %(retry_at)s").format(_quoted(column)))


def _touch(column: str | None) -> sql.SQL:
    if column is None:
        return sql.SQL("")
    return _fixed(sql.SQL(", {} = clock_timestamp()").format(_quoted(column)))
