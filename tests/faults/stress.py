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
import multiprocessing
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, ClassVar, Final, TypeVar

import attrs
import psycopg

from batch_cancel import (
    AlreadyTerminal,
    ContactStatus,
    append_contacts,
    cancel_rows,
    claim_contacts,
    finish_job,
    settle_contact,
    start_job,
)
from batch_cancel.adapters.postgres import PostgresSchema, PostgresUnitOfWork, guards_ddl
from batch_cancel.domain.model import Job, JobKey
from tests.pairs import create_reference_tables
from tests.servers import PostgresServer

_T = TypeVar("_T")

WORKERS: Final = 16
WAITING_WORKERS: Final = 4
"""How many of them wait for the cancel's answer, and then claim once more."""

BATCH: Final = 25
"""So many rounds are prepared, and looked at, together."""

SETTINGS: Final = {"track_commit_timestamp": "on", "max_connections": "100"}

RETRYABLE: Final = ("no_answer", "busy", "timeout", "queued")
FINAL: Final = ("completed", "failed")

LOG: Final = """
CREATE TABLE calls (job_id text, contact_id bigint, xid xid);
CREATE TABLE answers (job_id text PRIMARY KEY, answered_at timestamptz);
CREATE FUNCTION log_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO calls VALUES (NEW.batch_job_id, NEW.id, pg_current_xact_id()::xid);
    RETURN NULL;
END
$$;
CREATE TRIGGER log_call AFTER UPDATE ON batch_contacts FOR EACH ROW
WHEN (NEW.status = 'dialing' AND OLD.status IS DISTINCT FROM 'dialing')
EXECUTE FUNCTION log_call();
"""

CHECKS: Final[Mapping[str, str]] = {
    "calls started after the 200": """
        SELECT job_id FROM calls JOIN answers USING (job_id)
        WHERE pg_xact_commit_timestamp(calls.xid) > answered_at
    """,
    "calls started after the cancel's commit": """
        SELECT calls.job_id FROM calls JOIN batch_cancellations AS record
        ON record.batch_job_id = calls.job_id
        WHERE pg_xact_commit_timestamp(calls.xid) > pg_xact_commit_timestamp(record.xmin)
    """,
    "open contacts left at rest": """
        SELECT batch_job_id FROM batch_contacts JOIN answers ON job_id = batch_job_id
        WHERE status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')
    """,
    "cancelled jobs that did not stay so": """
        SELECT job_id FROM answers JOIN batch_jobs ON id = job_id WHERE status <> 'cancelled'
    """,
    "completed jobs with work left": """
        SELECT batch_job_id FROM batch_contacts
        JOIN batch_jobs AS job ON job.id = batch_job_id AND job.status = 'completed'
        WHERE batch_contacts.status
              IN ('pending', 'queued', 'no_answer', 'busy', 'timeout', 'dialing')
    """,
    "live calls at rest": "SELECT batch_job_id FROM batch_contacts WHERE status = 'dialing'",
}
"""What must give no row once a round is at rest: the numbers of the jobs that break a promise."""


@contextmanager
def _lent(connection: psycopg.Connection[Any]) -> Generator[psycopg.Connection[Any]]:
    yield connection


