"""Stores under test, and all that they hold, seen behind the back of the library."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import psycopg

from batch_cancel import (
    JobKey,
)
from batch_cancel.adapters.memory import (
    AsyncMemoryStore,
    MemoryStore,
)
from batch_cancel.adapters.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
        """Return all that is committed."""
        ...

    def make_old(self, key: JobKey, label: str, age: timedelta) -> None:
        """Set a contact's times so long ago, its status unchanged."""

    def contact_ids(self) -> Mapping[str, str]:
        """Return the id of a contact for its label, where the store makes ids of its own."""
        ...

    def columns(self, label: str) -> dict[str, object]:
        """Return the values by column of a new contact."""
        ...


class MemoryTables:
    """The memory store, blocking or asyncio."""

    def __init__(self, kind: Callable[[], MemoryStore | AsyncMemoryStore]) -> None:
        self._kind = kind
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._keys: list[JobKey] = []
        self.uow: Any = self._kind()

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
        """Return all that is committed."""
        return {key: self._row(key) for key in self._keys}

    def contact_ids(self) -> Mapping[str, str]:
        """Return the id of a contact for its label, where the store makes ids of its own."""
        return {}

    def columns(self, label: str) -> dict[str, object]:
        """Return the values by column of a new contact."""
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
            "DELETE FROM batch_contacts; DELETE FROM batch_jobs; DELETE FROM batch_cancellations; "
            "DELETE FROM batch_cancellations_earlier"
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
        """Return all that is committed."""
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
        """Return the id of a contact for its label, where the store makes ids of its own."""
        rows = self.connection.execute("SELECT label, id::text FROM batch_contacts")
        return dict(rows.fetchall())

    def columns(self, label: str) -> dict[str, object]:
        """Return the values by column of a new contact."""
        return {"label": label}


def create_reference_tables(connection: psycopg.Connection[Any]) -> None:
    """Run what `batch-cancel schema --reference` prints."""
    package = resources.files("batch_cancel.adapters.postgres")
    for name in ("reference_tables.sql", "tables.sql"):
        connection.execute(package.joinpath(name).read_bytes())
