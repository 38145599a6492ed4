"""
Triggers on the tables of a SQLite file: what they undo is no success, what they log is no harm.

That a store finds out what is undone is the kit's to test; here is what it says of it, and what
only SQLite has.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batch_cancel import (
    CancelFailed,
    ContactStatus,
    append_contacts,
    cancel_job,
    cancel_rows,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlite import SqliteStore, joining
from batch_cancel.domain.errors import Fault, StoreFailed
from tests.sabotage import SQLITE_TRIGGERS

if TYPE_CHECKING:
    from pathlib import Path

    from batch_cancel.testing.adapter import Sabotage

HOUR = timedelta(hours=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Yield a file with a running job, and a scheduled one."""
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending", "2": "busy", "3": "completed"})
    store.add_contacts("j", {"4": "dialing"}, since=datetime.now(UTC) - 2 * HOUR)
    store.add_job("due", "scheduled")
    return path


def add(path: Path, triggers: str) -> None:
    """Add triggers to the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(triggers)


def contents(path: Path) -> list[tuple[object, ...]]:
    """Return every row of the three tables."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            row
            for table in ("batch_jobs", "batch_contacts", "batch_cancellations")
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]


@pytest.mark.parametrize(
    ("what", "fault", "sentence"),
    [
        (
            "job skipped",
            Fault.REFUSED,
            "the job has the status 'running' after it was set to 'cancelled'",
        ),
        (
            "job restored",
            Fault.REFUSED,
            "the job has the status 'running' after it was set to 'cancelled'",
        ),
        (
            "contacts skipped",
            Fault.INCOMPLETE,
            "contacts of the job are still open after all were cancelled: 2",
        ),
        (
            "contacts restored",
            Fault.INCOMPLETE,
            "contacts of the job are still open after all were cancelled: 2",
        ),
        (
            "contact added",
            Fault.INCOMPLETE,
            "contacts of the job are still open after all were cancelled: 1",
        ),
        (
            "contacts diverted",
            Fault.REFUSED,
            "2 contacts were set to cancelled, and 0 are",
        ),
        (
            "record skipped",
            Fault.REFUSED,
            "the record of the cancellation is not as it was written",
        ),
    ],
)
def test_what_a_trigger_undoes_is_reported(
    path: Path, what: Sabotage, fault: Fault, sentence: str
) -> None:
    """With what was seen, what may cause it, and what to do; nothing is changed."""
    add(path, SQLITE_TRIGGERS[what])
    before = contents(path)
    with pytest.raises(CancelFailed) as caught:
        cancel_job("j", uow=SqliteStore(path), scheduler=MemoryScheduler())
    assert (caught.value.fault, caught.value.outcome) == (fault, "unchanged")
    assert caught.value.reason == (
        f"{sentence}; a trigger on batch_jobs, batch_contacts or batch_cancellations skips, "
        "undoes or adds to the writes: change it or drop it (`batch-cancel doctor` lists the "
        "triggers)"
    )
    assert contents(path) == before


