"""`batch-cancel doctor`: what fits, what is missing, what is slow, and what only workers need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.integration.command_line import main_in, spawn
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Generator


def doctor(*arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run the command."""
    return main_in(cwd or Path(), "doctor", *arguments)


def url_of(dsn: str) -> str:
    """Return a connection string as a URL."""
    given = conninfo_to_dict(dsn)
    place = f"{given.pop('user')}@{given.pop('host')}:{given.pop('port')}/{given.pop('dbname')}"
    rest = "&".join(f"{name}={quote(str(value))}" for name, value in given.items())
    return f"postgresql://{place}?{rest}"


def made(dsn: str, *statements: str) -> None:
    """Change a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def dsn(postgres_schema: str) -> str:
    """Yield the reference tables."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
    return postgres_schema


FITS = """\
Fits:
  batch_jobs has all that a cancel needs
  batch_contacts has all that a cancel needs
  batch_cancellations has all that a cancel needs
  an index finds a job by its id
  an index finds what is pending
  an index finds the contacts that a cancel changes
"""


def test_the_reference_tables_are_in_good_health(dsn: str) -> None:
    """Exit code 0, and a sentence for each thing that is well."""
    assert doctor("--store", url_of(dsn)) == (0, FITS, "")
    assert spawn("doctor", "--store", url_of(dsn)) == (0, FITS, "")


def test_what_only_workers_need_is_distinguished(dsn: str) -> None:
    """It makes no cancel fail, so the exit code is 0."""
    made(
        dsn,
        "DROP INDEX batch_contacts_dialing",
        "ALTER TABLE batch_contacts RENAME next_attempt_at TO due",
        "ALTER TABLE batch_contacts RENAME id TO number",
    )
    code, told, _ = doctor("--store", url_of(dsn))
    assert (code, told) == (
        0,
        FITS + "Missing for workers only:\n"
        "  column id is missing from batch_contacts: map its name with "
        "PostgresSchema(contact_id=...)\n"
        "  column next_attempt_at is missing from batch_contacts: map its name with "
        "PostgresSchema(contact_next_attempt_at=...), or None if there is none\n"
        "  no index finds live calls, so each finish_job reads all of batch_contacts: CREATE "
        "INDEX ON batch_contacts (batch_job_id) WHERE status IN ('dialing')\n",
    )


def test_what_is_missing_and_what_is_slow_are_distinguished(dsn: str) -> None:
    """Exit code 1; as JSON the same."""
    made(
        dsn,
        "DROP INDEX batch_contacts_open",
        "ALTER TABLE batch_jobs RENAME scheduled_job_id TO arq_job",
    )
    code, told, _ = doctor("--store", url_of(dsn), "--json")
    found: dict[str, Any] = json.loads(told)
    assert (code, found["fit"]) == (1, False)
    assert found["missing"] == [
        (
            "column scheduled_job_id is missing from batch_jobs: map its name with "
            "PostgresSchema(job_deferred_id=...), or None if there is none"
        )
    ]
    assert found["slow"] == [
        (
            "no index serves the cancel, so each one reads all of batch_contacts: CREATE INDEX ON "
            "batch_contacts (batch_job_id, next_attempt_at, id) WHERE status IN "
            "('busy', 'no_answer', 'pending', 'queued', 'timeout')"
        ),
    ]
    assert found["workers"] == []
    assert "batch_contacts has all that a cancel needs" in found["fits"]
    assert "batch_jobs has all that a cancel needs" not in found["fits"]


