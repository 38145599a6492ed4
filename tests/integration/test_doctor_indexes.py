"""Whether columns, privileges, indexes and constraints are as statements need them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from batch_cancel import ContactStatus, JobStatus
from tests.diagnoses import a_stranger_to, diagnosed, execute, with_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def tenant(postgres_schema: str) -> Iterator[str]:
    """Yield a user who may read nothing of the reference tables yet."""
    with a_stranger_to(with_reference_tables(postgres_schema)) as dsn:
        yield dsn


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
    name = conninfo_to_dict(tenant)["user"]
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
    names: dict[str, Any] = {
        "contact_organization_id": "organization_id",
        "contact_id": "name",
        "contact_next_attempt_at": None,
    }
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
    status_names: dict[JobStatus, Any] = {it: it.value for it in JobStatus}
    status_names[JobStatus.CANCELLED] = ("cancelled", "canceled")
    dsn = with_reference_tables(
        postgres_schema, "ALTER TABLE batch_jobs ADD CONSTRAINT c CHECK (status <> 'canceled')"
    )
    assert diagnosed(dsn, job_statuses=status_names).missing == ()
    status_names[JobStatus.CANCELLED] = ("canceled", "cancelled")
    assert diagnosed(dsn, job_statuses=status_names).missing == (
        ("the check constraint c of batch_jobs does not allow status to be 'canceled': let it"),
    )
    labels = ", ".join(repr(it.value) for it in JobStatus)
    execute(
        dsn,
        "ALTER TABLE batch_jobs DROP CONSTRAINT c",
        f"CREATE TYPE state AS ENUM ({labels})",
        "ALTER TABLE batch_jobs ALTER status TYPE state USING status::state",
    )
    assert diagnosed(dsn, job_statuses=status_names).missing == (
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
        "INSERT INTO batch_jobs (id, status) VALUES ('j1', 'running')",
    )
    found = diagnosed(dsn)
    assert (found.missing, found.workers, found.notes) == ((), (), ())
