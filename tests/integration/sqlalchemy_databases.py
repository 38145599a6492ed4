"""A job and its contacts in SQLite and in Postgres, for the tests of SQLAlchemy."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pytest
import sqlalchemy as sa

from batch_cancel.adapters.memory import MemoryScheduler
from tests import data_layers
from tests.data_layers import CONTACTS, JOBS, TABLES
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

SQLITE, POSTGRES = "sqlite", "postgres"
COMMITS = pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])


@attrs.frozen
class Database:
    """One of the databases, with a scheduled job of two contacts in organization a."""

    name: str
    place: Any
    engine: sa.Engine

    def asyncio_engine(self, **options: Any) -> Any:
        """Return the asyncio engine of the same database."""
        if self.name == SQLITE:
            return data_layers.sqlite_engine_async(self.place, **options)
        return data_layers.postgres_engine_async(self.place, **options)

    def engine_with(self, **options: Any) -> sa.Engine:
        """Return another engine of the same database."""
        if self.name == SQLITE:
            return data_layers.sqlite_engine(self.place, **options)
        return data_layers.postgres_engine(self.place, **options)

    def is_cancelled(self) -> bool:
        """Check whether all of it is cancelled; asserts that it is all or nothing."""
        with self.engine.connect() as connection:
            [job] = connection.execute(sa.select(JOBS.c.status)).scalars()
            contacts = list(connection.execute(sa.select(CONTACTS.c.status)).scalars())
            ours = sa.select(sa.func.count()).select_from(TABLES.cancellations)
            records = connection.execute(ours).scalar_one()
        assert (job, sorted(contacts), records) in (
            ("scheduled", ["completed", "pending"], 0),
            ("cancelled", ["cancelled", "completed"], 1),
        )
        return bool(job == "cancelled")


@pytest.fixture(params=[SQLITE, POSTGRES])
def database(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Database]:
    """Yield each database in turn."""
    with ExitStack() as stack:
        if request.param == SQLITE:
            place: Any = tmp_path / "jobs.sqlite"
            engine = data_layers.sqlite_engine(place)
            data_layers.METADATA.create_all(engine)
        else:
            place = stack.enter_context(postgres_server.schema())
            engine = data_layers.postgres_engine(place, **data_layers.POOLED)
            with psycopg.connect(place, autocommit=True) as connection:
                create_reference_tables(connection)
        with engine.begin() as seeding:
            job = {"id": "job", "organization_id": "a", "status": "scheduled"}
            seeding.execute(sa.insert(JOBS).values(**job, scheduled_job_id="start"))
            for status in ("pending", "completed"):
                contact = {"batch_job_id": "job", "status": status}
                seeding.execute(sa.insert(CONTACTS).values(contact))
        yield Database(request.param, place, engine)
        engine.dispose()


def waiting_start() -> MemoryScheduler:
    """Return a scheduler in which the job's start waits."""
    scheduler = MemoryScheduler()
    scheduler.schedule("start", datetime.now(UTC) + timedelta(hours=1))
    return scheduler
