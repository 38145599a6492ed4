"""
kill -9: a real process cancels, or reconciles, and dies before or after each call of a port.

The victims come from a fork server, so that none of them costs the start of an interpreter. Each
opens its own connections, and kills itself: no handler runs, nothing is closed, nothing is said.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import attrs
import psycopg
import redis
import redis.asyncio

from batch_cancel import (
    Cancellation,
    JobKey,
    cancel_job,
    cancel_job_async,
    cancel_jobs,
    cancel_jobs_async,
    reconcile,
    reconcile_async,
    remove_deferred,
    remove_deferred_async,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from batch_cancel.adapters.sqlite import SqliteScheduler, SqliteStore
from batch_cancel.ports import AsyncScheduler, AsyncUnitOfWork, Scheduler, UnitOfWork
from tests.faults.counts import Tally, is_in_sample
from tests.faults.expected import (
    FULLY_CANCELLED,
    NOTHING_CHANGED,
    recovery_complaints,
    state_of,
)
from tests.faults.fault_kinds import Step
from tests.faults.injection import Plan, faulty, faulty_hook, faulty_hook_async
from tests.faults.points import Point
from tests.faults.scenarios import OURS, SCENARIOS, Scenario, Verb, small_slices
from tests.faults.setups import Lends, Stage
from tests.pairs import PATIENCE, PostgresTables, SqliteTables, World

GROUP: Final = "kill -9"
REPEATS: Final = 4

PLACES = (
    ("sqlite", "sqlite"),
    ("sqlite", "redis"),
    ("postgres", "redis"),
    ("postgres-async", "redis"),
)
DEADLY: Final = tuple(
    scenario
    for scenario in SCENARIOS
    if scenario.name in {"a scheduled job", "a cancel left unfinished"}
)

_DEATH_SECONDS_MAX: Final = 60.0


@attrs.frozen
class Place:
    """
    Where a process finds its store and its scheduler.

    Arguments:
        store: the store's name.
        scheduler: the scheduler's name.
        address: the store's file, or its connection string.
        redis_url: the Redis server's, or nothing.
        namespace: of the deferred starts.
        told: a file that the hook writes into.
    """

    store: str
    scheduler: str
    address: str
    redis_url: str
    namespace: str
    told: str

    @property
    def is_async(self) -> bool:
        """Whether it is worked in an event loop."""
        return self.store.endswith("-async")

    def uow(self) -> Any:
        """Open the store."""
        match self.store:
            case "sqlite":
                return SqliteStore(self.address)
            case "postgres":
                return PostgresUnitOfWork(lambda: psycopg.connect(self.address))
            case _:
                connect = psycopg.AsyncConnection.connect
                return AsyncPostgresUnitOfWork(lambda: connect(self.address))

    def client(self) -> Any:
        """Open the connection to the scheduler's server; None if it has none."""
        if self.scheduler == "sqlite":
            return None
        kind: Any = redis.asyncio.Redis if self.is_async else redis.Redis
        return kind.from_url(self.redis_url)

    def scheduler_on(self, client: Any) -> Any:
        """Open the scheduler."""
        if client is None:
            return SqliteScheduler(self.address)
        kind: Any = AsyncRedisScheduler if self.is_async else RedisScheduler
        return kind(client, namespace=self.namespace, budget=PATIENCE)


@attrs.frozen
class Death:
    """
    When a process dies.

    Arguments:
        number: at which call of a port.
        point: which one that is.
        step: before it or after it.
        is_late: whether the first transaction is committed by then.
    """

    number: int
    point: Point
    step: Step
    is_late: bool

    def __str__(self) -> str:
        return f"{self.step.value} call {self.number} {self.point}"


def victim(place: Place, job_id: str, verb: Verb, death: Death) -> None:
    """Cancel the job, or many with commas between them, or reconcile; die at that call."""

    def tap(number: int, step: Step) -> None:
        if (number, step) == (death.number, death.step):
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(result: Any) -> None:
        with Path(place.told).open("a") as file:
            file.write(f"{result.operation_id} of {result.batch_job_id}\n")

    plan = Plan(tap=tap)
    if place.is_async:
        asyncio.run(_act_async(place, job_id, verb, plan, tell))
        return
    given: dict[str, Any] = {
        "uow": faulty(UnitOfWork, place.uow(), plan),
        "scheduler": faulty(Scheduler, place.scheduler_on(place.client()), plan),
        "on_cancelled": faulty_hook(tell, plan),
    }
    if verb is Verb.RECONCILE:
        reconcile(**given, lease=timedelta(0))
    elif verb is Verb.REMOVE:
        with place.uow().begin() as repositories:
            record = repositories.outbox.find(JobKey(job_id))
        remove_deferred(Cancellation(record, replayed=False, joined=True), **given)
    elif verb is Verb.BULK:
        with small_slices():
            cancel_jobs(job_id.split(","), operation_id=OURS, **given)
    else:
        cancel_job(job_id, operation_id=OURS, **given)


