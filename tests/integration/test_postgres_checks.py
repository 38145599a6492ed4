"""
`check()` on Postgres: tables and columns that are missing, and names of the adopter's own.

Each sentence is seen by breaking the thing that it is about on the real server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel.adapters.postgres import PostgresSchema
from batch_cancel.adapters.postgres.doctor.tables import names_of
from tests.integration.checks import catalog, checked, rows
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.servers import PostgresServer


@pytest.fixture
def dsn(postgres_schema: str) -> str:
    """Yield a schema with the reference tables and ours."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
    return postgres_schema


@pytest.fixture
def execute(dsn: str) -> Generator[Callable[[str], object]]:
    """Yield a way to break it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda statement: connection.execute(statement.encode())


def test_the_reference_tables_are_fit(dsn: str) -> None:
    """And looking at them changes nothing."""
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'scheduled')")
        connection.execute("ANALYZE")  # A row is read soonest by reading all of its table.
    before = catalog(dsn)
    assert checked(dsn) == []
    assert catalog(dsn) == before


MISSING = {
    "no jobs": (
        ["DROP TABLE batch_jobs CASCADE"],
        ["table batch_jobs is missing: map its name with PostgresSchema(jobs=...)"],
    ),
    "no contacts": (
        ["DROP TABLE batch_contacts"],
        ["table batch_contacts is missing: map its name with PostgresSchema(contacts=...)"],
    ),
    "no table of ours": (
        ["DROP TABLE batch_cancellations"],
        [("table batch_cancellations is missing: run the SQL that `batch-cancel schema` prints")],
    ),
}

BREAKS = {
    "no job id": (
        ["ALTER TABLE batch_jobs RENAME id TO uid"],
        ["column id is missing from batch_jobs: map its name with PostgresSchema(job_id=...)"],
    ),
    "no job status": (
        ["ALTER TABLE batch_jobs DROP status"],
        [
            (
                "column status is missing from batch_jobs: map its name with "
                "PostgresSchema(job_status=...)"
            )
        ],
    ),
    "no organization": (
        ["ALTER TABLE batch_jobs DROP organization_id"],
        [
            (
                "column organization_id is missing from batch_jobs: map its name with "
                "PostgresSchema(job_organization_id=...), or None if there is none"
            )
        ],
    ),
    "no deferred id": (
        ["ALTER TABLE batch_jobs DROP scheduled_job_id"],
        [
            (
                "column scheduled_job_id is missing from batch_jobs: map its name with "
                "PostgresSchema(job_deferred_id=...), or None if there is none"
            )
        ],
    ),
    "no times": (
        ["ALTER TABLE batch_jobs DROP updated_at", "ALTER TABLE batch_contacts DROP updated_at"],
        [
            (
                "column updated_at is missing from batch_jobs: map its name with "
                "PostgresSchema(job_updated_at=...), or None if there is none"
            ),
            (
                "column updated_at is missing from batch_contacts: map its name with "
                "PostgresSchema(contact_updated_at=...), or None if there is none"
            ),
        ],
    ),
    "no contact's job": (
        ["ALTER TABLE batch_contacts DROP batch_job_id"],
        [
            (
                "column batch_job_id is missing from batch_contacts: map its name with "
                "PostgresSchema(contact_job_id=...)"
            )
        ],
    ),
    "no contact status": (
        ["ALTER TABLE batch_contacts DROP status"],
        [
            (
                "column status is missing from batch_contacts: map its name with "
                "PostgresSchema(contact_status=...)"
            )
        ],
    ),
    "a table of ours from before": (
        ["ALTER TABLE batch_cancellations DROP is_announced, DROP taken_at"],
        [
            (
                "column is_announced is missing from batch_cancellations, which another version "
                "has created: add it as `batch-cancel schema` prints it"
            ),
            (
                "column taken_at is missing from batch_cancellations, which another version has "
                "created: add it as `batch-cancel schema` prints it"
            ),
            (
                "no index finds what is pending, so each reconcile reads all of "
                "batch_cancellations: create batch_cancellations_owing as `batch-cancel schema` "
                "prints it"
            ),
        ],
    ),
    "no primary key of ours": (
        ["ALTER TABLE batch_cancellations DROP CONSTRAINT batch_cancellations_pkey"],
        [
            (
                "batch_cancellations has no primary key (organization_id, batch_job_id), which "
                "every cancel needs for its record: add it as `batch-cancel schema` prints it"
            )
        ],
    ),
    "no index of what is pending": (
        ["DROP INDEX batch_cancellations_owing"],
        [
            (
                "no index finds what is pending, so each reconcile reads all of "
                "batch_cancellations: create batch_cancellations_owing as `batch-cancel schema` "
                "prints it"
            )
        ],
    ),
    "no index of the contacts": (
        ["DROP INDEX batch_contacts_open"],
        [
            (
                "no index serves the cancel, so each one reads all of batch_contacts: CREATE "
                "INDEX ON batch_contacts (batch_job_id, next_attempt_at, id) WHERE status IN "
                "('busy', 'no_answer', 'pending', 'queued', 'timeout')"
            )
        ],
    ),
    "a time that is none": (
        ["ALTER TABLE batch_contacts DROP updated_at, ADD updated_at bigint"],
        [
            (
                "Postgres refuses the statement that cancels contacts of batch_contacts: "
                'column "updated_at" is of type bigint but expression is of type timestamp with '
                "time zone"
            )
        ],
    ),
    "an index of the contacts by their status": (
        [
            "DROP INDEX batch_contacts_open",
            "CREATE INDEX ON batch_contacts (status, batch_job_id)",
        ],
        [],
    ),
    "an index of some contacts only": (
        [
            "ALTER TABLE batch_contacts ADD label text",
            "DROP INDEX batch_contacts_open",
            "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status IN ('pending', 'queued')",
            "CREATE INDEX ON batch_contacts (batch_job_id) WHERE next_attempt_at IS NULL",
            "CREATE INDEX ON batch_contacts (label, batch_job_id)",
            "CREATE INDEX ON batch_contacts (status, label, batch_job_id)",
        ],
        [
            (
                "no index serves the cancel, so each one reads all of batch_contacts: CREATE "
                "INDEX ON batch_contacts (batch_job_id, next_attempt_at, id) WHERE status IN "
                "('busy', 'no_answer', 'pending', 'queued', 'timeout')"
            )
        ],
    ),
    "no index of the jobs": (
        ["ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey CASCADE"],
        [
            (
                "'id' of batch_jobs is not known to be unique: add a unique index that is valid "
                "and covers every row, or map the columns that have one (job_key=..., or "
                "job_organization_id=... and contact_organization_id=...)"
            )
        ],
    ),
    "a job status that may not be": (
        [
            (
                "ALTER TABLE batch_jobs ADD CONSTRAINT known "
                "CHECK (status IN ('scheduled', 'pending', 'running', 'completed', '100%'))"
            )
        ],
        [
            (
                "the check constraint known of batch_jobs does not allow status to be "
                "'cancelled': let it"
            )
        ],
    ),
    "a contact status that may not be": (
        ["ALTER TABLE batch_contacts ADD CHECK (status <> 'cancelled')"],
        [
            (
                "the check constraint batch_contacts_status_check of batch_contacts does not "
                "allow status to be 'cancelled': let it"
            )
        ],
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_table_is_named(postgres_database: str, name: str) -> None:
    """In a database where no other schema has one of its name."""
    statements, sentences = MISSING[name]
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        create_reference_tables(connection)
        for statement in statements:
            connection.execute(statement.encode())
    assert checked(postgres_database) == sentences


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_missing_is_named(postgres_database: str, name: str) -> None:
    """One sentence each, and how to mend it; nothing else is complained of."""
    statements, sentences = BREAKS[name]
    # A database of its own: elsewhere the tables of another test may be found.
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        create_reference_tables(connection)
        for statement in statements:
            connection.execute(statement.encode())
    assert checked(postgres_database) == sentences


def test_every_name_of_a_schema_is_looked_at() -> None:
    """Also the two of a table in a schema of its own, and those of conditions."""
    names = names_of(PostgresSchema(jobs=("theirs", "campaigns"), job_where={"gone": None}))
    assert {"theirs", "campaigns", "gone", "batch_contacts"} <= {*names}


def test_names_of_the_adopter_s_own_are_looked_for(
    postgres_schema: str, execute: Callable[[str], object]
) -> None:
    """However they are spelled; what is mapped to None is not missed."""
    [(namespace,)] = rows(postgres_schema, "SELECT current_schema()")
    execute('CREATE TABLE "My %Jobs" ("Id""%s" int PRIMARY KEY, "State" text)')
    execute('CREATE TABLE "my.contacts" ("{job}" int, "%(status)s" text)')
    execute('CREATE INDEX ON "my.contacts" ("{job}") WHERE "%(status)s" <> \'100%\'')
    names: dict[str, Any] = {
        "jobs": (namespace, "My %Jobs"),
        "job_id": 'Id"%s',
        "job_status": "State",
        "job_organization_id": None,
        "job_deferred_id": None,
        "job_updated_at": None,
        "contacts": (namespace, "my.contacts"),
        "contact_job_id": "{job}",
        "contact_status": "%(status)s",
        "contact_updated_at": None,
        "cancellations": (namespace, "batch_cancellations"),
    }
    assert checked(postgres_schema, **names) == []

    execute('ALTER TABLE "My %Jobs" RENAME "State" TO state')

    assert checked(postgres_schema, **names) == [
        (
            f'column "State" is missing from {namespace}."My %Jobs": map its name with '
            "PostgresSchema(job_status=...)"
        )
    ]


def test_a_table_that_is_elsewhere_is_found(
    dsn: str, execute: Callable[[str], object], postgres_server: PostgresServer
) -> None:
    """The sentence says where; a schema that is not there is a table that is missing."""
    with postgres_server.schema() as other:
        [(namespace,)] = rows(other, "SELECT current_schema()")
        execute("ALTER TABLE batch_cancellations RENAME TO batch_cancellations_old")
        execute("ALTER TABLE batch_contacts RENAME TO contacts_elsewhere")
        execute(f"ALTER TABLE contacts_elsewhere SET SCHEMA {namespace}")
        assert checked(dsn, contacts="contacts_elsewhere", cancellations=("nowhere", "ours")) == [
            (
                "table contacts_elsewhere is missing in the search_path, but there is one in "
                f"{namespace}: map it with PostgresSchema(contacts=(schema, table)), or set the "
                "search_path"
            ),
            "table nowhere.ours is missing: run the SQL that `batch-cancel schema` prints",
        ]
        names = {"contacts": (namespace, "contacts_elsewhere")}
        execute("ALTER TABLE batch_cancellations_old RENAME TO batch_cancellations")
        assert checked(dsn, **names) == []
