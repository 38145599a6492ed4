"""
What only Postgres can tell of a database: its plans, its constraints, and what its rows hold.

Rows are looked at to a bound; what can't be looked at is no finding.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from batch_cancel import ContactStatus, JobStatus
from tests.diagnoses import diagnosed, execute, with_reference_tables

if TYPE_CHECKING:
    from collections.abc import Generator

# Statuses that nobody mapped ---------------------------------------------------------------------

JOBS = "INSERT INTO batch_jobs (id, organization_id, status) SELECT 'j' || i, 'o', %s FROM %s AS i"
CONTACTS = "INSERT INTO batch_contacts (batch_job_id, status) SELECT 'j1', %s FROM %s"


def test_statuses_that_nobody_mapped_are_counted(postgres_schema: str) -> None:
    """Five are named at most, the most frequent first; NULL is one of them."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_contacts ALTER status DROP NOT NULL",
        JOBS % ("'PAUSED'", "generate_series(1, 1)"),
        CONTACTS % ("'pending'", "generate_series(1, 90)"),
        CONTACTS % ("NULL", "generate_series(1, 3)"),
        CONTACTS % ("'O''Hara'", "generate_series(1, 2)"),
    )
    assert diagnosed(dsn).notes == (
        (
            "1 of the 1 jobs looked at has a status that is none of job_statuses: 'PAUSED' (1): "
            "it is left alone; map further spellings if it should count"
        ),
        (
            "5 of the 95 contacts looked at have a status that is none of contact_statuses: NULL "
            '(3), "O\'Hara" (2): they are left alone; map further spellings if they should count'
        ),
    )
    execute(dsn, CONTACTS % ("chr(64 + (i - 1) / 2 + 1)", "generate_series(1, 12) AS i"))
    [_, note] = diagnosed(dsn).notes
    assert "17 of the 107 contacts" in note
    assert "NULL (3), 'A' (2), 'B' (2), 'C' (2), 'D' (2), and others: they are" in note


def test_statuses_that_are_mapped_are_not_counted(postgres_schema: str) -> None:
    """Every spelling of a status counts; the contract's words don't, where there are others."""
    dsn = with_reference_tables(
        postgres_schema,
        JOBS % ("'PAUSED'", "generate_series(1, 2)"),
        "UPDATE batch_jobs SET status = 'running' WHERE id = 'j2'",
    )
    statuses: dict[JobStatus, Any] = {status: status.upper() for status in JobStatus}
    statuses[JobStatus.RUNNING] = ("RUNNING", "PAUSED")
    [note] = diagnosed(dsn, job_statuses=statuses).notes
    assert note.startswith("1 of the 2 jobs looked at has a status that is none of job_statuses")
    assert "'running' (1)" in note


def test_statuses_that_are_numbers_are_counted(postgres_schema: str) -> None:
    """As they are written."""
    dsn = with_reference_tables(
        postgres_schema,
        "DROP INDEX batch_contacts_open, batch_contacts_dialing",
        "ALTER TABLE batch_contacts ALTER status DROP DEFAULT, ALTER status TYPE smallint USING 0",
        "CREATE INDEX ON batch_contacts (batch_job_id)",
        JOBS % ("'running'", "generate_series(1, 1)"),
        "INSERT INTO batch_contacts (batch_job_id, status) VALUES ('j1', 3), ('j1', 99)",
    )
    numbers = {status: number for number, status in enumerate(ContactStatus)}
    found = diagnosed(dsn, contact_statuses=numbers)
    assert found.problems == []
    [note] = found.notes
    assert "1 of the 2 contacts looked at has a status" in note
    assert "'99' (1)" in note


