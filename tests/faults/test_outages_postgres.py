"""
Postgres is shut down, restarted or killed while a job is cancelled.

Afterwards either nothing has changed or the job is fully cancelled, the answer has said which, and
the same operation asked again answers 200. Each test names the row of the fault table
(test_fault_table_postgres.py) that it is about.
"""

from __future__ import annotations

import itertools
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from batch_cancel.domain.errors import Fault
from tests.faults.cues import ABOUT_TO_COMMIT, BEFORE_COMMIT, IN_DOUBT, Step
from tests.faults.outages import FULL
from tests.faults.postgres_outages import SHUTDOWNS, options
from tests.faults.theatre import CANCELLED, HALVES, UNCHANGED, Theatre, opened
from tests.servers import PostgresServer

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
        if step not in ABOUT_TO_COMMIT:
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
    burning.dsn = make_conninfo(good, options=options(burning, "synchronous_commit=off"))
    result = burning.cancel()
    server.kill()
    server.start()
    server.query("ALTER SYSTEM RESET wal_writer_delay")
    server.query("SELECT pg_reload_conf()")
    burning.check(result)
