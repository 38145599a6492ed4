"""Statuses spelled the adopter's way, rows that do not count, moments and time zones."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import sqlalchemy as sa

from batch_cancel import (
    ContactStatus,
    JobNotFound,
    JobStatus,
    UnknownJobStatus,
    append_contacts,
    cancel_job,
    cancel_job_async,
    claim_contacts,
    finish_job,
    inspect,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyUnitOfWork,
)
from tests.data_layers import CONTACTS, JOBS, TABLES
from tests.integration.sqlalchemy_databases import POSTGRES, Database, database, waiting_start
from tests.integration.test_postgres_schemas import SHOUTED_CONTACTS, SHOUTED_JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["database"]

SPELLED = attrs.evolve(
    TABLES,
    job_statuses=SHOUTED_JOBS,
    contact_statuses=SHOUTED_CONTACTS,
    job_where={"scheduled_job_id": "start"},
    contact_where={"label": None},
)
"""The reference tables as somebody might fill them; a contact with a label is none."""


def fill(database: Database, status: str, contacts: dict[str, str | None]) -> None:
    """Set the job's status, and give it contacts of these, each with its label."""
    with database.engine.begin() as connection:
        connection.execute(sa.delete(CONTACTS))
        connection.execute(sa.update(JOBS).values(status=status))
        for status_name, label in contacts.items():
            row = {"batch_job_id": "job", "status": status_name, "label": label}
            connection.execute(sa.insert(CONTACTS).values(row))


def rows(database: Database) -> tuple[str, list[str]]:
    """Return the status of the job, and those of its contacts."""
    with database.engine.connect() as connection:
        [job] = connection.execute(sa.select(JOBS.c.status)).scalars()
        return job, sorted(connection.execute(sa.select(CONTACTS.c.status)).scalars())


@pytest.fixture
def renamed(database: Database) -> Database:
    """Yield each database with contacts that have labels, which some do not count for."""
    if database.name == POSTGRES:
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE batch_contacts ADD label text"))
    return database


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_statuses_are_read_and_written_by_the_names_of_the_table(
    renamed: Database, *, is_async: bool
) -> None:
    """The five become cancelled, those of rows that count; the contract's words mean nothing."""
    contacts: dict[str, str | None] = dict.fromkeys(SHOUTED_CONTACTS.values())
    fill(renamed, "LIVE 100%", contacts | {"pending": None})
    fill_more = {"batch_job_id": "job", "status": "NEW", "label": "deleted"}
    with renamed.engine.begin() as connection:
        connection.execute(sa.insert(CONTACTS).values(fill_more))
    key: dict[str, Any] = {"organization_id": "a", "operation_id": "op"}
    for replayed in (False, True):
        if is_async:
            uow = AsyncSqlAlchemyUnitOfWork(renamed.asyncio_engine(), SPELLED)
            done = asyncio.run(
                cancel_job_async("job", uow=uow, scheduler=AsyncMemoryScheduler(), **key)
            )
        else:
            blocking = SqlAlchemyUnitOfWork(renamed.engine, SPELLED)
            done = cancel_job("job", uow=blocking, scheduler=MemoryScheduler(), **key)
        assert (done.contacts_cancelled, done.replayed) == (5, replayed)
    assert rows(renamed) == (
        "CANCELED",
        sorted(
            [
                *["CANCELED"] * 6,
                *("ON CALL", "OK", "KO", "BARRED", "WRONG {}", "CARRIER"),
                *("NEW", "pending"),
            ]
        ),
    )


@pytest.mark.parametrize("status", ["running", "cancelled", "canceled"])
def test_the_contracts_word_is_unknown_where_another_name_is_given(
    renamed: Database, status: str
) -> None:
    """Such a job is in a status that nobody has mapped."""
    fill(renamed, status, {"NEW": None})
    uow = SqlAlchemyUnitOfWork(renamed.engine, SPELLED)
    with pytest.raises(UnknownJobStatus):
        cancel_job("job", uow=uow, scheduler=MemoryScheduler(), organization_id="a")
    assert rows(renamed) == (status, ["NEW"])


