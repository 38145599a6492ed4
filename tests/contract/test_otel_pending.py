"""The gauges of pending removals: how many, and since when; read as metrics are collected."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from batch_cancel import cancel_rows
from batch_cancel.adapters.memory import MemoryStore
from batch_cancel.adapters.otel import pending_removals
from tests.contract.unfinished import unfinished
from tests.contract.watched import Watch, watch

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.pairs import World

__all__ = ["watch"]

NUMBER, AGE = "removals_pending", "removals_pending.age"


def gauges(watch: Watch) -> tuple[Any, Any]:
    """Return the number and the age; None for a gauge without a value."""
    numbers = watch.numbers()
    return numbers.get(NUMBER, {}).get(()), numbers.get(AGE, {}).get(())


@pytest.fixture
def _each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_removals, "_SAME_READ_SECONDS", -1.0)


@pytest.mark.usefixtures("_each_time")
def test_what_is_pending_is_a_number_and_an_age(world: World, watch: Watch) -> None:
    """Of all organizations; 0 once reconcile has finished, and without labels."""
    if world.runner:
        with pytest.raises(TypeError, match="is of the asyncio kind"):
            watch.telemetry.watch(world.store.uow)
        return
    watch.telemetry.watch(world.store.uow)
    assert gauges(watch) == (0, 0)
    before = time.time()
    unfinished(world, "a", actor="a secret")
    time.sleep(0.05)
    unfinished(world, "b")
    number, age = gauges(watch)
    assert number == 2
    assert 0.04 <= age <= time.time() - before
    assert "secret" not in watch.everything()
    world.reconcile()
    assert gauges(watch) == (0, 0)


@pytest.mark.usefixtures("_each_time")
def test_several_stores_are_one_sum_and_one_age(watch: Watch) -> None:
    """A store that is named twice counts once; one that does not answer leaves no value."""

    class Away(MemoryStore):
        is_away = False

        def begin(self) -> Any:
            """Open a transaction."""
            if self.is_away:
                raise ConnectionError
            return super().begin()

    stores = [Away(), Away()]
    for store in (*stores, stores[0]):
        watch.telemetry.watch(store)
    assert gauges(watch) == (0, 0)
    for ago, store in enumerate(stores, 1):
        store.clock = lambda ago=ago: datetime.now(UTC) - timedelta(hours=ago)  # type: ignore[misc]
        store.add_job("job", deferred_id="start")
        cancel_rows("job", uow=store)
    number, age = gauges(watch)
    assert number == 2
    assert 7200 <= age < 7300
    stores[0].is_away = True
    assert gauges(watch) == (None, None)


@pytest.mark.usefixtures("_each_time")
def test_a_store_that_does_not_answer_has_no_value(watch: Watch) -> None:
    """The collection succeeds, and the other metrics are there; later the value is back."""

    class Away(MemoryStore):
        is_away = True

        @contextmanager
        def begin(self) -> Generator[Any]:
            """Open a transaction."""
            if self.is_away:
                told = "postgresql://ann:secret@db"  # As of a driver.
                raise ConnectionError(told)
            with super().begin() as repositories:
                yield repositories

    store = Away()
    watch.telemetry.watch(store)
    assert gauges(watch) == (None, None)
    store.is_away = False
    assert gauges(watch) == (0, 0)
    store.is_away = True
    assert gauges(watch) == (None, None)


def test_one_read_serves_both_gauges(watch: Watch) -> None:
    """A collection costs one transaction."""
    opened = list[object]()

    class Counted(MemoryStore):
        def begin(self) -> Any:
            """Open a transaction."""
            opened.append(self)
            return super().begin()

    watch.telemetry.watch(Counted())
    assert gauges(watch) == (0, 0)
    assert len(opened) == 1


def test_the_limit_is_that_of_a_look(watch: Watch) -> None:
    """It is checked at once."""
    with pytest.raises(ValueError, match="limit must be 1 to 1000000, got 0"):
        watch.telemetry.watch(MemoryStore(), limit=0)
    assert timedelta(seconds=1).total_seconds() >= pending_removals._SAME_READ_SECONDS
