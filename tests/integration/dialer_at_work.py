"""The dialer of the examples at work: its processes on real servers, which may be killed."""

from __future__ import annotations

import os
import random
import signal
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import redis

from batch_cancel import CancelResult, cancel_job
from batch_cancel.adapters.arq import ArqScheduler
from examples.dialer import tables
from tests.integration.command_line import COMMAND, as_url
from tests.pairs import PATIENCE, create_reference_tables
from tests.processes import ServerProcess, run_as, scratch_folder, wait_until
from tests.schedulers.rig import python_of

ROOT: Final = Path(__file__).parents[2]
LONGEST_CALL_SECONDS: Final = 1
WORKERS: Final = ("worker-1", "worker-2")
OTHERS: Final = ("reconcile", "arq")

# arq's environment lacks Postgres' driver, which is added last: arq keeps its own redis-py.
BESIDE_ARQ: Final = (
    f"import asyncio, sys; sys.path.append({sysconfig.get_path('purelib')!r}); "
    "from examples.dialer.starts import WorkerSettings, schedule; "
)
_ARQ_WORKER: Final = (
    f"{BESIDE_ARQ}from arq import run_worker; "
    "asyncio.set_event_loop(asyncio.new_event_loop()); run_worker(WorkerSettings)"
)
_ARQ_CLIENT: Final = f"""{BESIDE_ARQ}
from arq import create_pool
from datetime import UTC, datetime, timedelta
async def main():
    pool = await create_pool(WorkerSettings.redis_settings)
    for job_id in sys.argv[2:]:
        at = datetime.now(UTC) + timedelta(seconds=float(sys.argv[1]))
        await schedule(pool, job_id, at)
    await pool.aclose()
asyncio.run(main())
"""


