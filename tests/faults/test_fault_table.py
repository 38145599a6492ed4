"""
The fault table of the protocol, row by row: one test, or a few, for each, named after it.

Every row is shown on real servers, in both halves. Servers that are stopped, restarted, made
read-only or failed over have their tests in test_outages*.py.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from psycopg import sql

from batch_cancel import AlreadyTerminal, CancelFailed, CancelResult, JobKey
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.presenter import present
from tests.faults import cancelled_tasks, cut_connections, kills, one_fault
from tests.faults.counts import Tally
from tests.faults.expected import FULLY_CANCELLED, NOTHING_CHANGED, state_of
from tests.faults.injection import Plan, Step
from tests.faults.setups import (
    CONTACTS_CANCELLED,
    OURS,
    SCENARIOS,
    Stage,
    Verb,
    described,
    open_stage,
)
from tests.pairs import PostgresTables
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.cut_connections import Line

SCHEDULED = SCENARIOS[0]
FOR_EVER = 1_000_000
SHORT = timedelta(milliseconds=60)
PATIENT = timedelta(seconds=30)
BUDGET = timedelta(milliseconds=250)


@pytest.fixture(params=["postgres", "postgres-async"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """Lend a stage on Postgres, a new connection for each transaction, through a proxy."""
    with cut_connections.open_line(request.param, request) as line:
        line.stage.set_up(SCHEDULED)
        yield line


@pytest.fixture
def stage(line: Line) -> Stage:
    """Lend the stage alone."""
    return line.stage


@pytest.fixture(params=["redis", "redis-async"])
def redis_line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """Lend a stage on Redis, through a proxy."""
    with cut_connections.open_line(request.param, request) as line:
        line.stage.set_up(SCHEDULED)
        yield line


def play(stage: Stage, plan: Plan | None = None) -> object:
    """Cancel the job."""
    return stage.play(SCHEDULED, plan or Plan(), lambda: None)


def state(stage: Stage) -> str:
    """Tell which of the two states it is, or what is wrong with it."""
    assert stage.before is not None
    return state_of(SCHEDULED, stage.before, stage.look(), JobKey(stage.job_id))


def assert_unchanged(stage: Stage, answer: object, *, retryable: bool) -> None:
    """Check that it failed, that nothing was changed, and that this is known."""
    assert isinstance(answer, CancelFailed), answer
    assert (answer.outcome, answer.retryable) == ("unchanged", retryable)
    assert (answer.http_status, answer.detail) == (500, "Failed to cancel batch job")
    assert state(stage) == NOTHING_CHANGED


def assert_retried(stage: Stage, replayed: str = "") -> None:
    """Check that the same operation, once the trouble is over, does it all or finds it done."""
    assert described(stage.cancel()) == f"200{replayed} removed"
    stage.reconcile()
    assert state(stage) == FULLY_CANCELLED
    assert stage.start_id not in stage.look().waiting
    assert stage.told == [OURS]


def tables_of(stage: Stage) -> PostgresTables:
    """Give the store, with a connection to look at it behind the library's back."""
    return cast("PostgresTables", stage.world.store)


def dsn_of(stage: Stage) -> str:
    """Give the way to the store, not through the proxy."""
    return tables_of(stage).connection.info.dsn


def execute(stage: Stage, statement: str, **names: object) -> Any:
    """Run a statement behind the library's back."""
    quoted = {name: sql.Literal(value) for name, value in names.items()}
    cursor = tables_of(stage).connection.execute(sql.SQL(cast("Any", statement)).format(**quoted))
    return cursor.fetchone() if cursor.description else None


def trouble(stage: Stage, what: str, times: int, **names: object) -> None:
    """Let the first so many updates of a job meet with this, as a trigger."""
    execute(
        stage,
        "DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries; "
        "CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('tries') <= {times} THEN " + what + "; END IF; RETURN NEW; END $$; "
        "CREATE OR REPLACE TRIGGER trouble BEFORE UPDATE ON batch_jobs "
        "FOR EACH ROW EXECUTE FUNCTION trouble()",
        times=times,
        **names,
    )


