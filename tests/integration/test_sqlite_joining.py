"""Cancelling within a caller's own SQLite transaction: his commit counts, and his rollback."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batch_cancel import AlreadyTerminal, CancelFailed, cancel_rows
from batch_cancel.adapters.sqlite import SqliteStore, joining

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Lend a file with a running job that has one contact to cancel."""
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending"})
    return path


@pytest.fixture
def lazy(path: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection of the driver's default kind: BEGIN comes with the first change."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection


@pytest.fixture
def idle(path: Path) -> Iterator[sqlite3.Connection]:
    """Lend a connection that commits every statement by itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def status(path: Path) -> str | None:
    """Give the job's status as committed."""
    job = SqliteStore(path).job("j")
    assert job is not None
    return job.status


def test_the_callers_commit_is_the_moment_of_cancellation(
    path: Path, lazy: sqlite3.Connection
) -> None:
    """Before it nobody sees anything."""
    lazy.execute("UPDATE batch_jobs SET scheduled_job_id = 'mine'")

    cancellation = cancel_rows("j", uow=joining(lazy))

    assert cancellation.record.contacts_cancelled == 1
    assert status(path) == "running"
    lazy.commit()
    assert status(path) == "cancelled"
    assert SqliteStore(path).contacts("j") == {"1": "cancelled"}


@pytest.mark.parametrize("is_first", [True, False])
def test_the_callers_rollback_undoes_it(
    path: Path,
    lazy: sqlite3.Connection,
    is_first: bool,  # noqa: FBT001
) -> None:
    """Also where the cancel is the first statement of a transaction that begins lazily."""
    if not is_first:
        lazy.execute("UPDATE batch_jobs SET scheduled_job_id = 'mine'")
    cancel_rows("j", uow=joining(lazy))
    lazy.rollback()
    assert status(path) == "running"
    assert SqliteStore(path).contacts("j") == {"1": "pending"}


def test_a_connection_that_commits_by_itself_is_refused(
    path: Path, idle: sqlite3.Connection
) -> None:
    """A savepoint would be a transaction of its own there, and a rollback come too late."""
    with pytest.raises(CancelFailed, match="send BEGIN first") as caught:
        cancel_rows("j", uow=joining(idle))
    assert (caught.value.outcome, caught.value.retryable) == ("unchanged", False)
    assert status(path) == "running"

    idle.execute("BEGIN")
    cancel_rows("j", uow=joining(idle))
    idle.execute("ROLLBACK")

    assert status(path) == "running"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the attribute came with Python 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_the_newer_autocommit_attribute_is_understood(path: Path, *, autocommit: bool) -> None:
    """True is refused, False is a transaction that is always open."""
    options = {"autocommit": autocommit}
    with closing(sqlite3.connect(path, **options)) as connection:  # type: ignore[call-overload]
        if autocommit:
            with pytest.raises(CancelFailed, match="send BEGIN first"):
                cancel_rows("j", uow=joining(connection))
            return
        cancel_rows("j", uow=joining(connection))
        assert status(path) == "running"
        connection.rollback()
        assert status(path) == "running"
        cancel_rows("j", uow=joining(connection))
        connection.commit()
    assert status(path) == "cancelled"


def test_a_refusal_leaves_the_callers_own_work(path: Path, lazy: sqlite3.Connection) -> None:
    """What the caller did before stays to be committed."""
    lazy.execute("UPDATE batch_jobs SET status = 'completed', scheduled_job_id = 'mine'")
    with pytest.raises(AlreadyTerminal):
        cancel_rows("j", uow=joining(lazy))
    lazy.commit()
    assert status(path) == "completed"
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT scheduled_job_id FROM batch_jobs").fetchall()
    assert found == [("mine",)]


def test_a_fault_within_undoes_the_cancel_alone(path: Path, lazy: sqlite3.Connection) -> None:
    """The savepoint is rolled back, the transaction goes on."""
    lazy.execute("UPDATE batch_jobs SET scheduled_job_id = 'mine'")
    lazy.execute(
        "CREATE TEMP TRIGGER no BEFORE INSERT ON batch_cancellations "
        "BEGIN SELECT raise(ABORT, 'no'); END"
    )
    with pytest.raises(CancelFailed) as caught:
        cancel_rows("j", uow=joining(lazy))
    assert caught.value.outcome == "unchanged"
    assert lazy.execute("SELECT status FROM batch_contacts").fetchall() == [("pending",)]
    lazy.commit()
    assert status(path) == "running"
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT scheduled_job_id FROM batch_jobs").fetchall()
    assert found == [("mine",)]


def test_a_transaction_that_has_read_an_older_state_is_refused(
    path: Path, idle: sqlite3.Connection
) -> None:
    """It cannot have the lock any more: what it would act on has been changed since."""
    idle.execute("BEGIN")
    assert idle.execute("SELECT status FROM batch_jobs").fetchall() == [("running",)]
    SqliteStore(path).add_contacts("j", {"2": "queued"})

    with pytest.raises(CancelFailed, match="is locked by another transaction") as caught:
        cancel_rows("j", uow=joining(idle))

    assert (caught.value.outcome, caught.value.retryable) == ("unchanged", True)
    idle.execute("ROLLBACK")
    idle.execute("BEGIN")
    assert cancel_rows("j", uow=joining(idle)).record.contacts_cancelled == 2
    idle.execute("COMMIT")
    assert SqliteStore(path).contacts("j") == {"1": "cancelled", "2": "cancelled"}


def test_the_lock_is_taken_before_anything_is_read(path: Path, idle: sqlite3.Connection) -> None:
    """Also in a transaction that was begun without it."""
    idle.execute("BEGIN")
    with joining(idle).begin():
        impatient = SqliteStore(path, busy_timeout_seconds=0)
        with pytest.raises(Exception, match="stayed locked by another transaction"):
            impatient.add_job("k")
    idle.execute("COMMIT")


def test_the_callers_row_factory_does_not_matter(path: Path, lazy: sqlite3.Connection) -> None:
    """Rows are read as the library needs them, and the caller's setting stays."""
    lazy.row_factory = lambda _cursor, _row: {"a": "dictionary"}
    assert cancel_rows("j", uow=joining(lazy)).record.contacts_cancelled == 1
    assert lazy.execute("SELECT 1").fetchone() == {"a": "dictionary"}
    lazy.commit()
    assert status(path) == "cancelled"


def test_missing_tables_are_named(tmp_path: Path) -> None:
    """Nothing is created within somebody else's transaction."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        with pytest.raises(CancelFailed, match=r"no such table: main\.batch_jobs"):
            cancel_rows("j", uow=joining(connection))
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []
