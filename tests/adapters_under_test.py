"""What the conformance kit needs to know of our own adapters."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, LiteralString
from uuid import uuid4

import attrs
import psycopg
import pytest
import redis
import redis.asyncio
import sqlalchemy as sa
from psycopg import sql

from batch_cancel import JobKey
from batch_cancel.adapters import postgres
from batch_cancel.adapters import sqlalchemy as alchemy
from batch_cancel.adapters import sqlite as sqlite_adapter
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    MemoryScheduler,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    ground,
)
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.testing.adapter import (
    ALL_SABOTAGES,
    IdKind,
    JobRow,
    Sabotage,
    SchedulerAdapter,
    StoreAdapter,
)
from tests import data_layers
from tests.pairs import PATIENCE
from tests.sabotage import (
    POSTGRES_TRIGGERS,
    SETS_BACK,
    SQLITE_TRIGGERS,
    AsyncUndoneStore,
    UndoneStore,
)

if TYPE_CHECKING:
    from pathlib import Path

    from batch_cancel.adapters.django import DjangoUnitOfWork
    from tests.servers import RedisServer

HOUR = timedelta(hours=1)
BUDGET = timedelta(seconds=2)
"""For a lock: as long as nobody waits who gets it, and soon over where nobody does."""
FOREIGN_KEY: LiteralString = "batch_contacts_batch_job_id_fkey"

# Stores ------------------------------------------------------------------------------------------


class MemoryTables(StoreAdapter):
    """The memory store."""

    row_locks = False  # One transaction runs at a time.
    lock_timeout = False
    sabotages = ALL_SABOTAGES
    kind: ClassVar[Any] = UndoneStore

    def fresh(self) -> None:
        """Forget everything."""
        self._store = self.kind()
        self.keys: list[JobKey] = []

    def sabotage(self, what: Sabotage) -> None:
        """Let the store undo what it writes."""
        if what == "job set back":
            for key, row in list(self._store._committed.items()):
                if row.status == "cancelled":
                    self._store._committed[key] = attrs.evolve(row, status="scheduled")
            return
        self._store.undone = what

    def make_old(self, key: JobKey, contact_id: str, age: timedelta) -> None:
        """Say again what its status is, and since when."""
        contacts = self.store.contacts(key.batch_job_id, key.organization_id)
        self.store.add_contacts(
            key.batch_job_id,
            {contact_id: contacts[contact_id]},
            key.organization_id,
            since=datetime.now(UTC) - age,
        )

    @property
    def store(self) -> Any:
        """The store."""
        return self._store

    def uow(self) -> Any:
        """Give the store itself: it shares nothing between transactions."""
        return self.store

    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> list[str]:
        """Put in a job."""
        self.keys.append(key)
        ids = [f"{number:03}" for number in range(len(contacts))]
        self.store.add_job(key.batch_job_id, status, key.organization_id, deferred_id)
        self.store.add_contacts(
            key.batch_job_id, dict(zip(ids, contacts, strict=True)), key.organization_id
        )
        return ids

    def dump(self) -> dict[JobKey, JobRow]:
        """Give all that is committed."""
        return {key: self._row(key) for key in self.keys}

    def _row(self, key: JobKey) -> JobRow:
        job = self.store.job(key.batch_job_id, key.organization_id)
        contacts = self.store.contacts(key.batch_job_id, key.organization_id)
        return JobRow(job.status, job.deferred_id, {it: (contacts[it],) for it in contacts})

    def joined(self) -> Any:
        """Give a transaction of the caller's."""
        return self._joined()

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction; what begins within it is a savepoint."""
        with self.store.begin():
            yield self.store


class AsyncMemoryTables(MemoryTables):
    """The memory store's twin."""

    is_async = True
    kind = AsyncUndoneStore

    def joined(self) -> Any:
        """Give a transaction of the caller's."""
        return self._joined_async()

    @asynccontextmanager
    async def _joined_async(self) -> AsyncGenerator[Any]:
        """Open a transaction; what begins within it is a savepoint."""
        async with self.store.begin():
            yield self.store


class SqliteTables(MemoryTables):
    """The SQLite store, a new file each time."""

    lock_timeout = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.sqlite" for number in itertools.count())

    def fresh(self) -> None:
        """Make another file."""
        self.path = next(self.paths)
        self.keys = []

    @property
    def store(self) -> Any:
        """The file, opened anew each time."""
        return SqliteStore(self.path, busy_timeout_seconds=BUDGET.total_seconds())

    def sabotage(self, what: Sabotage) -> None:
        """Add triggers; the next test has another file."""
        connection = sqlite3.connect(self.path)
        with closing(connection), connection:
            connection.executescript(SQLITE_TRIGGERS[what])

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                yield sqlite_adapter.joining(connection)
        finally:
            connection.close()


