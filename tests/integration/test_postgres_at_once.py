"""A worker's step in one string with BEGIN and COMMIT: what is lost, refused, or not as known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, Final

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from batch_cancel import (
    ContactStatus,
    claim_contacts,
    claim_contacts_async,
    settle_contact,
    start_job,
    still_running,
)
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.adapters.postgres.ground import KNOWN, Expected
from batch_cancel.domain.errors import Fault, StoreFailed
from batch_cancel.domain.job import JobKey
from tests.integration.one_worker import STEPS, WRITERS, Worker, locked, worker, working
from tests.integration.undoing_triggers import Database, database
from tests.processes import wait_until

__all__ = ["database", "worker"]

COMMIT: Final = b"; COMMIT\0"
"""The end of a string, as it travels."""


def check_idle(worker: Worker) -> None:
    """Check that its connection is as it was opened, and serves on at once."""
    (line,) = worker.lines
    assert line.info.transaction_status == TransactionStatus.IDLE
    assert line.autocommit is False
    assert worker.trips("look") == 1
    assert worker.lines == [line]


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_one_string(worker: Worker, name: str) -> None:
    """And does what it does in a transaction of several."""
    assert worker.trips(name) == 1
    expected = {
        "start": ("SELECT status FROM batch_jobs WHERE id = 'later'", "running"),
        "claim": ("SELECT count(*) FROM batch_contacts WHERE status = 'dialing'", 4),
        "settle": ("SELECT count(*) FROM batch_contacts WHERE status = 'failed'", 1),
        "look": ("SELECT status FROM batch_jobs WHERE id = 'live'", "running"),
    }
    query, answer = expected[name]
    assert worker.database.connection.execute(query.encode()).fetchone() == (answer,)
    check_idle(worker)


# A broken line -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_string_that_never_arrived_is_an_unknown_outcome(worker: Worker, name: str) -> None:
    """Nobody here knows that it did not arrive; it is not sent a second time."""
    before = worker.database.dump()
    worker.proxy.cut_before(COMMIT)
    with pytest.raises(StoreFailed) as failure:
        worker.step(name)
    assert (failure.value.outcome, failure.value.fault) == ("unknown", Fault.INTERRUPTED)
    assert worker.database.dump() == before
    assert worker.proxy.cuts == 1
    assert worker.trips("look") == 1


@pytest.mark.parametrize("name", WRITERS)
def test_an_answer_that_was_lost_is_an_unknown_outcome(worker: Worker, name: str) -> None:
    """The step is made, once."""
    before = set(worker.database.dump())
    worker.proxy.cut_answer_to(COMMIT)
    with pytest.raises(StoreFailed) as failure:
        worker.step(name)
    assert (failure.value.outcome, failure.value.fault) == ("unknown", Fault.INTERRUPTED)
    wait_until(lambda: len(set(worker.database.dump()) - before) == 1, "the step is committed")
    assert worker.proxy.cuts == 1
    assert len(worker.lines) == 1


@pytest.mark.parametrize("is_lost", [False, True], ids=["lost", "answer lost"])
def test_a_look_that_was_lost_is_taken_again(worker: Worker, *, is_lost: bool) -> None:
    """It has changed nothing."""
    (worker.proxy.cut_answer_to if is_lost else worker.proxy.cut_before)(COMMIT)
    assert worker.step("look") is True
    assert worker.proxy.cuts == 1
    assert len(worker.lines) == 2


def test_a_look_after_a_claim_of_none_that_was_lost_is_taken_again(worker: Worker) -> None:
    """The claim is committed, and has claimed nothing: it can be made once more."""
    worker.proxy.cut_answer_to(b'SELECT "status"::text')
    assert worker.step("claim of none") == []
    assert worker.proxy.cuts == 1
    assert len(worker.lines) == 2


# An error within the string ----------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
def test_an_error_within_the_string_changes_nothing(worker: Worker, name: str) -> None:
    """COMMIT is not executed; the connection is in no transaction, and serves on."""
    before = worker.database.dump()
    worker.lock_timeout = timedelta(milliseconds=50)
    with locked(worker.database), pytest.raises(StoreFailed, match="lock timeout") as failure:
        worker.step(name)
    assert (failure.value.outcome, failure.value.fault) == ("unchanged", Fault.LATE)
    assert worker.database.dump() == before
    check_idle(worker)


def test_an_error_of_a_users_trigger_changes_nothing(worker: Worker) -> None:
    """Whatever its SQLSTATE says: Postgres has reported it, so COMMIT was not executed."""
    worker.database.trigger(
        "IF TG_OP = 'UPDATE' THEN RAISE EXCEPTION USING ERRCODE = '57P01'; END IF; RETURN NEW;",
        "BEFORE",
        "batch_contacts",
    )
    before = worker.database.dump()
    with pytest.raises(StoreFailed) as failure:
        worker.step("claim")
    assert failure.value.outcome == "unchanged"
    assert worker.database.dump() == before


def test_a_task_cancelled_within_the_string_changes_nothing(database: Database) -> None:
    """The statement is cancelled; the connection serves on."""
    with working(database, is_async=True) as worker:
        before, runner = database.dump(), worker.runner
        pid = worker.lines[-1].info.backend_pid

        def is_waiting() -> bool:
            query = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
            return database.connection.execute(query, [pid]).fetchone() == ("Lock",)

        async def cancelled() -> None:
            task = asyncio.create_task(claim_contacts_async("live", uow=worker.uow, limit=1))
            await asyncio.to_thread(wait_until, is_waiting, "the string waits for the table")
            task.cancel()
            await task

        assert runner is not None
        with locked(database), pytest.raises(asyncio.CancelledError):
            runner.run(cancelled())
        assert database.dump() == before
        check_idle(worker)


def test_an_id_that_no_column_holds_is_no_job(database: Database) -> None:
    """The refused string is asked again by itself, where the error names the id."""
    known, unknown = "7f9c24e5-2f6c-4b73-8f3d-7d4b0c9a1e55", "no uuid"
    database.execute(
        "TRUNCATE batch_jobs, batch_contacts",
        "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_batch_job_id_fkey",
        "ALTER TABLE batch_jobs ALTER id TYPE uuid USING id::uuid",
        "ALTER TABLE batch_contacts ALTER batch_job_id TYPE uuid USING batch_job_id::uuid",
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(database.dsn))
    for job in (known, unknown, known):
        assert claim_contacts(job, uow=uow, limit=1) == []
        assert settle_contact(job, "1", ContactStatus.FAILED, uow=uow) is None
        assert settle_contact(job, unknown, ContactStatus.FAILED, uow=uow) is None
        assert start_job(job, uow=uow) is False
        assert still_running(job, uow=uow) is False


# What is not as known ----------------------------------------------------------------------------


def test_other_tables_of_the_same_names_are_looked_at_first(worker: Worker) -> None:
    """What is known of the old ones does not count: nobody says that an id is one job's here."""
    worker.database.execute(
        "ALTER TABLE batch_jobs RENAME TO old_jobs",
        "CREATE TABLE batch_jobs AS SELECT * FROM old_jobs",
    )
    before = worker.database.dump()
    for name in WRITERS:
        with pytest.raises(StoreFailed, match="unique") as failure:
            worker.step(name)
        assert failure.value.outcome == "unchanged"
    assert worker.database.dump() == before
    assert worker.step("look") is True


