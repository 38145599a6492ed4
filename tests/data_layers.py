"""
The data layers that adopters bring: SQLAlchemy over three drivers, and Django.

The tables are the reference ones: on Postgres made by our own SQL, on SQLite by SQLAlchemy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import batch_cancel
from batch_cancel.adapters.sqlalchemy import (
    AsyncSqlAlchemyUnitOfWork,
    SqlAlchemyTables,
    SqlAlchemyUnitOfWork,
    cancellations_table,
    joining,
    joining_async,
)
from batch_cancel.domain.job import JobKey
from tests import django_project

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from batch_cancel.adapters.django import DjangoUnitOfWork
    from tests.pairs import JobRow
    from tests.servers import MariaDbServer, PostgresServer

METADATA = sa.MetaData()
ID_CHARACTERS_MAX = 255
"""In MariaDB, where a key holds no more than 768."""
_TEXT = sa.Text().with_variant(
    # Ids that differ in anything are two ids here, as on the others.
    mysql.VARCHAR(ID_CHARACTERS_MAX, charset="utf8mb4", collation="utf8mb4_nopad_bin"),
    "mysql",
)
_TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NOW = {"server_default": sa.func.now()}

JOBS = sa.Table(
    "batch_jobs",
    METADATA,
    sa.Column("id", _TEXT, primary_key=True),
    sa.Column("organization_id", _TEXT),
    sa.Column("status", _TEXT),
    sa.Column("scheduled_job_id", _TEXT),
    sa.Column("updated_at", _TIME),
)
CONTACTS = sa.Table(
    "batch_contacts",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("batch_job_id", _TEXT),
    sa.Column("status", _TEXT),
    sa.Column("next_attempt_at", _TIME),
    sa.Column("updated_at", _TIME),
    sa.Column("label", _TEXT),
    sa.Index("ix_batch_contacts_batch_job_id", "batch_job_id", "next_attempt_at", "id"),
)
TABLES = SqlAlchemyTables(
    jobs=JOBS, contacts=CONTACTS, cancellations=cancellations_table(METADATA)
)


POOLED: Final = {"poolclass": sa.QueuePool, "max_overflow": -1}
POOLED_ASYNC: Final = {"poolclass": sa.AsyncAdaptedQueuePool, "max_overflow": -1}
"""Options of an engine that lends its connections again; whoever makes it disposes of it."""


def postgres_engine(dsn: str, **options: Any) -> sa.Engine:
    """Return an engine over psycopg."""
    options = {"poolclass": sa.NullPool, **options}
    return sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), **options
    )


def postgres_engine_async(dsn: str, **options: Any) -> AsyncEngine:
    """Return an engine over asyncpg."""
    import asyncpg

    given = conninfo_to_dict(dsn)
    search_path = str(given.get("options", "")).removeprefix("-csearch_path=")

    async def connect() -> Any:
        return await asyncpg.connect(
            host=given["host"],
            port=given["port"],
            user=given["user"],
            database=given["dbname"],
            password=given.get("password"),
            ssl=False,
            server_settings={"search_path": search_path} if search_path else {},
        )

    options = {"poolclass": sa.NullPool, **options}
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)


def postgres_uow(dsn: str, *, is_async: bool) -> Any:
    """Return a unit of work over psycopg, or over asyncpg."""
    if is_async:
        return AsyncSqlAlchemyUnitOfWork(postgres_engine_async(dsn), TABLES)
    return SqlAlchemyUnitOfWork(postgres_engine(dsn), TABLES)


def sqlite_engine(path: Path, **options: Any) -> sa.Engine:
    """Return an engine over the standard library's driver."""
    return sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool, **options)


def sqlite_engine_async(path: Path, **options: Any) -> AsyncEngine:
    """Return an engine over aiosqlite."""
    return create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=sa.NullPool, **options)


