"""
Worlds: one store with one scheduler, seen through the same few verbs whatever they are.

Tests are written once, blocking, and run in every world. A store or a scheduler of the asyncio
kind is driven through one event loop of the world's own, so that its clients live as long as it.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Awaitable, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import uuid4

import attrs
import psycopg
import redis
import redis.asyncio

from batch_cancel import (
    CancelResult,
    Drift,
    JobKey,
    append_contacts,
    append_contacts_async,
    cancel_job,
    cancel_job_async,
    cancel_rows,
    cancel_rows_async,
    claim_contacts,
    claim_contacts_async,
    expire_calls,
    expire_calls_async,
    finish_job,
    finish_job_async,
    inspect,
    inspect_async,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
    settle_contact,
    settle_contact_async,
    start_job,
    start_job_async,
    still_running,
    still_running_async,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from tests import data_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    import pytest

    from batch_cancel import Cancellation
    from batch_cancel.domain.model import CancellationRecord

LATER = timedelta(hours=1)
PATIENCE = timedelta(seconds=10)
"""A budget of Redis that a loaded machine keeps: these tests are of answers, not of delays."""

STORES = ("memory", "memory-async", "sqlite", "postgres", "postgres-async")
LAYERED = [
    (store, "memory")
    for store in (
        "sqlalchemy-sqlite",
        "sqlalchemy-sqlite-async",
        "sqlalchemy-postgres",
        "sqlalchemy-postgres-async",
        "django",
    )
]
"""
Worlds whose store goes by way of a data layer. What it does does not depend on the scheduler, so
each has but one.
"""
SCHEDULERS = ("memory", "sqlite", "redis", "cluster")


def pairs(schedulers: Sequence[str] = SCHEDULERS) -> list[tuple[str, str]]:
    """Name every world: a store, and a scheduler of its own kind, one of `schedulers`."""
    return [
        (store, scheduler)
        for store, scheduler in itertools.product(STORES, schedulers)
        if not (store.endswith("-async") and scheduler == "sqlite")  # SQLite has no asyncio half.
    ]


@attrs.frozen
class JobRow:
    """
    All that a store holds of a job, comparable as a whole.

    Arguments:
        status: as stored.
        deferred_id: as stored.
        touched_at: when the row was last changed; None where the store keeps no such time.
        contacts: status and time of last change of each contact, by its label.
    """

    status: str | None
    deferred_id: str | None
    touched_at: object
    contacts: Mapping[str, tuple[str | None, object]]

    @property
    def statuses(self) -> dict[str, str | None]:
        """The contacts' statuses alone."""
        return {label: status for label, (status, _) in self.contacts.items()}


class Store(Protocol):
    """A store under test."""

    uow: Any

    def clear(self) -> None:
        """Forget everything."""

    def add_job(
        self,
        key: JobKey,
        status: str | None,
        contacts: Mapping[str, str | None],
        deferred_id: str | None,
    ) -> None:
        """Seed a job and its contacts."""

    def set_status(self, key: JobKey, status: str) -> None:
        """Set a job's status behind the library's back."""

    def rows(self) -> dict[JobKey, JobRow]:
        """Give all that is committed."""
        ...

    def make_old(self, key: JobKey, label: str, age: timedelta) -> None:
        """Set a contact's times so long ago, its status unchanged."""

    def contact_ids(self) -> Mapping[str, str]:
        """Give the id of a contact for its label, where the store makes ids of its own."""
        ...

    def columns(self, label: str) -> dict[str, object]:
        """Give the values by column of a new contact."""
        ...


