"""Whether the status columns can hold the written statuses, and which unmapped ones they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, Literal

from batch_cancel.adapters.postgres.doctor.questions import (
    STATEMENTS,
    Condition,
    Doubt,
    Look,
)
from batch_cancel.adapters.postgres.doctor.tables import Database, Rows
from batch_cancel.adapters.postgres.sql_parts import (
    constant,
    existing_rows,
    fixed,
    quoted,
    trusted,
    typed,
)
from batch_cancel.domain.errors import shown
from batch_cancel.domain.status_names import StatusName
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS, ContactStatus, JobStatus

Kind = Literal["missing", "workers"]
Statuses = tuple[Sequence[JobStatus], Sequence[ContactStatus]]

_READ: Final[dict[Kind, Statuses]] = {
    "missing": (
        (JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.CANCELLED),
        (*sorted(CANCELLABLE_CONTACTS), ContactStatus.CANCELLED),
    ),
    "workers": (
        (JobStatus.PENDING, JobStatus.COMPLETED),
        (ContactStatus.DIALING, ContactStatus.COMPLETED, ContactStatus.FAILED),
    ),
}
"""The statuses in the statements, by all their names; an enum must have them."""

_WRITTEN: Final[dict[Kind, Statuses]] = {
    "missing": ((JobStatus.CANCELLED,), (ContactStatus.CANCELLED,)),
    "workers": (
        (JobStatus.RUNNING, JobStatus.COMPLETED),
        (ContactStatus.DIALING, ContactStatus.COMPLETED, ContactStatus.FAILED),
    ),
}
"""The statuses that cancels and workers write, by their first names."""

ROWS_MAX: Final = 10_000
"""The most rows of a table to read."""

_UNMAPPED_MAX: Final = 5
"""The most unmapped statuses to name."""


def missing_labels(database: Database, kind: Kind) -> Iterator[str]:
    """Yield the statuses that an enum lacks."""
    for field, name, status_names in _columns(database, _READ[kind]):
        column, table = database.columns_of(field)[name], database.name(field)
        if column.labels is None:
            continue
        if column.is_domain:
            yield (
                f"column {database.typed[name]} of {table} is a domain over an enum, which "
                f"Postgres does not compare with a list of statuses: ALTER TABLE {table} ALTER "
                f"{database.typed[name]} TYPE {column.type}"
            )
        for status_name in (it for several in status_names for it in several):
            if str(status_name) not in column.labels:
                label = typed(constant(str(status_name)))
                yield (
                    f"column {database.typed[name]} of {table} is an enum without {label}: ALTER "
                    f"TYPE {column.type} ADD VALUE {label}"
                )


def constraints(database: Database, kind: Kind) -> Iterator[Doubt]:
    """Yield the check constraints that may refuse a written status."""
    for field, name, status_names in _columns(database, _WRITTEN[kind]):
        for it in database.constraints:
            if (it.table, it.column) != (database.tables[field].oid, name):
                continue
            owner = database.name(field) if it.of_domain is None else f"the domain {it.of_domain}"
            column = database.typed[name]
            if it.of_domain is not None:
                column = f"{column} of {database.name(field)}"
            for written, *_ in status_names:
                yield Doubt(
                    kind,
                    f"the check constraint {it.name} of {owner} does not allow {column} to be "
                    f"{typed(constant(written))}: let it",
                    [
                        Condition(
                            it.text,
                            database.known_columns(field, name, is_value=it.of_domain is not None),
                            [str(written)],
                            unknown_will_do=True,
                        )
                    ],
                )


def unmapped(database: Database) -> Iterator[Look]:
    """Yield reads for rows with unmapped statuses."""
    schema = database.schema
    for field, column, status_names, where in (
        ("jobs", schema.job_status, schema.job_statuses.values(), schema.job_where),
        (
            *("contacts", schema.contact_status),
            *(schema.contact_statuses.values(), schema.contact_where),
        ),
    ):
        if database.has_columns(field, column, *where):
            question = trusted(STATEMENTS["unmapped"]).format(
                table=quoted(getattr(schema, field)),
                status=quoted(column),
                existing=existing_rows(where),
            )
            parameters = {
                "known": [str(it) for several in status_names for it in several],
                "rows_max": ROWS_MAX,
                "unmapped_max": _UNMAPPED_MAX,
            }
            yield Look(fixed(question), parameters, partial(_unmapped, field))


def _unmapped(field: str, rows: Rows) -> str | None:
    """Return the finding of a read for unmapped statuses."""
    if not rows:
        return None
    looked_at, number, *_ = rows[0]
    listed = ", ".join(
        f"{'NULL' if status is None else shown(status)} ({each})" for *_, status, each in rows
    )
    has, they_are, they = ("has", "it is", "it") if number == 1 else ("have", "they are", "they")
    more = ", and others" if sum(each for *_, each in rows) < number else ""
    argument = "job_statuses" if field == "jobs" else "contact_statuses"
    return (
        f"{number:,} of the {looked_at:,} {field} looked at {has} a status that is none of "
        f"{argument}: {listed}{more}: {they_are} left alone; map further names if {they} should "
        "count"
    )


def _columns(
    database: Database, statuses: Statuses
) -> Iterator[tuple[str, str, Sequence[tuple[StatusName, ...]]]]:
    """Yield the existing status columns, with their names of these statuses."""
    names, (jobs, contacts) = database.schema, statuses
    for field, column, status_names in (
        ("jobs", names.job_status, [names.job_statuses[it] for it in jobs]),
        ("contacts", names.contact_status, [names.contact_statuses[it] for it in contacts]),
    ):
        if database.has_columns(field, column):
            yield field, column, status_names