class AlchemyLayer:
    """The reference tables in a SQLite file, or in MariaDB, that SQLAlchemy has made."""

    def __init__(self, engine: sa.Engine, uow: Any) -> None:
        self._engine = engine
        self.uow = uow
        self.id_characters_max = ID_CHARACTERS_MAX if engine.dialect.name == "mysql" else None
        METADATA.create_all(engine)

    def clear(self) -> None:
        """Forget everything."""
        with self._engine.begin() as connection:
            for table in METADATA.sorted_tables:
                connection.execute(sa.delete(table))

    def add_job(
        self,
        key: JobKey,
        status: str | None,
        contacts: Mapping[str, str | None],
        deferred_id: str | None,
    ) -> None:
        """Seed a job and its contacts."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.insert(JOBS).values(
                    id=key.batch_job_id,
                    organization_id=key.organization_id,
                    status=status,
                    scheduled_job_id=deferred_id,
                )
            )
            for label, contact in contacts.items():
                connection.execute(
                    sa.insert(CONTACTS).values(
                        batch_job_id=key.batch_job_id, label=label, status=contact
                    )
                )

    def set_status(self, key: JobKey, status: str) -> None:
        """Set a job's status behind the library's back."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(JOBS).where(JOBS.c.id == key.batch_job_id).values(status=status)
            )

    def make_old(self, key: JobKey, label: str, age: timedelta) -> None:
        """Set a contact's times so long ago, its status unchanged."""
        of = (CONTACTS.c.batch_job_id == key.batch_job_id, CONTACTS.c.label == label)
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(CONTACTS).where(*of).values(updated_at=datetime.now(UTC) - age)
            )

    def rows(self) -> dict[JobKey, JobRow]:
        """Return all that is committed."""
        from tests.pairs import JobRow

        with self._engine.connect() as connection:
            jobs = connection.execute(sa.select(JOBS)).all()
            contacts = connection.execute(sa.select(CONTACTS)).all()
        return {
            JobKey(job.id, job.organization_id): JobRow(
                job.status,
                job.scheduled_job_id,
                job.updated_at,
                {
                    it.label: (it.status, it.updated_at)
                    for it in contacts
                    if it.batch_job_id == job.id
                },
            )
            for job in jobs
        }

    def contact_ids(self) -> Mapping[str, str]:
        """Return the id of a contact for its label, where the store makes ids of its own."""
        with self._engine.connect() as connection:
            found = connection.execute(
                # Of two jobs' contacts of one label, the last touched is meant.
                sa.select(CONTACTS.c.label, CONTACTS.c.id).order_by(
                    CONTACTS.c.updated_at.is_not(None), CONTACTS.c.updated_at
                )
            )
            return {label: str(number) for label, number in found}

    def columns(self, label: str) -> dict[str, object]:
        """Return the values by column of a new contact."""
        return {"label": label}


def sqlite(folder: Path, stack: ExitStack, *, is_async: bool) -> AlchemyLayer:
    """Return the tables in a new file, with a unit of work over either driver."""
    path = folder / "layer.sqlite"
    engine = sqlite_engine(path)
    stack.callback(engine.dispose)
    uow = (
        AsyncSqlAlchemyUnitOfWork(sqlite_engine_async(path), TABLES)
        if is_async
        else SqlAlchemyUnitOfWork(engine, TABLES)
    )
    return AlchemyLayer(engine, uow)


def mariadb_engine(server: MariaDbServer, database: str, **options: Any) -> sa.Engine:
    """Return an engine over the blocking driver."""
    return sa.create_engine(server.url(database), **{"poolclass": sa.NullPool, **options})


def mariadb_engine_async(server: MariaDbServer, database: str, **options: Any) -> AsyncEngine:
    """Return an engine over the driver of asyncio."""
    url = server.url(database, is_async=True)
    return create_async_engine(url, **{"poolclass": sa.NullPool, **options})


def mariadb(
    server: MariaDbServer, database: str, stack: ExitStack, *, is_async: bool
) -> AlchemyLayer:
    """Return the tables in a database, with a unit of work over either driver."""
    engine = mariadb_engine(server, database)
    stack.callback(engine.dispose)
    uow = (
        AsyncSqlAlchemyUnitOfWork(mariadb_engine_async(server, database), TABLES)
        if is_async
        else SqlAlchemyUnitOfWork(engine, TABLES)
    )
    return AlchemyLayer(engine, uow)


