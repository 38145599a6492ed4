"""Notes after the removals: those of one transaction are one statement."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import CancellationRecord, JobStatus
from batch_cancel.adapters.postgres import PostgresUnitOfWork, joining
from batch_cancel.domain.job import JobKey
from batch_cancel.domain.statuses import Removal
from tests.integration.own_tables import HALVES, Half, Tables, tables
from tests.processes import wait_until

TIME = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["a", "b", 'quote " \\ % {} ü', "d"]


def record(name: str, **changes: Any) -> CancellationRecord:
    """Return the record of a job's cancellation whose removal is pending."""
    kept = CancellationRecord(
        operation_id=f"of {name}",
        key=JobKey(name),
        previous_status=JobStatus.SCHEDULED,
        contacts_cancelled=1,
        actor=None,
        reason=None,
        cancelled_at=TIME,
        deferred_id="start",
        removal=Removal.PENDING,
        is_announced=True,
    )
    return attrs.evolve(kept, **changes)


@pytest.fixture
def made(postgres_database: str) -> Iterator[Tables]:
    """Yield tables with the records of four jobs, and a journal of what is written to them."""
    with tables(postgres_database) as made:
        for name in reversed(NAMES):  # Read in this order, they would be locked in it.
            made.add_job(name, "cancelled", {})
            made.rows(
                "INSERT INTO batch_cancellations (organization_id, batch_job_id, operation_id, "
                "previous_status, contacts_cancelled, cancelled_at, deferred_id, removal, "
                "is_announced, taken_at) VALUES ('', {}, {}, 'scheduled', 1, {}, 'start', "
                "'pending', true, {})",
                *(name, f"of {name}", TIME, TIME),
            )
        made.rows(
            "CREATE TABLE journal (waits text);"
            "CREATE FUNCTION write() RETURNS trigger LANGUAGE plpgsql AS {};"
            "CREATE TRIGGER write AFTER UPDATE ON batch_cancellations "
            "FOR EACH STATEMENT EXECUTE FUNCTION write()",
            "BEGIN INSERT INTO journal VALUES (current_setting('synchronous_commit'));"
            "RETURN NULL; END",
        )
        yield made


def noted(half: Half, made: Tables, *records: CancellationRecord) -> None:
    """Note the progress in these records in one transaction."""

    def story(call: Any, repositories: Any) -> None:
        for it in records:
            call(repositories.outbox.settle, it)

    half.begun(half.uow(made.dsn), story)


def kept(made: Tables) -> dict[str, tuple[str, bool]]:
    """Return what is noted of each job."""
    rows = made.rows("SELECT batch_job_id, removal, is_announced FROM batch_cancellations")
    return {name: (removal, is_announced) for name, removal, is_announced in rows}


@HALVES
def test_notes_in_a_row_are_one_statement(made: Tables, half: Half) -> None:
    """Each job gets its own; the commit waits for no disk, as after a single note."""
    removed, absent = Removal.REMOVED, Removal.ABSENT
    noted(half, made, *(record(name, removal=removed) for name in NAMES[:3]))
    assert kept(made) == {**dict.fromkeys(NAMES[:3], ("removed", True)), "d": ("pending", True)}
    noted(half, made, record("d", removal=absent), record("a", removal=absent))
    assert kept(made) == {**dict.fromkeys(NAMES[:3], ("removed", True)), "d": ("absent", True)}
    assert made.rows("SELECT waits FROM journal") == [("off",), ("off",)]


@HALVES
def test_notes_together_are_of_their_own_cancellations_alone(made: Tables, half: Half) -> None:
    """Not of another operation, nor of an earlier cancellation by the same one."""
    noted(
        half,
        made,
        record("a", removal=Removal.REMOVED, operation_id="another"),
        record("b", removal=Removal.REMOVED, cancelled_at=TIME + timedelta(microseconds=1)),
        record(NAMES[2], removal=Removal.REMOVED, key=JobKey(NAMES[2], "another")),
        record("d", removal=Removal.REMOVED),
    )
    assert kept(made) == {**dict.fromkeys(NAMES[:3], ("pending", True)), "d": ("removed", True)}


@HALVES
def test_two_notes_of_one_job_both_hold(made: Tables, half: Half) -> None:
    """They are two statements: one could write a row only once."""
    made.rows("UPDATE batch_cancellations SET is_announced = false")
    made.rows("DELETE FROM journal")
    noted(
        half,
        made,
        record("a", removal=Removal.REMOVED, is_announced=False),
        record("b", removal=Removal.REMOVED, is_announced=False),
        record("a", is_announced=True),
        record("b", is_announced=True),
    )
    assert kept(made) == {
        "a": ("removed", True),
        "b": ("removed", True),
        NAMES[2]: ("pending", False),
        "d": ("pending", False),
    }
    # No crash may lose the second notes.
    assert made.rows("SELECT waits FROM journal") == [("on",), ("on",)]


@HALVES
def test_notes_together_wait_for_the_disk_while_one_hook_is_owed(made: Tables, half: Half) -> None:
    """A crash that loses that note would call the hook a second time."""
    made.rows("UPDATE batch_cancellations SET is_announced = false WHERE batch_job_id = 'b'")
    made.rows("DELETE FROM journal")
    noted(half, made, record("a", removal=Removal.REMOVED), record("b", removal=Removal.REMOVED))
    assert kept(made)["b"] == ("removed", True)
    assert made.rows("SELECT waits FROM journal") == [("on",)]


def test_notes_in_the_callers_transaction_leave_its_durability(made: Tables) -> None:
    """What the caller writes there must be on disk."""
    with psycopg.connect(made.dsn) as connection, joining(connection).begin() as repositories:
        repositories.outbox.settle(record("a", removal=Removal.REMOVED))
        repositories.outbox.settle(record("b", removal=Removal.REMOVED))
    assert kept(made)["b"] == ("removed", True)
    assert made.rows("SELECT waits FROM journal") == [("on",)]


def test_notes_lock_in_the_order_of_the_ids(made: Tables) -> None:
    """Two that note the same records never wait for each other, in whichever order they come."""
    records = [record(name, removal=Removal.REMOVED) for name in ("d", "b", "a")]

    def note() -> None:
        with PostgresUnitOfWork(lambda: psycopg.connect(made.dsn)).begin() as repositories:
            for it in records:
                repositories.outbox.settle(it)

    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with closing(psycopg.connect(made.dsn)) as first:
        lock = "SELECT FROM batch_cancellations WHERE batch_job_id = %s FOR UPDATE NOWAIT"
        first.execute(lock, ("a",))
        noting = threading.Thread(target=note)
        noting.start()
        wait_until(lambda: made.rows(waiting) == [(1,)], "the notes wait")
        first.execute(lock, ("b",))  # It does not hold what comes after what it waits for.
        first.execute(lock, ("d",))
        first.commit()
        noting.join()
    assert [kept(made)[name] for name in ("a", "b", "d")] == [("removed", True)] * 3


@HALVES
def test_what_is_asked_after_notes_sees_them(made: Tables, half: Half) -> None:
    """They are sent before the next question, and what follows it is noted anew."""

    def story(call: Any, repositories: Any) -> None:
        call(repositories.outbox.settle, record("a", removal=Removal.REMOVED))
        call(repositories.outbox.settle, record("b", removal=Removal.REMOVED))
        assert call(repositories.outbox.find, JobKey("b")).removal is Removal.REMOVED
        call(repositories.outbox.settle, record("d", removal=Removal.ABSENT))

    half.begun(half.uow(made.dsn), story)
    assert [kept(made)[name][0] for name in ("a", "b", "d")] == ["removed", "removed", "absent"]
