"""
Stages: where faults are played. A store and a scheduler, one job in one situation, its neighbours.

The stores of Postgres use a pool of one connection, so that one that is not given back, or not as
it was, is noticed at once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import attrs
import psycopg_pool
import pytest

from batch_cancel import (
    JobFilter,
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
from batch_cancel.domain.cancellation import Cancellation
from batch_cancel.domain.job import CancellationRecord
from batch_cancel.ports import (
    AsyncScheduler,
    AsyncUnitOfWork,
    RepeatableUnitOfWork,
    Scheduler,
    SchedulerUnavailable,
    UnitOfWork,
)
from tests import pairs
from tests.faults.fault_kinds import DriverError, Hang
from tests.faults.injection import Plan, faulty, faulty_hook, faulty_hook_async
from tests.faults.scenarios import CONTACTS, OURS, Scenario, Verb, small_slices
from tests.pairs import JobRow, PostgresTables, SqliteTables, World
from tests.pairs.opening import scheduler_of, store_of, sweep_above
from tests.processes import scratch_folder
from tests.redis_topologies import RedisCluster
from tests.servers import PostgresServer, RedisServer


@attrs.frozen
class Look:
    """
    All that can be seen on a stage at one moment.

    Arguments:
        rows: every job that is committed.
        waiting: the deferred starts that wait.
        told: the operations that the hook was told of, in order.
    """

    rows: dict[JobKey, JobRow]
    waiting: frozenset[str]
    told: tuple[str, ...]


class Lends(Protocol):
    """Where servers come from: a pytest request, or a stand-in for it."""

    def getfixturevalue(self, argname: str) -> Any:
        """Return what is called so."""


class Lender:
    """Lends servers and folders outside of pytest, each started when first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._lent: dict[str, Any] = {}

    def getfixturevalue(self, argname: str) -> Any:
        """Return what is called so."""
        if argname not in self._lent:
            self._lent[argname] = self._made(argname)
        return self._lent[argname]

    def mktemp(self, name: str) -> Path:
        """Return a new folder."""
        return self._stack.enter_context(scratch_folder())

    def _made(self, name: str) -> Any:
        match name:
            case "postgres_server":
                return self._stack.enter_context(PostgresServer.find())
            case "redis_server":
                return self._stack.enter_context(RedisServer.find())
            case "redis_cluster":
                return self._stack.enter_context(RedisCluster())
            case "tmp_path_factory":
                return self
            case _:
                raise LookupError(name)