def no_more_trouble(stage: Stage) -> int:
    """Take the trigger away, and give how often it was met."""
    (met,) = execute(stage, "SELECT last_value FROM tries")
    execute(stage, "DROP TRIGGER trouble ON batch_jobs")
    return int(met)


def raising(state: str) -> str:
    """Give the trouble that is an error of this SQLSTATE."""
    return f"RAISE EXCEPTION 'injected' USING ERRCODE = '{state}'"


def impatient(line: Line, **limits: timedelta) -> None:
    """Give the store other limits of time."""
    uow = line.stage.world.store.uow
    kind = type(uow)
    line.stage.world.store.uow = kind(uow._connect, **limits)


# killed before COMMIT ----------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["sqlite", "postgres", "postgres-async"])
def test_killed_before_commit(store: str, request: pytest.FixtureRequest) -> None:
    """Nothing changed; a retry does it all."""
    with kills.open_place(store, "redis", request) as (place, stage):
        chosen = [
            death
            for death in kills.deaths(stage, SCHEDULED)
            if death.step is Step.BEFORE
            and (death.point.member == "mark_cancelled" or is_end(death))
        ][:2]
        assert [death.is_late for death in chosen] == [False, False]
        for death in chosen:
            assert kills.run(place, stage, SCHEDULED, death) == []


# killed after COMMIT, before or during Redis -----------------------------------------------------


@pytest.mark.parametrize("store", ["sqlite", "postgres", "postgres-async"])
def test_killed_after_commit_before_or_during_redis(
    store: str, request: pytest.FixtureRequest
) -> None:
    """Cancelled; the stale alarm is harmless; reconcile removes it."""
    with kills.open_place(store, "redis", request) as (place, stage):
        deaths = list(kills.deaths(stage, SCHEDULED))
        at_redis = [death for death in deaths if death.point.root == "Scheduler"]
        after_commit = next(
            death for death in deaths if is_end(death) and death.step is Step.AFTER
        )
        assert [death.step for death in at_redis] == [Step.BEFORE, Step.AFTER]
        for death in (after_commit, *at_redis):
            assert kills.run(place, stage, SCHEDULED, death) == []


def is_end(death: kills.Death) -> bool:
    """Tell whether a process dies at the end of a transaction."""
    return death.point.is_exit


# COMMIT's answer lost ----------------------------------------------------------------------------


def test_commit_s_answer_lost(line: Line) -> None:
    """Asked again for the same operation, on a new connection: 200, and no replay."""
    line.proxy.cut_answer_to(b"COMMIT\0")
    answer = play(line.stage)
    assert line.proxy.cuts == 1
    assert described(answer) == "200 removed"
    assert state(line.stage) == FULLY_CANCELLED
    assert_retried(line.stage, " replayed")


def test_commit_lost(line: Line) -> None:
    """Indistinguishable from the other, so it is treated alike: this time it had not happened."""
    line.proxy.cut_before(b"COMMIT\0")
    answer = play(line.stage)
    assert line.proxy.cuts == 1
    assert described(answer) == "200 removed"
    assert state(line.stage) == FULLY_CANCELLED
    assert_retried(line.stage, " replayed")


@pytest.mark.parametrize("happened", [True, False])
def test_commit_s_answer_lost_and_never_to_be_had(line: Line, happened: bool) -> None:  # noqa: FBT001
    """Unresolved: it says unknown and that it can be retried, which then resolves it."""
    refuse = Plan(tap=lambda number, step: line.proxy.refuse() if at_pause(number, step) else None)

    def at_pause(number: int, step: Step) -> bool:
        return step is Step.BEFORE and refuse.calls[number].member == "pause"

    (line.proxy.cut_answer_to if happened else line.proxy.cut_before)(b"COMMIT\0")
    answer = play(line.stage, refuse)
    assert isinstance(answer, CancelFailed)
    assert (answer.outcome, answer.retryable) == ("unknown", True)
    assert "same operation id" in str(answer)
    assert state(line.stage) == (FULLY_CANCELLED if happened else NOTHING_CHANGED)
    line.proxy.heal()
    assert_retried(line.stage, " replayed" if happened else "")


