"""The Postgres store, blocking and asyncio, on tables whose ids are texts, uuids or numbers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, ClassVar, LiteralString

import psycopg
import pytest
from psycopg import sql

from batch_cancel import JobKey
from batch_cancel.adapters import postgres
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
    ground,
)
from batch_cancel.testing.adapter import (
    ALL_SABOTAGES,
    IdKind,
    JobRow,
    Sabotage,
    StoreAdapter,
)
from tests.adapters_under_test.limits import BUDGET
from tests.lent_connections import LentConnections
from tests.sabotage import (
    POSTGRES_TRIGGERS,
    SETS_BACK,
)

FOREIGN_KEY: LiteralString = "batch_contacts_batch_job_id_fkey"


class PostgresTables(StoreAdapter):
    """The reference tables in a schema of the class's own."""

    overview = history = bulk = sweep = True
    contact_id_column = "id"
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
            "DELETE FROM batch_contacts; DELETE FROM batch_jobs; DELETE FROM batch_cancellations; "
            "DELETE FROM batch_cancellations_earlier"
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

    def close(self) -> Any:
        """Leave no trigger behind."""
        self.repair()

    def make_old(self, key: JobKey, contact_id: str, age: timedelta) -> None:
        """Set back the time of its last change."""
        self.look.execute(
            "UPDATE batch_contacts SET updated_at = now() - %s WHERE id::text = %s",
            [age, contact_id],
        )

    def uow(self) -> Any:
        """Return a unit of work with connections of its own."""
        return PostgresUnitOfWork(self._connect, self.schema, lock_timeout=BUDGET)

    def sweeping_uow(self) -> Any:
        """Return one that sweeps above two contacts."""
        return PostgresUnitOfWork(self._connect, self.schema, lock_timeout=BUDGET, sweep_above=2)

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
        """Return all that is committed, down to the rows' own addresses."""
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
        """Return a transaction of the caller's."""
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

    @pytest.fixture(autouse=True)
    def _lent(self, connections_of_class: LentConnections) -> None:
        self.lent = connections_of_class

    def uow(self) -> Any:
        """Return a unit of work with connections of its own."""
        return AsyncPostgresUnitOfWork(self.lent.lend_async, lock_timeout=BUDGET)

    def sweeping_uow(self) -> Any:
        """Return one that sweeps above two contacts."""
        return AsyncPostgresUnitOfWork(self.lent.lend_async, lock_timeout=BUDGET, sweep_above=2)

    def connections(self) -> int | None:
        """Count those that are not closed."""
        return self.lent.open_connections()

    def joined(self) -> Any:
        """Return a transaction of the caller's."""
        return self._joined_async()

    @asynccontextmanager
    async def _joined_async(self) -> AsyncGenerator[Any]:
        """Open a transaction of the caller's."""
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            yield postgres.joining_async(connection)
