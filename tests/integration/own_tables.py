"""Tables of the adopter's own, of any names and types, and a cancel by each half."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from importlib import resources
from typing import Any
from uuid import uuid4

import attrs
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import (
    CancelResult,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.postgres import (
    AsyncPostgresUnitOfWork,
    PostgresSchema,
    PostgresUnitOfWork,
)
from batch_cancel.adapters.postgres.schema import Table
from batch_cancel.testing.strategies import ENDED_CONTACTS, ENDED_JOBS, LIVE_JOBS, OPEN_CONTACTS

REFERENCE = PostgresSchema()

JOB_STATUSES = [*LIVE_JOBS, *ENDED_JOBS]
CONTACT_STATUSES = [*OPEN_CONTACTS, "dialing", *ENDED_CONTACTS]
AFTERWARDS = dict(zip(CONTACT_STATUSES, ["cancelled"] * 5 + CONTACT_STATUSES[5:], strict=True))
"""By hand: the first five become cancelled, the other seven stay what they were."""


def quoted(name: Table) -> sql.Identifier:
    """Quote the name of a table or a column."""
    return sql.Identifier(name) if isinstance(name, str) else sql.Identifier(*name)


def with_options(dsn: str, *settings: str) -> str:
    """Add settings of the server to a connection string."""
    before = conninfo_to_dict(dsn).get("options") or ""
    words = [str(before), *(f"-c{setting}" for setting in settings)]
    return make_conninfo(dsn, options=" ".join(words))


# Halves ------------------------------------------------------------------------------------------


@attrs.define
class Recorder:
    """A scheduler that removes whatever it is asked for, and remembers what that was."""

    asked: list[str] = attrs.field(factory=list[str])

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove a start."""
        self.asked.append(deferred_id)
        return True


@attrs.frozen
class AsyncRecorder:
    """The asyncio twin of a recorder."""

    recorder: Recorder

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Remove a start."""
        return self.recorder.cancel(deferred_id, operation_id)


@attrs.frozen
class Blocking:
    """The blocking half."""

    def uow(
        self, dsn: str, schema: PostgresSchema = REFERENCE, **settings: Any
    ) -> PostgresUnitOfWork:
        """Return a unit of work; `settings` are the connection's, and the timeouts."""
        timeouts, rest = _parted(settings)
        return PostgresUnitOfWork(lambda: psycopg.connect(dsn, **rest), schema, **timeouts)

    def cancel(
        self, uow: Any, batch_job_id: str, recorder: Recorder | None = None, **more: Any
    ) -> CancelResult:
        """Cancel a job."""
        return cancel_job(batch_job_id, uow=uow, scheduler=recorder or Recorder(), **more)

    def begun(self, uow: Any, story: Callable[[Callable[..., Any], Any], None]) -> None:
        """Return a story within a transaction; it is given a way to call a repository's method."""
        with uow.begin() as repositories:
            story(lambda method, *arguments: method(*arguments), repositories)


@attrs.frozen
class Asyncio:
    """The asyncio half."""

    def uow(
        self, dsn: str, schema: PostgresSchema = REFERENCE, **settings: Any
    ) -> AsyncPostgresUnitOfWork:
        """Return a unit of work; `settings` are the connection's, and the timeouts."""
        timeouts, rest = _parted(settings)
        twins = {
            psycopg.ClientCursor: psycopg.AsyncClientCursor,
            psycopg.RawCursor: psycopg.AsyncRawCursor,
        }
        if "cursor_factory" in rest:
            rest["cursor_factory"] = twins[rest["cursor_factory"]]
        return AsyncPostgresUnitOfWork(
            lambda: psycopg.AsyncConnection.connect(dsn, **rest), schema, **timeouts
        )

    def cancel(
        self, uow: Any, batch_job_id: str, recorder: Recorder | None = None, **more: Any
    ) -> CancelResult:
        """Cancel a job in an event loop of its own."""
        scheduler = AsyncRecorder(recorder or Recorder())
        return asyncio.run(cancel_job_async(batch_job_id, uow=uow, scheduler=scheduler, **more))

    def begun(self, uow: Any, story: Callable[[Callable[..., Any], Any], None]) -> None:
        """Return a story within a transaction; it is given a way to call a repository's method."""

        async def run() -> None:
            async with uow.begin() as repositories:

                def call(method: Callable[..., Any], *arguments: Any) -> Any:
                    # The story blocks, so the coroutine is driven from a thread beside it.
                    future = asyncio.run_coroutine_threadsafe(method(*arguments), loop)
                    return future.result()

                loop = asyncio.get_running_loop()
                await asyncio.to_thread(story, call, repositories)

        asyncio.run(run())


Half = Blocking | Asyncio
HALVES = pytest.mark.parametrize("half", [Blocking(), Asyncio()], ids=["blocking", "asyncio"])


