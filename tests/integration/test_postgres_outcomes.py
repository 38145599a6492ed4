"""
Triggers, rules, views and policies that undo, skip or change a write, in whatever way.

The outcome is looked at before the commit: it is as the contract says, or everything is rolled
back, with a sentence that says where to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, Protocol

import attrs
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import (
    BatchCancelError,
    CancelFailed,
    ContactStatus,
    JobNotFound,
    append_contacts,
    append_contacts_async,
    cancel_rows,
    cancel_rows_async,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    expire_calls_async,
    finish_job,
    finish_job_async,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
    joining_async,
)
from batch_cancel.domain.errors import Fault
from batch_cancel.testing.breakpoints import Hooked
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
        """Give all rows of all tables."""
        return [
            row
            for table in TABLES
            for row in self.connection.execute(
                f"SELECT t::text FROM {table} AS t ORDER BY 1".encode()
            )
        ]

    def contact(self, job: str, status: str) -> str:
        """Give the id of a job's contact in this status."""
        found = self.connection.execute(
            "SELECT id::text FROM batch_contacts WHERE batch_job_id = %s AND status = %s",
            [job, status],
        ).fetchone()
        assert found is not None
        return str(found[0])


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Lend the reference tables."""
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
    """Lend a way to carry out a step: in a transaction of ours, or in the caller's."""
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

UNDOING_A_CANCEL = {
    "a job keeps its status": (KEEP, "BEFORE", "batch_jobs"),
    "a job is not changed": (SWALLOW, "BEFORE", "batch_jobs"),
    "a job's status is capitalised": (CAPITALS, "BEFORE", "batch_jobs"),
    "a job is set back": (RESTORE_JOB, "AFTER", "batch_jobs"),
    "a job is set back in the commit": (RESTORE_JOB, "DEFERRED", "batch_jobs"),
    "a contact keeps its status": (KEEP, "BEFORE", "batch_contacts"),
    "a contact is not changed": (SWALLOW, "BEFORE", "batch_contacts"),
    "a contact's status is capitalised": (CAPITALS, "BEFORE", "batch_contacts"),
    "a contact is set back": (RESTORE_CONTACT, "AFTER", "batch_contacts"),
    "a contact is set back in the commit": (RESTORE_CONTACT, "DEFERRED", "batch_contacts"),
    "a contact is capitalised later": (CAPITAL_CONTACT, "AFTER", "batch_contacts"),
    "a contact is capitalised in the commit": (CAPITAL_CONTACT, "DEFERRED", "batch_contacts"),
    "a contact is added": (ADD_CONTACT, "AFTER", "batch_jobs"),
    "a contact is added in the commit": (ADD_CONTACT, "DEFERRED", "batch_jobs"),
    "contacts are failed with the job": (FAIL_CONTACTS, "AFTER", "batch_jobs"),
    "contacts are failed in the commit": (FAIL_CONTACTS, "DEFERRED", "batch_jobs"),
    "the record is forgotten": (FORGET, "AFTER", "batch_jobs"),
    "the record is not kept": ("RETURN NULL;", "BEFORE", "batch_cancellations"),
    "the record is of another number": (
        "NEW.contacts_cancelled := 0; RETURN NEW;",
        "BEFORE",
        "batch_cancellations",
    ),
    "the record owes nothing": (
        "NEW.removal := 'absent'; RETURN NEW;",
        "BEFORE",
        "batch_cancellations",
    ),
    "the record is of another start": (
        "NEW.deferred_id := 'theirs'; RETURN NEW;",
        "BEFORE",
        "batch_cancellations",
    ),
    "the record is of another operation": (
        "NEW.operation_id := 'theirs'; RETURN NEW;",
        "BEFORE",
        "batch_cancellations",
    ),
}


@pytest.mark.parametrize("kind", UNDOING_A_CANCEL)
@pytest.mark.parametrize("job", ["live", "later"])
def test_a_cancel_that_a_trigger_undoes_changes_nothing(
    database: Database, carried_out: Caller, kind: str, job: str
) -> None:
    """And the failure says where to look; a start is not taken back."""
    body, when, table = UNDOING_A_CANCEL[kind]
    database.trigger(body, when, table)
    before = database.dump()
    with pytest.raises(CancelFailed) as failure:
        carried_out(lambda uow: cancel_rows(job, uow=uow))
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", False)
    assert "trigger" in str(failure.value)
    assert database.dump() == before


