"""
Postgres goes away, or refuses, while a job is cancelled.

Afterwards either nothing has changed or the job is fully cancelled, the answer has said which, and
the same operation asked again answers 200. Each test names the row of protocol.md's fault table
that it is about.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import AlreadyTerminal
from batch_cancel.domain.errors import Fault
from tests.fault_proxy import TO_CLIENT, FaultProxy
from tests.faults.outages import (
    BEFORE_COMMIT,
    CANCELLED,
    FULL,
    HALVES,
    IN_DOUBT,
    JOB,
    UNCHANGED,
    Step,
    Theatre,
    opened,
    runner,
    seed,
)
from tests.pgbouncer import PgBouncer
from tests.processes import wait_until
from tests.servers import PostgresServer

SHORT = timedelta(milliseconds=200)


@pytest.fixture(params=HALVES)
def half(request: pytest.FixtureRequest) -> str:
    """Name the half of the library that is played."""
    return str(request.param)


@pytest.fixture
def theatre(postgres_server: PostgresServer, half: str) -> Iterator[Theatre]:
    """Lend a job on the Postgres that all tests share."""
    with opened(postgres_server, half) as theatre:
        yield theatre


@pytest.fixture
def burning(postgres_to_break: PostgresServer, half: str) -> Iterator[Theatre]:
    """Lend a job on a durable Postgres that may be hurt."""
    with opened(postgres_to_break, half) as theatre:
        yield theatre


# Server shutdown ---------------------------------------------------------------------------------

SHUTDOWNS: dict[str, Callable[[PostgresServer], None]] = {
    "fast": lambda server: server.stop(),
    "immediate": lambda server: server.stop(signal.SIGQUIT),
    "kill -9": lambda server: server.kill(),
}

_EVERY = list(itertools.product(Step, SHUTDOWNS, (True, False), HALVES))
# Each step healed and not; the kinds of shutdown and the halves take turns.
_SOME = [
    (step, tuple(SHUTDOWNS)[number % 3], heals, HALVES[number // 2 % 2])
    for number, (step, heals) in enumerate(itertools.product(Step, (True, False)))
]


@pytest.mark.parametrize(("step", "shutdown", "heals", "half"), _EVERY if FULL else _SOME, ids=str)
def test_server_shutdown_leaves_all_or_nothing(
    postgres_to_break: PostgresServer,
    step: Step,
    shutdown: str,
    half: str,
    *,
    heals: bool,
) -> None:
    """
    Row "server shutdown", and "killed before COMMIT", "killed after COMMIT" of the server.

    Restarted by the time of the one retry, the cancel answers 200; still down, it says whether
    something changed, or that it does not know, in time.
    """
    server = postgres_to_break
    with opened(server, half) as theatre:
        theatre.at(step, lambda: SHUTDOWNS[shutdown](server))
        if heals:
            theatre.before_retry = server.heal
        if step in {Step.COMMITTED, Step.NOTED} or (heals and step is not Step.CONNECT):
            result = theatre.cancel()
            assert result.redis_job_cancelled
            server.heal()
            theatre.check(result)
            return
        failure = theatre.fail()
        assert failure.retryable
        assert failure.outcome == ("unknown" if step in IN_DOUBT else "unchanged")
        assert theatre.seconds < 10  # No tight bound: a machine may be busy.
        server.heal()
        is_done = step is Step.COMMIT_DONE
        assert theatre.state() == (CANCELLED if is_done else UNCHANGED)
        theatre.finish(replayed=is_done)


@pytest.mark.parametrize("step", [*BEFORE_COMMIT, *IN_DOUBT])
def test_server_shutdown_57p01_is_retried_once_on_a_new_connection(
    burning: Theatre, step: Step
) -> None:
    """Row "57P01 retried once on a new connection": a backend ended by an administrator."""
    burning.at(step, burning.terminate)
    burning.check(burning.cancel())
    # The attempt, the retry, the note of the removal, and reconcile.
    assert burning.connections == 4


@pytest.mark.parametrize("step", [Step.LOCKED, Step.CONTACTS])
def test_server_shutdown_57p01_twice_is_a_failure_that_changed_nothing(
    theatre: Theatre, step: Step
) -> None:
    """Row "57P01 retried once": not for ever."""
    theatre.at(step, theatre.terminate, times=2)
    failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.INTERRUPTED)
    assert theatre.connections == 2
    assert theatre.state() == UNCHANGED
    theatre.finish()


def test_a_backend_ended_after_the_commit_raises_nothing(theatre: Theatre) -> None:
    """I13: the note of the removal fails, the answer stands, and reconcile finishes it."""
    theatre.at(Step.NOTED, theatre.terminate)
    result = theatre.cancel()
    assert theatre.cue.played == 1
    assert [done.removal for done in theatre.reconcile()] == [result.removal]
    theatre.check(result)


def test_an_unknown_commit_that_stays_unknown_says_so(theatre: Theatre) -> None:
    """Row "COMMIT's answer lost": six attempts at most, then `unknown`, never `unchanged`."""
    theatre.at(Step.MARKED, theatre.terminate, times=99)
    failure = theatre.fail()
    assert (failure.outcome, failure.retryable) == ("unknown", True)
    assert theatre.connections == 6
    theatre.finish()


def test_a_connection_closed_behind_our_back_does_not_pass_for_committed(
    theatre: Theatre,
) -> None:
    """A transaction of psycopg ends without COMMIT and without a word: the cancel notices."""
    connections: list[Any] = []

    def close_one() -> None:
        connections[0].pgconn.finish()

    def connect() -> Any:
        kind = psycopg.AsyncConnection if theatre.runner else psycopg.Connection
        source: Any = kind.connect(theatre.dsn)
        if theatre.runner is None:
            connections.append(source)
            return source

        async def kept() -> Any:
            connections.append(await source)
            return connections[-1]

        return kept()

    theatre.connect = connect
    theatre.at(Step.MARKED, close_one)
    result = theatre.cancel()
    assert len(connections) == 3
    theatre.check(result)


def test_a_commit_that_was_answered_survives_kill_9_of_a_server_that_need_not_wait(
    burning: Theatre,
) -> None:
    """I6: `synchronous_commit = off` is for others; what we answered is on disk."""
    server = burning.server
    server.query("ALTER SYSTEM SET wal_writer_delay = '10s'")
    server.query("SELECT pg_reload_conf()")
    good = burning.dsn
    burning.dsn = make_conninfo(good, options=_options(burning, "synchronous_commit=off"))
    result = burning.cancel()
    server.kill()
    server.start()
    server.query("ALTER SYSTEM RESET wal_writer_delay")
    server.query("SELECT pg_reload_conf()")
    burning.check(result)


# Failover ----------------------------------------------------------------------------------------


@dataclass
class Pair:
    """A primary, its replica, and the line between them."""

    primary: PostgresServer
    replica: PostgresServer
    line: FaultProxy

    def synchronous(self) -> None:
        """Let each commit wait for the replica."""
        self.primary.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.query("SELECT pg_reload_conf()")
        state = sql.SQL("SELECT sync_state FROM pg_stat_replication")
        wait_until(lambda: self.primary.query(state) == "sync", "the replica is synchronous")

    def fail_over(self) -> None:
        """Let the primary die with what the replica has not heard of, and the replica succeed."""
        self.line.stall(TO_CLIENT)
        self.primary.kill()
        self.line.refuse()
        self.replica.promote()

    def theatre(self, stack: ExitStack, half: str) -> Theatre:
        """Open a theatre on the primary; its connections go to the replica after the failover."""
        name = f"theatre_{secrets.token_hex(4)}"
        self.primary.query(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        dsn = make_conninfo(self.primary.dsn(), options=f"-csearch_path={name}")
        seed(dsn)
        return Theatre(self.primary, dsn, stack.enter_context(runner(half)))

    def move(self, theatre: Theatre) -> None:
        """Let the theatre's connections go to the replica."""
        port = conninfo_to_dict(self.replica.dsn())["port"]
        theatre.dsn = make_conninfo(theatre.dsn, port=port)
        theatre.server = self.replica


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Lend a primary and a replica that streams from it."""
    with PostgresServer.own(fsync=True) as primary:
        port = int(str(conninfo_to_dict(primary.dsn())["port"]))
        with FaultProxy(port) as line, primary.replica(line.port) as replica:
            yield Pair(primary, replica, line)


def test_a_failover_to_a_synchronous_replica_leaves_all_or_nothing(pair: Pair) -> None:
    """
    Row "server shutdown", I6: the primary dies for good with cancels at every step.

    With `synchronous_standby_names` no cancel that was answered is forgotten, and those in
    progress are carried out on the new primary, whether or not the old one had committed.
    """
    over = threading.Event()
    with ExitStack() as stack:
        answered = [pair.theatre(stack, half) for half in HALVES]
        stopped = {
            (step, half): pair.theatre(stack, half)
            for step in (Step.BEGIN, Step.LOCKED, Step.CONTACTS, Step.MARKED)
            for half in HALVES
        }
        waiting = [pair.theatre(stack, half) for half in HALVES]
        pair.synchronous()
        results = [theatre.cancel() for theatre in answered]
        at_step = threading.Semaphore(0)

        def move(theatre: Theatre) -> None:
            assert over.wait(60)
            pair.move(theatre)

        def wait() -> None:
            at_step.release()
            assert over.wait(60)

        for (step, _), theatre in stopped.items():
            theatre.at(step, wait)
        for theatre in waiting:
            theatre.at(Step.MARKED, at_step.release)
        for theatre in (*stopped.values(), *waiting):
            theatre.before_retry = functools.partial(move, theatre)
        pool = stack.enter_context(ThreadPoolExecutor(len(stopped) + len(waiting)))
        # From now on the primary commits, and nobody else hears of it.
        pair.line.stall(TO_CLIENT)
        playing = [pool.submit(theatre.cancel) for theatre in (*stopped.values(), *waiting)]
        for _ in playing:
            assert at_step.acquire(timeout=60)
        commits = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        wait_until(lambda: pair.primary.query(commits) == 2, "two commits wait for the replica")
        pair.fail_over()
        over.set()
        for theatre, future in zip((*stopped.values(), *waiting), playing, strict=True):
            theatre.check(future.result())
        for theatre, result in zip(answered, results, strict=True):
            pair.move(theatre)
            theatre.check(result)


def test_a_failover_to_an_asynchronous_replica_may_forget_an_answered_cancel(pair: Pair) -> None:
    """
    What asynchronous replication gives, and no more: all or nothing, but a 200 may be forgotten.

    The job is then scheduled as before, without its deferred start: only the same operation, asked
    again, or a rescheduling brings it to an end.
    """
    with ExitStack() as stack:
        theatres = [pair.theatre(stack, half) for half in HALVES]
        pair.replica.wait_for(pair.primary)
        pair.line.stall(TO_CLIENT)
        for theatre in theatres:
            theatre.check(theatre.cancel())
        pair.fail_over()
        for theatre in theatres:
            pair.move(theatre)
            assert theatre.state() == UNCHANGED
            assert theatre.waiting() == set()
            theatre.finish()


# Pools -------------------------------------------------------------------------------------------


@contextmanager
def _pooled(theatre: Theatre, **more: Any) -> Generator[Any]:
    """Let the theatre's connections come from a pool, and lend the pool."""
    settings = {"application_name": "cancel", "connect_timeout": 2}
    options: dict[str, Any] = {"kwargs": settings, "open": False, "timeout": 10} | more
    if theatre.runner is None:
        with psycopg_pool.ConnectionPool(theatre.dsn, **options) as pool:
            theatre.connect = pool.connection
            yield pool
        return
    run = theatre.runner.run
    waiting_pool = psycopg_pool.AsyncConnectionPool(theatre.dsn, **options)
    run(waiting_pool.open())
    theatre.connect = waiting_pool.connection
    try:
        yield waiting_pool
    finally:
        run(waiting_pool.close())


