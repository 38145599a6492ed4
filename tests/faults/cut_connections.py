"""
Cut lines: the connection to a real server dies, at any byte of the conversation in either way.

A line through a `FaultProxy` leads to Postgres, another one to Redis. A new connection is made for
each case, so that the whole conversation can be cut: its opening, the transaction, the COMMIT and
its answer, the removal and its answer, and the note taken of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Final

import attrs
import psycopg
import redis
import redis.asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batch_cancel import JobKey
from batch_cancel.adapters.memory import (
    AsyncMemoryScheduler,
    AsyncMemoryStore,
    MemoryScheduler,
    MemoryStore,
)
from batch_cancel.adapters.postgres import AsyncPostgresUnitOfWork, PostgresUnitOfWork
from batch_cancel.adapters.postgres.ground import KNOWN
from batch_cancel.adapters.redis import AsyncRedisScheduler, RedisScheduler
from tests.fault_proxy import Direction, FaultProxy
from tests.faults.counts import Tally
from tests.faults.expected import (
    FULLY_CANCELLED,
    NOTHING_CHANGED,
    answer_complaints,
    recovery_complaints,
    state_of,
)
from tests.faults.fault_kinds import Step
from tests.faults.injection import Plan
from tests.faults.scenarios import SCENARIOS, described
from tests.faults.setups import Lends, Stage
from tests.pairs import PATIENCE, MemoryTables, PostgresTables, World

GROUP = "cut lines"

_SCHEDULED: Final = SCENARIOS[0]
_COMMIT: Final = b"COMMIT\0"
"""The statement by itself, as it travels; "READ COMMITTED" is another one."""

LINES = ("postgres", "postgres-async", "redis", "redis-async")


@attrs.define
class Line:
    """
    A stage of which one line can be cut.

    Arguments:
        name: the adapter whose line it is.
        stage: the stage.
        proxy: where it is cut.
        opening: how many bytes go either way before the first statement.
        scheduler_with: gives the scheduler with another budget, if the line leads to Redis.
    """

    name: str
    stage: Stage
    proxy: FaultProxy
    opening: dict[Direction, int]
    scheduler_with: Callable[[timedelta], Any] | None = None


@attrs.frozen
class Cut:
    """
    One cut.

    Arguments:
        name: what is cut, for the table.
        where: at which byte, if it matters.
        make: arms the proxy.
        is_in_opening: whether the connection is not open yet.
    """

    name: str
    where: int
    make: Callable[[FaultProxy], object]
    is_in_opening: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.where})"


@contextmanager
def open_line(name: str, lender: Lends) -> Generator[Line]:
    """Open a stage with a proxy in front of the server that it is about."""
    with ExitStack() as stack:
        is_async = name.endswith("-async")
        runner = stack.enter_context(asyncio.Runner()) if is_async else None
        if name.startswith("postgres"):
            line = _line_to_postgres(name, lender, stack, runner)
        else:
            line = _line_to_redis(name, lender, stack, runner)
        _conversation(line)  # The first one is longer: Redis learns the script.
        yield line


def _line_to_postgres(
    name: str, lender: Lends, stack: ExitStack, runner: asyncio.Runner | None
) -> Line:
    dsn = stack.enter_context(lender.getfixturevalue("postgres_server").schema())
    proxy = stack.enter_context(FaultProxy(int(str(conninfo_to_dict(dsn)["port"]))))
    cut_dsn = make_conninfo(dsn, port=proxy.port)
    uow: PostgresUnitOfWork | AsyncPostgresUnitOfWork
    scheduler: Callable[[], Any]
    if runner is None:
        uow = PostgresUnitOfWork(lambda: psycopg.connect(cut_dsn))
        scheduler = MemoryScheduler
    else:
        uow = AsyncPostgresUnitOfWork(lambda: psycopg.AsyncConnection.connect(cut_dsn))
        scheduler = AsyncMemoryScheduler
    tables = PostgresTables(dsn, uow)
    stack.callback(tables.connection.close)
    world = World(tables, scheduler, runner)
    world.clear()
    with psycopg.connect(cut_dsn):
        opening = dict(proxy.passed)
    return Line(name, Stage(name, "memory", world), proxy, opening)


def _line_to_redis(
    name: str, lender: Lends, stack: ExitStack, runner: asyncio.Runner | None
) -> Line:
    server = lender.getfixturevalue("redis_server")
    proxy = stack.enter_context(FaultProxy(server.port))
    namespace = stack.enter_context(server.prefix())
    client: Any
    if runner is None:
        client = redis.Redis(port=proxy.port)
        stack.callback(client.close)

        def scheduler_with(budget: timedelta) -> Any:  # It has connections of its own.
            return RedisScheduler(client, namespace=namespace, budget=budget)
    else:
        client = redis.asyncio.Redis(port=proxy.port)
        stack.callback(lambda: runner.run(client.aclose()))

        def scheduler_with(budget: timedelta) -> Any:
            runner.run(client.connection_pool.disconnect())
            return AsyncRedisScheduler(client, namespace=namespace, budget=budget)

    tables = MemoryTables(AsyncMemoryStore if runner else MemoryStore)
    world = World(tables, lambda: scheduler_with(PATIENCE), runner)
    world.clear()
    store = "memory-async" if runner else "memory"
    return Line(name, Stage(store, name, world), proxy, {}, scheduler_with)


def cuts(line: Line, count: int) -> Iterator[Cut]:
    """Return `count` cuts, spread over the whole conversation, and those around the COMMIT."""
    said = _conversation(line)
    per_direction = count // 2
    for direction in Direction:
        step = max(1, said[direction] // per_direction)
        for byte_count in range(0, said[direction], step):
            yield Cut(
                f"line cut {direction.value}",
                byte_count,
                _after(byte_count, direction),
                is_in_opening=byte_count < line.opening.get(direction, 0),
            )
    if line.name.startswith("postgres"):
        for number in range(max(1, count // 20)):
            yield Cut("COMMIT lost", number, lambda proxy: proxy.cut_before(_COMMIT))
            yield Cut("COMMIT's answer lost", number, lambda proxy: proxy.cut_answer_to(_COMMIT))
    else:
        for number in range(max(1, count // 20)):
            yield Cut("removal lost", number, lambda proxy: proxy.cut_before(b"EVAL"))
            yield Cut("removal's answer lost", number, lambda proxy: proxy.cut_answer_to(b"EVAL"))


def _after(byte_count: int, direction: Direction) -> Callable[[FaultProxy], object]:
    return lambda proxy: proxy.cut_after(byte_count, direction)


def _conversation(line: Line) -> dict[Direction, int]:
    """Cancel once with nothing cut, and count the bytes."""
    _set_up(line)
    line.proxy.passed.clear()
    answer = line.stage.play(_SCHEDULED, Plan(), lambda: None)
    assert described(answer) == "200 removed"
    assert line.stage.told == ["our operation"]
    return dict(line.proxy.passed)


def _set_up(line: Line) -> None:
    line.proxy.heal()
    line.stage.set_up(_SCHEDULED)
    KNOWN.clear()  # Each conversation asks the catalogs, so that all are equally long.
    line.proxy.reset()  # A farewell of the conversation before must not be what is cut.
    if line.name.startswith("redis"):  # So that this cancel opens a connection of its own.
        line.stage.world.scheduler = line.stage.world.new_scheduler()


def run(line: Line, cut: Cut, tally: Tally) -> list[str]:
    """Play one cut, and say what was wrong."""
    stage = line.stage
    _set_up(line)
    assert stage.before is not None
    before, key = stage.before, JobKey(stage.job_id)
    cuts_before = line.proxy.cuts
    at_pause: list[str] = []

    def tap(number: int, step: Step) -> None:
        if step is Step.BEFORE and plan.calls[number].member == "pause":
            now = attrs.evolve(before, rows=stage.world.rows())
            at_pause.append(state_of(_SCHEDULED, before, now, key))

    plan = Plan(tap=tap)
    cut.make(line.proxy)
    answer = stage.play(_SCHEDULED, plan, lambda: None)
    was_cut = line.proxy.cuts - cuts_before
    line.proxy.heal()
    after = stage.look()
    state = state_of(_SCHEDULED, before, after, key)
    record = stage.record(_SCHEDULED)
    wrong = [] if was_cut == 1 else [f"cut {was_cut} times"]
    # A connection that cannot be opened is the caller's to try again: nothing has begun.
    fails = cut.is_in_opening
    should_be = "failed unchanged busy" if fails else "200 removed"
    left = NOTHING_CHANGED if fails else FULLY_CANCELLED
    if (described(answer), state) != (should_be, left):
        wrong.append(f"answered {described(answer)!r} instead of {should_be!r}, {state}")
    _note_sometimes(cut, at_pause, tally)
    wrong += answer_complaints(
        _SCHEDULED, answer, state, record, starts_waiting=stage.start_id in after.waiting
    )
    is_noted = record is not None and record.is_announced
    return wrong + recovery_complaints(
        stage, _SCHEDULED, state, answer, may_tell_twice=bool(after.told) and not is_noted
    )


def _note_sometimes(cut: Cut, at_pause: list[str], tally: Tally) -> None:
    for state in at_pause:
        tally.seen[f"{cut.name}, then {state}"] += 1


def campaign(line: Line, tally: Tally, count: int) -> None:
    """Run about `count` cuts of a line, spread over its whole conversation."""
    for cut in list(cuts(line, count)):
        complaints = run(line, cut, tally)
        tally.add(GROUP, cut.name, line.name, complaints, f"{line.name}: {cut}")