class PostgresTables(StoreAdapter):
    """The reference tables in a schema of the class's own."""

    ids_per_organization = False  # The id alone is the primary key.
    sabotages = ALL_SABOTAGES
    dsn: str
    look: psycopg.Connection[Any]
    schema: ClassVar = PostgresSchema()
    jobs: ClassVar[LiteralString] = (
        "SELECT id, organization_id, status, scheduled_job_id, updated_at, xmin::text "
        "FROM batch_jobs"
    )

    @pytest.fixture(autouse=True)
    def _tables(self, tables_of_class: tuple[str, psycopg.Connection[Any]]) -> None:
        self.lend(*tables_of_class)

    def lend(self, dsn: str, look: psycopg.Connection[Any]) -> None:
        """Take the tables, and a connection to look into them."""
        self.dsn, self.look = dsn, look
        self.opened: list[psycopg.Connection[Any] | psycopg.AsyncConnection[Any]] = []

    def fresh(self) -> None:
        """Forget everything."""
        self.repair()
        self.look.execute(
            "DELETE FROM batch_contacts; DELETE FROM batch_jobs; DELETE FROM batch_cancellations"
        )

    def repair(self) -> None:
        """Drop the triggers of a sabotage."""
        for table in ("batch_jobs", "batch_contacts", "batch_cancellations"):
            drop = sql.SQL("DROP TRIGGER IF EXISTS sabotage ON {}").format(sql.Identifier(table))
            self.look.execute(drop)

    def sabotage(self, what: Sabotage) -> None:
        """Add a trigger."""
        if what == "job set back":
            self.look.execute(SETS_BACK)
            return
        table, event, body = POSTGRES_TRIGGERS[what]
        self.look.execute(
            "CREATE OR REPLACE FUNCTION sabotage() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} END $$"
        )
        self.look.execute(
            f"CREATE TRIGGER sabotage {event} ON {table} FOR EACH ROW EXECUTE FUNCTION sabotage()"
        )
        # A process asks the catalogs once: it goes on as one that begins now.
        ground.KNOWN.clear()

    def close(self) -> None:
        """Leave no trigger behind."""
        self.repair()

    def make_old(self, key: JobKey, contact_id: str, age: timedelta) -> None:
        """Set back the time of its last change."""
        self.look.execute(
            "UPDATE batch_contacts SET updated_at = now() - %s WHERE id::text = %s",
            [age, contact_id],
        )

    def uow(self) -> Any:
        """Give a unit of work with connections of its own."""
        return PostgresUnitOfWork(self._connect, self.schema, lock_timeout=BUDGET)

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.dsn)
        self.opened.append(connection)
        return connection

    def connections(self) -> int | None:
        """Count those that are not closed."""
        return sum(not connection.closed for connection in self.opened)

    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> list[str]:
        """Put in a job."""
        self._insert_job(key, status, deferred_id)
        rows = self.look.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) SELECT job.id, given.status "
            "FROM batch_jobs job, unnest(%s::text[]) WITH ORDINALITY AS given (status, number) "
            "WHERE job.id::text = %s ORDER BY number RETURNING id::text",
            [list(contacts), key.batch_job_id],
        )
        return [contact_id for (contact_id,) in rows]

    def _insert_job(self, key: JobKey, status: str | None, deferred_id: str | None) -> None:
        self.look.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "VALUES (%s, %s, %s, %s)",
            [key.batch_job_id, key.organization_id, status, deferred_id],
        )

    def new_contact(self) -> Mapping[str, object]:
        """Name a column at least."""
        return {"next_attempt_at": None}

    def dump(self) -> dict[JobKey, JobRow]:
        """Give all that is committed, down to the rows' own addresses."""
        contacts: dict[str, dict[str, Sequence[object]]] = {}
        for job_id, contact_id, *row in self.look.execute(
            "SELECT batch_job_id::text, id::text, status, next_attempt_at, updated_at, "
            "xmin::text, ctid::text FROM batch_contacts"
        ):
            contacts.setdefault(job_id, {})[contact_id] = row
        rows = self.look.execute(self.jobs)
        return {
            JobKey(job_id, organization_id): JobRow(
                status, deferred_id, contacts.get(job_id, {}), rest
            )
            for job_id, organization_id, status, deferred_id, *rest in rows
        }

    def joined(self) -> Any:
        """Give a transaction of the caller's."""
        return self._joined()

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        with psycopg.connect(self.dsn) as connection:
            yield postgres.joining(connection, self.schema)


