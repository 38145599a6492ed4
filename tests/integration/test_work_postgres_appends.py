"""
Appends and finishes beside a cancel on real Postgres, step by step.

Each race is played by hand, in the one order that matters; wrong forms are shown to be wrong.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from batch_cancel import (
    AlreadyTerminal,
    append_contacts,
    cancel_rows,
    finish_job,
    still_running,
)
from batch_cancel.adapters.postgres import (
    joining,
)
from batch_cancel.domain.errors import Fault, StoreFailed
from tests.integration.work_database import Database, database

__all__ = ["database"]


@pytest.mark.parametrize(
    "values", ["VALUES ('j')", "SELECT id FROM batch_jobs WHERE status = 'running'"]
)
def test_an_insert_without_the_lock_is_not_seen_by_the_cancel(
    database: Database, values: str
) -> None:
    """The wrong forms: the foreign key's lock goes along with the cancel's."""
    database.seed("running")
    with database.cancelling():
        database.send(f"INSERT INTO batch_contacts (batch_job_id) {values}")
    assert (database.job, database.contacts) == ("cancelled", ["pending"])


def test_an_append_that_waits_for_a_cancel_is_refused(database: Database) -> None:
    """The job is read after the wait."""
    database.seed("running")
    with database.cancelling():
        append = database.meanwhile(append_contacts, "j", [{}], uow=database.uow)
    with pytest.raises(AlreadyTerminal) as refused:
        append.result()
    assert refused.value.status == "cancelled"
    assert database.contacts == []


def test_a_cancel_that_waits_for_an_append_cancels_it(database: Database) -> None:
    """And counts it."""
    database.seed("scheduled")
    with psycopg.connect(database.dsn) as connection:
        assert append_contacts("j", [{}, {}], uow=joining(connection)) == 2
        cancel = database.meanwhile(cancel_rows, "j", uow=database.uow)
    assert cancel.result().record.contacts_cancelled == 2
    assert database.contacts == ["cancelled", "cancelled"]


def test_contacts_are_added_with_the_columns_of_the_adopter(database: Database) -> None:
    """Any name is one, and rows may differ in what they have; the others get their default."""
    database.seed("running")
    odd = 'ph"one %s {}'
    database.connection.execute(
        sql.SQL("ALTER TABLE batch_contacts ADD {} text DEFAULT 'none'").format(
            sql.Identifier(odd)
        )
    )
    rows: list[dict[str, object]] = [
        {odd: "1%"},
        {odd: "2"},
        {},
        {"next_attempt_at": "2031-01-01", odd: None},
    ]
    assert append_contacts("j", rows, uow=database.uow) == 4
    found = database.connection.execute(
        sql.SQL(
            "SELECT status, {}, next_attempt_at IS NULL FROM batch_contacts ORDER BY id"
        ).format(sql.Identifier(odd))
    ).fetchall()
    assert found == [
        ("pending", "1%", True),
        ("pending", "2", True),
        ("pending", "none", True),
        ("pending", None, False),
    ]


def test_more_contacts_than_one_statement_can_hold(database: Database) -> None:
    """The wire counts values in 16 bits."""
    database.seed("running")
    rows = [{"next_attempt_at": None}] * 70_000
    assert append_contacts("j", rows, uow=database.uow) == 70_000
    assert len(database.contacts) == 70_000


@pytest.mark.parametrize(
    "contact",
    [
        {"next_attempt_at": "+49 170 1234567"},
        {"next_attempt_at": "\0"},
        {"id": 1},
        {"status": "dialing"},
        {"batch_job_id": "k"},
        {"": "+49 170 1234567"},
        {"phone": "+49 170 1234567"},
        {"updated_at": None},
    ],
    ids=["no time", "NUL", "a number", "live", "elsewhere", "no column", "phone", "null"],
)
def test_a_contact_that_postgres_refuses(database: Database, contact: dict[str, Any]) -> None:
    """Nothing is added, and the value is not told: it may be a phone number."""
    database.seed("running")
    with pytest.raises(StoreFailed) as refused:
        append_contacts("j", [{}, contact], uow=database.uow)
    assert (refused.value.outcome, refused.value.fault) == ("unchanged", Fault.REFUSED)
    assert "1234567" not in str(refused.value)
    assert database.contacts == []


# Finish ------------------------------------------------------------------------------------------


def test_a_finish_in_one_statement_does_not_see_an_append(database: Database) -> None:
    """The wrong form: the row was locked, not changed, so nothing is compared again."""
    database.seed("running")
    with psycopg.connect(database.dsn) as connection:
        append_contacts("j", [{}], uow=joining(connection))
        finish = database.meanwhile(
            database.send,
            "UPDATE batch_jobs SET status = 'completed' WHERE id = 'j' AND status = 'running' "
            "AND NOT EXISTS (SELECT FROM batch_contacts WHERE batch_job_id = 'j')",
        )
    finish.result()
    assert (database.job, database.contacts) == ("completed", ["pending"])


def test_a_finish_that_waits_for_an_append_does_not_happen(database: Database) -> None:
    """It looks again, in a statement of its own."""
    database.seed("running")
    with psycopg.connect(database.dsn) as connection:
        append_contacts("j", [{}], uow=joining(connection))
        finish = database.meanwhile(finish_job, "j", uow=database.uow)
    assert finish.result() is False
    assert (database.job, database.contacts) == ("running", ["pending"])


def test_an_append_that_waits_for_a_finish_is_refused(database: Database) -> None:
    """The job is read after the wait."""
    database.seed("running")
    with psycopg.connect(database.dsn) as connection:
        assert finish_job("j", uow=joining(connection))
        append = database.meanwhile(append_contacts, "j", [{}], uow=database.uow)
    with pytest.raises(AlreadyTerminal):
        append.result()
    assert (database.job, database.contacts) == ("completed", [])


@pytest.mark.parametrize("contact", ["pending", "timeout", "dialing"])
def test_a_finish_of_a_job_with_work_left_waits_for_nobody(
    database: Database, contact: str
) -> None:
    """It locks nothing, however often workers ask."""
    database.seed("running", "completed", contact)
    with database.writing("SELECT FROM batch_jobs WHERE id = 'j' FOR UPDATE"):
        assert finish_job("j", uow=database.uow) is False


def test_a_finish_that_waits_for_a_cancel_does_not_happen(database: Database) -> None:
    """The cancel came first."""
    database.seed("running")
    with database.cancelling():
        finish = database.meanwhile(finish_job, "j", uow=database.uow)
    assert finish.result() is False
    assert database.job == "cancelled"


def test_the_last_look_waits_for_nobody(database: Database) -> None:
    """It reads what is committed."""
    database.seed("running")
    with database.cancelling():
        assert still_running("j", uow=database.uow)
    assert not still_running("j", uow=database.uow)


def test_a_column_that_contacts_lack_is_named(database: Database) -> None:
    """It is one that the caller passed, no name of the mapping."""
    database.seed("running")
    with pytest.raises(StoreFailed) as refused:
        append_contacts("j", [{"fone": "1"}], uow=database.uow)
    assert refused.value.reason == (
        'column "fone" of relation "batch_contacts" does not exist: correct the column of the '
        "contact that you passed"
    )