@pytest.mark.parametrize(
    ("table", "what"),
    [
        *((table, "INSTEAD NOTHING") for table in TABLES),
        (
            "batch_jobs",
            "ALSO UPDATE batch_contacts SET status = 'queued' WHERE id = NEW.id::bigint",
        ),
    ],
)
def test_a_rule_is_refused(database: Database, carried_out: Caller, table: str, what: str) -> None:
    """A rule replaces our statement by another, which nobody sees."""
    event = "INSERT" if table == "batch_cancellations" else "UPDATE"
    database.execute(f"CREATE RULE theirs AS ON {event} TO {table} DO {what}")
    before = database.dump()
    with pytest.raises(CancelFailed) as failure:
        carried_out(lambda uow: cancel_rows("live", uow=uow))
    assert failure.value.outcome == "unchanged"
    assert database.dump() == before


def test_a_view_whose_trigger_does_nothing_is_refused(database: Database) -> None:
    """It tells of five rows, and of each as it should be."""
    database.execute(
        "CREATE VIEW their_contacts AS SELECT * FROM batch_contacts",
        "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER theirs INSTEAD OF UPDATE ON their_contacts "
        "FOR EACH ROW EXECUTE FUNCTION theirs()",
    )
    schema = PostgresSchema(contacts="their_contacts", keys_are_unique=True)
    uow = PostgresUnitOfWork(lambda: psycopg.connect(database.dsn), schema)
    before = database.dump()
    with pytest.raises(CancelFailed, match="their_contacts"):
        cancel_rows("live", uow=uow)
    with pytest.raises(BatchCancelError, match="their_contacts"):
        claim_contacts("live", uow=uow, limit=1)
    assert database.dump() == before


def test_a_view_that_hides_cancelled_jobs_is_refused(database: Database) -> None:
    """A retry of the cancel would not find its job."""
    database.execute(
        "CREATE VIEW their_jobs AS SELECT * FROM batch_jobs WHERE status <> 'cancelled'"
    )
    schema = PostgresSchema(jobs="their_jobs", keys_are_unique=True)
    before = database.dump()
    with pytest.raises(CancelFailed, match="is hidden"):
        cancel_rows("live", uow=PostgresUnitOfWork(lambda: psycopg.connect(database.dsn), schema))
    assert database.dump() == before


def test_what_is_seen_but_not_changed_is_refused(
    database: Database, postgres_server: PostgresServer
) -> None:
    """A policy that lets a row be seen, and not be updated."""
    [(name,)] = database.connection.execute("SELECT 'role_' || current_schema()").fetchall()
    database.execute(
        f"CREATE ROLE {name} LOGIN",
        f"GRANT USAGE ON SCHEMA {name.removeprefix('role_')} TO {name}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA {name.removeprefix('role_')} TO {name}",
        "ALTER TABLE batch_contacts ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY see ON batch_contacts FOR SELECT USING (true)",
        "CREATE POLICY change ON batch_contacts FOR UPDATE "
        "USING (status NOT IN ('busy', 'dialing'))",
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(database.dsn, user=name))
    before = database.dump()
    try:
        with pytest.raises(CancelFailed, match="a policy on batch_contacts"):
            cancel_rows("live", uow=uow)
        for step in ("settle", "settle for good", "expire"):
            with pytest.raises(BatchCancelError, match="a policy on batch_contacts"):
                STEPS[step](database)(uow)
        assert database.dump() == before
    finally:
        database.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_harmless_triggers_are_no_hindrance(database: Database, carried_out: Caller) -> None:
    """One that sets a time, one that writes an audit, one that looks in the commit."""
    database.execute("CREATE TABLE audit (what text)")
    database.trigger("NEW.updated_at := now(); RETURN NEW;", "BEFORE", "batch_contacts")
    database.execute(
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit VALUES (NEW.status); RETURN NULL; END $$",
        "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON batch_contacts "
        "FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON batch_jobs DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION audit()",
    )
    dialing = database.contact("live", "dialing")
    settle = lambda uow: settle_contact("live", dialing, ContactStatus.BUSY, uow=uow)  # noqa: E731
    assert carried_out(lambda uow: claim_contacts("live", uow=uow, limit=1))
    assert carried_out(settle) == "busy"
    assert carried_out(lambda uow: append_contacts("live", [{}, {}], uow=uow)) == 2
    assert carried_out(lambda uow: expire_calls("later", SOON, uow=uow)) == 1
    assert carried_out(lambda uow: start_job("later", uow=uow))
    assert carried_out(lambda uow: finish_job("done", uow=uow))
    assert carried_out(lambda uow: cancel_rows("live", uow=uow)).record.contacts_cancelled == 4