@attrs.define
class Stage:
    """
    A world with one job in one situation.

    Arguments:
        store: the store's name.
        scheduler: the scheduler's name, with its kind: "redis-async".
        world: the two of them.
        pool: what lends the connections, if any.
        told: the operations that the hook was told of, in order.
        told_of: the jobs that it was told of.
        many: the jobs of a cancel of many.
    """

    store: str
    scheduler: str
    world: World
    pool: Any = None
    job_id: str = ""
    start_id: str = ""
    before: Look | None = None
    told: list[str] = attrs.field(factory=list)
    told_of: list[str] = attrs.field(factory=list)
    many: Sequence[str] | JobFilter = ()
    numbers: itertools.count[int] = attrs.field(factory=itertools.count)
    _record: CancellationRecord | None = None

    @property
    def is_async(self) -> bool:
        """Whether it is played in an event loop."""
        return self.world.runner is not None

    @property
    def is_repeatable(self) -> bool:
        """Whether the store declares that a failed transaction can be begun again."""
        return isinstance(self.world.store.uow, RepeatableUnitOfWork)

    def set_up(self, scenario: Scenario) -> None:
        """Put the job into its situation, and remember how everything looks."""
        number = next(self.numbers)
        self.job_id, self.start_id = f"job-{number}", f"start-{number}"
        self.forget()
        world = self.world
        world.add_job(
            f"neighbour-{number}", "scheduled", CONTACTS, deferred_id="neighbour's start"
        )
        world.schedule("neighbour's start")
        if scenario.exists:
            start_id = self.start_id if scenario.has_start else None
            world.add_job(self.job_id, scenario.status, CONTACTS, deferred_id=start_id)
        if scenario.has_start:
            world.schedule(self.start_id)
        if scenario.cancelled_by is not None:
            self._cancel_and_die(scenario.cancelled_by)
        self._record = self.record(scenario)
        self.told.clear()
        self.before = self.look()

    @property
    def joined_cancellation(self) -> Cancellation:
        """What `cancel_rows` gave in the caller's transaction."""
        assert self._record is not None
        return Cancellation(self._record, replayed=False, joined=True)

    def play(self, scenario: Scenario, plan: Plan, during: Callable[[], object]) -> object:
        """
        Do what is to be done, and give the answer, or whatever was raised.

        Arguments:
            scenario: says what to do.
            plan: what goes wrong.
            during: is called while a call hangs.
        """
        if self.world.runner is not None:
            return self.world.runner.run(self._play_async(scenario, plan, during))
        if plan.kind is not None and isinstance(plan.kind.effect, Hang):
            return _in_thread(lambda: self._attempt(scenario.verb, plan, OURS), plan, during)
        return self._attempt(scenario.verb, plan, OURS)

    def cancel_many(self) -> object:
        """Cancel the jobs with nothing in the way, and give the answer, or what was raised."""
        return self._clean(Verb.BULK, OURS)

    def cancel(self, operation_id: str = OURS) -> object:
        """Cancel with nothing in the way, and give the answer, or whatever was raised."""
        return self._clean(Verb.CANCEL, operation_id)

    def reconcile(self) -> object:
        """Reconcile with nothing in the way, and give the answer, or whatever was raised."""
        return self._clean(Verb.RECONCILE, OURS)

    def look(self) -> Look:
        """Look at everything."""
        waiting = frozenset(self.world.waiting())
        return Look(self.world.rows(), waiting, tuple(self.told))

    def look_meanwhile(self) -> Look:
        """Look at everything while a call hangs."""
        if self.world.runner is None:
            return self.look()
        # Its loop is taken. What hangs there is called off, so nothing has been taken back.
        assert self.before is not None
        return Look(self.world.rows(), self.before.waiting, tuple(self.told))

    def row(self) -> JobRow | None:
        """Return the job as committed; None if there is none."""
        return self.world.rows().get(JobKey(self.job_id))

    def record(self, scenario: Scenario) -> CancellationRecord | None:
        """Return the record of the job's cancellation."""
        return self.world.record(self.job_id) if scenario.exists else None

    def pool_trouble(self) -> list[str]:
        """Return what is wrong with the connections."""
        if self.pool is None:
            return []
        statistics = self.pool.get_stats()
        whole = statistics["pool_size"] == statistics["pool_available"] == 1
        tables = cast("PostgresTables", self.world.store)
        open_ones = tables.connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' "
            "AND application_name = current_setting('application_name')"
        ).fetchone()
        trouble = [] if whole else [f"the pool is not whole: {statistics}"]
        return trouble + ([] if open_ones == (0,) else ["a transaction was left open"])

    def forget(self) -> None:
        """Remove the jobs."""
        store = self.world.store
        if isinstance(store, SqliteTables):
            store._keys.clear()  # A new file for each job would take its time.
        else:
            store.clear()

    def _cancel_and_die(self, operation_id: str) -> None:
        def silent(*_: object) -> bool:
            raise SchedulerUnavailable(OURS)

        def broken(_: object) -> None:
            raise DriverError

        async def broken_async(_: object) -> None:
            raise DriverError

        self.world.cancel(
            self.job_id,
            scheduler=self.world.scheduler_that(silent),
            operation_id=operation_id,
            on_cancelled=broken_async if self.is_async else broken,
        )

    def _clean(self, verb: Verb, operation_id: str) -> object:
        if self.world.runner is not None:
            return self.world.runner.run(self.attempt_async(verb, Plan(), operation_id))
        return self._attempt(verb, Plan(), operation_id)

    def _note(self, result: Any) -> None:
        self.told.append(result.operation_id)
        self.told_of.append(result.batch_job_id)

    def _attempt(self, verb: Verb, plan: Plan, operation_id: str) -> object:
        given: dict[str, Any] = {
            "uow": faulty(UnitOfWork, self.world.store.uow, plan),
            "scheduler": faulty(Scheduler, self.world.scheduler, plan),
            "on_cancelled": faulty_hook(self._note, plan),
        }
        try:
            if verb is Verb.RECONCILE:
                return reconcile(**given, lease=timedelta(0))
            if verb is Verb.REMOVE:
                return remove_deferred(self.joined_cancellation, **given)
            if verb is Verb.BULK:
                with small_slices():
                    return cancel_jobs(self.many, operation_id=operation_id, **given)
            return cancel_job(self.job_id, operation_id=operation_id, **given)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and error is not plan.raised:
                raise  # Somebody at the keyboard means us.
            return error

    async def attempt_async(self, verb: Verb, plan: Plan, operation_id: str = OURS) -> object:
        """Do it within the event loop, and give the answer, or whatever was raised."""
        given: dict[str, Any] = {
            "uow": faulty(AsyncUnitOfWork, self.world.store.uow, plan),
            "scheduler": faulty(AsyncScheduler, self.world.scheduler, plan),
            "on_cancelled": faulty_hook_async(self._note, plan),
        }
        try:
            if verb is Verb.RECONCILE:
                return await reconcile_async(**given, lease=timedelta(0))
            if verb is Verb.REMOVE:
                return await remove_deferred_async(self.joined_cancellation, **given)
            if verb is Verb.BULK:
                with small_slices():
                    return await cancel_jobs_async(self.many, operation_id=operation_id, **given)
            return await cancel_job_async(self.job_id, operation_id=operation_id, **given)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and error is not plan.raised:
                raise  # Somebody at the keyboard means us.
            return error

    async def _play_async(
        self, scenario: Scenario, plan: Plan, during: Callable[[], object]
    ) -> object:
        task = asyncio.create_task(self.attempt_async(scenario.verb, plan))
        if plan.kind is not None and isinstance(plan.kind.effect, Hang):
            reached = asyncio.create_task(plan.reached_async.wait())
            await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
            if not reached.done():
                reached.cancel()
            during()
            task.cancel()
        return await task


