"""
Kill a worker while it fires a start; see when another worker fires that start again, if ever.

    python -m tests.schedulers.killed [CASE ...]

The recipes of docs/libraries.md, with the changes of a case, are run by the libraries' programs.
All cases take three quarters of an hour, so `make schedulers` leaves them out.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

import attrs

from tests.docs.given import Home, home
from tests.docs.pages import ROOT, Block
from tests.processes import ServerProcess, scratch_folder, wait_until
from tests.schedulers.rig import python_of
from tests.schedulers.test_library_page import RECIPES, make_tables, schedule
from tests.servers import PostgresServer, RedisServer

_WIRING: Final = """
import pathlib, time
uow = None
def start_job(*_, **__):
    with pathlib.Path("fired").open("a") as file:
        file.write(f"{time.time()}\\n")
    time.sleep(30)
"""
_LATE: Final = """
app.conf.task_acks_late = True
app.conf.broker_transport_options = {"visibility_timeout": 60}

@app"""
_STALLED: Final = """
@app.periodic(cron="* * * * *")
@app.task(queueing_lock="stalled")
async def retry_stalled(timestamp):
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)

@app"""
_WORKERS: Final = {
    "apscheduler": "python -c 'import time, {it}; {it}.scheduler.start(); time.sleep(1e6)'",
    "arq": "arq {it}.WorkerSettings",
    "celery": "celery -A {it} worker --concurrency 1",
    "docket": "docket worker --tasks {it}:tasks --url {url}",
    "dramatiq": "dramatiq {it}",
    "huey": "huey_consumer {it}.huey",
    "procrastinate": "procrastinate --app {it}.app worker",
    "rq": "rq worker --with-scheduler --url {url}",
    "saq": "saq {it}.settings",
    "taskiq": "sh -c 'taskiq scheduler {it}:scheduler & exec taskiq worker {it}:broker'",
}
_RETRY: Final = {"import Queue": "import Queue, Retry", "job_id=": "retry=Retry(2), job_id="}
_STREAM: Final = {
    "ListQueue": "RedisStream",
    "ListQueueBroker(": "RedisStreamBroker(idle_timeout=20_000, url=",
}


@attrs.frozen
class Case:
    """A recipe, changes to its text, and how long to wait: before another worker, and for it."""

    library: str
    changes: Mapping[str, str] = {}
    pause: float = 0
    seconds: float = 150


CASES: Final = {name: Case(name) for name in _WORKERS} | {
    "arq": Case("arq", seconds=330),
    "celery, late": Case("celery", {"\n@app": _LATE}),
    "docket": Case("docket", seconds=420),
    "dramatiq, always": Case("dramatiq", {"(url": "(maintenance_chance=1_000_000, url"}),
    "procrastinate, stalled": Case("procrastinate", {"\n@app": _STALLED}),
    # RQ looks for dead workers when it begins, and then every ten minutes.
    "rq": Case("rq", pause=95),
    "rq, Retry": Case("rq", _RETRY, pause=95),
    "saq, retries": Case("saq", {"key=": "retries=3, key="}),
    "taskiq, stream": Case("taskiq", _STREAM),
}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedulers.killed")
    parser.add_argument("cases", nargs="*", choices=[*CASES, []])
    for name in parser.parse_args().cases or CASES:
        after = _measure(CASES[name])
        again = "not again" if after is None else f"again after {after:.0f} s"
        sys.stdout.write(f"{name:<24} {again}\n")
        sys.stdout.flush()


def _measure(case: Case) -> float | None:
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer.own())
        postgres = stack.enter_context(PostgresServer.own())
        folder = stack.enter_context(scratch_folder())
        at = stack.enter_context(home(postgres.dsn(), server.url(), folder))
        if case.library == "procrastinate":
            make_tables(at)
        tasks, starts, _ = (_changed(block, case.changes) for block in RECIPES[case.library])
        schedule(case.library, tasks, starts, at)
        (folder / "wiring.py").write_text(_WIRING)
        module = folder / f"{case.library}_starts.py"
        module.write_text(module.read_text().replace("import uow", "import start_job, uow"))
        worker = ServerProcess(_command(case.library, at), folder)
        stack.callback(worker.end)
        fired = folder / "fired"
        worker.spawn()
        wait_until(fired.exists, f"{case.library} fires the start")
        killed = time.time()
        worker.kill()
        time.sleep(case.pause)
        worker.spawn()
        until = killed + case.seconds
        while len(moments := fired.read_text().split()) < 2 and time.time() < until:
            time.sleep(0.1)
        worker.kill()
    return float(moments[1]) - killed if len(moments) > 1 else None


def _changed(block: Block, changes: Mapping[str, str]) -> Block:
    code = block.code.replace("timedelta(days=1)", "timedelta(seconds=10)")
    for theirs, ours in changes.items():
        code = code.replace(theirs, ours, 1)
    return attrs.evolve(block, code=code)


def _command(library: str, at: Home) -> list[str]:
    command = _WORKERS[library].format(url=at.url, it=f"{library}_starts")
    path = f"PATH={python_of(library).parent}:{os.environ['PATH']}"
    return ["env", path, f"PYTHONPATH={at.folder}:{ROOT / 'src'}", *shlex.split(command)]


if __name__ == "__main__":
    main()
