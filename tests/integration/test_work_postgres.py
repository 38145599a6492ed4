"""
Starts, claims and ends of calls beside a cancel on real Postgres, step by step.

Each race is played by hand, with two connections, in the one order that matters. Where a form is
known to be wrong, it is shown to be: what a worker writes without the library leaves a contact to
be called under a cancelled job, and what the library does in the same moment does not.
"""

from __future__ import annotations

import psycopg
import pytest

from batch_cancel import (
    cancel_rows,
    claim_contacts,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    joining,
)
from batch_cancel.domain.statuses import ContactStatus
from tests.integration.work_database import Database, database

__all__ = ["database"]


def test_a_start_that_looked_before_the_cancel_undoes_it(database: Database) -> None:
    """The wrong form: look, then write."""
    database.seed("scheduled")
    with database.writing("SELECT status FROM batch_jobs") as connection:
        with database.cancelling():
            pass
        connection.execute("UPDATE batch_jobs SET status = 'running' WHERE id = 'j'")
    assert database.job == "running"


def test_a_start_that_waits_for_a_cancel_does_not_happen(database: Database) -> None:
    """Compare and set: the comparison is made again after the wait."""
    database.seed("scheduled")
    with database.cancelling():
        start = database.meanwhile(start_job, "j", uow=database.uow)
    assert start.result() is False
    assert database.job == "cancelled"


# Claim -------------------------------------------------------------------------------------------


def test_a_claim_waits_for_nobody(database: Database) -> None:
    """Neither for whoever holds the job, nor for a cancel that holds the contacts."""
    first, second = database.seed("running", "pending", "queued")
    with database.writing("SELECT FROM batch_jobs WHERE id = 'j' FOR UPDATE"):
        assert claim_contacts("j", uow=database.uow, limit=1) == [first]
    with database.cancelling():
        assert claim_contacts("j", uow=database.uow, limit=1) == []
    assert database.contacts == ["dialing", "cancelled"]
    assert second


def test_a_claim_does_not_lock_the_job(database: Database) -> None:
    """While its transaction is open, whoever wants the job has it at once."""
    (contact,) = database.seed("running", "pending")
    with psycopg.connect(database.dsn) as connection:
        assert claim_contacts("j", uow=joining(connection), limit=1) == [contact]
        database.connection.execute("SELECT FROM batch_jobs WHERE id = 'j' FOR UPDATE NOWAIT")


def test_two_claims_at_once_take_different_contacts(database: Database) -> None:
    """The second passes over what the first has in hand."""
    first, second = database.seed("running", "pending", "pending")
    with psycopg.connect(database.dsn) as connection:
        assert claim_contacts("j", uow=joining(connection), limit=1) == [first]
        assert claim_contacts("j", uow=database.uow, limit=2) == [second]


def test_a_claim_that_began_before_the_cancel_takes_nothing_after_it(database: Database) -> None:
    """It has seen a running job and an open contact; the contact is looked at again."""
    database.seed("running", "pending", "no_answer")
    # A claim that stops in the middle: its snapshot taken, its look at the job under way.
    database.connection.execute(
        "CREATE FUNCTION wait_here() RETURNS boolean VOLATILE LANGUAGE sql AS "
        "'SELECT pg_advisory_xact_lock(4711) IS NOT NULL';"
        "CREATE VIEW slow_jobs AS SELECT * FROM batch_jobs WHERE wait_here() IS NOT NULL"
    )
    slow = PostgresUnitOfWork(
        lambda: psycopg.connect(database.dsn),
        PostgresSchema(jobs="slow_jobs", keys_are_unique=True),
    )
    with database.writing("SELECT pg_advisory_xact_lock(4711)"):
        claim = database.meanwhile(claim_contacts, "j", uow=slow, limit=10)
        with database.cancelling():
            pass
    assert claim.result() == []
    assert database.contacts == ["cancelled", "cancelled"]


def test_a_cancel_waits_for_a_claim_under_way(database: Database) -> None:
    """The claim came first: it is a live call, which the cancel leaves alone."""
    (contact, _) = database.seed("running", "pending", "pending")
    with psycopg.connect(database.dsn) as connection:
        assert claim_contacts("j", uow=joining(connection), limit=1) == [contact]
        cancel = database.meanwhile(cancel_rows, "j", uow=database.uow)
    assert cancel.result().record.contacts_cancelled == 1
    assert database.contacts == ["dialing", "cancelled"]


# Settle ------------------------------------------------------------------------------------------


def test_a_status_read_by_a_subselect_is_from_before_the_cancel(database: Database) -> None:
    """The wrong form: nothing makes the writer wait, and the cancel does not see what it wrote."""
    database.seed("running", "dialing")
    with database.cancelling():
        database.send(
            "UPDATE batch_contacts SET status = CASE (SELECT status FROM batch_jobs "
            "WHERE id = 'j') WHEN 'cancelled' THEN 'cancelled' ELSE 'no_answer' END"
        )
    assert (database.job, database.contacts) == ("cancelled", ["no_answer"])


