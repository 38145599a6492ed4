"""Transactions on Django's connection: its open transaction, or one of our own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import psycopg
from django import db

from batch_cancel.adapters.django.tables import DjangoTables
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, joining
from batch_cancel.adapters.postgres.doctor.catalog import Catalog
from batch_cancel.adapters.postgres.doctor.examination import examined
from batch_cancel.adapters.postgres.errors import lost, translated
from batch_cancel.adapters.postgres.repositories import PostgresRepositories
from batch_cancel.domain.defaults import LOCK_TIMEOUT, STATEMENT_TIMEOUT
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.errors import StoreFailed
from batch_cancel.use_cases.run_blocking import run

_django: Any = db  # It brings no types along.

_WHAT_TO_DO: Final = {
    "postgresql": "install psycopg 3",
    "sqlite": (
        "map the same tables with SqlAlchemyUnitOfWork of batch_cancel.adapters.sqlalchemy, on an "
        "engine of its own"
    ),
}
"""What to do about a connection that is not one of psycopg 3, by Django's name of the database."""

_ELSEWHERE: Final = "the jobs, their contacts and the records must be in Postgres"


class DjangoUnitOfWork:
    """
    Transactions on Django's connection: its open transaction, or one of our own.

    Within `atomic()` it is a savepoint, and the end of the outermost `atomic()` decides; timeouts
    are the caller's own. Outside, it is a transaction of its own, as those of
    `PostgresUnitOfWork`.

    Arguments:
        schema: your models and their fields, or the names of your tables and columns.
        using: the alias of the database.
        lock_timeout: how long a transaction of our own waits for the job's row.
        statement_timeout: how long one statement may take in it, and it may be idle.
    """

    def __init__(
        self,
        schema: PostgresSchema | DjangoTables | None = None,
        *,
        using: str = db.DEFAULT_DB_ALIAS,
        lock_timeout: timedelta = LOCK_TIMEOUT,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
    ) -> None:
        self.using = using
        given = schema.schema if isinstance(schema, DjangoTables) else schema
        self._schema = given or PostgresSchema()
        self._own = PostgresUnitOfWork(
            self._borrowed,
            self._schema,
            lock_timeout=lock_timeout,
            statement_timeout=statement_timeout,
        )

    @property
    def is_joined(self) -> bool:
        """Whether `begin()` would open a savepoint within an `atomic()` block."""
        # The block of a TestCase around each test does not count, as for `durable`.
        blocks = _django.connections[self.using].atomic_blocks
        return any(not block._from_testcase for block in blocks)

    @contextmanager
    def begin(self) -> Generator[PostgresRepositories]:
        """Open a transaction or a savepoint: keep it on a clean exit, undo it on any exception."""
        wrapper = _django.connections[self.using]
        if not wrapper.in_atomic_block:
            with self._own.begin() as repositories:
                yield repositories
            return
        if wrapper.needs_rollback:
            msg = "an earlier error rolls this atomic() block back: leave it, and cancel again"
            raise StoreFailed(msg)
        with translated():
            connection = self._connection()
        with joining(connection, self._schema).begin() as repositories:
            yield repositories

    def check(self) -> list[str]:
        """
        Return in sentences what the library misses in this database, without a change.

        An empty list means that it is fit: check when your program starts. A missing index makes a
        cancel slow; everything else makes it fail.
        """
        return self.examine().problems

    def examine(self) -> Diagnosis:
        """Return in sentences what fits, what is missing and what is slow, without a change."""
        try:
            with self.begin() as repositories:
                return run(examined(self._schema, Catalog(repositories.transaction)))
        except StoreFailed as error:
            return Diagnosis(missing=(error.reason,))

    def pause(self, attempts: int) -> None:
        """Wait before another attempt; the pause grows with the number of attempts."""
        self._own.pause(attempts)

    @contextmanager
    def _borrowed(self) -> Generator[psycopg.Connection[Any]]:
        """Yield Django's connection, and let Django open a new one if it has broken."""
        connection = self._connection()
        try:
            yield connection
        finally:
            if connection.closed:
                _django.connections[self.using].close()

    def _connection(self) -> psycopg.Connection[Any]:
        wrapper = _django.connections[self.using]
        try:
            wrapper.ensure_connection()
        except db.Error as error:
            # The Postgres adapter reads the driver's own error, which Django has wrapped.
            raise error.__cause__ or lost() from None
        connection: psycopg.Connection[Any] = wrapper.connection
        if not isinstance(wrapper.connection, psycopg.Connection):
            driver = type(wrapper.connection).__module__
            msg = (
                f"Django's database {self.using!r} does not use Postgres by psycopg 3, but "
                f"{wrapper.vendor} by {driver}: {_WHAT_TO_DO.get(wrapper.vendor, _ELSEWHERE)}, or "
                "name another database by `using`"
            )
            raise StoreFailed(msg)
        return connection
