"""What the statements of a sweep read: never the contacts of other jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psycopg
import pytest
from psycopg import sql

from batch_cancel.adapters.postgres import PostgresSchema
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.adapters.postgres.sweep_queries import SweepQueries, sweep_queries_for
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS
from tests.pairs import create_reference_tables

NAMES: Final = {"batch_job_id": "j", "organization_id": None, "limit": 1_000, "above": 1_000}

STATEMENTS: dict[str, Callable[[SweepQueries], sql.SQL]] = {
    "many": lambda it: it.are_many(it.open_contacts(CANCELLABLE_CONTACTS)),
    "tried": lambda it: it.try_contact(CANCELLABLE_CONTACTS),
    "chunk": lambda it: it.sweep_contacts(CANCELLABLE_CONTACTS),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_an_index_finds_the_contacts_of_a_job_that_was_appended_last(
    postgres_schema: str, name: str
) -> None:
    """
    The planner expects some of so many contacts soon, wherever it begins to read.

    But they are at the end of the table, behind those of all other jobs.
    """
    with psycopg.connect(postgres_schema, autocommit=True) as rows:
        create_reference_tables(rows)
        rows.execute(
            "INSERT INTO batch_jobs (id, status) VALUES ('i', 'running'), ('j', 'running')"
        )
        for job, contacts in (("i", 20_000), ("j", 10_000)):
            rows.execute(
                "INSERT INTO batch_contacts (batch_job_id, status) "
                "SELECT %s, 'pending' FROM generate_series(1, %s)",
                (job, contacts),
            )
        rows.execute("ANALYZE batch_jobs, batch_contacts")
        queries = queries_for(PostgresSchema(), has_sweeps=True)
        statement = STATEMENTS[name](sweep_queries_for(queries))
        plan = rows.execute(b"EXPLAIN " + statement.as_bytes(None), NAMES).fetchall()
    assert [line for (line,) in plan if "Seq Scan on batch_contacts" in line] == [], plan
