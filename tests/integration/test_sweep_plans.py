"""What a sweep reads: the contacts of its job, once, and never the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from batch_cancel import cancel_job, cancel_jobs, cancel_rows
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, joining
from tests.integration.entries_read import Read, read
from tests.integration.own_tables import with_options
from tests.pairs import create_reference_tables
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTACTS: Final = 10_000
OTHERS: Final = 20_000
ABOVE: Final = 500


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to tables in which the contacts of a large job come last."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        for job, contacts in (("other", OTHERS), ("j", CONTACTS)):
            connection.execute(
                "INSERT INTO batch_jobs (id, status) VALUES (%s, 'running')", (job,)
            )
            connection.execute(
                "INSERT INTO batch_contacts (batch_job_id, status) "
                "SELECT %s, 'pending' FROM generate_series(1, %s)",
                (job, contacts),
            )
        yield connection


def cancelled(rows: psycopg.Connection[Any], dsn: str, *, many: bool = False) -> Read:
    """Cancel the job, alone or as one of many; return what that has read."""
    uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn), sweep_above=ABOVE)
    rows.execute("SELECT pg_stat_force_next_flush()")
    before = read(rows)
    if many:
        assert cancel_jobs(["j"], uow=uow, scheduler=MemoryScheduler()).cancelled == 1
    else:
        cancel_job("j", uow=uow, scheduler=MemoryScheduler())
    wait_until(lambda: read(rows).entries >= before.entries + 2 * CONTACTS, "statistics are told")
    after = read(rows)
    return Read(after.scans - before.scans, after.entries - before.entries)


@pytest.mark.parametrize("index", ["", "(batch_job_id)", "(status, batch_job_id)"])
@pytest.mark.parametrize("many", [False, True])
def test_no_statement_reads_the_whole_table(
    rows: psycopg.Connection[Any], postgres_schema: str, index: str, *, many: bool
) -> None:
    """The planner expects some of so many contacts soon, wherever it begins to read."""
    if index:
        rows.execute("DROP INDEX batch_contacts_open, batch_contacts_dialing")
        rows.execute(f"CREATE INDEX ON batch_contacts {index}".encode())
    rows.execute("ANALYZE batch_jobs, batch_contacts")
    assert cancelled(rows, postgres_schema, many=many).scans == 0


def test_no_chunk_reads_the_whole_table(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """Although the server is told that an index costs more."""
    rows.execute("ANALYZE batch_jobs, batch_contacts")
    assert cancelled(rows, with_options(postgres_schema, "random_page_cost=10000")).scans == 0


@pytest.mark.parametrize("index", ["", "(status)"])
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_no_chunk_reads_all_contacts_of_the_job(
    rows: psycopg.Connection[Any], postgres_schema: str, index: str, *, is_analyzed: bool
) -> None:
    """
    Whatever the planner expects of a table: twenty chunks would read each ten times.

    By the index on the status they would read the open contacts of the other job as well.
    """
    if index:
        rows.execute(f"CREATE INDEX ON batch_contacts {index}".encode())
    if is_analyzed:
        rows.execute("ANALYZE batch_jobs, batch_contacts")
    # Counted, tried, picked, and found by its id.
    found = cancelled(rows, postgres_schema)
    assert found.entries < 6 * CONTACTS
    assert found.scans == 0


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        ("PRIMARY KEY (id)) PARTITION BY HASH (id)", PostgresSchema()),
        ("PRIMARY KEY (no))", PostgresSchema(contact_id="no", contact_job_id="id")),
    ],
    ids=["in partitions", "of another name"],
)
def test_a_chunk_reads_no_other_job(
    rows: psycopg.Connection[Any], postgres_schema: str, shape: str, columns: PostgresSchema
) -> None:
    """Not in partitions of the contacts' ids, and not where the job's id is named like theirs."""
    job_id, contact_id = columns.contact_job_id, columns.contact_id
    rows.execute("ALTER TABLE batch_contacts RENAME TO batch_contacts_before")
    rows.execute(
        f"CREATE TABLE batch_contacts ({contact_id} bigint, {job_id} text, status text, "
        f"next_attempt_at timestamptz, updated_at timestamptz, {shape}".encode()
    )
    if columns == PostgresSchema():
        for part in range(4):
            rows.execute(
                f"CREATE TABLE batch_contacts_{part} PARTITION OF batch_contacts "
                f"FOR VALUES WITH (MODULUS 4, REMAINDER {part})".encode()
            )
    rows.execute(
        f"CREATE INDEX ON batch_contacts ({job_id}, next_attempt_at, {contact_id})".encode()
    )
    rows.execute(
        f"INSERT INTO batch_contacts ({contact_id}, {job_id}, status) "
        "SELECT id, batch_job_id, status FROM batch_contacts_before".encode()
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema), columns, sweep_above=ABOVE)
    rows.execute("SELECT pg_stat_force_next_flush()")
    before = read(rows)
    cancel_job("j", uow=uow, scheduler=MemoryScheduler())
    wait_until(lambda: read(rows).entries >= 2 * CONTACTS, "statistics are told")
    after = read(rows)
    # An index that is not of the open contacts alone leads through those of the chunks before.
    assert after.entries - before.entries < 25 * CONTACTS
    assert after.scans == before.scans


def test_the_callers_transaction_keeps_its_planner(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """In it nothing is swept, and other statements follow."""
    names = ("enable_seqscan", "enable_bitmapscan", "jit")
    with psycopg.connect(with_options(postgres_schema, "jit=on")) as connection:
        cancel_rows("j", uow=joining(connection))
        assert [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names] == [
            ("on",)
        ] * 3
