"""
What the ports of SQLite answer when they are asked directly.

Where the bulk port fails, `cancel_jobs` cancels the jobs of a slice one by one, with the same
answers; so what the port does is seen here alone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import ContactStatus, JobFilter, JobKey, StoreFailed, cancel_rows
from batch_cancel.adapters.sqlite import SqliteStore
from batch_cancel.domain.cancellation import CancelRequest, plan_cancellation
from batch_cancel.domain.statuses import CANCELLABLE_CONTACTS

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [JobKey("j1"), JobKey("j2")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with two running jobs, each with an open contact and one that is called."""
    store = SqliteStore(tmp_path / "jobs.db")
    for key in KEYS:
        store.add_job(key.batch_job_id, "running")
        store.add_contacts(key.batch_job_id, {"open": "pending", "live": "dialing"})
    return tmp_path / "jobs.db"


def test_jobs_are_found_locked_and_cancelled_together(file: Path) -> None:
    """Each with the number of its contacts."""
    with SqliteStore(file).begin() as repositories:
        of = repositories.bulk
        assert of.find(JobFilter(statuses=["running"]), KEYS[0], 9) == KEYS[1:]
        locked = of.lock([*KEYS, JobKey("none")])
        assert {key: job.status for key, job in locked.items()} == dict.fromkeys(KEYS, "running")
        assert of.cancel(KEYS, CANCELLABLE_CONTACTS) == dict.fromkeys(KEYS, 1)
        plans: list[Any] = [
            plan_cancellation(CancelRequest(key, "op"), job) for key, job in locked.items()
        ]
        of.mark_cancelled([it.record(1) for it in plans])
        records = [job.cancellation for job in of.lock(KEYS).values()]
        assert [it and it.operation_id for it in records] == ["op", "op"]
    for key in KEYS:
        job = SqliteStore(file).job(key.batch_job_id)
        assert job is not None
        assert job.status == "cancelled"
        assert SqliteStore(file).contacts(key.batch_job_id) == {
            "open": ContactStatus.CANCELLED,
            "live": ContactStatus.DIALING,
        }


def test_contacts_are_those_of_a_job_that_is_there(file: Path) -> None:
    """In one of the statuses."""
    with SqliteStore(file).begin() as repositories:
        asked = repositories.work.has_contacts
        assert asked(KEYS[0], {ContactStatus.PENDING, ContactStatus.BUSY}) is True
        assert asked(KEYS[0], {ContactStatus.BUSY}) is False
        assert asked(JobKey("none"), {ContactStatus.PENDING}) is False


def test_a_claim_reads_columns_of_any_name(file: Path) -> None:
    """And names those that are missing."""
    with closing(sqlite3.connect(file)) as rows:
        rows.execute('ALTER TABLE batch_contacts ADD "a ""name""" DEFAULT \'Ann\'')
    with SqliteStore(file).begin() as repositories:
        claim = repositories.work.claim_returning
        with pytest.raises(StoreFailed, match="no_such"):
            claim(KEYS[0], CANCELLABLE_CONTACTS, 9, ["no_such"])
        assert claim(KEYS[0], CANCELLABLE_CONTACTS, 9, ['a "name"']) == [
            ("open", {'a "name"': "Ann"})
        ]


@pytest.mark.parametrize("create", [True, False])
def test_a_file_without_the_table_of_earlier_records_is_worth_a_note(
    file: Path, *, create: bool
) -> None:
    """Unless it is created on the next use."""
    cancel_rows("j1", uow=SqliteStore(file))
    with closing(sqlite3.connect(file)) as rows:
        rows.execute("DROP TABLE batch_cancellations_earlier")
    notes = SqliteStore(file, create=create).examine().notes
    assert any("batch_cancellations_earlier" in it for it in notes) is not create
