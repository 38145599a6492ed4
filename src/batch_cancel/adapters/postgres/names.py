"""The names that the statements of the SQL files have in braces, for one schema."""

from __future__ import annotations

from enum import Enum
from typing import Final, LiteralString

from psycopg import sql

from batch_cancel.adapters.postgres.schema import PostgresSchema
from batch_cancel.adapters.postgres.sql_parts import (
    constant,
    existing_rows,
    fixed,
    listed,
    quoted,
    touched,
    trusted,
)
from batch_cancel.domain.statuses import ContactStatus, JobStatus

_NONE: Final = sql.SQL("")


class Demand(Enum):
    """What must be true before the commit; the text is in the error of the statement."""

    NOT_CANCELLED = "batch_cancel: the job is not cancelled"
    CONTACTS_LEFT = "batch_cancel: contacts of the job are still open"
    NOT_RECORDED = "batch_cancel: the record is not there"
    NOT_WRITTEN = "batch_cancel: contacts are not as written"


def names_of(schema: PostgresSchema, *, has_sweeps: bool) -> dict[str, sql.SQL]:
    """
    Return the names of a schema.

    Arguments:
        schema: the schema.
        has_sweeps: whether our own table has the column `is_swept`.
    """
    return _names(schema) | _swept(has_sweeps=has_sweeps)


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
