"""The sweep of a very large job on Postgres: locks, other tables, older tables, other sweepers."""

from __future__ import annotations

import threading
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from batch_cancel import (
    CancelFailed,
    CancelResult,
    ContactStatus,
    JobKey,
    cancel_job,
    cancel_rows,
    cancellation_of,
    cancellations,
    claim_contacts,
    inspect,
    reconcile,
    settle_contact,
)
from batch_cancel.adapters.memory import MemoryScheduler
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, joining
from batch_cancel.adapters.postgres.queries import queries_for
from batch_cancel.domain.worker_rules import CLAIMABLE_CONTACTS as CLAIMABLE
from batch_cancel.testing.breakpoints import Hooked
from tests.integration.own_tables import tables
from tests.pairs import create_reference_tables
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FIVE = ["pending", "queued", "no_answer", "busy", "timeout"]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def rows(postgres_schema: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to the reference tables, with a running job of five open contacts."""
    with psycopg.connect(postgres_schema, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute("INSERT INTO batch_jobs (id, status) VALUES ('j', 'running')")
        connection.cursor().executemany(
            "INSERT INTO batch_contacts (batch_job_id, status) VALUES ('j', %s)",
            [(status,) for status in FIVE],
        )
        yield connection


@pytest.fixture
def uow(postgres_schema: str) -> PostgresUnitOfWork:
    """Return a store that sweeps above two contacts."""
    return sweeping(postgres_schema)


def sweeping(dsn: str, **more: Any) -> PostgresUnitOfWork:
    """Return a store that sweeps above two contacts."""
    return PostgresUnitOfWork(lambda: psycopg.connect(dsn), sweep_above=2, **more)


def cancel(uow: Any, **options: Any) -> CancelResult:
    """Cancel the job."""
    return cancel_job("j", uow=uow, scheduler=MemoryScheduler(), **options)


def statuses(rows: psycopg.Connection[Any]) -> list[str]:
    """Return the statuses of the contacts, in order."""
    found = rows.execute("SELECT status FROM batch_contacts ORDER BY id").fetchall()
    return [status for (status,) in found]


def transactions(rows: psycopg.Connection[Any]) -> int:
    """Return how many transactions have written the contacts as they are."""
    [(number,)] = rows.execute("SELECT count(DISTINCT xmin::text) FROM batch_contacts").fetchall()
    return int(number)


def flipped(uow: Any) -> None:
    """Cancel the job in a process that is killed after the flip."""

    def die(at: str) -> None:
        if at == "committed":
            raise Killed

    with pytest.raises(Killed):
        cancel(Hooked(uow, die), operation_id="op")


# Locks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commits", [True, False])
def test_a_claim_that_is_under_way_is_waited_for(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork, postgres_schema: str, *, commits: bool
) -> None:
    """It becomes a live call before the answer, or its contact is cancelled; never skipped."""
    answers = list[CancelResult]()
    with psycopg.connect(postgres_schema) as worker:
        worker.execute(
            "UPDATE batch_contacts SET status = 'dialing' "
            "WHERE id = (SELECT min(id) FROM batch_contacts)"
        )
        thread = threading.Thread(target=lambda: answers.append(cancel(uow)))
        thread.start()
        wait_until(lambda: is_waiting(rows), "the sweep waits for the contact")
        assert rows.execute("SELECT status FROM batch_jobs").fetchall() == [("cancelled",)]
        assert answers == []
        if commits:
            worker.commit()
        else:
            worker.rollback()
        thread.join()
    [answer] = answers
    assert answer.contacts_cancelled == (4 if commits else 5)
    assert statuses(rows) == ["dialing" if commits else "cancelled"] + ["cancelled"] * 4


def test_a_claim_that_reads_columns_is_waited_for_too(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """It has what it claimed; a claim that begins after the flip is empty, and the last."""
    answers = list[CancelResult]()
    columns = ("status", "batch_job_id")
    with uow.begin() as repositories:
        [(_, row)] = repositories.work.claim_returning(JobKey("j"), CLAIMABLE, 1, columns)
        thread = threading.Thread(target=lambda: answers.append(cancel(uow)))
        thread.start()
        wait_until(lambda: is_waiting(rows), "the sweep waits for the contact")
        late = claim_contacts("j", uow=uow, limit=9, returning=columns)
    thread.join()
    assert row == {"status": "dialing", "batch_job_id": "j"}
    assert (late, late.is_over) == ([], True)
    assert [it.contacts_cancelled for it in answers] == [4]
    assert sorted(statuses(rows)) == ["cancelled"] * 4 + ["dialing"]


def is_waiting(rows: psycopg.Connection[Any]) -> bool:
    """Check whether a statement on this test's tables waits for a lock."""
    query = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN ("
        "SELECT pid FROM pg_locks WHERE relation = 'batch_contacts'::regclass)"
    )
    return rows.execute(query).fetchall() != [(0,)]


def test_the_workers_of_the_job_are_not_held_up_by_the_flip(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork, postgres_schema: str
) -> None:
    """Between the flip and the end of a chunk a live call ends at once."""
    rows.execute("INSERT INTO batch_contacts (batch_job_id, status) VALUES ('j', 'dialing')")
    [(live,)] = rows.execute("SELECT max(id)::text FROM batch_contacts").fetchall()
    quick = PostgresUnitOfWork(
        lambda: psycopg.connect(postgres_schema), lock_timeout=timedelta(milliseconds=200)
    )
    ended = list[object]()

    def end(at: str) -> None:
        if at == "chunk" and not ended:
            ended.append(settle_contact("j", live, ContactStatus.BUSY, uow=quick))

    assert cancel(Hooked(uow, end)).contacts_cancelled == 5
    assert ended == [ContactStatus.CANCELLED]
    assert set(statuses(rows)) == {"cancelled"}


def test_several_sweep_one_job_at_once(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """Reconciles and a retry: each contact is counted once, and each gets the same count."""
    rows.execute(
        "INSERT INTO batch_contacts (batch_job_id, status) "
        "SELECT 'j', 'pending' FROM generate_series(1, 60)"
    )
    flipped(uow)
    counts = list[int]()

    def sweep() -> None:
        counts.append(cancel(uow, operation_id="op").contacts_cancelled)

    def pass_once() -> None:
        done = reconcile(uow=uow, scheduler=MemoryScheduler(), lease=timedelta(0))
        counts.extend(it.contacts_cancelled for it in done)

    threads = [threading.Thread(target=it) for it in (sweep, pass_once, sweep, pass_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(counts) == {65}
    assert set(statuses(rows)) == {"cancelled"}
    record = cancellation_of("j", uow=uow)
    assert record is not None
    assert (record.contacts_cancelled, record.is_swept) == (65, True)


# One transaction ---------------------------------------------------------------------------------


def test_within_the_callers_transaction_there_is_no_sweep(
    rows: psycopg.Connection[Any], postgres_schema: str
) -> None:
    """Its commit is the moment of cancellation, for the contacts as well."""
    with psycopg.connect(postgres_schema) as connection, connection.transaction():
        cancellation = cancel_rows("j", uow=joining(connection))
        assert (cancellation.record.contacts_cancelled, cancellation.record.is_swept) == (5, True)
        assert statuses(rows) == FIVE
    assert set(statuses(rows)) == {"cancelled"}
    assert transactions(rows) == 1


def test_none_means_never(rows: psycopg.Connection[Any], postgres_schema: str) -> None:
    """One transaction, however many; but what another store has left is swept by this one."""
    flipped(sweeping(postgres_schema))
    never = PostgresUnitOfWork(lambda: psycopg.connect(postgres_schema), sweep_above=None)
    [done] = reconcile(uow=never, scheduler=MemoryScheduler(), lease=timedelta(0))
    assert done.contacts_cancelled == 5
    rows.execute("UPDATE batch_jobs SET status = 'running'")
    rows.execute("UPDATE batch_contacts SET status = 'pending'")
    assert cancel(never).contacts_cancelled == 5
    assert transactions(rows) == 1


def test_where_a_trigger_may_write_contacts_afterwards_there_is_no_sweep(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """They are read again before the one commit."""
    rows.execute(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER nothing AFTER UPDATE ON batch_contacts FOR EACH ROW "
        "EXECUTE FUNCTION nothing()"
    )
    assert cancel(uow).contacts_cancelled == 5
    assert transactions(rows) == 1


def test_where_the_id_of_a_contact_may_be_null_there_is_no_sweep(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """No chunk would find it, and the job would be cancelled with an open contact."""
    rows.execute(
        "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_pkey, ADD UNIQUE (id), "
        "ALTER COLUMN id DROP IDENTITY, ALTER COLUMN id DROP NOT NULL; "
        "UPDATE batch_contacts SET id = NULL WHERE id = (SELECT max(id) FROM batch_contacts)"
    )
    assert cancel(uow).contacts_cancelled == 5
    assert set(statuses(rows)) == {"cancelled"}
    assert transactions(rows) == 1


def test_a_trigger_that_keeps_contacts_open_ends_the_sweep_with_its_cause(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """It is not tried for ever, and never answered 200; without the trigger a retry ends it."""
    rows.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.status = 'busy' THEN RETURN NULL; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER keep BEFORE UPDATE ON batch_contacts FOR EACH ROW "
        "EXECUTE FUNCTION keep()"
    )
    with pytest.raises(CancelFailed) as failed:
        cancel(uow, operation_id="op")
    assert failed.value.outcome == "unknown"
    assert "look for a trigger" in str(failed.value)
    record = cancellation_of("j", uow=uow)
    assert record is not None
    assert (record.contacts_cancelled, record.is_swept) == (4, False)
    rows.execute("DROP TRIGGER keep ON batch_contacts")
    assert cancel(uow, operation_id="op").contacts_cancelled == 5


def test_a_trigger_that_keeps_all_contacts_of_a_small_job_changes_nothing(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """That no contact was written does not mean that there are too many."""
    rows.execute("DELETE FROM batch_contacts WHERE status <> 'busy'")
    rows.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER keep BEFORE UPDATE ON batch_contacts FOR EACH ROW "
        "EXECUTE FUNCTION keep()"
    )
    with pytest.raises(CancelFailed) as failed:
        cancel(uow)
    assert failed.value.outcome == "unchanged"
    assert rows.execute("SELECT status FROM batch_jobs").fetchall() == [("running",)]


# Tables ------------------------------------------------------------------------------------------


def test_an_older_table_works_on_without_a_sweep(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """In one transaction, as before; the doctor names the column, and the printed SQL adds it."""
    rows.execute("ALTER TABLE batch_cancellations DROP COLUMN is_swept")
    assert uow.check() == []
    [note] = [it for it in uow.examine().notes if "is_swept" in it]
    assert note == (
        "column is_swept is missing from batch_cancellations, so a job with very many contacts is "
        "cancelled in one long transaction: add it as `batch-cancel schema --from 0.1` prints it"
    )
    result = cancel(uow, operation_id="op")
    assert (result.contacts_cancelled, transactions(rows)) == (5, 1)
    assert cancel(uow, operation_id="op").replayed
    scheduler = MemoryScheduler()
    assert reconcile(uow=uow, scheduler=scheduler, lease=timedelta(0)) == []
    assert not inspect(uow=uow, scheduler=scheduler).is_found
    assert [it.is_swept for it in cancellations(uow=uow).records] == [True]

    package = resources.files("batch_cancel.adapters.postgres")
    rows.execute(package.joinpath("tables.sql").read_bytes())
    rows.execute("UPDATE batch_jobs SET status = 'running'")
    rows.execute("UPDATE batch_contacts SET status = 'pending'")
    assert cancel(uow, operation_id="again").contacts_cancelled == 5
    assert transactions(rows) == 3
    assert [it for it in uow.examine().notes if "is_swept" in it] == []


def test_without_its_index_each_reconcile_reads_all_records(
    rows: psycopg.Connection[Any], uow: PostgresUnitOfWork
) -> None:
    """Which is worth a note."""
    rows.execute("DROP INDEX batch_cancellations_sweeping")
    [note] = [it for it in uow.examine().notes if "sweep" in it]
    assert "batch_cancellations_sweeping" in note


def test_pending_sweeps_are_found_by_an_index(rows: psycopg.Connection[Any]) -> None:
    """Among many records with nothing pending."""
    rows.execute(
        "INSERT INTO batch_cancellations SELECT '', n::text, 'op', 'running', 0, NULL, NULL, "
        "now(), NULL, 'absent', true, now() FROM generate_series(1, 20000) AS n"
    )
    rows.execute("UPDATE batch_cancellations SET is_swept = false WHERE batch_job_id = '7'")
    rows.execute("ANALYZE batch_cancellations")
    statement = queries_for(PostgresSchema(), has_sweeps=True).take_pending
    plan = rows.execute(
        b"EXPLAIN " + statement.as_bytes(None),
        {"announcements": True, "lease": timedelta(0), "limit": 10},
    ).fetchall()
    scans = [line for (line,) in plan if "Seq Scan on batch_cancellations" in line]
    assert scans == [], plan


def test_own_names_keys_and_organizations(postgres_database: str) -> None:
    """Contacts are swept by the job's key, and no other organization's are."""
    schema = PostgresSchema(
        job_id="public_id", job_key="id", contact_id="label", contact_organization_id="owner"
    )
    with tables(postgres_database, schema) as made:
        made.rows("ALTER TABLE batch_contacts ADD owner text")
        made.rows("ALTER TABLE batch_jobs ADD id bigint UNIQUE")
        made.rows("ALTER TABLE batch_contacts ALTER batch_job_id TYPE bigint USING 0")
        for number, job_id in enumerate(["j", "k"]):
            made.add_job(job_id, "running", None, "org")
            made.rows("UPDATE batch_jobs SET id = {} WHERE public_id = {}", number, job_id)
            for label, status in enumerate(FIVE):
                made.rows(
                    "INSERT INTO batch_contacts (batch_job_id, status, label, owner) "
                    "VALUES ({}, {}, {}, 'org')",
                    number,
                    status,
                    f"{job_id}{label}",
                )
        result = cancel(sweeping(made.dsn, schema=schema), organization_id="org")
        assert result.contacts_cancelled == 5
        counted = made.rows("SELECT batch_job_id, status FROM batch_contacts")
        assert sorted(counted) == sorted([(0, "cancelled")] * 5 + [(1, status) for status in FIVE])


@pytest.mark.parametrize("above", [0, -1, True, "100", 1.5])
def test_a_number_that_is_none_is_refused(above: Any) -> None:
    """Before any connection is opened."""
    with pytest.raises((TypeError, ValueError), match="sweep_above must be"):
        PostgresUnitOfWork(psycopg.connect, sweep_above=above)
