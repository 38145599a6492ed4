"""Who waits for whom: the job's lock, what is read after the wait, and what strangers notice."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import attrs
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from batch_cancel import (
    AlreadyTerminal,
    CancelFailed,
    CancelResult,
    JobKey,
    JobNotFound,
    Removal,
    UnknownJobStatus,
)
from batch_cancel.ports import StoreFailed
from tests.integration.own_tables import HALVES, Half, Recorder, Tables, tables, with_options
from tests.processes import wait_until
from tests.servers import PostgresServer

LOCK_JOB = "SELECT FROM batch_jobs WHERE id = 'job' FOR NO KEY UPDATE"

ISOLATIONS = pytest.mark.parametrize(
    "isolation", ["read committed", "repeatable read", "serializable"]
)


@pytest.fixture
def made(postgres_server: PostgresServer) -> Iterator[Tables]:
    """Yield tables with one scheduled job of two contacts, of the organization acme."""
    with postgres_server.schema() as dsn, tables(dsn) as made:
        made.add_job("job", "scheduled", {"ann": "pending", "bob": "completed"}, "acme", "start")
        yield made


@attrs.frozen
class Waiting:
    """
    A cancel in a thread, which waits for the job's lock.

    Arguments:
        holder: the connection that holds the lock.
        recorder: the scheduler of the cancel.
        answer: lets the holder commit, and gives the cancel's answer.
    """

    holder: psycopg.Connection[Any]
    recorder: Recorder
    answer: Callable[[], CancelResult]


@contextmanager
def waiting_cancel(
    made: Tables, half: Half, dsn: str | None = None, **more: Any
) -> Generator[Waiting]:
    """Start a cancel of the job, and lend it once it waits for the job's lock."""
    name = f"waiting {secrets.token_hex(6)}"
    recorder = Recorder()
    uow = half.uow(make_conninfo(dsn or made.dsn, application_name=name))
    with ThreadPoolExecutor(1) as threads, psycopg.connect(made.dsn) as holder:
        holder.execute(LOCK_JOB)
        future = threads.submit(half.cancel, uow, "job", recorder, organization_id="acme", **more)
        wait_until(lambda: future.done() or waits_for_lock(made, name), "the cancel waits")
        assert not future.done()

        def answer() -> CancelResult:
            holder.commit()
            return future.result()

        yield Waiting(holder, recorder, answer)


def waits_for_lock(made: Tables, name: str) -> bool:
    """Check whether the application of this name waits for a lock."""
    found = made.rows(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = {} AND wait_event_type = 'Lock'",
        name,
    )
    return bool(found)


# After the wait ----------------------------------------------------------------------------------


@HALVES
def test_the_moment_of_cancellation_is_after_the_wait(made: Tables, half: Half) -> None:
    """By the database's clock, in UTC; not when the transaction began."""
    with waiting_cancel(made, half) as waiting:
        [[released_at]] = made.rows("SELECT clock_timestamp()")
        result = waiting.answer()
        [[now]] = made.rows("SELECT clock_timestamp()")
        assert released_at < result.cancelled_at < now
        assert result.cancelled_at.utcoffset() == timedelta(0)
        assert made.rows("SELECT cancelled_at FROM batch_cancellations") == [
            (result.cancelled_at,)
        ]


@HALVES
@ISOLATIONS
def test_contacts_that_came_in_during_the_wait_are_cancelled(
    made: Tables, half: Half, isolation: str
) -> None:
    """Inserted or reopened: the wait for the lock must not keep an older view of them."""
    dsn = with_options(made.dsn, f"default_transaction_isolation={isolation}".replace(" ", r"\ "))
    with waiting_cancel(made, half, dsn) as waiting:
        waiting.holder.execute(
            "INSERT INTO batch_contacts (batch_job_id, status, label) "
            "VALUES ('job', 'queued', 'eve');"
            "UPDATE batch_contacts SET status = 'busy' WHERE label = 'bob'"
        )
        assert waiting.answer().contacts_cancelled == 3
        assert made.contacts("job") == {"ann": "cancelled", "bob": "cancelled", "eve": "cancelled"}


@HALVES
@ISOLATIONS
def test_the_status_and_the_deferred_start_are_read_after_the_wait(
    made: Tables, half: Half, isolation: str
) -> None:
    """The job was rescheduled meanwhile: the start that it has now is taken back."""
    dsn = with_options(made.dsn, f"default_transaction_isolation={isolation}".replace(" ", r"\ "))
    with waiting_cancel(made, half, dsn) as waiting:
        waiting.holder.execute("UPDATE batch_jobs SET scheduled_job_id = 'another start'")
        assert waiting.answer().removal is Removal.REMOVED
        assert waiting.recorder.asked == ["another start"]