def test_rows_that_do_not_count_are_not_there(renamed: Database) -> None:
    """Neither to a cancel nor to a worker nor to inspect; nothing is changed."""
    fill(renamed, "PLANNED", {"NEW": None})
    drafts = attrs.evolve(SPELLED, job_where={"scheduled_job_id": None})
    uow = SqlAlchemyUnitOfWork(renamed.engine, drafts)
    scheduler = MemoryScheduler()
    with pytest.raises(JobNotFound):
        cancel_job("job", uow=uow, scheduler=scheduler, organization_id="a")
    assert not start_job("job", uow=uow, organization_id="a")
    assert not still_running("job", uow=uow, organization_id="a")
    assert not inspect(uow=uow, scheduler=scheduler).is_found
    assert inspect(uow=SqlAlchemyUnitOfWork(renamed.engine, SPELLED), scheduler=scheduler).is_found
    assert rows(renamed) == ("PLANNED", ["NEW"])


def test_workers_keep_to_the_tables_status_names(renamed: Database) -> None:
    """A whole life of a job, each step in the adopter's words."""
    fill(renamed, "PLANNED", {"NEW": None, "BUSY": "deleted"})
    uow = SqlAlchemyUnitOfWork(renamed.engine, SPELLED)
    its: dict[str, Any] = {"uow": uow, "organization_id": "a"}
    assert start_job("job", **its)
    assert still_running("job", **its)
    assert append_contacts("job", [{}], **its) == 1
    first, second = claim_contacts("job", limit=9, **its)
    assert rows(renamed) == ("LIVE 100%", ["BUSY", "ON CALL", "ON CALL"])
    assert settle_contact("job", first, ContactStatus.COMPLETED, **its) == "completed"
    assert not finish_job("job", **its)
    assert settle_contact("job", second, ContactStatus.FAILED, **its) == "failed"
    assert finish_job("job", **its)
    assert rows(renamed) == ("it's done", ["BUSY", "KO", "OK"])


def test_a_column_that_is_not_there_is_reported_at_once() -> None:
    """Where the tables are named, not at the first cancel."""
    with pytest.raises(ValueError, match="job_where: batch_jobs has no column 'gone'"):
        attrs.evolve(TABLES, job_where={"gone": None})
    with pytest.raises(ValueError, match="no name is given for scheduled"):
        attrs.evolve(TABLES, job_statuses={JobStatus.CANCELLED: "canceled"})
    with pytest.raises(ValueError, match=r"job_status: batch_jobs has no column 'state'$"):
        attrs.evolve(TABLES, job_status="state")
    with pytest.raises(
        ValueError, match="contact_job_id: batch_contacts has no column 'scheduled"
    ):
        attrs.evolve(TABLES, contact_job_id="scheduled_job_id")  # A column of the other table.
    with pytest.raises(ValueError, match="'late'; pass job_updated_at=None if there is none"):
        attrs.evolve(TABLES, job_updated_at="late")
    with pytest.raises(TypeError, match="a Table or a mapped class is needed, got 'jobs'"):
        attrs.evolve(TABLES, jobs="jobs")  # type: ignore[arg-type]


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Move this process, and its sessions on Postgres, to where clocks are nine hours ahead."""
    with monkeypatch.context() as moved:
        moved.setenv("TZ", "Asia/Tokyo")
        moved.setenv("PGTZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
def test_moments_are_the_same_wherever_the_process_runs(database: Database) -> None:
    """A database that keeps no time zone is not taken to keep the process's."""
    uow, scheduler = SqlAlchemyUnitOfWork(database.engine, TABLES), waiting_start()
    operation: dict[str, Any] = {"organization_id": "a", "operation_id": "op"}
    slack = timedelta(minutes=5)
    before = datetime.now(UTC)
    told = cancel_job("job", uow=uow, scheduler=scheduler, **operation)
    again = cancel_job("job", uow=uow, scheduler=scheduler, **operation)
    assert before - slack < told.cancelled_at < datetime.now(UTC) + slack
    assert again.cancelled_at == told.cancelled_at
    assert again.cancelled_at.tzinfo is UTC
