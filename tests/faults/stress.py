"""
Sixteen workers hammer one job on real Postgres while a cancel arrives; then the next job.

    python -m tests.faults.stress --rounds 10000            # prints a table
    python -m tests.faults.stress --rounds 300 --plant settle-without-lock
    python -m tests.faults.stress --lock-waits 1000         # how long a cancel waits for the job

After each round everything is at rest, and what is in the database is looked at. What counts as
started is not what a worker believes: a trigger of the test's own writes down the transaction of
every contact that becomes dialing, and Postgres itself tells when that transaction was committed
(`track_commit_timestamp`). The answer's time is read from the same clock after the answer.

A check that never fails proves nothing: with `--plant`, one step is done wrong, as workers are
written everywhere, and the run must find it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final

import attrs
import psycopg

from batch_cancel.adapters.postgres import PostgresSchema, guards_ddl
from tests.faults.stress_findings import CHECKS, Found
from tests.faults.stress_waits import lock_waits
from tests.faults.stress_workers import PLANTS, RETRYABLE, Steps, Sweeping
from tests.pairs import create_reference_tables
from tests.servers import PostgresServer

WORKERS: Final = 16
WAITING_WORKERS: Final = 4
"""How many of them wait for the cancel's answer, and then claim once more."""

BATCH: Final = 25
"""So many rounds are prepared, and looked at, together."""

SETTINGS: Final = {"track_commit_timestamp": "on", "max_connections": "100"}


FINAL: Final = ("completed", "failed")

LOG: Final = """
CREATE TABLE calls (job_id text, contact_id bigint, xid xid);
CREATE TABLE answers (job_id text PRIMARY KEY, answered_at timestamptz);
CREATE TABLE cancels (job_id text);
CREATE FUNCTION log_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO calls VALUES (NEW.batch_job_id, NEW.id, pg_current_xact_id()::xid);
    RETURN NULL;
END
$$;
CREATE TRIGGER log_call AFTER UPDATE ON batch_contacts FOR EACH ROW
WHEN (NEW.status = 'dialing' AND OLD.status IS DISTINCT FROM 'dialing')
EXECUTE FUNCTION log_call();
CREATE FUNCTION log_cancel() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO cancels VALUES (NEW.batch_job_id);
    RETURN NULL;
END
$$;
CREATE TRIGGER log_cancel AFTER UPDATE ON batch_contacts FOR EACH ROW
WHEN (NEW.status = 'cancelled' AND OLD.status <> 'dialing')
EXECUTE FUNCTION log_cancel();
"""
LOG_BEFORE: Final = LOG.replace("AFTER", "BEFORE").replace("RETURN NULL", "RETURN NEW")
"""With a trigger that runs after its row, a job is cancelled in one transaction always."""


@attrs.define
class Round:
    """One job to hammer, and what is agreed about it."""

    number: int
    job: str
    kind: str
    dialing: list[str]
    answered: threading.Event = attrs.field(factory=threading.Event)