@HALVES
def test_a_job_that_started_during_the_wait_was_running(made: Tables, half: Half) -> None:
    """The start won, perhaps before its time: the start that the job names is asked for."""
    with waiting_cancel(made, half) as waiting:
        waiting.holder.execute("UPDATE batch_jobs SET status = 'running'")
        result = waiting.answer()
        assert (result.previous_status, result.redis_job_cancelled) == ("running", False)
        assert waiting.recorder.asked == ["start"]


@HALVES
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("UPDATE batch_jobs SET status = 'completed'", AlreadyTerminal),
        ("UPDATE batch_jobs SET status = 'paused'", UnknownJobStatus),
        ("UPDATE batch_jobs SET organization_id = 'evil'", JobNotFound),
        ("DELETE FROM batch_jobs", JobNotFound),
    ],
)
def test_a_job_that_ended_during_the_wait_is_not_cancelled(
    made: Tables, half: Half, change: Any, error: type[Exception]
) -> None:
    """What it is after the wait counts, and its contacts are left alone."""
    with waiting_cancel(made, half) as waiting:
        waiting.holder.execute(change)
        with pytest.raises(error):
            waiting.answer()
        assert made.contacts("job") == {"ann": "pending", "bob": "completed"}
        assert made.records() == []


@HALVES
def test_a_cancel_that_waited_for_a_cancel_is_refused(made: Tables, half: Half) -> None:
    """With the record that the other left while this one was waiting."""
    with waiting_cancel(made, half) as waiting:
        waiting.holder.execute(
            "UPDATE batch_jobs SET status = 'cancelled';"
            "INSERT INTO batch_cancellations (organization_id, batch_job_id, operation_id, "
            "previous_status, contacts_cancelled, cancelled_at, removal, is_announced, taken_at) "
            "VALUES ('acme', 'job', 'op-1', 'running', 7, now(), 'not_applicable', true, now())"
        )
        with pytest.raises(AlreadyTerminal) as refusal:
            waiting.answer()
        assert refusal.value.contacts_cancelled == 7


@HALVES
def test_a_replay_that_waited_for_its_original_gets_its_answer(made: Tables, half: Half) -> None:
    """The same operation twice, overlapping: both are told the same."""
    with waiting_cancel(made, half, operation_id="op-1") as waiting:
        waiting.holder.execute(
            "UPDATE batch_jobs SET status = 'cancelled';"
            "INSERT INTO batch_cancellations (organization_id, batch_job_id, operation_id, "
            "previous_status, contacts_cancelled, cancelled_at, removal, is_announced, taken_at) "
            "VALUES ('acme', 'job', 'op-1', 'running', 7, now(), 'not_applicable', true, now())"
        )
        result = waiting.answer()
        assert (result.replayed, result.contacts_cancelled) == (True, 7)


# Who is locked -----------------------------------------------------------------------------------


@HALVES
def test_only_this_job_is_locked(made: Tables, half: Half) -> None:
    """Neither other jobs nor any contact, and the job not against the keys that point to it."""
    made.add_job("other", "running", {"zoe": "pending"}, "acme")
    refused: list[str] = []

    def look(call: Callable[..., Any], repositories: Any) -> None:
        assert call(repositories.jobs.lock, JobKey("job", "acme")).status == "scheduled"
        for query in (
            "SELECT FROM batch_jobs WHERE id = 'job' FOR NO KEY UPDATE NOWAIT",
            "SELECT FROM batch_jobs WHERE id = 'job' FOR KEY SHARE NOWAIT",
            "SELECT FROM batch_jobs WHERE id = 'other' FOR UPDATE NOWAIT",
            "SELECT FROM batch_contacts FOR UPDATE NOWAIT",
        ):
            try:
                made.rows(query)
            except psycopg.errors.LockNotAvailable:
                refused.append(query)

    half.begun(half.uow(made.dsn), look)
    assert refused == ["SELECT FROM batch_jobs WHERE id = 'job' FOR NO KEY UPDATE NOWAIT"]


@HALVES
@pytest.mark.parametrize("organization_id", ["evil", None, "ACME", "acme "])
def test_a_stranger_neither_waits_nor_locks(
    made: Tables, half: Half, organization_id: str | None
) -> None:
    """Another organization's job is not there: no wait for its lock, and no lock on it."""
    with psycopg.connect(made.dsn) as holder:
        holder.execute(LOCK_JOB)
        # Had it to wait, this would be a failure after five seconds.
        with pytest.raises(JobNotFound):
            half.cancel(half.uow(made.dsn), "job", organization_id=organization_id)

    def look(call: Callable[..., Any], repositories: Any) -> None:
        assert call(repositories.jobs.lock, JobKey("job", organization_id)) is None
        made.rows("SELECT FROM batch_jobs FOR UPDATE NOWAIT")

    half.begun(half.uow(made.dsn), look)


