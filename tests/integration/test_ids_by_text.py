"""
Ids that have several texts, by psycopg and SQLAlchemy: the steps say of each what a cancel says.

Jobs have a uuid or a number, and contacts refer to it by a text, or the tables are of one type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import attrs
import psycopg
import pytest
import sqlalchemy as sa

from batch_cancel import (
    ContactStatus,
    JobFilter,
    JobNotFound,
    append_contacts,
    cancel_job,
    cancel_jobs,
    claim_contacts,
    expire_calls,
    finish_job,
    job_progress,
    preview_job,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, table_ddl
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
)
from tests.integration.own_tables import OTHER_UUID, UUID, with_options
from tests.servers import PostgresServer

TIME = sa.DateTime(timezone=True)
TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "uuid": sa.Uuid(),
    "bigint": sa.BigInteger(),
    "text": sa.Text(),
}
SCHEMA = PostgresSchema(contact_organization_id="organization_id")


@attrs.frozen
class Tables:
    """A job of an organization of the same id, with a pending contact and a live call."""

    dsn: str
    one: str
    kind: str
    refers: str

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, and return the rows of the last."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute("; ".join(statements).encode())
            return cursor.fetchall() if cursor.description else []

    def make(self) -> None:
        """Make them."""
        its = f"'{self.one}', '{self.one}'"
        self.execute(
            f"CREATE TABLE batch_jobs (id {self.kind} PRIMARY KEY, organization_id {self.kind}, "
            "status text, scheduled_job_id text, updated_at timestamptz)",
            "CREATE TABLE batch_contacts (id bigint PRIMARY KEY, "
            f"batch_job_id {self.refers}, organization_id {self.refers}, status text, "
            "next_attempt_at timestamptz, updated_at timestamptz)",
            table_ddl(SCHEMA),
            f"INSERT INTO batch_jobs VALUES ({its}, 'running')",
            f"INSERT INTO batch_contacts VALUES (1, {its}, 'pending', NULL, 'yesterday'), "
            f"(2, {its}, 'dialing', NULL, 'yesterday')",
        )

    def statuses(self) -> list[str]:
        """Return the statuses of the contacts."""
        return [row[0] for row in self.execute("SELECT status FROM batch_contacts ORDER BY id")]

    def psycopg(self) -> PostgresUnitOfWork:
        """Return a unit of work over psycopg."""
        return PostgresUnitOfWork(lambda: psycopg.connect(self.dsn), SCHEMA)

    def sqlalchemy(self) -> SqlAlchemyUnitOfWork:
        """Return a unit of work over SQLAlchemy."""
        metadata, kind, refers = sa.MetaData(), TYPES[self.kind], TYPES[self.refers]
        jobs = sa.Table(
            "batch_jobs",
            metadata,
            sa.Column("id", kind, primary_key=True),
            sa.Column("organization_id", kind),
            sa.Column("status", sa.Text),
            sa.Column("scheduled_job_id", sa.Text),
            sa.Column("updated_at", TIME),
        )
        contacts = sa.Table(
            "batch_contacts",
            metadata,
            sa.Column("id", sa.BigInteger, primary_key=True),
            sa.Column("batch_job_id", refers),
            sa.Column("organization_id", refers),
            sa.Column("status", sa.Text),
            sa.Column("next_attempt_at", TIME),
            sa.Column("updated_at", TIME),
        )
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(self.dsn),
            poolclass=sa.NullPool,
        )
        tables = SqlAlchemyTables(
            jobs=jobs,
            contacts=contacts,
            cancellations=cancellations_table(metadata),
            contact_organization_id="organization_id",
        )
        return SqlAlchemyUnitOfWork(engine, tables)


KINDS = {
    "uuid by text": ("uuid", "text", UUID, UUID.upper()),
    "uuid": ("uuid", "uuid", UUID, UUID.upper()),
    "number by text": ("bigint", "text", "42", "42"),
}


@pytest.fixture(params=KINDS)
def tables(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Tables]:
    """Yield tables of a kind."""
    kind, refers, one, _ = KINDS[request.param]
    with postgres_server.schema() as dsn:
        made = Tables(dsn, one, kind, refers)
        made.make()
        yield made


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> str:
    """Return the id as callers write it: a uuid in upper case is the same uuid."""
    return KINDS[request.node.callspec.params["tables"]][3]


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("adapter", [Tables.psycopg, Tables.sqlalchemy])
def test_every_step_finds_the_job_and_its_contacts(
    tables: Tables, asked: str, adapter: Callable[[Tables], Any], *, is_known: bool
) -> None:
    """Whichever is the first of its process; a job with open contacts is not over."""
    its: dict[str, Any] = {"uow": adapter(tables), "organization_id": asked}
    if is_known:
        assert still_running(tables.one, uow=its["uow"], organization_id=tables.one)
    assert not finish_job(asked, **its)
    assert not start_job(asked, **its)
    assert still_running(asked, **its)
    assert preview_job(asked, **its).contacts_to_cancel == 1
    assert job_progress(asked, **its).contacts_live == 1
    claimed = claim_contacts(asked, limit=9, **its)
    assert (list(claimed), claimed.is_over) == (["1"], False)
    assert settle_contact(asked, "1", ContactStatus.BUSY, **its) == "busy"
    assert expire_calls(asked, timedelta(hours=1), **its) == 1
    assert append_contacts(asked, [{"id": 3}], **its) == 1
    assert cancel_job(asked, scheduler=MemoryScheduler(), **its).contacts_cancelled == 3
    assert tables.statuses() == ["cancelled", "cancelled", "cancelled"]


@pytest.mark.parametrize("adapter", [Tables.psycopg, Tables.sqlalchemy])
def test_the_first_step_of_a_process_finds_contacts_by_the_id_as_it_is_shown(
    tables: Tables, asked: str, adapter: Callable[[Tables], Any]
) -> None:
    """Its statement is sent before the types of the columns are known."""
    its: dict[str, Any] = {"uow": adapter(tables), "organization_id": asked}
    claimed = claim_contacts(asked, limit=9, **its)
    assert (list(claimed), claimed.is_over) == (["1"], False)
    for contact in ("1", "2"):
        assert settle_contact(asked, contact, ContactStatus.COMPLETED, **its) == "completed"
    assert finish_job(asked, **its)


HOSTILE = {"uuid": "{" + UUID + "}", "bigint": "042"}


@pytest.mark.parametrize("adapter", [Tables.psycopg, Tables.sqlalchemy])
def test_another_text_of_an_organization_owns_nothing(
    tables: Tables, adapter: Callable[[Tables], Any]
) -> None:
    """A filter finds what a cancel of one job finds."""
    other = HOSTILE[tables.kind]
    its: dict[str, Any] = {"uow": adapter(tables), "scheduler": MemoryScheduler()}
    with pytest.raises(JobNotFound):
        cancel_job(tables.one, organization_id=other, **its)
    assert cancel_jobs(JobFilter(organization_id=other), **its).jobs == 0
    claimed = claim_contacts(other, uow=its["uow"], limit=9, returning=["status"])
    assert list(claimed) == []
    assert tables.statuses() == ["pending", "dialing"]
    assert cancel_jobs(JobFilter(organization_id=tables.one), **its).cancelled == 1


ARCHIVE = """
CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM batch_jobs WHERE id = NEW.batch_job_id; RETURN NULL;
END $$;
CREATE TRIGGER archive AFTER UPDATE ON batch_contacts FOR EACH ROW EXECUTE FUNCTION archive();
"""


def test_the_last_call_is_settled_where_a_trigger_then_takes_the_job_away(
    postgres_server: PostgresServer,
) -> None:
    """The outcome is written before the job is gone."""
    with postgres_server.schema() as dsn:
        made = Tables(dsn, "j", "text", "text")
        made.make()
        made.execute(ARCHIVE)
        settled = settle_contact(
            "j", "2", ContactStatus.COMPLETED, organization_id="j", uow=made.psycopg()
        )
        assert settled == "completed"
        assert made.statuses() == ["pending", "completed"]
        assert made.execute("SELECT FROM batch_jobs") == []


def test_ids_of_fixed_length_are_found_as_they_are_read(postgres_server: PostgresServer) -> None:
    """A driver reads them with their blanks, which the column ignores."""
    with postgres_server.schema() as dsn, closing(psycopg.connect(dsn, autocommit=True)) as it:
        it.execute(
            "CREATE TABLE batch_jobs (id text PRIMARY KEY, organization_id text, status text, "
            "scheduled_job_id text, updated_at timestamptz);"
            "CREATE TABLE batch_contacts (id char(9) PRIMARY KEY, batch_job_id text, status text, "
            "next_attempt_at timestamptz, updated_at timestamptz);"
            "INSERT INTO batch_jobs VALUES ('j', NULL, 'running');"
            "INSERT INTO batch_contacts VALUES ('c', 'j', 'pending')"
        )
        it.execute(table_ddl(PostgresSchema()).encode())
        uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
        [row] = claim_contacts("j", uow=uow, limit=1, returning=["id"]).rows
        assert row["id"] == "c        "
        assert settle_contact("j", str(row["id"]), ContactStatus.FAILED, uow=uow) == "failed"


@pytest.mark.parametrize("body", ["NEW.updated_at = now(); RETURN NEW", "RETURN NULL"])
@pytest.mark.parametrize("asked", [UUID, UUID.upper()])
def test_steps_that_are_looked_at_again_find_the_same_contacts(
    postgres_server: PostgresServer, asked: str, body: str
) -> None:
    """Where contacts have triggers, what was written is read again."""
    with postgres_server.schema() as dsn:
        made = Tables(dsn, UUID, "uuid", "text")
        made.make()
        when = "AFTER" if body.endswith("NULL") else "BEFORE"
        made.execute(
            f"CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$",
            f"CREATE TRIGGER touch {when} UPDATE ON batch_contacts FOR EACH ROW "
            "EXECUTE FUNCTION touch()",
        )
        its: dict[str, Any] = {"uow": made.psycopg(), "organization_id": asked}
        assert list(claim_contacts(asked, limit=9, **its)) == ["1"]
        assert settle_contact(asked, "1", ContactStatus.BUSY, **its) == "busy"
        assert settle_contact(asked, "1", ContactStatus.BUSY, **its) is None
        if when == "AFTER":
            assert expire_calls(asked, timedelta(hours=1), **its) == 1
        assert append_contacts(asked, [{"id": 3}], **its) == 1
        assert list(claim_contacts(asked, limit=9, returning=["id"], **its)) != []


@pytest.mark.parametrize("one", ["JOB-1", UUID.upper()])
def test_what_is_known_of_another_tenants_tables_decides_nothing(
    postgres_server: PostgresServer, one: str
) -> None:
    """One pool, and a schema for each tenant: there jobs have a uuid, here any text."""
    with postgres_server.schema() as there, postgres_server.schema() as here:
        tenants = [Tables(there, UUID, "uuid", "text"), Tables(here, one, "text", "text")]
        for it in tenants:
            it.make()
        # Of connections that are opened alike it is remembered for a minute that they differ.
        dsn = with_options(postgres_server.dsn(), f"application_name={one}")
        names = [it.execute("SELECT current_schema()")[0][0] for it in tenants]

        def connect(schema: str) -> psycopg.Connection[Any]:
            connection = psycopg.connect(dsn, autocommit=True)
            connection.execute(f"SET search_path TO {schema}".encode())
            return connection

        ours, theirs = (
            PostgresUnitOfWork(lambda it=it: connect(it), SCHEMA)  # type: ignore[misc]
            for it in reversed(names)
        )
        assert list(claim_contacts(UUID, limit=9, uow=theirs, organization_id=UUID)) == ["1"]
        assert still_running(UUID, uow=theirs, organization_id=UUID)
        its: dict[str, Any] = {"uow": ours, "organization_id": one}
        assert still_running(one, **its)
        claimed = claim_contacts(one, limit=9, **its)
        assert (list(claimed), claimed.is_over) == (["1"], False)
        assert not claim_contacts(one, limit=9, **its).is_over
        assert settle_contact(one, "1", ContactStatus.COMPLETED, **its) == "completed"
        found = cancel_jobs(JobFilter(organization_id=one), uow=ours, scheduler=MemoryScheduler())
        assert found.cancelled == 1


def test_ids_whose_type_was_altered_are_found_at_once(postgres_server: PostgresServer) -> None:
    """What was known before is read again before an id counts as none."""
    with postgres_server.schema() as dsn:
        made = Tables(dsn, "42", "bigint", "bigint")
        made.make()
        uow = made.psycopg()
        assert list(claim_contacts("42", limit=9, uow=uow, organization_id="42")) == ["1"]
        made.execute(
            *(
                f"ALTER TABLE {table} ALTER {column} TYPE text USING 'job-' || {column}"
                for table, column in (
                    ("batch_jobs", "id"),
                    ("batch_jobs", "organization_id"),
                    ("batch_contacts", "batch_job_id"),
                    ("batch_contacts", "organization_id"),
                )
            )
        )
        its: dict[str, Any] = {"uow": uow, "organization_id": "job-42"}
        assert still_running("job-42", **its)
        assert settle_contact("job-42", "1", ContactStatus.BUSY, **its) == "busy"
        assert list(claim_contacts("job-42", limit=9, **its)) == ["1"]


def test_another_uuid_is_another_job(tables: Tables) -> None:
    """Nothing of this one is changed."""
    other = OTHER_UUID if tables.kind == "uuid" else "43"
    with pytest.raises(JobNotFound):
        cancel_job(
            other,
            organization_id=tables.one,
            uow=tables.psycopg(),
            scheduler=MemoryScheduler(),
        )
    assert tables.statuses() == ["pending", "dialing"]
