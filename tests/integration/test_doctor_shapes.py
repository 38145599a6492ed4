"""
What a cancel refuses, and what makes a claim slow, is named beforehand.

Each shape is made on the real server, and the cancel itself is asked where it can be.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import cancel_job
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork
from batch_cancel.adapters.postgres_catalog import read_facts
from batch_cancel.domain.errors import CancelFailed
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS
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
    assert "map their organization with contact_organization_id=..." in sentence
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
    assert sentence.startswith("'id' of batch_contacts is not known to be unique within a job")
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
            "batch_jobs is a view, and no index shows that its 'id' is unique: map the table "
            "behind it, or declare that it is unique with keys_are_unique=True"
        ),
    )
    assert found.workers == (
        (
            "batch_contacts is a view, and no index shows that its 'id' is unique: map the table "
            "behind it, or declare that it is unique with keys_are_unique=True"
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
            assert sentence.startswith("the database has the encoding SQL_ASCII")
            assert sentence in refusal(dsn)
            dsn = make_conninfo(dsn, client_encoding="UTF8")
            assert diagnosed(dsn).missing == (sentence,)
            dsn = make_conninfo(template, client_encoding="SQL_ASCII")
            assert diagnosed(dsn).missing == (
                "the connection's client_encoding is SQL_ASCII: set it to UTF8",
            )
        finally:
            execute(template, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(("extension", "name"), [("bdr", "BDR"), ("spock", "Spock")])
def test_one_of_several_primaries_is_named(
    postgres_database: str, extension: str, name: str
) -> None:
    """By what the catalog says is installed: here, it is only said."""
    dsn = with_reference_tables(postgres_database)
    with psycopg.connect(dsn) as connection:
        connection.execute("SET allow_system_table_mods = on")
        connection.execute(
            "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, "
            "extversion) SELECT 99999, %s, oid, 'public'::regnamespace, false, '1' FROM pg_roles "
            "WHERE rolname = current_user",
            [extension],
        )
    [sentence] = diagnosed(dsn).missing
    assert sentence.startswith(f"the database is one of several primaries ({name})")
    assert sentence in refusal(dsn)


@pytest.mark.parametrize("both_ways", [False, True])
def test_pglogical_is_refused_in_both_directions_alone(*, both_ways: bool) -> None:
    """A database that only sends, or only applies, is one with one primary."""
    told = {"encoding": "UTF8", "extensions": ["pglogical"], "tables": None}
    facts = read_facts(json.dumps({**told, "applies_and_sends": both_ways}))
    assert len(facts.refusals) == both_ways


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
    found = diagnosed(dsn, contact_next_attempt_at=None)
    assert (found.missing, found.slow, found.workers) == ((), (), ())


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("(batch_job_id, next_attempt_at, id)", True),
        ("(organization_id, batch_job_id, next_attempt_at, id, status)", True),
        ("(batch_job_id, next_attempt_at, id) WHERE status <> 'completed'", True),
        ("(batch_job_id)", False),
        ("(batch_job_id, next_attempt_at DESC, id)", False),
        ("USING brin (batch_job_id, next_attempt_at, id)", False),
        ("(batch_job_id, next_attempt_at)", False),
        ("(batch_job_id, id, next_attempt_at)", False),
        ("(status, batch_job_id, next_attempt_at, id)", False),
        ("(batch_job_id, next_attempt_at, id) WHERE status = 'pending'", False),
    ],
)
def test_an_index_in_the_order_of_a_claim_is_missed(
    postgres_schema: str, index: str, *, serves: bool
) -> None:
    """Without it each claim reads and sorts all that it might take; the plan says the same."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_contacts ADD organization_id text",
        "DROP INDEX batch_contacts_open",
        f"CREATE INDEX ON batch_contacts {index}",
        "CREATE INDEX ON batch_contacts (organization_id, batch_job_id)",
    )
    found = diagnosed(dsn, contact_organization_id="organization_id")
    assert (found.missing, found.slow) == ((), ())
    names = ", ".join(sorted(repr(str(it)) for it in CLAIMABLE_CONTACTS))
    assert found.workers == (
        ()
        if serves
        else (
            (
                "no index has the contacts of a job in the order of their times, so each "
                "claim_contacts reads and sorts all open ones: CREATE INDEX ON "
                f"batch_contacts (batch_job_id, next_attempt_at, id) WHERE status IN ({names})"
            ),
        )
    )
