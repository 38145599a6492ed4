"""The primary of a replicated Postgres dies for good while jobs are cancelled."""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.fault_proxy import TO_CLIENT, FaultProxy
from tests.faults.cues import Step
from tests.faults.theatre import HALVES, UNCHANGED, Theatre, runner, seed
from tests.processes import wait_until
from tests.servers import PostgresServer


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
    """Yield a primary and a replica that streams from it."""
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
