"""The pump delivers what is due, whatever native store it is in."""

from __future__ import annotations

import inspect
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from batch_cancel.ports import SchedulerUnavailable
from tests.contract.native_stores import AT_ONCE, HOUR, Native, future, new_store, past, store

if TYPE_CHECKING:
    from batch_cancel.domain.deferred_start import Claimed

__all__ = ["new_store", "store"]


def test_the_pump_delivers_what_is_due_and_finishes_it(store: Native) -> None:
    """Each due start reaches the callable once, with its payload; the next round has nothing."""
    store.schedule("a", past(), b"A")
    store.schedule("b", past(), b"B")
    store.schedule("later", future())
    delivered: dict[str, bytes] = {}
    assert store.pump(lambda start: delivered.update({start.deferred_id: start.payload})) == 2
    assert delivered == {"a": b"A", "b": b"B"}
    assert store.pump(lambda start: pytest.fail(f"delivered twice: {start}")) == 0
    assert store.cancel("a", "operation") is False
    assert store.schedule("a", past()) is False


def test_a_delivery_that_fails_is_repeated_and_stops_no_other(
    store: Native, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are delivered; the one that failed is handed out again when its lease ends."""
    for name in ("a", "bad", "c"):
        store.schedule(name, past(), b"secret")
    delivered = []

    def deliver(start: Claimed) -> None:
        if start.deferred_id == "bad":
            raise RuntimeError(start.payload)
        delivered.append(start.deferred_id)

    with caplog.at_level(logging.WARNING, "batch_cancel"):
        assert store.pump(deliver, lease=AT_ONCE) == 2
    assert sorted(delivered) == ["a", "c"]
    assert "'bad' was not delivered (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text
    again: list[str] = []
    assert store.pump(lambda start: again.append(start.deferred_id)) == 1
    assert again == ["bad"]


def test_the_pump_takes_no_more_than_its_limit(store: Native) -> None:
    """The rest is for the next round."""
    for number in range(3):
        store.schedule(f"{number}", past())
    assert [store.pump(lambda _: None, limit=2) for _ in range(3)] == [2, 1, 0]


def test_an_interrupt_goes_through_the_pump(store: Native) -> None:
    """What is not an ordinary exception is nobody's to swallow."""
    store.schedule("a", past())

    def deliver(_: Claimed) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pump(deliver)


@pytest.mark.parametrize("limit", [100, 3])
def test_starts_that_end_their_pump_each_time_hold_up_no_other(store: Native, limit: int) -> None:
    """Two of them, due first of all: the others are delivered in a few lives of the pump."""
    poison, good = {"a-poison", "b-poison"}, [f"good-{number}" for number in range(5)]
    for name in (*sorted(poison), *good):
        store.schedule(name, past())
    delivered: list[str] = []

    def deliver(start: Claimed) -> None:
        if start.deferred_id in poison:
            raise KeyboardInterrupt
        delivered.append(start.deferred_id)

    # A store with shards begins with any of them: how many lives it takes is up to chance.
    lives = 3 if store.in_order and limit == 100 else 12 if store.in_order else 200
    for _ in range(lives):
        if set(delivered) == set(good):
            break
        with suppress(KeyboardInterrupt):
            store.pump(deliver, limit=limit, lease=AT_ONCE)
    assert sorted(delivered) == good


@pytest.mark.parametrize("lease", [-timedelta(seconds=1), timedelta.max, timedelta(days=36_501)])
def test_a_lease_that_no_store_could_keep_is_refused(store: Native, lease: timedelta) -> None:
    """And nothing is handed out."""
    store.schedule("a", past())
    with pytest.raises(ValueError, match="lease must not be negative, and at most 36500 days"):
        store.claim(1, lease)
    assert store.waiting() == {"a"}


def test_a_claimed_start_does_not_show_its_payload(store: Native) -> None:
    """It may hold personal data, and a repr ends up in logs."""
    store.schedule("a", past(), b"+49 170 1234567")
    [start] = store.claim(1, HOUR)
    assert "170 1234567" not in repr(start)
    assert start.deferred_id in repr(start)


def test_a_start_whose_acknowledgement_is_lost_counts_as_delivered(
    store: Native, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in good hands; it is only handed out once more, and the log says so."""
    store.schedule("a", past())

    def ack(*_: str) -> bool:
        reason = "gone"
        raise SchedulerUnavailable(reason)

    async def ack_async(*arguments: str) -> bool:
        return ack(*arguments)

    waits = inspect.iscoroutinefunction(store.store.ack)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "batch_cancel"):
        patched.setattr(store.store, "ack", ack_async if waits else ack)
        assert store.pump(lambda _: None, lease=AT_ONCE) == 1
    assert "'a' was delivered but not acknowledged (SchedulerUnavailable)" in caplog.text
    assert store.pump(lambda _: None) == 1
    assert store.pump(lambda _: None) == 0