@contextmanager
def django_uow(
    dsn: str, *, alias: str | None = None, **options: Any
) -> Generator[DjangoUnitOfWork]:
    """Return a unit of work on a database that Django knows by this alias or its own."""
    django_project.configure()
    from django.db import connections

    from batch_cancel.adapters.django import DjangoUnitOfWork

    given = conninfo_to_dict(dsn)
    alias = alias or f"django_{uuid4().hex}"
    known: Any = connections.settings
    before = known.get(alias)
    with suppress(AttributeError):  # One that was made by other settings.
        del connections[alias]
    known[alias] = connections.configure_settings(
        {
            "default": {},
            alias: {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": given.pop("host"),
                "PORT": given.pop("port"),
                "USER": given.pop("user"),
                "NAME": given.pop("dbname"),
                "PASSWORD": given.pop("password", ""),
                "OPTIONS": given,
            },
        }
    )[alias]
    try:
        yield DjangoUnitOfWork(using=alias, **options)
    finally:
        connections[alias].close()
        del connections[alias]
        del known[alias]
        if before is not None:
            known[alias] = before


DRIVERS = ("psycopg", "asyncpg", "pysqlite", "aiosqlite")
"""What SQLAlchemy reaches its databases by, two of each kind."""


class Layer:
    """A database of the test's own, and the library's functions on it by one driver."""

    def __init__(self, driver: str, engine: sa.Engine, asyncio_engine: AsyncEngine | None) -> None:
        self.driver = driver
        self.engine = engine
        self.asyncio_engine = asyncio_engine

    @property
    def is_postgres(self) -> bool:
        """Whether it is Postgres; else it is SQLite."""
        return self.engine.dialect.name == "postgresql"

    def execute(self, *statements: str) -> None:
        """Run statements in a transaction."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def uow(self, tables: SqlAlchemyTables) -> Any:
        """Return a unit of work of this driver's kind."""
        if self.asyncio_engine is None:
            return SqlAlchemyUnitOfWork(self.engine, tables)
        return AsyncSqlAlchemyUnitOfWork(self.asyncio_engine, tables)

    def call(
        self,
        step: str,
        *arguments: Any,
        tables: SqlAlchemyTables,
        joined: bool = False,
        **more: Any,
    ) -> Any:
        """
        Call one of the library's functions, in a transaction of its own or in one of ours.

        Arguments:
            step: its name, without `_async`.
            arguments: what it takes before `uow`.
            tables: to call it with.
            joined: whether it joins a transaction, which is then committed.
            more: what it takes by name.
        """
        if self.asyncio_engine is not None:
            return asyncio.run(
                self._called(step, *arguments, tables=tables, joined=joined, **more)
            )
        function = getattr(batch_cancel, step)
        if not joined:
            return function(*arguments, uow=self.uow(tables), **more)
        with self.engine.begin() as connection:
            return function(*arguments, uow=joining(connection, tables), **more)

    async def _called(
        self, step: str, *arguments: Any, tables: SqlAlchemyTables, joined: bool, **more: Any
    ) -> Any:
        assert self.asyncio_engine is not None
        function = getattr(batch_cancel, f"{step}_async")
        if not joined:
            return await function(*arguments, uow=self.uow(tables), **more)
        async with self.asyncio_engine.begin() as connection:
            return await function(*arguments, uow=joining_async(connection, tables), **more)


@contextmanager
def layer(driver: str, postgres_server: PostgresServer, folder: Path) -> Generator[Layer]:
    """Yield an empty database by one of the drivers."""
    with ExitStack() as stack:
        if driver in {"psycopg", "asyncpg"}:
            dsn = stack.enter_context(postgres_server.schema())
            engine = postgres_engine(dsn, **POOLED)
            other = postgres_engine_async(dsn) if driver == "asyncpg" else None
        else:
            path = folder / "layer.sqlite"
            engine = sqlite_engine(path)
            other = sqlite_engine_async(path) if driver == "aiosqlite" else None
        stack.callback(engine.dispose)
        yield Layer(driver, engine, other)