def _wait(theatre: Theatre, pool: Any) -> None:
    """Wait until the pool is filled."""
    answer = pool.wait(10)
    if theatre.runner is not None:
        theatre.runner.run(answer)


def _check_pool(theatre: Theatre, pool: Any) -> None:
    """Every connection is back, in no transaction, and none is missing."""
    for _ in range(2):
        theatre.connections = 0
        with pytest.raises(AlreadyTerminal):
            theatre.cancel("another operation")
        assert theatre.connections == 1
    stats = pool.get_stats()
    assert stats.get("requests_waiting", 0) == 0
    assert stats["pool_size"] <= pool.max_size
    wait_until(lambda: _idle(theatre, pool), "the pool has all its connections back")


def _idle(theatre: Theatre, pool: Any) -> bool:
    if theatre.runner is not None:
        theatre.runner.run(_breathe())
    stats = pool.get_stats()
    return bool(stats["pool_available"] == stats["pool_size"] >= pool.min_size)


async def _breathe() -> None:
    """Let the tasks of a pool go on."""
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("step", [Step.LOCKED, Step.MARKED, Step.COMMIT_DONE])
def test_a_pool_is_as_before_after_a_backend_was_ended(burning: Theatre, step: Step) -> None:
    """Row "server shutdown 57P01": the broken connection is replaced, the others serve on."""
    with _pooled(burning, min_size=1, max_size=2) as pool:
        burning.at(step, burning.terminate)
        burning.check(burning.cancel())
        burning.at(Step.CONNECT, lambda: None)
        _check_pool(burning, pool)


