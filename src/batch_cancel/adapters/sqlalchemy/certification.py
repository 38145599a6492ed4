"""
The job's row as a guard, where a row lock holds on one node alone.

Several nodes of Galera take writes. They send each other no row locks: two transactions on two
nodes lock the same row, and both go on. They compare at the commit which rows were written: of two
transactions that wrote the same row, the second fails with a deadlock.

Rule 1: a step that relies on the job's lock writes the job's row there. A cancel, `start` and
        `finish` write it in any case; a claim writes the contacts that a cancel would write.
Rule 2: the row must really change. An UPDATE to the values that a row has already is no write, and
        a DATETIME without a fraction keeps its value for a second.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from batch_cancel.adapters.sqlalchemy.dialects.galera import guard_columns, guard_missing
from batch_cancel.adapters.sqlalchemy.errors import written_otherwise
from batch_cancel.adapters.sqlalchemy.statements import Statements, check_written
from batch_cancel.adapters.sqlalchemy.tables import raised
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.domain.job import JobKey

_DAY: Final = timedelta(days=1)


def guard(statements: Statements, key: JobKey) -> None:
    """
    Write the locked job's row, where other nodes do not see its lock.

    Raises:
        StoreFailed: no column is mapped that can be written, or a trigger keeps it as it is.
    """
    if not statements.seen.locks_are_local:
        return
    tables = statements.tables
    if (reason := guard_missing(tables)) is not None:
        raise StoreFailed(reason)
    facts = statements.seen.of_jobs(statements.connection)
    found = [_state(statements, key)] if facts.jobs_are_rewritten else []
    for values in _changes(statements):
        written = sa.update(tables.jobs).where(tables.is_job(key)).values(values)
        check_written(statements.connection.execute(written).rowcount, 1)
        if facts.jobs_are_rewritten:
            found.append(_state(statements, key))
    if found and all(it == found[0] for it in found):
        what = "the job's row is unchanged after it was written as a guard"
        raise written_otherwise(what)


def _changes(statements: Statements) -> list[dict[str, object]]:
    """Return what to write, one after the other; the row then differs at least once."""
    tables = statements.tables
    now = statements.touched(tables.jobs, tables.job_updated_at)
    if tables.job_version is not None:
        return [{**raised(tables.jobs, tables.job_version), **now}]
    # Not the time alone, which the row may have already. The second write is what remains.
    tomorrow = statements.now() + _DAY
    return [statements.touched(tables.jobs, tables.job_updated_at, tomorrow), now]


def _state(statements: Statements, key: JobKey) -> list[object]:
    """Read the columns that are written."""
    asked = sa.select(*guard_columns(statements.tables)).where(statements.tables.is_job(key))
    return [*statements.connection.execute(asked).one()]
