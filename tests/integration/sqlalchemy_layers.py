"""Two running jobs of a contact each, in the reference tables, by each driver of SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests import data_layers
from tests.data_layers import CONTACTS, DRIVERS, JOBS, METADATA, Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import PostgresServer

BLOCKING = pytest.mark.parametrize("layer", ["psycopg", "pysqlite"], indirect=True)
ASYNCIO = pytest.mark.parametrize("layer", ["asyncpg", "aiosqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("layer", ["psycopg", "asyncpg"], indirect=True)


@pytest.fixture(params=DRIVERS)
def layer(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Layer]:
    """Yield the reference tables with two running jobs of a contact each, by each driver."""
    with data_layers.layer(request.param, postgres_server, tmp_path) as lent:
        seed(lent.engine)
        yield lent


def seed(engine: sa.Engine) -> None:
    """Make the reference tables and two running jobs of a contact each."""
    METADATA.create_all(engine)
    with engine.begin() as connection:
        for number, job_id in enumerate(("j1", "j2")):
            connection.execute(sa.insert(JOBS).values(id=job_id, status="running"))
            contact = {"id": number, "batch_job_id": job_id, "status": "pending"}
            connection.execute(sa.insert(CONTACTS).values(contact))


def statuses(engine: sa.Engine) -> dict[str, tuple[str, str]]:
    """Return the status of each job and of its contact."""
    asked = sa.select(JOBS.c.id, JOBS.c.status, CONTACTS.c.status).join_from(
        JOBS, CONTACTS, JOBS.c.id == CONTACTS.c.batch_job_id
    )
    with engine.connect() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute(asked)}


OPEN, DONE = ("running", "pending"), ("cancelled", "cancelled")