@HALVES
def test_a_job_of_none_is_not_everybodys(made: Tables, half: Half) -> None:
    """No organization is a value: whoever names one does not see or wait for it."""
    made.rows("UPDATE batch_jobs SET organization_id = NULL")
    with psycopg.connect(made.dsn) as holder:
        holder.execute(LOCK_JOB)
        with pytest.raises(JobNotFound):
            half.cancel(half.uow(made.dsn), "job", organization_id="acme")
    assert half.cancel(half.uow(made.dsn), "job").contacts_cancelled == 1


# Not for ever ------------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize("timeout", ["lock_timeout", "statement_timeout"])
def test_a_lock_that_does_not_come_is_a_failure_that_may_pass(
    made: Tables, half: Half, timeout: str
) -> None:
    """Nothing was changed, and the holder is not disturbed."""
    with psycopg.connect(made.dsn) as holder:
        holder.execute(LOCK_JOB)
        budget: dict[str, Any] = {timeout: timedelta(milliseconds=20)}
        impatient = half.uow(made.dsn, **budget)
        with pytest.raises(CancelFailed) as failure:
            half.cancel(impatient, "job", organization_id="acme")
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
        assert timeout.replace("_", " ") in str(failure.value)
        holder.execute("SELECT 1")
    assert made.status("job") == "scheduled"
    result = half.cancel(half.uow(made.dsn), "job", organization_id="acme")
    assert result.contacts_cancelled == 1


@HALVES
def test_a_contact_that_is_locked_is_waited_for(made: Tables, half: Half) -> None:
    """None is skipped; if its lock does not come, nothing at all was changed."""
    with psycopg.connect(made.dsn) as holder:
        holder.execute("SELECT FROM batch_contacts WHERE label = 'ann' FOR UPDATE")
        impatient = half.uow(made.dsn, lock_timeout=timedelta(milliseconds=20))
        with pytest.raises(CancelFailed) as failure:
            half.cancel(impatient, "job", organization_id="acme")
        assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert made.status("job") == "scheduled"


@HALVES
def test_a_deadlock_is_tried_again(made: Tables, half: Half) -> None:
    """A worker that locks a contact and then the job is in the way: the cancel gives way first."""
    made.add_job("far", "running", {})
    with closing(psycopg.connect(with_options(made.dsn, "deadlock_timeout=1h"))) as worker:
        worker.execute("SELECT FROM batch_contacts WHERE label = 'ann' FOR UPDATE")
        name = f"cancel {secrets.token_hex(6)}"
        # Postgres looks once, this long after the wait began: the worker must be waiting by then.
        dsn = with_options(make_conninfo(made.dsn, application_name=name), "deadlock_timeout=2s")
        with ThreadPoolExecutor(2) as threads:
            uow = half.uow(dsn, lock_timeout=timedelta(minutes=1))
            answer = threads.submit(half.cancel, uow, "job", organization_id="acme")
            wait_until(lambda: waits_for_lock(made, name), "the cancel waits for the contact")
            # Now the worker waits for the job; the cancel, which looks sooner, finds the deadlock.
            threads.submit(worker.execute, LOCK_JOB).result()
            assert made.status("job") == "scheduled"
            worker.commit()
            assert not answer.result().replayed
    assert made.status("job") == "cancelled"


@HALVES
def test_a_transaction_that_idles_for_too_long_is_ended(made: Tables, half: Half) -> None:
    """Whoever hangs between two statements does not hold the job's lock for ever."""

    def hang(call: Callable[..., Any], repositories: Any) -> None:
        call(repositories.jobs.lock, JobKey("job", "acme"))
        wait_until(lambda: is_free(made), "Postgres ends the idle transaction")
        call(repositories.contacts.cancel, JobKey("job", "acme"), frozenset[Any]())

    uow = half.uow(made.dsn, statement_timeout=timedelta(milliseconds=50))
    with pytest.raises(StoreFailed) as failure:
        half.begun(uow, hang)
    assert (failure.value.outcome, failure.value.retryable) == ("unchanged", True)
    assert "idle" in str(failure.value)


def is_free(made: Tables) -> bool:
    """Check whether the job can be locked."""
    try:
        made.rows("SELECT FROM batch_jobs WHERE id = 'job' FOR UPDATE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        return False
    return True


@HALVES
def test_many_cancels_of_one_job_at_once(made: Tables, half: Half) -> None:
    """Exactly one is answered; the others are told that it is cancelled."""
    names = [f"op-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as threads:
        uow = half.uow(made.dsn)
        answers = [
            threads.submit(half.cancel, uow, "job", organization_id="acme", operation_id=name)
            for name in names
        ]
        errors = list(filter(None, (answer.exception() for answer in answers)))
    assert len(errors) == 5
    assert {type(error) for error in errors} == {AlreadyTerminal}
    [result] = itertools.chain.from_iterable(
        [answer.result()] for answer in answers if answer.exception() is None
    )
    assert made.records() == [("acme", "job", result.operation_id)]
