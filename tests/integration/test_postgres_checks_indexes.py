"""`check()` on Postgres: indexes that serve or do not, views, partitions and types of statuses."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from batch_cancel import ContactStatus
from tests.integration.checks import checked
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@pytest.fixture
def dsn(postgres_schema: str) -> str:
    """Yield a schema with the reference tables and ours."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
    return postgres_schema


@pytest.fixture
def execute(dsn: str) -> Generator[Callable[[str], object]]:
    """Yield a way to break it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda statement: connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ON batch_contacts (batch_job_id)",
        "CREATE INDEX ON batch_contacts (batch_job_id, status)",
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status NOT IN ('completed', '')",
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status <> '100%'",
        (
            "CREATE INDEX ON batch_contacts (batch_job_id, id) INCLUDE (status) WHERE "
            "status = ANY ('{pending,queued,no_answer,busy,timeout,dialing}')"
        ),
    ],
)
def test_any_index_that_serves_will_do(
    dsn: str, execute: Callable[[str], object], statement: str
) -> None:
    """Postgres itself uses it for the cancel, so nobody is told to make another."""
    execute("DROP INDEX batch_contacts_open")
    assert len(checked(dsn)) == 1
    execute(statement)
    assert checked(dsn) == []
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(
            "EXPLAIN UPDATE batch_contacts SET status = 'cancelled' WHERE batch_job_id = 'j' "
            "AND status IN ('busy', 'no_answer', 'pending', 'queued', 'timeout')"
        ).fetchall()
    assert any(re.search(r"Index Cond: \(+batch_job_id = ", line) for (line,) in plan)


@pytest.mark.parametrize(
    "statement",
    [
        # A condition that is true of the five, and that Postgres does not prove of them.
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE length(status) > 3",
        # Statements compare by the column's collation; an index of another one is of no use.
        'CREATE INDEX ON batch_contacts (batch_job_id COLLATE "POSIX")',
        "CREATE INDEX ON batch_contacts (next_attempt_at, batch_job_id)",
    ],
)
def test_an_index_that_postgres_cannot_use_does_not_serve(
    dsn: str, execute: Callable[[str], object], statement: str
) -> None:
    """However much it looks like one that could."""
    execute("DROP INDEX batch_contacts_open")
    execute(statement)
    [found] = checked(dsn)
    assert found.startswith("no index serves the cancel, so each one reads all of batch_contacts")


@pytest.mark.parametrize("kind", ["uuid", "bigint", "integer", "varchar(40)"])
def test_ids_of_any_kind_are_planned_with(
    dsn: str, execute: Callable[[str], object], kind: str
) -> None:
    """An index that can't be used is found out whatever the ids are."""
    execute("DROP TABLE batch_contacts")
    execute("DROP TABLE batch_jobs")
    execute(
        f"CREATE TABLE batch_jobs (id {kind} PRIMARY KEY, organization_id text, status text, "
        "scheduled_job_id text, updated_at timestamptz)"
    )
    execute(
        f"CREATE TABLE batch_contacts (id {kind} PRIMARY KEY, batch_job_id {kind}, status text, "
        "updated_at timestamptz)"
    )
    execute("CREATE INDEX ON batch_contacts (batch_job_id) WHERE length(status) > 3")
    [found] = checked(dsn)
    assert found.startswith("no index serves the cancel")
    execute("CREATE INDEX ON batch_contacts (batch_job_id) WHERE status <> 'completed'")
    assert checked(dsn) == []


