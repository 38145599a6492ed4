"""
The fake agrees with Postgres, call by call.

The same steps, drawn at random, on the memory store and on Postgres: every answer and everything
that is committed afterwards must be the same, but for the times and for the contacts' ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cancel import BatchCancelError, CancelResult
from batch_cancel.adapters.postgres import PostgresUnitOfWork
from batch_cancel.testing.answers import said
from batch_cancel.testing.strategies import call_ends, contact_statuses
from batch_cancel.testing.world import World
from tests import adapters_under_test
from tests.adapters_under_test.limits import BUDGET
from tests.lent_connections import LentConnections

if TYPE_CHECKING:
    import psycopg

Step = tuple[Any, ...]

LONG_AGO = datetime.min.replace(tzinfo=UTC)

labels = st.sampled_from(["one", "two"])
owners = st.sampled_from([None, "acme", "evil"])
whose = st.sampled_from(["its own", "its own", "its own", "a stranger's"])
steps = st.one_of(
    st.tuples(st.just("cancel"), labels, whose, st.sampled_from(["op-1", "op-2"])),
    st.tuples(st.just("cancel_rows"), labels, whose, st.sampled_from(["op-1", "op-2"])),
    st.tuples(st.just("start"), labels, whose),
    st.tuples(st.just("claim"), labels, whose, st.integers(0, 4)),
    st.tuples(st.just("settle"), labels, whose, st.integers(0, 5), call_ends()),
    st.tuples(st.just("append"), labels, whose),
    st.tuples(st.just("finish"), labels, whose),
    st.tuples(st.just("reconcile"), st.integers(1, 2)),
)
jobs = st.tuples(
    st.sampled_from(
        ["scheduled", "pending", "running", "completed", "failed", "cancelled", "paused", None]
    ),
    st.lists(st.one_of(contact_statuses(), st.sampled_from(["Pending", "", None])), max_size=5),
    owners,
    st.booleans(),
)


@pytest.fixture
def fake() -> Iterator[World]:
    """Yield the memory store."""
    world = World(adapters_under_test.MemoryTables())
    yield world
    world.close()


class PooledTables(adapters_under_test.PostgresTables):
    """Postgres, by connections that are lent again."""

    lent: LentConnections

    def uow(self) -> PostgresUnitOfWork:
        """Return a unit of work that borrows them."""
        return PostgresUnitOfWork(self.lent.lend, self.schema, lock_timeout=BUDGET)


@pytest.fixture
def real(
    tables_of_class: tuple[str, psycopg.Connection[Any]], connections_of_class: LentConnections
) -> Iterator[World]:
    """Yield Postgres."""
    tables = PooledTables()
    tables.lend(*tables_of_class)
    tables.lent = connections_of_class
    world = World(tables)
    yield world
    world.close()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(one=jobs, two=jobs, todo=st.lists(steps, min_size=3, max_size=12))
def test_the_fake_agrees_with_postgres(
    fake: World, real: World, one: Any, two: Any, todo: list[Step]
) -> None:
    """On every answer, and on every row."""
    for world in (fake, real):
        world.clear()
        for label, (status, contacts, owner, is_scheduled) in (("one", one), ("two", two)):
            deferred_id = f"start of {label}" if is_scheduled else None
            world.add_job(label, status, contacts, organization_id=owner, deferred_id=deferred_id)
            if is_scheduled:
                world.schedule(label)
    assert dump(fake) == dump(real)
    for step in todo:
        assert taken(fake, step) == taken(real, step), step
        assert dump(fake) == dump(real), step


def taken(world: World, step: Step) -> Any:
    """Take a step, and give its answer without times and ids."""
    name, *arguments = step
    if name == "reconcile":
        return [without_times(result) for result in world.reconcile(limit=arguments[0])]
    label, of, *rest = arguments
    key = world.key(label)
    if of == "a stranger's":
        key = attrs.evolve(key, organization_id="stranger")
    ids = contact_ids(world, label)
    answer: Any
    match name:
        case "cancel":
            answer = without_times(world.cancel(key=key, operation_id=rest[0]))
        case "cancel_rows":
            try:
                record = world.cancel_rows(label, rest[0], key=key).record
                answer = attrs.evolve(record, cancelled_at=LONG_AGO)
            except BatchCancelError as error:
                answer = without_times(error)
        case "claim":
            answer = sorted(ids.index(it) for it in world.claim(label, rest[0], key=key))
        case "settle":
            number, outcome = rest
            contact_id = ids[number] if number < len(ids) else "999999"
            answer = world.settle(contact_id, outcome, label, key=key)
        case _:
            answer = getattr(world, name)(label, key=key)
    return answer


def contact_ids(world: World, label: str) -> list[str]:
    """Return the ids of a job's contacts: the seeded ones, then others as they came."""
    known = list(world.contact_ids[label])
    known += [it for it in world.row(label).contacts if it not in known]
    world.contact_ids[label] = known
    return known


def dump(world: World) -> Any:
    """Return everything that is committed, and what waits, without times and ids."""
    rows = {
        key: (row.status, row.deferred_id, world.statuses(key.batch_job_id))
        for key, row in world.rows().items()
    }
    return rows, world.waiting()


def without_times(answer: Any) -> Any:
    """Return an answer without what the clock has put into it."""
    if isinstance(answer, CancelResult):
        return attrs.evolve(answer, cancelled_at=LONG_AGO)
    return said(answer).partition(": cancelled at")[0]
