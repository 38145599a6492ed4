"""A cancel and a worker's step on two nodes, their commits forced together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel.adapters.sqlalchemy import certification, work_repository
from tests.galera.rounds import IN_SECONDS, PAIRS, Pair, Rounds, opened

if TYPE_CHECKING:
    from batch_cancel.adapters.sqlalchemy.statements import Statements
    from tests.servers import GaleraCluster

pytestmark = pytest.mark.mysql

ROUNDS = int(os.environ.get("BATCH_CANCEL_TEST_GALERA_ROUNDS", "60"))
"""Of each pair; `make mysql` says how to run more."""

PLANTED_ROUNDS = 50

GUARDED = [pair for pair in PAIRS if pair.needs_guard]


@pytest.fixture
def rounds(galera_cluster: GaleraCluster, galera_database: str) -> Iterator[Rounds]:
    """Yield the rounds, on tables of the test's own."""
    with opened(galera_cluster, galera_database) as found:
        yield found


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_steps_on_two_nodes_leave_nothing_open(rounds: Rounds, pair: Pair) -> None:
    """Nor is a call started after a 200, nor half of anything done."""
    assert rounds.run(pair, ROUNDS) == []
    assert rounds.seen[f"{pair.name}: met"] > ROUNDS / 2, "they hardly ever met"


@pytest.mark.parametrize("pair", GUARDED, ids=lambda pair: pair.name)
def test_without_the_guard_contacts_stay_open(
    rounds: Rounds, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rounds find it: a lock of the job alone is no promise here."""
    monkeypatch.setattr(work_repository, "guard", lambda *_: None)
    found = rounds.run(pair, PLANTED_ROUNDS)
    assert [it for it in found if "1 open contacts under a" in it]


def test_a_time_in_whole_seconds_alone_is_no_guard(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An UPDATE to the time that the row has already is no write."""

    def time_alone(statements: Statements) -> list[dict[str, Any]]:
        tables = statements.tables
        return [statements.touched(tables.jobs, tables.job_updated_at)]

    monkeypatch.setattr(certification, "_changes", time_alone)
    [pair] = [it for it in PAIRS if it.tables is IN_SECONDS]
    found = rounds.run(pair, PLANTED_ROUNDS)
    assert [it for it in found if "1 open contacts under a" in it]