@pytest.mark.parametrize("what", ["contacts diverted", "contact added", "job restored"])
def test_a_joined_cancel_that_a_trigger_undoes_leaves_the_callers_work(
    path: Path, what: Sabotage
) -> None:
    """The savepoint is rolled back, and the transaction goes on."""
    add(path, SQLITE_TRIGGERS[what])
    before = contents(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
        with pytest.raises(CancelFailed, match="a trigger on batch_jobs"):
            cancel_rows("j", uow=joining(connection))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    assert contents(path) == before


def test_a_trigger_on_the_records_that_reopens_a_contact_is_no_success(path: Path) -> None:
    """The last statement of a cancel is not the last word."""
    add(
        path,
        "CREATE TRIGGER t AFTER INSERT ON batch_cancellations BEGIN "
        "UPDATE batch_contacts SET status = 'queued' WHERE id = '1'; END;",
    )
    before = contents(path)
    with pytest.raises(CancelFailed, match="open after all were cancelled: 1"):
        cancel_job("j", uow=SqliteStore(path), scheduler=MemoryScheduler())
    assert contents(path) == before


def test_a_trigger_on_the_records_that_spoils_a_cancelled_contact_is_no_success(
    path: Path,
) -> None:
    """The count would no longer be true."""
    add(
        path,
        "CREATE TRIGGER t AFTER INSERT ON batch_cancellations BEGIN "
        "UPDATE batch_contacts SET status = 'failed' WHERE id = '1'; END;",
    )
    before = contents(path)
    with pytest.raises(CancelFailed, match="2 contacts were set to cancelled, and 1 are"):
        cancel_job("j", uow=SqliteStore(path), scheduler=MemoryScheduler())
    assert contents(path) == before


def test_contacts_that_were_cancelled_before_do_not_make_a_count_true(path: Path) -> None:
    """Two are diverted, and two others were cancelled long ago."""
    SqliteStore(path).add_contacts("j", {"5": "cancelled", "6": "cancelled"})
    add(path, SQLITE_TRIGGERS["contacts diverted"])
    before = contents(path)
    with pytest.raises(CancelFailed, match="2 contacts were set to cancelled, and 0 are"):
        cancel_job("j", uow=SqliteStore(path), scheduler=MemoryScheduler())
    assert contents(path) == before


def test_a_temporary_trigger_is_a_trigger(path: Path) -> None:
    """The caller's connection has it, and the file does not."""
    with closing(sqlite3.connect(path)) as connection:
        before = contents(path)
        connection.execute(
            "CREATE TEMP TRIGGER t AFTER UPDATE OF status ON main.batch_contacts "
            "WHEN NEW.status = 'cancelled' BEGIN UPDATE batch_contacts SET status = 'failed' "
            "WHERE job_number = NEW.job_number AND id = NEW.id; END"
        )
        with pytest.raises(CancelFailed, match="2 contacts were set to cancelled, and 0 are"):
            cancel_rows("j", uow=joining(connection))
        connection.commit()
    assert contents(path) == before


def test_a_trigger_that_only_writes_elsewhere_is_no_harm(path: Path) -> None:
    """An audit log is filled, and a column of the row itself may be set."""
    add(
        path,
        "CREATE TABLE audit (id, status);"
        "CREATE TRIGGER t AFTER UPDATE OF status ON batch_contacts BEGIN "
        "INSERT INTO audit VALUES (NEW.id, NEW.status); END;"
        "CREATE TRIGGER u AFTER UPDATE OF status ON batch_contacts BEGIN "
        "UPDATE batch_contacts SET updated_at = datetime('now') "
        "WHERE job_number = NEW.job_number AND id = NEW.id; END;",
    )
    store = SqliteStore(path)
    assert claim_contacts("j", uow=store, limit=1) == ["1"]
    assert settle_contact("j", "1", ContactStatus.BUSY, uow=store) == "busy"
    result = cancel_job("j", uow=store, scheduler=MemoryScheduler())
    assert result.contacts_cancelled == 2
    with closing(sqlite3.connect(path)) as connection:
        audit = connection.execute("SELECT * FROM audit ORDER BY rowid").fetchall()
    assert audit == [("1", "dialing"), ("1", "busy"), ("1", "cancelled"), ("2", "cancelled")]


def test_a_contact_that_a_trigger_takes_from_a_claim_is_not_handed_out(path: Path) -> None:
    """Claiming one cancels another: the whole claim is refused, and nothing is dialled twice."""
    add(
        path,
        "CREATE TRIGGER t AFTER UPDATE OF status ON batch_contacts WHEN NEW.id = '1' BEGIN "
        "UPDATE batch_contacts SET status = 'blocked' WHERE id = '2'; END;",
    )
    before = contents(path)
    with pytest.raises(
        StoreFailed, match="2 contacts were set to 'dialing', and 1 have this status"
    ):
        claim_contacts("j", uow=SqliteStore(path), limit=9)
    assert contents(path) == before


def test_a_claim_whose_trigger_ends_the_job_hands_out_nothing(path: Path) -> None:
    """Its calls would be those of a job that does not run."""
    add(
        path,
        "CREATE TRIGGER t AFTER UPDATE OF status ON batch_contacts BEGIN "
        "UPDATE batch_jobs SET status = 'failed'; END;",
    )
    before = contents(path)
    with pytest.raises(StoreFailed, match="status 'failed' after it was set to 'running'"):
        claim_contacts("j", uow=SqliteStore(path), limit=9)
    assert contents(path) == before


@pytest.mark.parametrize("what", ["skipped", "restored"])
def test_every_step_of_a_worker_says_what_was_undone(path: Path, what: str) -> None:
    """It raises; False would mean that there was nothing to do."""
    store = SqliteStore(path)
    store.add_job("done", "running")
    add(path, SQLITE_TRIGGERS[f"job {what}"])  # type: ignore[index]
    before = contents(path)
    with pytest.raises(StoreFailed, match="trigger on batch_jobs"):
        start_job("due", uow=store)
    with pytest.raises(StoreFailed, match="trigger on batch_jobs"):
        finish_job("done", uow=store)
    add(path, f"DROP TRIGGER sabotage; {SQLITE_TRIGGERS[f'contacts {what}']}")  # type: ignore[index]
    with pytest.raises(
        StoreFailed, match="2 contacts were set to 'dialing', and 0 have this status"
    ):
        claim_contacts("j", uow=store, limit=9)
    with pytest.raises(StoreFailed, match="1 contacts were set to 'busy', and 0 have this status"):
        settle_contact("j", "4", ContactStatus.BUSY, uow=store)
    with pytest.raises(
        StoreFailed, match="1 contacts were set to 'timeout', and 0 have this status"
    ):
        expire_calls("j", HOUR, uow=store)
    if what == "skipped":
        with pytest.raises(StoreFailed, match="1 contacts were set to 'pending'"):
            append_contacts("j", [{"id": "new"}], uow=store)
    assert contents(path) == before


def test_a_time_that_somebody_else_wrote_is_read_as_the_time_that_it_is(path: Path) -> None:
    """SQLite's own form has a blank where ours has a T; a call of today is not yesterday's."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE batch_contacts SET updated_at = datetime('now', '-10 minutes')")
    assert expire_calls("j", HOUR, uow=SqliteStore(path)) == 0
    assert expire_calls("j", HOUR / 12, uow=SqliteStore(path)) == 1


def test_two_jobs_of_one_id_are_refused(path: Path) -> None:
    """The index that keeps them apart was dropped: nobody knows whose contacts are meant."""
    add(
        path,
        "DROP INDEX batch_jobs_of_no_organization;"
        "INSERT INTO batch_jobs (id, status, created_at, updated_at) "
        "VALUES ('j', 'running', '', ''), ('due', 'scheduled', '', '');",
    )
    before = contents(path)
    with pytest.raises(CancelFailed, match="2 rows match the job 'j'"):
        cancel_job("j", uow=SqliteStore(path), scheduler=MemoryScheduler())
    with pytest.raises(StoreFailed, match="jobs set to 'running': 2 instead of 1"):
        start_job("due", uow=SqliteStore(path))
    assert contents(path) == before


def test_triggers_are_worth_a_look(path: Path) -> None:
    """They are named, and nothing is missing; those on other tables are nobody's business."""
    store = SqliteStore(path)
    assert store.examine().notes == ()
    add(
        path,
        "CREATE TABLE other (x); CREATE TRIGGER o AFTER INSERT ON other BEGIN SELECT 1; END;"
        "CREATE TRIGGER 'it''s mine' AFTER UPDATE ON BATCH_JOBS BEGIN SELECT 1; END;",
    )
    found = store.examine()
    assert (found.missing, store.check()) == ((), [])
    assert found.fits == ("the file is fit",)
    assert found.notes == (
        (
            f'the SQLite file {str(path)!r} has the trigger "it\'s mine" on batch_jobs: a cancel '
            "or a worker's step fails and is rolled back if the trigger skips or undoes its writes"
        ),
    )
    assert cancel_job("j", uow=store, scheduler=MemoryScheduler()).contacts_cancelled == 2
