"""What `make test` leaves out, it meets otherwise: judged by all that this run has collected."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from tests import pairs
from tests.contract import test_conformance
from tests.selection import COLLECTED, MARK, function, matrices, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CAMPAIGNS = {
    f"tests/{file}.py::test_{name}"
    for file, names in {
        "faults/test_bulks": (
            "kill_9_of_many_jobs",
            "single_faults_of_many_jobs_of_the_other_stores",
        ),
        "faults/test_campaigns": (
            "cut_lines",
            "kill_9",
            "single_faults_of_a_scheduler",
            "single_faults_of_a_store",
            "tasks_cancelled",
            "tasks_cancelled_on_new_connections",
        ),
        "faults/test_fault_table": ("a_port_of_postgres_returning_garbage",),
        "faults/test_reconciling": ("everything_is_removed_and_told_once",),
        "faults/test_sweeps": ("single_faults_of_the_other_sweeps",),
        "faults/test_stress": (
            "a_planted_bug_is_caught",
            "sixteen_workers_and_a_cancel",
            "sixteen_workers_and_a_cancel_that_sweeps",
            "the_triggers_do_not_get_in_the_way",
            "the_triggers_repair_naive_workers",
            "the_wait_for_the_job_is_measured",
        ),
        "http/test_generated": (
            "generated_requests_break_no_rule",
            "schemathesis_has_nothing_to_say",
        ),
        "http/test_load": ("two_hundred_cancels_at_once",),
        "integration/test_bulk_orders": ("opposite_orders_never_meet_in_a_circle",),
        "integration/test_bulk_postgres_races": ("a_killed_bulk_is_resumed",),
        "integration/test_dialer": ("a_dialer_survives_a_hundred_kills",),
        "integration/test_sql_gate_postgres": ("of_many_cancels_and_starts_both_win_some",),
        "integration/test_reconcile_races": (
            "ten_processes_beside_live_cancels_finish_everything",
            "ten_threads_tell_each_hook_once",
        ),
        "integration/test_redis_races": ("of_cancel_and_claim_exactly_one_wins_between_threads",),
        "schedulers/test_command_line": ("a_url_that_names_no_library_settles_nothing",),
        "proof/test_exploration": (
            "a_planted_protocol_is_found_and_told",
            "the_protocol_holds_in_every_interleaving",
            "the_ways_are_counted_as_they_are_executed",
        ),
        "proof/test_planted": ("what_judges_mutants_passes_beside_no_other_file",),
        "proof/test_teeth": ("every_broken_adapter_is_rejected_by_the_right_test",),
        "schemas/test_part": ("every_step_is_right_or_refused",),
        "wiring/test_wiring": ("every_answer_is_right_or_documented",),
    }.items()
    for name in names
}
"""Tests of which `make test` runs nothing."""

CONFORMANCE = "tests/contract/test_conformance.py"
REPEATED = ("TestMemory", "TestSqlite", "TestPostgres", "TestStoreAndScheduler")
"""Classes of the conformance kit whose stores the tests of the contract meet in `make test`."""

SERVER_ADAPTER = "tests/docs/test_server_adapter.py"
"""The example for a server; the one of a store of its own runs in `make test`."""

KITS = {
    "memory-async": "TestAsyncMemory",
    "postgres-async": "TestAsyncPostgres",
    "django": "TestDjango",
    "sqlalchemy-postgres": "TestSqlAlchemy",
    "sqlalchemy-postgres-async": "TestAsyncSqlAlchemy",
    "sqlalchemy-sqlite": "TestSqlAlchemySqlite",
    "sqlalchemy-sqlite-async": "TestAsyncSqlAlchemy",
}
"""The class for each of the other stores; over aiosqlite the adapter is the one over asyncpg."""

WORLDS = {
    "+".join(world) for world in [*pairs.pairs(), *pairs.LAYERED] if world not in pairs.SHORT
}
"""Values that are left out wherever they stand."""

SERVERS = {
    "pgbouncer",
    "postgres_server",
    "postgres_to_break",
    "redis_cluster",
    "redis_sentinel",
    "redis_server",
    "redis_to_break",
}


@pytest.fixture
def every(request: pytest.FixtureRequest) -> list[pytest.Item]:
    """
    Return all tests, those that this run has deselected among them.

    Those with the mark `mysql` are apart: `make mysql` leaves out none.
    """
    collected = request.config.stash[COLLECTED]
    return [item for item in collected if item.get_closest_marker("mysql") is None]


@pytest.fixture
def short(every: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests of `make test`."""
    return [item for item in every if item.get_closest_marker(MARK) is None]


MATRIX = 3
"""How many values of a long list of variants are met at least."""