def _in_thread(attempt: Callable[[], object], plan: Plan, during: Callable[[], object]) -> object:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(attempt)
        answer.add_done_callback(lambda _: plan.reached.set())  # It may not come to that.
        plan.reached.wait()
        during()
        plan.released.set()
        return answer.result()


@contextmanager
def open_stage(store: str, scheduler: str, lender: Lends) -> Generator[Stage]:
    """
    Open a stage.

    Arguments:
        store: one of `pairs.STORES`.
        scheduler: one of `pairs.SCHEDULERS`, which is then of the store's kind.
        lender: lends the servers.
    """
    request = cast("pytest.FixtureRequest", lender)
    with ExitStack() as stack:
        is_async = store.endswith("-async")
        runner = stack.enter_context(asyncio.Runner()) if is_async else None
        pool = None
        tables: pairs.Store
        if store.startswith("postgres"):
            tables, pool = _pooled(lender, stack, runner, sweep_above(store))
        else:
            tables = store_of(store, request, stack)
        new_scheduler = scheduler_of(scheduler, request, stack, runner)
        world = World(tables, new_scheduler, runner)
        world.clear()
        name = scheduler + ("-async" if is_async else "")
        yield Stage(store, name, world, pool)


def _pooled(
    lender: Lends, stack: ExitStack, runner: asyncio.Runner | None, above: int | None
) -> tuple[PostgresTables, Any]:
    dsn = stack.enter_context(lender.getfixturevalue("postgres_server").schema())
    dsn += f" application_name=faults-{id(stack)}"
    size: dict[str, Any] = {"min_size": 1, "max_size": 1, "timeout": 10, "open": False}
    uow: PostgresUnitOfWork | AsyncPostgresUnitOfWork
    pool: Any
    if runner is None:
        pool = psycopg_pool.ConnectionPool(dsn, **size)
        pool.open(wait=True)
        stack.callback(pool.close)
        uow = PostgresUnitOfWork(pool.connection, sweep_above=above)
    else:

        async def opened() -> Any:
            pool = psycopg_pool.AsyncConnectionPool(dsn, **size)
            await pool.open(wait=True)
            return pool

        pool = runner.run(opened())
        close: Callable[[], Coroutine[Any, Any, None]] = pool.close
        stack.callback(lambda: runner.run(close()))
        uow = AsyncPostgresUnitOfWork(pool.connection, sweep_above=above)
    tables = PostgresTables(dsn, uow)
    stack.callback(tables.connection.close)
    return tables, pool
