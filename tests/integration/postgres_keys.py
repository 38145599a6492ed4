"""Two organizations whose jobs and contacts have equal ids, and the steps to tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    ContactStatus,
    append_contacts,
    cancel_rows,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    table_ddl,
)
from tests.servers import PostgresServer

SOON = timedelta(minutes=1)

BY_ORGANIZATION = PostgresSchema(contact_organization_id="organization_id")
SURROGATE = PostgresSchema(job_key="number")
SURROGATE_BY_ORGANIZATION = PostgresSchema(
    job_key="number", contact_organization_id="organization_id"
)

JOBS_BY_ORGANIZATION = (
    "CREATE TABLE batch_jobs (organization_id text, id text, number bigint, status text, "
    "scheduled_job_id text, updated_at timestamptz DEFAULT now(), "
    "PRIMARY KEY (organization_id, id))"
)
CONTACTS_BY_ORGANIZATION = (
    "CREATE TABLE batch_contacts (organization_id text, id bigint, batch_job_id text, "
    "status text, next_attempt_at timestamptz, updated_at timestamptz DEFAULT now(), "
    "PRIMARY KEY (organization_id, batch_job_id, id))"
)
JOBS_WITH_NUMBERS = (
    "CREATE TABLE batch_jobs (organization_id text, id text, number bigint PRIMARY KEY, "
    "status text, scheduled_job_id text, updated_at timestamptz DEFAULT now(), "
    "UNIQUE (organization_id, id))"
)
CONTACTS_WITH_NUMBERS = CONTACTS_BY_ORGANIZATION.replace(
    "batch_job_id text", "batch_job_id bigint"
)


@attrs.define
class Database:
    """Two organizations, A and B, each with a job "1", which is number 2 of A and 1 of B."""

    dsn: str
    connection: psycopg.Connection[Any]

    def make(self, *statements: str, schema: PostgresSchema, by_number: bool = False) -> None:
        """Make the tables, and fill them: contacts 1 to 6 of either job have equal ids."""
        for statement in (*statements, table_ddl(schema)):
            self.connection.execute(statement.encode())
        self.connection.execute(
            "INSERT INTO batch_jobs (organization_id, id, number, status) "
            "VALUES ('A', '1', 2, 'running'), ('B', '1', 1, 'running')"
        )
        self.connection.execute(
            "INSERT INTO batch_contacts (organization_id, id, batch_job_id, status, updated_at) "
            f"SELECT organization_id, c.id, jobs.{'number' if by_number else 'id'}, c.status, "
            "now() - interval '1 hour' FROM batch_jobs AS jobs, (VALUES (1, 'pending'), "
            "(2, 'dialing'), (3, 'dialing'), (4, 'busy'), (5, 'completed'), (6, 'paused')) "
            "AS c (id, status)"
        )

    def watch(self) -> None:
        """Add triggers that change nothing, so that what is written is looked at."""
        self.connection.execute(
            "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NULL; END $$"
        )
        for table in ("batch_jobs", "batch_contacts"):
            self.connection.execute(
                f"CREATE CONSTRAINT TRIGGER watch AFTER INSERT OR UPDATE ON {table} "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch()".encode()
            )

    def rows(self, organization_id: str) -> list[tuple[Any, ...]]:
        """Return all that belongs to an organization, its tables' rows whole."""
        return [
            row
            for table in ("batch_jobs", "batch_contacts", "batch_cancellations")
            for row in self.connection.execute(
                f"SELECT t::text FROM {table} AS t WHERE organization_id = %s ORDER BY 1".encode(),
                [organization_id],
            )
        ]

    def statuses(self, organization_id: str) -> dict[int, str]:
        """Return the status of each contact of an organization."""
        return dict(
            self.connection.execute(
                "SELECT id, status FROM batch_contacts WHERE organization_id = %s ORDER BY id",
                [organization_id],
            ).fetchall()
        )

    def contacts(self) -> dict[tuple[str, str, int], str]:
        """Return the status of every contact by its organization, its job and its id."""
        rows = self.connection.execute(
            "SELECT organization_id, batch_job_id::text, id, status FROM batch_contacts"
        )
        return {(organization, job, id_): status for organization, job, id_, status in rows}

    def job(self, organization_id: str) -> str:
        """Return the status of an organization's job."""
        [(status,)] = self.connection.execute(
            "SELECT status FROM batch_jobs WHERE organization_id = %s", [organization_id]
        ).fetchall()
        return str(status)

    def uow(self, schema: PostgresSchema) -> PostgresUnitOfWork:
        """Return a unit of work of its own connections."""
        return PostgresUnitOfWork(lambda: psycopg.connect(self.dsn), schema)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Yield a schema without tables."""
    with (
        postgres_server.schema() as dsn,
        closing(psycopg.connect(dsn, autocommit=True)) as connection,
    ):
        yield Database(dsn, connection)


MADE: dict[str, tuple[tuple[str, str], PostgresSchema]] = {
    "organization and id": ((JOBS_BY_ORGANIZATION, CONTACTS_BY_ORGANIZATION), BY_ORGANIZATION),
    # A contact's id is unique within its job there.
    "surrogate": (
        (
            JOBS_WITH_NUMBERS,
            CONTACTS_WITH_NUMBERS.replace(
                "(organization_id, batch_job_id, id)", "(batch_job_id, id)"
            ),
        ),
        SURROGATE,
    ),
    "surrogate and organization": (
        (JOBS_WITH_NUMBERS, CONTACTS_WITH_NUMBERS),
        SURROGATE_BY_ORGANIZATION,
    ),
}


Step = Callable[..., object]

ABOUT_JOBS: list[tuple[str, Step]] = [
    ("cancel", lambda **named: cancel_rows("1", **named)),
    ("claim", lambda **named: claim_contacts("1", limit=3, **named)),
    ("settle", lambda **named: settle_contact("1", "2", ContactStatus.COMPLETED, **named)),
    ("settle for a retry", lambda **named: settle_contact("1", "2", ContactStatus.BUSY, **named)),
    ("append", lambda **named: append_contacts("1", [{"id": 9}], **named)),
    ("expire", lambda **named: expire_calls("1", SOON, **named)),
    ("finish", lambda **named: finish_job("1", **named)),
]
ABOUT_CONTACTS = [it for it in ABOUT_JOBS if it[0] in {"claim", "settle", "settle for a retry"}]
