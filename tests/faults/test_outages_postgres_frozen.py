"""Postgres, or the network to it, gives no answer while a job is cancelled."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from batch_cancel.domain.errors import Fault
from tests.fault_proxy import TO_CLIENT, FaultProxy
from tests.faults.cues import ABOUT_TO_COMMIT, Step
from tests.faults.postgres_outages import SHORT
from tests.faults.theatre import UNCHANGED, Theatre, opened
from tests.processes import wait_until
from tests.servers import PostgresServer

HANGS = {"lock_timeout": SHORT, "statement_timeout": SHORT}
CUT_SECONDS = 0.4
"""After which a silent connection is cut: both timeouts together."""


@pytest.mark.parametrize("step", [Step.BEGIN, Step.LOCKED])
def test_a_frozen_server_is_left_in_time(burning: Theatre, step: Step) -> None:
    """I18: it answers nothing and keeps no timeout, so the connection is cut; nothing changed."""
    burning.options = HANGS
    burning.at(step, burning.server.pause)
    failure = burning.fail()
    burning.server.resume()
    assert (failure.outcome, failure.fault) == ("unchanged", Fault.LATE)
    assert "did not answer in time" in str(failure)
    assert CUT_SECONDS <= burning.seconds < CUT_SECONDS + 5
    wait_until(lambda: burning.state() == UNCHANGED, "the server has let go")
    burning.options = {}
    burning.finish()


@pytest.mark.parametrize("step", sorted(ABOUT_TO_COMMIT, key=str))
def test_a_server_frozen_in_commit_is_asked_again(burning: Theatre, step: Step) -> None:
    """I18, row "COMMIT's answer lost": it thaws in time for the second attempt, which knows."""
    burning.options = HANGS | {"lock_timeout": timedelta(seconds=1)}
    burning.at(step, burning.server.pause)
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