def test_rows_that_do_not_count_are_not_counted(postgres_schema: str) -> None:
    """They may hold whatever they like."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_contacts ADD deleted boolean",
        JOBS % ("'running'", "generate_series(1, 1)"),
        "INSERT INTO batch_contacts (batch_job_id, status, deleted) "
        "VALUES ('j1', 'lost', true), ('j1', 'lost', NULL), ('j1', 'pending', false)",
    )
    assert diagnosed(dsn, contact_where={"deleted": False}).notes == ()
    [note] = diagnosed(dsn).notes
    assert note.startswith("2 of the 3 contacts")


def test_no_more_than_ten_thousand_rows_are_looked_at(postgres_schema: str) -> None:
    """Not even where most of them do not count."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_contacts ADD deleted_at timestamptz",
        JOBS % ("'running'", "generate_series(1, 1)"),
        CONTACTS % ("'lost'", "generate_series(1, 10500)"),
    )
    [note] = diagnosed(dsn).notes
    assert note.startswith("10,000 of the 10,000 contacts looked at have a status")
    execute(
        dsn,
        "TRUNCATE batch_contacts",
        "INSERT INTO batch_contacts (batch_job_id, status, deleted_at) "
        "SELECT 'j1', 'lost', now() FROM generate_series(1, 10000)",
        CONTACTS % ("'lost'", "generate_series(1, 5)"),
    )
    assert diagnosed(dsn, contact_where={"deleted_at": None}).notes == ()