@pytest.mark.parametrize("shutdown", SHUTDOWNS if FULL else ["fast"])
def test_a_pool_whose_connections_a_restart_has_broken_is_not_felt(
    burning: Theatre, shutdown: str
) -> None:
    """Row "server shutdown": each of them is passed over, however many they are."""
    with _pooled(burning, min_size=8) as pool:
        _wait(burning, pool)
        SHUTDOWNS[shutdown](burning.server)
        burning.server.start()
        burning.check(burning.cancel())
        _check_pool(burning, pool)


def test_a_pool_whose_server_is_gone_is_a_failure_that_changed_nothing(burning: Theatre) -> None:
    """Row "connection refused": all are passed over, and no new one is to be had in time."""
    with _pooled(burning, min_size=2, timeout=0.3) as pool:
        _wait(burning, pool)
        burning.server.stop()
        failure = burning.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
        burning.server.start()
        assert burning.state() == UNCHANGED
        burning.connect = None
        burning.finish()


def test_pool_timeout_is_a_failure_that_changed_nothing(theatre: Theatre) -> None:
    """Row "pool timeout": its only connection is held by somebody else."""
    with _pooled(theatre, min_size=1, max_size=1, timeout=0.2) as pool:
        _wait(theatre, pool)
        held = pool.getconn()
        if theatre.runner is not None:
            held = theatre.runner.run(held)
        failure = theatre.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
        assert "the pool gave no connection (PoolTimeout): check that the pool is open" in str(
            failure
        )
        assert theatre.state() == UNCHANGED
        given_back = pool.putconn(held)
        if theatre.runner is not None:
            theatre.runner.run(given_back)
        theatre.finish()
        _check_pool(theatre, pool)


