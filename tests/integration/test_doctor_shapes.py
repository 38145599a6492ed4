"""
What a cancel refuses is named beforehand; so is whoever else writes to the tables.

Each shape is made on the real server, and the cancel itself is asked where it can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import cancel_job
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, guards_ddl
from batch_cancel.domain.errors import CancelFailed
from tests.diagnoses import diagnosed, execute, with_reference_tables

if TYPE_CHECKING:
    from tests.servers import PostgresServer

BY_ORGANIZATION = (
    "ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey CASCADE",
    "ALTER TABLE batch_jobs ALTER organization_id SET NOT NULL",
    "ALTER TABLE batch_jobs ADD PRIMARY KEY (organization_id, id)",
    "ALTER TABLE batch_contacts ADD organization_id text",
)
OF_AN_ORGANIZATION: dict[str, Any] = {"contact_organization_id": "organization_id"}


def refusal(dsn: str, **names: Any) -> str:
    """Return why a cancel of a job of an organization is refused."""
    execute(
        dsn, "INSERT INTO batch_jobs (id, organization_id, status) VALUES ('j', 'o', 'running')"
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn), PostgresSchema(**names))
    with pytest.raises(CancelFailed) as caught:
        cancel_job("j", organization_id="o", uow=uow, scheduler=MemoryScheduler())
    return str(caught.value)


def test_jobs_of_two_organizations_with_one_id_are_missing_a_column(postgres_schema: str) -> None:
    """In the very words in which a cancel refuses; mapped, nothing is missing."""
    dsn = with_reference_tables(postgres_schema, *BY_ORGANIZATION)
    [sentence] = diagnosed(dsn).missing
    assert sentence in refusal(dsn)
    assert "map their column with contact_organization_id=..." in sentence
    found = diagnosed(dsn, **OF_AN_ORGANIZATION)
    assert (found.missing, found.slow, found.workers) == ((), (), ())
    assert "an index finds a job by its id" in found.fits


def test_jobs_that_may_be_several_without_an_organization_are_worth_a_look(
    postgres_schema: str,
) -> None:
    """Only those are refused, and there may be none."""
    dsn = with_reference_tables(
        postgres_schema,
        *BY_ORGANIZATION[:1],
        "CREATE UNIQUE INDEX by_organization ON batch_jobs (organization_id, id)",
        *BY_ORGANIZATION[3:],
    )
    found = diagnosed(dsn, **OF_AN_ORGANIZATION)
    assert found.problems == []
    [note] = found.notes
    assert note.startswith(
        "a job without organization_id, if there is one, can't be cancelled: batch_jobs may have "
        "several jobs of one 'id' without 'organization_id'"
    )
    execute(
        dsn,
        "DROP INDEX by_organization",
        "CREATE UNIQUE INDEX ON batch_jobs (organization_id, id) NULLS NOT DISTINCT",
    )
    assert diagnosed(dsn, **OF_AN_ORGANIZATION).notes == ()


def test_a_key_that_nothing_makes_unique_is_missing_and_not_slow(postgres_schema: str) -> None:
    """An index that is not unique is no answer to it."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey CASCADE",
        "CREATE INDEX ON batch_jobs (id)",
        "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_pkey",
    )
    found = diagnosed(dsn)
    [sentence] = found.missing
    assert sentence in refusal(dsn)
    assert found.slow == ()
    assert "batch_jobs has all that a cancel needs" not in found.fits
    [sentence] = found.workers
    assert sentence.startswith("nothing says that 'id' names one contact of a job")
    execute(
        dsn,
        "CREATE UNIQUE INDEX ON batch_jobs (id)",
        "CREATE UNIQUE INDEX ON batch_contacts (batch_job_id, id)",
    )
    found = diagnosed(dsn)
    assert (found.missing, found.slow, found.workers) == ((), (), ())