def test_late_triggers_of_the_callers_run_when_the_caller_wants(database: Database) -> None:
    """In a joined transaction only those of our tables run early, and are put off again after."""
    database.execute(
        "CREATE TABLE parents (id int PRIMARY KEY)",
        "CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TABLE heard (what text)",
        "CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO heard VALUES (NEW.status); RETURN NULL; END $$",
        'CREATE CONSTRAINT TRIGGER "Their own" AFTER UPDATE ON batch_jobs '
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hear()",
    )
    with psycopg.connect(database.dsn) as connection:
        connection.execute("INSERT INTO children VALUES (1)")
        cancel_rows("live", uow=joining(connection))
        assert connection.execute("SELECT what FROM heard").fetchall() == [("cancelled",)]
        connection.execute("UPDATE batch_jobs SET status = 'failed' WHERE id = 'done'")
        assert connection.execute("SELECT what FROM heard").fetchall() == [("cancelled",)]
        connection.execute("INSERT INTO parents VALUES (1)")


def test_a_contact_added_meanwhile_is_taken_by_another_attempt(database: Database) -> None:
    """A naive writer's, committed between the cancel's statements, is cancelled as well."""
    writes = ["INSERT INTO batch_contacts (batch_job_id, status) VALUES ('live', 'queued')"]

    def meanwhile(point: str) -> None:
        if point == "contacts" and writes:
            database.execute(writes.pop())

    uow = Hooked(PostgresUnitOfWork(lambda: psycopg.connect(database.dsn)), meanwhile)
    cancelled = cancel_rows("live", uow=uow)
    assert cancelled.record.contacts_cancelled == 3
    left = database.connection.execute(
        "SELECT count(*) FROM batch_contacts WHERE batch_job_id = 'live' AND status = 'queued'"
    ).fetchone()
    assert left == (0,)


def test_open_contacts_that_stay_are_no_conflict_in_the_end(database: Database) -> None:
    """After the attempts that a contact added meanwhile is worth, somebody has to repair it."""
    database.trigger(ADD_CONTACT, "AFTER", "batch_jobs")
    with pytest.raises(CancelFailed) as failure:
        cancel_rows("live", uow=PostgresUnitOfWork(lambda: psycopg.connect(database.dsn)))
    assert (failure.value.fault, failure.value.retryable) == (Fault.INCOMPLETE, False)


# The workers' steps ------------------------------------------------------------------------------

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

UNDOING_A_STEP = {
    "not changed": (SWALLOW, "BEFORE"),
    "kept": (KEEP, "BEFORE"),
    "capitalised": (CAPITALS, "BEFORE"),
    "set back": ("{restore}", "AFTER"),
    "set back in the commit": ("{restore}", "DEFERRED"),
}


@pytest.mark.parametrize("kind", UNDOING_A_STEP)
@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_a_trigger_undoes_changes_nothing(
    database: Database, carried_out: Caller, kind: str, name: str
) -> None:
    """No contact is given out, and no answer given, that the tables do not bear out."""
    is_of_a_job = name in {"start", "finish"}
    body, when = UNDOING_A_STEP[kind]
    restore = RESTORE_JOB if is_of_a_job else RESTORE_CONTACT
    if name == "append" and kind != "capitalised":
        body, restore = (
            "RETURN NULL;",
            "DELETE FROM batch_contacts WHERE id = NEW.id; RETURN NULL;",
        )
        body = restore if when != "BEFORE" else body
    database.trigger(
        body.format(restore=restore), when, "batch_jobs" if is_of_a_job else "batch_contacts"
    )
    before = database.dump()
    with pytest.raises(BatchCancelError, match="trigger"):
        carried_out(STEPS[name](database))
    assert database.dump() == before


