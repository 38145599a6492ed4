"""
Compare the outcome of a statement with its intent.

Rule 1: the rows that a statement changes are read back. A row count proves nothing: a trigger, a
        rule, a view or a policy may have skipped a row, or written it again.
Rule 2: this costs no round trip if every row is written as RETURNING shows it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final
from uuid import UUID

import psycopg
from psycopg import sql

from batch_cancel.adapters.postgres.names import Demand
from batch_cancel.adapters.postgres.queries import Queries
from batch_cancel.adapters.postgres.rows import (
    Parameters,
    Row,
    named,
)
from batch_cancel.adapters.postgres.schema import Table
from batch_cancel.adapters.postgres.sql_parts import array_of
from batch_cancel.domain.drift import Inventory
from batch_cancel.domain.errors import Fault, JobNotFound, StoreFailed, shown
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import TERMINAL_CONTACTS, ContactStatus
from batch_cancel.domain.table_shape import check_nameable, counted
from batch_cancel.domain.worker_rules import CALL_AGE_UNKNOWN, Settlement

_PARAMETERS_MAX: Final = 60_000
"""The most values in one statement; the wire protocol counts them in 16 bits."""

_COPIED_MIN: Final = 1000
"""From how many contacts on COPY is faster."""

_COPIED: Final = {str, int, UUID}
"""The types whose values COPY writes as INSERT does."""

_ONE_PARAMETER: Final = re.compile(r"[^$\n]*\$\d+(?: = '(?:[^']|'')*')?")
"""The context of a parameter's error, in any language, with its value or without."""

_NO_INTEGER: Final = "22P02"
"""The SQLSTATE of a demand that is not met: a text of ours is no integer."""

ADDED: Final = TERMINAL_CONTACTS | {ContactStatus.PENDING}
"""The statuses of a new contact: ours, or a terminal one set by a trigger."""


def settled(key: JobKey, contact_id: str, settlement: Settlement) -> Parameters:
    """Return the parameters that settle a contact."""
    return {**named(key), "contact_id": contact_id, "retry_at": settlement.retry_at}


def looked_at(queries: Queries, key: JobKey, ids: Sequence[str]) -> Parameters:
    """Return the parameters that read contacts of this job, each of which must have an id."""
    check_nameable(queries.schema.contact_id, ids, key)
    return {**named(key), "contact_ids": array_of(ids), "number": len(ids)}


def any_job(queries: Queries) -> JobKey:
    """Return the key of any job, with an organization if jobs have one."""
    return JobKey("", None if queries.schema.job_organization_id is None else "")


def groups(
    queries: Queries, contacts: Sequence[Mapping[str, object]]
) -> Iterator[tuple[tuple[str, ...], list[Mapping[str, object]]]]:
    """Yield new contacts in order, in groups of the same columns."""
    where = queries.schema.contact_where
    for columns, group in groupby((counted(it, where) for it in contacts), key=tuple):
        yield columns, list(group)


def inserts(
    queries: Queries,
    names: tuple[object, ...],
    columns: tuple[str, ...],
    rows: Sequence[Mapping[str, object]],
    *,
    named_back: bool,
) -> Iterator[tuple[sql.SQL, list[object], int]]:
    """Yield the fewest statements that add these contacts, with values and row counts."""
    rows_max = _PARAMETERS_MAX // (len(names) + len(columns))
    for start in range(0, len(rows), rows_max):
        some = rows[start : start + rows_max]
        values = [
            value for row in some for value in (*names, *(row[column] for column in columns))
        ]
        yield queries.append_contacts(columns, len(some), named=named_back), values, len(some)


def can_be_copied(rows: Sequence[Mapping[str, object]]) -> bool:
    """
    Check whether COPY writes the same as INSERT, and faster.

    COPY reads each value as its column's type, and INSERT converts a value of a known type to it.
    For a time with a zone in a column without one, the results differ.
    """
    return len(rows) >= _COPIED_MIN and all(
        value is None or type(value) in _COPIED for row in rows for value in row.values()
    )


@contextmanager
def missing_columns(queries: Queries, columns: Sequence[str]) -> Generator[None]:
    """Turn the error for a column that contacts do not have into one that names it."""
    try:
        yield
    except psycopg.errors.UndefinedColumn as error:
        message = (error.diag.message_primary or "").splitlines()[0]
        named_there = [it for it in columns if it in message]
        if not named_there:  # A column of the schema is missing.
            raise
        names = ", ".join(map(shown, named_there))
        reason = (
            f"returning names a column that contacts do not have: {names} (name columns of "
            f"{_name(queries.schema.contacts)})"
        )
        raise StoreFailed(reason) from error


@contextmanager
def unknown_ids(key: JobKey) -> Generator[None]:
    """Turn the error for an id that the column cannot hold into JobNotFound."""
    try:
        yield
    except (psycopg.DataError, UnicodeEncodeError) as error:
        if is_of_an_id(error):
            raise JobNotFound(key) from error
        raise