def test_a_connection_that_can_not_be_given_back_raises_nothing_after_the_commit(
    theatre: Theatre, caplog: pytest.LogCaptureFixture
) -> None:
    """I13: whatever the pool's own trouble is, the cancellation stands; the log tells of it."""

    class Broken:
        """A pool that fails when it is given a connection back."""

        def __init__(self) -> None:
            self.connection: Any = None

        def __enter__(self) -> Any:
            self.connection = psycopg.connect(theatre.dsn)
            return self.connection

        def __exit__(self, *_: object) -> None:
            self.connection.close()
            message = "secret"
            raise RuntimeError(message)

        async def __aenter__(self) -> Any:
            self.connection = await psycopg.AsyncConnection.connect(theatre.dsn)
            return self.connection

        async def __aexit__(self, *_: object) -> None:
            await self.connection.close()
            message = "secret"
            raise RuntimeError(message)

    theatre.connect = Broken
    with caplog.at_level(logging.WARNING, "batch_cancel"):
        result = theatre.cancel()
    assert "committed, but the connection was not given back (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text
    theatre.connect = None
    theatre.check(result)


# Conflicts ---------------------------------------------------------------------------------------


CONFLICTS = (
    [("40001", False), ("40P01", True), ("40001", True), ("40P01", False)]
    if FULL
    else [("40001", True), ("40P01", False)]
)
"""By SQLSTATE, and whether at COMMIT or in a statement."""


