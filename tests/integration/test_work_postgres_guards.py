"""With the triggers, naive writers on Postgres cannot break what a cancel promises."""

from __future__ import annotations

import pytest

from batch_cancel import (
    append_contacts,
    cancel_rows,
    claim_contacts,
    settle_contact,
    start_job,
)
from batch_cancel.domain.statuses import ContactStatus
from tests.integration.work_database import Database, database

__all__ = ["database"]


@pytest.fixture
def guarded(database: Database) -> Database:
    """Yield a database with the triggers; they may be installed twice."""
    database.guard()
    database.guard()
    return database


@pytest.mark.parametrize("ended", ["completed", "failed", "cancelled"])
def test_with_guards_an_ended_job_keeps_its_status(guarded: Database, ended: str) -> None:
    """Whoever sets it; its other columns may change."""
    guarded.seed(ended)
    guarded.send("UPDATE batch_jobs SET status = 'running', scheduled_job_id = 'd' WHERE id = 'j'")
    guarded.send("UPDATE batch_jobs SET status = NULL WHERE id = 'j'")
    found = guarded.connection.execute("SELECT status, scheduled_job_id FROM batch_jobs")
    assert found.fetchall() == [(ended, "d")]


@pytest.mark.parametrize(
    ("before", "written", "after"),
    [
        ("dialing", "no_answer", "cancelled"),
        ("dialing", "busy", "cancelled"),
        ("dialing", "timeout", "cancelled"),
        ("dialing", "queued", "cancelled"),
        ("dialing", "pending", "cancelled"),
        ("dialing", "completed", "completed"),
        ("dialing", "failed", "failed"),
        ("cancelled", "pending", "cancelled"),
        ("cancelled", "dialing", "cancelled"),
        ("completed", "pending", "completed"),
        ("failed", "dialing", "failed"),
        ("paused", "queued", "cancelled"),
        ("completed", "archived", "archived"),
    ],
)
def test_with_guards_no_contact_of_a_cancelled_job_waits_for_a_call(
    guarded: Database, before: str, written: str, after: str
) -> None:
    """It becomes cancelled, or stays as it ended; what is none of ours is left alone."""
    guarded.seed("cancelled", before)
    guarded.send("UPDATE batch_contacts SET status = %s", written)
    assert guarded.contacts == [after]


@pytest.mark.parametrize(
    ("written", "after"),
    [
        ("pending", "cancelled"),
        ("queued", "cancelled"),
        ("dialing", "cancelled"),
        ("completed", "completed"),
        ("paused", "paused"),
    ],
)
def test_with_guards_no_contact_is_added_to_a_cancelled_job(
    guarded: Database, written: str, after: str
) -> None:
    """It comes in, but is not called."""
    assert guarded.seed("cancelled", written)
    assert guarded.contacts == [after]


@pytest.mark.parametrize("job", ["scheduled", "pending", "running", "completed", "paused"])
def test_with_guards_a_job_that_is_not_cancelled_goes_on_as_before(
    guarded: Database, job: str
) -> None:
    """Contacts come, wait, are called and wait again."""
    guarded.seed(job, "pending", "dialing", "completed")
    guarded.send("UPDATE batch_contacts SET status = 'queued'")
    guarded.send("UPDATE batch_contacts SET status = 'dialing'")
    assert guarded.contacts == ["dialing"] * 3


def test_with_guards_no_open_contact_moves_to_a_cancelled_job(guarded: Database) -> None:
    """That would be another way in."""
    guarded.seed("running", "pending")
    guarded.send("INSERT INTO batch_jobs (id, status) VALUES ('k', 'cancelled')")
    guarded.send("UPDATE batch_contacts SET batch_job_id = 'k'")
    assert guarded.contacts == ["cancelled"]


NAIVE = {
    "insert": "INSERT INTO batch_contacts (batch_job_id) VALUES ('j')",
    "settle": "UPDATE batch_contacts SET status = 'no_answer' WHERE status = 'dialing'",
    "requeue": "UPDATE batch_contacts SET status = 'pending' WHERE status = 'failed'",
}


@pytest.mark.parametrize("naive", NAIVE)
def test_with_guards_a_naive_writer_waits_for_a_cancel(guarded: Database, naive: str) -> None:
    """The trigger reads the job after the wait, and sees it cancelled."""
    guarded.seed("running", "dialing", "failed")
    with guarded.cancelling():
        write = guarded.meanwhile(guarded.send, NAIVE[naive])
    write.result()
    assert set(guarded.contacts) <= {"dialing", "failed", "cancelled"}


@pytest.mark.parametrize("naive", NAIVE)
def test_with_guards_a_cancel_waits_for_a_naive_writer(guarded: Database, naive: str) -> None:
    """And then sees what the worker wrote, and counts it."""
    guarded.seed("running", "dialing", "failed")
    with guarded.writing(NAIVE[naive]):
        cancel = guarded.meanwhile(cancel_rows, "j", uow=guarded.uow)
    assert cancel.result().record.contacts_cancelled == 1
    assert set(guarded.contacts) <= {"dialing", "failed", "cancelled"}


def test_with_guards_the_librarys_own_steps_work_as_before(guarded: Database) -> None:
    """They ask before they act, so there is nothing to repair."""
    uow = guarded.uow
    guarded.seed("scheduled", "pending", "pending")
    assert start_job("j", uow=uow)
    assert append_contacts("j", [{}], uow=uow) == 1
    first, second = claim_contacts("j", uow=uow, limit=2)
    assert settle_contact("j", first, ContactStatus.BUSY, uow=uow) == "busy"
    assert cancel_rows("j", uow=uow).record.contacts_cancelled == 2
    assert settle_contact("j", second, ContactStatus.BUSY, uow=uow) == "cancelled"
    assert guarded.contacts == ["cancelled"] * 3
    assert guarded.job == "cancelled"
