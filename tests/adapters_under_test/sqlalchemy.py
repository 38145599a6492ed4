"""The store of SQLAlchemy, on Postgres and on SQLite."""

from __future__ import annotations

import functools
import itertools
import shutil
import sqlite3
import threading
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import psycopg
import pytest
import sqlalchemy as sa

from batch_cancel import JobKey
from batch_cancel.adapters import sqlalchemy as alchemy
from batch_cancel.testing.adapter import (
    ALL_SABOTAGES,
    JobRow,
    Sabotage,
    StoreAdapter,
)
from tests import data_layers
from tests.adapters_under_test.limits import BUDGET
from tests.adapters_under_test.postgres import PostgresTables
from tests.sabotage import (
    SQLITE_TRIGGERS,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from batch_cancel.adapters.django import DjangoUnitOfWork


@functools.cache
def engine_of(dsn: str) -> sa.Engine:
    """Return the engine, one as in an application: what it has compiled serves the next test."""
    return data_layers.postgres_engine(dsn, **data_layers.POOLED)


@functools.cache
def engine_of_async(dsn: str) -> AsyncEngine:
    """As `engine_of`, over asyncpg."""
    return data_layers.postgres_engine_async(dsn, **data_layers.POOLED_ASYNC)


class SqlAlchemyTables(PostgresTables):
    """SQLAlchemy over psycopg."""

    sweep = False

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _engine(cls, tables_of_class: tuple[str, psycopg.Connection[Any]]) -> Iterator[None]:
        yield
        engine_of(tables_of_class[0]).dispose()

    def uow(self) -> Any:
        """Return a unit of work with connections of its own."""
        engine = engine_of(self.dsn)
        return alchemy.SqlAlchemyUnitOfWork(engine, data_layers.TABLES, lock_timeout=BUDGET)

    def connections(self) -> int | None:
        """They are the engine's."""
        return None

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        with engine_of(self.dsn).begin() as connection:
            yield alchemy.joining(connection, data_layers.TABLES)


class AsyncSqlAlchemyTables(PostgresTables):
    """SQLAlchemy over asyncpg."""

    sweep = False
    is_async = True

    async def close(self) -> None:
        """Leave no connection behind either: the next test has another event loop."""
        super().close()
        await engine_of_async(self.dsn).dispose()

    def uow(self) -> Any:
        """Return a unit of work with connections of its own."""
        engine = engine_of_async(self.dsn)
        return alchemy.AsyncSqlAlchemyUnitOfWork(engine, data_layers.TABLES, lock_timeout=BUDGET)

    def connections(self) -> int | None:
        """They are the engine's."""
        return None

    def joined(self) -> Any:
        """Return a transaction of the caller's."""
        return self._joined_async()

    @asynccontextmanager
    async def _joined_async(self) -> AsyncGenerator[Any]:
        """Open a transaction of the caller's."""
        async with engine_of_async(self.dsn).begin() as connection:
            yield alchemy.joining_async(connection, data_layers.TABLES)


class _Files:
    """One engine, as `engine_of`; its connections are to the file that is set."""

    def __init__(self) -> None:
        self.path = Path()
        self.engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=sa.NullPool)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUDGET.total_seconds())


class SqlAlchemySqliteTables(StoreAdapter):
    """SQLAlchemy over the standard library's driver, a new file each time."""

    overview = history = bulk = True
    contact_id_column = "id"
    row_locks = False
    ids_per_organization = False  # The id alone is the primary key.
    sabotages = ALL_SABOTAGES
    files: ClassVar = _Files()
    engine: ClassVar = files.engine
    empty: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _tables(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.empty = cls.files.path = tmp_path_factory.mktemp("empty") / "tables.sqlite"
        data_layers.METADATA.create_all(cls.engine, checkfirst=False)

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.sqlite" for number in itertools.count())

    def fresh(self) -> None:
        """Make another file; to copy the tables is quicker than to create them."""
        self.path = self.files.path = next(self.paths)
        shutil.copyfile(self.empty, self.path)

    def uow(self) -> Any:
        """Return a unit of work with connections of its own."""
        return alchemy.SqlAlchemyUnitOfWork(self.engine, data_layers.TABLES)

    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> list[str]:
        """Put in a job."""
        ids = []
        with self.engine.begin() as connection:
            connection.execute(
                sa.insert(data_layers.JOBS).values(
                    id=key.batch_job_id,
                    organization_id=key.organization_id,
                    status=status,
                    scheduled_job_id=deferred_id,
                )
            )
            for contact in contacts:
                row = {"batch_job_id": key.batch_job_id, "status": contact}
                insert = sa.insert(data_layers.CONTACTS).returning(data_layers.CONTACTS.c.id)
                ids.append(str(connection.execute(insert, row).scalar_one()))
        return ids

    def sabotage(self, what: Sabotage) -> None:
        """Add triggers; the next test has another file."""
        triggers = SQLITE_TRIGGERS[what]
        for name, here in (
            ("job_number", "batch_job_id"),
            ("NEW.number", "NEW.id"),
            ("number = ", "id = "),
            ("'added', ", "1000, "),
        ):
            triggers = triggers.replace(name, here)
        connection = sqlite3.connect(self.path)
        with closing(connection), connection:
            connection.executescript(triggers)

    def make_old(self, key: JobKey, contact_id: str, age: timedelta) -> None:
        """Set back the time of its last change."""
        at = datetime.now(UTC) - age
        contacts = data_layers.CONTACTS
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(contacts).where(contacts.c.id == int(contact_id)).values(updated_at=at)
            )

    def new_contact(self) -> Mapping[str, object]:
        """Name a column at least."""
        return {"next_attempt_at": None}

    def dump(self) -> dict[JobKey, JobRow]:
        """Return all that is committed."""
        contacts: dict[str, dict[str, Sequence[object]]] = {}
        with self.engine.connect() as connection:
            for row in connection.execute(sa.select(data_layers.CONTACTS)):
                of_job = contacts.setdefault(row.batch_job_id, {})
                of_job[str(row.id)] = (row.status, row.next_attempt_at, row.updated_at)
            return {
                JobKey(row.id, row.organization_id): JobRow(
                    row.status, row.scheduled_job_id, contacts.get(row.id, {}), row.updated_at
                )
                for row in connection.execute(sa.select(data_layers.JOBS))
            }

    def joined(self) -> Any:
        """Return a transaction of the caller's."""
        return self._joined()

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        with self.engine.begin() as connection:
            yield alchemy.joining(connection, data_layers.TABLES)


@attrs.frozen
class _LeavingNoConnection:
    """A thread that ends leaves its connection open, unless somebody closes it."""

    site: DjangoUnitOfWork

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction, and close the connection of another thread after it."""
        from django.db import connections

        try:
            with self.site.begin() as repositories:
                yield repositories
        finally:
            if threading.current_thread() is not threading.main_thread():
                connections[self.site.using].close()

    def pause(self, attempts: int) -> None:
        """Wait a little."""
        self.site.pause(attempts)