def test_a_status_read_without_a_lock_is_old_when_it_is_used(database: Database) -> None:
    """The wrong form: look at the job, then write the contact."""
    database.seed("running", "dialing")
    with database.writing("SELECT status FROM batch_jobs") as connection:
        with database.cancelling():
            pass
        connection.execute("UPDATE batch_contacts SET status = 'no_answer'")
    assert (database.job, database.contacts) == ("cancelled", ["no_answer"])


def test_a_lock_and_a_status_in_one_statement_with_the_write_are_too_early(
    database: Database,
) -> None:
    """The wrong form: it waits for the lock, then goes on with the contacts from before."""
    database.seed("running")
    with database.writing("INSERT INTO batch_contacts (batch_job_id) VALUES ('j')") as connection:
        connection.execute("SELECT FROM batch_jobs WHERE id = 'j' FOR NO KEY UPDATE")
        cancel = database.meanwhile(
            database.send,
            "WITH job AS (SELECT id FROM batch_jobs WHERE id = 'j' FOR NO KEY UPDATE), "
            "contacts AS (UPDATE batch_contacts SET status = 'cancelled' FROM job "
            "WHERE batch_job_id = job.id AND batch_contacts.status = 'pending') "
            "UPDATE batch_jobs SET status = 'cancelled' FROM job WHERE batch_jobs.id = job.id",
        )
    cancel.result()
    assert (database.job, database.contacts) == ("cancelled", ["pending"])


@pytest.mark.parametrize("outcome", ["no_answer", "busy", "timeout", "queued"])
def test_a_call_that_ends_while_the_job_is_being_cancelled_is_not_retried(
    database: Database, outcome: str
) -> None:
    """It waits for the cancel, and then reads the job."""
    (contact,) = database.seed("running", "dialing")
    with database.cancelling():
        settle = database.meanwhile(
            settle_contact, "j", contact, ContactStatus(outcome), uow=database.uow
        )
    assert settle.result() == "cancelled"
    assert database.contacts == ["cancelled"]


def test_a_call_that_ended_right_before_the_cancel_is_cancelled_by_it(database: Database) -> None:
    """The cancel waits for the worker, and then sees what it wrote."""
    (contact,) = database.seed("running", "dialing")
    with psycopg.connect(database.dsn) as connection:
        settle_contact("j", contact, ContactStatus.BUSY, uow=joining(connection))
        cancel = database.meanwhile(cancel_rows, "j", uow=database.uow)
    assert cancel.result().record.contacts_cancelled == 1
    assert database.contacts == ["cancelled"]


@pytest.mark.parametrize("outcome", ["completed", "failed", "blocked", "carrier_error"])
def test_a_call_that_is_not_retried_waits_for_no_cancel(database: Database, outcome: str) -> None:
    """Its end does not depend on the job, so nobody has to lock it."""
    (contact,) = database.seed("running", "dialing")
    with database.cancelling():
        settled = settle_contact("j", contact, ContactStatus(outcome), uow=database.uow)
    assert settled == outcome
    assert database.contacts == [outcome]


def test_a_worker_that_comes_after_the_cancel_waits_behind_it(database: Database) -> None:
    """However many there are, the cancel has its turn."""
    first, second = database.seed("running", "dialing", "dialing")
    with psycopg.connect(database.dsn) as connection:
        settle_contact("j", first, ContactStatus.BUSY, uow=joining(connection))
        cancel = database.meanwhile(cancel_rows, "j", uow=database.uow)
        late = database.meanwhile(
            settle_contact, "j", second, ContactStatus.BUSY, uow=database.uow
        )
    assert cancel.result().record.contacts_cancelled == 1
    assert late.result() == "cancelled"


def test_workers_that_share_a_lock_go_past_a_waiting_cancel(database: Database) -> None:
    """The wrong form: FOR SHARE lets one after the other in while the cancel waits."""
    database.seed("running")
    share = "SELECT FROM batch_jobs WHERE id = 'j' FOR SHARE"
    with database.writing(share) as first:
        cancel = database.meanwhile(cancel_rows, "j", uow=database.uow)
        with database.writing(share):
            first.rollback()
            with pytest.raises(TimeoutError):
                cancel.result(timeout=0.3)
    assert cancel.result().record.previous_status == "running"


def test_contact_before_job_is_a_deadlock(database: Database) -> None:
    """The wrong order: Postgres ends the worker, or the cancel, which tries again."""
    database.seed("running", "pending")
    # Who has waited the shortest time is to be the first to look for a deadlock.
    first = ("SET LOCAL deadlock_timeout = '100ms'", "UPDATE batch_contacts SET status = 'queued'")
    with database.writing(*first) as worker:
        cancel = database.meanwhile(cancel_rows, "j", uow=database.uow)
        with pytest.raises(psycopg.errors.DeadlockDetected):
            worker.execute("SELECT FROM batch_jobs WHERE id = 'j' FOR NO KEY UPDATE")
        worker.rollback()
    assert cancel.result().record.contacts_cancelled == 1