REFUSED = {
    "a time that is none": (
        "ALTER TABLE batch_contacts DROP updated_at, ADD updated_at bigint",
        "cancels contacts of batch_contacts: column",
        "missing",
    ),
    "a column that is generated": (
        (
            "ALTER TABLE batch_jobs DROP updated_at, "
            "ADD updated_at timestamptz GENERATED ALWAYS AS (NULL) STORED"
        ),
        "marks a job of batch_jobs as cancelled: column",
        "missing",
    ),
    "a view that can't be written": (
        (
            "ALTER TABLE batch_contacts RENAME TO calls; "
            "CREATE VIEW batch_contacts AS SELECT DISTINCT * FROM calls"
        ),
        "cancels contacts of batch_contacts: cannot update view",
        "missing",
    ),
    "ids of two kinds": (
        (
            "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_batch_job_id_fkey; "
            "ALTER TABLE batch_jobs ALTER id TYPE uuid USING NULL"
        ),
        "inspects jobs and contacts: operator does not exist",
        "workers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_statement_that_postgres_does_not_take_is_reported_in_its_words(
    dsn: str, name: str
) -> None:
    """Whatever the catalogs let hope for: each statement is planned."""
    change, sentence, kind = REFUSED[name]
    made(dsn, change)
    code, told, _ = doctor("--store", url_of(dsn), "--json")
    found: dict[str, Any] = json.loads(told)
    assert code == (1 if kind == "missing" else 0)
    assert any(f"the statement that {sentence}" in it for it in found[kind]), found[kind]
    tables = [it for it in ("batch_jobs", "batch_contacts") if f"of {it}" in sentence]
    assert not any(f"{it} has all that" in fit for it in tables for fit in found["fits"])


def test_what_is_to_be_typed_can_be_typed(dsn: str, tmp_path: Path) -> None:
    """A name that is a word of SQL's stands in quotes."""
    made(dsn, "DROP INDEX batch_contacts_open", 'ALTER TABLE batch_contacts RENAME TO "order"')
    (tmp_path / "names.py").write_text(
        "from batch_cancel.adapters.postgres import PostgresSchema\n"
        "ORDERS = PostgresSchema(contacts='order')\n"
    )
    store = ("--store", url_of(dsn), "--schema", "names:ORDERS")
    _, told, _ = doctor(*store, "--json", cwd=tmp_path)
    assert (
        'CREATE INDEX ON "order" (batch_job_id, next_attempt_at, id)'
        in json.loads(told)["slow"][0]
    )


def notes_of(dsn: str) -> list[str]:
    """Return what is worth a look."""
    code, told, _ = doctor("--store", url_of(dsn), "--json")
    assert code == 0
    found: list[str] = json.loads(told)["notes"]
    return found


def test_an_index_that_is_not_valid_is_named(dsn: str) -> None:
    """Also where another one serves: whoever made it believes that it is used."""
    made(dsn, "INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
    made(dsn, *["INSERT INTO batch_contacts (batch_job_id) VALUES ('j')"] * 2)
    with pytest.raises(psycopg.errors.UniqueViolation):
        made(dsn, "CREATE UNIQUE INDEX CONCURRENTLY twice ON batch_contacts (batch_job_id)")
    assert notes_of(dsn) == [
        (
            "the index twice of batch_contacts is not valid, so it is not used: CREATE INDEX "
            "CONCURRENTLY has failed, or is still running; if it has failed, REINDEX INDEX "
            "CONCURRENTLY twice"
        )
    ]


def test_what_claims_miss_is_distinguished(dsn: str) -> None:
    """They find each contact by its id, which must be unique within its job."""
    made(dsn, "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_pkey")
    assert doctor("--store", url_of(dsn)) == (
        0,
        FITS + "Missing for workers only:\n"
        "  'id' of batch_contacts is not known to be unique within a job: map a column that is "
        "unique within a job with contact_id=..., or add a unique index on 'batch_job_id' and "
        "'id'\n",
        "",
    )


@pytest.fixture
def tenant(dsn: str) -> Generator[str]:
    """Yield a role to whom row-level security applies, with all privileges on the tables."""
    role = f"tenant_{uuid4().hex}"
    made(
        dsn,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA {schema_of(dsn)} TO {role}",
        f"GRANT USAGE ON SCHEMA {schema_of(dsn)} TO {role}",
    )
    yield role
    made(dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def schema_of(dsn: str) -> str:
    """Return the name of the test's schema."""
    with psycopg.connect(dsn) as connection:
        return str(connection.execute("SELECT current_schema()").fetchall()[0][0])


def test_row_security_that_applies_is_reported(dsn: str, tenant: str) -> None:
    """To the role that connects; to a role that bypasses it there is nothing to say."""
    made(
        dsn,
        "ALTER TABLE batch_jobs ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY by_tenant ON batch_jobs USING (organization_id = "
        "current_setting('app.tenant', true))",
        "CREATE POLICY of_nobody ON batch_jobs TO pg_monitor USING (false)",
    )
    theirs = make_conninfo(dsn, user=tenant)
    told = (
        f"row-level security of batch_jobs applies to the user {tenant}, by by_tenant: a job that "
        "they hide counts as missing. Check that the application connects as this user, and that "
        "the settings that the policies read are set in every transaction, or let the user "
        "bypass them (BYPASSRLS)"
    )
    assert notes_of(theirs) == [told]
    assert notes_of(dsn) == []
    made(dsn, f"ALTER ROLE {tenant} BYPASSRLS")
    assert notes_of(theirs) == []


def test_row_security_without_a_policy_is_missing_one(dsn: str, tenant: str) -> None:
    """Each privilege that a cancel needs wants a policy, or every cancel finds nothing."""
    made(
        dsn,
        "ALTER TABLE batch_jobs ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY readers ON batch_jobs FOR SELECT USING (true)",
        "CREATE POLICY narrower ON batch_jobs AS RESTRICTIVE USING (true)",
    )
    code, told, _ = doctor("--store", url_of(make_conninfo(dsn, user=tenant)))
    assert code == 1
    assert (
        f"Missing:\n  row-level security of batch_jobs hides all rows from the user {tenant} for "
        "UPDATE, because no policy allows any: CREATE POLICY for it, or let the user bypass them "
        "(BYPASSRLS)\n"
    ) in told


OWN = """
from batch_cancel import JobStatus
from batch_cancel.adapters.postgres import PostgresSchema
SCHEMA = PostgresSchema(
    jobs="campaigns", job_key="number", job_status="state",
    job_where={"deleted_at": None, "kind": "50%"},
    job_statuses={status: status.upper() for status in JobStatus},
    contact_where={"deleted_at": None},
)
OTHER = 42
"""


def test_a_schema_of_ones_own_is_examined(dsn: str, tmp_path: Path) -> None:
    """Partial indexes on the rows that count serve; a missing label is spelled their way."""
    (tmp_path / "names.py").write_text(OWN)
    made(
        dsn,
        "ALTER TABLE batch_jobs RENAME TO campaigns",
        "ALTER TABLE campaigns RENAME status TO state",
        "ALTER TABLE campaigns ADD number text UNIQUE",
        "ALTER TABLE campaigns ADD deleted_at timestamptz, ADD kind text DEFAULT '50%'",
        "ALTER TABLE batch_contacts ADD deleted_at timestamptz",
        "ALTER TABLE campaigns DROP CONSTRAINT batch_jobs_pkey CASCADE",
        "CREATE INDEX ON campaigns (id) WHERE deleted_at IS NULL AND kind = '50%'",
        "DROP INDEX batch_contacts_open",
        "CREATE INDEX ON batch_contacts (batch_job_id, next_attempt_at, id) "
        "WHERE deleted_at IS NULL",
    )
    store = ("--store", url_of(dsn), "--schema", "names:SCHEMA")
    assert doctor(*store, cwd=tmp_path) == (
        0,
        FITS.replace("  batch_jobs has", "  campaigns has"),
        "",
    )
    made(
        dsn,
        "CREATE TYPE state AS ENUM ('SCHEDULED', 'PENDING', 'RUNNING', 'COMPLETED', 'CANCELED')",
        "ALTER TABLE campaigns ALTER state TYPE state USING 'RUNNING'",
        "DROP INDEX campaigns_id_idx",
        "CREATE INDEX ON campaigns (id) WHERE deleted_at IS NOT NULL",
    )
    code, told, _ = doctor(*store, cwd=tmp_path)
    assert code == 1
    assert "ALTER TYPE state ADD VALUE 'CANCELLED'\n" in told
    assert "Slow:\n  no index finds a job, so each cancel reads all of campaigns" in told


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("names:OTHER", "--schema must name a PostgresSchema"),
        ("names:NOTHING", "has no 'NOTHING'"),
        ("nowhere:SCHEMA", "there is no module 'nowhere'"),
        (":", "must be module:name"),
    ],
)
def test_a_schema_that_is_none_is_a_wrong_command_line(
    tmp_path: Path, schema: str, told: str
) -> None:
    """Before anything is connected to."""
    (tmp_path / "names.py").write_text(OWN)
    code, answered, complained = doctor(
        "--store", "postgresql://nowhere/x", "--schema", schema, cwd=tmp_path
    )
    assert (code, answered) == (2, "")
    assert told in complained


def test_a_file_is_examined_too(tmp_path: Path) -> None:
    """A SQLite store has one answer."""
    code, told, _ = doctor("--store", "sqlite:///nothing.db", cwd=tmp_path)
    assert code == 1
    assert told.startswith("Missing:\n  the SQLite file ")
