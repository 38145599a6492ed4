"""Jobs whose ids are whole numbers in the adopter's table, and texts to every caller."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from batch_cancel import Removal, cancel_rows, reconcile, remove_deferred
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlalchemy import (
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
)
from tests.integration.sqlalchemy_databases import Database, database

__all__ = ["database"]

METADATA = sa.MetaData()
NUMBERED = SqlAlchemyTables(
    jobs=sa.Table(
        "numbered_jobs",
        METADATA,
        sa.Column("pk", sa.Integer, primary_key=True),
        sa.Column("id", sa.Integer),
        sa.Column("organization_id", sa.Text),
        sa.Column("status", sa.Text),
        sa.Column("start", sa.Text),
        sa.UniqueConstraint("organization_id", "id"),
    ),
    contacts=sa.Table(
        "numbered_contacts",
        METADATA,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("batch_job_id", sa.Integer),
        sa.Column("organization_id", sa.Text),
        sa.Column("status", sa.Text),
    ),
    cancellations=cancellations_table(METADATA, name="numbered_cancellations"),
    job_deferred_id="start",
    job_updated_at=None,
    contact_organization_id="organization_id",
    contact_updated_at=None,
    contact_next_attempt_at=None,
)


@pytest.fixture
def numbered(database: Database) -> Database:
    """Yield a database with a job of one number in each of two organizations."""
    METADATA.drop_all(database.engine)
    METADATA.create_all(database.engine)
    with database.engine.begin() as connection:
        for organization in ("a", "b"):
            values = {
                "id": 1,
                "organization_id": organization,
                "start": f"start of {organization}",
            }
            connection.execute(sa.insert(NUMBERED.jobs).values(status="scheduled", **values))
    return database


def test_a_job_of_the_same_number_elsewhere_holds_up_no_removal(numbered: Database) -> None:
    """It is read to see whether the cancelled one was set back, and its id is a number."""
    with numbered.engine.begin() as connection:
        cancellation = cancel_rows("1", uow=joining(connection, NUMBERED), organization_id="a")
    uow = SqlAlchemyUnitOfWork(numbered.engine, NUMBERED)
    result = remove_deferred(cancellation, MemoryScheduler(), uow=uow)
    assert result.removal is Removal.ABSENT


def test_reconcile_takes_jobs_with_numbers(numbered: Database) -> None:
    """As it takes those with texts; one that was set back is left alone."""
    uow = SqlAlchemyUnitOfWork(numbered.engine, NUMBERED)
    for organization in ("a", "b"):
        cancel_rows("1", uow=uow, organization_id=organization)
    with numbered.engine.begin() as connection:
        set_back = sa.update(NUMBERED.jobs).where(NUMBERED.jobs.c.organization_id == "b")
        connection.execute(set_back.values(status="scheduled"))
    done = reconcile(uow=uow, scheduler=MemoryScheduler(), lease=timedelta(0))
    assert {it.organization_id: it.removal for it in done} == {
        "a": Removal.ABSENT,
        "b": Removal.PENDING,
    }
