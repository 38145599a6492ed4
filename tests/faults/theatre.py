"""
A cancel during which a server goes away, at a step of one's choosing.

`Theatre` is a schema of a real Postgres with one scheduled job in it, and a cancel of that job,
blocking or asyncio, that is interrupted where a test says. What it must leave is written here by
hand, from the contract.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

import attrs
import psycopg
import pytest
from psycopg import sql

from batch_cancel import (
    CancelFailed,
    CancelResult,
    cancel_job,
    cancel_job_async,
    reconcile,
    reconcile_async,
)
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from tests.faults.cues import Action, AsyncCued, AsyncSpied, Cue, Cued, Spied, Step
from tests.pairs import create_reference_tables
from tests.processes import ServerError, wait_until
from tests.servers import PostgresServer

HALVES: Final = ("blocking", "asyncio")
OPERATION: Final = "our operation"
JOB: Final = "batch_1"
DEFERRED: Final = "deferred_1"

CONTACTS: Final = (
    ("pending", "cancelled"),
    ("queued", "cancelled"),
    ("no_answer", "cancelled"),
    ("busy", "cancelled"),
    ("timeout", "cancelled"),
    ("dialing", "dialing"),
    ("completed", "completed"),
    ("blocked", "blocked"),
)
"""Each contact's status before, and after a cancel."""

UNCHANGED: Final = ("scheduled", [before for before, _ in CONTACTS], None)
CANCELLED: Final = ("cancelled", [after for _, after in CONTACTS], (OPERATION, 5))

PATIENT: Final = timedelta(seconds=20)
"""Longer than what is played takes, on a machine that does much else."""


