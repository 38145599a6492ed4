"""
Jobs of one id in several organizations, and contacts of equal ids, in one SQLite file.

A cancel, and every step of a worker, touches the contacts of its own job alone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    ContactStatus,
    append_contacts,
    cancel_rows,
    claim_contacts,
    expire_calls,
    finish_job,
    inspect,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)
OURS = ("m", "2")
OTHERS = (("z", "2"), ("m", "3"), ("m", "1"), ("a", "2"))
"""Those of its id and those of its organization: one of them comes first, in whatever order."""

NUMBER = "(SELECT number FROM batch_jobs WHERE (organization_id, id) = ('m', '2'))"
CONTACTS = {"1": "pending", "2": "dialing", "3": "dialing", "4": "busy", "5": "completed"}
THEIR_CONTACTS = {"1": "pending", "2": "dialing", "3": "dialing", "4": "busy", "5": "pending"}


@attrs.frozen
class File:
    """A file with five running jobs, all of whose calls are old."""

    path: Path
    store: SqliteStore

    def others(self) -> list[tuple[Any, ...]]:
        """Return every row that is not of our job."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [
                row
                for table, condition in (
                    ("batch_jobs", f"number <> {NUMBER}"),
                    ("batch_contacts", f"job_number <> {NUMBER}"),
                    ("batch_cancellations", "(organization_id, batch_job_id) <> ('m', '2')"),
                )
                for row in connection.execute(f"SELECT * FROM {table} WHERE {condition}")
            ]

    def contacts(self) -> dict[str, str | None]:
        """Return the statuses of our job's contacts."""
        return self.store.contacts("2", "m")

    def write(self, statement: str) -> None:
        """Write to the file directly."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(statement)


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Yield such a file."""
    store = SqliteStore(tmp_path / "jobs.db")
    for organization, job in (*OTHERS, OURS):
        store.add_job(job, "running", organization)
        contacts = CONTACTS if (organization, job) == OURS else THEIR_CONTACTS
        store.add_contacts(job, contacts, organization)
    file = File(tmp_path / "jobs.db", store)
    file.write("UPDATE batch_contacts SET updated_at = '2020-01-01T00:00:00.000000+00:00'")
    return file


@pytest.mark.parametrize("is_watched", [False, True], ids=["bare", "watched"])
def test_each_step_touches_one_job_alone(file: File, *, is_watched: bool) -> None:
    """The rows of all others stay byte for byte what they were."""
    if is_watched:
        file.write("CREATE TRIGGER watch AFTER UPDATE ON batch_contacts BEGIN SELECT 1; END")
    theirs = file.others()
    named: dict[str, Any] = {"uow": file.store, "organization_id": "m"}

    def then(expected: str) -> None:
        assert file.others() == theirs
        assert " ".join(str(it) for it in file.contacts().values()) == expected

    assert claim_contacts("2", limit=1, **named) == ["1"]
    then("dialing dialing dialing busy completed")
    assert claim_contacts("2", limit=9, **named) == ["4"]
    then("dialing dialing dialing dialing completed")
    assert settle_contact("2", "1", ContactStatus.FAILED, **named) == "failed"
    then("failed dialing dialing dialing completed")
    assert settle_contact("2", "2", ContactStatus.NO_ANSWER, **named) == "no_answer"
    then("failed no_answer dialing dialing completed")
    assert expire_calls("2", HOUR, **named) == 1
    then("failed no_answer timeout dialing completed")
    assert append_contacts("2", [{"id": "6"}], **named) == 1
    then("failed no_answer timeout dialing completed pending")
    assert cancel_rows("2", **named).record.contacts_cancelled == 3
    then("failed cancelled cancelled dialing completed cancelled")
    drift = inspect(uow=file.store, scheduler=MemoryScheduler(), calls_older_than=HOUR)
    assert drift.contacts_open == ()
    calls = {(it.key.organization_id, it.key.batch_job_id): it for it in drift.calls_overdue or ()}
    assert {key: it.contacts for key, it in calls.items()} == dict.fromkeys(OTHERS, 2)


def test_a_job_is_distinguished_from_others_of_its_id_and_of_its_organization(file: File) -> None:
    """It is read, started and finished; no other job is."""
    named: dict[str, Any] = {"uow": file.store, "organization_id": "m"}
    file.write(f"UPDATE batch_jobs SET status = 'scheduled' WHERE number <> {NUMBER}")
    theirs = file.others()
    assert still_running("2", **named)
    for organization, job in OTHERS:
        assert not still_running(job, uow=file.store, organization_id=organization)
        assert claim_contacts(job, limit=9, uow=file.store, organization_id=organization) == []
    assert start_job("2", **named) is False
    assert file.others() == theirs
    file.write("UPDATE batch_jobs SET status = 'running'")
    assert finish_job("2", **named) is False
    # Nothing is left to do in others either, which nobody asks about.
    file.write(
        "UPDATE batch_contacts SET status = 'failed' WHERE job_number IN (SELECT number FROM "
        "batch_jobs WHERE id = '2' AND organization_id <> 'z' OR id = '1')"
    )
    theirs = file.others()
    assert finish_job("3", **named) is False
    assert finish_job("2", **named) is True
    assert file.others() == theirs


def test_an_inspection_counts_a_jobs_own_contacts(file: File) -> None:
    """A cancelled job whose contacts are open is a finding; another's open contacts are none."""
    file.write("UPDATE batch_jobs SET status = 'cancelled'")
    file.write(f"UPDATE batch_contacts SET status = 'cancelled' WHERE job_number = {NUMBER}")
    drift = inspect(uow=file.store, scheduler=MemoryScheduler(), calls_older_than=HOUR)
    found = {(it.key.organization_id, it.key.batch_job_id): it for it in drift.contacts_open}
    assert {key: it.contacts_open for key, it in found.items()} == dict.fromkeys(OTHERS, 3)
