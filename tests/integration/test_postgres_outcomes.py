"""Triggers, rules, views and policies that undo, skip or change what a cancel writes."""

from __future__ import annotations

import psycopg
import pytest

from batch_cancel import (
    BatchCancelError,
    CancelFailed,
    ContactStatus,
    append_contacts,
    cancel_rows,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
)
from batch_cancel.domain.errors import Fault
from batch_cancel.testing.breakpoints import Hooked
from tests.integration.undoing_triggers import (
    ADD_CONTACT,
    CAPITAL_CONTACT,
    CAPITALS,
    FAIL_CONTACTS,
    FORGET,
    KEEP,
    RESTORE_CONTACT,
    RESTORE_JOB,
    SOON,
    STEPS,
    SWALLOW,
    TABLES,
    Caller,
    Database,
    carried_out,
    database,
)
from tests.servers import PostgresServer

__all__ = ["carried_out", "database"]

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