@attrs.define(eq=False)
class Theatre:
    """
    One job on a real Postgres, a cancel of it, and what may happen meanwhile.

    Arguments:
        server: where it is.
        dsn: its schema.
        runner: the event loop of the asyncio half; None in the blocking one.
        options: of the unit of work.
        connect: gives the connections, None for a new one each.
    """

    server: PostgresServer
    dsn: str
    runner: asyncio.Runner | None
    options: dict[str, Any] = attrs.field(factory=dict)
    connect: Callable[[], Any] | None = None
    cue: Cue = attrs.field(factory=Cue)
    before_retry: Action = attrs.field(default=lambda: None)
    connections: int = 0
    seconds: float = 0.0
    scheduler: Any = None
    stack: ExitStack = attrs.field(factory=ExitStack)
    _threads: list[threading.Thread] = attrs.field(factory=list)
    _errors: list[BaseException] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.scheduler = AsyncMemoryScheduler() if self.runner else MemoryScheduler()
        self.scheduler.schedule(DEFERRED, datetime.now(UTC) + timedelta(hours=1))

    def at(self, step: Step, action: Action, **options: Any) -> None:
        """Let this happen when the cancel has come so far; in COMMIT, from another thread."""
        if step in {Step.COMMIT_UNDONE, Step.COMMIT_DONE}:
            done = self._shut_gate() if step is Step.COMMIT_UNDONE else self._lose_standby()
            event = "advisory" if step is Step.COMMIT_UNDONE else "SyncRep"
            self.cue = Cue(
                Step.MARKED, lambda: self.meanwhile(lambda: self._strike(event, action, done))
            )
        else:
            self.cue = Cue(step, action, **options)

    def cancel(self, operation_id: str = OPERATION) -> CancelResult:
        """Cancel the job."""
        began = time.monotonic()
        try:
            if self.runner is not None:
                return self.runner.run(
                    cancel_job_async(
                        JOB,
                        uow=self._uow(AsyncPostgresUnitOfWork),
                        scheduler=AsyncCued(self),
                        operation_id=operation_id,
                    )
                )
            return cancel_job(
                JOB,
                uow=self._uow(PostgresUnitOfWork),
                scheduler=Cued(self),
                operation_id=operation_id,
            )
        finally:
            self.seconds = time.monotonic() - began
            self._join()

    def fail(self) -> CancelFailed:
        """Cancel the job, which must fail."""
        with pytest.raises(CancelFailed) as failed:
            self.cancel()
        return failed.value

    def finish(self, *, replayed: bool = False) -> None:
        """Let all be well again: the same operation answers 200, with the same result as ever."""
        self.cue = Cue()
        self.server.heal()
        result = self.cancel()
        self.check(result, replayed=replayed)

    def check(self, result: CancelResult, *, replayed: bool = False) -> None:
        """Check that the answer is right, the state is what it says, and nothing is left."""
        assert (result.contacts_cancelled, result.replayed) == (5, replayed)
        assert result.redis_job_cancelled
        assert self.state() == CANCELLED
        self.reconcile()
        assert self.waiting() == set()

    def reconcile(self) -> list[CancelResult]:
        """Finish what cancellations still owe."""
        options: dict[str, Any] = {"scheduler": self.scheduler, "lease": timedelta(0)}
        if self.runner is not None:
            uow = self._uow(AsyncPostgresUnitOfWork)
            return self.runner.run(reconcile_async(uow=uow, **options))
        return reconcile(uow=self._uow(PostgresUnitOfWork), **options)

    def waiting(self) -> set[str]:
        """Return the deferred starts that wait."""
        return set(self.scheduler.waiting())

    def state(self) -> tuple[str, list[str], tuple[str, int] | None]:
        """Return the job's status, the contacts', and the record, as committed."""
        with psycopg.connect(self.dsn) as connection:
            [(status,)] = connection.execute("SELECT status FROM batch_jobs").fetchall()
            contacts = connection.execute("SELECT status FROM batch_contacts ORDER BY id")
            statuses = [contact for (contact,) in contacts.fetchall()]
            record = connection.execute(
                "SELECT operation_id, contacts_cancelled FROM batch_cancellations"
            ).fetchone()
        return status, statuses, record

    def execute(self, query: str) -> None:
        """Change the schema, or what is in it, behind the library's back."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(query.encode())

    def terminate(self) -> None:
        """Let Postgres end the connections of the cancel (57P01)."""
        self._each_backend("pg_terminate_backend(pid, 10000)")

    def stop_query(self) -> None:
        """Let Postgres stop what the cancel is at (57014)."""
        self._each_backend("pg_cancel_backend(pid)")

    def once_blocked(self, event: str, action: Action) -> None:
        """Act from another thread, once somebody waits for this on the server."""
        self.meanwhile(lambda: self._strike(event, action, lambda: None))

    def pid_waits(self, event: str) -> bool:
        """Check whether a connection of the cancel waits for this."""
        return bool(
            self.server.query(
                sql.SQL(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'cancel' AND wait_event = {}"
                ).format(event)
            )
        )

    def _uow(self, kind: type[Any]) -> Any:
        connect = self._connect_async if self.runner else self._connect
        options = {"lock_timeout": PATIENT, "statement_timeout": PATIENT} | self.options
        uow = kind(connect, **options)
        return AsyncSpied(self, uow) if self.runner else Spied(self, uow)

    @contextmanager
    def _connect(self) -> Generator[Any]:
        self._about_to_connect()
        with self._new_connection(psycopg.Connection) as connection:
            self.cue.reached(Step.BEGIN)
            yield connection

    @asynccontextmanager
    async def _connect_async(self) -> AsyncGenerator[Any]:
        self._about_to_connect()
        source = self._new_connection(psycopg.AsyncConnection)
        async with source if hasattr(source, "__aenter__") else await source as connection:
            self.cue.reached(Step.BEGIN)
            yield connection

    def _new_connection(self, kind: type[Any]) -> Any:
        if self.connect is not None:
            return self.connect()
        return kind.connect(self.dsn, application_name="cancel", connect_timeout=2)

    def _about_to_connect(self) -> None:
        self.connections += 1
        if self.cue.played:
            self._join()
            self.before_retry()
        self.cue.reached(Step.CONNECT)

    def _each_backend(self, what: LiteralString) -> None:
        # Of a pool's connections only those that are at work, if there are any.
        query = sql.SQL(
            "WITH ours AS (SELECT pid, xact_start IS NOT NULL AS busy FROM pg_stat_activity"
            " WHERE application_name = 'cancel') "
            "SELECT {} FROM ours WHERE busy OR NOT EXISTS (SELECT FROM ours WHERE busy)"
        ).format(sql.SQL(what))
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            connection.execute(query)

    def _shut_gate(self) -> Action:
        """
        Let COMMIT wait for a lock before it commits.

        A deferred trigger of a table of ours runs before the outcome is looked at. So one that
        does puts off another, which runs in the COMMIT.
        """
        self.execute(
            "CREATE TABLE IF NOT EXISTS gates (number int);"
            "CREATE OR REPLACE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;"
            "CREATE OR REPLACE FUNCTION shut() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN SET CONSTRAINTS gate DEFERRED; INSERT INTO gates VALUES (1); "
            "RETURN NULL; END $$;"
            "CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON gates "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pass();"
            "CREATE CONSTRAINT TRIGGER shut AFTER INSERT ON batch_cancellations "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shut()"
        )
        keeper = psycopg.connect(self.dsn, autocommit=True)
        keeper.execute("SELECT pg_advisory_lock(1)")
        self.stack.callback(keeper.close)
        return keeper.close

    def _lose_standby(self) -> Action:
        """Let COMMIT wait, once it has committed, for a standby that there is not."""
        try:
            self.server.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            self.server.query("SELECT pg_reload_conf()")
            wait_until(self._commit_waits, "commits wait for the standby")
        finally:
            # From the next start or reload on nobody waits; until then we don't either.
            self.server.query("SET synchronous_commit = local")
            self.server.query("ALTER SYSTEM RESET synchronous_standby_names")
            self.stack.callback(self._reload)
        return self._reload

    def _reload(self) -> None:
        if self.server.process.running:
            self.server.query("SELECT pg_reload_conf()")

    def _commit_waits(self) -> bool:
        """Try a commit, and say whether it waits."""
        trial = psycopg.connect(self.server.dsn(), autocommit=True)
        try:
            trial.pgconn.send_query(b"SELECT pg_logical_emit_message(true, '', '')")
            pid = trial.info.backend_pid
            state = sql.SQL(
                "SELECT coalesce(wait_event, state) FROM pg_stat_activity WHERE pid = {}"
            ).format(pid)
            ends = {"SyncRep", "ClientRead", "idle"}
            wait_until(lambda: self.server.query(state) in ends, "the trial waits or is done")
            waits = bool(self.server.query(state) == "SyncRep")
            self.server.query(sql.SQL("SELECT pg_terminate_backend({}, 5000)").format(pid))
        finally:
            trial.pgconn.finish()
        return waits

    def _strike(self, event: str, action: Action, done: Action) -> None:
        wait_until(lambda: self.pid_waits(event), f"the cancel waits for {event}")
        action()
        done()

    def meanwhile(self, action: Action) -> None:
        """Act from another thread."""

        def run() -> None:
            try:
                action()
            except BaseException as error:  # noqa: BLE001  # Raised by the test's own thread.
                self._errors.append(error)

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def _join(self) -> None:
        while self._threads:
            self._threads.pop().join()
        if self._errors:
            message = "what was to happen meanwhile did not"
            raise ServerError(message) from self._errors[0]


def seed(dsn: str) -> None:
    """Make the tables, with the one job in them."""
    with psycopg.connect(dsn) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status, scheduled_job_id) VALUES (%s, 'scheduled', %s)",
            [JOB, DEFERRED],
        )
        for before, _ in CONTACTS:
            connection.execute(
                "INSERT INTO batch_contacts (batch_job_id, status) VALUES (%s, %s)", [JOB, before]
            )


@contextmanager
def opened(server: PostgresServer, half: str, *, in_database: bool = False) -> Generator[Theatre]:
    """Open a theatre in a schema, or a database, of its own; the server is healed afterwards."""
    with server.database() if in_database else server.schema() as dsn:
        seed(dsn)
        with runner(half) as loop, ExitStack() as stack:
            yield Theatre(server, dsn, loop, stack=stack)


@contextmanager
def runner(half: str) -> Generator[asyncio.Runner | None]:
    """Yield an event loop to the asyncio half."""
    if half == "blocking":
        yield None
        return
    with asyncio.Runner() as runner:
        yield runner
