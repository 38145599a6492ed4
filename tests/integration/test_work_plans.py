"""What a worker's steps read of a large job: the contacts that they change, not all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from batch_cancel import claim_contacts, finish_job, settle_contact
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.domain.statuses import ContactStatus
from tests import data_layers
from tests.integration.entries_read import read
from tests.pairs import create_reference_tables
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

JOBS: Final = 1_000
CONTACTS: Final = 5_000
"""Of the large job, with as many live calls; the others have no live call."""


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to tables that were analyzed before the large job came in."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("ALTER TABLE batch_contacts SET (autovacuum_enabled = off)")
        connection.execute(
            "INSERT INTO batch_jobs (id, status) "
            "SELECT 'small-' || n, 'running' FROM generate_series(1, %s) AS n",
            (JOBS,),
        )
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) SELECT 'small-' || (1 + n %% %s), "
            "(ARRAY['pending', 'failed', 'completed'])[1 + n %% 3] "
            "FROM generate_series(1, %s) AS n",
            (JOBS, 10 * JOBS),
        )
        connection.execute("ANALYZE batch_jobs, batch_contacts")
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) SELECT 'j', "
            "CASE WHEN n > %s THEN 'dialing' ELSE 'pending' END FROM generate_series(1, %s) AS n",
            (CONTACTS, 2 * CONTACTS),
        )
        yield connection


@pytest.fixture(params=["postgres", "sqlalchemy"])
def uow(postgres_schema: str, request: pytest.FixtureRequest) -> Any:
    """Return a unit of work whose sessions end with it, and so tell what they have read."""
    if request.param == "sqlalchemy":
        uow: Any = data_layers.postgres_uow(postgres_schema, is_async=False)
    else:
        uow = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema))
    assert claim_contacts("no job", uow=uow, limit=1) == []  # It reads the catalogs.
    return uow


def told(rows: psycopg.Connection[Any], at_least: int) -> int:
    """Return how many entries of indexes have been read, once statistics are told."""
    wait_until(lambda: read(rows).entries >= at_least, "statistics are told")
    return read(rows).entries


@pytest.mark.parametrize("limit", [2, 200])
def test_a_claim_reads_what_it_claims(rows: psycopg.Connection[Any], uow: Any, limit: int) -> None:
    """It does not sort all contacts that are due, of which the planner may expect three."""
    if not isinstance(uow, PostgresUnitOfWork):
        rows.execute("ANALYZE batch_contacts")
    before = read(rows).entries
    assert len(claim_contacts("j", uow=uow, limit=limit)) == limit
    assert told(rows, before + 2 * limit) < before + 4 * limit


def test_a_claim_that_returns_columns_reads_no_more(
    rows: psycopg.Connection[Any], uow: Any
) -> None:
    """It is sent in several strings, where the one above is sent in one with COMMIT."""
    if not isinstance(uow, PostgresUnitOfWork):
        rows.execute("ANALYZE batch_contacts")
    before = read(rows).entries
    assert len(claim_contacts("j", uow=uow, limit=200, returning=["status"])) == 200
    assert told(rows, before + 400) < before + 1000


@pytest.mark.parametrize("jobs", [JOBS, 10])
def test_a_settlement_reads_one_contact(
    rows: psycopg.Connection[Any], uow: Any, jobs: int
) -> None:
    """
    It does not look for it among all live calls of the job, nor among all its contacts.

    Where the statistics know each job that there was, the planner expects one of a new one.
    """
    if jobs < JOBS:
        rows.execute("CREATE INDEX ON batch_contacts (batch_job_id)")
        rows.execute("CREATE TEMPORARY TABLE large AS TABLE batch_contacts")
        rows.execute("DELETE FROM batch_contacts WHERE batch_job_id = 'j'")
        rows.execute(
            "UPDATE batch_contacts SET batch_job_id = 'small-' || (1 + id %% %s)", (jobs,)
        )
        rows.execute("ANALYZE batch_contacts")
        rows.execute(
            "INSERT INTO batch_contacts OVERRIDING SYSTEM VALUE "
            "SELECT * FROM large WHERE batch_job_id = 'j'"
        )
    contacts = claim_contacts("j", uow=uow, limit=3)
    before = told(rows, 6)
    for settled, status in enumerate((ContactStatus.BUSY, ContactStatus.COMPLETED), 1):
        assert settle_contact("j", contacts.pop(), status, uow=uow) == status.value
        assert told(rows, before + settled) < before + 10


def test_a_job_that_is_not_finished_reads_one_contact(
    rows: psycopg.Connection[Any], uow: Any
) -> None:
    """One that waits, and one that is live, each by its index; not the whole table."""
    before = read(rows)
    assert not finish_job("j", uow=uow)
    assert told(rows, before.entries + 1) < before.entries + 10
    assert read(rows).scans == before.scans
