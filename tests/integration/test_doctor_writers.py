"""Who else writes to the tables is named beforehand: triggers and rules."""

from __future__ import annotations

import pytest

from batch_cancel.adapters.postgres import PostgresSchema, guards_ddl
from tests.diagnoses import diagnosed, with_reference_tables

FUNCTION = (
    "CREATE FUNCTION do_it() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN NEW.status := OLD.status; RETURN NEW; END $$"
)
LETS_JOBS = "check that it lets a job become cancelled"
LETS_CONTACTS = "check that it lets contacts become cancelled, and opens none of a cancelled job"

WRITERS = {
    "before a row of jobs": (
        (
            "CREATE TRIGGER machine BEFORE INSERT OR UPDATE ON batch_jobs FOR EACH ROW "
            "EXECUTE FUNCTION do_it()"
        ),
        (
            "the trigger machine of batch_jobs (BEFORE INSERT OR UPDATE) may change or skip "
            f"each row that is written: {LETS_JOBS}"
        ),
    ),
    "before a statement": (
        'CREATE TRIGGER "The first" BEFORE UPDATE ON batch_contacts EXECUTE FUNCTION do_it()',
        (
            'the trigger "The first" of batch_contacts (BEFORE UPDATE) may write other rows or '
            f"refuse the change: {LETS_CONTACTS}"
        ),
    ),
    "after a row": (
        (
            "CREATE TRIGGER requeue AFTER UPDATE OF status ON batch_jobs FOR EACH ROW "
            "EXECUTE FUNCTION do_it()"
        ),
        (
            "the trigger requeue of batch_jobs (AFTER UPDATE) may write the rows again or refuse "
            f"the change: {LETS_JOBS}"
        ),
    ),
    "at the commit": (
        (
            "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON batch_contacts DEFERRABLE INITIALLY "
            "DEFERRED FOR EACH ROW EXECUTE FUNCTION do_it()"
        ),
        (
            "the trigger late of batch_contacts (AFTER UPDATE) may write the rows again or "
            f"refuse the change: {LETS_CONTACTS}"
        ),
    ),
    "on our table": (
        (
            "CREATE TRIGGER keep BEFORE INSERT ON batch_cancellations FOR EACH ROW "
            "EXECUTE FUNCTION do_it()"
        ),
        (
            "the trigger keep of batch_cancellations (BEFORE INSERT) may change or skip each "
            "row that is written: check that it leaves records as they are written"
        ),
    ),
    "a rule besides": (
        "CREATE RULE audit AS ON UPDATE TO batch_contacts DO ALSO NOTIFY contacts",
        (
            "the rule audit of batch_contacts (ON UPDATE DO ALSO) may write more rows: "
            f"{LETS_CONTACTS}"
        ),
    ),
    "a rule instead": (
        "CREATE RULE skip AS ON UPDATE TO batch_jobs WHERE OLD.id = 'x' DO INSTEAD NOTHING",
        (
            "the rule skip of batch_jobs (ON UPDATE DO INSTEAD) may write other values than "
            f"given, or none: {LETS_JOBS}"
        ),
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_who_else_writes_is_worth_a_look(postgres_schema: str, name: str) -> None:
    """The trigger or the rule, its table, when it runs, and what it may do."""
    statement, sentence = WRITERS[name]
    dsn = with_reference_tables(postgres_schema, FUNCTION, statement)
    assert diagnosed(dsn).notes == (sentence,)


def test_triggers_that_do_not_matter_are_not_named(postgres_schema: str) -> None:
    """Foreign keys, our own guards, those of other events, those that are switched off."""
    names = PostgresSchema()
    dsn = with_reference_tables(
        postgres_schema,
        FUNCTION,
        guards_ddl(names),
        "CREATE TRIGGER gone AFTER DELETE ON batch_jobs FOR EACH ROW EXECUTE FUNCTION do_it()",
        "CREATE TRIGGER off BEFORE UPDATE ON batch_jobs FOR EACH ROW EXECUTE FUNCTION do_it()",
        "ALTER TABLE batch_jobs DISABLE TRIGGER off",
        "CREATE TRIGGER replicas BEFORE UPDATE ON batch_jobs EXECUTE FUNCTION do_it()",
        "ALTER TABLE batch_jobs ENABLE REPLICA TRIGGER replicas",
    )
    assert diagnosed(dsn).notes == ()


def test_writers_below_a_view_and_in_a_partition_are_named(postgres_schema: str) -> None:
    """Each once: a partition's copy of its parent's trigger is the same one."""
    dsn = with_reference_tables(
        postgres_schema,
        FUNCTION,
        "DROP TABLE batch_contacts",
        "CREATE TABLE calls (id bigint, batch_job_id text, status text, next_attempt_at "
        "timestamptz, updated_at timestamptz, PRIMARY KEY (batch_job_id, id)) "
        "PARTITION BY HASH (batch_job_id)",
        "CREATE TABLE calls_0 PARTITION OF calls FOR VALUES WITH (modulus 1, remainder 0)",
        "CREATE INDEX ON calls (batch_job_id)",
        "CREATE TRIGGER of_all BEFORE UPDATE ON calls FOR EACH ROW EXECUTE FUNCTION do_it()",
        "CREATE TRIGGER of_one BEFORE UPDATE ON calls_0 FOR EACH ROW EXECUTE FUNCTION do_it()",
        "CREATE VIEW batch_contacts AS SELECT * FROM calls",
        "CREATE TRIGGER instead INSTEAD OF UPDATE ON batch_contacts FOR EACH ROW "
        "EXECUTE FUNCTION do_it()",
    )
    notes = diagnosed(dsn, keys_are_unique=True).notes
    assert sorted(note.split(" may ")[0] for note in notes) == [
        "the trigger instead of batch_contacts (INSTEAD OF UPDATE)",
        "the trigger of_all of calls (BEFORE UPDATE)",
        "the trigger of_one of calls_0 (BEFORE UPDATE)",
    ]


IMPOSSIBLE = {
    "no contact is written": (
        "CREATE RULE r AS ON UPDATE TO batch_contacts DO INSTEAD NOTHING",
        (
            "Postgres refuses the statement that cancels contacts of batch_contacts: cannot "
            "perform UPDATE RETURNING on relation"
        ),
    ),
    "no job is written": (
        "CREATE RULE r AS ON UPDATE TO batch_jobs DO INSTEAD NOTHING",
        (
            "Postgres refuses the statement that marks a job of batch_jobs as cancelled: a rule "
            "removes it"
        ),
    ),
    "two statements of one": (
        (
            "CREATE RULE r AS ON UPDATE TO batch_jobs DO ALSO "
            "UPDATE batch_contacts SET status = 'pending'"
        ),
        (
            "Postgres refuses the statement that marks a job of batch_jobs as cancelled: WITH "
            "cannot be used in a query that is rewritten by rules into multiple queries"
        ),
    ),
    "no record is written": (
        "CREATE RULE r AS ON INSERT TO batch_cancellations DO ALSO NOTIFY cancelled",
        (
            "Postgres refuses the statement that marks a job of batch_jobs as cancelled: INSERT "
            "with ON CONFLICT clause cannot be used with table that has INSERT or UPDATE rules"
        ),
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_rules_that_leave_no_statement_are_missing(postgres_schema: str, name: str) -> None:
    """No plan, or two, are a finding, and no error."""
    statement, sentence = IMPOSSIBLE[name]
    dsn = with_reference_tables(postgres_schema, statement)
    found = diagnosed(dsn)
    assert any(it.startswith(sentence) for it in found.missing), found.missing
    assert any("the rule r of" in it for it in found.notes)
