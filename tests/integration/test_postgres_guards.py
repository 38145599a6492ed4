"""
The SQL that we print for names, types and statuses that are not ours: our table and the triggers.

With the triggers a writer who asks nobody is repaired, in the adopter's own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest

from batch_cancel import cancel_job
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    guards_ddl,
    table_ddl,
)
from tests.integration.own_tables import tables
from tests.integration.test_postgres_schemas import SHOUTED_CONTACTS, SHOUTED_JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.own_tables import Tables
    from tests.servers import PostgresServer

NAMES = PostgresSchema(
    jobs="order",
    job_id="50% id",
    job_organization_id=None,
    job_status="its state %s",
    job_deferred_id=None,
    job_updated_at=None,
    job_statuses=SHOUTED_JOBS,
    contacts="Contact {}",
    contact_id="label",
    contact_job_id="user",
    contact_status="group",
    contact_updated_at=None,
    contact_next_attempt_at=None,
    contact_statuses=SHOUTED_CONTACTS,
    cancellations="Our %s",
)


@pytest.fixture(params=["text", "enum"])
def guarded(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Tables]:
    """Yield tables of such names with the triggers; they may be installed twice."""
    with postgres_server.schema() as dsn:
        types: dict[str, Any] = {}
        if request.param == "enum":
            types = {"job_status_type": "job_kind", "contact_status_type": "contact_kind"}
            with psycopg.connect(dsn, autocommit=True) as connection:
                for name, labels in (
                    ("job_kind", SHOUTED_JOBS),
                    ("contact_kind", SHOUTED_CONTACTS),
                ):
                    listed = ", ".join("'" + it.replace("'", "''") + "'" for it in labels.values())
                    connection.execute(f"CREATE TYPE {name} AS ENUM ({listed})".encode())
        with tables(dsn, NAMES, **types) as made:
            for _ in range(2):
                made.connection.execute(guards_ddl(NAMES).encode())
            yield made


def write(made: Tables, statement: str) -> None:
    """Write as somebody does who asks nobody."""
    made.connection.execute(statement.encode())


def test_a_naive_writer_is_repaired(guarded: Tables) -> None:
    """After a cancel no contact waits for a call again, and the job stays as it ended."""
    guarded.add_job("j", "LIVE 100%", {"live": "ON CALL", "new": "NEW", "done": "OK"})
    uow = PostgresUnitOfWork(lambda: psycopg.connect(guarded.dsn), NAMES)
    assert cancel_job("j", uow=uow, scheduler=MemoryScheduler()).contacts_cancelled == 1
    write(guarded, """UPDATE "Contact {}" SET "group" = 'LATE %s'""")
    write(guarded, """UPDATE "Contact {}" SET "group" = 'AGAIN'""")
    write(guarded, """UPDATE "Contact {}" SET "group" = 'ON CALL'""")
    guarded.add_job("k", "LIVE 100%", {"moved": "NEW"})
    write(guarded, """UPDATE "Contact {}" SET "user" = 'j' WHERE label = 'moved'""")
    write(
        guarded, """INSERT INTO "Contact {}" ("user", "group", label) VALUES ('j', 'NEW', 'x')"""
    )
    write(guarded, """UPDATE "order" SET "its state %s" = 'LIVE 100%' WHERE "50% id" = 'j'""")
    assert guarded.contacts("j") == {
        "live": "CANCELED",
        "new": "CANCELED",
        "done": "OK",
        "moved": "CANCELED",
        "x": "CANCELED",
    }
    assert guarded.status("j") == "CANCELED"


def test_a_job_that_goes_on_is_left_alone(guarded: Tables) -> None:
    """Contacts come, are called and wait again; one that has ended ends."""
    guarded.add_job("j", "LIVE 100%", {"a": "NEW", "b": "OK"})
    write(guarded, """UPDATE "Contact {}" SET "group" = 'ON CALL'""")
    write(guarded, """UPDATE "Contact {}" SET "group" = 'LATE %s'""")
    assert guarded.contacts("j") == {"a": "LATE %s", "b": "LATE %s"}
    write(guarded, """UPDATE "order" SET "its state %s" = 'it''s done'""")
    write(guarded, """UPDATE "order" SET "its state %s" = 'PLANNED'""")
    assert guarded.status("j") == "it's done"


def test_rows_that_do_not_count_are_left_alone(postgres_server: PostgresServer) -> None:
    """Until they count again: then a contact begins to wait."""
    names = attrs.evolve(NAMES, job_where={"kind": "50%"}, contact_where={"gone": None})
    with postgres_server.schema() as dsn, tables(dsn, names) as made:
        write(made, """ALTER TABLE "order" ADD kind text DEFAULT '50%'""")
        write(made, """ALTER TABLE "Contact {}" ADD gone text""")
        made.connection.execute(guards_ddl(names).encode())
        made.add_job("j", "CANCELED")
        write(
            made,
            """INSERT INTO "Contact {}" ("user", "group", label, gone) """
            "VALUES ('j', 'NEW', 'a', 'yes')",
        )
        assert made.contacts("j") == {"a": "NEW"}
        write(made, """UPDATE "Contact {}" SET gone = NULL""")
        assert made.contacts("j") == {"a": "CANCELED"}
        write(made, """UPDATE "order" SET kind = 'draft'""")
        write(made, """UPDATE "order" SET "its state %s" = 'LIVE 100%'""")
        assert made.status("j") == "LIVE 100%"


def test_functions_and_indexes_are_beside_their_tables(postgres_server: PostgresServer) -> None:
    """So that two applications in one database do not take each other's."""
    with postgres_server.schema() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        [[place]] = connection.execute("SELECT current_schema()").fetchall()
        names = PostgresSchema(
            jobs=(place, "batch_jobs"),
            contacts=(place, "batch_contacts"),
            cancellations=(place, "cancelled"),
        )
        connection.execute("CREATE TABLE batch_jobs (id text, status text)")
        connection.execute("CREATE TABLE batch_contacts (batch_job_id text, status text)")
        connection.execute("SET search_path = pg_temp")
        for _ in range(2):
            connection.execute((table_ddl(names) + guards_ddl(names)).encode())
        found = connection.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = %s::regnamespace "
            "AND relname LIKE 'cancelled%%' ORDER BY 1",
            [place],
        ).fetchall()
        its = (
            "",
            "_by_age",
            "_by_time",
            "_earlier",
            "_earlier_pkey",
            "_owing",
            "_pkey",
            "_sweeping",
        )
        assert found == [(f"cancelled{it}",) for it in its]
        connection.execute(b"INSERT INTO %s.batch_jobs VALUES ('j', 'failed')" % place.encode())
        connection.execute(b"UPDATE %s.batch_jobs SET status = 'running'" % place.encode())
        found = connection.execute(b"SELECT status FROM %s.batch_jobs" % place.encode()).fetchall()
        assert found == [("failed",)]