class MemoryTables:
    """The memory store, blocking or asyncio."""

    def __init__(self, kind: type[MemoryStore | AsyncMemoryStore]) -> None:
        self._kind = kind
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._keys: list[JobKey] = []
        self.uow = self._kind()

    def add_job(
        self,
        key: JobKey,
        status: str | None,
        contacts: Mapping[str, str | None],
        deferred_id: str | None,
    ) -> None:
        """Seed a job and its contacts."""
        self._keys.append(key)
        self.uow.add_job(key.batch_job_id, status, key.organization_id, deferred_id)
        self.uow.add_contacts(key.batch_job_id, contacts, key.organization_id)

    def set_status(self, key: JobKey, status: str) -> None:
        """Set a job's status behind the library's back."""
        # No plain method does this on purpose; a test may reach behind the counter.
        rows = self.uow._committed
        rows[key] = attrs.evolve(rows[key], status=status)

    def make_old(self, key: JobKey, label: str, age: timedelta) -> None:
        """Set a contact's times so long ago, its status unchanged."""
        status = self.uow.contacts(key.batch_job_id, key.organization_id)[label]
        since = datetime.now(UTC) - age
        self.uow.add_contacts(key.batch_job_id, {label: status}, key.organization_id, since=since)

    def rows(self) -> dict[JobKey, JobRow]:
        """Give all that is committed."""
        return {key: self._row(key) for key in self._keys}

    def contact_ids(self) -> Mapping[str, str]:
        """Give the id of a contact for its label, where the store makes ids of its own."""
        return {}

    def columns(self, label: str) -> dict[str, object]:
        """Give the values by column of a new contact."""
        return {"id": label}

    def _row(self, key: JobKey) -> JobRow:
        job = self.uow.job(key.batch_job_id, key.organization_id)
        contacts = self.uow.contacts(key.batch_job_id, key.organization_id)
        assert job is not None
        return JobRow(
            job.status,
            job.deferred_id,
            None,
            {label: (status, None) for label, status in contacts.items()},
        )


class SqliteTables(MemoryTables):
    """The SQLite store, a new file after each `clear`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = itertools.count()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._keys = []
        self._path = self._folder / f"jobs-{next(self._files)}.sqlite"
        self.uow: Any = SqliteStore(self._path)

    def set_status(self, key: JobKey, status: str) -> None:
        """Set a job's status behind the library's back."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute(
                "UPDATE batch_jobs SET status = ? WHERE id = ?", (status, key.batch_job_id)
            )


class PostgresTables:
    """The reference tables in a schema of their own."""

    def __init__(self, dsn: str, uow: Any) -> None:
        self.uow = uow
        self.connection = psycopg.connect(dsn, autocommit=True)
        create_reference_tables(self.connection)
        # Adopters' tables may allow what ours does not.
        self.connection.execute("ALTER TABLE batch_jobs ALTER status DROP NOT NULL")
        self.connection.execute("ALTER TABLE batch_contacts ALTER status DROP NOT NULL")
        self.connection.execute("ALTER TABLE batch_contacts ADD label text")

    def clear(self) -> None:
        """Forget everything."""
        self.connection.execute(
            "DELETE FROM batch_contacts; DELETE FROM batch_jobs; DELETE FROM batch_cancellations"
        )

    def add_job(
        self,
        key: JobKey,
        status: str | None,
        contacts: Mapping[str, str | None],
        deferred_id: str | None,
    ) -> None:
        """Seed a job and its contacts."""
        self.connection.execute(
            "INSERT INTO batch_jobs (id, organization_id, status, scheduled_job_id) "
            "VALUES (%s, %s, %s, %s)",
            [key.batch_job_id, key.organization_id, status, deferred_id],
        )
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO batch_contacts (batch_job_id, label, status) VALUES (%s, %s, %s)",
                [(key.batch_job_id, label, status) for label, status in contacts.items()],
            )

    def set_status(self, key: JobKey, status: str) -> None:
        """Set a job's status behind the library's back."""
        self.connection.execute(
            "UPDATE batch_jobs SET status = %s WHERE id = %s", [status, key.batch_job_id]
        )

    def make_old(self, key: JobKey, label: str, age: timedelta) -> None:
        """Set a contact's times so long ago, its status unchanged."""
        self.connection.execute(
            "UPDATE batch_contacts SET updated_at = now() - %s "
            "WHERE batch_job_id = %s AND label = %s",
            [age, key.batch_job_id, label],
        )

    def rows(self) -> dict[JobKey, JobRow]:
        """Give all that is committed."""
        jobs = self.connection.execute(
            "SELECT id, organization_id, status, scheduled_job_id, updated_at, xmin::text "
            "FROM batch_jobs"
        ).fetchall()
        contacts = self.connection.execute(
            "SELECT batch_job_id, label, status, updated_at, xmin::text, ctid::text "
            "FROM batch_contacts"
        ).fetchall()
        return {
            JobKey(job_id, organization_id): JobRow(
                status,
                deferred_id,
                touched_at,
                {label: (status, at) for owner, label, status, *at in contacts if owner == job_id},
            )
            for job_id, organization_id, status, deferred_id, *touched_at in jobs
        }

    def contact_ids(self) -> Mapping[str, str]:
        """Give the id of a contact for its label, where the store makes ids of its own."""
        rows = self.connection.execute("SELECT label, id::text FROM batch_contacts")
        return dict(rows.fetchall())

    def columns(self, label: str) -> dict[str, object]:
        """Give the values by column of a new contact."""
        return {"label": label}


