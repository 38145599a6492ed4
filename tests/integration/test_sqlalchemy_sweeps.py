"""SQLAlchemy beside a store that sweeps very large jobs, and on tables without sweeps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    cancel_rows,
    cancel_rows_async,
    cancellation_of,
    cancellations,
    forget,
    inspect,
    preview_job,
    reconcile,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.sqlalchemy import AsyncSqlAlchemyUnitOfWork, SqlAlchemyUnitOfWork
from batch_cancel.testing.breakpoints import Hooked
from tests import data_layers
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

NONE = timedelta(0)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to the reference tables, with a running job of five open contacts."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "SELECT 'j', 'pending' FROM generate_series(1, 5)"
        )
        yield connection


@pytest.fixture
def uow(postgres_schema: str) -> Iterator[SqlAlchemyUnitOfWork]:
    """Yield a store on these tables."""
    engine = data_layers.postgres_engine(postgres_schema, **data_layers.POOLED)
    yield SqlAlchemyUnitOfWork(engine, data_layers.TABLES)
    engine.dispose()


def open_contacts(rows: psycopg.Connection[Any]) -> int:
    """Count the contacts that are open."""
    [(number,)] = rows.execute(
        "SELECT count(*) FROM batch_contacts WHERE status = 'pending'"
    ).fetchall()
    return int(number)


def test_tables_from_before_there_were_sweeps_keep_working(
    rows: psycopg.Connection[Any], uow: SqlAlchemyUnitOfWork, postgres_schema: str
) -> None:
    """Every step that reads or writes a record, although the metadata has the new column."""
    rows.execute("ALTER TABLE batch_cancellations DROP COLUMN is_swept")
    cancel_rows("j", uow=uow, operation_id="1")
    assert cancel_rows("j", uow=uow, operation_id="1").replayed
    rows.execute("UPDATE batch_jobs SET status = 'running'")
    asynchronous = AsyncSqlAlchemyUnitOfWork(
        data_layers.postgres_engine_async(postgres_schema), data_layers.TABLES
    )
    asyncio.run(cancel_rows_async("j", uow=asynchronous, operation_id="2"))
    found = cancellation_of("j", uow=uow)
    assert found is not None
    assert (found.operation_id, found.is_swept) == ("2", True)
    assert [it.operation_id for it in cancellations(uow=uow).records] == ["2", "1"]
    assert [it.is_swept for it in cancellations(uow=uow).records] == [True, True]
    assert preview_job("j", uow=uow).refusal is not None
    assert reconcile(uow=uow, scheduler=MemoryScheduler(), lease=NONE) == []
    assert not inspect(uow=uow, scheduler=MemoryScheduler()).is_found


def test_what_another_store_has_still_to_sweep_is_not_reported_as_done(
    rows: psycopg.Connection[Any], uow: SqlAlchemyUnitOfWork, postgres_schema: str
) -> None:
    """SQLAlchemy does not sweep, says so, and leaves the record to the store that does."""
    sweeping = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema), sweep_above=2)

    def die(at: str) -> None:
        if at == "committed":
            raise Killed

    killed: Any = Hooked(sweeping, die)
    with pytest.raises(Killed):
        cancel_rows("j", uow=killed, operation_id="op")
    assert open_contacts(rows) == 5
    with pytest.raises(CancelFailed, match="run reconcile with the store that has cancelled"):
        cancel_rows("j", uow=uow, operation_id="op")
    with pytest.raises(AlreadyTerminal):
        cancel_rows("j", uow=uow)
    rows.execute("UPDATE batch_cancellations SET cancelled_at = now() - interval '90 days'")
    assert forget(uow=uow, before=datetime.now(UTC) - timedelta(days=60)) == 0
    assert open_contacts(rows) == 5
    reconcile(uow=sweeping, scheduler=MemoryScheduler(), lease=NONE)
    again = cancel_rows("j", uow=uow, operation_id="op")
    assert (again.replayed, again.record.contacts_cancelled, open_contacts(rows)) == (True, 5, 0)
    assert forget(uow=uow, before=datetime.now(UTC) - timedelta(days=60)) == 1
