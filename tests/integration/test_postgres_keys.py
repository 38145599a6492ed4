"""
Keys that are not what the reference tables have: by organization, or surrogate.

A cancel, and every step of a worker, touches the contacts of its own job alone.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import attrs
import psycopg
import pytest

from batch_cancel import (
    BatchCancelError,
    ContactStatus,
    append_contacts,
    cancel_job,
    cancel_rows,
    claim_contacts,
    expire_calls,
    finish_job,
    inspect,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    guards_ddl,
    joining,
)
from tests.integration.postgres_keys import MADE, SOON, Database, database

__all__ = ["database"]


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, database: Database) -> tuple[Database, PostgresSchema]:
    """Yield tables whose keys are other than the reference's, filled."""
    statements, schema = MADE[request.param]
    database.make(*statements, schema=schema, by_number=schema.job_key is not None)
    return database, schema


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
@pytest.mark.parametrize("is_watched", [False, True], ids=["bare", "watched"])
def test_each_step_touches_one_organizations_job_alone(
    made: tuple[Database, PostgresSchema], *, is_joined: bool, is_watched: bool
) -> None:
    """B's rows stay byte for byte what they were, through all that is done to A's."""
    database, schema = made
    if is_watched:
        database.watch()
    theirs = database.rows("B")
    with closing(psycopg.connect(database.dsn)) as connection:
        uow: Any = joining(connection, schema) if is_joined else database.uow(schema)
        named: dict[str, Any] = {"uow": uow, "organization_id": "A"}

        def then(expected: dict[int, str]) -> None:
            connection.commit()
            assert database.statuses("A") == expected
            assert database.rows("B") == theirs

        assert claim_contacts("1", limit=1, **named) == ["1"]
        then({1: "dialing", 2: "dialing", 3: "dialing", 4: "busy", 5: "completed", 6: "paused"})
        assert settle_contact("1", "1", ContactStatus.FAILED, **named) == "failed"
        then({1: "failed", 2: "dialing", 3: "dialing", 4: "busy", 5: "completed", 6: "paused"})
        assert settle_contact("1", "2", ContactStatus.NO_ANSWER, **named) == "no_answer"
        then({1: "failed", 2: "no_answer", 3: "dialing", 4: "busy", 5: "completed", 6: "paused"})
        assert expire_calls("1", SOON, **named) == 1
        then({1: "failed", 2: "no_answer", 3: "timeout", 4: "busy", 5: "completed", 6: "paused"})
        is_mapped = schema.contact_organization_id is not None
        added = {"id": 7} if is_mapped else {"id": 7, "organization_id": "A"}
        assert append_contacts("1", [added], **named) == 1
        assert finish_job("1", **named) is False
        assert start_job("1", **named) is False
        cancellation = cancel_rows("1", **named)
        assert cancellation.record.contacts_cancelled == 4
        then(
            {
                **dict.fromkeys((2, 3, 4, 7), "cancelled"),
                1: "failed",
                5: "completed",
                6: "paused",
            }
        )
        assert database.job("A") == "cancelled"
        assert append_contacts_refused("1", named)
    drift = inspect(uow=database.uow(schema), scheduler=MemoryScheduler(), calls_older_than=SOON)
    assert drift.contacts_open == ()
    assert [(it.key.organization_id, it.contacts) for it in drift.calls_overdue or ()] == [
        ("B", 2)
    ]


def append_contacts_refused(job: str, named: dict[str, Any]) -> bool:
    """Check whether no contact may be added any more."""
    with pytest.raises(BatchCancelError, match="already cancelled"):
        append_contacts(job, [{"id": 8}], **named)
    return True


@pytest.mark.parametrize("is_watched", [False, True], ids=["bare", "watched"])
@pytest.mark.parametrize("has_times", [False, True], ids=["untimed", "timed"])
def test_a_claim_takes_contacts_of_its_own_job_alone(
    made: tuple[Database, PostgresSchema], *, has_times: bool, is_watched: bool
) -> None:
    """Whatever waits under equal ids in other jobs, of A and of B; one job's state is its own."""
    database, schema = made
    if is_watched:
        database.watch()
    if not has_times:
        schema = attrs.evolve(schema, contact_next_attempt_at=None)
    job = "2" if schema.job_key is None else "3"
    database.connection.execute(
        "INSERT INTO batch_jobs (organization_id, id, number, status) "
        "VALUES ('A', '2', 3, 'scheduled');"
        "INSERT INTO batch_contacts (organization_id, id, batch_job_id, status) "
        f"VALUES ('A', 5, '{job}', 'pending'), ('A', 6, '{job}', 'pending');"
        "UPDATE batch_contacts SET status = 'pending' WHERE organization_id = 'B';"
        "UPDATE batch_contacts SET next_attempt_at = '2020-01-01' WHERE id % 2 = 0".encode()
    )
    before = database.contacts()
    uow = database.uow(schema)
    assert claim_contacts("2", limit=9, uow=uow, organization_id="A") == []
    claimed = claim_contacts("1", limit=9, uow=uow, organization_id="A")
    assert sorted(claimed) == ["1", "4"]
    job = "1" if schema.job_key is None else "2"
    assert database.contacts() == before | {
        ("A", job, 1): "dialing",
        ("A", job, 4): "dialing",
    }


