"""
Workers beside a cancel on real Postgres, step by step.

Each race is played by hand, with two connections, in the one order that matters. Where a form is
known to be wrong, it is shown to be: what a worker writes without the library leaves a contact to
be called under a cancelled job, and what the library does in the same moment does not.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from batch_cancel import (
    AlreadyTerminal,
    append_contacts,
    cancel_rows,
    claim_contacts,
    finish_job,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.postgres import (
    PostgresSchema,
    PostgresUnitOfWork,
    guards_ddl,
    joining,
)
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.model import ContactStatus
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS, UNFINISHED_CONTACTS
from tests.pairs import create_reference_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

WAIT_SECONDS = 20


class Database:
    """A job `j` with contacts, one connection to look through, and others to race with."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.uow = PostgresUnitOfWork(lambda: psycopg.connect(dsn))
        self.connection = psycopg.connect(dsn, autocommit=True)
        create_reference_tables(self.connection)
        self._threads = ThreadPoolExecutor(4)

    def close(self) -> None:
        """Let go of everything."""
        self._threads.shutdown()
        self.connection.close()

    def seed(self, status: str, *contacts: str) -> list[str]:
        """Make the job `j`; return its contacts' ids."""
        self.connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', %s)", [status])
        return [self._contact(contact) for contact in contacts]

    def _contact(self, status: str) -> str:
        ((contact_id,),) = self.connection.execute(
            "INSERT INTO batch_contacts (batch_job_id, status) VALUES ('j', %s) "
            "RETURNING id::text",
            [status],
        ).fetchall()
        return str(contact_id)

    def guard(self) -> None:
        """Install the triggers."""
        self.connection.execute(guards_ddl(PostgresSchema()).encode())

    @property
    def job(self) -> str:
        """The job's status as committed."""
        ((status,),) = self.connection.execute("SELECT status FROM batch_jobs").fetchall()
        return str(status)

    @property
    def contacts(self) -> list[str]:
        """The contacts' statuses as committed, in the order of their ids."""
        rows = self.connection.execute("SELECT status FROM batch_contacts ORDER BY id")
        return [status for (status,) in rows]

    @contextmanager
    def cancelling(self) -> Generator[None]:
        """Do a cancel, and commit it at the end of the block."""
        with psycopg.connect(self.dsn) as connection:
            cancel_rows("j", uow=joining(connection))
            yield

    @contextmanager
    def writing(self, *statements: str) -> Generator[psycopg.Connection[Any]]:
        """Send a writer's statements, and commit them at the end of the block."""
        with psycopg.connect(self.dsn) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            yield connection

    def meanwhile(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        """Call in a thread, and return once that waits for a lock."""
        before = self._waiting()
        future = self._threads.submit(call, *arguments, **options)
        give_up = time.monotonic() + WAIT_SECONDS
        while self._waiting() <= before:
            assert not future.done(), f"it did not wait: {future}"
            assert time.monotonic() < give_up
        return future

    def _waiting(self) -> int:
        ((count,),) = self.connection.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database()"
        ).fetchall()
        return int(count)

    def send(self, statement: str, *values: str) -> None:
        """Send a naive writer's statement on a connection of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement.encode(), values)


@pytest.fixture
def database(postgres_schema: str) -> Iterator[Database]:
    """Lend a database with the reference tables."""
    it = Database(postgres_schema)
    yield it
    it.close()


# Start -------------------------------------------------------------------------------------------


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
    """The cancel waits for the worker, and then sees what he wrote."""
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


# Append ------------------------------------------------------------------------------------------


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


# The adopter's tables ----------------------------------------------------------------------------


def plan(database: Database, statement: sql.SQL, **parameters: object) -> str:
    """Give the plan of a statement for the job `j`."""
    named = {"batch_job_id": "j", "organization_id": None, **parameters}
    rows = psycopg.Cursor(database.connection).execute(
        sql.SQL("EXPLAIN {}").format(statement), named, prepare=False
    )
    return "\n".join(line for (line,) in rows.fetchall())


@pytest.fixture
def full(database: Database) -> Database:
    """Lend a database where the job is one of many, with 20,000 contacts open."""
    database.seed("running")
    database.connection.execute(
        "INSERT INTO batch_jobs (id, status) SELECT 'other-' || n, 'running' "
        "FROM generate_series(1, 50) AS n;"
        "INSERT INTO batch_contacts (batch_job_id, status, next_attempt_at) SELECT "
        "CASE n % 3 WHEN 0 THEN 'j' ELSE 'other-' || (1 + n % 50) END, "
        "(ARRAY['pending', 'no_answer', 'completed', 'completed', 'dialing'])[1 + n % 5], "
        "CASE n % 7 WHEN 0 THEN NULL ELSE now() + (n - 30000) * interval '1 second' END "
        "FROM generate_series(1, 60000) AS n;"
        "ANALYZE batch_jobs; ANALYZE batch_contacts"
    )
    return database


def test_a_claim_reads_the_index_in_its_order(full: Database) -> None:
    """It sorts nothing and reads no contact that is not due."""
    statement = queries_for(PostgresSchema()).claim_contacts(CLAIMABLE_CONTACTS)
    found = plan(full, statement, limit=10)
    assert found.count("Index Scan using batch_contacts_open") == 2
    assert "next_attempt_at IS NULL" in found
    assert "next_attempt_at <= statement_timestamp()" in found
    assert "Sort" not in found
    assert "Seq Scan on batch_contacts" not in found


def test_a_finish_reads_the_indexes(full: Database) -> None:
    """One for the contacts that wait, one for the live calls."""
    unfinished = frozenset(UNFINISHED_CONTACTS)
    for statement in queries_for(PostgresSchema()).finish_job(unfinished):
        found = plan(full, statement)
        assert "batch_contacts_open" in found
        assert "batch_contacts_dialing" in found
        assert "Seq Scan on batch_contacts" not in found


def test_a_claim_without_times_reads_the_index(full: Database) -> None:
    """It sorts nothing."""
    schema = PostgresSchema(contact_next_attempt_at=None)
    found = plan(full, queries_for(schema).claim_contacts(CLAIMABLE_CONTACTS), limit=10)
    assert "Index Scan using batch_contacts_open" in found
    assert "Sort" not in found
    assert "Seq Scan on batch_contacts" not in found


def test_claims_are_given_the_longest_due_first(database: Database) -> None:
    """Those without a time before all others, those that are not due not at all."""
    database.seed("running")
    times = ["2031-01-01", "2021-01-01", None, "2020-01-01"]
    append_contacts("j", [{"next_attempt_at": at} for at in times], uow=database.uow)
    given = [claim_contacts("j", uow=database.uow, limit=1) for _ in range(4)]
    assert given == [["3"], ["4"], ["2"], []]


def test_tables_without_times_and_without_organizations(database: Database) -> None:
    """Every contact is due, every job one of no organization."""
    database.seed("scheduled", "pending", "timeout")
    database.connection.execute(
        "ALTER TABLE batch_contacts DROP next_attempt_at, DROP updated_at;"
        "ALTER TABLE batch_jobs DROP organization_id, DROP updated_at"
    )
    schema = PostgresSchema(
        job_organization_id=None,
        job_updated_at=None,
        contact_updated_at=None,
        contact_next_attempt_at=None,
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(database.dsn), schema)
    assert not start_job("j", uow=uow, organization_id="acme")
    assert claim_contacts("j", uow=uow, limit=5) == []
    assert start_job("j", uow=uow)
    first, second = claim_contacts("j", uow=uow, limit=5)
    assert settle_contact("j", first, ContactStatus.BUSY, uow=uow) == "busy"
    assert settle_contact("j", second, ContactStatus.FAILED, uow=uow) == "failed"
    assert not finish_job("j", uow=uow)
    assert claim_contacts("j", uow=uow, limit=5) == [first]
    assert settle_contact("j", first, ContactStatus.COMPLETED, uow=uow) == "completed"
    assert finish_job("j", uow=uow)


def _with_uuids_and_enums(database: Database, statuses: str) -> None:
    database.connection.execute(
        "DROP TABLE batch_contacts, batch_jobs;"
        f"CREATE TYPE contact_status AS ENUM ({statuses});"
        "CREATE TYPE job_status AS ENUM "
        "('scheduled', 'pending', 'running', 'completed', 'failed', 'cancelled');"
        "CREATE TABLE batch_jobs (id uuid PRIMARY KEY, organization_id uuid, status job_status, "
        "scheduled_job_id text, updated_at timestamptz);"
        "CREATE TABLE batch_contacts (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
        "batch_job_id uuid REFERENCES batch_jobs, status contact_status, "
        "next_attempt_at timestamptz, updated_at timestamptz);".encode()
    )


JOB = "6b29fc40-ca47-1067-b31d-00dd010662da"


def test_ids_that_are_uuids_and_statuses_that_are_an_enum(database: Database) -> None:
    """What is no uuid names nothing; the caller's own transaction stays whole."""
    _with_uuids_and_enums(database, ", ".join(f"'{status.value}'" for status in ContactStatus))
    database.connection.execute("INSERT INTO batch_jobs VALUES (%s, NULL, 'pending')", [JOB])
    for uow in (database.uow, joining(database.connection)):
        with database.connection.transaction():
            assert not start_job("no-uuid", uow=uow)
            assert not start_job(JOB, uow=uow, organization_id="no-uuid")
            assert claim_contacts("no-uuid", uow=uow, limit=1) == []
            assert settle_contact("no-uuid", JOB, ContactStatus.BUSY, uow=uow) is None
            assert settle_contact(JOB, "no-uuid", ContactStatus.BUSY, uow=uow) is None
            assert settle_contact(JOB, "no-uuid", ContactStatus.FAILED, uow=uow) is None
            assert not finish_job("no-uuid", uow=uow)
            assert not still_running("no-uuid", uow=uow)
    uow = database.uow
    assert start_job(JOB, uow=uow)
    assert append_contacts(JOB, [{}], uow=uow) == 1
    (contact,) = claim_contacts(JOB, uow=uow, limit=1)
    assert settle_contact(JOB, contact, ContactStatus.TIMEOUT, uow=uow) == "timeout"
    assert not finish_job(JOB, uow=uow)


def test_a_status_that_is_missing_from_an_enum_is_told(database: Database) -> None:
    """It would be easy to take it for a job that is not there."""
    _with_uuids_and_enums(database, "'pending', 'completed', 'cancelled'")
    database.connection.execute("INSERT INTO batch_jobs VALUES (%s, NULL, 'running')", [JOB])
    with pytest.raises(StoreFailed, match="missing from your enum"):
        claim_contacts(JOB, uow=database.uow, limit=1)
    with pytest.raises(StoreFailed, match="missing from your enum"):
        settle_contact(JOB, JOB, ContactStatus.FAILED, uow=database.uow)
    with pytest.raises(StoreFailed, match="missing from your enum"):
        finish_job(JOB, uow=database.uow)


# The triggers ------------------------------------------------------------------------------------


@pytest.fixture
def guarded(database: Database) -> Database:
    """Lend a database with the triggers; they may be installed twice."""
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
    """And then sees what he wrote, and counts it."""
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