def _raise_in(theatre: Theatre, state: str, times: int, *, at_commit: bool) -> None:
    """Let the marking of the job, or its COMMIT, fail with this SQLSTATE so many times."""
    when = "CONSTRAINT TRIGGER fault AFTER" if at_commit else "TRIGGER fault BEFORE"
    deferred = "DEFERRABLE INITIALLY DEFERRED" if at_commit else ""
    theatre.execute(
        "CREATE SEQUENCE attempts;"
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('attempts') <= {times} THEN "
        f"RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$;"
        f"CREATE {when} INSERT ON batch_cancellations {deferred} "
        "FOR EACH ROW EXECUTE FUNCTION fail()"
    )


@pytest.mark.parametrize(("state", "at_commit"), CONFLICTS)
def test_serialization_40001_and_deadlock_40p01_are_retried_three_times(
    theatre: Theatre,
    state: str,
    *,
    at_commit: bool,
) -> None:
    """Row "serialization 40001, deadlock 40P01": the third retry succeeds."""
    _raise_in(theatre, state, 3, at_commit=at_commit)
    theatre.check(theatre.cancel())


@pytest.mark.parametrize(("state", "at_commit"), CONFLICTS)
def test_serialization_40001_and_deadlock_40p01_fail_after_three_retries(
    theatre: Theatre,
    state: str,
    *,
    at_commit: bool,
) -> None:
    """Row "serialization 40001, deadlock 40P01": then nothing was changed, and it is retryable."""
    _raise_in(theatre, state, 4, at_commit=at_commit)
    failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.CONFLICT)
    assert theatre.connections == 4
    assert theatre.state() == UNCHANGED
    theatre.finish()


def test_a_real_deadlock_is_retried(theatre: Theatre) -> None:
    """Row "deadlock 40P01": a worker locks contact, then job; we lock job, then contact."""
    quick = make_conninfo(theatre.dsn, options=_options(theatre, "deadlock_timeout=10ms"))
    patient = make_conninfo(theatre.dsn, options=_options(theatre, "deadlock_timeout=20s"))
    theatre.dsn = quick
    with psycopg.connect(patient) as worker:
        worker.execute("UPDATE batch_contacts SET status = 'dialing' WHERE status = 'pending'")

        def lock_job() -> None:
            worker.execute("SELECT FROM batch_jobs FOR UPDATE")
            worker.rollback()

        theatre.at(Step.LOCKED, lambda: theatre.meanwhile(lock_job))
        result = theatre.cancel()
    assert theatre.connections == 3  # The attempt, its retry, the note of the removal.
    theatre.check(result)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_default_isolation_level_strands_no_contact(theatre: Theatre, isolation: str) -> None:
    """
    Row "serialization 40001", I4: a contact that came while we waited for the lock is cancelled.

    In the isolation that these connections default to, it would be missing from our snapshot.
    """
    escaped = isolation.replace(" ", r"\ ")
    plain = theatre.dsn
    theatre.dsn = make_conninfo(
        plain, options=_options(theatre, f"default_transaction_isolation={escaped}")
    )
    with psycopg.connect(plain) as worker:
        worker.execute("SELECT FROM batch_jobs FOR NO KEY UPDATE")

        def append() -> None:
            worker.execute("INSERT INTO batch_contacts (batch_job_id) VALUES (%s)", [JOB])
            worker.commit()

        theatre.at(Step.BEGIN, lambda: theatre.once_blocked("transactionid", append))
        result = theatre.cancel()
    assert result.contacts_cancelled == 6
    assert theatre.state()[1][-1] == "cancelled"
    assert theatre.connections == 2


def _options(theatre: Theatre, setting: str) -> str:
    return f"{conninfo_to_dict(theatre.dsn)['options']} -c{setting}"


# Budgets -----------------------------------------------------------------------------------------


def test_lock_timeout_55p03_is_a_failure_that_changed_nothing(theatre: Theatre) -> None:
    """Row "lock timeout 55P03": somebody holds the job and does not let go."""
    theatre.options = {"lock_timeout": SHORT}
    with psycopg.connect(theatre.dsn) as other:
        other.execute("SELECT FROM batch_jobs FOR UPDATE")
        failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert "lock timeout" in str(failure)
    assert theatre.connections == 1
    assert theatre.state() == UNCHANGED
    theatre.finish()


