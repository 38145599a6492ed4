"""What goes wrong with a SQLite file: what is said of it, and what is left of the job."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import CancelFailed, cancel_job
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.domain.errors import SchedulerUnavailable, StoreFailed
from tests.processes import scratch_folder, unprivileged

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "jobs.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """Yield a file with a running job that has one contact to cancel."""
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending"})
    return path


def cancel(store: SqliteStore, **options: Any) -> Any:
    """Cancel the job."""
    return cancel_job("j", uow=store, scheduler=MemoryScheduler(), **options)


def failure(store: SqliteStore, **options: Any) -> CancelFailed:
    """Return the error of a cancel that fails."""
    with pytest.raises(CancelFailed) as caught:
        cancel(store, **options)
    return caught.value


def state(path: Path) -> tuple[str | None, dict[str, str | None], bool]:
    """Return the job's status, its contacts, and whether it has a record."""
    store = SqliteStore(path)
    job = store.job("j")
    assert job is not None
    return job.status, store.contacts("j"), job.cancellation is not None


UNCHANGED = ("running", {"1": "pending"}, False)
CANCELLED = ("cancelled", {"1": "cancelled"}, True)


class Fault:
    """A statement that fails, having been carried out or not."""

    def __init__(self, statement: str, code: int, *, is_done_first: bool = False) -> None:
        self.statement = statement
        self.code = code
        self.is_done_first = is_done_first

    def around(self, execute: Callable[..., Any], statement: str, *parameters: Any) -> Any:
        """Carry out a statement, or fail."""
        if statement != self.statement:
            return execute(statement, *parameters)
        if self.is_done_first:
            execute(statement, *parameters)
        raise coded(self.code)

    def connection(self) -> type[sqlite3.Connection]:
        """Make a kind of connection that has this fault."""
        around = self.around

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, *parameters: Any) -> Any:
                return around(super().execute, sql, *parameters)

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> Any:
                return around(super().execute, sql, *parameters)

            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

        return Connection


def coded(code: int) -> sqlite3.OperationalError:
    """Make an error as the driver makes it."""
    error = sqlite3.OperationalError("planted")
    error.sqlite_errorcode = code
    return error


@contextmanager
def plant(fault: Fault) -> Generator[None]:
    """Return all connections that are opened meanwhile a fault."""
    connect = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sqlite3,
            "connect",
            lambda *path, **options: connect(*path, factory=fault.connection(), **options),
        )
        yield


def test_a_lock_that_is_held_too_long_is_worth_a_retry(filled: Path) -> None:
    """Nothing was changed, and when the other has finished it works."""
    store = SqliteStore(filled, busy_timeout_seconds=0.01)
    with closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = failure(store)
        other.execute("ROLLBACK")
    assert (error.outcome, error.retryable) == ("unchanged", True)
    assert "stayed locked by another transaction for 0.01 s" in str(error)
    assert state(filled) == UNCHANGED
    cancel(store)
    assert state(filled) == CANCELLED


