"""The SQLite store: what its file holds, what a transaction sees, and whom it keeps waiting."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from batch_cancel import (
    AlreadyTerminal,
    ContactStatus,
    JobKey,
    JobNotFound,
    Removal,
    cancel_job,
    cancel_rows,
    reconcile,
)
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

CONTACTS = {
    "1": "pending",
    "2": "queued",
    "3": "no_answer",
    "4": "busy",
    "5": "timeout",
    "6": "dialing",
    "7": "completed",
    "8": "failed",
    "9": "blocked",
    "10": "invalid_number",
    "11": "carrier_error",
    "12": "cancelled",
    "13": "voicemail",
    "14": "PENDING",
    "15": "",
    "16": None,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that does not exist yet."""
    return tmp_path / "jobs.db"


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Ask the file directly, as any other program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def test_only_the_five_statuses_change_and_all_other_rows_stay_byte_for_byte(path: Path) -> None:
    """Contacts outside of the five keep everything, the time of their last change included."""
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", CONTACTS)
    before = dict(_contact_rows(path))

    result = cancel_job("j", uow=store, scheduler=SqliteScheduler(path))

    after = dict(_contact_rows(path))
    assert result.contacts_cancelled == 5
    assert [after[name][0] for name in ("1", "2", "3", "4", "5")] == ["cancelled"] * 5
    assert all(after[name][1] > before[name][1] for name in ("1", "2", "3", "4", "5"))
    others = set(CONTACTS) - {"1", "2", "3", "4", "5"}
    assert {name: after[name] for name in others} == {name: before[name] for name in others}


def test_one_id_in_several_organizations_names_several_jobs(path: Path) -> None:
    """Only the job of the organization that was named changes; none is an organization too."""
    store, scheduler = SqliteStore(path), SqliteScheduler(path)
    for organization in (None, "a", "b"):
        store.add_job("j", "pending", organization)
        store.add_contacts("j", {"1": "queued"}, organization)

    cancel_job("j", uow=store, scheduler=scheduler, organization_id="a")

    assert store.contacts("j", "a") == {"1": "cancelled"}
    for untouched in (None, "b"):
        job = store.job("j", untouched)
        assert job is not None
        assert (job.status, job.cancellation) == ("pending", None)
        assert store.contacts("j", untouched) == {"1": "queued"}
    with pytest.raises(JobNotFound):
        cancel_job("j", uow=store, scheduler=scheduler, organization_id="c")

    cancel_job("j", uow=store, scheduler=scheduler)

    assert store.contacts("j") == {"1": "cancelled"}
    assert store.contacts("j", "b") == {"1": "queued"}


def test_a_job_may_be_added_once_in_an_organization(path: Path) -> None:
    """A second job of the same name is refused, without an organization as well as with one."""
    store = SqliteStore(path)
    for organization in (None, "a"):
        store.add_job("j", "pending", organization)
        with pytest.raises(ValueError, match="there is already a job 'j' in this organization"):
            store.add_job("j", "running", organization)
    assert rows(path, "SELECT id, status FROM batch_jobs") == [("j", "pending")] * 2


def test_contacts_need_a_job(path: Path) -> None:
    """Adding contacts to a job of another organization is refused."""
    store = SqliteStore(path)
    store.add_job("j", "pending", "a")
    with pytest.raises(LookupError, match="there is no job 'j' in this organization"):
        store.add_contacts("j", {"1": "pending"})


def test_the_record_is_kept_column_by_column(path: Path) -> None:
    """Everything about a cancellation can be read with any SQLite tool; times are ISO 8601 UTC."""
    store, scheduler = SqliteStore(path), SqliteScheduler(path)
    store.add_job("j", "scheduled", "org", deferred_id="start-1")
    store.add_contacts("j", {"1": "pending", "2": "busy"}, "org")
    scheduler.schedule("start-1", datetime.now(UTC) + timedelta(days=1))
    began = datetime.now(UTC)

    result = cancel_job(
        "j",
        uow=store,
        scheduler=scheduler,
        organization_id="org",
        operation_id="op-1",
        actor="ann",
        reason="typo",
    )

    assert began <= result.cancelled_at <= datetime.now(UTC)
    [record] = rows(
        path,
        "SELECT batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, "
        "actor, reason, cancelled_at, deferred_id, removal FROM batch_cancellations",
    )
    at = result.cancelled_at.isoformat(timespec="microseconds")
    assert record == (
        *("j", "org", "op-1", "scheduled", 2, "ann", "typo"),
        *(at, "start-1", "removed"),
    )
    assert at.endswith("+00:00")
    assert rows(path, "SELECT status, updated_at FROM batch_jobs") == [("cancelled", at)]
    job = store.job("j", "org")
    assert job is not None
    assert job.cancellation is not None
    assert job.cancellation.removal is Removal.REMOVED
    assert job.cancellation.cancelled_at == result.cancelled_at


