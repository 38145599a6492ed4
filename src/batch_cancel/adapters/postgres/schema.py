"""
The adopter's names of tables and columns, and of statuses.

Rule 1: a row that does not count by the schema is not read, not locked and not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from batch_cancel.domain.status_names import (
    ContactStatusNames,
    JobStatusNames,
    StatusName,
    contact_status_names,
    job_status_names,
    read_job_status,
)
from batch_cancel.domain.statuses import ContactStatus, JobStatus
from batch_cancel.domain.table_shape import Keys

_EARLIER: Final = "_earlier"
_NAME_BYTES_MAX: Final = 63

Table = str | tuple[str, str]
Constant = str | int | bool | None


def is_identifier(text: object) -> bool:
    """Check whether Postgres accepts a text as a name."""
    return isinstance(text, str) and text != "" and "\0" not in text


def _check_table(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, tuple):
        pair = cast("tuple[object, ...]", value)
        is_table = len(pair) == 2 and all(map(is_identifier, pair))  # noqa: PLR2004  # A pair.
    else:
        is_table = is_identifier(value)
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
    if not is_identifier(value):
        msg = f"{attribute.name} must be a column name, got {value!r}"
        raise ValueError(msg)


def _check_optional_column(it: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _check_column(it, attribute, value)


def _check_where(_: object, attribute: attrs.Attribute[Any], value: dict[Any, Any]) -> None:
    for column, constant in value.items():
        if not is_identifier(column):
            msg = f"{attribute.name} must name columns, got {column!r}"
            raise ValueError(msg)
        if not (constant is None or isinstance(constant, str | int)) or "\0" in str(constant):
            msg = (
                f"{attribute.name} must map {column!r} to a text, an integer, a bool or None, got "
                f"{constant!r}"
            )
            raise ValueError(msg)


def _by_value(mapping: Mapping[str, object]) -> object:
    # True equals 1 in Python, but not in Postgres.
    return frozenset((name, type(value), value) for name, value in mapping.items())


def _by_status_name(mapping: Mapping[str, tuple[StatusName, ...]]) -> object:
    return frozenset(mapping.items())


def _copied(given: Mapping[str, Constant]) -> dict[str, Constant]:
    return dict(given)


def _column(default: str) -> str:
    return attrs.field(default=default, validator=_check_column)


def _optional_column(default: str | None) -> str | None:
    return attrs.field(default=default, validator=_check_optional_column)


def beside_table(name: str, ending: str) -> str:
    """
    Return the name of what stands beside a table, such as its index.

    Postgres cuts a longer name, which may then equal that of the table or of another index.
    """
    return name.encode()[: _NAME_BYTES_MAX - len(ending)].decode(errors="ignore") + ending


@attrs.frozen(kw_only=True)
class PostgresSchema:
    """
    The names of your tables and columns.

    A table is a name, or a pair (schema, table). Ids may be text, uuid or integers, statuses text,
    integers or an enum: the library sends and reads them as text.

    Arguments:
        jobs: the table of jobs.
        job_id: its id, as callers pass it.
        job_key: the column that contacts refer to, if that is not the id.
        job_organization_id: the owning organization, NULL for none; None if there is no such
            column: then every job is a job of no organization.
        job_status: its status.
        job_deferred_id: the id of its deferred start, NULL for none; None if there is no such
            column: then the job's own id is the id of its deferred start.
        job_updated_at: set when the job is changed; None if there is no such column.
        job_created_at: when the job was created, a timestamptz; None if there is no such column.
            Only a `JobFilter` asks for it.
        job_scheduled_at: when the job is to start, likewise.
        job_version: incremented when the job is changed, for optimistic locking; None if there is
            no such column.
        job_statuses: the names of the six statuses in the table, if they are not the contract's: a
            text, an integer, or several of them, of which the first is written. Any other name is
            an unknown status: such a job is left alone.
        job_where: constants of the rows that count, such as `{"deleted_at": None}`; a row with
            another value is not a job.
        contacts: the table of contacts.
        contact_id: the id of a contact, unique within its job.
        contact_job_id: its job, by the job's id or its `job_key`.
        contact_organization_id: the organization of its job, NULL for none; None if there is no
            such column. Needed where jobs are unique by organization and id together.
        contact_status: its status.
        contact_next_attempt_at: when it may be dialled, NULL for at once; None if there is no such
            column: then every contact is due.
        contact_updated_at: set when a contact is changed; None if there is no such column.
        contact_dialing_since: set when a contact is claimed; None if there is no such column.
            Where it is NULL or None, `expire_calls` uses `contact_updated_at`.
        contact_version: incremented when a contact is changed, and 1 in a new contact; None if
            there is no such column.
        contact_statuses: the names of the twelve statuses, likewise. A contact with any other name
            is left alone.
        contact_where: constants of the rows that count; other rows are not contacts.
        cancellations: our own table, as `batch-cancel schema` prints it; the earlier records are
            in a second one beside it.
        keys_are_unique: declares that ids are unique in the views that you map; for tables, unique
            indexes show it.

    Raises:
        ValueError: a name is not valid in Postgres, or a status has no name or shares one.
    """

    jobs: Table = attrs.field(default="batch_jobs", validator=_check_table)
    job_id: str = _column("id")
    job_key: str | None = _optional_column(None)
    job_organization_id: str | None = _optional_column("organization_id")
    job_status: str = _column("status")
    job_deferred_id: str | None = _optional_column("scheduled_job_id")
    job_updated_at: str | None = _optional_column("updated_at")
    job_created_at: str | None = _optional_column("created_at")
    job_scheduled_at: str | None = _optional_column(None)
    job_version: str | None = _optional_column(None)
    job_statuses: JobStatusNames = attrs.field(
        factory=dict[JobStatus, tuple[StatusName, ...]],
        converter=job_status_names,
        eq=_by_status_name,
    )
    job_where: Mapping[str, Constant] = attrs.field(
        factory=dict[str, Constant], converter=_copied, validator=_check_where, eq=_by_value
    )
    contacts: Table = attrs.field(default="batch_contacts", validator=_check_table)
    contact_id: str = _column("id")
    contact_job_id: str = _column("batch_job_id")
    contact_organization_id: str | None = _optional_column(None)
    contact_status: str = _column("status")
    contact_next_attempt_at: str | None = _optional_column("next_attempt_at")
    contact_updated_at: str | None = _optional_column("updated_at")
    contact_dialing_since: str | None = _optional_column(None)
    contact_version: str | None = _optional_column(None)
    contact_statuses: ContactStatusNames = attrs.field(
        factory=dict[ContactStatus, tuple[StatusName, ...]],
        converter=contact_status_names,
        eq=_by_status_name,
    )
    contact_where: Mapping[str, Constant] = attrs.field(
        factory=dict[str, Constant], converter=_copied, validator=_check_where, eq=_by_value
    )
    cancellations: Table = attrs.field(default="batch_cancellations", validator=_check_table)
    keys_are_unique: bool = False

    def __attrs_post_init__(self) -> None:
        if self.contact_organization_id is not None and self.job_organization_id is None:
            msg = "contact_organization_id needs job_organization_id: map both or neither"
            raise ValueError(msg)

    @property
    def keys(self) -> Keys:
        """The columns that identify jobs and contacts."""
        return Keys(
            job_key=self.job_key or self.job_id,
            job_organization_id=self.job_organization_id,
            contact_id=self.contact_id,
            contact_job_id=self.contact_job_id,
            contact_organization_id=self.contact_organization_id,
            are_unique=self.keys_are_unique,
        )

    @property
    def earlier(self) -> Table:
        """Our own table of the records that were replaced, beside `cancellations`."""
        if isinstance(self.cancellations, str):
            return beside_table(self.cancellations, _EARLIER)
        schema, name = self.cancellations
        return (schema, beside_table(name, _EARLIER)) if schema else beside_table(name, _EARLIER)

    @property
    def dialing_since(self) -> str | None:
        """The column with the time since which a contact is dialing, if there is one."""
        return self.contact_dialing_since or self.contact_updated_at

    def read_job_status(self, status_name: str | None) -> str | None:
        """Return the contract's word for a status name; an unknown name is returned as it is."""
        return read_job_status(self.job_statuses, status_name)