@pytest.fixture
def tenant(postgres_schema: str) -> Generator[str]:
    """Lend a user who may read nothing of the reference tables yet."""
    dsn = with_reference_tables(postgres_schema)
    with psycopg.connect(dsn) as connection:
        [(namespace,)] = connection.execute("SELECT current_schema()").fetchall()
    name = f"user_{namespace}"
    execute(dsn, f"CREATE ROLE {name} LOGIN", f"GRANT USAGE ON SCHEMA {namespace} TO {name}")
    yield make_conninfo(dsn, user=name)
    execute(dsn, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_what_may_not_be_read_is_no_finding(postgres_schema: str, tenant: str) -> None:
    """The privilege that is missing is one, and a policy that raises is none."""
    name = psycopg.conninfo.conninfo_to_dict(tenant)["user"]
    execute(
        postgres_schema,
        JOBS % ("'lost'", "generate_series(1, 1)"),
        CONTACTS % ("'lost'", "generate_series(1, 1)"),
    )
    found = diagnosed(tenant)
    assert found.notes == ()
    assert "GRANT SELECT ON batch_jobs to it" in " ".join(found.missing)
    execute(
        postgres_schema,
        *(
            f"GRANT SELECT, INSERT, UPDATE ON {table} TO {name}"
            for table in ("batch_jobs", "batch_contacts", "batch_cancellations")
        ),
    )
    assert len(diagnosed(tenant).notes) == 2
    execute(
        postgres_schema,
        "CREATE FUNCTION refuse() RETURNS boolean LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'no tenant is set'; END $$",
        "ALTER TABLE batch_jobs ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON batch_jobs USING (refuse())",
    )
    [security, note] = diagnosed(tenant).notes
    assert security.startswith("row-level security of batch_jobs applies")
    assert note.startswith("1 of the 1 contacts")


def test_a_look_that_takes_too_long_is_given_up(postgres_schema: str) -> None:
    """A view may read a whole archive for its first row; the timeouts are as before after it."""
    dsn = with_reference_tables(
        postgres_schema,
        JOBS % ("'running'", "generate_series(1, 1)"),
        "ALTER TABLE batch_contacts RENAME TO calls",
        "CREATE VIEW batch_contacts AS SELECT * FROM calls WHERE pg_sleep(20) IS NOT NULL",
        "INSERT INTO calls (batch_job_id, status) VALUES ('j1', 'lost')",
    )
    found = diagnosed(dsn, keys_are_unique=True)
    assert (found.missing, found.notes) == ((), ())


# Contacts of another organization than their job -------------------------------------------------

ORGANIZATIONS = (
    "ALTER TABLE batch_contacts ADD organization_id text",
    JOBS % ("'running'", "generate_series(1, 2)"),
    (
        "INSERT INTO batch_contacts (batch_job_id, organization_id) VALUES "
        "('j1', 'o'), ('j1', 'O'), ('j2', NULL)"
    ),
)


def test_contacts_of_another_organization_than_their_job_are_counted(
    postgres_schema: str,
) -> None:
    """Nobody's cancel finds them. NULL is an organization like any other."""
    dsn = with_reference_tables(postgres_schema, *ORGANIZATIONS)
    assert diagnosed(dsn).notes == ()
    names = {"contact_organization_id": "organization_id"}
    assert diagnosed(dsn, **names).notes == (
        (
            "2 of the 3 contacts looked at have another organization_id than their job, so no "
            "cancel finds them: correct their organization_id"
        ),
    )
    execute(
        dsn,
        "UPDATE batch_contacts SET organization_id = 'o' WHERE batch_job_id = 'j1'",
        "UPDATE batch_jobs SET organization_id = NULL WHERE id = 'j2'",
    )
    assert diagnosed(dsn, **names).notes == ()


def test_organizations_of_two_kinds_are_compared_as_text(postgres_schema: str) -> None:
    """As the library sends them."""
    dsn = with_reference_tables(
        postgres_schema,
        *ORGANIZATIONS[:2],
        "UPDATE batch_jobs SET organization_id = '00000000-0000-0000-0000-00000000000a'",
        "ALTER TABLE batch_contacts ALTER organization_id TYPE uuid USING NULL",
        "INSERT INTO batch_contacts (batch_job_id, organization_id) VALUES "
        "('j1', '00000000-0000-0000-0000-00000000000a'), "
        "('j2', '00000000-0000-0000-0000-00000000000b')",
    )
    [note] = diagnosed(dsn, contact_organization_id="organization_id").notes
    assert note.startswith("1 of the 2 contacts looked at has another organization_id than its")


def test_jobs_of_equal_ids_are_not_compared(postgres_schema: str) -> None:
    """There, a contact of another organization is that of another job."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey CASCADE",
        "ALTER TABLE batch_jobs ALTER organization_id SET NOT NULL",
        "ALTER TABLE batch_jobs ADD PRIMARY KEY (organization_id, id)",
        *ORGANIZATIONS,
    )
    assert diagnosed(dsn, contact_organization_id="organization_id").notes == ()


# Columns and indexes -----------------------------------------------------------------------------

NEW = {
    "job_key": "missing",
    "job_version": "missing",
    "contact_organization_id": "missing",
    "contact_version": "missing",
    "contact_dialing_since": "workers",
}


@pytest.mark.parametrize("argument", NEW)
def test_a_column_that_is_mapped_must_be_there(postgres_schema: str, argument: str) -> None:
    """Said once, to whom it concerns."""
    dsn = with_reference_tables(postgres_schema)
    table = "batch_jobs" if argument.startswith("job") else "batch_contacts"
    found = diagnosed(dsn, **{argument: "no_such"})
    sentence = (
        f"column no_such is missing from {table}: map its name with "
        f"PostgresSchema({argument}=...), or None if there is none"
    )
    assert found.missing == ((sentence,) if NEW[argument] == "missing" else ())
    assert found.workers == ((sentence,) if NEW[argument] == "workers" else ())


def test_a_condition_on_a_column_that_is_not_there_is_named(postgres_schema: str) -> None:
    """It is the condition that must be corrected."""
    dsn = with_reference_tables(postgres_schema)
    assert diagnosed(dsn, contact_where={"deleted": None}).missing == (
        "column deleted is missing from batch_contacts: correct PostgresSchema(contact_where=...)",
    )


def test_privileges_on_new_columns_are_named(postgres_schema: str, tenant: str) -> None:
    """Those that a cancel needs, and those that only the workers' steps need."""
    name = psycopg.conninfo.conninfo_to_dict(tenant)["user"]
    execute(
        postgres_schema,
        "ALTER TABLE batch_jobs ADD number text UNIQUE, ADD version bigint",
        "ALTER TABLE batch_contacts ADD organization_id text, ADD version bigint, "
        "ADD since timestamptz",
        f"GRANT SELECT (id, organization_id, status, scheduled_job_id, updated_at) ON batch_jobs "
        f"TO {name}",
        f"GRANT UPDATE (status, updated_at) ON batch_jobs TO {name}",
        f"GRANT SELECT (id, batch_job_id, status, next_attempt_at) ON batch_contacts TO {name}",
        f"GRANT UPDATE (status, updated_at, next_attempt_at) ON batch_contacts TO {name}",
        f"GRANT INSERT (batch_job_id, status) ON batch_contacts TO {name}",
        f"GRANT SELECT, INSERT, UPDATE ON batch_cancellations TO {name}",
    )
    found = diagnosed(
        tenant,
        job_key="number",
        job_version="version",
        contact_organization_id="organization_id",
        contact_version="version",
        contact_dialing_since="since",
    )

    def lacking(sentences: tuple[str, ...]) -> list[str]:
        pattern = r"the user that connects may not (.*): GRANT"
        return [match[1] for it in sentences if (match := re.match(pattern, it))]

    assert lacking(found.missing) == [
        "SELECT number, version of batch_jobs",
        "UPDATE version of batch_jobs",
        "SELECT organization_id, version of batch_contacts",
        "UPDATE version of batch_contacts",
    ]
    assert lacking(found.workers) == [
        "SELECT since of batch_contacts",
        "INSERT organization_id, version of batch_contacts",
        "UPDATE since of batch_contacts",
    ]


SURROGATE = (
    "ALTER TABLE batch_jobs DROP CONSTRAINT batch_jobs_pkey CASCADE",
    "ALTER TABLE batch_jobs ADD number text PRIMARY KEY",
)


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("(id)", True),
        ("(organization_id, id)", True),
        ("(id, organization_id)", True),
        ("(kind, organization_id, id)", True),
        ("(organization_id, id) WHERE kind = 'calls'", True),
        ("(status, id)", False),
        ("(organization_id, status, id)", False),
        ('(id COLLATE "POSIX")', False),
        ('(organization_id, id COLLATE "POSIX")', False),
        ("(id) WHERE kind = 'mails'", False),
        ("(id) WHERE length(organization_id) > 0", False),
    ],
)
def test_a_job_is_found_by_its_id_within_its_organization(
    postgres_schema: str, index: str, *, serves: bool
) -> None:
    """The key that contacts refer to is no help with it."""
    dsn = with_reference_tables(
        postgres_schema,
        *SURROGATE,
        "ALTER TABLE batch_jobs ADD kind text",
        f"CREATE INDEX ON batch_jobs {index}",
    )
    found = diagnosed(dsn, job_key="number", job_where={"kind": "calls"})
    assert found.missing == ()
    assert found.slow == (
        ()
        if serves
        else (
            (
                "no index finds a job, so each cancel reads all of batch_jobs: CREATE INDEX ON "
                "batch_jobs (id)"
            ),
        )
    )
    assert ("an index finds a job by its id" in found.fits) is serves


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("(batch_job_id)", True),
        ("(organization_id, batch_job_id)", True),
        ("(batch_job_id, organization_id)", True),
        ("(status, organization_id, batch_job_id)", True),
        ("(organization_id, batch_job_id) WHERE status <> 'completed'", True),
        ("(next_attempt_at, batch_job_id)", False),
        ("(organization_id, next_attempt_at, batch_job_id)", False),
    ],
)
def test_open_contacts_are_found_by_their_job_and_its_organization(
    postgres_schema: str, index: str, *, serves: bool
) -> None:
    """In either order."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_contacts ADD organization_id text",
        "DROP INDEX batch_contacts_open",
        f"CREATE INDEX ON batch_contacts {index}",
    )
    found = diagnosed(dsn, contact_organization_id="organization_id")
    assert found.missing == ()
    assert (found.slow == ()) is serves


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("(name)", True),
        ("(batch_job_id, name)", True),
        ("(name, batch_job_id)", True),
        ("(organization_id, batch_job_id, name)", True),
        ('(name COLLATE "POSIX")', False),
        ('(batch_job_id COLLATE "POSIX", name COLLATE "POSIX")', False),
    ],
)
def test_a_contact_is_found_by_its_id_within_its_job(
    postgres_schema: str, index: str, *, serves: bool
) -> None:
    """A unique index that comparisons can't use makes the id unique, and finds nothing."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_contacts ADD organization_id text, ADD name text",
        f"CREATE UNIQUE INDEX ON batch_contacts {index}",
    )
    names: dict[str, Any] = {"contact_organization_id": "organization_id", "contact_id": "name"}
    assert diagnosed(dsn, **names).workers == (
        ()
        if serves
        else (
            (
                "no index finds a contact, so each claim_contacts reads all of batch_contacts: "
                "CREATE INDEX ON batch_contacts (name)"
            ),
        )
    )


