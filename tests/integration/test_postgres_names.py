"""The adopter's own names for tables and columns, and the DDL that we print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from batch_cancel import ContactStatus, JobNotFound, Removal
from batch_cancel.adapters.postgres import PostgresSchema
from batch_cancel.adapters.postgres.queries import queries_for
from tests.integration.own_tables import AFTERWARDS, EVERY_CONTACT, HALVES, Half, Recorder, tables
from tests.pairs import create_reference_tables
from tests.servers import PostgresServer

ODD = PostgresSchema(
    jobs='My "jobs" at 100%',
    job_id="Id %s",
    job_organization_id="{organization_id}",
    job_status='status"; DROP TABLE x; --',
    job_deferred_id="deferred %(batch_job_id)s",
    job_updated_at="updated %% {} at",
    contacts="contacts' {jobs}",
    contact_job_id="SELECT",
    contact_status="Stat\u00fcs \N{PILE OF POO}",
    contact_updated_at="%",
    cancellations="our {cancellations} at 50%d",
)
PAIRS = PostgresSchema(
    jobs=("My schema", "Jobs"),
    contacts=("{}%s", 'con"tacts'),
    cancellations=("audit.log", "a.b"),
)
SHOUTED = PostgresSchema(
    jobs="JOBS",
    job_id="ID",
    job_organization_id="ORG",
    job_status="STATUS",
    job_deferred_id="DEFERRED",
    job_updated_at="UPDATED",
    contacts="CONTACTS",
    contact_job_id="JOB",
    contact_status="STATUS",
    contact_updated_at="UPDATED",
    cancellations="CANCELLATIONS",
)


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield a database of the test's own: these tests make schemas."""
    with postgres_server.database() as dsn:
        yield dsn


@HALVES
@pytest.mark.parametrize("schema", [ODD, PAIRS, SHOUTED], ids=["odd", "pairs", "shouted"])
def test_any_name_is_safe(dsn: str, half: Half, schema: PostgresSchema) -> None:
    """Quotes, percents, braces, spaces, capitals: a name is quoted, and never read as SQL."""
    with tables(dsn, schema) as made:
        made.add_job("job", "scheduled", EVERY_CONTACT, "acme", "start")
        made.add_job("other", "scheduled", EVERY_CONTACT, "acme", "other start")
        uow, recorder = half.uow(dsn, schema), Recorder()
        with pytest.raises(JobNotFound):
            half.cancel(uow, "job", recorder)
        result = half.cancel(uow, "job", recorder, organization_id="acme", operation_id="op-1")
        assert (result.contacts_cancelled, result.removal) == (5, Removal.REMOVED)
        assert recorder.asked == ["start"]
        assert made.status("job") == "cancelled"
        assert made.contacts("job") == dict(sorted(AFTERWARDS.items()))
        assert made.status("other") == "scheduled"
        assert made.contacts("other") == dict(sorted(EVERY_CONTACT.items()))
        assert made.records() == [("acme", "job", "op-1")]
        again = half.cancel(uow, "job", recorder, organization_id="acme", operation_id="op-1")
        assert (again.replayed, again.removal) == (True, Removal.REMOVED)


@HALVES
def test_two_schemas_in_one_process_do_not_meet(dsn: str, half: Half) -> None:
    """Each unit of work keeps to its own names."""
    with tables(dsn, PostgresSchema(jobs=("one", "j"), contacts="c1", cancellations="x1")) as one:
        one.add_job("job", "running")
        with closing(psycopg.connect(dsn, autocommit=True)) as connection:
            connection.execute("DROP TYPE job_state, contact_state, text_domain CASCADE")
        two_schema = PostgresSchema(jobs=("two", "j"), contacts="c2", cancellations="x2")
        with tables(dsn, two_schema) as two:
            two.add_job("job", "running")
            half.cancel(half.uow(dsn, two.schema), "job")
            assert (one.status("job"), two.status("job")) == ("running", "cancelled")
            half.cancel(half.uow(dsn, one.schema), "job")
            assert one.status("job") == "cancelled"