# serialization 40001, deadlock 40P01 -------------------------------------------------------------


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


def waiting_for_a_lock(connection: psycopg.Connection[Any]) -> int:
    """Count those who wait for a lock."""
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert row is not None
    return int(row[0])


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
    """Twice is enough: unchanged, may be retried."""
    trouble(stage, "PERFORM pg_terminate_backend(pg_backend_pid())", FOR_EVER)
    assert_unchanged(stage, play(stage), retryable=True)
    assert no_more_trouble(stage) == 2
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
    """Give the same store, as this role."""
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


# Redis down, slow, wrong type, answer lost -------------------------------------------------------


def assert_pending(stage: Stage, answer: object) -> None:
    """Check that it is cancelled, and that the removal is owed."""
    assert isinstance(answer, CancelResult), answer
    assert present(answer).status == 200
    assert present(answer).body["redisJobCancelled"] is False
    assert answer.removal == "pending"
    assert state(stage) == FULLY_CANCELLED
    record = stage.record(SCHEDULED)
    assert record is not None
    assert record.removal == "pending"


def assert_reconciled(stage: Stage) -> None:
    """Check that one pass finishes it."""
    assert described(stage.reconcile()) == "reconciled removed"
    assert stage.start_id not in stage.look().waiting
    assert stage.told == [OURS]


def hurry(line: Line) -> None:
    """Give the scheduler the standard budget of 250 ms."""
    assert line.scheduler_with is not None
    line.stage.world.scheduler = line.scheduler_with(BUDGET)


def test_redis_down(redis_line: Line) -> None:
    """200, not confirmed, within the budget; when Redis is back, reconcile removes the start."""
    hurry(redis_line)
    redis_line.proxy.refuse()
    begun = time.monotonic()
    answer = play(redis_line.stage)
    assert time.monotonic() - begun < BUDGET.total_seconds() + 0.5
    redis_line.proxy.heal()
    assert_pending(redis_line.stage, answer)
    assert_reconciled(redis_line.stage)


def test_redis_slow(redis_line: Line) -> None:
    """200, not confirmed, within the budget, though every connection is taken and kept."""
    hurry(redis_line)
    redis_line.proxy.stall()
    begun = time.monotonic()
    answer = play(redis_line.stage)
    assert time.monotonic() - begun < BUDGET.total_seconds() + 0.5
    redis_line.proxy.heal()
    assert_pending(redis_line.stage, answer)
    assert_reconciled(redis_line.stage)


def test_redis_wrong_type(redis_line: Line, request: pytest.FixtureRequest) -> None:
    """200, not confirmed: what lies under our key is not ours."""
    server = request.getfixturevalue("redis_server")
    stage = redis_line.stage
    due = stage.world.scheduler._shards[0][0]
    server.command("RENAME", due, due + b"-aside")
    server.command("SET", due, "not ours")
    answer = play(stage)
    server.command("RENAME", due + b"-aside", due)
    assert_pending(stage, answer)
    assert_reconciled(stage)


def test_redis_answer_lost(redis_line: Line) -> None:
    """The true answer after a retry: the script remembers the operation."""
    redis_line.proxy.cut_answer_to(b"EVALSHA")
    answer = play(redis_line.stage)
    assert redis_line.proxy.cuts == 1
    assert described(answer) == "200 removed"
    assert_retried(redis_line.stage, " replayed")


# asyncio.CancelledError, KeyboardInterrupt -------------------------------------------------------