def test_an_index_that_is_not_valid_does_not_serve(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """As one is whose CREATE INDEX CONCURRENTLY failed."""
    execute("DROP INDEX batch_contacts_open")
    execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
    execute("INSERT INTO batch_contacts (batch_job_id) VALUES ('j'), ('j')")
    with contextlib.suppress(psycopg.errors.UniqueViolation):
        execute("CREATE UNIQUE INDEX CONCURRENTLY ON batch_contacts (batch_job_id)")
    assert "no index serves the cancel" in checked(dsn)[0]


def test_statuses_in_a_domain_over_an_enum_are_reported(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """And so is the way out."""
    labels = ", ".join(f"'{status.value}'" for status in ContactStatus)
    execute("DROP INDEX batch_contacts_open, batch_contacts_dialing")
    execute("CREATE INDEX ON batch_contacts (batch_job_id)")
    execute(f"CREATE TYPE contact AS ENUM ({labels})")
    execute("CREATE DOMAIN checked AS contact")
    execute("ALTER TABLE batch_contacts ALTER status DROP DEFAULT")
    execute("ALTER TABLE batch_contacts ALTER status TYPE checked USING status::checked")

    way_out = "ALTER TABLE batch_contacts ALTER status TYPE contact"
    assert checked(dsn) == [
        (
            "column status of batch_contacts is a domain over an enum, which Postgres does not "
            f"compare with a list of statuses: {way_out}"
        )
    ]

    execute(way_out)
    assert checked(dsn) == []


def test_statuses_that_are_enums_need_their_labels(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """Those that our statements name, no others."""
    execute("DROP INDEX batch_contacts_open, batch_contacts_dialing")
    execute("CREATE INDEX ON batch_contacts (batch_job_id)")
    execute("CREATE TYPE job AS ENUM ('pending', 'running', 'completed', 'failed')")
    execute("CREATE TYPE contact AS ENUM ('pending', 'queued', 'no_answer', 'busy', 'completed')")
    execute("ALTER TABLE batch_contacts ALTER status DROP DEFAULT")
    execute("ALTER TABLE batch_jobs ALTER status TYPE job USING status::job")
    execute("ALTER TABLE batch_contacts ALTER status TYPE contact USING status::contact")

    assert checked(dsn) == [
        (
            "column status of batch_jobs is an enum without 'scheduled': "
            "ALTER TYPE job ADD VALUE 'scheduled'"
        ),
        (
            "column status of batch_jobs is an enum without 'cancelled': "
            "ALTER TYPE job ADD VALUE 'cancelled'"
        ),
        (
            "column status of batch_contacts is an enum without 'timeout': "
            "ALTER TYPE contact ADD VALUE 'timeout'"
        ),
        (
            "column status of batch_contacts is an enum without 'cancelled': "
            "ALTER TYPE contact ADD VALUE 'cancelled'"
        ),
    ]

    for statement in (
        "ALTER TYPE job ADD VALUE 'scheduled'",
        "ALTER TYPE job ADD VALUE 'cancelled'",
        "ALTER TYPE contact ADD VALUE 'timeout'",
        "ALTER TYPE contact ADD VALUE 'cancelled'",
        "DROP INDEX batch_contacts_batch_job_id_idx",
        "CREATE INDEX ON batch_contacts (batch_job_id) WHERE status <> 'completed'",
    ):
        execute(statement)
    assert checked(dsn) == []


def test_a_view_is_not_asked_for_indexes(dsn: str, execute: Callable[[str], object]) -> None:
    """They are on the tables that it shows. That its ids are unique is the adopter's word."""
    execute("ALTER TABLE batch_jobs RENAME TO jobs")
    execute("CREATE VIEW batch_jobs AS SELECT * FROM jobs")
    assert checked(dsn) == [
        (
            "batch_jobs is a view, and no index shows that its 'id' is unique: map the table "
            "behind it, or declare that it is unique with keys_are_unique=True"
        )
    ]
    assert checked(dsn, keys_are_unique=True) == []


def test_a_table_in_partitions_is_as_good_as_any(
    dsn: str, execute: Callable[[str], object]
) -> None:
    """Its index is on all of them."""
    execute("DROP TABLE batch_contacts")
    execute(
        "CREATE TABLE batch_contacts (batch_job_id text, status text, updated_at timestamptz) "
        "PARTITION BY HASH (batch_job_id)"
    )
    execute(
        "CREATE TABLE only_one PARTITION OF batch_contacts FOR VALUES WITH (modulus 1, remainder "
        "0)"
    )
    assert "no index serves the cancel" in checked(dsn)[0]
    execute("CREATE INDEX ON batch_contacts (batch_job_id)")
    assert checked(dsn) == []
