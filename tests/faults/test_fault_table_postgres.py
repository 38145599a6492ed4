"""The fault table, row by row: conflicts, timeouts and refusals of Postgres."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from batch_cancel import CancelFailed
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from tests.faults.expected import FULLY_CANCELLED
from tests.faults.fault_kinds import Step
from tests.faults.fault_table import (
    FOR_EVER,
    PATIENT,
    SCHEDULED,
    SHORT,
    assert_retried,
    assert_unchanged,
    dsn_of,
    execute,
    impatient,
    no_more_trouble,
    play,
    raising,
    state,
    tables_of,
    trouble,
    waiting_for_a_lock,
)
from tests.faults.injection import Plan
from tests.faults.scenarios import Verb, described
from tests.faults.setups import Stage, open_stage
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.faults.cut_connections import Line


@pytest.mark.parametrize("code", ["40001", "40P01"])
@pytest.mark.parametrize("times", [1, 3])
def test_serialization_or_deadlock_is_retried(stage: Stage, code: str, times: int) -> None:
    """Up to three times; then it is as if nothing had been."""
    trouble(stage, raising(code), times)
    assert described(play(stage)) == "200 removed"
    assert no_more_trouble(stage) == times + 1
    assert state(stage) == FULLY_CANCELLED


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_serialization_or_deadlock_without_end(stage: Stage, code: str) -> None:
    """After three retries it fails: unchanged, may be retried."""
    trouble(stage, raising(code), FOR_EVER)
    assert_unchanged(stage, play(stage), retryable=True)
    assert no_more_trouble(stage) == 4
    assert_retried(stage)


def test_a_real_deadlock(stage: Stage) -> None:
    """A worker that locks a contact and then the job: one of the two is the victim, not both."""
    (contact,) = execute(
        stage,
        "SELECT id FROM batch_contacts WHERE batch_job_id = {job} AND status = 'pending'",
        job=stage.job_id,
    )
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn_of(stage)) as worker:
        worker.execute("SET deadlock_timeout = '20s'")  # The cancel is to be the victim.
        worker.execute("UPDATE batch_contacts SET status = 'busy' WHERE id = %s", [contact])
        answer = pool.submit(play, stage)
        wait_until(
            lambda: waiting_for_a_lock(tables_of(stage).connection) == 1,
            "the cancel waits for the contact",
        )
        worker.execute("SELECT FROM batch_jobs WHERE id = %s FOR UPDATE", [stage.job_id])
        worker.commit()
        assert described(answer.result(30)) == "200 removed"
    assert state(stage) == FULLY_CANCELLED


# lock timeout 55P03, statement timeout 57014, pool timeout, connection refused, shutdown 57P01 --


def test_lock_timeout(line: Line) -> None:
    """Somebody holds the job and does not let go: within the budget, unchanged."""
    impatient(line, lock_timeout=SHORT)
    with psycopg.connect(dsn_of(line.stage)) as holder:
        holder.execute("SELECT FROM batch_jobs WHERE id = %s FOR UPDATE", [line.stage.job_id])
        begun = time.monotonic()
        answer = play(line.stage)
        assert time.monotonic() - begun < 5
        assert_unchanged(line.stage, answer, retryable=True)
        holder.rollback()
    assert_retried(line.stage)


def test_statement_timeout(line: Line) -> None:
    """A statement that takes too long: within the budget, unchanged."""
    impatient(line, statement_timeout=timedelta(seconds=0.5))
    trouble(line.stage, "PERFORM pg_sleep(20)", FOR_EVER)
    begun = time.monotonic()
    answer = play(line.stage)
    assert time.monotonic() - begun < 10
    assert_unchanged(line.stage, answer, retryable=True)
    no_more_trouble(line.stage)
    impatient(line, statement_timeout=PATIENT)
    assert_retried(line.stage)


def test_pool_timeout_blocking(request: pytest.FixtureRequest) -> None:
    """Its only connection is lent to somebody else."""
    with open_stage("postgres", "memory", request) as stage:
        stage.set_up(SCHEDULED)
        stage.pool.timeout = 0.05
        with stage.pool.connection():
            assert_unchanged(stage, play(stage), retryable=True)
        stage.pool.timeout = 10
        assert stage.pool_trouble() == []
        assert_retried(stage)


def test_pool_timeout_asyncio(request: pytest.FixtureRequest) -> None:
    """Its only connection is lent to somebody else."""
    with open_stage("postgres-async", "memory", request) as stage:
        stage.set_up(SCHEDULED)
        assert stage.world.runner is not None

        async def play_meanwhile() -> object:
            async with stage.pool.connection():
                return await stage.attempt_async(Verb.CANCEL, Plan())

        stage.pool.timeout = 0.05
        assert_unchanged(stage, stage.world.runner.run(play_meanwhile()), retryable=True)
        stage.pool.timeout = 10
        assert stage.pool_trouble() == []
        assert_retried(stage)


def test_connection_refused(line: Line) -> None:
    """Nobody listens: at once, unchanged."""
    line.proxy.refuse()
    begun = time.monotonic()
    assert_unchanged(line.stage, play(line.stage), retryable=True)
    assert time.monotonic() - begun < 5
    line.proxy.heal()
    assert_retried(line.stage)


def test_server_shutdown_is_retried_once(stage: Stage) -> None:
    """57P01, on a new connection."""
    trouble(stage, "PERFORM pg_terminate_backend(pg_backend_pid())", 1)
    assert described(play(stage)) == "200 removed"
    assert no_more_trouble(stage) == 2
    assert state(stage) == FULLY_CANCELLED


def test_server_shutdown_again_and_again(stage: Stage) -> None:
    """Twice is enough: unchanged, may be retried. COMMIT is not on its way with the contacts."""
    trouble(stage, "PERFORM pg_terminate_backend(pg_backend_pid())", FOR_EVER, "batch_contacts")
    assert_unchanged(stage, play(stage), retryable=True)
    assert no_more_trouble(stage) == 2
    assert_retried(stage)


def test_an_unknown_commit_that_stays_unknown_says_so(stage: Stage) -> None:
    """Row "COMMIT's answer lost": six attempts at most, then `unknown`, never `unchanged`."""
    # The job is marked in the string of the COMMIT.
    trouble(stage, "PERFORM pg_terminate_backend(pg_backend_pid())", FOR_EVER)
    answer = play(stage)
    assert isinstance(answer, CancelFailed)
    assert (answer.outcome, answer.retryable) == ("unknown", True)
    assert no_more_trouble(stage) == 6
    assert_retried(stage)


# read-only 25006, idle-in-transaction 25P03 ------------------------------------------------------


def test_read_only(stage: Stage) -> None:
    """An InternalError in psycopg, and yet one that passes: unchanged, may be retried."""
    trouble(stage, raising("25006"), FOR_EVER)
    assert_unchanged(stage, play(stage), retryable=True)
    no_more_trouble(stage)
    assert_retried(stage)


def test_idle_in_transaction(line: Line) -> None:
    """A process that stops in the middle is cut off by Postgres: unchanged, may be retried."""
    impatient(line, statement_timeout=SHORT)

    def dawdle(number: int, step: Step) -> None:
        if (plan.calls[number].member, step) == ("cancel", Step.BEFORE):
            time.sleep(0.5)

    plan = Plan(tap=dawdle)
    answer = play(line.stage, plan)
    assert isinstance(answer, CancelFailed)
    assert_unchanged(line.stage, answer, retryable=True)
    impatient(line, statement_timeout=PATIENT)
    assert_retried(line.stage)


# missing table, column, permission ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "repaired", "named"),
    [
        (
            "ALTER TABLE batch_cancellations RENAME TO elsewhere",
            "ALTER TABLE elsewhere RENAME TO batch_cancellations",
            "batch-cancel schema",
        ),
        (
            "ALTER TABLE batch_jobs RENAME scheduled_job_id TO elsewhere",
            "ALTER TABLE batch_jobs RENAME elsewhere TO scheduled_job_id",
            "PostgresSchema",
        ),
    ],
    ids=["table", "column"],
)
def test_missing_table_or_column(stage: Stage, broken: str, repaired: str, named: str) -> None:
    """It fails, retrying is of no use, and the error names what to do."""
    execute(stage, broken)
    answer = play(stage)
    execute(stage, repaired)
    assert_unchanged(stage, answer, retryable=False)
    assert named in str(answer)
    assert_retried(stage)


def test_missing_permission(stage: Stage) -> None:
    """A role that may look but not change: it fails, and the error names what to grant."""
    role = f"stranger_{secrets.token_hex(4)}"
    (schema,) = execute(stage, "SELECT current_schema")
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
    grants = sql.SQL(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA {schema} TO {role}; "
        "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
    )
    connection = tables_of(stage).connection
    connection.execute(grants.format(**names))
    owner = stage.world.store.uow
    stage.world.store.uow = as_role(owner, role)
    answer = play(stage)
    stage.world.store.uow = owner
    connection.execute(sql.SQL("DROP OWNED BY {role}; DROP ROLE {role}").format(**names))
    assert_unchanged(stage, answer, retryable=False)
    assert "grant SELECT and UPDATE" in str(answer)
    assert_retried(stage)


def as_role(uow: Any, role: str) -> PostgresUnitOfWork | AsyncPostgresUnitOfWork:
    """Return the same store, as this role."""
    set_role = sql.SQL("SET ROLE {}").format(sql.Identifier(role))

    def connect() -> Any:
        connection = uow._connect()
        connection.execute(set_role)
        connection.commit()
        return connection

    async def connect_async() -> Any:
        connection = await uow._connect()
        await connection.execute(set_role)
        await connection.commit()
        return connection

    if isinstance(uow, PostgresUnitOfWork):
        return PostgresUnitOfWork(connect)
    return AsyncPostgresUnitOfWork(connect_async)