ASYNC_STEPS: dict[str, Callable[[Database], Callable[[Any], Awaitable[Any]]]] = {
    "cancel": lambda _: lambda uow: cancel_rows_async("live", uow=uow),
    "start": lambda _: lambda uow: start_job_async("later", uow=uow),
    "finish": lambda _: lambda uow: finish_job_async("done", uow=uow),
    "claim": lambda _: lambda uow: claim_contacts_async("live", uow=uow, limit=5),
    "settle": lambda it: (
        lambda uow: settle_contact_async(
            "live", it.contact("live", "dialing"), ContactStatus.BUSY, uow=uow
        )
    ),
    "append": lambda _: lambda uow: append_contacts_async("live", [{}, {}], uow=uow),
    "expire": lambda _: lambda uow: expire_calls_async("live", SOON, uow=uow),
}


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("name", ASYNC_STEPS)
def test_a_step_in_asyncio_that_a_late_trigger_undoes_changes_nothing(
    database: Database, name: str, *, is_joined: bool
) -> None:
    """It runs before what was written is looked at, there as well."""
    body = RESTORE_JOB if name in {"start", "finish"} else RESTORE_CONTACT
    if name == "append":
        body = "DELETE FROM batch_contacts WHERE id = NEW.id; RETURN NULL;"
    table = "batch_jobs" if name in {"start", "finish"} else "batch_contacts"
    database.trigger(body, "DEFERRED", table)
    before = database.dump()
    step = ASYNC_STEPS[name](database)

    async def main() -> None:
        if not is_joined:
            await step(AsyncPostgresUnitOfWork(lambda: _connected(database)))
            return
        async with await _connected(database) as connection:
            await step(joining_async(connection))

    with pytest.raises(BatchCancelError, match="trigger"):
        asyncio.run(main())
    assert database.dump() == before


async def _connected(database: Database) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(database.dsn)


@pytest.mark.parametrize("name", [it for it in STEPS if it != "append"])
def test_a_step_that_a_rule_undoes_changes_nothing(
    database: Database, carried_out: Caller, name: str
) -> None:
    """Postgres says of some that it can't be; the others are looked at."""
    table = "batch_jobs" if name in {"start", "finish"} else "batch_contacts"
    step = STEPS[name](database)
    database.execute(f"CREATE RULE theirs AS ON UPDATE TO {table} DO INSTEAD NOTHING")
    before = database.dump()
    with pytest.raises(BatchCancelError, match="rule"):
        carried_out(step)
    assert database.dump() == before


@pytest.mark.parametrize("logged", ["0", "-1"], ids=["", "parameters are logged"])
@pytest.mark.parametrize("name", STEPS)
def test_a_value_that_a_trigger_refuses_is_no_unknown_id(
    database: Database, carried_out: Caller, name: str, logged: str
) -> None:
    """The job is there: an answer as if it were not would lose what a worker has to tell."""
    table = "batch_jobs" if name in {"start", "finish"} else "batch_contacts"
    step = STEPS[name](database)
    database.execute("CREATE TABLE counters (number smallint)", "INSERT INTO counters VALUES (1)")
    database.trigger(
        "EXECUTE 'UPDATE counters SET number = 40000 + $1' USING 1; RETURN NULL;", "AFTER", table
    )
    database.dsn = make_conninfo(
        database.dsn,
        options=f"{conninfo_to_dict(database.dsn)['options']} "
        f"-clog_parameter_max_length_on_error={logged}",
    )
    before = database.dump()
    with pytest.raises(BatchCancelError) as failure:
        carried_out(step)
    assert not isinstance(failure.value, JobNotFound)
    assert database.dump() == before


def test_a_contact_that_a_trigger_ends_at_once_is_added(
    database: Database, carried_out: Caller
) -> None:
    """A list of numbers that must not be called, for example: no call of it ever starts."""
    database.trigger(
        "IF TG_OP = 'INSERT' THEN NEW.status := 'blocked'; END IF; RETURN NEW;",
        "BEFORE",
        "batch_contacts",
    )
    assert carried_out(lambda uow: append_contacts("live", [{}], uow=uow)) == 1
    assert database.contact("live", "blocked")
