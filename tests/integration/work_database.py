"""A job on real Postgres, and a second connection to race with, step by step."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import (
    cancel_rows,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    guards_ddl,
    joining,
)
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

WAIT_SECONDS = 20


class Database:
    """A job `j` with contacts, one connection to look through, and others to race with."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
        self.connection = psycopg.connect(dsn, autocommit=True)
        create_reference_tables(self.connection)
        self._threads = ThreadPoolExecutor(4)

    def close(self) -> None:
        """Let go of everything."""
        self._threads.shutdown()
        self.connection.close()

    def seed(self, status: str, *contacts: str) -> list[str]:
        """Make the job `j`; return its contacts' ids."""
        self.connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', %s)", [status])
        return [self._contact(contact) for contact in contacts]

    def _contact(self, status: str) -> str:
        ((contact_id,),) = self.connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) VALUES ('j', %s) "
            "RETURNING id::text",
            [status],
        ).fetchall()
        return str(contact_id)

    def guard(self) -> None:
        """Install the triggers."""
        self.connection.execute(guards_ddl(PostgresSchema()).encode())

    @property
    def job(self) -> str:
        """The job's status as committed."""
        ((status,),) = self.connection.execute("SELECT status FROM batch_jobs").fetchall()
        return str(status)

    @property
    def contacts(self) -> list[str]:
        """The contacts' statuses as committed, in the order of their ids."""
        rows = self.connection.execute("SELECT status FROM batch_contacts ORDER BY id")
        return [status for (status,) in rows]

    @contextmanager
    def cancelling(self) -> Generator[None]:
        """Do a cancel, and commit it at the end of the block."""
        with psycopg.connect(self.dsn) as connection:
            cancel_rows("j", uow=joining(connection))
            yield

    @contextmanager
    def writing(self, *statements: str) -> Generator[psycopg.Connection[Any]]:
        """Send a writer's statements, and commit them at the end of the block."""
        with psycopg.connect(self.dsn) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            yield connection

    def meanwhile(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        """Call in a thread, and return once that waits for a lock."""
        before = self._waiting()
        future = self._threads.submit(call, *arguments, **options)
        give_up = time.monotonic() + WAIT_SECONDS
        while self._waiting() <= before:
            assert not future.done(), f"it did not wait: {future}"
            assert time.monotonic() < give_up
        return future

    def _waiting(self) -> int:
        ((count,),) = self.connection.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database()"
        ).fetchall()
        return int(count)

    def send(self, statement: str, *values: str) -> None:
        """Send a naive writer's statement on a connection of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement.encode(), values)


@pytest.fixture
def database(postgres_schema: str) -> Iterator[Database]:
    """Yield a database with the reference tables."""
    it = Database(postgres_schema)
    yield it
    it.close()
