"""The floors: SQL that a person would write by hand, sent by psycopg alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from batch_cancel.adapters.postgres.sql_parts import trusted
from batch_cancel.adapters.sql_files import statements

_STATEMENTS: Final = {
    name: trusted(text) for name, text in statements("benchmarks", "floors.sql").items()
}

CLAIM: Final = _STATEMENTS["claim"]
SETTLE: Final = _STATEMENTS["settle"]


def bare_update(job: str) -> str:
    """Return the UPDATE of a job's open contacts."""
    return _STATEMENTS["bare_update"].format(job=sql.Literal(job)).as_string(None)


def bare_update_of(jobs: Sequence[str]) -> str:
    """Return the UPDATE of the open contacts of many jobs."""
    update = _STATEMENTS["bare_update_of_many"]
    return update.format(jobs=sql.Literal(list(jobs))).as_string(None)


def with_record(job: str) -> str:
    """Return the string of a cancel that keeps a record."""
    update = trusted(bare_update(job))
    return (
        _STATEMENTS["with_record"]
        .format(job=sql.Literal(job), operation=sql.Literal(f"of {job}"), bare_update=update)
        .as_string(None)
    )