def test_statement_timeout_57014_is_a_failure_that_changed_nothing(theatre: Theatre) -> None:
    """Row "statement timeout 57014": a contact is held, and the statement takes too long."""
    theatre.options = {"statement_timeout": SHORT}
    with psycopg.connect(theatre.dsn) as other:
        other.execute("SELECT FROM batch_contacts FOR UPDATE")
        failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert theatre.connections == 1
    assert theatre.state() == UNCHANGED
    theatre.options = {}
    theatre.finish()


@pytest.mark.parametrize("blocked_at", ["a statement", "COMMIT"])
def test_a_query_stopped_by_an_administrator_57014_changed_nothing(
    theatre: Theatre, blocked_at: str
) -> None:
    """Row "statement timeout 57014", by pg_cancel_backend: at COMMIT it is undone as well."""
    with psycopg.connect(theatre.dsn) as other:
        if blocked_at == "COMMIT":
            theatre.at(Step.COMMIT_UNDONE, theatre.stop_query)
        else:
            other.execute("SELECT FROM batch_contacts FOR UPDATE")
            stop = theatre.stop_query
            theatre.at(Step.LOCKED, lambda: theatre.once_blocked("transactionid", stop))
        failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert theatre.state() == UNCHANGED
    theatre.finish()


@pytest.mark.parametrize("step", [Step.LOCKED, Step.MARKED])
def test_idle_in_transaction_25p03_is_a_failure_that_changed_nothing(
    theatre: Theatre, step: Step
) -> None:
    """Row "idle-in-transaction 25P03": we were held up, and Postgres gave up on us."""
    theatre.options = {"statement_timeout": SHORT, "lock_timeout": timedelta(seconds=20)}
    theatre.at(step, lambda: time.sleep(3 * SHORT.total_seconds()))
    failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert "idle" in str(failure)
    assert theatre.state() == UNCHANGED
    theatre.options = {}
    theatre.finish()


# SQLSTATEs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_commit", [False, True], ids=["in a statement", "at COMMIT"])
@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("25P04", Fault.LATE),
        ("53200", Fault.BUSY),
        ("23505", Fault.REFUSED),
        ("42501", Fault.REFUSED),
    ],
)
@pytest.mark.parametrize("half", HALVES if FULL else ["blocking"])
def test_an_error_that_postgres_reports_and_survives_has_changed_nothing(
    postgres_server: PostgresServer,
    half: str,
    state: str,
    fault: Fault,
    *,
    at_commit: bool,
) -> None:
    """Whatever its SQLSTATE, and at COMMIT as anywhere; it is tried once."""
    with opened(postgres_server, half) as theatre:
        _raise_in(theatre, state, 1, at_commit=at_commit)
        failure = theatre.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", fault)
        assert failure.retryable == (fault is not Fault.REFUSED)
        assert theatre.connections == 1
        assert theatre.state() == UNCHANGED
        if state != "42501":  # There the message names what permission is missing.
            assert "secret" not in str(failure)
        theatre.finish()


# Read-only ---------------------------------------------------------------------------------------


def test_read_only_25006_is_a_failure_that_changed_nothing(burning: Theatre) -> None:
    """Row "read-only 25006": the server takes no writes for a while."""
    server = burning.server
    server.query("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        server.query("SELECT pg_reload_conf()")
        wait_until(lambda: _is_read_only(burning), "the server is read-only")
        failure = burning.fail()
    finally:
        server.query("SET default_transaction_read_only = off")
        server.query("ALTER SYSTEM RESET default_transaction_read_only")
        server.query("SELECT pg_reload_conf()")
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.BUSY)
    assert "connect to the primary" in str(failure)
    wait_until(lambda: not _is_read_only(burning), "the server takes writes")
    assert burning.state() == UNCHANGED
    burning.finish()


def _is_read_only(burning: Theatre) -> bool:
    with psycopg.connect(burning.dsn) as connection:
        row = connection.execute("SHOW default_transaction_read_only").fetchone()
    return row == ("on",)


