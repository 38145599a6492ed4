"""
The adopter's names for tables and columns, and the statements made of them.

Identifiers reach a statement only through psycopg.sql, so that any name is safe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from importlib import resources
from typing import Any, Final, cast

import attrs
from psycopg import sql

from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.model import ContactStatus, JobStatus

Table = str | tuple[str, str]

_PENDING: Final = f"'{ContactStatus.PENDING.value}'"


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


def _column(default: str) -> str:
    return attrs.field(default=default, validator=_check_column)


def _optional_column(default: str) -> str | None:
    return attrs.field(default=default, validator=_check_optional_column)


@attrs.frozen(kw_only=True)
class PostgresSchema:
    """
    The names of your tables and columns.

    A table is a name, or a pair (schema, table). Ids may be text, uuid or integers, statuses text
    or an enum: the library sends and reads them as text.

    Arguments:
        jobs: the table of jobs.
        job_id: its id.
        job_organization_id: the owning organization, NULL for none; None if there is no such
            column: then every job is a job of no organization.
        job_status: its status.
        job_deferred_id: the id of its deferred start, NULL for none; None if there is no such
            column: then the job's own id is the id of its deferred start.
        job_updated_at: set when the job is changed; None if there is no such column.
        contacts: the table of contacts.
        contact_id: the id of a contact; a key by itself.
        contact_job_id: its job.
        contact_status: its status.
        contact_next_attempt_at: when it may be dialled, NULL for at once; None if there is no such
            column: then every contact is due.
        contact_updated_at: set when a contact is changed; None if there is no such column.
        cancellations: our own table, as `batch-cancel schema` prints it.

    Raises:
        ValueError: a name that Postgres can't have.
    """

    jobs: Table = attrs.field(default="batch_jobs", validator=_check_table)
    job_id: str = _column("id")
    job_organization_id: str | None = _optional_column("organization_id")
    job_status: str = _column("status")
    job_deferred_id: str | None = _optional_column("scheduled_job_id")
    job_updated_at: str | None = _optional_column("updated_at")
    contacts: Table = attrs.field(default="batch_contacts", validator=_check_table)
    contact_id: str = _column("id")
    contact_job_id: str = _column("batch_job_id")
    contact_status: str = _column("status")
    contact_next_attempt_at: str | None = _optional_column("next_attempt_at")
    contact_updated_at: str | None = _optional_column("updated_at")
    cancellations: Table = attrs.field(default="batch_cancellations", validator=_check_table)


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
            "cancellations": _quoted(schema.cancellations),
            "oldest_first": _by_age(schema, "ASC"),
            "newest_first": _by_age(schema, "DESC"),
        }
        self._schema: Final = schema
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
        return self._statement("cancel_contacts", statuses=_constants(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def look(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Give the statement that looks at all, contacts in these statuses being open ones."""
        return self._statement("look", statuses=_constants(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def start_job(self, statuses: AbstractSet[JobStatus]) -> sql.SQL:
        """Give the statement that starts a job in these statuses, a frozen set."""
        return self._statement("start_job", statuses=_constants(statuses))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def claim_contacts(self, statuses: AbstractSet[ContactStatus]) -> sql.SQL:
        """Give the statement that claims contacts in these statuses, a frozen set."""
        has_times = self._schema.contact_next_attempt_at is not None
        return self._statement(
            "claim_contacts" if has_times else "claim_contacts_without_times",
            statuses=_constants(statuses),
            running_job=self._statement("running_job"),
        )

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def settle_contact(self, status: ContactStatus) -> sql.SQL:
        """Give the statement that settles a live call's contact with this status."""
        return self._statement("settle_contact", status=_constants({status}))

    @cache  # noqa: B019  # A handful of schemas live as long as the process.
    def finish_job(self, unfinished: AbstractSet[ContactStatus]) -> tuple[sql.SQL, sql.SQL]:
        """Give the statements that lock and finish a job without contacts in these statuses."""
        nothing_left = self._statement(
            "nothing_left",
            waiting=_constants(unfinished - {ContactStatus.DIALING}),
            calling=_constants(unfinished & {ContactStatus.DIALING}),
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
        own = (self._schema.contact_job_id, self._schema.contact_status)
        if not all(map(_is_identifier, columns)) or not set(own).isdisjoint(columns):
            reason = f"a contact is given as values by column, without {own[0]!r} and {own[1]!r}"
            raise StoreFailed(reason)
        row = trusted(f"({', '.join(['%s', _PENDING, *['%s'] * len(columns)])})")
        return self._statement(
            "append_contacts",
            columns=_fixed(sql.SQL(", ").join(map(_quoted, (*own, *columns)))),
            rows=_fixed(sql.SQL(", ").join([row] * rows)),
        )

    def _statement(self, name: str, **more: sql.SQL) -> sql.SQL:
        template = statements("queries.sql")[name]
        return _fixed(trusted(template).format(**self._names, **more))


@cache
def queries_for(schema: PostgresSchema) -> Queries:
    """Give the statements of a schema, made once."""
    return Queries(schema)


@cache
def statements(file: str) -> Mapping[str, str]:
    """Give the statements of a file of ours by the names that its `-- name:` lines give them."""
    text = resources.files("batch_cancel.adapters.postgres").joinpath(file).read_text("utf-8")
    _, *parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    bare = (re.sub(r"^--.*\n", "", part, flags=re.MULTILINE).strip() for part in parts[1::2])
    return dict(zip(parts[::2], bare, strict=True))


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


def _constants(statuses: AbstractSet[str]) -> sql.SQL:
    """Give the statuses as constants, so that a partial index on them serves."""
    if not statuses:
        return sql.SQL("NULL")  # No status is IN (NULL).
    return _fixed(sql.SQL(", ").join(sql.Literal(str(status)) for status in sorted(statuses)))


def _set_next_attempt(column: str | None) -> sql.SQL:
    if column is None:
        return sql.SQL("")
    return _fixed(sql.SQL(", {} = %(retry_at)s").format(_quoted(column)))


def _touch(column: str | None) -> sql.SQL:
    if column is None:
        return sql.SQL("")
    return _fixed(sql.SQL(", {} = clock_timestamp()").format(_quoted(column)))