class UuidTables(PostgresTables):
    """Tables whose jobs have uuids, no organization, and no column for their deferred start."""

    ids = IdKind.UUID
    type_of_id: ClassVar[LiteralString] = "uuid"
    organizations = ()
    schema = PostgresSchema(job_organization_id=None, job_deferred_id=None)

    def lend(self, dsn: str, look: psycopg.Connection[Any]) -> None:
        """Take the tables, altered."""
        super().lend(dsn, look)
        self.fresh()
        look.execute("ALTER TABLE batch_contacts DROP CONSTRAINT IF EXISTS " + FOREIGN_KEY)
        look.execute(
            "ALTER TABLE batch_contacts ALTER batch_job_id TYPE " + self.type_of_id + " USING null"
        )
        look.execute("ALTER TABLE batch_jobs ALTER id TYPE " + self.type_of_id + " USING null")
        look.execute("ALTER TABLE batch_jobs DROP COLUMN IF EXISTS organization_id")
        look.execute("ALTER TABLE batch_jobs DROP COLUMN IF EXISTS scheduled_job_id")

    def _insert_job(self, key: JobKey, status: str | None, deferred_id: str | None) -> None:
        self.look.execute(
            "INSERT INTO batch_jobs (id, status) "  # A type of ours.
            "VALUES (%s::text::" + self.type_of_id + ", %s)",
            [key.batch_job_id, status],
        )

    jobs = "SELECT id::text, NULL, status, id::text, updated_at, xmin::text FROM batch_jobs"


class IntegerTables(UuidTables):
    """The same with numbers."""

    ids = IdKind.INTEGER
    type_of_id = "bigint"