NUMBERS = {status: number for number, status in enumerate(ContactStatus)}

SUGGESTED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "text": ((), {}),
    "a surrogate key": (SURROGATE, {"job_key": "number"}),
    "numbers": (
        (
            (
                "ALTER TABLE batch_contacts ALTER status DROP DEFAULT, "
                "ALTER status TYPE smallint USING 0"
            ),
        ),
        {"contact_statuses": NUMBERS},
    ),
    "several spellings": (
        (),
        {"contact_statuses": {it: (it.upper(), f"50% {it}'s") for it in ContactStatus}},
    ),
    "characters": (("ALTER TABLE batch_contacts ALTER status TYPE char(14)",), {}),
    "varchar": (("ALTER TABLE batch_contacts ALTER status TYPE varchar(20)",), {}),
    "a domain": (
        (
            "CREATE DOMAIN state AS text CHECK (VALUE <> '')",
            "ALTER TABLE batch_contacts ALTER status TYPE state",
        ),
        {},
    ),
    "an enum": (
        (
            f"CREATE TYPE state AS ENUM ({', '.join(repr(it.value) for it in ContactStatus)})",
            (
                "ALTER TABLE batch_contacts ALTER status DROP DEFAULT, "
                "ALTER status TYPE state USING status::state"
            ),
        ),
        {},
    ),
    "partitions and capitals": (
        (
            "DROP TABLE batch_contacts",
            (
                'CREATE TABLE batch_contacts ("Id" uuid, "order" text, "Status" text, '
                "next_attempt_at timestamptz, updated_at timestamptz, "
                'PRIMARY KEY ("Id", "order")) PARTITION BY HASH ("order")'
            ),
            (
                "CREATE TABLE one PARTITION OF batch_contacts "
                "FOR VALUES WITH (modulus 1, remainder 0)"
            ),
        ),
        {"contact_id": "Id", "contact_job_id": "order", "contact_status": "Status"},
    ),
    "organizations": (
        (
            "ALTER TABLE batch_contacts ADD organization_id text, ADD deleted_at timestamptz",
            "ALTER TABLE batch_jobs ADD deleted_at timestamptz",
        ),
        {
            "contact_organization_id": "organization_id",
            "contact_where": {"deleted_at": None},
            "job_where": {"deleted_at": None},
        },
    ),
}