class Stress:
    """
    One run: threads with a connection each, that meet at a barrier before every round.

    Arguments:
        dsn: a schema of the run's own, on a server with `track_commit_timestamp`.
        steps: how the steps are done.
        seed: what the lots are drawn from.
        guards: whether the triggers of `batch-cancel schema --guards` are installed.
    """

    def __init__(
        self, dsn: str, steps: type[Steps] = Steps, *, seed: int = 0, guards: bool = False
    ) -> None:
        self._dsn = dsn
        self._steps = steps
        self._seed = seed
        self._found = Found()
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(WORKERS + 1)
        self._pace_seconds = 0.01
        self._rounds: list[Round] = []
        self._connection = psycopg.connect(dsn, autocommit=True)
        create_reference_tables(self._connection)
        self._connection.execute((LOG if steps.sweep_above is None else LOG_BEFORE).encode())
        if guards:
            install_guards(self._connection)

    def run(self, rounds: int, *, seconds_max: float = 3600, stop_at_first: bool = False) -> Found:
        """Play so many rounds, or as many as fit in the time."""
        began = time.monotonic()
        deadlocks = self._deadlocks()
        while self._found.rounds < rounds and time.monotonic() - began < seconds_max:
            self._play(min(BATCH, rounds - self._found.rounds))
            if stop_at_first and self._found.first is not None:
                break
        self._found.seconds = time.monotonic() - began
        self._found.deadlocks = self._deadlocks() - deadlocks
        self._connection.close()
        return self._found

    def _play(self, count: int) -> None:
        self._rounds = self._prepared(count)
        threads = [
            threading.Thread(target=self._guarded, args=(self._work, index))
            for index in range(WORKERS)
        ]
        threads.append(threading.Thread(target=self._guarded, args=(self._cancel, WORKERS)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._look()
        self._found.rounds += count

    def _prepared(self, count: int) -> list[Round]:
        first = self._found.rounds + 1
        lots = random.Random(f"{self._seed} {first}")  # noqa: S311  # Repeatable, no secret.
        self._connection.execute(
            "TRUNCATE batch_jobs, batch_contacts, batch_cancellations, calls, answers, cancels"
        )
        return [
            self._seeded(number, lots.choice(("scheduled", "running", "running", "draining")))
            for number in range(first, first + count)
        ]

    def _seeded(self, number: int, kind: str) -> Round:
        job = f"job-{number}"
        pending, dialing = {"scheduled": (6, 0), "running": (4, 10), "draining": (0, 1)}[kind]
        rows = self._connection.execute(
            "WITH job AS (INSERT INTO batch_jobs (id, status) VALUES (%(job)s, %(status)s)) "
            "INSERT INTO batch_contacts (batch_job_id, status) SELECT %(job)s, "
            "CASE WHEN n <= %(dialing)s THEN 'dialing' ELSE 'pending' END "
            "FROM generate_series(1, %(contacts)s) AS n ORDER BY n RETURNING id::text, status",
            {
                "job": job,
                "status": "scheduled" if kind == "scheduled" else "running",
                "dialing": dialing,
                "contacts": pending + dialing,
            },
        )
        return Round(number, job, kind, [id_ for id_, status in rows if status == "dialing"])

    def _guarded(self, play: Callable[[Steps, int], None], index: int) -> None:
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                play(self._steps(connection), index)
        except Exception as error:  # noqa: BLE001  # A step may raise nothing of the kind.
            with self._lock:
                self._found.errors.append(f"{type(error).__name__}: {error}")
            self._barrier.abort()  # And nobody may wait for an answer that never comes.
            for current in self._rounds:
                current.answered.set()

    def _cancel(self, steps: Steps, index: int) -> None:
        lots = random.Random(f"{self._seed} {self._found.rounds} {index}")  # noqa: S311
        for current in self._rounds:
            self._barrier.wait()
            began = time.monotonic()
            self._wait_a_little(current, lots)
            answer = steps.cancel(current.job)
            if answer.startswith("cancelled"):
                # The clock is read after the answer, so that whatever is committed later than
                # this was certainly committed after it.
                steps.connection.execute(
                    "INSERT INTO answers VALUES (%s, clock_timestamp())", [current.job]
                )
            current.answered.set()
            self._saw(f"cancel of a {current.kind} job: {answer}")
            self._barrier.wait()
            self._pace_seconds += 0.05 * (time.monotonic() - began - self._pace_seconds)

    def _work(self, steps: Steps, index: int) -> None:
        lots = random.Random(f"{self._seed} {self._found.rounds} {index}")  # noqa: S311
        for current in self._rounds:
            self._barrier.wait()
            try:
                self._hammer(steps, current, index, lots)
                if index < WAITING_WORKERS:
                    self._claim_after_the_answer(steps, current)
            finally:
                self._barrier.wait()

    def _hammer(self, steps: Steps, current: Round, index: int, lots: random.Random) -> None:
        if current.kind == "scheduled" and index % 8 == 0:
            self._wait_a_little(current, lots)
            self._saw(f"start: {steps.start(current.job)}")
        if index < len(current.dialing):
            final = current.kind == "draining"
            outcome = lots.choice(FINAL if final else (*RETRYABLE, *FINAL))
            self._settle(steps, current.job, current.dialing[index], outcome)
        if current.kind == "draining":  # The job is about done when somebody adds to it.
            if lots.random() < 0.2:
                self._saw(f"append: {steps.append(current.job)}")
            else:
                self._saw(f"finish: {steps.finish(current.job)}")
            return
        match lots.randrange(5):
            case 0 | 1:
                for contact in steps.claim(current.job, lots.randint(1, 2)):
                    self._saw("contact claimed")
                    time.sleep(steps.call_seconds)
                    self._settle(steps, current.job, contact, lots.choice((*RETRYABLE, *FINAL)))
            case 2:
                if current.kind != "draining" or lots.random() < 0.5:
                    self._saw(f"append: {steps.append(current.job)}")
            case _:
                self._saw(f"finish: {steps.finish(current.job)}")

    def _wait_a_little(self, current: Round, lots: random.Random) -> None:
        # The cancels arrive at any moment of a round, whatever the machine's pace; where a start
        # or a finish is raced, they arrive early, with those.
        part = {"scheduled": 0.2, "draining": 0.6, "running": 1}[current.kind]
        time.sleep(lots.uniform(0, part * self._pace_seconds))

    def _settle(self, steps: Steps, job: str, contact: str, outcome: str) -> None:
        written = steps.settle(job, contact, outcome)
        kind = "to be retried" if outcome in RETRYABLE else "final"
        self._saw(f"call ended {kind}: {'kept' if written == outcome else written}")

    def _claim_after_the_answer(self, steps: Steps, current: Round) -> None:
        current.answered.wait()
        claimed = steps.claim(current.job, 2)
        self._saw("claim after the answer")
        if claimed:
            self._mark("contacts claimed after the answer", current.number)
        for contact in claimed:
            steps.settle(current.job, contact, "completed")

    def _look(self) -> None:
        for promise, query in CHECKS.items():
            broken = {job for (job,) in self._connection.execute(query.encode())}
            for job in broken:
                self._mark(promise, int(job.removeprefix("job-")))

    def _mark(self, promise: str, number: int) -> None:
        with self._lock:
            self._found.wrong[promise] += 1
            self._found.first = min(number, self._found.first or number)

    def _saw(self, what: str) -> None:
        with self._lock:
            self._found.seen[what] += 1

    def _deadlocks(self) -> int:
        time.sleep(0.2)  # A backend tells its numbers when it ends, which may take a moment.
        self._connection.execute("SELECT pg_stat_clear_snapshot()")
        ((count,),) = self._connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchall()
        return int(count)


def install_guards(connection: psycopg.Connection[Any]) -> None:
    """Run what `batch-cancel schema --guards` adds."""
    connection.execute(guards_ddl(PostgresSchema()).encode())


# The command -------------------------------------------------------------------------------------


@contextmanager
def own_schema(*, fsync: bool = False) -> Generator[str]:
    """Yield a schema on a server of our own."""
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer.own(fsync=fsync, settings=SETTINGS))
        lent: AbstractContextManager[str] = server.schema()
        yield stack.enter_context(lent)


def table(found: Found) -> str:
    """Return what was found as a table."""
    promises = {
        **dict.fromkeys(CHECKS, 0),
        "contacts claimed after the answer": 0,
        **found.wrong,
        "deadlocks": found.deadlocks,
        "errors": len(found.errors),
    }
    pace = found.rounds / found.seconds
    lines = [
        f"{found.rounds} rounds of {WORKERS} workers and a cancel, {pace:.1f} rounds/s",
        "",
        *(f"{count:>8}  {promise}" for promise, count in promises.items()),
        "",
        "seen:",
        *(f"{count:>8}  {what}" for what, count in sorted(found.seen.items())),
        *found.errors[:5],
    ]
    return "\n".join(lines)


def main() -> int:
    """Run what the command line asks for; 0 if it came out as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.stress")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plant", choices=PLANTS, help="do one step wrong")
    parser.add_argument("--sweep", action="store_true", help="cancel jobs before their contacts")
    parser.add_argument("--guards", action="store_true", help="with the triggers installed")
    parser.add_argument("--lock-waits", type=int, metavar="CANCELS", help="measure that instead")
    parser.add_argument("--workers", type=int, default=8, help="of --lock-waits")
    parser.add_argument("--fsync", action="store_true", help="on a server that uses its disk")
    options = parser.parse_args()
    with own_schema(fsync=options.fsync) as dsn:
        if options.lock_waits:
            waits = [1000 * wait for wait in lock_waits(dsn, options.lock_waits, options.workers)]
            p99 = waits[int(len(waits) * 0.99)]
            sys.stdout.write(
                f"{len(waits)} cancels, {options.workers} hammering workers: the lock took "
                f"{statistics.median(waits):.2f} ms (median), {p99:.2f} ms (p99), "
                f"{waits[-1]:.2f} ms (longest)\n"
            )
            return 0
        plain = Sweeping if options.sweep else Steps
        steps = PLANTS[options.plant] if options.plant else plain
        stress = Stress(dsn, steps, seed=options.seed, guards=options.guards)
        found = stress.run(
            options.rounds,
            seconds_max=60 * options.minutes,
            stop_at_first=bool(options.plant),
        )
    sys.stdout.write(f"{table(found)}\n")
    if options.plant:
        sys.stdout.write(f"{options.plant}: caught in round {found.first}\n")
        return 0 if found.first is not None else 1
    return 0 if found.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