def test_cancelled_error(request: pytest.FixtureRequest) -> None:
    """From every wait it propagates unchanged; the pools are as before."""
    tally = Tally()
    with open_stage("postgres-async", "redis", request) as stage:
        cancelled_tasks.campaign(stage, tally, scenarios=[SCHEDULED])
    tally.check()
    assert tally.seen[f"{cancelled_tasks.GROUP}: postgres-async, cancel, {NOTHING_CHANGED}"]
    assert tally.seen[f"{cancelled_tasks.GROUP}: postgres-async, cancel, {FULLY_CANCELLED}"]


@pytest.mark.parametrize("store", ["postgres", "postgres-async"])
def test_keyboard_interrupt(store: str, request: pytest.FixtureRequest) -> None:
    """At every call it propagates unchanged; the pool is as before."""
    with open_stage(store, "memory", request) as stage:
        interrupts = [
            case
            for case in one_fault.cases(stage, [SCHEDULED])
            if case.kind.name == "KeyboardInterrupt"
        ]
        assert len(interrupts) > 20
        for case in interrupts:
            assert one_fault.run(case, stage) == [], case


# a port returning garbage ------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "memory-async", "postgres", "postgres-async"])
def test_a_port_returning_garbage(store: str, request: pytest.FixtureRequest) -> None:
    """CancelFailed; nothing or fully."""
    with open_stage(store, "memory", request) as stage:
        garbage = [
            case
            for case in one_fault.cases(stage, [SCHEDULED])
            if case.kind.name.startswith("garbage")
        ]
        assert len(garbage) > 60
        for case in garbage:
            assert one_fault.run(case, stage) == [], case


# deferred start fires while we cancel ------------------------------------------------------------


def fires(stage: Stage) -> bool:
    """Let the deferred start fire: a worker takes it, and starts the job by compare and set."""
    taken = [claimed.deferred_id for claimed in stage.world.scheduler._claim(9, PATIENT)]
    return stage.start_id in taken and start(stage)


def start(stage: Stage) -> bool:
    """Start the job by compare and set."""
    cursor = tables_of(stage).connection.execute(
        "UPDATE batch_jobs SET status = 'running' WHERE id = %s AND status = 'scheduled'",
        [stage.job_id],
    )
    return cursor.rowcount == 1


def make_due(stage: Stage) -> None:
    """Let the deferred start be due."""
    stage.world.schedule(stage.start_id, datetime.now(UTC) - timedelta(minutes=1))


def test_deferred_start_fires_and_wins(stage: Stage) -> None:
    """The start was first: the job was already running, its remaining contacts are cancelled."""
    make_due(stage)
    started: list[bool] = []

    def fire(number: int, step: Step) -> None:
        if (plan.calls[number].member, step) == ("lock", Step.BEFORE):
            started.append(fires(stage))

    plan = Plan(tap=fire)
    answer = play(stage, plan)
    assert started == [True]
    assert isinstance(answer, CancelResult)
    assert answer.message == "Job was already running - cancelled remaining contacts"
    assert not answer.redis_job_cancelled
    row = stage.row()
    assert row is not None
    assert (row.status, row.statuses) == ("cancelled", CONTACTS_CANCELLED)


def test_deferred_start_fires_and_loses(stage: Stage) -> None:
    """The cancel was first: the start's compare and set fails, and nothing was removed."""
    make_due(stage)
    started: list[bool] = []

    def fire(number: int, step: Step) -> None:
        if plan.calls[number].is_exit and step is Step.AFTER and not started:
            started.append(fires(stage))

    plan = Plan(tap=fire)
    answer = play(stage, plan)
    assert started == [False]
    assert isinstance(answer, CancelResult)
    assert answer.message == "Scheduled job cancelled successfully"
    assert answer.removal == "absent"
    assert state(stage) == FULLY_CANCELLED