async def _act_async(place: Place, job_id: str, verb: Verb, plan: Plan, tell: Any) -> None:
    given: dict[str, Any] = {
        "uow": faulty(AsyncUnitOfWork, place.uow(), plan),
        "scheduler": faulty(AsyncScheduler, place.scheduler_on(place.client()), plan),
        "on_cancelled": faulty_hook_async(tell, plan),
    }
    if verb is Verb.RECONCILE:
        await reconcile_async(**given, lease=timedelta(0))
    elif verb is Verb.REMOVE:
        async with place.uow().begin() as repositories:
            record = await repositories.outbox.find(JobKey(job_id))
        await remove_deferred_async(Cancellation(record, replayed=False, joined=True), **given)
    elif verb is Verb.BULK:
        with small_slices():
            await cancel_jobs_async(job_id.split(","), operation_id=OURS, **given)
    else:
        await cancel_job_async(job_id, operation_id=OURS, **given)


@contextmanager
def open_place(store: str, scheduler: str, lender: Lends) -> Generator[tuple[Place, Stage]]:
    """Open a place for victims, and a stage on which one looks at what they leave."""
    with ExitStack() as stack:
        folder = lender.getfixturevalue("tmp_path_factory").mktemp("kills")
        url, namespace, address = "", "none", str(folder / "jobs.sqlite")
        if scheduler == "redis":
            server = lender.getfixturevalue("redis_server")
            url, namespace = server.url(), stack.enter_context(server.prefix())
        if store.startswith("postgres"):
            server = lender.getfixturevalue("postgres_server")
            address = stack.enter_context(server.schema())
        place = Place(store, scheduler, address, url, namespace, str(folder / "told"))
        Path(place.told).touch()
        runner = stack.enter_context(asyncio.Runner()) if place.is_async else None
        tables: SqliteTables | PostgresTables
        if store == "sqlite":
            tables = SqliteTables(folder)
            tables.uow = place.uow()
        else:
            tables = PostgresTables(address, place.uow())
            stack.callback(tables.connection.close)
        world = World(tables, lambda: None, runner, _scheduler_of(place, stack, runner))
        yield place, Stage(store, scheduler + ("-async" if runner else ""), world)


def _scheduler_of(place: Place, stack: ExitStack, runner: asyncio.Runner | None) -> Any:
    if runner is None:
        client = place.client()
        if client is not None:
            stack.callback(client.close)
        return place.scheduler_on(client)

    async def connect() -> Any:
        return place.client()

    client = runner.run(connect())
    stack.callback(lambda: runner.run(client.aclose()))
    return place.scheduler_on(client)


def deaths(stage: Stage, scenario: Scenario) -> Iterator[Death]:
    """Return every death there is: before and after each call."""
    plan = Plan()
    stage.set_up(scenario)
    stage.play(scenario, plan, lambda: None)
    commit = next(number for number, point in enumerate(plan.calls) if point.is_exit)
    for number, point in enumerate(plan.calls):
        yield Death(number, point, Step.BEFORE, is_late=number > commit)
        yield Death(number, point, Step.AFTER, is_late=number >= commit)


def die(place: Place, job_ids: str, verb: Verb, death: Death) -> int | None:
    """Let one process die, and return how it ended; None if it is still alive."""
    process = _context().Process(target=victim, args=(place, job_ids, verb, death))
    process.start()
    process.join(_DEATH_SECONDS_MAX)
    exit_code: int | None = process.exitcode
    if exit_code is None:
        process.kill()
        process.join()
    process.close()
    return exit_code


def run(place: Place, stage: Stage, scenario: Scenario, death: Death) -> list[str]:
    """Let one process die, and say what was wrong."""
    stage.set_up(scenario)
    assert stage.before is not None
    key = JobKey(stage.job_id)
    Path(place.told).write_text("")
    exit_code = die(place, stage.job_id, scenario.verb, death)
    if exit_code != -signal.SIGKILL:
        return [f"the process did not die, but ended with {exit_code}"]
    told = Path(place.told).read_text().split("\n")[:-1]
    stage.told += [line.partition(" of ")[0] for line in told]
    after = stage.look()
    state = state_of(scenario, stage.before, after, key)
    is_cancelled = scenario.cancelled_by is not None or death.is_late
    should_be = FULLY_CANCELLED if is_cancelled else NOTHING_CHANGED
    wrong = [] if state == should_be else [f"left: {state!r} instead of {should_be!r}"]
    record = stage.record(scenario)
    may_tell_twice = bool(after.told) and not (record is not None and record.is_announced)
    return wrong + recovery_complaints(
        stage, scenario, state, "killed", may_tell_twice=may_tell_twice
    )


def campaign(
    place: Place, stage: Stage, tally: Tally, *, repeats: int = REPEATS, every: int = 1
) -> None:
    """Let a process die at every call, each so many times; or at every so many-th call only."""
    for scenario in DEADLY:
        for number, death in enumerate(list(deaths(stage, scenario))):
            if not is_in_sample(number, every):
                continue
            tally.seen[f"{GROUP} {stage.store}+{stage.scheduler} {scenario.name} {death}"] += 1
            for _ in range(repeats):
                complaints = run(place, stage, scenario, death)
                what = f"{stage.store}+{stage.scheduler}: {scenario.name}, killed {death}"
                kind = f"{scenario.verb.value}, killed {death.step.value} a call"
                at_scheduler = death.point.root == "Scheduler" and stage.scheduler != "sqlite"
                adapter = stage.scheduler if at_scheduler else stage.store
                tally.add(GROUP, kind, adapter, complaints, what)


@functools.cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
