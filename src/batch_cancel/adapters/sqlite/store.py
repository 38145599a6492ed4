"""Jobs, contacts and cancellation records in a SQLite file: a unit of work."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import cast

from batch_cancel.adapters.sqlite.connection import SQL, OnFile, now, text_of
from batch_cancel.adapters.sqlite.repositories import SqliteRepositories, repositories
from batch_cancel.adapters.sqlite.rows import read_job
from batch_cancel.domain.diagnosis import Diagnosis
from batch_cancel.domain.job import Job, JobKey
from batch_cancel.domain.outcomes import added_to_none, added_twice


class SqliteStore(OnFile):
    """
    Jobs, contacts and cancellation records in a SQLite file: a unit of work.

    The file has one writer at a time: a transaction waits for the write lock, across threads and
    processes, and holds it until it ends. So a `begin` within a `begin` would wait for itself, and
    fails after the busy timeout. Reads (`job`, `contacts`) do not wait.

    The contacts of a job are stored together, and a cancel scans them. For a million contacts that
    took 0.4 s if half of them changed, and 0.1 s if a hundred did; with an index of the open
    contacts it was 2.7 s and 0.02 s. A second scan checks that no contact is left open; with
    triggers, a few more count.

    Arguments:
        path: the file.
        create: whether to create a missing file and its tables on first use.
        busy_timeout_seconds: how long to wait for the write lock.

    Raises:
        ValueError: the path is not valid, or the timeout is negative or longer than a day.
    """

    @contextmanager
    def begin(self) -> Generator[SqliteRepositories]:
        """Open a transaction: commit on a clean exit, roll back on any exception."""
        with self._file.transaction() as connection:
            yield repositories(connection)

    def examine(self) -> Diagnosis:
        """Return what the file misses, and as notes the triggers on its tables."""
        return self._file.examine()

    def add_job(
        self,
        id: str,  # noqa: A002  # The reference table's name for it.
        status: str | None = "scheduled",
        organization_id: str | None = None,
        deferred_id: str | None = None,
        *,
        created_at: datetime | None = None,
    ) -> None:
        """Add a job without contacts, as `MemoryStore.add_job` does: then call `add_contacts`."""
        at = text_of(created_at or now())
        with self._file.transaction() as connection:
            if connection.row(SQL["find_job_number"], (id, organization_id)) is not None:
                raise added_twice(id)
            connection.execute(SQL["add_job"], (id, organization_id, status, deferred_id, at, at))

    def add_contacts(
        self,
        job_id: str,
        contacts: Mapping[str, str | None],
        organization_id: str | None = None,
        *,
        since: datetime | None = None,
    ) -> None:
        """Add contacts to a job, as `MemoryStore.add_contacts` does."""
        at = text_of(since or now())
        with self._file.transaction() as connection:
            row = connection.row(SQL["find_job_number"], (job_id, organization_id))
            if row is None:
                raise added_to_none(job_id)
            connection.execute_many(
                SQL["put_contact"],
                ((row[0], contact_id, status, at) for contact_id, status in contacts.items()),
            )

    def job(self, job_id: str, organization_id: str | None = None) -> Job | None:
        """Return the job as last committed; None if there is none."""
        with self._file.looking() as connection:
            return read_job(JobKey(job_id, organization_id), connection)

    def contacts(self, job_id: str, organization_id: str | None = None) -> dict[str, str | None]:
        """Return the status by contact id of a job, as last committed; empty if there is none."""
        if not JobKey(job_id, organization_id).can_exist:
            return {}
        with self._file.looking() as connection:
            rows = connection.rows(SQL["look_at_contacts"], (job_id, organization_id))
            return cast("dict[str, str | None]", dict(rows))  # type: ignore[arg-type]