def create_reference_tables(connection: psycopg.Connection[Any]) -> None:
    """Run what `batch-cancel schema --reference` prints."""
    package = resources.files("batch_cancel.adapters.postgres")
    for name in ("reference_tables.sql", "tables.sql"):
        connection.execute(package.joinpath(name).read_bytes())


@attrs.define
class World:
    """
    A store and a scheduler, and what may be done with them.

    Arguments:
        store: the store under test.
        new_scheduler: gives an empty scheduler.
        runner: the event loop of an asyncio world; None in a blocking one.
    """

    store: Store
    new_scheduler: Callable[[], Any]
    runner: asyncio.Runner | None
    scheduler: Any = None

    def clear(self) -> None:
        """Start anew: no job, no deferred start."""
        self.store.clear()
        self.scheduler = self.new_scheduler()

    def add_job(
        self,
        job_id: str,
        status: str | None = "scheduled",
        contacts: Mapping[str, str | None] | Sequence[str | None] = (),
        *,
        organization_id: str | None = None,
        deferred_id: str | None = None,
    ) -> None:
        """Seed a job; contacts given without labels are labelled 0, 1, 2 ..."""
        labelled = (
            contacts
            if isinstance(contacts, Mapping)
            else {str(number): contact for number, contact in enumerate(contacts)}
        )
        self.store.add_job(JobKey(job_id, organization_id), status, labelled, deferred_id)

    def schedule(self, deferred_id: str, at: datetime | None = None) -> None:
        """Schedule a deferred start, due in an hour unless said."""
        assert self._run(
            self.scheduler.schedule, deferred_id, datetime.now(UTC) + LATER if at is None else at
        )

    def fire(self, deferred_id: str) -> None:
        """Let a deferred start fire: it was due, and a worker takes it."""
        self.schedule(deferred_id, datetime.now(UTC) - LATER)
        assert [start.deferred_id for start in self._run(self.scheduler.claim, 1, LATER)] == [
            deferred_id
        ]

    def waiting(self) -> set[str]:
        """Give the deferred starts that wait."""
        return set(self._run(self.scheduler.waiting))

    def rows(self) -> dict[JobKey, JobRow]:
        """Give all that the store has committed."""
        return self.store.rows()

    def row(self, job_id: str, organization_id: str | None = None) -> JobRow:
        """Give one job as committed."""
        return self.rows()[JobKey(job_id, organization_id)]

    def revive(self, job_id: str) -> None:
        """Set a job running again, as only a mistaken script would."""
        self.store.set_status(JobKey(job_id), "running")

    def record(self, job_id: str, organization_id: str | None = None) -> CancellationRecord | None:
        """Give the record of the job's cancellation."""

        def read() -> CancellationRecord | None:
            with self.store.uow.begin() as repositories:
                job = repositories.jobs.lock(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", job.cancellation)

        async def read_async() -> CancellationRecord | None:
            async with self.store.uow.begin() as repositories:
                job = await repositories.jobs.lock(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", job.cancellation)

        return cast("CancellationRecord | None", self._run(read_async if self.runner else read))

    def cancel(self, job_id: str, *, scheduler: Any = None, **options: Any) -> CancelResult:
        """Cancel, with the world's scheduler unless another is given."""
        answer: CancelResult = self._run(
            cancel_job_async if self.runner else cancel_job,
            job_id,
            uow=self.store.uow,
            scheduler=scheduler or self.scheduler,
            **options,
        )
        return answer

    def cancel_rows(self, job_id: str, **options: Any) -> Cancellation:
        """Do the database's half alone."""
        answer: Cancellation = self._run(
            cancel_rows_async if self.runner else cancel_rows,
            job_id,
            uow=self.store.uow,
            **options,
        )
        return answer

    def remove_deferred(self, cancellation: Cancellation, **options: Any) -> CancelResult:
        """Do the scheduler's half alone."""
        answer: CancelResult = self._run(
            remove_deferred_async if self.runner else remove_deferred,
            cancellation,
            self.scheduler,
            **options,
        )
        return answer

    def reconcile(self, *, scheduler: Any = None, **options: Any) -> list[CancelResult]:
        """Finish what cancellations owe, at once unless a lease is given."""
        answers: list[CancelResult] = self._run(
            reconcile_async if self.runner else reconcile,
            scheduler=scheduler or self.scheduler,
            **{"uow": self.store.uow, "lease": timedelta(0), **options},
        )
        return answers

    def inspect(self, **options: Any) -> Drift:
        """Compare the store with the scheduler."""
        drift: Drift = self._run(
            inspect_async if self.runner else inspect,
            **{"uow": self.store.uow, "scheduler": self.scheduler, **options},
        )
        return drift

    def hook_that(self, behave: Callable[[CancelResult], Any]) -> Callable[[CancelResult], Any]:
        """Give an on_cancelled hook of this world's kind that does what is given."""

        async def behave_async(result: CancelResult) -> Any:
            return behave(result)

        return behave_async if self.runner else behave

    def start(self, job_id: str, **options: Any) -> bool:
        """Start a job, as a worker."""
        answer: bool = self._work(start_job, start_job_async, job_id, **options)
        return answer

    def claim(self, job_id: str, limit: int = 100, **options: Any) -> list[str]:
        """Claim contacts, as a worker; give their labels in the order of the alphabet."""
        ids: list[str] = self._work(
            claim_contacts, claim_contacts_async, job_id, limit=limit, **options
        )
        labels = {contact_id: label for label, contact_id in self.store.contact_ids().items()}
        return sorted(labels.get(contact_id, contact_id) for contact_id in ids)

    def settle(self, job_id: str, label: str, outcome: str, **options: Any) -> str | None:
        """End a call, as a worker."""
        ids = self.store.contact_ids()
        # Where a store numbers contacts by itself, a label that is none must not hit a number.
        contact_id = ids.get(label, "-1" if ids and label.isdecimal() else label)
        answer: str | None = self._work(
            settle_contact, settle_contact_async, job_id, contact_id, outcome, **options
        )
        return answer

    def make_old(
        self, job_id: str, label: str, age: timedelta, organization_id: str | None = None
    ) -> None:
        """Let a contact have been dialing for so long."""
        self.store.make_old(JobKey(job_id, organization_id), label, age)

    def expire(self, job_id: str, older_than: timedelta, **options: Any) -> int:
        """End calls that have been live for longer."""
        answer: int = self._work(expire_calls, expire_calls_async, job_id, older_than, **options)
        return answer

    def found(self, job_id: str, organization_id: str | None = None) -> CancellationRecord | None:
        """Find the record of the job's cancellation."""

        def find() -> CancellationRecord | None:
            with self.store.uow.begin() as repositories:
                record = repositories.outbox.find(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", record)

        async def find_async() -> CancellationRecord | None:
            async with self.store.uow.begin() as repositories:
                record = await repositories.outbox.find(JobKey(job_id, organization_id))
                return cast("CancellationRecord | None", record)

        return cast("CancellationRecord | None", self._run(find_async if self.runner else find))

    def append(
        self, job_id: str, *labels: str, next_attempt_at: datetime | None = None, **options: Any
    ) -> int:
        """Add contacts to a job."""
        contacts = [
            {**self.store.columns(label), "next_attempt_at": next_attempt_at} for label in labels
        ]
        answer: int = self._work(
            append_contacts, append_contacts_async, job_id, contacts, **options
        )
        return answer

    def finish(self, job_id: str, **options: Any) -> bool:
        """Complete a job, as a worker."""
        answer: bool = self._work(finish_job, finish_job_async, job_id, **options)
        return answer

    def still_running(self, job_id: str, **options: Any) -> bool:
        """Look once more before dialling, as a worker."""
        answer: bool = self._work(still_running, still_running_async, job_id, **options)
        return answer

    def _work(
        self,
        call: Callable[..., Any],
        call_async: Callable[..., Any],
        *arguments: Any,
        **more: Any,
    ) -> Any:
        chosen = call_async if self.runner else call
        return self._run(chosen, *arguments, **{"uow": self.store.uow, **more})

    def scheduler_that(self, behave: Callable[[str, str], Any]) -> Any:
        """Give a scheduler of this world's kind whose `cancel` does what is given."""
        return _AsyncScripted(behave) if self.runner else _Scripted(behave)

    def _run(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        answer = call(*arguments, **options)
        if self.runner and isinstance(answer, Awaitable):
            return self.runner.run(_awaited(answer))
        return answer


@attrs.frozen
class _Scripted:
    behave: Callable[[str, str], Any]

    def cancel(self, deferred_id: str, operation_id: str) -> Any:
        return self.behave(deferred_id, operation_id)


@attrs.frozen
class _AsyncScripted:
    behave: Callable[[str, str], Any]

    async def cancel(self, deferred_id: str, operation_id: str) -> Any:
        return self.behave(deferred_id, operation_id)


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


@contextmanager
def opened(store: str, scheduler: str, request: pytest.FixtureRequest) -> Generator[World]:
    """Open the world of this name; `request` lends the servers it needs."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner()) if store.endswith("-async") else None
        world = World(
            _store(store, request, stack), _scheduler(scheduler, request, stack, runner), runner
        )
        world.clear()
        yield world


def _store(name: str, request: pytest.FixtureRequest, stack: ExitStack) -> Store:
    if name == "memory":
        return MemoryTables(MemoryStore)
    if name == "memory-async":
        return MemoryTables(AsyncMemoryStore)
    if name == "sqlite":
        return SqliteTables(_folder(request))
    if name.startswith("sqlalchemy-sqlite"):
        return data_layers.sqlite(_folder(request), stack, is_async=name.endswith("-async"))
    dsn = stack.enter_context(request.getfixturevalue("postgres_server").schema())
    tables = PostgresTables(dsn, _postgres_uow(name, dsn, stack))
    stack.callback(tables.connection.close)
    return tables


def _postgres_uow(name: str, dsn: str, stack: ExitStack) -> Any:
    match name:
        case "postgres":
            return PostgresUnitOfWork(lambda: psycopg.connect(dsn))
        case "postgres-async":
            return AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(dsn))
        case "django":
            return stack.enter_context(data_layers.django_uow(dsn))
        case _:
            return data_layers.postgres_uow(dsn, is_async=name.endswith("-async"))


def _scheduler(
    name: str, request: pytest.FixtureRequest, stack: ExitStack, runner: asyncio.Runner | None
) -> Callable[[], Any]:
    number = itertools.count()
    prefix = f"test-{uuid4().hex[:8]}"
    if name == "memory":
        return AsyncMemoryScheduler if runner else MemoryScheduler
    if name == "sqlite":
        folder = _folder(request)
        return lambda: SqliteScheduler(folder / f"starts-{next(number)}.sqlite")
    url, blocking, waiting = _redis(name, request)
    if runner is None:
        client = blocking.from_url(url)
        stack.callback(client.close)
        return lambda: RedisScheduler(
            client, namespace=f"{prefix}-{next(number)}", budget=PATIENCE
        )

    async def connect() -> Any:
        return waiting.from_url(url)

    async_client = runner.run(connect())
    stack.callback(lambda: runner.run(async_client.aclose()))
    return lambda: AsyncRedisScheduler(
        async_client, namespace=f"{prefix}-{next(number)}", budget=PATIENCE
    )


def _redis(name: str, request: pytest.FixtureRequest) -> tuple[str, Any, Any]:
    if name == "redis":
        return request.getfixturevalue("redis_server").url(), redis.Redis, redis.asyncio.Redis
    url = request.getfixturevalue("redis_cluster").url
    return url, redis.RedisCluster, redis.asyncio.RedisCluster


def _folder(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("world")
    return folder
