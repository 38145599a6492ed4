"""The start gate in SQL, on every database: what it lets pass, and for how long it remembers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from batch_cancel import cancel_job
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.ports import SchedulerUnavailable
from batch_cancel.use_cases.inspect import inspect
from tests.sql_gates import GATES, HOUR, NAMES, ON_MARIADB, Gate, Gates, made, raced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = timedelta(days=1)
ROUNDS = 12


@pytest.fixture(params=[*NAMES, *ON_MARIADB])
def gates(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gates]:
    """Yield a maker of gates on each database in turn."""
    yield from made(request, request.param, tmp_path)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Yield what runs the asyncio halves."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def gate(gates: Gates, runner: asyncio.Runner) -> Gate:
    """Return a gate."""
    return gates.make(runner)


def test_an_armed_start_that_is_cancelled_never_starts(gate: Gate) -> None:
    """The cancel returns True, each time it asks; any other operation's returns False."""
    assert gate.arm("job") is True
    assert gate.cancel("job", "first") is True
    assert gate.may_start("job") is False
    assert gate.cancel("job", "first") is True
    assert gate.cancel("job", "second") is False
    assert gate.arm("job") is False
    assert gate.may_start("job") is False


def test_what_has_started_is_not_taken_back(gate: Gate) -> None:
    """A retry of it may start too: the first decision stands."""
    gate.arm("job")
    assert gate.may_start("job") is True
    assert gate.cancel("job") is False
    assert gate.cancel("job") is False
    assert gate.arm("job") is False
    assert gate.may_start("job") is True


def test_cancelling_what_was_never_armed_bars_it(gate: Gate) -> None:
    """There was nothing to remove, so False; and nothing starts later."""
    assert gate.cancel("job", "first") is False
    assert gate.cancel("job", "first") is False
    assert gate.arm("job") is False
    assert gate.may_start("job") is False


def test_a_start_that_was_never_armed_does_not_start(gate: Gate) -> None:
    """An exception says so, on which start, and what to do; nothing is decided by it."""
    for _ in range(2):
        with pytest.raises(SchedulerUnavailable) as refused:
            gate.may_start("job")
        assert str(refused.value) == (
            "the start gate does not know the start 'job': it was never armed, or its row was "
            "deleted, and with it a possible cancel, so it is refused. If it still should start, "
            "arm it again and retry it; starts that are never armed pass a SqlStartGate with "
            "armed_only=False"
        )
    assert gate.arm("job") is True
    assert gate.may_start("job") is True


def test_a_start_that_was_never_armed_may_start_where_not_all_are(
    gates: Gates, runner: asyncio.Runner
) -> None:
    """Nothing closed the gate, and this one is told that starts need not be armed."""
    gate = gates.make(runner, armed_only=False)
    assert gate.may_start("job") is True
    assert gate.cancel("job") is False
    assert gate.cancel("other") is False
    assert gate.may_start("other") is False


def test_an_id_is_just_its_bytes(gate: Gate) -> None:
    """Case, trailing blanks, accents: each is another start."""
    ids = ["job", "JOB", "job ", "j\u00f6b", "jo\u0308b", "%", "x" * 1024, "\U0001f4de" * 256]
    for each in ids:
        assert gate.arm(each) is True
    assert gate.cancel("job") is True
    assert gate.waiting_among({*ids}) == {*ids} - {"job"}
    assert gate.may_start("JOB") is True
    assert gate.may_start("job") is False


@pytest.mark.parametrize("hostile", ["", "a\0b", "\ud800", "x" * 1025])
def test_an_id_that_cannot_be_armed_is_not_there(gate: Gate, hostile: str) -> None:
    """Cancelling it finds nothing; arming it is refused, and it does not start."""
    assert gate.cancel(hostile) is False
    with pytest.raises(ValueError, match="a deferred id must be"):
        gate.arm(hostile)
    with pytest.raises(SchedulerUnavailable, match="does not know the start"):
        gate.may_start(hostile)
    assert gate.waiting_among({hostile}) == set()


def test_armed_starts_that_are_not_decided_wait(gates: Gates, gate: Gate) -> None:
    """Of those asked for alone; to look changes nothing."""
    for each in ("waits", "cancelled", "started", "not asked for"):
        gate.arm(each)
    gate.cancel("cancelled", "operation")
    gate.may_start("started")
    before = gates.rows()
    assert gate.waiting_among({"waits", "cancelled", "started", "unknown"}) == {"waits"}
    assert gate.waiting_among(set()) == set()
    assert gates.rows() == before
    assert before == {
        "waits": ("armed", None),
        "cancelled": ("cancelled", "operation"),
        "started": ("started", None),
        "not asked for": ("armed", None),
    }