def test_after_a_change_of_the_tables_a_step_takes_longer_for_a_minute(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that differ by their search_path would otherwise fail again and again."""
    worker.database.execute(
        "ALTER TABLE batch_jobs RENAME TO old_jobs",
        "CREATE TABLE batch_jobs (LIKE old_jobs INCLUDING ALL)",
        "INSERT INTO batch_jobs SELECT * FROM old_jobs",
    )
    assert worker.step("start") is True
    assert worker.trips("settle") == 2
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 61)
    worker.step("claim")  # The facts are read again, too.
    assert worker.trips("claim") == 1


def test_a_trigger_that_is_not_known_yet_claims_nothing(worker: Worker) -> None:
    """The statement itself fails if a contact is not as written, before COMMIT."""
    worker.database.trigger("RETURN OLD;", "BEFORE", "batch_contacts")
    before = worker.database.dump()
    with pytest.raises(StoreFailed, match="not as written") as failure:
        worker.step("claim")
    assert failure.value.outcome == "unchanged"
    assert worker.database.dump() == before
    check_idle(worker)


def test_several_rows_that_are_not_known_yet_are_not_changed(worker: Worker) -> None:
    """An index was dropped since; the statement fails, before COMMIT."""
    worker.database.execute(
        "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_pkey",
        "INSERT INTO batch_contacts OVERRIDING SYSTEM VALUE "
        "SELECT * FROM batch_contacts WHERE status = 'dialing'",
    )
    before = worker.database.dump()
    with pytest.raises(StoreFailed, match="one row was to be changed, and 2 were") as failure:
        worker.step("settle")
    assert failure.value.outcome == "unchanged"
    assert worker.database.dump() == before
    check_idle(worker)


@pytest.mark.parametrize(
    ("table", "name"), [("batch_jobs", "start"), ("batch_contacts", "settle")]
)
def test_where_a_trigger_is_known_a_step_is_looked_at(
    worker: Worker, table: str, name: str
) -> None:
    """It takes several strings."""
    skip = "IF NEW.status IN ('running', 'failed') THEN RETURN NULL; END IF; RETURN NEW;"
    worker.database.trigger(skip, "BEFORE", table)
    KNOWN.clear()
    worker.step("claim")
    assert worker.trips("claim") == 1
    before = worker.database.dump()
    with pytest.raises(StoreFailed, match="not as written"):
        worker.step(name)
    assert worker.database.dump() == before


def test_a_job_that_was_safe_says_nothing_of_its_contacts(database: Database) -> None:
    """Starts go on in one string; what names contacts by their ids is refused."""
    database.execute(
        "ALTER TABLE batch_contacts DROP CONSTRAINT batch_contacts_pkey",
        "UPDATE batch_contacts SET status = 'pending' WHERE batch_job_id = 'later'",
    )
    uow = PostgresUnitOfWork(lambda: psycopg.connect(database.dsn))
    assert start_job("later", uow=uow) is True
    before = database.dump()
    with pytest.raises(StoreFailed, match="unique"):
        claim_contacts("later", uow=uow, limit=1)
    assert database.dump() == before
    assert start_job("later", uow=uow) is False


def test_the_begin_of_a_subclass_holds_for_each_step(database: Database) -> None:
    """It may write in the same transaction, or refuse it after the call."""
    dsn = database.dsn

    class Refusing(PostgresUnitOfWork):
        @contextmanager
        def begin(self) -> Generator[Any]:
            with super().begin() as repositories:
                yield repositories
                reason = "refused"
                raise StoreFailed(reason)

    claim_contacts("live", uow=PostgresUnitOfWork(lambda: psycopg.connect(dsn)), limit=1)
    before = database.dump()
    with pytest.raises(StoreFailed, match="refused"):
        start_job("later", uow=Refusing(lambda: psycopg.connect(dsn)))
    assert database.dump() == before


def test_what_is_raised_before_the_call_sends_nothing(database: Database) -> None:
    """No string, so no transaction."""
    with closing(psycopg.connect(database.dsn)) as connection:
        uow = PostgresUnitOfWork(lambda: nullcontext(connection))
        with pytest.raises(KeyError), uow.begin_autocommit():
            raise KeyError
        assert connection.info.transaction_status == TransactionStatus.IDLE


def test_a_second_call_is_in_a_transaction_as_well(worker: Worker) -> None:
    """Nobody makes one; it would be committed all the same."""
    worker.close()
    with closing(psycopg.connect(worker.database.dsn)) as connection:
        uow = PostgresUnitOfWork(lambda: nullcontext(connection))
        with uow.begin_autocommit() as repositories:
            statuses = {repositories.work.status(JobKey("live")) for _ in range(2)}
            assert repositories.jobs.lock(JobKey("live")) is not None
        assert statuses == {"running"}
        assert connection.info.transaction_status == TransactionStatus.IDLE


def test_contexts_that_differ_are_not_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: the first at once, another one after a minute without a third."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    expected = Expected()
    assert expected.get("here") is None
    expected.note("here", (1,))
    assert (expected.get("here"), expected.get("there")) == ((1,), None)
    expected.note("here", (2,))
    assert expected.get("here") is None
    now += 59
    expected.note("here", (2,))
    assert expected.get("here") is None
    now += 1
    assert expected.get("here") == (2,)
    expected.doubt("here", (2,))
    assert expected.get("here") is None
    now += 60
    assert expected.get("here") == (2,)
    for number in range(1001):
        expected.note(number, (number,))
    assert expected.get("here") is None
    assert expected.get(1000) == (1000,)
