"""Cancels within the caller's own SQLite transaction: its commit and its rollback count."""

from __future__ import annotations

import sqlite3
import sys
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    ContactStatus,
    JobKey,
    JobNotFound,
    append_contacts,
    cancel_rows,
    claim_contacts,
    expire_calls,
    finish_job,
    settle_contact,
)
from batch_cancel.adapters.sqlite import SqliteStore, joining
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.testing.breakpoints import Hooked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Yield a file with a running job that has one contact to cancel."""
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending"})
    return path


@pytest.fixture
def lazy(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection of the driver's default kind: BEGIN comes with the first change."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection


@pytest.fixture
def idle(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that commits every statement by itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def status(path: Path) -> str | None:
    """Return the job's status as committed."""
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


def half(path: Path) -> bool:
    """Check whether the job is cancelled in part."""
    is_cancelled = status(path) == "cancelled"
    return is_cancelled != (SqliteStore(path).contacts("j") == {"1": "cancelled"})


def test_a_second_begin_on_one_connection_is_refused(path: Path, lazy: sqlite3.Connection) -> None:
    """Before anything is sent; when the first has ended, the next one may begin."""
    with joining(lazy).begin():
        sent: list[str] = []
        lazy.set_trace_callback(sent.append)
        with pytest.raises(CancelFailed, match="one after another") as caught:
            cancel_rows("j", uow=joining(lazy))
        lazy.set_trace_callback(None)
    assert (caught.value.outcome, caught.value.fault) == ("unchanged", Fault.BUSY)
    assert sent == []
    assert cancel_rows("j", uow=joining(lazy)).record.contacts_cancelled == 1
    lazy.commit()
    assert status(path) == "cancelled"


def test_another_connection_is_not_in_use(path: Path, tmp_path: Path) -> None:
    """To another file, even in the same thread."""
    other = tmp_path / "other.db"
    SqliteStore(other).add_job("j", "running")
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(other)) as two:
        with joining(one).begin():
            cancel_rows("j", uow=joining(two))
        two.commit()
    assert status(other) == "cancelled"


def test_a_begin_that_failed_leaves_its_connection_free(
    path: Path, idle: sqlite3.Connection
) -> None:
    """Whether it failed before its block or within it."""
    with pytest.raises(CancelFailed, match="send BEGIN first"):
        cancel_rows("j", uow=joining(idle))
    idle.execute("BEGIN")
    with pytest.raises(KeyboardInterrupt), joining(idle).begin():
        raise KeyboardInterrupt
    assert cancel_rows("j", uow=joining(idle)).record.contacts_cancelled == 1
    idle.execute("COMMIT")
    assert status(path) == "cancelled"


def test_two_threads_on_one_connection_leave_no_half(path: Path) -> None:
    """One has it; the other, for a job that is not there, must not roll back its work."""
    options = {"check_same_thread": False}
    with closing(sqlite3.connect(path, **options)) as connection:  # type: ignore[call-overload]
        inside, go_on = threading.Event(), threading.Event()
        answers: list[object] = []

        def wait(at: str) -> None:
            if at == "contacts":
                inside.set()
                assert go_on.wait(10)

        def cancel() -> None:
            cancellation = cancel_rows("j", uow=Hooked(joining(connection), wait))
            answers.append(cancellation.record.contacts_cancelled)

        thread = threading.Thread(target=cancel)
        thread.start()
        assert inside.wait(10)
        try:
            with pytest.raises(CancelFailed, match="one after another"):
                cancel_rows("missing", uow=joining(connection))
        finally:
            go_on.set()
            thread.join()
        assert answers == [1]
        connection.commit()
    assert not half(path)
    assert status(path) == "cancelled"


def test_a_savepoint_that_can_not_be_left_is_unknown(path: Path, lazy: sqlite3.Connection) -> None:
    """The caller has committed in between: what was done is done, and nobody says "unchanged"."""
    begin = joining(lazy).begin()
    with pytest.raises(StoreFailed, match="no such savepoint") as caught, begin:
        lazy.commit()
    assert caught.value.outcome == "unknown"