def test_a_decision_outlives_the_time_at_which_the_start_is_due(
    gates: Gates, runner: asyncio.Runner
) -> None:
    """However far ahead it is; and `retention` from now if that is longer."""
    gate = gates.make(runner, retention=DAY)
    for decide in (gate.cancel, gate.may_start):
        name = decide.__name__
        for start, after, least in (("far", 100 * DAY, 101 * DAY), ("overdue", -100 * DAY, DAY)):
            gate.arm(f"{start} {name}", after)
            decide(f"{start} {name}")
            assert least - HOUR < gates.left(f"{start} {name}") <= least
    gate.arm("last", datetime.max.replace(tzinfo=UTC) - datetime.now(UTC) - DAY)
    assert gate.cancel("last") is True


def test_rows_that_are_old_are_deleted(gates: Gates, gate: Gate) -> None:
    """Some with each start that is armed, decided or not; no younger one is."""
    for number in range(12):
        gate.arm(f"old-{number}")
    gate.cancel("old-3")
    gates.execute(sa.update(GATES).values(forget_at=datetime.now(UTC) - HOUR))
    for number in range(3):
        gate.arm(f"new-{number}")
    assert set(gates.rows()) == {"new-0", "new-1", "new-2"}
    with pytest.raises(SchedulerUnavailable, match="does not know"):
        gate.may_start("old-3")


def test_it_is_the_scheduler_of_a_cancel(gates: Gates, runner: asyncio.Runner) -> None:
    """What it answers is in the result, and `inspect` sees what it has lost."""
    if gates.is_async:
        return
    gate, store = gates.make(runner), MemoryStore()
    for job in ("job", "lost"):
        store.add_job(job, status="scheduled", deferred_id=f"start-of-{job}")
    gate.arm("start-of-job")
    found = inspect(uow=store, scheduler=gate.gate)
    assert [it.key.batch_job_id for it in found.starts_missing] == ["lost"]
    assert cancel_job("job", uow=store, scheduler=gate.gate).redis_job_cancelled is True
    assert gate.may_start("start-of-job") is False


def test_a_database_that_is_fit(gate: Gate) -> None:
    """Nothing is missing."""
    assert gate.check() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE batch_start_gates", "is missing: "),
        (
            "ALTER TABLE batch_start_gates RENAME COLUMN operation_id TO operation",
            "lacks columns: ",
        ),
    ],
)
def test_what_is_missing_is_named(gates: Gates, gate: Gate, change: str, said: str) -> None:
    """In a sentence; and no call is answered."""
    gates.execute(change)
    [sentence] = gate.check()
    table, is_said, _ = sentence.partition(said)
    assert table in {"the table of the start gate ", "table batch_start_gates "}
    assert is_said
    for ask in (gate.arm, gate.cancel, gate.may_start):
        with pytest.raises(SchedulerUnavailable):
            ask("job")


_MADE_BY_HAND = (
    "CREATE TABLE batch_start_gates (deferred_id {key}, state TEXT, operation_id TEXT, "
    "forget_at TIMESTAMP)"
)
_LOOSE = {
    "postgres": ["ALTER TABLE batch_start_gates ALTER deferred_id TYPE char(20)"],
    "sqlite": [
        "DROP TABLE batch_start_gates",
        _MADE_BY_HAND.format(key="TEXT COLLATE NOCASE PRIMARY KEY"),
    ],
    "mariadb": [
        "ALTER TABLE batch_start_gates MODIFY deferred_id VARCHAR(99) COLLATE utf8mb4_general_ci",
    ],
}
_KEYLESS = {
    "postgres": ["ALTER TABLE batch_start_gates DROP CONSTRAINT batch_start_gates_pkey"],
    "sqlite": ["DROP TABLE batch_start_gates", _MADE_BY_HAND.format(key="TEXT")],
}


def test_a_column_that_takes_two_ids_for_one_is_named(gates: Gates, gate: Gate) -> None:
    """A cancel of the one would close the gate for the other."""
    for change in next(its for it, its in _LOOSE.items() if it in gates.name):
        gates.execute(change)
    [sentence] = gate.check()
    assert "takes different ids for one" in sentence or "deferred_id text" in sentence


def test_without_a_key_no_row_is_added(gates: Gates, gate: Gate) -> None:
    """Two could decide on one start; MariaDB has no way to refuse it."""
    if "mariadb" in gates.name:
        return
    for change in next(its for it, its in _KEYLESS.items() if it in gates.name):
        gates.execute(change)
    [sentence] = gate.check()
    assert "two could decide on one start" in sentence
    for ask in (gate.arm, gate.cancel):
        with pytest.raises(SchedulerUnavailable):
            ask("job")


@pytest.mark.parametrize("retention", [timedelta(0), -DAY, 40_000 * DAY])
def test_a_retention_out_of_range_is_refused(
    gates: Gates, runner: asyncio.Runner, retention: timedelta
) -> None:
    """A decision that is forgotten at once decides nothing."""
    with pytest.raises(ValueError, match="the retention must be positive"):
        gates.make(runner, retention=retention)
    gates.make(runner, retention=36_500 * DAY)


# Races -------------------------------------------------------------------------------------------


def test_of_a_cancel_and_a_start_exactly_one_wins(gates: Gates) -> None:
    """They are sent at once, from two connections."""
    assert sum(raced(gates, ROUNDS)) == ROUNDS
