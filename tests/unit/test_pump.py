"""How many starts a pump takes if nobody says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from batch_cancel import pump, pump_async
from batch_cancel.adapters.memory import AsyncMemoryScheduler, MemoryScheduler

DEFAULT = 100


def test_a_hundred_starts_are_taken_at_most() -> None:
    """The others wait for the next round; asyncio or not."""
    past = datetime.now(UTC) - timedelta(hours=1)
    store, store_async = MemoryScheduler(), AsyncMemoryScheduler()
    delivered: list[object] = []
    for number in range(DEFAULT + 1):
        store.schedule(f"start-{number}", past)
    assert pump(store, delivered.append) == DEFAULT
    assert pump(store, delivered.append) == 1

    async def run() -> int:
        for number in range(DEFAULT + 1):
            await store_async.schedule(f"start-{number}", past)
        return await pump_async(store_async, delivered.append)

    assert asyncio.run(run()) == DEFAULT


def test_what_delivers_must_be_a_function() -> None:
    """None would mean that there is no hook; no start is claimed for it."""
    store, nothing = MemoryScheduler(), cast("Any", None)
    store.schedule("start", datetime.now(UTC) - timedelta(hours=1))
    with pytest.raises(TypeError) as refused:
        pump(store, nothing)
    assert str(refused.value) == "deliver is not callable (None): pass a function"
    assert len(store.claim(1, timedelta(hours=1))) == 1