class AsyncPostgresTables(PostgresTables):
    """The twin of the Postgres unit of work."""

    is_async = True

    def uow(self) -> Any:
        """Give a unit of work with connections of its own."""
        return AsyncPostgresUnitOfWork(self._connect_async, lock_timeout=BUDGET)

    async def _connect_async(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(self.dsn)
        self.opened.append(connection)
        return connection

    def joined(self) -> Any:
        """Give a transaction of the caller's."""
        return self._joined_async()

    @asynccontextmanager
    async def _joined_async(self) -> AsyncGenerator[Any]:
        """Open a transaction of the caller's."""
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            yield postgres.joining_async(connection)


class SqlAlchemyTables(PostgresTables):
    """SQLAlchemy over psycopg."""

    def uow(self) -> Any:
        """Give a unit of work with an engine of its own."""
        engine = data_layers.postgres_engine(self.dsn)
        return alchemy.SqlAlchemyUnitOfWork(engine, data_layers.TABLES, lock_timeout=BUDGET)

    def connections(self) -> int | None:
        """They are the engine's."""
        return None

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        with data_layers.postgres_engine(self.dsn).begin() as connection:
            yield alchemy.joining(connection, data_layers.TABLES)


class AsyncSqlAlchemyTables(PostgresTables):
    """SQLAlchemy over asyncpg."""

    is_async = True

    def uow(self) -> Any:
        """Give a unit of work with an engine of its own."""
        engine = data_layers.postgres_engine_async(self.dsn)
        return alchemy.AsyncSqlAlchemyUnitOfWork(engine, data_layers.TABLES, lock_timeout=BUDGET)

    def connections(self) -> int | None:
        """They are the engine's."""
        return None

    def joined(self) -> Any:
        """Give a transaction of the caller's."""
        return self._joined_async()

    @asynccontextmanager
    async def _joined_async(self) -> AsyncGenerator[Any]:
        """Open a transaction of the caller's."""
        async with data_layers.postgres_engine_async(self.dsn).begin() as connection:
            yield alchemy.joining_async(connection, data_layers.TABLES)


class SqlAlchemySqliteTables(StoreAdapter):
    """SQLAlchemy over the standard library's driver, a new file each time."""

    row_locks = False
    ids_per_organization = False  # The id alone is the primary key.
    sabotages = ALL_SABOTAGES

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.sqlite" for number in itertools.count())

    def fresh(self) -> None:
        """Make another file."""
        self.path = next(self.paths)
        data_layers.METADATA.create_all(self._engine())

    def _engine(self) -> sa.Engine:
        timeout = {"timeout": BUDGET.total_seconds()}
        return data_layers.sqlite_engine(self.path, connect_args=timeout)

    def uow(self) -> Any:
        """Give a unit of work with an engine of its own."""
        return alchemy.SqlAlchemyUnitOfWork(self._engine(), data_layers.TABLES)

    def seed(
        self,
        key: JobKey,
        status: str | None,
        contacts: Sequence[str | None],
        deferred_id: str | None,
    ) -> list[str]:
        """Put in a job."""
        ids = []
        with self._engine().begin() as connection:
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
        with self._engine().begin() as connection:
            connection.execute(
                sa.update(contacts).where(contacts.c.id == int(contact_id)).values(updated_at=at)
            )

    def new_contact(self) -> Mapping[str, object]:
        """Name a column at least."""
        return {"next_attempt_at": None}

    def dump(self) -> dict[JobKey, JobRow]:
        """Give all that is committed."""
        contacts: dict[str, dict[str, Sequence[object]]] = {}
        with self._engine().connect() as connection:
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
        """Give a transaction of the caller's."""
        return self._joined()

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a transaction of the caller's."""
        with self._engine().begin() as connection:
            yield alchemy.joining(connection, data_layers.TABLES)


@attrs.frozen
class _LeavingNoConnection:
    """A thread that ends leaves its connection open, unless somebody closes it."""

    site: DjangoUnitOfWork

    @contextmanager
    def begin(self) -> Generator[Any]:
        """Open a transaction, and close Django's connection after it."""
        from django.db import connections

        try:
            with self.site.begin() as repositories:
                yield repositories
        finally:
            connections[self.site.using].close()

    def pause(self, attempts: int) -> None:
        """Wait a little."""
        self.site.pause(attempts)


class DjangoTables(PostgresTables):
    """Django's connection, one a thread as ever."""

    @pytest.fixture(autouse=True)
    def _site(self, tables_of_class: tuple[str, psycopg.Connection[Any]]) -> Iterator[None]:
        with data_layers.django_uow(tables_of_class[0], lock_timeout=BUDGET) as uow:
            self.site = uow
            yield

    def uow(self) -> Any:
        """Give the unit of work: what it does in another thread is on another connection."""
        return _LeavingNoConnection(self.site)

    def connections(self) -> int | None:
        """They are Django's."""
        return None

    @contextmanager
    def _joined(self) -> Generator[Any]:
        """Open a block of the caller's."""
        from django.db import transaction

        block: Any = transaction.atomic(using=self.site.using)
        with block:
            yield self.site


# Schedulers --------------------------------------------------------------------------------------


class NativeStarts(SchedulerAdapter):
    """A scheduler that has `schedule`, `waiting` and `claim` of its own."""

    def schedule(self, scheduler: Any, deferred_id: str) -> Any:
        """Schedule a start for an hour from now."""
        return scheduler.schedule(deferred_id, datetime.now(UTC) + HOUR)

    def waiting(self, scheduler: Any) -> Any:
        """Give what waits."""
        return scheduler.waiting()

    def fire(self, scheduler: Any) -> Any:
        """Move what waits to the past, and claim it."""
        for deferred_id in scheduler.waiting():
            scheduler.schedule(deferred_id, datetime.now(UTC) - HOUR)
        return {start.deferred_id for start in scheduler.claim(1000, HOUR)}


class MemoryStarts(NativeStarts):
    """The memory scheduler."""

    def scheduler(self) -> Any:
        """Give an empty one."""
        return MemoryScheduler()


class SqliteStarts(NativeStarts):
    """The SQLite scheduler."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def scheduler(self) -> Any:
        """Give one in a new file."""
        return SqliteScheduler(self.path / f"{uuid4().hex}.sqlite")


class OnRedis(NativeStarts):
    """The server that all tests share."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer, redis_prefix: str) -> None:
        self.url, self.prefix = redis_server.url(), redis_prefix


class RedisStarts(OnRedis):
    """The Redis scheduler."""

    def scheduler(self) -> Any:
        """Give one in a namespace of its own."""
        self.client = redis.Redis.from_url(self.url)
        return RedisScheduler(self.client, namespace=self.prefix, budget=PATIENCE)

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class AsyncStarts(NativeStarts):
    """A scheduler of the asyncio kind."""

    is_async = True

    async def fire(self, scheduler: Any) -> Any:
        """Move what waits to the past, and claim it."""
        waiting = scheduler.waiting()
        for deferred_id in await waiting if asyncio.iscoroutine(waiting) else waiting:
            await scheduler.schedule(deferred_id, datetime.now(UTC) - HOUR)
        return {start.deferred_id for start in await scheduler.claim(1000, HOUR)}


class AsyncMemoryStarts(AsyncStarts):
    """The memory scheduler's twin."""

    def scheduler(self) -> Any:
        """Give an empty one."""
        return AsyncMemoryScheduler()


class AsyncRedisStarts(AsyncStarts, OnRedis):
    """The Redis scheduler's twin."""

    def scheduler(self) -> Any:
        """Give one in a namespace of its own."""
        self.client = redis.asyncio.Redis.from_url(self.url)
        return AsyncRedisScheduler(self.client, namespace=self.prefix, budget=PATIENCE)

    async def close(self) -> None:
        """Close the client."""
        await self.client.aclose()