@pytest.mark.parametrize("name", SUGGESTED)
def test_an_index_that_is_suggested_serves(postgres_schema: str, name: str) -> None:
    """Typed as the sentence prints it, it is the end of the sentence."""
    statements, names = SUGGESTED[name]
    dsn = with_reference_tables(
        postgres_schema, "DROP INDEX batch_contacts_open, batch_contacts_dialing", *statements
    )
    before = diagnosed(dsn, **names)
    assert before.missing == ()
    sentences = [*before.slow, *before.workers]
    suggested = [it[it.index("CREATE INDEX") :] for it in sentences]
    assert len(suggested) == (3 if name == "a surrogate key" else 2), sentences
    execute(dsn, *suggested)
    after = diagnosed(dsn, **names)
    assert (after.missing, after.slow, after.workers) == ((), (), ())


# Constraints -------------------------------------------------------------------------------------


def test_a_domain_that_does_not_allow_cancelled_is_named(postgres_schema: str) -> None:
    """Its own constraint is one of each column that is of it."""
    words = "'scheduled', 'pending', 'running', 'completed', 'failed'"
    dsn = with_reference_tables(
        postgres_schema,
        f"CREATE DOMAIN state AS text CONSTRAINT known CHECK (VALUE IN ({words}))",
        "ALTER TABLE batch_jobs ALTER status TYPE state",
    )
    assert diagnosed(dsn).missing == (
        (
            "the check constraint known of the domain state does not allow status of batch_jobs "
            "to be 'cancelled': let it"
        ),
    )
    execute(
        dsn,
        "ALTER DOMAIN state DROP CONSTRAINT known",
        f"ALTER DOMAIN state ADD CHECK (VALUE IN ({words}, 'cancelled'))",
    )
    assert diagnosed(dsn).missing == ()