def test_deferred_start_taken_while_the_job_is_locked(stage: Stage) -> None:
    """It waits for the cancel, and then its compare and set fails."""
    make_due(stage)
    waiting: list[Future[bool]] = []

    def fire(number: int, step: Step) -> None:
        if (plan.calls[number].member, step) == ("lock", Step.AFTER):
            waiting.append(workers.submit(fires, stage))
            wait_until(lambda: waiting_for_a_lock(look) == 1, "the start waits for the job")

    plan = Plan(tap=fire)
    with ThreadPoolExecutor(1) as workers, psycopg.connect(dsn_of(stage), autocommit=True) as look:
        answer = play(stage, plan)
        assert [started.result(30) for started in waiting] == [False]
    assert isinstance(answer, CancelResult)
    assert answer.removal == "absent"
    assert state(stage) == FULLY_CANCELLED


# N cancels at once, distinct operations ----------------------------------------------------------


def at_once(stage: Stage, operations: list[str]) -> list[object]:
    """Cancel at the same moment, each as one of these operations."""
    if stage.world.runner is None:
        barrier = threading.Barrier(len(operations))

        def cancel(operation_id: str) -> object:
            barrier.wait()
            return stage.cancel(operation_id)

        with ThreadPoolExecutor(len(operations)) as pool:
            return list(pool.map(cancel, operations))

    async def cancel_all() -> list[object]:
        return list(
            await asyncio.gather(
                *(stage.attempt_async(Verb.CANCEL, Plan(), each) for each in operations)
            )
        )

    return stage.world.runner.run(cancel_all())


def test_n_cancels_at_once_with_distinct_operations(stage: Stage) -> None:
    """Exactly one 200, the rest 400 cancelled, and they know whose it was."""
    answers = at_once(stage, [f"operation {number}" for number in range(12)])
    assert sorted(map(described, answers)) == ["200 removed"] + ["400 cancelled"] * 11
    [winner] = [answer for answer in answers if isinstance(answer, CancelResult)]
    for answer in answers:
        if isinstance(answer, AlreadyTerminal):
            assert (answer.cancelled_at, answer.contacts_cancelled) == (winner.cancelled_at, 5)
    assert stage.told == [winner.operation_id]
    record = stage.record(SCHEDULED)
    assert record is not None
    assert record.operation_id == winner.operation_id


# same operation twice, overlapping ---------------------------------------------------------------


def test_same_operation_twice_overlapping(stage: Stage) -> None:
    """All 200, all the same body; one of them is no replay, and one event is told."""
    answers = at_once(stage, [OURS] * 8)
    results = [answer for answer in answers if isinstance(answer, CancelResult)]
    assert len(results) == 8
    assert len({present(result).content for result in results}) == 1
    assert [result.replayed for result in results].count(False) == 1
    assert len({result.cancelled_at for result in results}) == 1
    assert stage.told == [OURS]
    assert state(stage) == FULLY_CANCELLED


# reschedule beside cancel ------------------------------------------------------------------------


def test_reschedule_that_comes_first(stage: Stage) -> None:
    """The cancel waits for it, and removes the new deferred start, read under the lock."""
    stage.world.schedule("new start")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn_of(stage)) as other:
        other.execute(
            "UPDATE batch_jobs SET scheduled_job_id = 'new start' "
            "WHERE id = %s AND status = 'scheduled'",
            [stage.job_id],
        )
        answer = pool.submit(play, stage)
        wait_until(
            lambda: waiting_for_a_lock(tables_of(stage).connection) == 1,
            "the cancel waits for the job",
        )
        other.commit()
        assert described(answer.result(30)) == "200 removed"
    assert "new start" not in stage.look().waiting
    record = stage.record(SCHEDULED)
    assert record is not None
    assert record.deferred_id == "new start"


def test_reschedule_that_comes_late(stage: Stage) -> None:
    """It finds the job cancelled, and schedules nothing."""
    assert described(play(stage)) == "200 removed"
    cursor = tables_of(stage).connection.execute(
        "UPDATE batch_jobs SET scheduled_job_id = 'new start' "
        "WHERE id = %s AND status = 'scheduled'",
        [stage.job_id],
    )
    assert cursor.rowcount == 0
    assert state(stage) == FULLY_CANCELLED