@pytest.mark.parametrize(
    ("field", "name", "told"),
    [
        ("jobs", "", "jobs must be a table name or a pair"),
        ("jobs", "a\0b", "jobs must be a table name or a pair"),
        ("jobs", 42, "jobs must be a table name or a pair"),
        ("jobs", None, "jobs must be a table name or a pair"),
        ("contacts", ("one",), "contacts must be a table name or a pair"),
        ("contacts", ("one", "two", "three"), "contacts must be a table name or a pair"),
        ("contacts", ("one", ""), "contacts must be a table name or a pair"),
        ("contacts", ["one", "two"], "contacts must be a table name or a pair"),
        ("cancellations", "public.log", r"in a schema write \('public', 'log'\)"),
        ("job_id", "", "job_id must be a column name"),
        ("job_id", None, "job_id must be a column name"),
        ("job_status", "a\0b", "job_status must be a column name"),
        ("contact_status", ("a", "b"), "contact_status must be a column name"),
        ("job_organization_id", "", "job_organization_id must be a column name"),
        ("job_updated_at", 7, "job_updated_at must be a column name"),
    ],
)
def test_a_name_that_postgres_cannot_have_is_refused(field: str, name: Any, told: str) -> None:
    """At once, and by the name of the argument."""
    names: dict[str, Any] = {field: name}
    with pytest.raises(ValueError, match=told):
        PostgresSchema(**names)


def test_our_ddl_can_be_run_twice(dsn: str) -> None:
    """The second time changes nothing, whatever the tables hold by then."""
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')")
        before = catalogue(connection)
        create_reference_tables(connection)
        assert catalogue(connection) == before
        assert connection.execute("SELECT id FROM batch_jobs").fetchall() == [("job",)]


def catalogue(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Return every table, index and constraint there is."""
    return connection.execute(
        "SELECT oid, relname, relkind::text FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace "
        "UNION ALL SELECT oid, conname, contype::text FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace ORDER BY 1"
    ).fetchall()


@HALVES
def test_the_reference_tables_are_what_the_defaults_expect(dsn: str, half: Half) -> None:
    """`PostgresSchema()` and the printed example fit each other."""
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "VALUES ('job', 'acme', 'scheduled', 'start');"
            "INSERT INTO batch_contacts (batch_job_id) VALUES ('job'), ('job')"
        )
        recorder = Recorder()
        result = half.cancel(half.uow(dsn), "job", recorder, organization_id="acme")
        assert (result.contacts_cancelled, recorder.asked) == (2, ["start"])


def test_cancelling_contacts_uses_the_partial_index(dsn: str) -> None:
    """Of 200,000 contacts only the open ones of this job are read."""
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status) "
            "SELECT 'job-' || n, 'running' FROM generate_series(0, 19) n;"
            "ALTER TABLE batch_contacts DISABLE TRIGGER ALL;"
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT 'job-' || n % 20, "
            "CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'completed' END "
            "FROM generate_series(1, 200000) n;"
            "ALTER TABLE batch_contacts ENABLE TRIGGER ALL;"
            "ANALYZE batch_contacts"
        )
        five = frozenset(
            {
                ContactStatus.PENDING,
                ContactStatus.QUEUED,
                ContactStatus.NO_ANSWER,
                ContactStatus.BUSY,
                ContactStatus.TIMEOUT,
            }
        )
        statement = queries_for(PostgresSchema()).cancel_contacts(five)
        explained = sql.SQL("EXPLAIN {}").format(statement)
        plan = "\n".join(
            line for (line,) in connection.execute(explained, {"its_key": "job-7"}, prepare=False)
        )
        assert "batch_contacts_open" in plan
        assert "Seq Scan" not in plan