def test_only_the_status_that_is_written_must_be_allowed(postgres_schema: str) -> None:
    """Of several spellings it is the first; an enum must have all that are read."""
    spelled: dict[JobStatus, Any] = {it: it.value for it in JobStatus}
    spelled[JobStatus.CANCELLED] = ("cancelled", "canceled")
    dsn = with_reference_tables(
        postgres_schema, "ALTER TABLE batch_jobs ADD CONSTRAINT c CHECK (status <> 'canceled')"
    )
    assert diagnosed(dsn, job_statuses=spelled).missing == ()
    spelled[JobStatus.CANCELLED] = ("canceled", "cancelled")
    assert diagnosed(dsn, job_statuses=spelled).missing == (
        ("the check constraint c of batch_jobs does not allow status to be 'canceled': let it"),
    )
    labels = ", ".join(repr(it.value) for it in JobStatus)
    execute(
        dsn,
        "ALTER TABLE batch_jobs DROP CONSTRAINT c",
        f"CREATE TYPE state AS ENUM ({labels})",
        "ALTER TABLE batch_jobs ALTER status TYPE state USING status::state",
    )
    assert diagnosed(dsn, job_statuses=spelled).missing == (
        (
            "column status of batch_jobs is an enum without 'canceled': ALTER TYPE state ADD "
            "VALUE 'canceled'"
        ),
    )


def test_what_workers_write_must_be_allowed_to_them(postgres_schema: str) -> None:
    """A cancel does not need it."""
    dsn = with_reference_tables(
        postgres_schema, "ALTER TABLE batch_contacts ADD CONSTRAINT c CHECK (status <> 'dialing')"
    )
    found = diagnosed(dsn)
    assert found.missing == ()
    assert found.workers == (
        "the check constraint c of batch_contacts does not allow status to be 'dialing': let it",
    )


def test_statuses_of_fixed_length_are_whole(postgres_schema: str) -> None:
    """The catalog's word for them without their length is that of one character."""
    dsn = with_reference_tables(
        postgres_schema,
        "ALTER TABLE batch_jobs ALTER status TYPE char(12)",
        "ALTER TABLE batch_jobs ADD CHECK (status IN ('scheduled', 'running', 'completed', "
        "'pending', 'failed', 'cancelled'))",
        JOBS % ("'running'", "generate_series(1, 1)"),
    )
    found = diagnosed(dsn)
    assert (found.missing, found.workers, found.notes) == ((), (), ())
