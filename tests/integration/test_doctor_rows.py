"""
What rows hold that nobody mapped, or nobody can cancel.

Rows are looked at to a bound; what can't be looked at is no finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from batch_cancel import ContactStatus, JobStatus
from tests.diagnoses import a_stranger_to, diagnosed, execute, with_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            "it is left alone; map further names if it should count"
        ),
        (
            "5 of the 95 contacts looked at have a status that is none of contact_statuses: NULL "
            '(3), "O\'Hara" (2): they are left alone; map further names if they should count'
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
def tenant(postgres_schema: str) -> Iterator[str]:
    """Yield a user who may read nothing of the reference tables yet."""
    with a_stranger_to(with_reference_tables(postgres_schema)) as dsn:
        yield dsn


def test_what_may_not_be_read_is_no_finding(postgres_schema: str, tenant: str) -> None:
    """The privilege that is missing is one, and a policy that raises is none."""
    name = conninfo_to_dict(tenant)["user"]
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