def test_a_rollback_that_can_not_be_done_is_unknown(path: Path, lazy: sqlite3.Connection) -> None:
    """The same, where the cancel fails after it: a half may be committed."""

    def commit(at: str) -> None:
        if at == "contacts":
            lazy.commit()
            lazy.execute("BEGIN")
            raise RuntimeError

    with pytest.raises(CancelFailed, match="no such savepoint") as caught:
        cancel_rows("j", uow=Hooked(joining(lazy), commit))
    assert caught.value.outcome == "unknown"
    assert half(path)


def test_the_callers_own_savepoint_of_any_name_is_left_alone(
    path: Path, idle: sqlite3.Connection
) -> None:
    """Ours are named anew each time, so none hides another."""
    idle.execute("BEGIN")
    sent: list[str] = []
    idle.set_trace_callback(sent.append)
    for job_id in ("j", "missing", "missing"):
        with suppress(JobNotFound):
            cancel_rows(job_id, uow=joining(idle))
    idle.set_trace_callback(None)
    names = [it.removeprefix("SAVEPOINT ") for it in sent if it.startswith("SAVEPOINT")]
    assert len(set(names)) == 3
    idle.execute("COMMIT")
    assert status(path) == "cancelled"


@pytest.mark.parametrize("table", ["batch_jobs", "batch_contacts", "batch_cancellations"])
def test_a_temporary_table_does_not_hide_ours(
    path: Path, lazy: sqlite3.Connection, table: str
) -> None:
    """The caller's connection would find it first by its bare name."""
    store = SqliteStore(path)
    store.add_job("w", "running")
    at = datetime.now(UTC) - timedelta(hours=2)
    store.add_contacts("w", {"1": "pending", "2": "dialing"})
    store.add_contacts("w", {"3": "dialing"}, since=at)
    lazy.execute(f"CREATE TEMP TABLE {table} AS SELECT * FROM main.{table}")
    before = lazy.execute(f"SELECT * FROM temp.{table}").fetchall()
    uow = joining(lazy)

    assert claim_contacts("w", uow=uow, limit=9) == ["1"]
    assert settle_contact("w", "2", ContactStatus.FAILED, uow=uow) == "failed"
    assert expire_calls("w", timedelta(hours=1), uow=uow) == 1
    assert append_contacts("w", [{"id": "4"}], uow=uow) == 1
    assert not finish_job("w", uow=uow)
    record = cancel_rows("j", uow=uow, operation_id="op").record
    with uow.begin() as repositories:
        assert repositories.outbox.find(JobKey("j")) == record
        looked = repositories.inspection.look(9, frozenset(), timedelta(hours=1))
        assert [it.key for it in looked.cancelled] == [JobKey("j")]
    assert cancel_rows("j", uow=uow, operation_id="op").replayed
    lazy.commit()

    assert status(path) == "cancelled"
    assert store.contacts("j") == {"1": "cancelled"}
    assert store.contacts("w") == {
        "1": "dialing",
        "2": "failed",
        "3": "timeout",
        "4": "pending",
    }
    assert lazy.execute(f"SELECT * FROM temp.{table}").fetchall() == before


@pytest.mark.parametrize("factory", [bytes, lambda text: text.decode().upper()])
def test_texts_are_read_as_they_are(
    path: Path, lazy: sqlite3.Connection, factory: Callable[[bytes], Any]
) -> None:
    """Whatever the caller's connection makes of them; afterwards it makes that of them again."""
    lazy.text_factory = factory
    cancelled = cancel_rows("j", uow=joining(lazy), operation_id="op")
    assert cancelled.record.key == JobKey("j")
    assert cancel_rows("j", uow=joining(lazy), operation_id="op").replayed
    assert lazy.text_factory is factory
    lazy.commit()
    assert status(path) == "cancelled"
