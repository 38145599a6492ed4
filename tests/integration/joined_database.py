"""One running job of two contacts, in a schema of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy

from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import PostgresServer


class Database:
    """A database with one running job of two contacts."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True)
        create_reference_tables(self.connection)
        self.connection.execute("CREATE TABLE notes (note text)")
        self.connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('job', 'running')")
        self.connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) "
            "VALUES ('job', 'pending'), ('job', 'completed')"
        )

    def is_cancelled(self) -> bool:
        """Check whether job and open contact are cancelled; asserts that it is both or none."""
        statuses = self.connection.execute(
            "SELECT status FROM batch_jobs "
            "UNION ALL (SELECT status FROM batch_contacts ORDER BY id)"
        ).fetchall()
        recorded = self.connection.execute("SELECT count(*) FROM batch_cancellations").fetchone()
        if statuses == [("running",), ("pending",), ("completed",)]:
            assert recorded == (0,)
            return False
        assert statuses == [("cancelled",), ("cancelled",), ("completed",)]
        assert recorded == (1,)
        return True

    @property
    def notes(self) -> list[str]:
        """What the callers wrote in their own table."""
        return [note for (note,) in self.connection.execute("SELECT note FROM notes").fetchall()]


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """Yield a schema of the test's own."""
    with postgres_server.schema() as dsn:
        database = Database(dsn)
        yield database
        database.connection.close()


class Undone(Exception):
    """What a caller raises to roll back."""


def engine_of(dsn: str) -> sqlalchemy.Engine:
    """Return an engine whose connections are new ones of psycopg."""
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn),
        poolclass=sqlalchemy.NullPool,
    )