def _parted(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    timeouts = {name: it for name, it in settings.items() if isinstance(it, timedelta)}
    return timeouts, {name: it for name, it in settings.items() if name not in timeouts}


# Tables ------------------------------------------------------------------------------------------


@attrs.frozen
class Tables:
    """An adopter's tables, seen through a connection of the test's own."""

    dsn: str
    connection: psycopg.Connection[tuple[Any, ...]]
    schema: PostgresSchema

    def add_job(
        self,
        batch_job_id: object,
        status: str = "scheduled",
        contacts: Mapping[str, str] | None = None,
        organization_id: object = None,
        deferred_id: object = None,
    ) -> None:
        """Add a job, with contacts by label."""
        names = self.schema
        values: dict[str, object] = {names.job_id: batch_job_id, names.job_status: status}
        if names.job_organization_id is not None:
            values[names.job_organization_id] = organization_id
        if names.job_deferred_id is not None:
            values[names.job_deferred_id] = deferred_id
        self._insert(names.jobs, values)
        for label, contact_status in (contacts or {}).items():
            contact: dict[str, object] = {
                names.contact_job_id: batch_job_id,
                names.contact_status: contact_status,
                "label": label,
            }
            self._insert(names.contacts, contact)

    def status(self, batch_job_id: object) -> str:
        """Return a job's status."""
        names = self.schema
        found = self.rows(
            "SELECT {}::text FROM {} WHERE {} = {}",
            quoted(names.job_status),
            quoted(names.jobs),
            quoted(names.job_id),
            batch_job_id,
        )
        [[status]] = found
        return str(status)

    def contacts(self, batch_job_id: object) -> dict[str, str]:
        """Return the statuses of a job's contacts by label."""
        names = self.schema
        found = self.rows(
            "SELECT label, {}::text FROM {} WHERE {} = {} ORDER BY label",
            quoted(names.contact_status),
            quoted(names.contacts),
            quoted(names.contact_job_id),
            batch_job_id,
        )
        return dict(found)

    def rows(self, query: Any, *parts: object) -> list[tuple[Any, ...]]:
        """Run a query with names and values filled in, and give its rows, if it has any."""
        cursor = self.connection.execute(sql.SQL(query).format(*parts))
        return cursor.fetchall() if cursor.description else []

    def records(self) -> list[tuple[Any, ...]]:
        """Return organization, job and operation of every cancellation."""
        return self.rows(
            "SELECT organization_id, batch_job_id, operation_id FROM {} ORDER BY 1, 2",
            quoted(self.schema.cancellations),
        )

    def _insert(self, table: Table, values: dict[str, object]) -> None:
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in values)
        literals = sql.SQL(", ").join(sql.Literal(value) for value in values.values())
        self.rows("INSERT INTO {} ({}) VALUES ({})", quoted(table), columns, literals)


@contextmanager
def tables(
    dsn: str,
    schema: PostgresSchema = REFERENCE,
    *,
    id_type: str = "text",
    organization_type: str = "text",
    deferred_type: str = "text",
    job_status_type: str = "text",
    contact_status_type: str = "text",
) -> Generator[Tables]:
    """Make tables of these names and types."""
    names = schema
    optional = {
        names.job_organization_id: organization_type,
        names.job_deferred_id: deferred_type,
        names.job_updated_at: "timestamptz",
    }
    job = {names.job_id: f"{id_type} PRIMARY KEY", names.job_status: job_status_type} | {
        name: kind for name, kind in optional.items() if name is not None
    }
    contact = {
        names.contact_job_id: id_type,
        names.contact_status: contact_status_type,
        "label": "text",
    }
    if names.contact_updated_at is not None:
        contact[names.contact_updated_at] = "timestamptz"
    with closing(psycopg.connect(dsn, autocommit=True)) as connection:
        made = Tables(dsn, connection, schema)
        for kind, labels in (("job_state", JOB_STATUSES), ("contact_state", CONTACT_STATUSES)):
            literals = sql.SQL(", ").join(map(sql.Literal, labels))
            made.rows("CREATE TYPE {} AS ENUM ({})", quoted(kind), literals)
            made.rows("CREATE DOMAIN {} AS {}", quoted(f"{kind}_domain"), quoted(kind))
        made.rows("CREATE DOMAIN text_domain AS text")
        for name in (names.jobs, names.contacts, names.cancellations):
            if isinstance(name, tuple):
                made.rows("CREATE SCHEMA IF NOT EXISTS {}", quoted(name[0]))
        _create(made, names.jobs, job)
        _create(made, names.contacts, contact)
        if names.contact_id == "label":
            made.rows(
                "CREATE UNIQUE INDEX ON {} ({}, label)",
                quoted(names.contacts),
                quoted(names.contact_job_id),
            )
        _create_cancellations(made)
        yield made


def _create(made: Tables, table: Table, columns: Mapping[str, str]) -> None:
    defined = sql.SQL(", ").join(
        sql.SQL("{} {}").format(quoted(name), sql.SQL(kind))  # type: ignore[arg-type,unused-ignore]  # pyright: ignore[reportArgumentType]
        for name, kind in columns.items()
    )
    made.rows("CREATE TABLE {} ({})", quoted(table), defined)


def _create_cancellations(made: Tables) -> None:
    ours = resources.files("batch_cancel.adapters.postgres").joinpath("tables.sql").read_bytes()
    name = made.schema.cancellations
    if name == "batch_cancellations":
        made.connection.execute(ours)
        return
    aside = sql.Identifier(f"aside_{uuid4().hex}")
    with made.connection.transaction():
        made.rows("CREATE SCHEMA {}", aside)
        before = made.connection.execute("SHOW search_path").fetchone()
        made.rows("SET LOCAL search_path TO {}", aside)
        made.connection.execute(ours)
        made.rows("SELECT set_config('search_path', {}, true)", (before or ("",))[0])
        ours_there = sql.SQL("{}.batch_cancellations").format(aside)
        made.rows("CREATE TABLE {} (LIKE {} INCLUDING ALL)", quoted(name), ours_there)
        made.rows("DROP SCHEMA {} CASCADE", aside)


EVERY_CONTACT = {status: status for status in CONTACT_STATUSES}

UUID = "6b29fc40-ca47-1067-b31d-00dd010662da"
OTHER_UUID = "00000000-0000-0000-0000-000000000000"