def test_a_reader_in_the_way_of_a_commit_leaves_nothing_changed(filled: Path) -> None:
    """Without a write-ahead log a reader holds up the commit; what cannot commit is undone."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as other:
        assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        other.execute("BEGIN")
        other.execute("SELECT * FROM batch_jobs").fetchall()

        error = failure(SqliteStore(filled, create=False, busy_timeout_seconds=0.01))

        assert (error.outcome, error.retryable) == ("unchanged", True)
        other.execute("COMMIT")
    cancelled_by = SqliteStore(filled, create=False)
    assert state(filled) == UNCHANGED
    cancel(cancelled_by)
    assert state(filled) == CANCELLED


@pytest.mark.parametrize("is_done_first", [True, False])
def test_a_commit_whose_flush_failed_is_unknown_and_a_retry_finds_out(
    filled: Path, *, is_done_first: bool
) -> None:
    """The same operation asked again succeeds, whether or not it was committed."""
    store = SqliteStore(filled)
    fault = Fault("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, is_done_first=is_done_first)
    with plant(fault):
        error = failure(store, operation_id="op")

    assert (error.outcome, error.retryable) == ("unknown", True)
    assert "its disk reports an error" in str(error)
    assert state(filled) == (CANCELLED if is_done_first else UNCHANGED)
    result = cancel(store, operation_id="op")
    assert (result.contacts_cancelled, result.replayed) == (1, is_done_first)
    assert state(filled) == CANCELLED


@pytest.mark.parametrize(
    ("code", "is_retryable", "sentence"),
    [
        (sqlite3.SQLITE_FULL, False, "its disk is full"),
        (sqlite3.SQLITE_BUSY, True, "stayed locked by another transaction"),
    ],
)
def test_a_commit_that_was_refused_leaves_nothing_changed(
    filled: Path, code: int, sentence: str, *, is_retryable: bool
) -> None:
    """A full disk and a lock are found out before the commit mark is written."""
    with plant(Fault("COMMIT", code)):
        error = failure(SqliteStore(filled))
    assert (error.outcome, error.retryable) == ("unchanged", is_retryable)
    assert sentence in str(error)
    assert state(filled) == UNCHANGED


def test_a_full_disk_leaves_nothing_changed(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own answer when the file may not grow by a page, in the middle of a cancel."""
    connect = sqlite3.connect

    def without_room(*path: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*path, **options)
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", without_room)
    error = failure(SqliteStore(filled), reason="x" * 4096)
    monkeypatch.undo()

    assert (error.outcome, error.retryable) == ("unchanged", False)
    assert "cannot grow: its disk is full" in str(error)
    assert state(filled) == UNCHANGED


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "PRAGMA synchronous = FULL"])
def test_an_error_of_the_disk_before_the_commit_changes_nothing(
    filled: Path, statement: str
) -> None:
    """What was not committed is known not to have happened."""
    with plant(Fault(statement, sqlite3.SQLITE_IOERR_READ)):
        error = failure(SqliteStore(filled))
    assert (error.outcome, error.retryable) == ("unchanged", False)
    assert state(filled) == UNCHANGED


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """One sentence, not the driver's."""
    assert "is a folder, not a file" in str(failure(SqliteStore(tmp_path)))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """No folder is made."""
    error = failure(SqliteStore(tmp_path / "no" / "jobs.db"))
    assert "does not exist, nor does its folder" in str(error)
    assert (error.outcome, error.retryable) == ("unchanged", False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    """Its bytes stay as they are."""
    path.write_bytes(b"Dear Sir or Madam, " * 100)
    error = failure(SqliteStore(path))
    assert "is not a SQLite database" in str(error)
    assert path.read_bytes() == b"Dear Sir or Madam, " * 100


def test_a_damaged_file_is_called_damaged(filled: Path) -> None:
    """Every page but the first is overwritten: the schema can be read, the tables cannot."""
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [page] = connection.execute("PRAGMA page_size").fetchone()
    content = filled.read_bytes()
    filled.write_bytes(content[:page] + b"\xff" * (len(content) - page))
    error = failure(SqliteStore(filled))
    assert "is damaged: restore it from a backup" in str(error)
    assert not error.retryable


def test_no_file_is_made_where_none_is_wanted(path: Path) -> None:
    """A misspelt path is an error, not an empty store."""
    error = failure(SqliteStore(path, create=False))
    assert "does not exist" in str(error)
    assert not path.exists()


def test_no_tables_are_made_where_none_are_wanted(path: Path) -> None:
    """A database of something else is not written to."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    error = failure(SqliteStore(path, create=False))
    assert "holds no batch jobs: is it the right file?" in str(error)
    assert path.read_bytes() == before


def test_tables_of_another_shape_are_distinguished(path: Path) -> None:
    """Somebody else's table of the same name is a fault that names what is missing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE batch_jobs (x)")
    error = failure(SqliteStore(path))
    assert "SQLite says 'no such column: id'" in str(error)
    assert not error.retryable


@contextmanager
def ordinary_user() -> Generator[Path]:
    """Yield a folder, and be somebody whom permissions bind: root may write to anything."""
    account = unprivileged()
    with scratch_folder(account) as folder:
        if account is None:
            yield folder
            return
        os.seteuid(account.pw_uid)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_a_read_only_file_is_called_read_only() -> None:
    """The sentence says what to look at."""
    with ordinary_user() as folder:
        file = folder / "jobs.db"
        SqliteStore(file).add_job("j", "running")
        file.chmod(0o444)
        error = failure(SqliteStore(file))
        assert "is read-only: check its permissions" in str(error)
        assert (error.outcome, error.retryable) == ("unchanged", False)


def test_a_file_that_may_not_be_read_is_distinguished() -> None:
    """The sentence says what to look at."""
    with ordinary_user() as folder:
        file = folder / "jobs.db"
        SqliteStore(file).add_job("j", "running")
        file.chmod(0)
        assert "cannot be opened: check its permissions" in str(failure(SqliteStore(file)))


def test_a_folder_that_may_not_be_entered_is_distinguished() -> None:
    """Not even finding out why raises anything else."""
    with ordinary_user() as folder:
        (folder / "closed").mkdir()
        (folder / "closed").chmod(0)
        error = failure(SqliteStore(folder / "closed" / "jobs.db"))
        assert "does not exist, or its folder may not be written" in str(error)
        (folder / "closed").chmod(0o700)


def test_a_fault_of_the_file_is_no_answer_of_the_scheduler(path: Path, tmp_path: Path) -> None:
    """Whatever is asked of it."""
    scheduler = SqliteScheduler(tmp_path)
    questions: list[Callable[[], object]] = [
        lambda: scheduler.schedule("d", datetime.now(UTC)),
        lambda: scheduler.cancel("d", "op"),
        lambda: scheduler.claim(1, timedelta(seconds=1)),
        lambda: scheduler.ack("d", "token"),
        scheduler.waiting,
    ]
    for question in questions:
        with pytest.raises(SchedulerUnavailable, match="is a folder, not a file"):
            question()


def test_a_scheduler_that_is_locked_out_does_not_keep_a_job_from_being_cancelled(
    filled: Path, tmp_path: Path
) -> None:
    """The job is cancelled, the removal is owed, and the next cancel settles it."""
    starts = tmp_path / "starts.db"
    scheduler = SqliteScheduler(starts, busy_timeout_seconds=0)
    scheduler.schedule("d", datetime.now(UTC) + timedelta(days=1))
    store = SqliteStore(filled)
    store.add_job("k", "scheduled", deferred_id="d")
    with closing(sqlite3.connect(starts, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = cancel_job("k", uow=store, scheduler=scheduler, operation_id="op")
        other.execute("ROLLBACK")
    assert result.removal == "pending"
    assert scheduler.waiting() == {"d"}

    again = cancel_job("k", uow=store, scheduler=scheduler, operation_id="op")

    assert (again.removal, again.replayed) == ("removed", True)
    assert scheduler.waiting() == set()


def test_a_store_says_what_a_port_promises(tmp_path: Path) -> None:
    """Outside of a cancel the error is the port's own."""
    with pytest.raises(StoreFailed, match="is a folder, not a file"):
        SqliteStore(tmp_path).add_job("j")
