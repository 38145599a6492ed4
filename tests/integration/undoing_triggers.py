"""The reference tables, and triggers that undo, skip or change a write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, Protocol

import attrs
import psycopg
import pytest

from batch_cancel import (
    ContactStatus,
    append_contacts,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.postgres import (
    PostgresUnitOfWork,
    joining,
)
from tests.pairs import create_reference_tables
from tests.servers import PostgresServer

SOON = timedelta(minutes=1)
TABLES = ("batch_jobs", "batch_contacts", "batch_cancellations")


@attrs.define
class Database:
    """The reference tables: jobs in each live status, with contacts of many statuses."""

    dsn: str
    connection: psycopg.Connection[Any]

    def execute(self, *statements: str) -> None:
        """Send statements of the adopter's."""
        for statement in statements:
            self.connection.execute(statement.encode())

    def trigger(self, body: str, when: str, table: str) -> None:
        """Make a trigger that runs this in PL/pgSQL: BEFORE, AFTER, or DEFERRED to the commit."""
        timing, kind, deferred = {
            "BEFORE": ("BEFORE", "TRIGGER", ""),
            "AFTER": ("AFTER", "TRIGGER", ""),
            "DEFERRED": ("AFTER", "CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED"),
        }[when]
        self.execute(
            f"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
            f"CREATE {kind} theirs {timing} INSERT OR UPDATE ON {table} {deferred} "
            "FOR EACH ROW EXECUTE FUNCTION theirs()",
        )

    def dump(self) -> list[tuple[Any, ...]]:
        """Return all rows of all tables."""
        return [
            row
            for table in TABLES
            for row in self.connection.execute(
                f"SELECT t::text FROM {table} AS t ORDER BY 1".encode()
            )
        ]

    def contact(self, job: str, status: str) -> str:
        """Return the id of a job's contact in this status."""
        found = self.connection.execute(
            "SELECT id::text FROM batch_contacts WHERE batch_job_id = %s AND status = %s",
            [job, status],
        ).fetchone()
        assert found is not None
        return str(found[0])


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Yield the reference tables."""
    with (
        postgres_server.schema() as dsn,
        closing(psycopg.connect(dsn, autocommit=True)) as connection,
    ):
        create_reference_tables(connection)
        database = Database(dsn, connection)
        database.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES "
            "('live', 'running', NULL), ('later', 'scheduled', 'start'), "
            "('done', 'running', NULL)",
            "INSERT INTO batch_contacts (batch_job_id, status, updated_at) "
            "SELECT j, s, now() - interval '1 hour' FROM unnest(ARRAY['live', 'later']) AS j, "
            "unnest(ARRAY['pending', 'busy', 'dialing', 'completed']) AS s",
        )
        yield database


class Caller(Protocol):
    """Whose transaction a step is carried out in."""

    def __call__(self, step: Callable[..., Any]) -> Any:
        """Carry it out, and commit."""


@pytest.fixture(params=["own", "joined"])
def carried_out(request: pytest.FixtureRequest, database: Database) -> Iterator[Caller]:
    """Yield a way to carry out a step: in a transaction of ours, or in the caller's."""
    with closing(psycopg.connect(database.dsn)) as connection:

        def call(step: Callable[..., Any]) -> Any:
            if request.param == "own":
                return step(PostgresUnitOfWork(lambda: psycopg.connect(database.dsn)))
            try:
                return step(joining(connection))
            finally:
                connection.commit()

        yield call


# What their triggers do, by table. `OLD` is NULL in an INSERT.
KEEP = "IF TG_OP = 'UPDATE' THEN NEW.status := OLD.status; END IF; RETURN NEW;"
SWALLOW = "IF TG_OP = 'UPDATE' THEN RETURN NULL; END IF; RETURN NEW;"
CAPITALS = "NEW.status := initcap(NEW.status); RETURN NEW;"
# What a late one writes in the commit lets it run once more: it must come to an end by itself.
RESTORE = (
    "IF TG_OP = 'UPDATE' AND NEW.status <> OLD.status AND NEW.updated_at <> 'epoch' THEN "
    "UPDATE {} SET status = OLD.status, updated_at = 'epoch' WHERE id = NEW.id; "
    "END IF; RETURN NULL;"
)
RESTORE_JOB, RESTORE_CONTACT = RESTORE.format("batch_jobs"), RESTORE.format("batch_contacts")
CAPITAL_CONTACT = (
    "IF NEW.status <> initcap(NEW.status) THEN "
    "UPDATE batch_contacts SET status = initcap(status) WHERE id = NEW.id; END IF; RETURN NULL;"
)
ADD_CONTACT = (
    "IF NEW.status = 'cancelled' THEN INSERT INTO batch_contacts (batch_job_id, status) "
    "VALUES (NEW.id, 'pending'); END IF; RETURN NULL;"
)
FAIL_CONTACTS = (
    "UPDATE batch_contacts SET status = 'failed' WHERE batch_job_id = NEW.id "
    "AND status = 'cancelled'; RETURN NULL;"
)
FORGET = "DELETE FROM batch_cancellations; RETURN NULL;"


STEPS: dict[str, Callable[[Database], Callable[[Any], Any]]] = {
    "start": lambda _: lambda uow: start_job("later", uow=uow),
    "finish": lambda _: lambda uow: finish_job("done", uow=uow),
    "claim": lambda _: lambda uow: claim_contacts("live", uow=uow, limit=5),
    "settle": lambda it: (
        lambda uow: settle_contact(
            "live", it.contact("live", "dialing"), ContactStatus.BUSY, uow=uow
        )
    ),
    "settle for good": lambda it: (
        lambda uow: settle_contact(
            "live", it.contact("live", "dialing"), ContactStatus.COMPLETED, uow=uow
        )
    ),
    "append": lambda _: lambda uow: append_contacts("live", [{}, {}], uow=uow),
    "expire": lambda _: lambda uow: expire_calls("live", SOON, uow=uow),
}