def test_a_job_is_distinguished_from_others_of_its_id_and_of_its_organization(
    made: tuple[Database, PostgresSchema],
) -> None:
    """It is read, started and finished; no other job is, or is waited for."""
    database, schema = made
    uow = database.uow(schema)
    database.connection.execute(
        "DELETE FROM batch_contacts;"
        "UPDATE batch_jobs SET status = 'scheduled' WHERE organization_id = 'B';"
        "INSERT INTO batch_jobs (organization_id, id, number, status) "
        "VALUES ('A', '2', 3, 'scheduled'), ('B', '2', 4, 'running')"
    )
    before = database.rows("A"), database.rows("B")
    for organization, job, is_running in (
        ("A", "1", True),
        ("A", "2", False),
        ("B", "1", False),
        ("B", "2", True),
    ):
        named: dict[str, Any] = {"uow": uow, "organization_id": organization}
        assert still_running(job, **named) is is_running
    assert start_job("1", uow=uow, organization_id="A") is False
    with psycopg.connect(database.dsn) as holder:
        holder.execute(
            "SELECT FROM batch_jobs WHERE (organization_id, id) <> ('A', '2') FOR UPDATE"
        )
        assert finish_job("2", uow=uow, organization_id="A") is False
    assert (database.rows("A"), database.rows("B")) == before
    database.connection.execute("UPDATE batch_jobs SET status = 'running'")
    assert finish_job("1", uow=uow, organization_id="A") is True
    found = database.connection.execute(
        "SELECT organization_id, id FROM batch_jobs WHERE status <> 'running'"
    )
    assert found.fetchall() == [("A", "1")]


def test_a_job_is_finished_whatever_anothers_contacts_are(
    made: tuple[Database, PostgresSchema],
) -> None:
    """A's job has nothing left to do; B's, of the same id, has."""
    database, schema = made
    database.connection.execute(
        "UPDATE batch_contacts SET status = 'completed' WHERE organization_id = 'A'"
    )
    theirs = database.rows("B")
    uow = database.uow(schema)
    assert finish_job("1", uow=uow, organization_id="B") is False
    assert finish_job("1", uow=uow, organization_id="A") is True
    assert (database.job("A"), database.rows("B")) == ("completed", theirs)


def test_an_inspection_counts_a_jobs_own_contacts(made: tuple[Database, PostgresSchema]) -> None:
    """A cancelled job whose contacts are open is a finding; another's open contacts are none."""
    database, schema = made
    database.connection.execute("UPDATE batch_jobs SET status = 'cancelled'")
    database.connection.execute(
        "UPDATE batch_contacts SET status = 'cancelled' WHERE organization_id = 'A'"
    )
    drift = inspect(uow=database.uow(schema), scheduler=MemoryScheduler())
    assert [(it.key.organization_id, it.contacts_open) for it in drift.contacts_open] == [("B", 2)]


def test_the_guards_look_at_the_contacts_own_job(made: tuple[Database, PostgresSchema]) -> None:
    """A naive writer's contact becomes cancelled under A's cancelled job, and not under B's."""
    database, schema = made
    database.connection.execute(guards_ddl(schema).encode())
    cancel_job("1", uow=database.uow(schema), scheduler=MemoryScheduler(), organization_id="A")
    database.connection.execute("UPDATE batch_contacts SET status = 'queued' WHERE id = 5")
    assert (database.statuses("A")[5], database.statuses("B")[5]) == ("completed", "queued")
    database.connection.execute("UPDATE batch_contacts SET status = 'queued' WHERE id = 6")
    assert (database.statuses("A")[6], database.statuses("B")[6]) == ("cancelled", "queued")


def test_the_guards_look_at_a_contact_that_changes_its_organization(database: Database) -> None:
    """So it comes to a job of the same id that is cancelled."""
    statements, schema = MADE["organization and id"]
    database.make(*statements, schema=schema)
    database.connection.execute(guards_ddl(schema).encode())
    database.connection.execute(
        "UPDATE batch_contacts SET id = id + 10 WHERE organization_id = 'B'"
    )
    cancel_rows("1", uow=database.uow(schema), organization_id="A")
    database.connection.execute("UPDATE batch_contacts SET organization_id = 'A' WHERE id = 11")
    assert database.statuses("A")[11] == "cancelled"