def test_the_statuses_to_cancel_are_the_callers(path: Path) -> None:
    """The rule is not the store's: it cancels what it is told, nothing if it is told nothing."""
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending", "2": "busy", "3": "completed"})
    key = JobKey("j")

    with store.begin() as repositories:
        none = repositories.contacts.cancel(key, frozenset())
        one = repositories.contacts.cancel(key, {ContactStatus.BUSY})

    assert (none, one) == (0, 1)
    assert store.contacts("j") == {"1": "pending", "2": "cancelled", "3": "completed"}


def test_a_transaction_holds_the_file_from_its_first_moment(path: Path) -> None:
    """Nobody else can begin to write between what a transaction reads and what it writes."""
    store, impatient = SqliteStore(path), SqliteStore(path, busy_timeout_seconds=0)
    store.add_job("j", "running")
    with store.begin():
        with pytest.raises(Exception, match="stayed locked by another transaction for 0 s"):
            impatient.add_job("k")
        # Who only looks is not kept waiting.
        assert impatient.job("k") is None
        assert impatient.job("j") is not None


def test_what_is_not_committed_is_not_seen(path: Path) -> None:
    """Looking shows the last commit."""
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending"})
    with store.begin() as repositories:
        repositories.contacts.cancel(JobKey("j"), {ContactStatus.PENDING})
        assert store.contacts("j") == {"1": "pending"}
    assert store.contacts("j") == {"1": "cancelled"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_any_exception_undoes_the_transaction_and_passes_unchanged(
    path: Path, error: type[BaseException]
) -> None:
    """Also one that is no error, like Ctrl-C; and the file is free again."""
    store = SqliteStore(path, busy_timeout_seconds=0)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending"})
    raised = error("mine")

    def interrupted() -> None:
        with store.begin() as repositories:
            repositories.contacts.cancel(JobKey("j"), {ContactStatus.PENDING})
            raise raised

    with pytest.raises(error) as caught:
        interrupted()

    assert caught.value is raised
    assert store.contacts("j") == {"1": "pending"}
    store.add_job("k")


def test_a_transaction_may_move_to_another_thread(path: Path) -> None:
    """A web framework may open it in one thread and go on in another."""
    store = SqliteStore(path)
    store.add_job("j", "running")
    store.add_contacts("j", {"1": "pending"})
    cancelled: list[int] = []
    with store.begin() as repositories:
        thread = Thread(
            target=lambda: cancelled.append(
                repositories.contacts.cancel(JobKey("j"), {ContactStatus.PENDING})
            )
        )
        thread.start()
        thread.join()
    assert cancelled == [1]
    assert store.contacts("j") == {"1": "cancelled"}


def test_threads_take_turns(path: Path) -> None:
    """Eight threads that cancel jobs of their own through one store all succeed."""
    store = SqliteStore(path, busy_timeout_seconds=60)  # The machine may be busy otherwise.
    scheduler = SqliteScheduler(path, busy_timeout_seconds=60)
    for number in range(40):
        store.add_job(f"{number}", "pending")
        store.add_contacts(f"{number}", {"1": "queued"})
    barrier = Barrier(8)
    cancelled: list[int] = []

    def work(first: int) -> None:
        barrier.wait()
        for number in range(first, first + 5):
            result = cancel_job(f"{number}", uow=store, scheduler=scheduler)
            cancelled.append(result.contacts_cancelled)

    threads = [Thread(target=work, args=(first,)) for first in range(0, 40, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert cancelled == [1] * 40


def test_a_job_brought_back_to_life_can_be_cancelled_again(path: Path) -> None:
    """A record of its earlier life does not stand in the way; the new one takes its place."""
    store, scheduler = SqliteStore(path), SqliteScheduler(path)
    for organization in (None, "a"):
        store.add_job("j", "pending", organization)
        cancel_job("j", uow=store, scheduler=scheduler, organization_id=organization)
    rows(path, "UPDATE batch_jobs SET status = 'running'")
    for organization in (None, "a"):
        cancel_job(
            "j",
            uow=store,
            scheduler=scheduler,
            organization_id=organization,
            operation_id="second",
        )
    records = rows(path, "SELECT operation_id, previous_status FROM batch_cancellations")
    assert records == [("second", "running")] * 2


@pytest.mark.parametrize("hostile", ["", "\0", "a\0b", "\ud800", "x" * 1_000_000, "💥" * 300])
def test_an_id_that_no_file_could_hold_is_not_found(path: Path, hostile: str) -> None:
    """The port's word for it is None, also where a caller asks the store himself."""
    store = SqliteStore(path)
    store.add_job("j", "pending")
    assert store.job(hostile) is None
    assert store.job("j", hostile) is None
    assert store.contacts(hostile) == {}
    with store.begin() as repositories:
        assert repositories.jobs.lock(JobKey(hostile)) is None
        assert repositories.jobs.lock(JobKey("j", hostile)) is None


@pytest.mark.parametrize(
    "other_form", ["J", " j", "j ", "j\n", "j%", "*", "' OR 1=1 --", "\uff4a", "j\u0301"]
)
def test_an_id_has_one_text_form(path: Path, other_form: str) -> None:
    """No folding, no trimming, no pattern."""
    store = SqliteStore(path)
    store.add_job("j", "pending")
    with pytest.raises(JobNotFound):
        cancel_job(other_form, uow=store, scheduler=SqliteScheduler(path))
    store.add_job(other_form, "running")
    cancel_job(other_form, uow=store, scheduler=SqliteScheduler(path))
    assert rows(path, "SELECT id FROM batch_jobs WHERE status = 'cancelled'") == [(other_form,)]


def test_a_finished_removal_is_not_marked_again(path: Path) -> None:
    """Who was slow to learn of a removal does not overwrite what is known by now."""
    store, scheduler = SqliteStore(path), SqliteScheduler(path)
    store.add_job("j", "scheduled", deferred_id="d")
    scheduler.schedule("d", datetime.now(UTC) + timedelta(days=1))
    cancel_job("j", uow=store, scheduler=scheduler)
    job = store.job("j")
    assert job is not None
    settled = job.cancellation
    assert settled is not None

    with store.begin() as repositories:
        repositories.outbox.settle(attrs.evolve(settled, removal=Removal.ABSENT))

    again = store.job("j")
    assert again is not None
    assert again.cancellation == settled


def test_a_job_without_a_status_is_not_cancelled(path: Path) -> None:
    """Its start is left alone, as that of every job that is not cancelled."""
    store = SqliteStore(path)
    store.add_job("j", "scheduled", deferred_id="d")
    cancel_rows("j", uow=store)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE batch_jobs SET status = NULL")
    scheduler = SqliteScheduler(path)
    scheduler.schedule("d", datetime.now(UTC) + timedelta(days=1))
    [result] = reconcile(uow=store, scheduler=scheduler, lease=timedelta(0))
    assert result.removal is Removal.PENDING
    assert scheduler.waiting() == {"d"}


def test_a_commit_survives_a_crash_of_the_machine(path: Path) -> None:
    """Each commit is flushed to the disk, and the readers of the file do not block its writer."""
    store = SqliteStore(path)
    store.add_job("j", "pending")
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    with store.begin() as repositories:
        raw = repositories.jobs.connection.raw
        assert raw.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert raw.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_many_contacts_of_many_jobs(path: Path) -> None:
    """The sweep keeps to its job."""
    store, scheduler = SqliteStore(path), SqliteScheduler(path)
    for job in ("a", "b", "c"):
        store.add_job(job, "running")
        store.add_contacts(
            job, {f"{job}-{n}": ("queued", "completed")[n % 2] for n in range(5_000)}
        )
    assert cancel_job("b", uow=store, scheduler=scheduler).contacts_cancelled == 2_500
    statuses = rows(path, "SELECT status, count(*) FROM batch_contacts GROUP BY 1 ORDER BY 1")
    assert statuses == [("cancelled", 2_500), ("completed", 7_500), ("queued", 5_000)]
    with pytest.raises(AlreadyTerminal):
        cancel_job("b", uow=store, scheduler=scheduler)


def _contact_rows(path: Path) -> list[tuple[str, tuple[Any, ...]]]:
    found = rows(path, "SELECT id, status, updated_at, job_number FROM batch_contacts")
    return [(name, tuple(rest)) for name, *rest in found]