class Steps:
    """The steps as the library does them, over one connection."""

    call_seconds: ClassVar[float] = 0
    """How long a call takes at least."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.uow = PostgresUnitOfWork(lambda: _lent(connection))

    def start(self, job: str) -> bool:
        """Start the job."""
        return start_job(job, uow=self.uow)

    def claim(self, job: str, limit: int) -> list[str]:
        """Take contacts to dial."""
        return claim_contacts(job, uow=self.uow, limit=limit)

    def settle(self, job: str, contact: str, outcome: str) -> str | None:
        """End a call."""
        return settle_contact(job, contact, ContactStatus(outcome), uow=self.uow)

    def append(self, job: str) -> bool:
        """Add a contact; False if the job was ended."""
        try:
            return append_contacts(job, [{}], uow=self.uow) == 1
        except AlreadyTerminal:
            return False

    def finish(self, job: str) -> bool:
        """Complete the job."""
        return finish_job(job, uow=self.uow)

    def cancel(self, job: str) -> str:
        """Cancel the job; return the status that it was cancelled from, or had ended in."""
        try:
            return f"cancelled from {cancel_rows(job, uow=self.uow).record.previous_status}"
        except AlreadyTerminal as refusal:
            return f"found {refusal.status}"

    def _status(self, job: str) -> str:
        rows = self.connection.execute("SELECT status FROM batch_jobs WHERE id = %s", [job])
        ((status,),) = rows.fetchall()
        return str(status)


def _repeated(step: Callable[[], _T]) -> _T:
    """Do a step again when Postgres has ended it to solve a deadlock, as every worker should."""
    while True:
        try:
            return step()
        except psycopg.errors.DeadlockDetected:
            continue


class StartWithoutCompareAndSet(Steps):
    """Looks, then starts."""

    def start(self, job: str) -> bool:
        """Start the job."""
        if self._status(job) not in {"scheduled", "pending"}:
            return False
        self.connection.execute("UPDATE batch_jobs SET status = 'running' WHERE id = %s", [job])
        return True


class SettleWithoutLock(Steps):
    """Reads the job's status, then writes the contact's."""

    def settle(self, job: str, contact: str, outcome: str) -> str | None:
        """End a call."""
        return _repeated(lambda: self._settle(job, contact, outcome))

    def _settle(self, job: str, contact: str, outcome: str) -> str | None:
        with self.connection.transaction():
            if outcome in RETRYABLE and self._status(job) == "cancelled":
                outcome = "cancelled"
            rows = self.connection.execute(
                "UPDATE batch_contacts SET status = %s WHERE id = %s AND status = 'dialing' "
                "RETURNING status",
                [outcome, contact],
            ).fetchall()
        return str(rows[0][0]) if rows else None


class SettleBySubselect(Steps):
    """Does it in one statement, which reads the job from before a cancel that it waits for."""

    def settle(self, job: str, contact: str, outcome: str) -> str | None:
        """End a call."""
        if outcome not in RETRYABLE:
            return super().settle(job, contact, outcome)
        return _repeated(lambda: self._settle(job, contact, outcome))

    def _settle(self, job: str, contact: str, outcome: str) -> str | None:
        rows = self.connection.execute(
            "UPDATE batch_contacts SET status = CASE "
            "(SELECT status FROM batch_jobs WHERE id = %s) WHEN 'cancelled' THEN 'cancelled' "
            "ELSE %s END WHERE id = %s AND status = 'dialing' RETURNING status",
            [job, outcome, contact],
        ).fetchall()
        return str(rows[0][0]) if rows else None


class AppendByPlainInsert(Steps):
    """Looks, then adds; the foreign key does not help."""

    def append(self, job: str) -> bool:
        """Add a contact; False if the job was ended."""
        if self._status(job) in {"completed", "failed", "cancelled"}:
            return False
        self.connection.execute("INSERT INTO batch_contacts (batch_job_id) VALUES (%s)", [job])
        return True


class CancelWithoutLock(Steps):
    """Cancels the contacts, then the job, and locks nothing before."""

    def cancel(self, job: str) -> str:
        """Cancel the job; return the status that it was cancelled from, or had ended in."""
        # Contacts first, the job second, is the wrong order: it does meet deadlocks.
        return _repeated(lambda: self._cancel(job))

    def _cancel(self, job: str) -> str:
        with self.connection.transaction():
            status = self._status(job)
            if status in {"completed", "failed", "cancelled"}:
                return f"found {status}"
            self.connection.execute(
                "UPDATE batch_contacts SET status = 'cancelled' WHERE batch_job_id = %s "
                "AND status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')",
                [job],
            )
            self.connection.execute(
                "UPDATE batch_jobs SET status = 'cancelled' WHERE id = %s", [job]
            )
        return f"cancelled from {status}"


class FinishInOneStatement(Steps):
    """Compares and sets, but waits for an append with the eyes shut."""

    def finish(self, job: str) -> bool:
        """Complete the job."""
        return (
            self.connection.execute(
                "UPDATE batch_jobs SET status = 'completed' WHERE id = %s AND status = 'running' "
                "AND NOT EXISTS (SELECT FROM batch_contacts WHERE batch_job_id = %s AND status "
                "IN ('pending', 'queued', 'no_answer', 'busy', 'timeout', 'dialing'))",
                [job, job],
            ).rowcount
            == 1
        )


class Naive(StartWithoutCompareAndSet, SettleWithoutLock, AppendByPlainInsert):
    """
    Does everything wrong that a worker can do wrong, for the triggers to repair.

    Its calls take longer than a cancel, as calls do. One that is claimed while the cancel is
    changing the contacts, and has ended before it is done, meets the cancel in a deadlock: the
    trigger can't lock the job before the contact. Postgres solves it, and both try again.
    """

    call_seconds = 0.05

    def append(self, job: str) -> bool:
        """Add a contact; False if the job was ended."""
        return _repeated(lambda: super(Naive, self).append(job))


PLANTS: Final[Mapping[str, type[Steps]]] = {
    "start-without-compare-and-set": StartWithoutCompareAndSet,
    "settle-without-lock": SettleWithoutLock,
    "settle-by-subselect": SettleBySubselect,
    "append-by-plain-insert": AppendByPlainInsert,
    "cancel-without-lock": CancelWithoutLock,
    "finish-in-one-statement": FinishInOneStatement,
}


@attrs.define
class Found:
    """
    What a run has found.

    Arguments:
        rounds: how many were played.
        seconds: how long they took, without the server's start.
        wrong: how many rounds broke each promise.
        first: the first round that broke any, counted from 1; None if none did.
        seen: how often each interesting thing happened.
        deadlocks: how many Postgres has counted.
        errors: what steps raised that they may not raise.
    """

    rounds: int = 0
    seconds: float = 0.0
    wrong: Counter[str] = attrs.field(factory=Counter)
    first: int | None = None
    seen: Counter[str] = attrs.field(factory=Counter)
    deadlocks: int = 0
    errors: list[str] = attrs.field(factory=list)

    @property
    def is_right(self) -> bool:
        """Whether every promise was kept."""
        return not self.wrong and not self.deadlocks and not self.errors


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
        self._connection.execute(LOG)
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
            "TRUNCATE batch_jobs, batch_contacts, batch_cancellations, calls, answers"
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


# How long a cancel waits for the job -------------------------------------------------------------


@attrs.frozen
class _TimedJobs:
    jobs: Any
    waits: list[float]

    def lock(self, key: JobKey) -> Job | None:
        began = time.perf_counter()
        job: Job | None = self.jobs.lock(key)
        self.waits.append(time.perf_counter() - began)
        return job

    def mark_cancelled(self, *arguments: Any) -> None:
        self.jobs.mark_cancelled(*arguments)


@attrs.define
class _TimedRepositories:
    jobs: _TimedJobs
    contacts: Any
    outbox: Any
    inspection: Any
    work: Any


@attrs.frozen
class _TimedUnitOfWork:
    uow: PostgresUnitOfWork
    waits: list[float] = attrs.field(factory=list)

    @contextmanager
    def begin(self) -> Generator[_TimedRepositories]:
        with self.uow.begin() as it:
            yield _TimedRepositories(
                _TimedJobs(it.jobs, self.waits), it.contacts, it.outbox, it.inspection, it.work
            )


def _hammer_for_ever(dsn: str, current: Any, index: int) -> None:
    lots = random.Random(index)  # noqa: S311  # Repeatable, no secret.
    with psycopg.connect(dsn, autocommit=True) as connection:
        steps = Steps(connection)
        while (number := current.value) >= 0:
            job = f"job-{number}"
            for contact in steps.claim(job, 1):
                steps.settle(job, contact, lots.choice(RETRYABLE))
            if lots.random() < 0.2:
                steps.append(job)
            steps.finish(job)


def lock_waits(dsn: str, cancels: int, workers: int) -> list[float]:
    """Cancel jobs that so many processes hammer; give the seconds that each waited for its job."""
    context = multiprocessing.get_context("spawn")
    current = context.Value("i", 0)
    with psycopg.connect(dsn, autocommit=True) as connection:
        create_reference_tables(connection)
        connection.execute(
            "INSERT INTO batch_jobs (id, status) "
            "SELECT 'job-' || n, 'running' FROM generate_series(0, %s) AS n",
            [cancels],
        )
        connection.execute(
            "INSERT INTO batch_contacts (batch_job_id) "
            "SELECT id FROM batch_jobs, generate_series(1, 100)"
        )
        processes = [
            context.Process(target=_hammer_for_ever, args=(dsn, current, index))
            for index in range(workers)
        ]
        for process in processes:
            process.start()
        time.sleep(2 if workers else 0)
        uow = _TimedUnitOfWork(PostgresUnitOfWork(lambda: _lent(connection)))
        try:
            for number in range(cancels):
                time.sleep(0.03)
                cancel_rows(f"job-{number}", uow=uow)
                current.value = number + 1
        finally:
            current.value = -1
            for process in processes:
                process.join()
    return sorted(uow.waits)


# The command -------------------------------------------------------------------------------------


@contextmanager
def own_schema(*, fsync: bool = False) -> Generator[str]:
    """Lend a schema on a server of our own."""
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer.own(fsync=fsync, settings=SETTINGS))
        lent: AbstractContextManager[str] = server.schema()
        yield stack.enter_context(lent)


def table(found: Found) -> str:
    """Give what was found as a table."""
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
        steps = PLANTS[options.plant] if options.plant else Steps
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