class Dialer:
    """The dialer's processes and its tables. Whoever makes it leaves it, and all of them end."""

    def __init__(self, dsn: str, redis_url: str) -> None:
        self.dsn = dsn
        self._stack = ExitStack()
        self.rows = self._stack.enter_context(psycopg.connect(dsn, autocommit=True))
        create_reference_tables(self.rows)
        self.rows.execute((ROOT / "examples/dialer/tables.sql").read_bytes())
        self.redis = self._stack.enter_context(redis.Redis.from_url(redis_url))
        self.uow = tables.unit_of_work(lambda: psycopg.connect(dsn))
        self._environment = [
            "env",
            f"PYTHONPATH={ROOT / 'src'}{os.pathsep}{ROOT}",
            f"DIALER_STORE={dsn}",
            f"DIALER_REDIS={redis_url}",
            f"DIALER_LONGEST_CALL={LONGEST_CALL_SECONDS}",
        ]
        reconcile = ("--store", as_url(dsn), "--scheduler", f"arq+{redis_url}", "--lease", "1")
        names = ("--schema", "examples.dialer.tables:schema")
        work = [sys.executable, "-W", "error", "-m", "examples.dialer.worker"]
        commands: dict[str, list[str]] = {
            **dict.fromkeys(WORKERS, work),
            "reconcile": [*COMMAND, "reconcile", *reconcile, *names, "--loop", "0.2"],
            "arq": [str(python_of("arq")), "-c", _ARQ_WORKER],
        }
        self.processes = {
            name: ServerProcess(
                [*self._environment, *command], self._stack.enter_context(scratch_folder())
            )
            for name, command in commands.items()
        }
        self.cancelled_at = dict[str, Any]()
        """By job, the moment at which its cancel had answered, by the database's clock."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.end()
        self._stack.close()

    def start(self, *names: str) -> None:
        """Start processes."""
        for name in names:
            self.processes[name].spawn()

    def end(self, name: str, how: signal.Signals) -> None:
        """End a process; one that is asked to stop does so by itself, without an error."""
        process = self.processes[name]
        assert process.running, process.log()
        if how == signal.SIGKILL:
            process.kill()
            return
        running = process._process
        assert running is not None
        process.stop(how)
        if name == "arq" and "asyncio.exceptions.CancelledError" in process.log():
            return  # So arq ends if it is asked while it reads a job; that start fires later.
        # It was asked before it could listen, or it has ended its work; it was not killed.
        assert running.returncode in {-how, 0}, (name, running.returncode, process.log())
        assert "Traceback" not in process.log(), process.log()

    def add_job(
        self, job_id: str, contacts: int, status: str = "pending", organization: str | None = None
    ) -> None:
        """Add a job."""
        self.rows.execute(
            "INSERT INTO batch_jobs (id, status, organization_id) VALUES (%s, %s, %s)",
            [job_id, status, organization],
        )
        self.rows.execute(
            "INSERT INTO batch_contacts (batch_job_id, phone) "
            "SELECT %s, %s || number FROM generate_series(1, %s) number",
            [job_id, f"{job_id}-", contacts],
        )

    def schedule(self, seconds: float, *job_ids: str) -> None:
        """Schedule the starts of jobs, as a program beside arq does."""
        self.run_beside_arq(_ARQ_CLIENT, str(seconds), *job_ids)

    def run_beside_arq(self, program: str, *arguments: str) -> None:
        """Run a program where arq is installed; raise ServerError if it fails."""
        command = [str(python_of("arq")), "-c", program, *arguments]
        run_as(None, [*self._environment, *command], ROOT)

    def cancel(self, job_id: str) -> CancelResult:
        """Cancel a job, and note when it had answered."""
        scheduler = ArqScheduler(self.redis, budget=PATIENCE)
        [organization] = self.one("SELECT organization_id FROM batch_jobs WHERE id = %s", job_id)
        result = cancel_job(
            job_id, uow=self.uow, scheduler=scheduler, organization_id=organization
        )
        [self.cancelled_at[job_id]] = self.one("SELECT clock_timestamp()")
        return result

    def one(self, query: str, *values: object) -> Any:
        """Return the first row of a query."""
        return self.rows.execute(query.encode(), values).fetchone()

    def status(self, job_id: str) -> str:
        """Return a job's status."""
        return str(self.one("SELECT status FROM batch_jobs WHERE id = %s", job_id)[0])

    def calls(self, job_id: str) -> int:
        """Return how many calls of a job have begun."""
        return int(self.one("SELECT count(*) FROM calls WHERE phone LIKE %s", f"{job_id}-%")[0])

    def wait_for(self, job_id: str, *statuses: str) -> None:
        """Wait until a job has one of these statuses."""
        wait_until(lambda: self.status(job_id) in statuses, f"{job_id} is {statuses}")

    def wait_for_calls(self, job_id: str, number: int) -> None:
        """Wait until so many calls of a job have begun."""
        wait_until(lambda: self.calls(job_id) >= number, f"{number} calls of {job_id}")

    def complaints(self) -> list[str]:
        """Return what is wrong at rest, after every job has ended."""
        wrong = list[str]()
        for what, query in _WRONG.items():
            found = self.rows.execute(query.encode()).fetchall()
            wrong += [f"{what}: {row}" for row in found]
        for job_id, at in self.cancelled_at.items():
            [late] = self.one(
                "SELECT count(*) FROM batch_contacts "
                "WHERE batch_job_id = %s AND dialing_since > %s",
                job_id,
                at,
            )
            if late:
                wrong.append(f"{job_id}: {late} contacts claimed after the cancel had answered")
            [late] = self.one(
                "SELECT count(*) FROM calls WHERE phone LIKE %s AND began_at > %s",
                f"{job_id}-%",
                at,
            )
            if late > len(WORKERS):  # Each may have looked just before, and dial just after.
                wrong.append(f"{job_id}: {late} calls began after the cancel had answered")
        return wrong


_WRONG: Final = {
    "a call that has not ended": (
        "SELECT batch_job_id, id, dialing_since FROM batch_contacts WHERE status = 'dialing'"
    ),
    "an open contact of an ended job": (
        "SELECT job.id, contact.id, contact.status FROM batch_jobs job "
        "JOIN batch_contacts contact ON contact.batch_job_id = job.id "
        "WHERE job.status IN ('completed', 'cancelled') "
        "AND contact.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')"
    ),
    "a job that has not ended": (
        "SELECT id, status FROM batch_jobs WHERE status NOT IN ('completed', 'cancelled')"
    ),
    "a cancelled contact of a job that is not": (
        "SELECT job.id, contact.id FROM batch_jobs job "
        "JOIN batch_contacts contact ON contact.batch_job_id = job.id "
        "WHERE contact.status = 'cancelled' AND job.status != 'cancelled'"
    ),
    "more calls than attempts, or too many": (
        "SELECT phone, attempts, count(*) FROM batch_contacts JOIN calls USING (phone) "
        "GROUP BY phone, attempts HAVING count(*) > attempts OR count(*) > 3"
    ),
    "a removal that is pending": (
        "SELECT batch_job_id FROM batch_cancellations WHERE removal = 'pending'"
    ),
}


def at_random() -> float:
    """Return how long a process may work until the next one is killed."""
    return random.uniform(0.02, 0.5)  # noqa: S311  # No secret.