# Connecting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "fault", "told"),
    [
        ({"port": 1}, Fault.BUSY, "can't be reached: check that it runs and has connections left"),
        ({"dbname": "nowhere"}, Fault.REFUSED, "database"),
        ({"user": "nobody_special"}, Fault.REFUSED, "user"),
        ({"user": "crowd"}, Fault.BUSY, "Postgres has no connection left"),
        ({"user": "barred"}, Fault.REFUSED, "user"),
    ],
    ids=["connection refused", "no such database", "no such user", "53300", "no permission"],
)
def test_connection_refused_is_a_failure_that_helps_and_tells_no_secret(
    theatre: Theatre,
    wrong: dict[str, Any],
    fault: Fault,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row "connection refused", and whatever else keeps us from connecting."""
    query = theatre.server.query
    query("CREATE ROLE crowd LOGIN CONNECTION LIMIT 0")
    query("CREATE ROLE barred NOLOGIN")
    try:
        good, theatre.dsn = theatre.dsn, make_conninfo(theatre.dsn, password="hunter2", **wrong)
        failure = theatre.fail()
    finally:
        query("DROP ROLE crowd, barred")
    assert (failure.outcome, failure.fault) == ("unchanged", fault)
    assert theatre.connections == 1
    said = str(failure)
    assert told in said
    heard = f"{said} {failure.detail} {caplog.text}"
    assert not [
        secret
        for secret in ("hunter2", "127.0.0.1", *map(str, wrong.values()))
        if f" {secret}" in heard or f'"{secret}"' in heard
    ]
    theatre.dsn = good
    assert theatre.state() == UNCHANGED
    theatre.finish()


def test_settings_that_psycopg_can_not_read_are_not_worth_a_retry(theatre: Theatre) -> None:
    """Somebody must mend them; they are not shown, they may hold the password."""
    good, theatre.dsn = theatre.dsn, "host=localhost passwort=hunter2"
    failure = theatre.fail()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.REFUSED)
    assert "can't read the settings" in str(failure)
    assert "hunter2" not in str(failure)
    theatre.dsn = good
    theatre.finish()


# PgBouncer ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pgbouncer_in_a_hurry(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """Lend a PgBouncer that has one connection, and does not wait for it long."""
    with PgBouncer(postgres_server, 1, "query_wait_timeout = 1\n") as bouncer:
        yield bouncer


@contextmanager
def _behind(bouncer: PgBouncer, server: PostgresServer, half: str) -> Generator[Theatre]:
    with opened(server, half, in_database=True) as theatre:
        settings: dict[str, Any] = {"application_name": "cancel", "prepare_threshold": None}
        kind = psycopg.AsyncConnection if theatre.runner else psycopg.Connection
        theatre.connect = lambda: kind.connect(bouncer.dsn(theatre.dsn), **settings)
        yield theatre


@pytest.mark.parametrize("step", [Step.LOCKED, Step.COMMIT_UNDONE])
def test_server_shutdown_57p01_behind_pgbouncer_is_retried(
    pgbouncer_in_a_hurry: PgBouncer, postgres_server: PostgresServer, half: str, step: Step
) -> None:
    """Row "57P01 retried once": PgBouncer tells of it in its own words, with one SQLSTATE."""
    with _behind(pgbouncer_in_a_hurry, postgres_server, half) as theatre:
        theatre.at(step, theatre.terminate)
        theatre.check(theatre.cancel())
        assert theatre.connections == 4


def test_pool_timeout_of_pgbouncer_is_a_failure_that_changed_nothing(
    pgbouncer_in_a_hurry: PgBouncer, postgres_server: PostgresServer
) -> None:
    """Row "pool timeout": PgBouncer has no connection for us, and says so after a second."""
    with _behind(pgbouncer_in_a_hurry, postgres_server, "asyncio") as theatre:
        with psycopg.connect(pgbouncer_in_a_hurry.dsn(theatre.dsn)) as other:
            other.execute("SELECT 1")
            failure = theatre.fail()
        assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
        assert "query_wait_timeout" in str(failure)
        assert theatre.connections == 1
        assert theatre.state() == UNCHANGED
        theatre.finish()


# A server that hangs -----------------------------------------------------------------------------

HANGS = {"lock_timeout": SHORT, "statement_timeout": SHORT}
CUT_SECONDS = 0.4
"""After which a silent connection is cut: both timeouts together."""


@pytest.mark.parametrize("step", BEFORE_COMMIT)
def test_a_frozen_server_is_left_in_time(burning: Theatre, step: Step) -> None:
    """I18: it answers nothing and keeps no timeout, so the connection is cut; nothing changed."""
    burning.options = HANGS
    burning.at(step, burning.server.pause)
    failure = burning.fail()
    burning.server.resume()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert "gave no answer in time" in str(failure)
    assert CUT_SECONDS <= burning.seconds < CUT_SECONDS + 5
    wait_until(lambda: burning.state() == UNCHANGED, "the server has let go")
    burning.options = {}
    burning.finish()


def test_a_server_frozen_in_commit_is_asked_again(burning: Theatre) -> None:
    """I18, row "COMMIT's answer lost": it thaws in time for the second attempt, which knows."""
    burning.options = HANGS | {"lock_timeout": timedelta(seconds=1)}
    burning.at(Step.MARKED, burning.server.pause)
    burning.before_retry = burning.server.resume
    result = burning.cancel()
    assert burning.seconds >= 1
    burning.check(result)


def test_a_server_frozen_in_commit_for_good_is_left_in_time(
    postgres_to_break: PostgresServer,
) -> None:
    """I18, row "COMMIT's answer lost": two waits at most, then `unknown`."""
    with opened(postgres_to_break, "blocking") as theatre:
        theatre.options = HANGS
        theatre.at(Step.MARKED, theatre.server.pause)
        failure = theatre.fail()
        theatre.server.resume()
        assert (failure.outcome, failure.fault) == ("unknown", Fault.LATE)
        assert theatre.connections == 2
        assert theatre.seconds < 10
        theatre.options = {}
        # Thawed, the server finds the COMMIT on the line, or finds first that we were idle.
        result = theatre.cancel()
        theatre.check(result, replayed=result.replayed)


def test_a_frozen_server_that_is_connected_to_is_left_after_connect_timeout(
    postgres_to_break: PostgresServer,
) -> None:
    """I18: `connect` bounds itself, as its documentation asks."""
    with opened(postgres_to_break, "asyncio") as theatre:
        theatre.at(Step.CONNECT, theatre.server.pause)
        failure = theatre.fail()
        theatre.server.resume()
        assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
        assert "connect_timeout" in str(failure)
        theatre.finish()


def test_a_server_frozen_after_the_commit_raises_nothing(burning: Theatre) -> None:
    """I13, I18: only the note of the removal is waited for, in time."""
    burning.options = HANGS
    burning.at(Step.BEGIN, burning.server.pause, skip=1)
    result = burning.cancel()
    burning.server.resume()
    assert burning.cue.played == 1
    assert burning.seconds < CUT_SECONDS + 5
    burning.options = {}
    burning.check(result)


@pytest.mark.parametrize("step", [Step.LOCKED, Step.MARKED])
def test_a_network_that_swallows_packets_is_left_in_time(theatre: Theatre, step: Step) -> None:
    """I18: the server does its part, its answers do not arrive; then the line is well again."""
    port = int(str(conninfo_to_dict(theatre.dsn)["port"]))
    good = theatre.dsn
    with FaultProxy(port) as proxy:
        theatre.connect = lambda: (
            psycopg.AsyncConnection if theatre.runner else psycopg.Connection
        ).connect(good, port=proxy.port)
        theatre.options = HANGS
        theatre.at(step, lambda: proxy.stall(TO_CLIENT))

        def mend() -> None:
            proxy.reset()
            proxy.heal()

        theatre.before_retry = mend
        if step is Step.LOCKED:
            failure = theatre.fail()
            mend()
            assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
            wait_until(lambda: theatre.state() == UNCHANGED, "the server has let go")
            theatre.options = {}
            theatre.finish()
        else:
            theatre.check(theatre.cancel())


def test_no_watch_outlives_its_transactions(theatre: Theatre) -> None:
    """I18: the thread that cuts connections ends by itself, and nothing is left open."""
    theatre.options = HANGS
    theatre.check(theatre.cancel())
    wait_until(
        lambda: "batch_cancel-watch" not in {thread.name for thread in threading.enumerate()},
        "the watch has ended",
    )