def is_of_an_id(error: psycopg.DataError | UnicodeEncodeError) -> bool:
    """
    Check whether an error says that the column cannot hold an id, so that no row has it.

    Postgres reports it for one parameter, `$1`; psycopg raises before it sends. Every other such
    error comes from a constant that an enum lacks, from a policy, or from a trigger whose own
    statement has a `$1`. If the server logs parameters, the context of each error names all of
    them.
    """
    if isinstance(error, UnicodeEncodeError) or error.sqlstate is None:
        return True
    return _ONE_PARAMETER.fullmatch(error.diag.context or "") is not None


@contextmanager
def contacts_refused() -> Generator[None]:
    """Raise errors about contacts without their values, which may be phone numbers."""
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError, UnicodeEncodeError) as error:
        reason = f"Postgres refused a contact to be added ({type(error).__name__})"
        raise StoreFailed(reason) from error
    except psycopg.errors.UndefinedColumn as error:
        reason = f"{error.diag.message_primary}: correct the column of the contact that you passed"
        raise StoreFailed(reason) from error


def only(rows: Sequence[Row], key: JobKey) -> Row | None:
    """Return the row of a job; raise if there are several."""
    if len(rows) > 1:
        raise several(key)
    return rows[0] if rows else None


def several(key: JobKey) -> StoreFailed:
    """Return the error for an id that is not that of one job."""
    return StoreFailed(_several(key))


def _several(key: JobKey) -> str:
    return (
        f"organization {shown(key.organization_id)} has several jobs of the id "
        f"{shown(key.batch_job_id)}: give each job an id of its own within its organization"
    )


def check_names(inventory: Inventory) -> Inventory:
    """Return an inventory; raise if two jobs have the same key."""
    for listed in (inventory.scheduled, inventory.cancelled, inventory.calls_overdue or ()):
        seen: set[JobKey] = set()
        for it in listed:
            if it.key in seen:
                raise several(it.key)
            seen.add(it.key)
    return inventory


def check_one(queries: Queries, key: JobKey, rows_changed: int) -> bool:
    """Return whether one row was changed; raise if there were several."""
    if rows_changed not in {0, 1}:
        jobs, contacts = _name(queries.schema.jobs), _name(queries.schema.contacts)
        reason = (
            f"one row was to be changed, and {rows_changed} were: {_several(key)}, or check the "
            f"triggers and rules of {jobs} and {contacts}"
        )
        raise StoreFailed(reason)
    return rows_changed == 1


def unmet(queries: Queries, key: JobKey, error: psycopg.Error) -> StoreFailed | None:
    """Return the error for a demand of a cancellation that is not met; None if it is another's."""
    schema, message = queries.schema, error.diag.message_primary or ""
    jobs, contacts, ours = map(_name, (schema.jobs, schema.contacts, schema.cancellations))
    if error.sqlstate != _NO_INTEGER:
        return None
    match next((it for it in Demand if it.value in message), None):
        case Demand.NOT_CANCELLED:
            return StoreFailed(
                "the job was set to cancelled, but is not, or is hidden: look for a trigger, a "
                f"rule or a policy on {jobs} that keeps another status, and check whether "
                f"organization {shown(key.organization_id)} has several jobs of this id"
            )
        case Demand.CONTACTS_LEFT:
            reason = (
                "contacts of the job are still open after all were cancelled: look for a "
                f"trigger, a rule or a policy on {contacts} that keeps them, or for a writer that "
                "adds contacts without locking their job"
            )
            return StoreFailed(reason, fault=Fault.INCOMPLETE)
        case Demand.NOT_RECORDED:
            return StoreFailed(
                f"the record of the cancellation was written to {ours}, but is not there: look "
                "for a trigger, a rule or a policy on that table"
            )
        case Demand.NOT_WRITTEN:
            return _not_as_written(schema.contacts, "contacts of job {} are", key)
        case None:
            return None


def check_written(queries: Queries, key: JobKey, *, is_so: bool) -> None:
    """Check that contacts are as they were written."""
    _check(queries.schema.contacts, "contacts of job {} are", key, is_so=is_so)


def check_job(queries: Queries, key: JobKey, *, is_so: bool) -> None:
    """Check that a job is as it was written."""
    _check(queries.schema.jobs, "job {} is", key, is_so=is_so)


def _check(table: Table, what: str, key: JobKey, *, is_so: bool) -> None:
    if not is_so:
        raise _not_as_written(table, what, key)


def _not_as_written(table: Table, what: str, key: JobKey) -> StoreFailed:
    return StoreFailed(
        f"{what.format(shown(key.batch_job_id))} not as written: look for a trigger, a rule or a "
        f"policy on {_name(table)} that skips, undoes or changes what is written"
    )


def check_settled(queries: Queries, key: JobKey, *, is_settled: bool, rows: Sequence[Row]) -> None:
    """Check that a contact is as it was settled."""
    is_dialing, is_so = rows[0] if len(rows) == 1 else (False, False)
    check_written(queries, key, is_so=is_so if is_settled else not is_dialing)


def check_knows_calls(queries: Queries) -> None:
    """Check that the age of a call is known."""
    if queries.schema.dialing_since is None:
        raise StoreFailed(CALL_AGE_UNKNOWN)


def _name(table: Table) -> str:
    return table if isinstance(table, str) else ".".join(table)