PARTS = {
    "test_recipes.py::test_a_client_of_the_other_kind_is_refused": {
        f"{half}{library}Scheduler"
        for half in ("", "Async")
        for library in ("Arq", "Docket", "Huey", "Rq", "Saq")
    },
    "test_sql_gate.py::test_what_has_started_is_not_taken_back": {
        f"{layer}{half}"
        for layer in ("postgres", "alchemy-postgres", "alchemy-sqlite")
        for half in ("", "-async")
    },
    "test_sqlalchemy_checks.py::test_it_is_checkable": {
        "psycopg",
        "asyncpg",
        "pysqlite",
        "aiosqlite",
    },
}
"""Long lists that are no variants."""


def grouped(
    items: Iterable[pytest.Item], of: Callable[[pytest.Item], Iterable[str]]
) -> dict[str, set[str]]:
    """Return for each test what its items have."""
    found = defaultdict[str, set[str]](set)
    for item in items:
        found[function(item)].update(of(item))
    return found


def test_the_campaigns_alone_are_left_out(
    every: list[pytest.Item], short: list[pytest.Item]
) -> None:
    """Of every other test, something runs."""
    tests = {function(item) for item in every}
    left_out = tests - {function(item) for item in short}
    kits = (*(f"{CONFORMANCE}::{it}::" for it in REPEATED), f"{SERVER_ADAPTER}::")
    of_kits = {test for test in tests if test.startswith(kits)}
    assert left_out == CAMPAIGNS & tests | of_kits


STARTED = "started"
"""A process for each call of the command line; `make test` makes it within the test's."""


def test_every_value_is_met(every: list[pytest.Item], short: list[pytest.Item]) -> None:
    """Of every parameter of every test, but for worlds, processes, kits and long lists."""
    met = grouped(short, lambda item: {name for _, name in values(item)})
    tests = defaultdict[str, list[pytest.Item]](list)
    for item in every:
        tests[function(item)].append(item)
    missing = {
        test: {name for item in items for _, name in values(item)}
        - {name for _, name in matrices(items)}
        - met[test]
        - WORLDS
        - {STARTED, *REPEATED}
        for test, items in tests.items()
        if test in met
    }
    assert {test: names for test, names in missing.items() if names} == {}


def test_of_a_long_list_a_few_values_are_met(
    every: list[pytest.Item], short: list[pytest.Item]
) -> None:
    """Of variants, such as tables and faults; worlds, kits and processes are judged above."""
    lists, met = (defaultdict[tuple[str, int], set[str]](set) for _ in range(2))
    for items, found in ((every, lists), (short, met)):
        for item in items:
            for number, value in values(item):
                found[function(item), number].add(value)
    run = {test for test, _ in met}
    left_out = {*WORLDS, *REPEATED, STARTED}
    assert {
        (test, number)
        for (test, number), its in lists.items()
        if test in run and not its & left_out
        if len(met[test, number]) < min(MATRIX, len(its))
    } == set()


@pytest.mark.parametrize(("test", "parts"), PARTS.items(), ids=PARTS)
def test_of_a_list_of_parts_all_are_met(
    short: list[pytest.Item], every: list[pytest.Item], test: str, parts: set[str]
) -> None:
    """Of drivers, libraries and gates, however many there are."""
    name = f"tests/integration/{test}"
    assert grouped(short, lambda item: {it for _, it in values(item)})[name] == parts or not any(
        function(item) == name for item in every
    )


def test_every_store_and_every_scheduler_is_met() -> None:
    """By the tests of the contract, or by those of the conformance kit that are not left out."""
    stores = {*pairs.STORES, *(store for store, _ in pairs.LAYERED)}
    assert stores - {store for store, _ in pairs.SHORT} == {*KITS}
    assert {*KITS.values()}.isdisjoint(REPEATED)
    assert all(hasattr(test_conformance, name) for name in (*REPEATED, *KITS.values()))
    assert {scheduler for _, scheduler in pairs.SHORT} == {*pairs.SCHEDULERS}


def test_every_kit_is_run(every: list[pytest.Item], short: list[pytest.Item]) -> None:
    """The classes that stand for the stores above have tests in `make test`."""
    collected, met = (
        {item.cls.__name__ for item in items if isinstance(item, pytest.Function) and item.cls}
        for items in (every, short)
    )
    assert collected & {*KITS.values()} == met & {*KITS.values()}
    assert not collected & {*KITS.values()} or {*KITS.values()} <= met


def test_every_server_is_met(every: list[pytest.Item], short: list[pytest.Item]) -> None:
    """Each kind of real server that a test asks for is asked for in `make test`."""
    asked, met = (
        {name for item in items for name in getattr(item, "fixturenames", ())} & SERVERS
        for items in (every, short)
    )
    assert asked == met