def test_a_view_needs_the_adopter_s_word(postgres_schema: str) -> None:
    """For jobs it is missing, for contacts only the workers miss it."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_jobs RENAME TO jobs",
        "ALTER TABLE batch_contacts RENAME TO contacts",
        "CREATE VIEW batch_jobs AS SELECT * FROM jobs",
        "CREATE VIEW batch_contacts AS SELECT * FROM contacts",
    )
    found = diagnosed(dsn)
    assert found.missing == (
        (
            "batch_jobs is a view, of which nobody can see that 'id' is unique: map the table "
            "behind it, or vouch for it with keys_are_unique=True"
        ),
    )
    assert found.workers == (
        (
            "batch_contacts is a view, of which nobody can see that 'id' is unique: map the table "
            "behind it, or vouch for it with keys_are_unique=True"
        ),
    )
    found = diagnosed(dsn, keys_are_unique=True)
    assert (found.missing, found.workers) == ((), ())


@pytest.mark.parametrize("through_a_view", [False, True])
def test_foreign_tables_are_missing_their_database(
    postgres_database: str, *, through_a_view: bool
) -> None:
    """Nothing else is said of them."""
    there = conninfo_to_dict(postgres_database)
    options = ", ".join(f"{name} '{there[name]}'" for name in ("host", "port", "dbname"))
    dsn = with_reference_tables(
        postgres_database,
        "ALTER TABLE batch_contacts RENAME TO real_contacts",
        "CREATE EXTENSION postgres_fdw",
        f"CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options})",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS (user '{there['user']}')",
        "CREATE FOREIGN TABLE far_contacts (id bigint, batch_job_id text, status text, "
        "next_attempt_at timestamptz, updated_at timestamptz) SERVER here "
        "OPTIONS (table_name 'real_contacts')",
        "CREATE VIEW batch_contacts AS SELECT * FROM far_contacts"
        if through_a_view
        else "ALTER TABLE far_contacts RENAME TO batch_contacts",
    )
    found = diagnosed(dsn)
    [sentence] = found.missing
    assert sentence.startswith("batch_contacts is a foreign table, or reads from one")
    assert not any("has all that" in it for it in found.fits)
    assert found.workers == ()
    assert sentence in refusal(dsn)


def test_a_database_without_an_encoding_is_named(postgres_server: PostgresServer) -> None:
    """In the words of a cancel, whatever encoding the client has."""
    with postgres_server.database() as template:
        name = f"ascii_{conninfo_to_dict(template)['dbname']}"
        execute(
            template,
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' "
            "TEMPLATE template0",
        )
        try:
            dsn = with_reference_tables(make_conninfo(template, dbname=name))
            [sentence] = diagnosed(dsn).missing
            assert sentence.startswith("the database is SQL_ASCII")
            assert sentence in refusal(dsn)
            dsn = make_conninfo(dsn, client_encoding="UTF8")
            assert diagnosed(dsn).missing == (sentence,)
            dsn = make_conninfo(template, client_encoding="SQL_ASCII")
            assert diagnosed(dsn).missing == (
                "the connection's client_encoding is SQL_ASCII: set it to UTF8",
            )
        finally:
            execute(template, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_temporary_table_that_hides_yours_is_named(postgres_schema: str) -> None:
    """Where the search_path puts it first; ours leaves such a choice alone."""
    dsn = with_reference_tables(postgres_schema)
    [(namespace,)] = _rows(dsn, "SELECT current_schema()")
    hiding = (
        f"SET search_path TO pg_temp, {namespace}",
        "CREATE TEMPORARY TABLE batch_contacts (LIKE batch_contacts INCLUDING ALL)",
    )
    [sentence] = diagnosed(dsn, *hiding).missing
    assert sentence.startswith("a temporary table batch_contacts of this session hides yours")
    assert diagnosed(dsn, hiding[1]).missing == ()


def _rows(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.mark.parametrize("by", ["LIST (status)", "LIST (lower(status))", "RANGE (id, status)"])
def test_contacts_partitioned_by_their_status_are_named(postgres_schema: str, by: str) -> None:
    """A claim moves rows between them, so a cancel beside busy workers does not get through."""
    dsn = with_reference_tables(
        postgres_schema,
        "DROP TABLE batch_contacts",
        "CREATE TABLE batch_contacts (id bigint, batch_job_id text, status text, "
        f"next_attempt_at timestamptz, updated_at timestamptz) PARTITION BY {by}",
        "CREATE TABLE the_rest PARTITION OF batch_contacts DEFAULT",
        "CREATE INDEX ON batch_contacts (batch_job_id)",
    )
    found = diagnosed(dsn)
    assert found.missing == (
        (
            "batch_contacts is partitioned by status, so each claim moves rows to another "
            "partition, and a cancel beside busy workers keeps failing: partition it by "
            "another column"
        ),
    )
    assert "batch_contacts has all that a cancel needs" not in found.fits


def test_contacts_partitioned_by_something_else_are_fit(postgres_schema: str) -> None:
    """Also where the status is only in their index."""
    dsn = with_reference_tables(
        postgres_schema,
        "DROP TABLE batch_contacts",
        "CREATE TABLE batch_contacts (id bigint, batch_job_id text, status text, "
        "next_attempt_at timestamptz, updated_at timestamptz, PRIMARY KEY (batch_job_id, id)) "
        "PARTITION BY HASH (batch_job_id)",
        "CREATE TABLE one PARTITION OF batch_contacts FOR VALUES WITH (modulus 1, remainder 0)",
        "CREATE INDEX ON batch_contacts (batch_job_id, status)",
    )
    found = diagnosed(dsn)
    assert (found.missing, found.slow, found.workers) == ((), (), ())


FUNCTION = (
    "CREATE FUNCTION do_it() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN NEW.status := OLD.status; RETURN NEW; END $$"
)
LETS_JOBS = "see that it lets a job become cancelled"
LETS_CONTACTS = "see that it lets contacts become cancelled, and opens none of a cancelled job"

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
            "the trigger requeue of batch_jobs (AFTER UPDATE) may write the rows once more or "
            f"refuse the change: {LETS_JOBS}"
        ),
    ),
    "at the commit": (
        (
            "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON batch_contacts DEFERRABLE INITIALLY "
            "DEFERRED FOR EACH ROW EXECUTE FUNCTION do_it()"
        ),
        (
            "the trigger late of batch_contacts (AFTER UPDATE) may write the rows once more or "
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
            "row that is written: see that it leaves records as they are written"
        ),
    ),
    "a rule besides": (
        "CREATE RULE audit AS ON INSERT TO batch_contacts DO ALSO NOTIFY contacts",
        (
            "the rule audit of batch_contacts (ON INSERT DO ALSO) may write more rows: "
            f"{LETS_CONTACTS}"
        ),
    ),
    "a rule instead": (
        "CREATE RULE skip AS ON UPDATE TO batch_jobs WHERE OLD.id = 'x' DO INSTEAD NOTHING",
        (
            "the rule skip of batch_jobs (ON UPDATE DO INSTEAD) may write something else than "
            f"it is given, or nothing: {LETS_JOBS}"
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
            "Postgres does not take the statement that cancels contacts of batch_contacts: cannot "
            "perform UPDATE RETURNING on relation"
        ),
    ),
    "no job is written": (
        "CREATE RULE r AS ON UPDATE TO batch_jobs DO INSTEAD NOTHING",
        (
            "Postgres does not take the statement that marks a job of batch_jobs as cancelled: "
            "a rule turns it into nothing"
        ),
    ),
    "two statements of one": (
        (
            "CREATE RULE r AS ON UPDATE TO batch_jobs DO ALSO "
            "UPDATE batch_contacts SET status = 'pending'"
        ),
        (
            "Postgres does not take the statement that marks a job of batch_jobs as cancelled: "
            "WITH cannot be used in a query that is rewritten by rules into multiple queries"
        ),
    ),
    "no record is written": (
        "CREATE RULE r AS ON INSERT TO batch_cancellations DO ALSO NOTIFY cancelled",
        (
            "Postgres does not take the statement that marks a job of batch_jobs as cancelled: "
            "INSERT with ON CONFLICT clause cannot be used with table that has INSERT or "
            "UPDATE rules"
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
